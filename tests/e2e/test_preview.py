"""Previews: a real worker shows what it draws, and draws the same; and what is said where there is nothing to see."""
import json
import os
import struct
import subprocess
import zlib

import farm

PROMPT, STEPS = "a sunflower on a teal background", 60
SWEEP = f"prompt: {PROMPT}\nsteps: {STEPS}\nseed: 1..2\n"


def read_png(path):
    """(width, height, bytes [height,width,3]) of an 8-bit RGB file."""
    with open(path, "rb") as file:
        data = file.read()
    width, height = struct.unpack(">II", data[16:24])
    at, packed = 8, b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        packed += data[at + 8:at + 8 + size] if kind == b"IDAT" else b""
        at += size + 12
    rows, row, out = zlib.decompress(packed), 1 + 3 * width, bytearray()
    above = bytearray(3 * width)
    for y in range(height):
        line = bytearray(rows[y * row + 1:(y + 1) * row])
        for i in range(3 * width):
            left, up, corner = (line[i - 3] if i >= 3 else 0), above[i], (above[i - 3] if i >= 3 else 0)
            guess = left + up - corner
            paeth = min((left, up, corner), key=lambda value: abs(guess - value))
            line[i] = (line[i] + (0, left, up, (left + up) // 2, paeth)[rows[y * row]]) & 255
        out += line
        above = line
    return width, height, bytes(out)


class PreviewTest(farm.FarmTest):
    def preview(self, job, name):
        said = self.seedfarm("preview", job, "-o", self.path(name), "--json", "--coordinator", self.address)
        return json.loads(said), read_png(self.path(name))

    def refused(self, job, *says, status=2):
        self.seedfarm("preview", job, "--coordinator", self.address, status=status)
        for text in says:
            self.assertIn(text, self.stderr)

    def test_of_a_running_job(self):
        self.start_coordinator()
        self.submit("flowers", SWEEP)
        self.refused("flowers/0", 'job 0 of sweep "flowers": no worker has it now', "seedfarm explain")
        self.refused("flowers/2", "want an index of 0..1, have 2")
        self.refused("flowers", "want SWEEP/INDEX")
        self.refused("bees/0", "bees")
        self.start_worker()
        farm.wait_for("the drawing to begin", lambda: self.start("seedfarm", "preview", "flowers/0", "--coordinator", self.address, "-o",
                                                                 self.path("begun.png"), stdout=subprocess.DEVNULL,
                                                                 stderr=subprocess.DEVNULL).wait(farm.WAIT_S) == 0)
        first, (width, height, pixels) = self.preview("flowers/0", "first.png")
        self.assertEqual((width, height, first["width"], first["height"]), (16, 16, 16, 16))
        self.assertEqual((first["worker"], first["steps"]), ("worker-1", STEPS))
        self.assertGreater(len({pixels[i:i + 3] for i in range(0, len(pixels), 3)}), 30)
        again, (_, _, later) = self.preview("flowers/0", "again.png")
        self.assertGreater(again["step"], first["step"])
        self.assertNotEqual(later, pixels)
        other, (_, _, mate) = self.preview("flowers/1", "other.png")
        self.assertNotEqual(other["key"], first["key"])
        self.assertNotEqual(mate, later)
        self.wait_state("flowers")
        listed = json.loads(self.seedfarm("list", "flowers", "--limit", 1, "--json", "--coordinator", self.address))
        self.refused("flowers/0", "it is done", listed["picture"], "seedfarm fetch flowers")
        self.assertFalse(os.path.exists(self.path("preview-0.png")))
        unseen = json.loads(self.seedfarm("render", "--prompt", PROMPT, "--steps", STEPS, "--seed", 1, "-o", self.path("unseen.png"),
                                          "--json"))
        self.assertEqual((unseen["key"], unseen["pixel_digest"]), (listed["key"], listed["pixel_digest"]))

    def test_without_a_farm(self):
        render = ["render", "--prompt", PROMPT, "--steps", 20, "--seed", 1, "--json"]
        plain = json.loads(self.seedfarm(*render, "-o", self.path("plain.png")))
        shown = json.loads(self.seedfarm(*render, "-o", self.path("shown.png"), "--preview", self.path("preview.png")))
        self.assertEqual(farm.sha256(self.path("plain.png")), farm.sha256(self.path("shown.png")))
        self.assertEqual(plain["picture"], shown["picture"])
        self.assertEqual(read_png(self.path("preview.png"))[:2], (16, 16))
        self.seedfarm(*render, "-o", self.path("late.png"), "--preview", self.path("nowhere", "preview.png"), status=2)
        self.assertIn("--preview", self.stderr)
        self.assertFalse(os.path.exists(self.path("late.png")), "said before the work")
        os.mkdir(self.path("folder.png"))
        self.seedfarm(*render, "-o", self.path("warned.png"), "--preview", self.path("folder.png"))
        self.assertIn("warning: --preview", self.stderr)
        self.assertEqual(farm.sha256(self.path("warned.png")), plain["picture"])
        tiny = os.path.join(farm.SOURCE, "tests", "golden", "models", "tiny-a")
        self.seedfarm("render", "--model", tiny, "--prompt", "a frog", "--steps", 2, "-o", self.path("tiny.png"), "--preview",
                      self.path("never.png"))
        self.assertIn("no colours are known for", self.stderr)
        self.assertFalse(os.path.exists(self.path("never.png")))

    def test_followed_to_its_end(self):
        self.start_coordinator()
        self.submit("flowers", SWEEP)
        following = self.start("seedfarm", "preview", "flowers/1", "--follow", "--json", "-o", self.path("live.png"), "--coordinator",
                               self.address, stdout=subprocess.PIPE)
        self.start_worker()
        told, _ = following.communicate(timeout=farm.WAIT_S)
        self.assertEqual(following.returncode, 0)
        lines = [json.loads(line) for line in told.splitlines()]
        steps = [line["step"] for line in lines[:-1]]
        self.assertTrue(steps and steps == sorted(set(steps)), steps)
        self.assertEqual(farm.sha256(self.path("live.png")), lines[-1]["picture"], "it ends with the picture")
        self.submit("weeds", SWEEP.replace("1..2", "3..4"))
        self.tell("cancel", "weeds")
        self.refused("weeds/0", "its sweep was cancelled")
        self.seedfarm("preview", "weeds/0", "--follow", "--coordinator", self.address, status=2)
        self.assertIn("its sweep was cancelled", self.stderr)


if __name__ == "__main__":
    farm.main()
