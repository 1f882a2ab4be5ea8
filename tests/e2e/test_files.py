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

    def test_pictures_reach_the_worker(self):
        first, second = self.put("first.png", b"first" * 300000), self.put("below/second.png", b"second")
        self.start_coordinator()
        self.start_odd_worker("worker", "--batch", 8)
        self.submit("sweep", SWEEP + "init: [first.png, below/second.png, \"\"]\n")
        state = self.wait_state("sweep")
        self.assertEqual((state["done"], state["failed"]), (6, 0))
        for digest in (first, second):
            self.assertEqual(farm.sha256(self.path("worker", "models", digest)), digest)
        lines = self.seedfarm("list", "sweep", "--coordinator", self.address, "--json").splitlines()
        jobs = [json.loads(line) for line in lines]
        self.assertEqual(sorted({json.loads(job["spec"]).get("init", "") for job in jobs}),
                         sorted({first, second, ""}))


if __name__ == "__main__":
    farm.main()
