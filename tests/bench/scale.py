"""Figures: ten million jobs by seeds, and a million captions from a file: time to submit, the coordinator's memory.

A real coordinator without workers, over ipc. Python's standard library only.

usage: python3 tests/bench/scale.py [--jobs 10000000] [--captions 1000000]
"""
import argparse
import json
import os
import random
import subprocess
import tempfile
import time

import bench

WORDS = "a an the frog castle owl penguin rocket pizza cat in on by of style van gogh neon sign blue green quiet evening mosaic".split()


class Coordinator:
    def __init__(self, folder):
        self.address = f"ipc://{folder}/farm.sock"
        self.log = open(f"{folder}/log", "w")
        self.process = subprocess.Popen([bench.program("seedfarm-coordinator"), "--store", f"{folder}/store", "--listen",
                                         self.address, "--models", bench.DEMO], stdout=subprocess.PIPE, stderr=self.log, text=True)
        assert self.process.stdout.readline().startswith("ready ")

    def ask(self, *words):
        seconds, text = bench.run([bench.program("seedfarm"), *words, "--coordinator", self.address, "--json"])
        return seconds, json.loads(text)

    def stop(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


def client_peak_mb(command):
    """A command run to its end; seconds and its own peak memory."""
    begin = time.monotonic()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.monotonic() - begin, usage.ru_maxrss * 1024 / 1e6


def write_captions(path, count):
    choose = random.Random(1)
    with open(path, "w") as file:
        for number in range(count):
            file.write(" ".join(choose.choice(WORDS) for _ in range(20)) + f" {number}\n")
    return os.path.getsize(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000_000)
    parser.add_argument("--captions", type=int, default=1_000_000)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="seedfarm-scale-") as folder:
        coordinator = Coordinator(folder)
        try:
            seeds = f"{folder}/seeds.yaml"
            with open(seeds, "w") as file:
                file.write(f"prompt: a frog\nseed: 1..{arguments.jobs}\n")
            submit, client = client_peak_mb([bench.program("seedfarm"), "submit", seeds, "--coordinator", coordinator.address])
            status, answer = coordinator.ask("status", "seeds")
            assert answer["sweeps"][0]["jobs"] == arguments.jobs
            rows.append([f"{arguments.jobs:,} jobs by seeds", f"{submit:.2f} s", "", f"{client:.0f}",
                         f"{bench.peak_mb(coordinator.process.pid):.0f}", f"{status * 1000:.0f} ms"])
            captions, path = f"{folder}/captions.yaml", f"{folder}/captions.txt"
            size = write_captions(path, arguments.captions)
            with open(captions, "w") as file:
                file.write("prompt: {file: captions.txt}\nseed: 1\n")
            submit, client = client_peak_mb([bench.program("seedfarm"), "submit", captions, "--coordinator",
                                             coordinator.address])
            status, answer = coordinator.ask("status", "captions")
            assert answer["sweeps"][0]["jobs"] == arguments.captions
            rows.append([f"{arguments.captions:,} captions ({size / 1e6:.0f} MB)", f"{submit:.2f} s", f"{size / 1e6 / submit:.0f} MB/s",
                         f"{client:.0f}", f"{bench.peak_mb(coordinator.process.pid):.0f}", f"{status * 1000:.0f} ms"])
        finally:
            coordinator.stop()
    bench.table("Submission, to the acknowledgement after the ledger's sync",
                ["sweep", "time", "rate", "client peak MB", "coordinator peak MB", "`seedfarm status`, whole command"], rows)


if __name__ == "__main__":
    main()
