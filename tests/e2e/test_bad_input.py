"""Bad input: one sentence naming the thing and both values, the right exit status, and nothing stored."""
import json
import os
import shutil
import struct
import subprocess
import unittest

import farm

GOOD = "prompt: a frog\nseed: 0..3\nsteps: 2\n"


class BadInputTest(farm.FarmTest):
    def refused(self, arguments, *words, status=2):
        """The command is refused in one line that holds every word, and leaves no store behind."""
        before = sorted(os.listdir(self.folder))
        self.seedfarm(*arguments, status=status)
        lines = [line for line in self.stderr.splitlines() if not line.startswith("seedfarm: warning:")]
        self.assertEqual(len(lines), 1, self.stderr)
        for word in words:
            self.assertIn(word, lines[0])
        after = [name for name in os.listdir(self.folder) if name != "cache"]
        self.assertEqual(sorted(after), [name for name in before if name != "cache"], "nothing is stored")

    def refused_sweep(self, text, *words):
        sweep = self.write("sweep.yaml", text)
        self.refused(["run", sweep, "--store", self.path("store"), "--out", self.path("out")], *words)
        self.refused(["check", sweep], *words)

    def test_sweep_files(self):
        self.refused_sweep(GOOD + "smapler: Euler\n", "smapler", "sampler", ":4:")
        self.refused_sweep(GOOD.replace("steps: 2", "steps: many"), "steps", "many", ":3:")
        self.refused_sweep(GOOD + "cfg: []\n", "cfg", "empty", ":4:")
        self.refused_sweep(GOOD + "size: 63x64\n", "63x64", "4")
        self.refused_sweep(GOOD + "size: 65536x64\n", "65536", "4096")
        self.refused_sweep(GOOD.replace("0..3", "-7"), "seed", "-7")
        self.refused_sweep(GOOD.replace("0..3", "18446744073709551616"), "seed", "18446744073709551616")
        self.refused_sweep(GOOD.replace("steps: 2", "steps: 0"), "steps", "0")
        self.refused_sweep(GOOD + "model: no-such-model\n", "no-such-model")
        self.refused_sweep("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n" + GOOD, "anchors", ":1:")
        self.refused_sweep("a: *a\n" + GOOD, ":1:")
        self.refused_sweep(GOOD.replace("0..3", "0..4294967294") + "cfg: [1, 2]\n", "8589934590", "4294967295")
        self.refused_sweep(GOOD.replace("a frog", "{file: missing.txt}"), "missing.txt")
        self.refused_sweep("prompt: [\n", "sweep.yaml")
        self.refused_sweep(GOOD + "hires: x\n", "hires")
        self.refused_sweep(GOOD + "lora: x\n", "lora", "no such file", ":4:")
        self.refused_sweep(GOOD + "lora: sweep.yaml:101\n", "weight", "101")
        self.refused_sweep(GOOD + "syntax: a1111\n", "syntax", "plain")

    def test_prompt_file_that_is_not_utf8(self):
        with open(self.path("prompts.txt"), "wb") as file:
            file.write(b"a frog\ncaf\xe9\n")
        self.refused_sweep(GOOD.replace("a frog", "{file: prompts.txt}"), "prompts.txt", "UTF-8")

    def test_models(self):
        broken = self.path("broken")
        shutil.copytree(farm.DEMO, broken)
        weights = os.path.join(broken, "unet", "diffusion_pytorch_model.safetensors")
        render = ["render", "--prompt", "a frog", "--steps", 1, "--model", broken, "-o", self.path("x.png")]
        with open(weights, "rb") as file:
            whole = file.read()
        with open(weights, "wb") as file:
            file.write(whole[:-1000])
        self.refused(render, "diffusion_pytorch_model.safetensors", "truncated")
        self.refused_sweep(GOOD + "model: broken\n", "diffusion_pytorch_model.safetensors", "truncated")

        size = struct.unpack("<Q", whole[:8])[0]
        header = json.loads(whole[8:8 + size])
        names = sorted((name for name in header if name != "__metadata__"), key=lambda n: header[n]["data_offsets"])
        header[names[1]]["data_offsets"][0] -= 2
        self.write_safetensors(weights, header, whole[8 + size:])
        self.refused(render, names[1])

        header = json.loads(whole[8:8 + size])
        header["conv_in.weight"]["shape"] = [4, 64, 3, 3]
        self.write_safetensors(weights, header, whole[8 + size:])
        self.refused(render, "conv_in.weight", "[64,4,3,3]", "[4,64,3,3]")

        os.remove(os.path.join(broken, "model_index.json"))
        self.refused(render, "model_index.json")
        with open(self.path("model.ckpt"), "wb") as file:
            file.write(b"\x80\x02")
        self.refused(["render", "--prompt", "x", "--model", self.path("model.ckpt"), "-o", self.path("x.png")], "model.ckpt")

    @staticmethod
    def write_safetensors(path, header, data):
        text = json.dumps(header).encode()
        with open(path, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text + data)

    def test_places_and_farms(self):
        sweep = self.write("sweep.yaml", GOOD)
        self.write("a-file", "")
        self.refused(["run", sweep, "--store", self.path("store"), "--out", self.path("a-file", "out")], "a-file")
        self.refused(["status", "--coordinator", f"ipc://{self.path('nobody.sock')}"], "nobody.sock", status=3)
        self.refused(["status"], "--coordinator")
        self.refused(["grid", "frog", "--store", self.path("nowhere"), "-o", self.path("x.png")], "nowhere")
        self.refused(["render", "--prompt", "x", "--steps", "0"], "steps", "0")
        self.refused(["frobnicate"], "frobnicate")
        self.refused(["render", "--prompt", "x", "-o", self.path("nowhere", "x.png")], "nowhere")
        self.refused(["render", "--prompt", "x", "-o", self.path("x.png"), "--trace", "/proc/x"], "/proc/x")
        self.refused(["reproduce", sweep], "sweep.yaml")

    def test_listening_beyond_loopback_is_refused(self):
        done = subprocess.run([farm.program("seedfarm-coordinator"), "--store", self.path("store"), "--listen",
                               "tcp://0.0.0.0:7799"], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 2)
        self.assertIn("0.0.0.0", done.stderr)


