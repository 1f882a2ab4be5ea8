"""Figure: the demo sweep of 256 pictures, 20 steps, `seedfarm run` end to end against diffusers on torch fp32.

Both in one run on one machine, in turn, several times; diffusers at the best of a few batch sizes, its model load and
warm-up not counted, seedfarm's start, hand-over, storage and fetch counted.

usage: $(tests/tools/venv) tests/bench/demo.py [--pictures 256] [--rounds 3]
"""
import argparse
import os
import statistics
import tempfile
import time

import bench

PROMPT = "a van gogh painting of a frog"
STEPS, CFG = 20, 4.5


def load_diffusers():
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    pipe = StableDiffusionPipeline.from_pretrained(bench.DEMO, torch_dtype=torch.float32)
    pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def diffusers_seconds(pipe, pictures, batch):
    import torch
    begin = time.monotonic()
    for first in range(0, pictures, batch):
        seeds = range(first, min(first + batch, pictures))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        pipe([PROMPT] * len(seeds), width=64, height=64, num_inference_steps=STEPS, guidance_scale=CFG, generator=generators)
    return time.monotonic() - begin


def best_batch(pipe):
    """The batch size with the highest rate, each tried on 32 pictures after a warm-up."""
    rates = {}
    for batch in (4, 8, 16, 32):
        diffusers_seconds(pipe, batch, batch)
        rates[batch] = 32 / diffusers_seconds(pipe, 32, batch)
    return max(rates, key=rates.get), rates


def seedfarm_seconds(pictures):
    with tempfile.TemporaryDirectory(prefix="seedfarm-bench-") as folder:
        sweep = os.path.join(folder, "frog.yaml")
        with open(sweep, "w") as file:
            file.write(f"name: frog\nprompt: {PROMPT}\nseed: 0..{pictures - 1}\nsteps: {STEPS}\ncfg: {CFG}\n"
                       "sampler: Euler\nschedule: leading\nsize: 64x64\n")
        seconds, text = bench.run([bench.program("seedfarm"), "run", sweep, "--store", f"{folder}/store", "--out",
                                   f"{folder}/out", "--json"])
        answer = bench.loads(text)
        assert answer["rendered"] == pictures and len(os.listdir(f"{folder}/out")) == pictures + 1, answer
        again, text = bench.run([bench.program("seedfarm"), "run", sweep, "--store", f"{folder}/store", "--out",
                                 f"{folder}/out", "--json"])
        assert bench.loads(text)["rendered_now"] == 0, "run again: nothing is rendered"
        return seconds, again


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    pipe = load_diffusers()
    batch, rates = best_batch(pipe)
    rows, ratios, agains = [], [], []
    for number in range(arguments.rounds):
        ours, again = seedfarm_seconds(arguments.pictures)
        theirs = diffusers_seconds(pipe, arguments.pictures, batch)
        ratios.append(theirs / ours)
        agains.append(again)
        rows.append([number + 1, f"{arguments.pictures / ours:.2f}", f"{arguments.pictures / theirs:.2f}", f"{theirs / ours:.2f}",
                     f"{again:.2f}"])
    bench.table(f"Demo sweep: {arguments.pictures} pictures of 64x64, {STEPS} steps, guidance {CFG}, Euler, end to end",
                ["round", "seedfarm pictures/s", f"diffusers pictures/s (batch {batch})", "ratio", "same sweep again, s"], rows)
    print(f"\nmedian ratio {statistics.median(ratios):.2f}; the same sweep again {statistics.median(agains):.2f} s; diffusers by "
          f"batch size: " + ", ".join(f"{size}: {rate:.2f}/s" for size, rate in rates.items()))


if __name__ == "__main__":
    main()
