"""Measure what fp16 and bf16 cost torch itself: tests/golden/numerics.json.

    V/bin/python tests/golden/record_numerics.py        (V: a virtual environment with tests/golden/requirements.txt)

Runs the cases that test_golden.c gives a card with diffusers in half precision on the CPU and keeps, a model and a precision, the largest
distance from fp32: of the conditioning, of the latents after each step (as a share of the largest), of the picture as floats,
and of the VAE encoder's moments. test_golden.c allows a device of that numerics twice as much.
"""
import json

import torch

from record import HERE, TINY_A, TINY_B, Run, distance, load

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@torch.no_grad()
def moments(pipe, dtype):
    rgb = torch.randint(0, 256, (24, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return pipe.vae.encode((rgb.permute(2, 0, 1)[None].float() / 255 * 2 - 1).to(dtype)).latent_dist.parameters


def measure(folder, cases):
    plain = load(folder, torch.float32)
    worst = {}
    for name, dtype in DTYPES.items():
        half = load(folder, dtype)
        most = {"condition": 0.0, "latents": 0.0, "image": 0.0}
        for job in cases:
            exact, made = Run(plain, job, torch.float32).run(), Run(half, job, dtype).run()
            for key in made:
                kind = key.split(".")[0]
                if kind in most:
                    most[kind] = max(most[kind], distance(made[key], exact[key], kind == "latents"))
        most["encode"] = distance(moments(half, dtype), moments(plain, torch.float32), False)
        worst[name] = {kind: float(f"{value:.2e}") for kind, value in most.items()}
        print(folder.name, name, worst[name], flush=True)
    return worst


if __name__ == "__main__":
    models = {"tiny-a": (HERE / "models" / "tiny-a", TINY_A[::8]), "tiny-b": (HERE / "models" / "tiny-b", TINY_B[::4])}
    (HERE / "numerics.json").write_text(json.dumps({name: measure(*what) for name, what in models.items()}, indent=1) + "\n")
