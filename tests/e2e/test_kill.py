"""kill -9 of a worker, and of the coordinator, in mid-sweep, at random moments, many times.

SEEDFARM_KILLS sets how often (20 each in a full run). The sweep completes, nothing committed is rendered again, no file is
damaged.
"""
import json
import os
import sqlite3
import time

import farm

KILLS = int(os.environ.get("SEEDFARM_KILLS", "20"))
SWEEP = """name: killed
prompt: [a van gogh painting of a frog, neon sign of a penguin]
seed: 0..{last}
steps: 2
cfg: 4.5
"""


class KillTest(farm.FarmTest):
    def finish_and_check(self, jobs):
        def done():
            status = self.ask("status", "killed")["sweeps"][0]
            return status if status["state"] == "done" else None
        status = farm.wait_for("the sweep to end", done, pause=0.1)
        self.assertEqual((status["done"], status["failed"]), (jobs, 0))
        self.assertEqual(status["rendered"], jobs, "each job was committed by a render of its own, once")
        self.seedfarm("fetch", "killed", "--coordinator", self.address, "--out", self.path("out"))
        self.assertEqual(len(self.pictures()), jobs)
        self.check_store()

    def done_jobs(self):
        return self.ask("status", "killed")["sweeps"][0]["done"]

    def test_worker(self):
        jobs = 2 * 10 * KILLS
        sweep = self.write("sweep.yaml", SWEEP.format(last=jobs // 2 - 1))
        self.start_coordinator()
        worker = self.start_worker(1, "--batch", 4)
        self.seedfarm("submit", sweep, "--coordinator", self.address)
        for _ in range(KILLS):
            time.sleep(self.random.uniform(0.05, 0.6))
            victims = list(farm.children_of(worker.pid)) + [worker.pid]
            struck = self.random.sample(victims, self.random.randint(1, len(victims)))
            for pid in struck:
                try:
                    os.kill(pid, farm.SIGKILL)
                except ProcessLookupError:
                    pass
            if worker.pid in struck:
                worker.wait(30)
                for pid in victims:
                    farm.wait_for("the child to go with its parent", lambda: not farm.is_alive(pid), 30)
                worker = self.start_worker(1, "--batch", 4)
        self.finish_and_check(jobs)

    def test_coordinator(self):
        jobs = 2 * 10 * KILLS
        sweep = self.write("sweep.yaml", SWEEP.format(last=jobs // 2 - 1))
        coordinator = self.start_coordinator()
        self.start_worker(1, "--batch", 4)
        self.seedfarm("submit", sweep, "--coordinator", self.address)
        committed = 0
        for _ in range(KILLS):
            time.sleep(self.random.uniform(0.05, 0.6))
            coordinator.kill()
            coordinator.wait(30)
            coordinator.stdout.close()
            coordinator = self.start_coordinator()
            done = self.done_jobs()
            self.assertGreaterEqual(done, committed, "what was committed stays")
            committed = done
        self.finish_and_check(jobs)


if __name__ == "__main__":
    farm.main()
