"""Bad days: a worker that is stopped, one that fails every job, a job that fails everywhere, memory refused, a worker that lives
and gets nowhere, a model of the right name and another digest. Each ends as docs/COORDINATOR.md says, and `explain` says so.
"""
import os
import shutil
import signal

import farm

SWEEP = "prompt: a frog\nsteps: {steps}\nseed: 1..{last}\n"


class TroubleTest(farm.FarmTest):
    def check_done(self, name, jobs):
        """All done, each committed by one render, every file whole."""
        state = self.wait_state(name)
        self.assertEqual((state["done"], state["failed"], state["rendered"]), (jobs, 0, jobs))
        self.seedfarm("fetch", name, "--coordinator", self.address, "--out", self.path("out"))
        self.assertEqual(len(self.pictures()), jobs)
        return state

    def test_stopped_worker(self):
        """SIGSTOP: silence ends its leases, others draw them. SIGCONT: it is the same worker, and works on."""
        self.start_coordinator("store", None, "--heartbeat-ms", 200, "--liveness-ms", 1500)
        stopped = self.start_odd_worker("stopped", "--step-ms", 50, "--batch", 2)
        self.submit("sweep", SWEEP.format(steps=10, last=40))
        farm.wait_for("work to begin", lambda: (self.worker("stopped") or {}).get("leased"))
        os.kill(stopped.pid, signal.SIGSTOP)
        farm.wait_for("its leases to come back", lambda: self.state("sweep")["running"] == 0)
        self.assertEqual(self.rule("stopped"), "absent")
        self.assertEqual(self.rule("sweep"), "no-workers")
        self.hold()
        self.start_odd_worker("other", "--batch", 2, "--hold", self.path("hold"))
        farm.wait_for("the other one to take over", lambda: (self.worker("other") or {}).get("leased"))
        os.kill(stopped.pid, signal.SIGCONT)
        before = len([line for line in self.log_lines("stopped") if line["event"] == "draw"])
        farm.wait_for("it to be back", lambda: self.worker("stopped"))
        farm.wait_for("it to draw again",
                      lambda: len([line for line in self.log_lines("stopped") if line["event"] == "draw"]) > before)
        self.release()
        self.check_done("sweep", 40)
        self.assertGreaterEqual(self.worker("other")["jobs_done"], 1)

    def test_late_results_are_taken(self):
        """The coordinator is away while a worker goes on: what it finishes meanwhile is taken, and drawn once."""
        coordinator = self.start_coordinator("store", None, "--heartbeat-ms", 200, "--liveness-ms", 1000)
        self.start_odd_worker("late", "--step-ms", 20, "--batch", 1)
        self.submit("sweep", SWEEP.format(steps=2, last=20))
        farm.wait_for("work to begin", lambda: self.state("sweep")["done"] > 0)
        os.kill(coordinator.pid, signal.SIGSTOP)
        drawn = len([line for line in self.log_lines("late") if line["event"] == "draw"])
        farm.wait_for("it to notice", lambda: any(line["event"] == "coordinator-away" for line in self.log_lines("late")) or
                      len([line for line in self.log_lines("late") if line["event"] == "draw"]) >= min(20, drawn + 1))
        os.kill(coordinator.pid, signal.SIGCONT)
        self.check_done("sweep", 20)
        draws = [line["seed"] for line in self.log_lines("late") if line["event"] == "draw"]
        self.assertEqual(len(draws), len(set(draws)), "nothing was drawn twice")

    def test_worker_that_always_fails(self):
        """Three different jobs in a row: benched, and those jobs are not charged for it."""
        self.start_coordinator()
        self.start_odd_worker("bad", "--bad-all", "--batch", 1)
        self.submit("sweep", SWEEP.format(steps=2, last=12))
        bad = farm.wait_for("the bench", lambda: self.worker("bad") if (self.worker("bad") or {}).get("benched_ms") else None)
        self.assertIn("NaN", bad["bench_reason"])
        self.assertIn(bad["jobs_failed"], (3, 4), "it stops at the third; a lease that was in its hands already may fail too")
        self.assertEqual(self.rule("bad"), "benched")
        explained = self.ask("explain", "sweep")
        self.assertEqual(explained["rule"], "benched")
        self.assertIn("bad", explained["text"])
        self.assertEqual(self.state("sweep")["failed"], 0)
        self.start_odd_worker("good")
        self.check_done("sweep", 12)
        self.assertTrue(self.worker("bad"), "it is still connected")
        self.assertEqual(self.worker("good")["jobs_done"], 12)

    def test_job_that_always_fails(self):
        """Three distinct workers: it has failed for good; the others are done; `retry` asks again."""
        self.start_coordinator()
        bad = [self.start_odd_worker(f"worker-{number}", "--bad-seed", 3, "--batch", 1) for number in range(3)]
        self.submit("sweep", SWEEP.format(steps=2, last=8), "--wait", status=1)
        state = self.state("sweep")
        self.assertEqual((state["state"], state["done"], state["failed"]), ("done", 7, 1))
        self.assertIn("seed 3: NaN", state["last_error"])
        self.assertEqual(self.rule("sweep/2"), "failed")
        self.assertIn("seed 3: NaN", self.ask("explain", "sweep/2")["text"])
        failures = [line for number in range(3) for line in self.log_lines(f"worker-{number}") if line["event"] == "failure"]
        self.assertEqual(len(failures), 3, "each worker tried it once")
        for process in bad:
            process.terminate()
            self.assertEqual(process.wait(60), 0)
        self.start_odd_worker("good")
        self.tell("retry", "sweep")
        state = farm.wait_for("the retry", lambda: self.state("sweep") if self.state("sweep")["done"] == 8 else None)
        self.assertEqual((state["state"], state["failed"]), ("done", 0))

    def test_memory_refused(self):
        """Too many at once: half as many; nobody is charged."""
        self.start_coordinator()
        self.start_odd_worker("small", "--most", 2, "--batch", 16)
        self.submit("sweep", SWEEP.format(steps=2, last=40))
        self.check_done("sweep", 40)
        draws = [int(line["jobs"]) for line in self.log_lines("small") if line["event"] == "draw"]
        self.assertEqual(max(draws), 2)
        self.assertFalse(self.worker("small")["benched_ms"])

    def test_size_that_fits_nowhere(self):
        """Not even one at a time: it waits and says so, until a worker with more memory comes."""
        self.start_coordinator()
        self.start_odd_worker("tiny", "--most", 0, "--memory", 1 << 30)
        self.submit("sweep", SWEEP.format(steps=2, last=6))
        farm.wait_for("the reason", lambda: self.rule("sweep") == "no-memory")
        self.assertEqual(self.rule("sweep/0"), "no-memory")
        state = self.state("sweep")
        self.assertEqual((state["state"], state["failed"]), ("active", 0))
        self.start_odd_worker("same", "--most", 0, "--memory", 1 << 30)
        farm.wait_for("it to connect", lambda: self.worker("same"))
        self.assertEqual(self.rule("sweep"), "no-memory", "as much memory is not more")
        self.start_odd_worker("large", "--memory", 2 << 30)
        self.check_done("sweep", 6)

    def test_no_progress(self):
        """A worker that answers heartbeats and gets nowhere: its lease runs out, and the jobs go elsewhere."""
        self.start_coordinator("store", None, "--patience-percent", 1, "--heartbeat-ms", 200, "--liveness-ms", 10000)
        self.start_odd_worker("stuck", "--step-ms", 50, "--stuck-step", 2, "--batch", 1)
        self.submit("sweep", SWEEP.format(steps=4, last=4))
        expired = farm.wait_for("its lease to run out", lambda: [line for line in self.log_lines("coordinator")
                                                                 if line["event"] == "lease-expired"])
        self.assertEqual(expired[0]["worker"], "stuck")
        farm.wait_for("it to be told", lambda: [line for line in self.log_lines("stuck") if line["event"] == "left"])
        self.assertTrue(self.worker("stuck"), "it never fell silent")
        self.start_odd_worker("good", "--batch", 1)
        self.check_done("sweep", 4)

    def test_model_of_another_digest(self):
        """A worker's own model of the right name and other bytes is not used: the right one is fetched."""
        other = self.path("models", "demo")
        shutil.copytree(farm.DEMO, other)
        with open(os.path.join(other, "model_index.json"), "a") as file:
            file.write("\n")
        self.start_coordinator()
        self.start("odd_worker", "--coordinator", self.address, "--cache", self.path("named"), "--name", "named", "--models",
                   self.path("models"), stderr=self.log_to("named"))
        self.submit("sweep", SWEEP.format(steps=2, last=2))
        self.check_done("sweep", 2)
        self.assertEqual(len(os.listdir(self.path("named", "models"))), 1, "the right one came into the cache")


if __name__ == "__main__":
    farm.main()
