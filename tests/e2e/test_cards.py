"""Farms with cards, emulated ones: which worker may take a job, cards that vanish, several cards in a machine.

The worker is seedfarm-worker built with tests/emulation: our kernels on the CPU, the reference backend in place of NVIDIA's
libraries. A tiny model, for that takes its time.
"""
import json
import os
import unittest

import farm

TINY = os.path.join(farm.SOURCE, "tests", "golden", "models", "tiny-b")
SWEEP = "model: {model}\nprompt: a frog\nsize: 40x40\nsteps: 2\nsampler: Euler a\n"


class Cards(farm.FarmTest):
    def environment(self):
        return {**super().environment(), "EMULATED_CUDA": self.cards, "SEEDFARM_MODELS": os.path.dirname(TINY)}

    def setUp(self):
        super().setUp()
        self.cards = "devices=1"
        self.start_coordinator("store", None, "--models", TINY)

    def start_card(self, name, *flags, device="emulated:0"):
        return self.start("seedfarm-worker-emulated", "--coordinator", self.address, "--device", device, "--threads", 1, "--cache",
                          self.path(name), "--name", name, "--models", TINY, *flags, stderr=self.log_to(name))

    def start_cpu(self, name):
        return self.start("seedfarm-worker", "--coordinator", self.address, "--device", "cpu", "--threads", 1, "--cache",
                          self.path(name), "--name", name, "--models", TINY, stderr=self.log_to(name))

    def submit_tiny(self, name, text):
        return self.submit(name, SWEEP.format(model=TINY) + text)

    def rows(self, name):
        self.seedfarm("fetch", name, "--out", self.path(name), "--coordinator", self.address)
        with open(self.path(name, "metadata.jsonl")) as file:
            rows = [json.loads(line) for line in file]
        for row in rows:
            row["device"] = self.device_of(self.path(name, row["file_name"]))
        return rows

    @staticmethod
    def device_of(path):
        """The class of device that a picture names: its text chunk seedfarm-device."""
        with open(path, "rb") as file:
            data = file.read()
        at = 8
        while at < len(data):
            size, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
            key, _, text = data[at + 8:at + 8 + size].partition(b"\0")
            if kind in (b"tEXt", b"iTXt") and key == b"seedfarm-device":
                return text.lstrip(b"\0").decode()
            at += 12 + size
        return None

    def test_numerics_decides_who_may_take_a_job(self):
        """One sweep over three numerics on a mixed farm: fp16 and bf16 go to the card alone."""
        self.start_cpu("cpu")
        self.submit_tiny("half", "seed: 0..1\nnumerics: fp16\n")
        farm.wait_for("the CPU worker", lambda: self.worker("cpu"))
        farm.wait_for("the reason", lambda: self.rule("half") == "no-numerics")
        self.start_card("card")
        self.wait_state("half")
        self.assertEqual(self.worker("cpu")["jobs_done"], 0)
        self.submit_tiny("all", "seed: 2..5\nnumerics: [fp32, bf16, fp16]\n")
        self.wait_state("all")
        classes = {}
        for row in self.rows("all"):
            classes.setdefault(row["numerics"], set()).add(row["device"])
        self.assertEqual(classes["fp16"], {"emulated sm_90 fp16"})
        self.assertEqual(classes["bf16"], {"emulated sm_90 bf16"})
        self.assertLessEqual({name.split()[0] for name in classes["fp32"]}, {"cpu", "emulated"})

    def test_what_half_precision_does_not_promise_is_said(self):
        promise = "`deterministic: true` promises the same ones"
        for name, text, said in (("half", "numerics: fp16\n", True), ("some", "numerics: [bf16, fp16]\n", True),
                                 ("full", "numerics: fp32\n", False), ("same", "numerics: fp16\ndeterministic: true\n", False)):
            self.submit_tiny(name, "seed: 0..1\n" + text)
            for what in (name, name + "/1"):
                self.assertEqual(promise in self.ask("explain", what)["text"], said, what)

    def test_a_card_that_vanishes_is_benched_and_named(self):
        self.cards = "devices=1 fail_after=2500"
        self.start_card("card")
        self.submit_tiny("sweep", "seed: 0..3\n")
        farm.wait_for("the bench", lambda: (self.worker("card") or {}).get("benched_ms"))
        reason = self.worker("card")["bench_reason"]
        self.assertIn("emulated:0 (Emulated card 0)", reason)
        self.assertIn("cudaErrorLaunchFailure", reason)
        self.assertRegex(reason, r"\[\d+,\d+,\d+,\d+\]")
        deaths = [line for line in self.log_lines("card") if line["event"] == "child-died"]
        self.assertGreaterEqual(len(deaths), 1) # and the supervisor started it anew
        self.start_cpu("cpu")
        self.wait_state("sweep")

    def test_a_card_shows_what_it_draws(self):
        """Behind its steps, while the host is ahead of it: previews come, of growing steps, and then the picture."""
        self.start_card("card")
        farm.wait_for("the card", lambda: self.worker("card"))
        self.submit("sweep", SWEEP.format(model=TINY).replace("steps: 2", "steps: 30") + "seed: 0..1\nnumerics: fp16\n")
        told = self.seedfarm("preview", "sweep/1", "--follow", "--json", "-o", self.path("live.png"), "--coordinator", self.address)
        lines = [json.loads(line) for line in told.splitlines()]
        steps = [line["step"] for line in lines[:-1]]
        self.assertTrue(steps and steps == sorted(set(steps)) and steps[-1] <= 30, steps)
        self.assertEqual({(line["worker"], line["width"], line["height"]) for line in lines[:-1]}, {("card", 5, 5)})
        self.assertEqual(farm.sha256(self.path("live.png")), lines[-1]["picture"])

    def test_a_machine_of_two_cards(self):
        self.cards = "devices=2"
        self.start_card("box", device="all")
        names = [f"box-emulated:GPU-00000000-0000-0000-0000-00000000000{i}" for i in range(2)]
        farm.wait_for("both cards", lambda: all(self.worker(name) for name in names))
        self.submit_tiny("sweep", "seed: 0..3\n")
        self.wait_state("sweep")

    def test_cards_that_are_not_there(self):
        for cards, device, words in (("devices=1", "emulated:3", "want emulated:0 to emulated:0"),
                                     ("driver=0", "emulated:0", "no NVIDIA driver"),
                                     ("driver=12040", "emulated:0", "update the driver")):
            self.cards = cards
            process = self.start_card("absent", device=device)
            self.assertEqual(process.wait(farm.WAIT_S), 2)
            with open(self.path("absent.log")) as file:
                self.assertIn(words, file.read())


if __name__ == "__main__":
    unittest.main()
