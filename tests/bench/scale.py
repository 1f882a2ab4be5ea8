"""Figures: ten million jobs by seeds, and a million captions from a file: time to submit, the coordinator's memory. Then half of
the ten million completed in random order: the restart on that ledger, and `seedfarm status` while work runs.

A real coordinator over ipc. The completions come from tests/bench/fill_ledger.c, which writes what five million commits would
have left, through the coordinator's own ledger; the work is that of one real worker whose pictures are plain
(tests/e2e/odd_worker.c), which runs niced, as a worker has processors of its own. Python's standard library only.

usage: python3 tests/bench/scale.py [--jobs 10000000] [--captions 1000000] [--done JOBS/2] [--seconds 20]
"""
import argparse
import json
import os
import random
import statistics
import subprocess
import tempfile
import time

import bench

WORDS = "a an the frog castle owl penguin rocket pizza cat in on by of style van gogh neon sign blue green quiet evening mosaic".split()


TESTS = os.path.join(os.path.dirname(bench.BIN), "tests")


class Coordinator:
    def __init__(self, folder, *flags):
        self.address = f"ipc://{folder}/farm.sock"
        self.log = open(f"{folder}/log", "a")
        begin = time.monotonic()
        self.process = subprocess.Popen([bench.program("seedfarm-coordinator"), "--store", f"{folder}/store", "--listen",
                                         self.address, "--models", bench.DEMO, *map(str, flags)], stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        assert self.process.stdout.readline().startswith("ready ")
        self.start_s = time.monotonic() - begin

    def ask(self, *words):
        seconds, text = bench.run([bench.program("seedfarm"), *words, "--coordinator", self.address, "--json"])
        return seconds, json.loads(text)

    def cpu_s(self):
        """Processor time so far, user and system."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.terminate()
        self.process.wait(60)
        self.process.stdout.close()
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


def submit_seeds(coordinator, folder, jobs):
    path = f"{folder}/seeds.yaml"
    with open(path, "w") as file:
        file.write(f"prompt: a frog\nseed: 1..{jobs}\n")
    submit, client = client_peak_mb([bench.program("seedfarm"), "submit", path, "--coordinator", coordinator.address])
    status, answer = coordinator.ask("status", "seeds")
    assert answer["sweeps"][0]["jobs"] == jobs
    return [f"{jobs:,} jobs by seeds", f"{submit:.2f} s", "", f"{client:.0f}", f"{bench.peak_mb(coordinator.process.pid):.0f}",
            f"{status * 1000:.0f} ms"]


def submit_captions(coordinator, folder, count):
    size = write_captions(f"{folder}/captions.txt", count)
    with open(f"{folder}/captions.yaml", "w") as file:
        file.write("prompt: {file: captions.txt}\nseed: 1\n")
    submit, client = client_peak_mb([bench.program("seedfarm"), "submit", f"{folder}/captions.yaml", "--coordinator",
                                     coordinator.address])
    status, answer = coordinator.ask("status", "captions")
    assert answer["sweeps"][0]["jobs"] == count
    return [f"{count:,} captions ({size / 1e6:.0f} MB)", f"{submit:.2f} s", f"{size / 1e6 / submit:.0f} MB/s", f"{client:.0f}",
            f"{bench.peak_mb(coordinator.process.pid):.0f}", f"{status * 1000:.0f} ms"]


def status_while_working(coordinator, folder, seconds):
    """Milliseconds of every `seedfarm status`, the whole command, while a worker keeps the farm busy; jobs done a second."""
    worker = subprocess.Popen(["nice", os.path.join(TESTS, "odd_worker"), "--coordinator", coordinator.address, "--name", "plain", "--cache",
                               f"{folder}/plain", "--models", bench.DEMO], stderr=subprocess.DEVNULL)
    try:
        before = coordinator.ask("status", "seeds")[1]["sweeps"][0]["done"]
        begin, taken = time.monotonic(), []
        while time.monotonic() - begin < seconds:
            taken.append(coordinator.ask("status", "seeds")[0] * 1000)
        done = coordinator.ask("status", "seeds")[1]["sweeps"][0]["done"] - before
        assert done > 0, "the worker did nothing"
        return taken, done / (time.monotonic() - begin)
    finally:
        worker.terminate()
        worker.wait(30)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def half_done(folder, done, seconds):
    """The store's sweep with `done` completions: a row of the second table."""
    _, said = bench.run([os.path.join(TESTS, "fill_ledger"), f"{folder}/store", str(done)])
    print(f"fill_ledger: {said.strip()}")
    coordinator = Coordinator(folder)
    try:
        _, answer = coordinator.ask("status", "seeds")
        assert answer["sweeps"][0]["done"] == done, answer
        at_start = bench.peak_mb(coordinator.process.pid)
        taken, rate = status_while_working(coordinator, folder, seconds)
        return [f"{done:,} of {answer['sweeps'][0]['jobs']:,}", f"{coordinator.start_s:.2f} s", f"{at_start:.0f}",
                f"{bench.peak_mb(coordinator.process.pid):.0f}", f"{rate:.0f}/s", f"{statistics.median(taken):.0f} ms",
                f"{percentile(taken, 0.99):.0f} ms", f"{max(taken):.0f} ms", len(taken)]
    finally:
        coordinator.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=10_000_000)
    parser.add_argument("--captions", type=int, default=1_000_000)
    parser.add_argument("--done", type=int)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    done = arguments.jobs // 2 if arguments.done is None else arguments.done
    with tempfile.TemporaryDirectory(prefix="seedfarm-scale-") as folder:
        coordinator = Coordinator(folder)
        try:
            rows = [submit_seeds(coordinator, folder, arguments.jobs), submit_captions(coordinator, folder, arguments.captions)]
            coordinator.ask("status")
            bench.run([bench.program("seedfarm"), "cancel", "captions", "--coordinator", coordinator.address])
        finally:
            coordinator.stop()
        bench.table("Submission, to the acknowledgement after the ledger's sync",
                    ["sweep", "time", "rate", "client peak MB", "coordinator peak MB", "`seedfarm status`, whole command"], rows)
        bench.table("Half of it completed in random order: restart, and status while a worker delivers",
                    ["completed", "start to ready", "coordinator MB then", "its peak MB", "jobs done", "status, median", "99 %",
                     "worst", "asked"], [half_done(folder, done, arguments.seconds)])


if __name__ == "__main__":
    main()
