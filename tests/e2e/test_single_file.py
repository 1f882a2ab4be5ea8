"""The same weights as a diffusers folder, with its new and its old key forms, and as a single file: the same pixels. And what is no
such file is refused for what it is."""
import json
import os
import sys

import farm

sys.path.insert(0, os.path.join(farm.SOURCE, "tests", "tools"))
import single_file  # noqa: E402


class SingleFileTest(farm.FarmTest):
    def pixels(self, model, *flags):
        out = self.seedfarm("render", "--model", model, "--prompt", "a photo of a cat", "--negative", "blur", "--steps", 2, "--size",
                            "32x24", "--seed", 3, "-o", self.path("x.png"), "--json", *flags)
        return json.loads(out)["pixel_digest"]

    def same(self, family, *flags):
        single_file.write(self.path(family), family)
        digests = [self.pixels(self.path(family, form), *flags) for form in ("new", "old", "single.safetensors")]
        self.assertEqual(digests, digests[:1] * 3, family)

    def test_sd1(self):
        self.same("sd1")

    def test_sd2(self):
        self.same("sd2")

    def test_sdxl(self):
        self.same("sdxl")

    def test_refiner(self):
        self.same("refiner")

    def test_inpaint(self):
        gradient = bytes(v for y in range(24) for x in range(32) for v in (8 * x, 10 * y, 255 - 8 * x))
        farm.write_png(self.path("init.png"), 32, 24, gradient)
        farm.write_png(self.path("mask.png"), 32, 24, bytes(255 * (8 <= x < 20 and y >= 6) for y in range(24) for x in range(32) for _ in "rgb"))
        for family in ("sd1-inpaint", "sd2-inpaint", "sdxl-inpaint"):
            self.same(family, "--init", self.path("init.png"), "--mask", self.path("mask.png"))
            model = self.path(family, "single.safetensors")
            self.seedfarm("render", "--model", model, "--prompt", "x", "--size", "32x24", "-o", self.path("x.png"), status=2)
            self.assertIn("mask", self.stderr)

    def test_info(self):
        single_file.write(self.path("sdxl"), "sdxl")
        for path, family in (("single.safetensors", "sdxl"), ("new", "sdxl")):
            told = json.loads(self.seedfarm("model", "info", self.path("sdxl", path), "--size", "64x64", "--batch", 2, "--json"))
            self.assertEqual((told["family"], told["whole"], told["precision"], told["memory"]["batch"]), (family, True, "F16", 2))
            self.assertGreater(told["memory"]["weights"], 0)
        digest = farm.sha256(self.path("sdxl", "single.safetensors"))
        told = json.loads(self.seedfarm("model", "info", self.path("sdxl", "single.safetensors"), "--json"))
        self.assertEqual((told["digest"], told["autov2"]), (digest, digest[:10]))
        os.remove(self.path("sdxl", "new", "vae", "diffusion_pytorch_model.safetensors"))
        told = json.loads(self.seedfarm("model", "info", self.path("sdxl", "new"), "--json", status=1))
        self.assertFalse(told["whole"])
        self.assertIn("vae", told["why"])

    def test_through_a_farm(self):
        """A worker without the file fetches it by its digest; reproduce finds it by that too."""
        single_file.write(self.path("sd1"), "sd1")
        self.start_coordinator()
        self.start_worker()
        self.submit("sweep", f"model: {self.path('sd1', 'single.safetensors')}\nprompt: a cat\nsize: 32x24\nsteps: 1\nseed: 1..2\n")
        state = self.wait_state("sweep")
        self.assertEqual((state["done"], state["failed"]), (2, 0))
        digest = farm.sha256(self.path("sd1", "single.safetensors"))
        self.assertEqual(farm.sha256(self.path("worker-1", "models", digest)), digest)

    def test_refused(self):
        def refused(tensors, *words):
            single_file.save(self.path("bad.safetensors"), tensors)
            self.seedfarm("render", "--model", self.path("bad.safetensors"), "--prompt", "x", "-o", self.path("x.png"), status=2)
            for word in words:
                self.assertIn(word, self.stderr)

        one = ((2,), b"\0" * 4)
        refused({"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": one}, "Flux")
        refused({"model.diffusion_model.joint_blocks.0.x.weight": one}, "Stable Diffusion 3")
        refused({"model.diffusion_model.input_blocks.1.0.time_stack.x": one}, "video")
        refused({"unet.x.lora_A.weight": one}, "a LoRA", "lora")
        refused({"emb_params": ((3, 768), b"\0" * 4608)}, "a textual inversion for Stable Diffusion 1 (3 vectors of width 768)", "embedding")
        refused({"<frog>": ((1024,), b"\0" * 2048)}, "a textual inversion for Stable Diffusion 2 (1 vector of width 1024)")
        refused({"clip_l": ((1, 768), b"\0" * 1536), "clip_g": ((1, 1280), b"\0" * 2560)},
                "for Stable Diffusion XL (1 vector of width 768 and 1280)")
        refused({"something": one, "else": one}, "no kind that is known")
        single_file.write(self.path("sd1"), "sd1")
        with open(self.path("sd1", "single.safetensors"), "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header, data = json.loads(file.read(size)), file.read()
        whole = {name: (tuple(t["shape"]), data[slice(*t["data_offsets"])]) for name, t in header.items()}
        refused(whole | {"unknown.weight": one, "v_pred": one}, "unknown.weight", "beyond those of Stable Diffusion 1", "has 1:")
        refused({k: v for k, v in whole.items() if ".out_proj." not in k}, "no such tensor for 4: text_model.encoder.layers.0", ", ...")
        refused(whole | {"model.diffusion_model.input_blocks.7.0.x": one}, "model.diffusion_model.input_blocks.7.0.x")
        with open(self.path("old.ckpt"), "wb") as file:
            file.write(b"\x80\x02}q\0")
        self.seedfarm("render", "--model", self.path("old.ckpt"), "--prompt", "x", "-o", self.path("x.png"), status=2)
        self.assertIn("convert it to safetensors", self.stderr)


if __name__ == "__main__":
    farm.main()