@unittest.skipUnless(os.geteuid() == 0, "a small tmpfs needs root")
class DiskFullTest(farm.FarmTest):
    def test_disk_full_while_storing(self):
        os.mkdir(self.path("disk"))
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", self.path("disk")], capture_output=True)
        if mounted.returncode != 0:
            self.skipTest("tmpfs cannot be mounted here")
        try:
            self.start_coordinator("disk/store", None, "--free-mark-bytes", 0)
            self.start_worker()
            with open(self.path("disk", "ballast"), "wb") as file:
                file.write(bytes(1 << 20))
            sweep = self.write("sweep.yaml", "name: full\n" + GOOD.replace("0..3", "0..299").replace("steps: 2", "steps: 1"))
            self.seedfarm("submit", sweep, "--coordinator", self.address)
            farm.wait_for("the disk to fill", lambda: "no-space" in open(self.path("coordinator.log")).read() or
                          "No space" in open(self.path("coordinator.log")).read())
            self.assertEqual(self.ask("status", "full")["sweeps"][0]["state"], "active", "the farm lives")
            done = self.ask("status", "full")["sweeps"][0]["done"]
            self.assertLess(done, 300)
            self.check_store("disk/store")
            os.remove(self.path("disk", "ballast"))
            subprocess.run(["mount", "-o", "remount,size=64m", self.path("disk")], check=True)
            farm.wait_for("the sweep to end once there is room",
                          lambda: self.ask("status", "full")["sweeps"][0]["state"] == "done", pause=0.2)
            self.assertEqual(self.ask("status", "full")["sweeps"][0]["done"], 300)
            self.check_store("disk/store")
        finally:
            for process in self.processes:
                process.kill()
                process.wait(30)
            subprocess.run(["umount", "-l", self.path("disk")], check=True)


if __name__ == "__main__":
    farm.main()
