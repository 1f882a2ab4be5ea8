"""Figure: a thousand connected workers and a hundred thousand jobs: how long a worker waits for its lease while there is work,
and what the coordinator costs when there is none.

A real coordinator over ipc; the workers are tests/bench/crowd.c: real messages and valid pictures from one process, a job takes
--job-ms without computing anything. Every LEASE_REQUEST counts, those of the first moment too. Python's standard library only.

usage: python3 tests/bench/crowd.py [--workers 1000] [--jobs 100000] [--job-ms 1000] [--batch 4] [--idle 30]
"""
import argparse
import json
import os
import subprocess
import tempfile
import time

import bench
import scale


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("workers", 1000), ("jobs", 100_000), ("job-ms", 1000), ("batch", 4), ("idle", 30)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="seedfarm-crowd-") as folder:
        coordinator = scale.Coordinator(folder, "--heartbeat-ms", 5000, "--liveness-ms", 20000)
        crowd = None
        try:
            scale.submit_seeds(coordinator, folder, arguments.jobs)
            crowd = subprocess.Popen([os.path.join(scale.TESTS, "crowd"), "--coordinator", coordinator.address, "--workers",
                                      str(arguments.workers), "--jobs", str(arguments.jobs), "--job-ms", str(arguments.job_ms),
                                      "--batch", str(arguments.batch)],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            found = json.loads(crowd.stdout.readline())
            work_cpu = coordinator.cpu_s()
            state = coordinator.ask("status", "seeds")[1]["sweeps"][0]
            assert (state["state"], state["done"], state["failed"]) == ("done", arguments.jobs, 0), state
            time.sleep(2)
            before = coordinator.cpu_s()
            time.sleep(arguments.idle)
            idle = (coordinator.cpu_s() - before) / arguments.idle
            connected = len(coordinator.ask("workers")[1]["workers"])
            assert connected == arguments.workers, connected
            crowd.stdin.close()
            assert crowd.wait(60) == 0
        finally:
            if crowd and crowd.poll() is None:
                crowd.kill()
                crowd.wait(30)
            coordinator.stop()
    bench.table("Many workers", ["workers", "jobs", "s", "jobs/s", "leases", "wait for a lease: median", "99 %", "worst",
                                 "coordinator, share of a core: at work", "idle, heartbeats every 5 s"],
                [[f"{found['workers']:,}", f"{found['jobs']:,}", f"{found['seconds']:.1f}",
                  f"{found['jobs'] / found['seconds']:.0f}", f"{found['leases']:,}", f"{found['lease_p50_ms']:.2f} ms",
                  f"{found['lease_p99_ms']:.2f} ms", f"{found['lease_max_ms']:.2f} ms",
                  f"{100 * work_cpu / found['seconds']:.0f} %", f"{100 * idle:.2f} %"]])


if __name__ == "__main__":
    main()
