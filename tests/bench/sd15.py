"""Figure: SD 1.5's true shapes with random weights: seconds a step and a decode, peak memory, beside torch fp32.

Writes a random model of SD 1.5's configuration (about 2 GB, fp16) into a scratch folder, once; then runs the bench of our
pipeline and torch's in turn, each in a process of its own.

usage: $(tests/tools/venv) tests/bench/sd15.py [--sizes 256 512] [--steps 3] [--model FOLDER]
"""
import argparse
import json
import os
import sys
import tempfile
import time

import bench
import shapes

def torch_bench(folder, size, steps):
    """One process: torch fp32, guidance (batch of two), seconds a step and a decode."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", torch_dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae", torch_dtype=torch.float32)
    latents, condition = torch.randn(2, 4, size // 8, size // 8), torch.randn(2, 77, 768)
    with torch.no_grad():
        unet(latents, 500, condition)
        step, decode = [], []
        for _ in range(steps):
            begin = time.monotonic()
            unet(latents, 500, condition)
            step.append(time.monotonic() - begin)
        for _ in range(2):
            begin = time.monotonic()
            vae.decode(latents[:1])
            decode.append(time.monotonic() - begin)
    print(json.dumps({"step_s": min(step), "decode_s": min(decode), "peak_mb": bench.own_peak_mb()}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--model", help="a folder made earlier (made if missing)")
    parser.add_argument("--torch", type=int, metavar="SIZE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.torch:
        return torch_bench(arguments.model, arguments.torch, arguments.steps)
    scratch = None if arguments.model else tempfile.TemporaryDirectory(prefix="seedfarm-sd15-")
    folder = arguments.model or scratch.name
    if not os.path.exists(os.path.join(folder, "unet")):
        shapes.write_model(folder, "sd15")
    ours_program = os.path.join(os.path.dirname(bench.BIN), "tests", "bench_pipeline")
    rows = []
    for size in arguments.sizes:
        ours = json.loads(bench.run([ours_program, folder, size, size, 1, arguments.steps])[1])
        theirs = json.loads(bench.run([sys.executable, __file__, "--torch", size, "--model", folder, "--steps",
                                       arguments.steps])[1])
        for what, unit in (("step_s", "s a step"), ("decode_s", "s a decode")):
            rows.append([f"{size}x{size}", unit, f"{ours[what]:.2f}", f"{theirs[what]:.2f}", f"{theirs[what] / ours[what]:.2f}"])
        rows.append([f"{size}x{size}", "peak MB", f"{ours['peak_mb']:.0f}", f"{theirs['peak_mb']:.0f}",
                     f"{theirs['peak_mb'] / ours['peak_mb']:.2f}"])
    bench.table("SD 1.5 shapes, random weights, fp32, one picture under guidance (two evaluations a step)",
                ["size", "what", "seedfarm", "torch", "torch / seedfarm"], rows)


if __name__ == "__main__":
    main()
