"""Files that jobs name: they go ahead of their sweep, a worker fetches them by digest, and what is wrong is said first."""
import hashlib
import json
import os

import farm

SWEEP = "prompt: a frog\nsteps: 2\nseed: 1..2\n"


class FilesTest(farm.FarmTest):
    def put(self, name, data):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as file:
            file.write(data)
        return hashlib.sha256(data).hexdigest()

    def picture(self, name, width, height, shade):
        """Its digest; a file of several pieces, since no two of its bytes are alike for long."""
        noise = b"".join(hashlib.sha512(b"%d %d" % (shade, i)).digest() for i in range(width * height * 3 // 64 + 1))
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        farm.write_png(self.path(name), width, height, noise[:width * height * 3])
        return farm.sha256(self.path(name))

    def test_pictures_reach_the_worker(self):
        first, second = self.picture("first.png", 768, 768, 1), self.picture("below/second.png", 768, 768, 2)
        self.start_coordinator()
        self.start_odd_worker("worker", "--batch", 8)
        self.submit("sweep", SWEEP + "size: 768x768\ninit: [first.png, below/second.png, \"\"]\n")
        state = self.wait_state("sweep")
        self.assertEqual((state["done"], state["failed"]), (6, 0))
        for digest in (first, second):
            self.assertEqual(farm.sha256(self.path("worker", "models", digest)), digest)
        lines = self.seedfarm("list", "sweep", "--coordinator", self.address, "--json").splitlines()
        jobs = [json.loads(line) for line in lines]
        self.assertEqual(sorted({json.loads(job["spec"]).get("init", "") for job in jobs}),
                         sorted({first, second, ""}))

    def test_a_picture_of_another_size_is_refused_before_anything_is_sent(self):
        self.picture("good.png", 64, 48, 1)
        self.picture("wide.png", 72, 48, 2)
        self.put("none.png", b"no picture")
        sweep = self.write("start.yaml", SWEEP + "size: 64x48\ninit: [good.png, wide.png]\n")
        self.seedfarm("check", sweep, status=2)
        self.assertIn("init: want a picture of the job's size 64x48, the file's is 72x48", self.stderr)
        sweep = self.write("start.yaml", SWEEP + "size: 64x48\ninit: none.png\n")
        self.seedfarm("check", sweep, status=2)
        self.assertIn("none.png", self.stderr)

    def test_a_mask_keeps_what_is_black(self):
        """With a model that is not one for inpainting: asked for anything else, only what is white changes."""
        self.picture("start.png", 64, 48, 1)
        black, half = bytes(64 * 48 * 3), bytes(64 * 24 * 3) + b"\xff" * (64 * 24 * 3)
        farm.write_png(self.path("black.png"), 64, 48, black)
        farm.write_png(self.path("half.png"), 64, 48, half)
        def drawn(prompt, mask):
            return json.loads(self.seedfarm("render", "--prompt", prompt, "--size", "64x48", "--steps", "3", "--json",
                                            "--sampler", "Euler a", "--init", self.path("start.png"), "--mask", self.path(mask),
                                            "-o", self.path("drawn.png")))["pixel_digest"]
        self.assertEqual(drawn("a frog", "black.png"), drawn("neon sign of a penguin", "black.png"))
        self.assertNotEqual(drawn("a frog", "half.png"), drawn("neon sign of a penguin", "half.png"))

    def test_memory_chooses_the_tiling(self):
        """Before work, once, and into the job: the same file is the same sweep wherever it is read."""
        text = "prompt: a frog\nsteps: 1\nseed: 1..2\nsize: [64x64, 512x512]\nvae_tiling: within {}\n"
        def tiling(bound):
            said = json.loads(self.seedfarm("check", self.write("tiled.yaml", text.format(bound)), "--json"))
            return json.loads(said["last"]).get("vae_tiling", "0")
        self.assertEqual(tiling("1G"), "0")
        self.assertEqual(tiling("150M"), "256")
        self.seedfarm("check", self.write("tiled.yaml", text.format("60M")), status=1)
        self.assertIn("vae_tiling: memory: want at most the budget of 62914560 bytes", self.stderr)
        self.seedfarm("check", self.write("tiled.yaml", text.format("12T")), status=2)
        self.assertIn('tiled.yaml:5: vae_tiling: want pixels a side, or "within 12G"', self.stderr)
        self.start_coordinator()
        self.start_odd_worker("worker", "--batch", 1)
        self.submit("tiled", text.format("150M"))
        self.assertEqual(self.wait_state("tiled")["done"], 4)
        self.assertEqual(self.ask("status", self.path("tiled.yaml"))["sweeps"][0]["done"], 4) # found by the file, too
        lines = self.seedfarm("list", "tiled", "--coordinator", self.address, "--json").splitlines()
        self.assertEqual({json.loads(json.loads(line)["spec"])["vae_tiling"] for line in lines}, {"256"})


if __name__ == "__main__":
    farm.main()
