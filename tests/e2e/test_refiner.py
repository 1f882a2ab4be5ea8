"""A second model walks the end of the way: it travels to the worker like the first one, and the same job gives the same bytes."""
import json
import os

import farm

REFINER = os.path.join(farm.SOURCE, "tests", "golden", "models", "tiny-a")
SWEEP = f"prompt: a frog\nsteps: 5\nsize: 32x32\nseed: 1..2\nrefiner: [{REFINER}, \"\"]\n"


class RefinerTest(farm.FarmTest):
    def test_farm_and_render_agree(self):
        self.start_coordinator()
        self.start_worker()
        self.submit("sweep", SWEEP)
        state = self.wait_state("sweep")
        self.assertEqual((state["done"], state["failed"]), (4, 0))
        lines = self.seedfarm("list", "sweep", "--coordinator", self.address, "--json").splitlines()
        specs = [json.loads(json.loads(line)["spec"]) for line in lines]
        refined = [spec for spec in specs if "refiner" in spec]
        self.assertEqual(len(refined), 2)
        self.assertTrue(os.path.isdir(self.path("worker-1", "models", refined[0]["refiner"])))
        self.seedfarm("fetch", "sweep", "--coordinator", self.address, "--out", self.path("out"))
        pixels = self.pictures()
        self.assertEqual(len(set(pixels.values())), 4)

        common = ("render", "--prompt", "a frog", "--steps", 5, "--size", "32x32", "--seed", 1, "--json")
        mine = json.loads(self.seedfarm(*common, "--refiner", REFINER, "-o", self.path("mine.png")))
        self.assertIn(mine["pixel_digest"], pixels.values())
        later = json.loads(self.seedfarm(*common, "--refiner", REFINER, "--refiner-switch", "0.3", "-o", self.path("later.png")))
        self.assertNotIn(later["pixel_digest"], pixels.values())
        os.environ["SEEDFARM_MODELS"] = os.path.dirname(REFINER)
        self.seedfarm("reproduce", self.path("mine.png"))
        del os.environ["SEEDFARM_MODELS"]

    def test_what_makes_no_sense_is_said(self):
        self.seedfarm("render", "--prompt", "a frog", "--refiner-switch", "0.5", status=2)
        self.assertIn("refiner_switch: want refiner", self.stderr)
        self.seedfarm("render", "--prompt", "a frog", "--refiner", "nowhere", status=2)
        self.assertIn("refiner: model \"nowhere\"", self.stderr)
        self.seedfarm("render", "--prompt", "a frog", "--size", "32x32", "--steps", 1, "--refiner", REFINER, "-o",
                      self.path("none.png"), status=2)
        self.assertIn("refiner_switch: want a share that leaves each model one of the 1 evaluations, 0.8 leaves the refiner none",
                      self.stderr)


if __name__ == "__main__":
    farm.main()
