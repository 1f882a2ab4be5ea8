"""Record SDXL LoRAs in kohya's form with the diffusers library: tests/golden/loras/sdxl-a.{json,safetensors}, the files beside them.

    V/bin/python tests/golden/record_xl_loras.py        (V: a virtual environment with tests/golden/requirements.txt)

Replayed by tests/golden/test_extras.c. kohya's trainer names the U-Net's blocks as single files do (lora_unet_input_blocks_4_1_...) and the
text encoders lora_te1_ and lora_te2_. The oracle is diffusers' load_lora_weights and set_adapters; the model is families.py's sdxl-a.
"""
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import families
from record_extras import merge_text, modules, pair
from record_families import HERE, case, draw, keep, load

sys.path.insert(0, str(HERE.parent / "tools"))
import single_file  # noqa: E402

NAME, FOLDER = "sdxl-a", HERE / "loras"
HEADS = {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
CASES = [([("attention", 0.8)], {}), ([("convolution", 0.7)], {}), ([("attention", 0.6), ("convolution", -0.5)], dict(cfg=1.0)),
         ([("text", 1.0), ("attention", -0.4)], dict(sampler="DPM++ 2M"))]


def ldm_name(name):
    config = families.MODELS[NAME]["unet"]
    f = dict(widths=config["block_out_channels"], layers=config["layers_per_block"],
             attention=[kind.startswith("CrossAttn") for kind in config["down_block_types"]])
    (made, _), = single_file.ldm_unet({name + ".weight": None}, f)
    return made.removeprefix("model.diffusion_model.").removesuffix(".weight")


def make(pipe):
    generator = torch.Generator().manual_seed(12)
    files = {"attention": (False, tuple(HEADS)), "convolution": (True, ("unet",)), "text": (False, ("text_encoder", "text_encoder_2"))}
    for file, (conv, components) in files.items():
        tensors = {}
        for component, name, weight in modules(pipe, conv, components):
            down, up = pair(generator, weight, 0.2)
            full = ldm_name(name) if component == "unet" else "text_model." + name.removeprefix("text_model.")
            key = HEADS[component] + full.replace(".", "_")
            tensors[key + ".lora_down.weight"], tensors[key + ".lora_up.weight"] = down.half(), up.half()
            tensors[key + ".alpha"] = torch.tensor(2.0)
        save_file(tensors, FOLDER / f"{file}.safetensors")


def apply(pipe, file, weight):
    """How many adapters diffusers has of it: the text encoders' parts are merged by hand (record_extras.merge_text)."""
    tensors = load_file(FOLDER / f"{file}.safetensors")
    for component in ("text_encoder", "text_encoder_2"):
        merge_text(getattr(pipe, component), (HEADS[component],), tensors, {}, weight)
    kept = {key: value for key, value in tensors.items() if key.startswith(HEADS["unet"])}
    if kept:
        pipe.load_lora_weights(kept, adapter_name=file)
    return [(file, weight)] if kept else []


def main():
    FOLDER.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp())
    families.make(NAME, work / NAME)
    make(load(work / NAME, "sdxl"))
    tensors, cases = {}, []
    for place, (loras, more) in enumerate(CASES):
        pipe = load(work / NAME, "sdxl")
        adapters = [adapter for file, weight in loras for adapter in apply(pipe, file, weight)]
        pipe.set_adapters([name for name, _ in adapters], [weight for _, weight in adapters])
        job = case(**(dict(sampler="Euler", schedule="leading", width=40, height=24, steps=4, cfg=5.0, seed=30 + place, full=True) | more))
        tensors |= draw(NAME, [job], pipe, first=place)
        cases.append(job | {"loras": [[f"{file}.safetensors", weight] for file, weight in loras]})
    keep(NAME, cases, tensors, "loras")
    shutil.rmtree(work)


if __name__ == "__main__":
    with torch.no_grad():
        main()
