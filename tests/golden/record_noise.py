"""Record torch's CPU normals: tests/golden/noise.safetensors, replayed by tests/pipeline/test_noise.c.

    python tests/golden/record_noise.py        (torch and safetensors installed)

Tensors: "SEED.SIZE" is one draw from a new generator; "SEED.sequence" is the draws of SEQUENCE one after the other
from one generator, joined. The largest size is recorded for one seed alone, to keep the file small.
"""
import os

import torch
from safetensors.torch import save_file

SEEDS = [0, 42, 2**32 - 1, 2**32 + 5]
SIZES = [1, 4, 5, 15, 16, 17, 31, 100, 1024]
SEQUENCE = [5, 16, 5, 17, 3, 4, 100, 15, 15, 1024, 1, 1, 33]


def draw(generator, size):
    return torch.randn(size, generator=generator, dtype=torch.float32, device="cpu")


def main():
    tensors = {}
    for seed in SEEDS:
        for size in SIZES + ([16384] if seed == 42 else []):
            tensors[f"{seed}.{size}"] = draw(torch.Generator("cpu").manual_seed(seed), size)
        generator = torch.Generator("cpu").manual_seed(seed)
        tensors[f"{seed}.sequence"] = torch.cat([draw(generator, size) for size in SEQUENCE])
    metadata = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}
    save_file(tensors, os.path.join(os.path.dirname(os.path.abspath(__file__)), "noise.safetensors"), metadata)


main()
