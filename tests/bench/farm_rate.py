"""Figures: jobs through the whole farm, from submission to the ledger's last sync, with workers that draw at once.

Everything is real but the painter (tests/bench/bench_worker.c): sockets, leases, outboxes, checks, commits. Pictures of 300 bytes
go into the memory store, with the ledger on disk; beside them in the same run Dask distributed, Celery + Redis and Ray with
tasks that do nothing, each with as many workers as suits it best. Pictures of 50 KB go into the file store, beside a bare loop
that writes and syncs the same files in the same groups on the same disk. Outboxes lie in memory (/dev/shm), as workers have
disks of their own. Nothing is deleted before the end: ext4 without a journal passes over inodes that were freed in the last minutes
one by one, which would be measured instead.

usage: python3 tests/bench/farm_rate.py [--jobs 400000] [--large-jobs 20000] [--workers 1,16] [--rounds 3] [--folder DIR]
                                        [--rivals dask,celery,ray] [--only small,large,rivals]
"""
import argparse
import contextlib
import json
import os
import signal
import sqlite3
import statistics
import subprocess
import tempfile
import time

import bench
import scale

TICKS = os.sysconf("SC_CLK_TCK")
LARGE_BYTES = 128 * 128 * 3 + 700
TASKS, RIVAL_WORKERS = 5_000, (1, 2, 4)


