"""Figure: what a switch of models costs a device, with weights of SD 1.5's true shapes.

`seedfarm run` with one worker over models that it has not loaded yet, a few pictures of each; the worker's own log says of each lease
how long its device waited for models to be loaded (and for a lease), and how long models were loaded while it drew. The models are
one random one, told apart by a byte of a config: links to the same files, which lie in the page cache from being hashed, as any
model's do that is verified before it is loaded. On a processor loading takes a core from drawing: what counts is the whole sweep.

usage: $(tests/tools/venv) tests/bench/switch.py [--model FOLDER] [--models 4] [--pictures 6] [--size 128x128] [--steps 4]
           [--device cpu] [--threads 0] [--rounds 3] [--baseline FOLDER]

--baseline: the programs of another build, drawn in turn with these.
"""
import argparse
import json
import os
import statistics
import tempfile

import bench
import busy
import shapes


def copies(model, folder, count):
    """Folders of the same files but for a space at the end of model_index.json."""
    made = []
    for number in range(count):
        made.append(os.path.join(folder, f"model-{number}"))
        for path, _, files in os.walk(model):
            to = os.path.join(made[-1], os.path.relpath(path, model))
            os.makedirs(to, exist_ok=True)
            for name in files:
                if name != "model_index.json":
                    os.link(os.path.join(path, name), os.path.join(to, name))
        with open(os.path.join(model, "model_index.json")) as file:
            index = file.read()
        with open(os.path.join(made[-1], "model_index.json"), "w") as file:
            file.write(index + " " * number)
    return made


def drawn(log):
    with open(log) as file:
        return [line for line in map(json.loads, file) if line["event"] == "drawn"]


def sweep(programs, models, arguments):
    """Seconds a switch: (waited for the models, waited for the lease, loaded beside drawing), and seconds from the first lease's
    loading to the end of the last."""
    with tempfile.TemporaryDirectory(prefix="seedfarm-switch-") as folder:
        with open(f"{folder}/sweep.yaml", "w") as file:
            json.dump({"name": "switch", "model": models, "prompt": "a frog", "size": arguments.size, "steps": arguments.steps,
                       "seed": f"0..{arguments.pictures - 1}"}, file)
        command = [os.path.join(programs, "seedfarm"), "run", f"{folder}/sweep.yaml", "--store", f"{folder}/store", "--out",
                   f"{folder}/out", "--device", arguments.device, "--threads", arguments.threads]
        bench.run(command)
        leases = drawn(f"{folder}/store/worker-1.log")
    total = sum(int(lease[f"{part}_ms"]) for lease in leases for part in busy.PARTS) - int(leases[0]["waiting_ms"])
    after = leases[1:]
    return [statistics.mean(int(lease.get(f"{part}_ms", 0)) / 1000 for lease in after) for part in ("loading", "waiting", "ahead")] \
        + [total / 1000]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a folder made earlier (made if missing)")
    parser.add_argument("--size", default="128x128")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--baseline")
    for name, value in (("models", 4), ("pictures", 6), ("steps", 4), ("threads", 0), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    bench.program("seedfarm")
    builds = [bench.BIN] + ([arguments.baseline] if arguments.baseline else [])
    rows = []
    beside = os.path.dirname(os.path.abspath(arguments.model)) if arguments.model else None  # links stay on one file system
    with tempfile.TemporaryDirectory(prefix="seedfarm-switch-", dir=beside) as scratch:
        model = arguments.model or os.path.join(scratch, "model")
        if not os.path.exists(os.path.join(model, "unet")):
            shapes.write_model(model, "sd15")
        models = copies(model, scratch, arguments.models)
        for number in range(arguments.rounds):
            for build in builds:
                rows.append([number + 1, "these" if build == bench.BIN else "baseline",
                             *(f"{value:.2f}" for value in sweep(build, models, arguments))])
    bench.table(f"A switch of models: {arguments.models} of SD 1.5's shapes, {arguments.pictures} pictures of {arguments.size} and "
                f"{arguments.steps} steps of each, {arguments.device}",
                ["round", "programs", "s waited for models", "s waited for a lease", "s loaded beside drawing", "s in all"], rows)


if __name__ == "__main__":
    main()
