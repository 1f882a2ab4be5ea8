"""A farm started by hand: submit, status, workers, explain, cancel, late workers, two coordinators, tcp."""
import os
import subprocess
import time

import farm

SWEEP = """name: {name}
prompt: a van gogh painting of a frog
seed: 0..{last}
steps: {steps}
cfg: 4.5
"""


class FarmTest(farm.FarmTest):
    def sweep(self, name, last=7, steps=2):
        return self.write(f"{name}.yaml", SWEEP.format(name=name, last=last, steps=steps))

    def test_life_of_a_sweep_over_tcp(self):
        self.start_coordinator("store", "tcp://127.0.0.1:17731")
        self.seedfarm("submit", self.sweep("waits"), "--coordinator", self.address)
        self.assertEqual(self.ask("explain", "waits/0")["rule"], "no-workers")
        self.assertEqual(self.ask("explain")["rule"], "no-workers")
        self.start_worker()
        farm.wait_for("the sweep", lambda: self.state("waits")["state"] == "done")
        workers = self.ask("workers")["workers"]
        self.assertEqual((workers[0]["name"], workers[0]["jobs_done"]), ("worker-1", 8))
        self.assertEqual(self.ask("explain", "waits/0")["rule"], "done")
        self.assertEqual(self.ask("explain")["rule"], "done")
        self.seedfarm("explain", "waits/8", "--coordinator", self.address, status=2)
        self.seedfarm("status", "nothing", "--coordinator", self.address, status=2)

    def test_submit_and_wait(self):
        self.start_coordinator()
        self.start_worker()
        self.seedfarm("submit", self.sweep("short"), "--coordinator", self.address, "--wait")
        self.assertEqual(self.state("short")["done"], 8)

    def test_model_and_prompts_travel(self):
        """A worker without any model of its own gets it from the coordinator, and a prompt file goes ahead of its sweep."""
        self.start_coordinator()
        with open(self.path("captions.txt"), "w") as file:
            file.write("a van gogh painting of a frog\nneon sign of a penguin\na watercolor castle\n")
        sweep = self.write("captions.yaml", "name: captions\nprompt: {file: captions.txt}\nseed: [1, 2]\nsteps: 2\n")
        self.seedfarm("submit", sweep, "--coordinator", self.address)
        os.remove(self.path("captions.txt"))
        self.start("seedfarm-worker", "--coordinator", self.address, "--device", "cpu", "--cache", self.path("bare"), "--name",
                   "bare", stderr=self.log_to("bare"))
        farm.wait_for("the sweep", lambda: self.state("captions")["state"] == "done")
        self.seedfarm("fetch", "captions", "--coordinator", self.address, "--out", self.path("out"))
        self.assertEqual(len(set(self.pictures().values())), 6)

    def test_cancel_stops_within_a_step(self):
        self.start_coordinator()
        self.start_worker()
        self.seedfarm("submit", self.sweep("long", 4000, 50), "--coordinator", self.address)
        farm.wait_for("work to begin", lambda: self.state("long")["running"] > 0)
        time.sleep(0.5)
        self.seedfarm("cancel", "long", "--coordinator", self.address)
        self.assertEqual(self.state("long")["state"], "cancelled")
        farm.wait_for("the worker to stop", lambda: self.ask("workers")["workers"][0]["leased"] == 0, 20)
        self.seedfarm("submit", self.sweep("next"), "--coordinator", self.address, "--wait")
        self.assertEqual(self.state("next")["done"], 8)

    def test_a_store_has_one_coordinator(self):
        self.start_coordinator()
        second = subprocess.run([farm.program("seedfarm-coordinator"), "--store", self.path("store"), "--listen",
                                 f"ipc://{self.path('other.sock')}"], capture_output=True, text=True, timeout=30)
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("store", second.stderr)

    def test_coordinator_reads_a_config_file(self):
        address = f"ipc://{self.path('config.sock')}"
        config = self.write("coordinator.json", farm.json.dumps({"store": self.path("store"), "listen": [address],
                                                                 "liveness-ms": 5000}))
        coordinator = self.start("seedfarm-coordinator", "--config", config, stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
        self.assertEqual(coordinator.stdout.readline(), f"ready {address}\n")
        self.write("coordinator.json", '{"stor": "x"}')
        wrong = subprocess.run([farm.program("seedfarm-coordinator"), "--config", config], capture_output=True, text=True,
                               timeout=30)
        self.assertEqual(wrong.returncode, 2)
        self.assertIn('"stor"', wrong.stderr)

    def test_the_same_sweep_twice_and_a_shared_part(self):
        self.start_coordinator()
        self.start_worker()
        first = self.sweep("first", 7)
        self.seedfarm("submit", first, "--coordinator", self.address, "--wait")
        self.seedfarm("submit", first, "--coordinator", self.address, "--wait")
        self.assertEqual(self.state("first")["rendered"], 8)
        self.seedfarm("submit", self.sweep("second", 11), "--coordinator", self.address, "--wait")
        self.assertEqual((self.state("second")["done"], self.state("second")["rendered"]), (12, 4))


if __name__ == "__main__":
    farm.main()
