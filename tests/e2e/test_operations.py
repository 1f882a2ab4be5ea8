"""Running a farm: pause, resume, priority, cancel, drain, usage, a coordinator that is killed while a worker renders."""
import hashlib
import json
import os
import subprocess

import farm

SWEEP = "prompt: a frog\nsteps: {steps}\nseed: {first}..{last}\n"


class OperationsTest(farm.FarmTest):
    def sweep(self, name, first=1, last=20, steps=4, *flags):
        return self.submit(name, SWEEP.format(first=first, last=last, steps=steps), *flags)

    def refused(self, *words, says, status=2):
        self.seedfarm(*words, "--coordinator", self.address, status=status)
        for text in says:
            self.assertIn(text, self.stderr)

    def draws(self, name):
        return [line["seed"] for line in self.log_lines(name) if line["event"] == "draw"]

    def test_the_farm_says_what_auto_is(self):
        """Fixed when a sweep is submitted, whatever the configuration says later; and a file with auto goes by its name."""
        text = SWEEP.format(first=1, last=2, steps=1) + "numerics: auto\n"
        config = self.write("coordinator.json", json.dumps({"numerics": "bf16"}))
        coordinator = self.start_coordinator("store", None, "--config", config)
        said = self.submit("half", text)
        self.assertIn("numerics auto is bf16", said)
        self.assertNotIn("auto", self.submit("full", text.replace("auto", "fp32")))
        self.assertIn("numerics auto: fixed at submission", self.seedfarm("check", self.path("half.yaml")))
        coordinator.terminate()
        coordinator.wait(30)
        coordinator.stdout.close()
        self.start_coordinator("store", None)
        self.start_worker()
        self.wait_state("full")
        self.assertEqual(self.ask("explain", self.path("half.yaml"))["rule"], "no-numerics") # bf16: a CPU has none
        self.assertTrue(json.loads(self.submit("full", text, "--json"))["numerics_auto"] == "fp32")
        refused = self.start("seedfarm-coordinator", "--store", self.path("other"), "--listen", f"ipc://{self.path('other.sock')}",
                             "--numerics", "fp8", stderr=self.log_to("refused"))
        self.assertEqual(refused.wait(30), 2)
        with open(self.path("refused.log")) as file:
            self.assertIn('--numerics: want fp32, bf16 or fp16, have "fp8"', file.read())

    def test_killed_coordinator_adopts(self):
        """kill -9 in the middle of a render: it goes on, and the new coordinator takes it over. Nothing is drawn twice."""
        coordinator = self.start_coordinator("store", None, "--heartbeat-ms", 200)
        self.hold()
        self.start_odd_worker("worker", "--batch", 1, "--hold", self.path("hold"))
        self.sweep("sweep", 1, 3, 20)
        farm.wait_for("the render to be under way", lambda: (self.worker("worker") or {}).get("step", 0) >= 1)
        coordinator.kill()
        coordinator.wait(30)
        coordinator.stdout.close()
        self.start_coordinator("store", None, "--heartbeat-ms", 200)
        farm.wait_for("its lease to be adopted", lambda: (self.worker("worker") or {}).get("leased"))
        self.release()
        state = self.wait_state("sweep")
        self.assertEqual((state["done"], state["failed"], state["rendered"]), (3, 0, 3))
        self.assertEqual(sorted(self.draws("worker")), ["1", "2", "3"], "each was drawn once")
        self.assertFalse([line for line in self.log_lines("worker") if line["event"] == "left"], "no render was given up")

    def test_pause_and_resume(self):
        """Slow enough, 50 ms a job, that a lease is a part of the sweep; what runs when it is paused stands until it is let go."""
        self.start_coordinator()
        self.sweep("sweep", 1, 60)
        self.tell("pause", "sweep")
        self.assertEqual(self.state("sweep")["state"], "paused")
        self.start_odd_worker("worker", "--step-ms", 25, "--batch", 2, "--hold", self.path("hold"))
        farm.wait_for("the worker", lambda: self.worker("worker"))
        self.sweep("other", 1001, 1010)
        self.wait_state("other")
        self.assertEqual(self.state("sweep")["done"], 0, "paused: nothing of it was begun")
        self.assertEqual((self.rule("sweep"), self.rule("sweep/7")), ("paused", "paused"))
        self.hold()
        self.tell("resume", "sweep")
        running = farm.wait_for("it to go on", lambda: self.state("sweep")["running"])
        self.tell("pause", "sweep")
        self.release()
        farm.wait_for("what runs to end", lambda: self.state("sweep")["running"] == 0)
        done = self.state("sweep")["done"]
        self.assertTrue(running <= done < 60, f"{running} ran, {done} are done")
        self.sweep("another", 2001, 2010, 4, "--wait")
        self.assertEqual(self.state("sweep")["done"], done)
        self.tell("resume", "sweep")
        self.assertEqual(self.wait_state("sweep")["done"], 60)

    def test_pause_outlives_the_coordinator(self):
        coordinator = self.start_coordinator()
        self.sweep("sweep", 1, 4)
        self.tell("pause", "sweep")
        self.tell("priority", "sweep", "7")
        coordinator.kill()
        coordinator.wait(30)
        coordinator.stdout.close()
        self.start_coordinator()
        self.assertEqual((self.state("sweep")["state"], self.state("sweep")["priority"]), ("paused", 7))
        self.start_odd_worker("worker")
        self.tell("resume", "sweep")
        self.assertEqual(self.wait_state("sweep")["done"], 4)

    def test_priority(self):
        """A higher priority goes first; out of range is refused with both values."""
        self.start_coordinator()
        self.sweep("early", 1, 30)
        self.sweep("late", 1001, 1030)
        self.tell("priority", "late", "5")
        self.assertEqual((self.state("early")["priority"], self.state("late")["priority"]), (0, 5))
        self.assertEqual(self.rule("early"), "no-workers")
        self.start_odd_worker("worker", "--step-ms", 10, "--batch", 1)
        self.wait_state("early")
        self.assertEqual(self.state("late")["state"], "done")
        seeds = [int(seed) for seed in self.draws("worker")]
        self.assertEqual(seeds, list(range(1001, 1031)) + list(range(1, 31)), "the later one was first")
        self.refused("priority", "late", "101", says=["101", "100"])
        self.refused("priority", "late", "high", says=["high"])
        self.refused("priority", "nothing", "1", says=["nothing"])

    def test_cancel_stops_within_a_step(self):
        self.start_coordinator("store", None, "--heartbeat-ms", 100)
        self.start_odd_worker("worker", "--step-ms", 300, "--batch", 1)
        self.sweep("sweep", 1, 10, 200)
        farm.wait_for("a step", lambda: (self.worker("worker") or {}).get("step", 0) >= 2)
        self.tell("cancel", "sweep")
        at = self.worker("worker")["step"]
        left = farm.wait_for("it to stop", lambda: [line for line in self.log_lines("worker") if line["event"] == "left"])
        self.assertLess(int(left[0]["step"]), at + 20, "far from the end of its 200 steps")
        self.assertEqual((self.state("sweep")["state"], self.rule("sweep")), ("cancelled", "cancelled"))
        farm.wait_for("its hands to be empty", lambda: self.worker("worker")["leased"] == 0)
        self.sweep("next", 1001, 1002, 1, "--wait")

    def test_cancel_of_what_is_finished(self):
        self.start_coordinator()
        self.start_odd_worker("worker")
        self.sweep("sweep", 1, 2, 1, "--wait")
        self.refused("cancel", "sweep", says=["sweep", "done"])
        self.refused("pause", "sweep", says=["sweep", "done"])
        self.assertEqual(self.state("sweep")["state"], "done")

    def test_drain(self):
        """Finishes what it has, delivers, exits 0; the others go on."""
        self.start_coordinator()
        self.hold()
        first = self.start_odd_worker("first", "--batch", 1, "--hold", self.path("hold"))
        self.start_odd_worker("second", "--batch", 1, "--hold", self.path("hold"))
        self.sweep("sweep", 1, 60)
        farm.wait_for("both to work", lambda: all((self.worker(name) or {}).get("leased") for name in ("first", "second")))
        self.tell("drain", "first")
        self.release()
        self.assertEqual(first.wait(farm.WAIT_S), 0)
        self.assertFalse([line for line in self.log_lines("first") if line["event"] == "left"], "it gave up nothing")
        farm.wait_for("it to be gone", lambda: not self.worker("first"))
        state = self.wait_state("sweep")
        self.assertEqual((state["done"], state["rendered"]), (60, 60))
        draws = self.draws("first") + self.draws("second")
        self.assertEqual(len(set(draws)), 60)
        self.refused("drain", "nobody", says=["nobody"])

    def test_usage(self):
        self.start_coordinator()
        self.start_odd_worker("worker", "--step-ms", 5)
        self.sweep("sweep", 1, 6, 2, "--wait")
        users = self.ask("usage")["users"]
        self.assertEqual([user["jobs"] for user in users], [6])
        self.assertGreater(users[0]["device_ms"], 0)

    def test_log_follows_a_job(self):
        """From submission to object by ids: sweep, lease, key, picture; in the coordinator's log and in the worker's."""
        self.start_coordinator()
        self.start_odd_worker("worker")
        self.sweep("sweep", 1, 1, 2, "--wait")
        sweep = self.state("sweep")["sweep"]
        lines = self.log_lines("coordinator")
        submit, lease, committed = (next(line for line in lines if line["event"] == event)
                                    for event in ("submit", "lease", "committed"))
        self.assertEqual((submit["sweep"], lease["sweep"], lease["worker"]), (sweep, sweep, "worker"))
        self.assertEqual((committed["lease"], committed["first_key"]), (lease["lease"], lease["first_key"]))
        self.assertTrue(os.path.exists(self.path("store", "objects", "sha256", committed["first_picture"][:2],
                                                 committed["first_picture"])))
        at_worker = next(line for line in self.log_lines("worker") if line["event"] == "lease")
        self.assertEqual((at_worker["lease"], at_worker["first_key"]), (lease["lease"], lease["first_key"]))

    def test_weight_out_of_range(self):
        for weight in (0, 1001, "many"):
            config = self.write("coordinator.json", json.dumps({"users": {"ada": {"weight": weight}}}))
            done = subprocess.run([farm.program("seedfarm-coordinator"), "--store", self.path("store"), "--listen",
                                   f"ipc://{self.path('w.sock')}", "--config", config], capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 2, done.stderr)
            self.assertIn("1000", done.stderr)
            self.assertIn("ada", done.stderr)

    def test_id_that_fits_two_sweeps(self):
        """Two sweeps whose ids begin alike: the short form is refused, a longer one is not."""
        self.start_coordinator()
        answer = json.loads(self.seedfarm("submit", self.write("a.yaml", SWEEP.format(first=1, last=2, steps=2)),
                                          "--coordinator", self.address, "--json"))
        path = self.path("store", "objects", "sha256", answer["sweep"][:2], answer["sweep"])
        with open(path) as file:
            resolved = file.read()
        ids = {}
        for seed in range(1, 200000):
            text = resolved.replace('"from":"1"', f'"from":"{seed}"').replace('"to":"2"', f'"to":"{seed + 1}"')
            short = hashlib.sha256(text.encode()).hexdigest()[:6]
            if short in ids:
                break
            ids[short] = seed
        for name, first in (("one", ids[short]), ("two", seed)):
            self.sweep(name, first, first + 1, 2)
        self.refused("status", short, says=[short, "more than one"])
        self.refused("cancel", short, says=[short, "more than one"])
        whole = self.state("one")["sweep"]
        self.assertEqual(self.state(whole)["name"], "one")


if __name__ == "__main__":
    farm.main()
