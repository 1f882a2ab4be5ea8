"""`seedfarm run` as a newcomer meets it: pictures, resume, growth, reproduction, sheets, no orphans."""
import json
import os
import signal
import time

import farm

FROG = """name: frog
prompt: a van gogh painting of a frog
seed: 0..{last}
steps: 4
cfg: 4.5
sampler: Euler
"""


class RunTest(farm.FarmTest):
    def test_pictures_again_and_grown(self):
        sweep = self.write("frog.yaml", FROG.format(last=5))
        first = self.run_sweep(sweep)
        self.assertEqual((first["jobs"], first["done"], first["failed"], first["rendered"]), (6, 6, 0, 6))
        before = self.pictures()
        self.assertEqual(len(before), 6)
        self.assertEqual(len(set(before.values())), 6)
        times = {name: os.stat(self.path("out", name)).st_mtime_ns for name in before}

        again = self.run_sweep(sweep)
        self.assertEqual((again["done"], again["rendered_now"]), (6, 0), "the same sweep: nothing is drawn")
        self.assertEqual(self.pictures(), before)
        self.assertEqual(times, {name: os.stat(self.path("out", name)).st_mtime_ns for name in before}, "files are kept")

        self.write("frog.yaml", FROG.format(last=9))
        grown = self.run_sweep(sweep)
        self.assertEqual((grown["done"], grown["rendered"]), (10, 4), "only the new seeds are drawn")
        after = self.pictures()
        self.assertEqual({name: after[name] for name in before}, before, "names and pixels stay")

        self.write("frog.yaml", FROG.format(last=9).replace("prompt: a van gogh painting of a frog",
                   "prompt: [neon sign of a penguin, a van gogh painting of a frog]"))
        both = self.run_sweep(sweep)
        self.assertEqual((both["done"], both["rendered"]), (20, 10), "a prompt in front: only its pictures are drawn")
        whole = self.pictures()
        self.assertEqual({name: whole[name] for name in after}, after)

    def test_reproduce_and_render_agree_with_the_farm(self):
        sweep = self.write("frog.yaml", FROG.format(last=2))
        self.run_sweep(sweep)
        name, digest = sorted(self.pictures().items())[1]
        answer = json.loads(self.seedfarm("reproduce", self.path("out", name), "--json"))
        self.assertTrue(answer["identical"])
        alone = json.loads(self.seedfarm("render", "--prompt", "a van gogh painting of a frog", "--seed", 1, "--steps", 4,
                                         "--cfg", "4.5", "--sampler", "Euler", "-o", self.path("one.png"), "--json"))
        self.assertIn(alone["pixel_digest"], self.pictures().values())
        self.assertEqual(farm.sha256(self.path("one.png")), alone["picture"])

    def test_sheet_and_reading_commands_on_a_store(self):
        sweep = self.write("frog.yaml", FROG.format(last=3) + "negative: [\"\", blue]\n")
        self.run_sweep(sweep)
        self.seedfarm("grid", sweep, "--store", self.path("store"), "-o", self.path("sheet.png"))
        with open(self.path("sheet.png"), "rb") as file:
            self.assertEqual(file.read(8), b"\x89PNG\r\n\x1a\n")
        status = json.loads(self.seedfarm("status", "frog", "--store", self.path("store"), "--json"))
        self.assertEqual(status["sweeps"][0]["done"], 8)
        lines = self.seedfarm("list", "frog", "--store", self.path("store"), "--json").splitlines()
        self.assertEqual([json.loads(line)["index"] for line in lines], list(range(8)))
        told = json.loads(self.seedfarm("explain", "frog/3", "--store", self.path("store"), "--json"))
        self.assertEqual(told["rule"], "done")
        self.seedfarm("fetch", sweep, "--store", self.path("store"), "--out", self.path("elsewhere"))
        self.assertEqual(self.pictures("elsewhere"), self.pictures())

    def test_no_orphan_is_left(self):
        for blow in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            sweep = self.write("long.yaml", FROG.format(last=400).replace("steps: 4", "steps: 20"))
            run = self.start("seedfarm", "run", sweep, "--store", self.path("store"), "--out", self.path("out"), "--workers", 2,
                             stdout=farm.subprocess.DEVNULL, stderr=farm.subprocess.DEVNULL)
            children = farm.wait_for("children at work", lambda: (lambda c: c if len(c) >= 5 else None)(
                farm.children_of(run.pid)))
            time.sleep(0.5)
            run.send_signal(blow)
            run.wait(30)
            farm.wait_for(f"children to go after {blow.name}", lambda: not any(map(farm.is_alive, children)), 30)

    def test_check_counts_and_submits_nothing(self):
        sweep = self.write("frog.yaml", FROG.format(last=9999999))
        answer = json.loads(self.seedfarm("check", sweep, "--json"))
        self.assertEqual((answer["jobs"], answer["first_index"], answer["last_index"]), (10000000, 0, 9999999))
        self.assertEqual(json.loads(answer["last"])["seed"], "9999999")
        self.assertEqual(os.listdir(self.folder), ["frog.yaml"])


if __name__ == "__main__":
    farm.main()
