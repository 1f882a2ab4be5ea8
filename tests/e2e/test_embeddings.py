"""Words that stand for vectors (textual inversion): the file travels with its sweep, the worker draws what `render` draws, a word of
n vectors is n tokens, and what does not fit the model is said before anything is sent."""
import json
import os
import random
import struct
import sys

import farm

sys.path.insert(0, os.path.join(farm.SOURCE, "tests", "tools"))
import single_file  # noqa: E402

with open(os.path.join(farm.DEMO, "text_encoder", "config.json")) as file:
    CONFIG = json.load(file)
WIDTH, WORDS = CONFIG["hidden_size"], CONFIG["vocab_size"]
VECTORS = 3
SWEEP = "prompt: [a painting of frog-style, a painting of a castle]\nsteps: 2\nseed: 1..2\n"
COMMON = ("render", "--steps", 2, "--seed", 1, "--json")


def vectors(count, width):
    numbers = random.Random(5)
    return (count, width), struct.pack(f"<{count * width}e", *(numbers.uniform(-0.05, 0.05) for _ in range(count * width)))


def trace_ids(path, name):
    with open(path, "rb") as trace:
        header = json.loads(trace.read(int.from_bytes(trace.read(8), "little")))
        first, end = header[name]["data_offsets"]
        trace.seek(first, os.SEEK_CUR)
        return struct.unpack(f"<{(end - first) // 4}i", trace.read(end - first))


class EmbeddingsTest(farm.FarmTest):
    def setUp(self):
        super().setUp()
        single_file.save(self.path("frog-style.safetensors"), {"emb_params": vectors(VECTORS, WIDTH)})
        single_file.save(self.path("other.safetensors"), {"emb_params": vectors(1, WIDTH + 8)})

    def pixels(self, prompt, *flags):
        return json.loads(self.seedfarm(*COMMON, "--prompt", prompt, "-o", self.path("x.png"), *flags))["pixel_digest"]

    def test_farm_and_render_agree(self):
        self.start_coordinator()
        self.start_worker()
        self.submit("sweep", SWEEP + "embedding: frog-style.safetensors\n")
        state = self.wait_state("sweep")
        self.assertEqual((state["done"], state["failed"]), (4, 0))
        digest = farm.sha256(self.path("frog-style.safetensors"))
        self.assertEqual(farm.sha256(self.path("worker-1", "models", digest)), digest)
        self.seedfarm("fetch", "sweep", "--coordinator", self.address, "--out", self.path("out"))
        drawn = self.pictures().values()
        self.assertEqual(len(set(drawn)), 4)
        self.assertIn(self.pixels("a painting of frog-style", "--embedding", "frog-style.safetensors"), drawn)
        self.assertNotIn(self.pixels("a painting of frog-style"), drawn)
        self.assertIn(self.pixels("a painting of a castle"), drawn)  # without the word the file changes nothing

    def test_tokens(self):
        flags = ("--embedding", "frog-style.safetensors:<Ink>", "--trace", self.path("trace"))
        added = tuple(range(WORDS, WORDS + VECTORS))
        self.pixels("a <ink> castle", "--negative", "<INK><ink>", *flags)
        ids = trace_ids(self.path("trace"), "ids")
        self.assertEqual((ids[2:5], max(ids[5:]) < WORDS), (added, True))
        self.assertEqual(trace_ids(self.path("trace"), "uncond_ids")[1:7], added + added)
        self.pixels("a red " * 36 + "frog <ink> castle", *flags)
        self.assertEqual(trace_ids(self.path("trace"), "ids")[74:], added[:2] + (ids[-1],))  # cut where a prompt ends

    def test_what_does_not_fit_is_said(self):
        self.start_coordinator()
        self.submit("sweep", SWEEP + "embedding: other.safetensors\n", status=2)
        for part in ("other.safetensors", f"want vectors of width {WIDTH}", f"file has width {WIDTH + 8}"):
            self.assertIn(part, self.stderr)
        self.seedfarm("render", "--prompt", "x", "--embedding", "frog-style.safetensors:a+other.safetensors:A", "-o", self.path("x.png"),
                      status=2)
        self.assertIn("want every word once", self.stderr)
        self.seedfarm("model", "info", self.path("other.safetensors"), status=1)


if __name__ == "__main__":
    farm.main()