def cpu_s(process):
    """User and system seconds that a running process has taken."""
    with open(f"/proc/{process.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def farm(folder, workers, large):
    os.mkdir(folder)
    flags = [] if large else ["--store", "mem:", "--ledger", f"{folder}/ledger.sqlite"]
    coordinator = scale.Coordinator(folder, *flags)
    with tempfile.TemporaryDirectory(prefix="seedfarm-rate-", dir="/dev/shm") as cache, open(f"{folder}/worker.log", "w") as log:
        crew = subprocess.Popen([os.path.join(scale.TESTS, "bench_worker"), "--coordinator", coordinator.address, "--cache", cache,
                                 "--models", bench.DEMO, "--agents", str(workers)] + (["--noise"] if large else []), stderr=log)
        try:
            while len(coordinator.ask("workers")[1]["workers"]) < workers:
                time.sleep(0.05)
            yield coordinator, crew
        finally:
            crew.send_signal(signal.SIGTERM)
            crew.wait(60)
            coordinator.stop()


def run_sweep(folder, jobs, workers, large):
    """One sweep on a farm of its own: seconds, CPU seconds of coordinator and of workers, results a commit."""
    with farm(folder, workers, large) as (coordinator, crew):
        time.sleep(0.5)
        before = coordinator.cpu_s(), cpu_s(crew)
        with open(f"{folder}/seeds.yaml", "w") as file:
            file.write(f"prompt: a frog\nseed: 1..{jobs}\nsteps: 4\nsize: {'128x128' if large else '8x8'}\n")
        coordinator.ask("submit", f"{folder}/seeds.yaml")
        while (sweep := coordinator.ask("status", "seeds")[1]["sweeps"][0])["state"] != "done":
            time.sleep(0.2)
        assert (sweep["done"], sweep["failed"]) == (jobs, 0), sweep
        after = coordinator.cpu_s(), cpu_s(crew)
    ledger = sqlite3.connect(f"{folder}/store/ledger.sqlite" if large else f"{folder}/ledger.sqlite")
    groups = [size // 100 for (size,) in ledger.execute("SELECT length(results) FROM batches ORDER BY batch")]
    ledger.close()
    assert sum(groups) == jobs, (sum(groups), jobs)
    return (sweep["finished_unix_ms"] - sweep["submitted_unix_ms"]) / 1000, after[0] - before[0], after[1] - before[1], groups


def bare_rate(folder, groups):
    """Files a second of a loop that does nothing but write and sync them."""
    os.mkdir(folder)
    done = subprocess.run([os.path.join(scale.TESTS, "bench_store"), folder, str(LARGE_BYTES)], text=True, capture_output=True,
                          input="\n".join(map(str, groups)), check=True)
    return float(done.stdout)


def rival_rate(name):
    """(version, tasks a second with the number of workers that suits it best, that number), or a sentence."""
    tests = os.path.join(bench.SOURCE, "tests")
    made = subprocess.run([os.path.join(tests, "tools", "rivals"), name], text=True, capture_output=True)
    if made.returncode != 0:
        return f"skipped: it could not be installed here ({(made.stderr.strip().splitlines() or ['no reason given'])[-1]})"
    best = None
    for workers in RIVAL_WORKERS:
        done = subprocess.run([made.stdout.strip(), os.path.join(tests, "bench", "rivals.py"), name, "--tasks", str(TASKS), "--workers",
                               str(workers)], text=True, capture_output=True, timeout=600)
        if done.returncode != 0:
            return f"skipped: it failed here ({(done.stderr.strip().splitlines() or ['no reason given'])[-1]})"
        answer = json.loads(done.stdout.strip().splitlines()[-1])
        rate = answer["tasks"] / answer["seconds"]
        if not best or rate > best[1]:
            best = answer["version"], rate, workers
    return best


def small_row(folder, jobs, workers, rounds):
    runs = [run_sweep(f"{folder}/small-{workers}-{number}", jobs, workers, False) for number in range(rounds)]
    rates = [jobs / seconds for seconds, *_ in runs]
    rate = statistics.median(rates)
    return rate, [f"seedfarm, {workers} worker{'s' if workers > 1 else ''}", f"{rate:,.0f}",
                  f"{min(rates):,.0f} to {max(rates):,.0f}", f"{1e6 * statistics.median(run[1] for run in runs) / jobs:.0f}",
                  f"{1e6 * statistics.median(run[2] for run in runs) / jobs:.0f}",
                  f"{statistics.median(jobs / len(run[3]) for run in runs):.0f}"]


def large_row(folder, jobs, workers, rounds):
    ours, bare, ratios, sizes = [], [], [], []
    for number in range(rounds):
        seconds, _, _, groups = run_sweep(f"{folder}/large-{workers}-{number}", jobs, workers, True)
        ours.append(jobs / seconds)
        bare.append(bare_rate(f"{folder}/bare-{workers}-{number}", groups))
        ratios.append(ours[-1] / bare[-1])
        sizes.append(jobs / len(groups))
    return [f"{workers}", f"{statistics.median(ours):,.0f}", f"{statistics.median(sizes):.0f}", f"{statistics.median(bare):,.0f}",
            f"{100 * statistics.median(ratios):.0f} % ({', '.join(f'{100 * ratio:.0f}' for ratio in ratios)})"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("jobs", 400_000), ("large-jobs", 20_000), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--workers", default="1,16")
    parser.add_argument("--folder")
    parser.add_argument("--rivals", default="dask,celery,ray")
    parser.add_argument("--only", default="small,rivals,large")
    arguments = parser.parse_args()
    workers = [int(number) for number in arguments.workers.split(",")]
    kinds = arguments.only.split(",")
    with tempfile.TemporaryDirectory(prefix="seedfarm-rate-", dir=arguments.folder) as folder:
        least, rows = None, []
        for number in workers if "small" in kinds else []:
            rate, row = small_row(folder, arguments.jobs, number, arguments.rounds)
            least = min(least or rate, rate)
            rows.append([*row, ""])
        for name in arguments.rivals.split(",") if "rivals" in kinds else []:
            found = rival_rate(name)
            rows.append([name, found, "", "", "", "", ""] if isinstance(found, str) else
                        [f"{name} {found[0]}, {found[2]} worker{'s' if found[2] > 1 else ''}", f"{found[1]:,.0f}", "", "", "", "",
                         f"{least / found[1]:.0f}" if least else ""])
        if rows:
            bench.table("Jobs of 300 bytes a second", ["", "jobs/s (median)", "runs", "coordinator, CPU us a job",
                                                       "workers, CPU us a job", "results a commit", "seedfarm, times as many"], rows)
        if "large" in kinds:
            bench.table("Pictures of 50 KB into the file store",
                        ["workers", "pictures/s (median)", "pictures a commit", "bare loop, files/s", "share of the bare loop"],
                        [large_row(folder, arguments.large_jobs, number, arguments.rounds) for number in workers])


if __name__ == "__main__":
    main()
