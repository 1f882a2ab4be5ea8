"""Figure: the share of a sweep's time that a worker's device draws, and where the rest goes.

`seedfarm run` with one worker; the worker's own log says of each lease how long it drew, loaded a model, waited for pictures to be
finished (PNG, outbox) and waited for a lease. From the first lease's first step to the last one's last. Large pictures of few steps
are the hard case: PNG takes longest beside drawing. On a processor the threads that finish pictures and those that draw share the
cores: leave some (--threads).

usage: python3 tests/bench/busy.py [--model FOLDER] [--size 128x128] [--steps 1] [--pictures 100] [--device cpu] [--threads 1]
"""
import argparse
import json
import os
import resource
import tempfile

import bench

PARTS = ("drawing", "loading", "finishing", "waiting")


def shares(log):
    """{part: seconds} of all leases that a worker's log says were drawn; the wait for the first one is not the farm's."""
    sums = dict.fromkeys(PARTS, 0.0)
    with open(log) as file:
        drawn = [line for line in map(json.loads, file) if line["event"] == "drawn"]
    for number, line in enumerate(drawn):
        for part in PARTS:
            sums[part] += 0 if number == 0 and part == "waiting" else int(line[f"{part}_ms"]) / 1000
    return sums


def sweep(programs, text, device="cpu", threads=0):
    """One sweep on a farm of one worker: seconds, {part: seconds}, processor seconds of all processes."""
    with tempfile.TemporaryDirectory(prefix="seedfarm-busy-") as folder:
        with open(f"{folder}/sweep.yaml", "w") as file:
            file.write(text)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds, _ = bench.run([os.path.join(programs, "seedfarm"), "run", f"{folder}/sweep.yaml", "--store", f"{folder}/store",
                                "--out", f"{folder}/out", "--device", device, "--threads", threads])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        host = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return seconds, shares(f"{folder}/store/worker-1.log"), host


def row(pictures, parts, host):
    total = sum(parts.values()) or 1.0
    return [pictures, f"{pictures / total:.2f}", *(f"{100 * parts[part] / total:.1f} %" for part in PARTS), f"{host / pictures:.3f}"]


HEADER = ["pictures", "pictures/s", "drawing", "loading a model", "waiting for pictures to be finished", "waiting for a lease",
          "host s a picture"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=bench.DEMO)
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--device", default="cpu")
    for name, value in (("steps", 1), ("pictures", 100), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    bench.program("seedfarm")
    _, parts, host = sweep(bench.BIN, f"name: busy\nmodel: {arguments.model}\nprompt: a frog\nsize: {arguments.size}\n"
                           f"steps: {arguments.steps}\nseed: 0..{arguments.pictures - 1}\n", arguments.device, arguments.threads)
    bench.table(f"Where the device's time goes: {arguments.size}, {arguments.steps} steps, {arguments.device}, "
                f"{arguments.threads} threads", HEADER, [row(arguments.pictures, parts, host)])


if __name__ == "__main__":
    main()
