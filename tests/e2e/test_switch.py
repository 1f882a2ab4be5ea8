"""A worker loads the next models while it draws with the last ones, where its memory holds both; its log says so, and pictures are
the same either way."""
import json
import os
import shutil

import farm

MODELS, SEEDS = 3, 4


class SwitchTest(farm.FarmTest):
    def models(self):
        """Copies of the demo model, told apart by spaces behind a config."""
        made = []
        for number in range(MODELS):
            made.append(self.path(f"model-{number}"))
            shutil.copytree(farm.DEMO, made[-1], dirs_exist_ok=True)
            with open(os.path.join(made[-1], "model_index.json"), "a") as file:
                file.write(" " * number)
        return made

    def drawn(self, *flags):
        """Records of the leases of a sweep over all models, drawn by one worker; its pictures do not hang on what was loaded when."""
        models = self.models()
        self.start_coordinator()
        self.start_worker(1, "--models", ":".join(models), *flags)
        self.submit("switch", f"model: {json.dumps(models)}\nprompt: a frog\nsize: 64x64\nsteps: 8\nseed: 1..{SEEDS}\n")
        self.wait_state("switch")
        self.seedfarm("fetch", "switch", "--coordinator", self.address, "--out", self.path("out"))
        pixels = self.pictures()
        self.assertEqual((len(pixels), len(set(pixels.values()))), (SEEDS * MODELS, SEEDS))
        return [line for line in self.log_lines("worker-1") if line["event"] == "drawn"]

    def memory(self):
        said = json.loads(self.seedfarm("model", "info", farm.DEMO, "--size", "64x64", "--batch", SEEDS, "--json"))["memory"]
        return said["weights"], said["run"]

    def test_the_next_model_is_loaded_beside_drawing(self):
        leases = self.drawn()
        self.assertGreater(sum(int(lease["ahead_ms"]) for lease in leases[1:]), 0)

    def test_without_room_for_two_it_is_loaded_at_the_switch(self):
        weights, run = self.memory()
        leases = self.drawn("--memory", weights + max(run, weights // 2))
        self.assertEqual({lease["ahead_ms"] for lease in leases[1:]}, {"0"})
        self.assertGreaterEqual(sum(int(lease["loading_ms"]) > 0 for lease in leases), MODELS)


if __name__ == "__main__":
    farm.main()
