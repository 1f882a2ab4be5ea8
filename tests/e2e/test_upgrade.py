"""Rolling upgrade: a worker of the older protocol is served, one that speaks only a newer one is told so; a coordinator is
replaced while workers render."""
import subprocess

import farm

SWEEP = "prompt: a frog\nsteps: 2\nseed: 1..{last}\n"


class UpgradeTest(farm.FarmTest):
    def start_crowd(self, *flags):
        return self.start("crowd", "--coordinator", self.address, *flags, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=self.log_to("crowd"))

    def test_older_worker_is_served(self):
        self.start_coordinator()
        self.submit("sweep", SWEEP.format(last=20))
        old = self.start_crowd("--workers", 1, "--name", "old", "--protocol", 1, "--jobs", 20, "--job-ms", 20)
        state = self.wait_state("sweep")
        self.assertEqual((state["done"], state["failed"]), (20, 0))
        self.assertEqual(self.worker("old-0")["protocol"], 1)
        self.tell("drain", "old-0")
        self.submit("more", SWEEP.format(last=30))
        new = self.start_odd_worker("new")
        self.wait_state("more")
        self.assertEqual(self.worker("new")["jobs_done"], 10, "the drained one was given nothing; 20 were there already")
        self.assertEqual((old.poll(), new.poll()), (None, None), "it was sent nothing that it does not know")
        self.assertEqual(self.worker("new")["protocol"], 3)

    def test_older_worker_shows_no_previews(self):
        self.start_coordinator()
        self.submit("sweep", SWEEP.format(last=1))
        old = self.start_crowd("--workers", 1, "--name", "old", "--protocol", 2, "--jobs", 1, "--job-ms", 600000)
        farm.wait_for("the lease", lambda: (self.worker("old-0") or {}).get("leased"))
        self.seedfarm("preview", "sweep/0", "--coordinator", self.address, status=2)
        self.assertIn('worker "old-0" has it and speaks protocol 2, previews are of 3: upgrade it', self.stderr)
        self.assertIsNone(old.poll(), "it was sent nothing that it does not know")

    def test_newer_worker_is_told(self):
        self.start_coordinator()
        self.submit("sweep", SWEEP.format(last=2))
        new = self.start_crowd("--workers", 1, "--protocol", 4, "--jobs", 2)
        self.assertEqual(new.wait(farm.WAIT_S), 2)
        with open(self.path("crowd.log")) as file:
            said = file.read()
        self.assertIn("4", said)
        self.assertIn("3", said)
        self.assertIn("protocol", said)
        self.assertEqual(self.ask("workers")["workers"], [])

    def test_coordinator_is_replaced(self):
        """SIGTERM, and another one on the same store: workers wait for it and go on; nothing is drawn twice."""
        coordinator = self.start_coordinator()
        self.hold()
        self.start_odd_worker("worker", "--batch", 2, "--hold", self.path("hold"))
        self.submit("sweep", SWEEP.format(last=60))
        farm.wait_for("work to begin", lambda: (self.worker("worker") or {}).get("leased"))
        coordinator.terminate()
        self.assertEqual(coordinator.wait(60), 0)
        coordinator.stdout.close()
        self.start_coordinator()
        farm.wait_for("its lease to be adopted", lambda: (self.worker("worker") or {}).get("leased"))
        self.release()
        state = self.wait_state("sweep")
        self.assertEqual((state["done"], state["rendered"]), (60, 60))
        draws = [int(line["jobs"]) for line in self.log_lines("worker") if line["event"] == "draw"]
        self.assertEqual(sum(draws), 60)


if __name__ == "__main__":
    farm.main()
