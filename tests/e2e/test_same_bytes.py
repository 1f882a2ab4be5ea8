"""The same 64 digests with 1, 2 and 4 workers, largest batch 1, 4 and 16, 1 and 2 threads, and after kill -9."""
import json
import os
import time

import farm

SWEEP = """name: sixty-four
prompt: [a van gogh painting of a frog, neon sign of a penguin, "pixel art of a fish on a green background", a watercolor castle]
negative: blurry
seed: 100..115
steps: 3
cfg: 5
sampler: Euler a
"""


class SameBytesTest(farm.FarmTest):
    def test_sixty_four_digests(self):
        sweep = self.write("sweep.yaml", SWEEP)
        want = None
        for number, (workers, batch, threads) in enumerate([(1, 16, 2), (1, 1, 1), (2, 4, 1), (4, 16, 1), (4, 1, 2), (1, 4, 1)]):
            store, out = f"store{number}", f"out{number}"
            self.run_sweep(sweep, "--workers", workers, "--batch", batch, "--threads", threads, store=store, out=out)
            got = self.pictures(out)
            self.assertEqual(len(got), 64)
            want = want or got
            self.assertEqual(got, want, f"{workers} workers, batches of {batch}, {threads} threads")

        run = self.start("seedfarm", "run", sweep, "--store", self.path("killed"), "--out", self.path("killed-out"), "--workers", 2,
                         stdout=farm.subprocess.DEVNULL, stderr=farm.subprocess.DEVNULL)
        children = farm.wait_for("workers", lambda: (lambda c: c if len(c) >= 5 else None)(farm.children_of(run.pid)))
        time.sleep(0.7)
        run.kill()
        run.wait(30)
        for pid in children:
            farm.wait_for("orphans to go", lambda: not farm.is_alive(pid), 30)
        self.run_sweep(sweep, store="killed", out="killed-out")
        self.assertEqual(self.pictures("killed-out"), want, "after kill -9 and a second run")


if __name__ == "__main__":
    farm.main()
