"""Figures: jobs through the whole farm, from submission to the ledger's sync, with workers that draw at once.

Everything is real but the painter (tests/bench/bench_worker.c): sockets, leases, outboxes, checks, commits. Small pictures go
into the memory store with the ledger on disk; 50 KB pictures go into the file store, beside a bare loop over the same disk that
writes and syncs the same files in the same groups.

usage: python3 tests/bench/farm_rate.py [--jobs 200000] [--workers 1,16] [--rounds 3] [--folder DIR] [--only small,large]
"""
import argparse
import os
import signal
import statistics
import subprocess
import tempfile
import time

import bench
import scale

TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(process):
    """User and system seconds that a running process has taken."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def farm_seconds(folder, jobs, workers, large):
    """One sweep on a farm of its own: (seconds from submission to the last commit, CPU seconds of coordinator and of workers)."""
    os.mkdir(folder)
    coordinator = scale.Coordinator(folder, *([] if large else ["--store", "mem:", "--ledger", f"{folder}/ledger.sqlite"]))
    worker = None
    try:
        with open(f"{folder}/log.worker", "w") as log:
            worker = subprocess.Popen([os.path.join(scale.TESTS, "bench_worker"), "--coordinator", coordinator.address, "--cache",
                                       f"{folder}/cache", "--models", bench.DEMO, "--agents", str(workers)]
                                      + (["--noise"] if large else []), stderr=log)
        while len(coordinator.ask("workers")[1]["workers"]) < workers:
            time.sleep(0.05)
        time.sleep(0.5)
        before = coordinator.cpu_s(), cpu_s(worker)
        with open(f"{folder}/seeds.yaml", "w") as file:
            file.write(f"prompt: a frog\nseed: 1..{jobs}\nsteps: 4\nsize: {'128x128' if large else '8x8'}\n")
        coordinator.ask("submit", f"{folder}/seeds.yaml")
        while (sweep := coordinator.ask("status", "seeds")[1]["sweeps"][0])["state"] != "done":
            time.sleep(0.2)
        assert (sweep["done"], sweep["failed"]) == (jobs, 0), sweep
        after = coordinator.cpu_s(), cpu_s(worker)
        return ((sweep["finished_unix_ms"] - sweep["submitted_unix_ms"]) / 1000, after[0] - before[0], after[1] - before[1])
    finally:
        if worker:
            worker.send_signal(signal.SIGTERM)
            worker.wait(60)
        coordinator.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--workers", default="1,16")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder")
    parser.add_argument("--only", default="small,large")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seedfarm-rate-", dir=arguments.folder) as folder:
        for number in range(arguments.rounds):
            for workers in map(int, arguments.workers.split(",")):
                for large in [kind == "large" for kind in arguments.only.split(",")]:
                    jobs = arguments.jobs // (20 if large else 1)
                    seconds, ours, theirs = farm_seconds(f"{folder}/{number}-{workers}-{large}", jobs, workers, large)
                    print(f"{'50 KB' if large else '300 B'} {workers} workers: {jobs / seconds:.0f}/s, CPU us a job: "
                          f"coordinator {1e6 * ours / jobs:.0f}, workers {1e6 * theirs / jobs:.0f}", flush=True)


if __name__ == "__main__":
    main()
