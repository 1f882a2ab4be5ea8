"""One fast and three slow workers, real processes: nobody waits for the slow ones, and all come to the end together."""
import datetime

import farm

JOBS, FAST_MS, SLOW_MS = 400, 100, 1000


def unix_s(line):
    return datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()


class TailTest(farm.FarmTest):
    def test_one_fast_and_three_slow(self):
        """Within 1.1 of the ideal, in which all draw until the end, each at the speed that it had."""
        self.start_coordinator()
        names = ["fast", "slow-1", "slow-2", "slow-3"]
        for name in names:
            self.start_odd_worker(name, "--step-ms", FAST_MS if name == "fast" else SLOW_MS, "--batch", 1)
        farm.wait_for("all to be here", lambda: len(self.ask("workers")["workers"]) == len(names))
        self.submit("sweep", f"prompt: a frog\nsteps: 1\nseed: 1..{JOBS}\n", "--wait")
        state = self.state("sweep")
        self.assertEqual((state["done"], state["failed"]), (JOBS, 0))
        lines = self.log_lines("coordinator")
        took_s = unix_s(next(line for line in lines if line["event"] == "sweep-done")) - \
            unix_s(next(line for line in lines if line["event"] == "lease"))
        ideal_s = JOBS / sum(1 / self.worker(name)["job_ms"] for name in names) / 1000
        print(f"{took_s:.1f} s, {took_s / ideal_s:.3f} of the ideal", {name: self.worker(name)["jobs_done"] for name in names})
        self.assertLess(took_s, 1.1 * ideal_s)


if __name__ == "__main__":
    farm.main()
