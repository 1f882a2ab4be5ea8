"""Record LoRAs, embeddings and VAE files with the diffusers library: tests/golden/extras.{json,safetensors}, files in tests/golden/extras/.

    V/bin/python tests/golden/record_extras.py        (V: a virtual environment with tests/golden/requirements.txt)

Replayed by tests/golden/test_extras.c. Every LoRA form holds other numbers; what diffusers makes of it (load_lora_weights,
set_adapters) is the oracle. The model is tiny-a.
"""
import json
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from record import HERE, Run, case, load

FOLDER = HERE / "extras"
MODEL = HERE / "models" / "tiny-a"
RANK = 3


def plain(name):
    return name.removeprefix("text_model.").removeprefix("text_model_").replace(".", "_")


def merge_text(encoder, heads, tensors, metadata, weight):
    """A text encoder's part (keys that begin with one of `heads`) by hand: with transformers 5 diffusers 0.42 loads it into fresh zeros."""
    modules = {plain(name): module for name, module in encoder.named_modules()}
    for key in tensors:
        tail = next((t for t in (".lora_linear_layer.down.weight", ".lora_A.weight", ".lora_down.weight") if key.endswith(t)), None)
        head = next((h for h in heads if key.startswith(h)), None)
        if not tail or not head:
            continue
        stem = key[:-len(tail)]
        up = tensors[stem + tail.replace("down", "up").replace("lora_A", "lora_B")].float()
        down = tensors[key].float()
        alpha = tensors[stem + ".alpha"].item() if stem + ".alpha" in tensors else metadata.get("text_encoder.lora_alpha", RANK)
        modules[plain(stem.removeprefix(head))].weight.data += weight * alpha / RANK * up @ down


def apply(pipe, name, weight):
    with safe_open(FOLDER / f"{name}.safetensors", "pt") as file:
        tensors, told = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()
    metadata = json.loads(told["lora_adapter_metadata"]) if told and "lora_adapter_metadata" in told else {}
    merge_text(pipe.text_encoder, ("text_encoder.", "lora_te_"), tensors, metadata, weight)
    with tempfile.TemporaryDirectory() as folder:
        kept = {key: value for key, value in tensors.items() if "text_" not in key and "lora_te" not in key}
        told = {key: value for key, value in metadata.items() if key.startswith("unet.")}
        save_file(kept, Path(folder) / "unet.safetensors", metadata={"lora_adapter_metadata": json.dumps(told)} if told else None)
        pipe.load_lora_weights(folder, weight_name="unet.safetensors", adapter_name=name)


def modules(pipe, conv, components=("unet", "text_encoder")):
    """(component, dotted module, weight) of what trainers train: attentions and feed-forwards; with `conv` resnets too."""
    for component in components:
        for name, module in getattr(pipe, component).named_modules():
            kind = type(module).__name__
            if not hasattr(module, "weight") or "norm" in name or "embedding" in name:
                continue
            wanted = any(part in name for part in ("attn", "ff.net", "proj_in", "proj_out", "mlp"))
            if kind in ("Linear", "LoRACompatibleLinear") and wanted or conv and kind == "Conv2d" and component == "unet":
                yield component, name, module.weight


def pair(generator, weight, gain):
    out, rest = weight.shape[0], weight.shape[1:]
    down = torch.randn((RANK, *rest), generator=generator) / weight[0].numel() ** 0.5
    up = torch.randn((out, RANK) + (1,) * (len(rest) - 1), generator=generator) * gain
    return down, up


def text_name(name):
    return name if name.startswith("text_model.") else "text_model." + name


def make(pipe):
    """Files of each form."""
    generator = torch.Generator().manual_seed(11)
    kohya, diffusers, processors, peft = {}, {}, {}, {}
    for component, name, weight in modules(pipe, True):
        prefix = "lora_unet_" if component == "unet" else "lora_te_"
        full = name if component == "unet" else text_name(name)
        down, up = pair(generator, weight, 0.3)
        key = prefix + full.replace(".", "_")
        kohya[f"{key}.lora_down.weight"], kohya[f"{key}.lora_up.weight"] = down, up
        kohya[f"{key}.alpha"] = torch.tensor(2.0)
    for component, name, weight in modules(pipe, False):
        full = name if component == "unet" else text_name(name)
        down, up = pair(generator, weight, 0.2)
        if component == "text_encoder":
            diffusers[f"{component}.{full}.lora_linear_layer.down.weight"] = down
            diffusers[f"{component}.{full}.lora_linear_layer.up.weight"] = up
        else:
            diffusers[f"{component}.{full}.lora.down.weight"], diffusers[f"{component}.{full}.lora.up.weight"] = down, up
        if ".to_" in name:
            down, up = pair(generator, weight, 0.2)
            head, last = name.replace(".to_out.0", ".to_out").rsplit(".", 1)
            processors[f"unet.{head}.processor.{last}_lora.down.weight"] = down
            processors[f"unet.{head}.processor.{last}_lora.up.weight"] = up
        down, up = pair(generator, weight, 0.2)
        peft[f"{component}.{name}.lora_A.weight"], peft[f"{component}.{name}.lora_B.weight"] = down, up
    metadata = {"unet.r": RANK, "unet.lora_alpha": 6, "unet.target_modules": sorted({n for c, n, _ in modules(pipe, False)
                                                                                      if c == "unet"}),
                "text_encoder.r": RANK, "text_encoder.lora_alpha": 2,
                "text_encoder.target_modules": sorted({n for c, n, _ in modules(pipe, False) if c == "text_encoder"})}
    FOLDER.mkdir(exist_ok=True)
    save_file({k: v.half() for k, v in kohya.items()}, FOLDER / "kohya.safetensors")
    save_file({k: v.half() for k, v in diffusers.items()}, FOLDER / "diffusers.safetensors")
    save_file({k: v.half() for k, v in processors.items()}, FOLDER / "processors.safetensors")
    save_file({k: v.half() for k, v in peft.items()}, FOLDER / "peft.safetensors")
    save_file({k: v.half() for k, v in peft.items()}, FOLDER / "peft-alpha.safetensors",
              metadata={"lora_adapter_metadata": json.dumps(metadata)})


CASES = [
    ([("kohya", 0.8)], {}), ([("diffusers", 1.0)], {}), ([("processors", 1.0)], {}), ([("peft", 0.7)], {}), ([("peft-alpha", 0.5)], {}),
    ([("kohya", 0.6), ("peft", -0.5)], {}), ([("diffusers", 0.5), ("peft-alpha", 0.25)], dict(sampler="DPM++ 2M", cfg=1.0)),
]


def main():
    make(load(MODEL, torch.float32))
    tensors, cases = {}, []
    for place, (loras, more) in enumerate(CASES):
        pipe = load(MODEL, torch.float32)
        for name, weight in loras:
            apply(pipe, name, weight)
        pipe.set_adapters([name for name, _ in loras], [weight for _, weight in loras])
        job = case(**(dict(sampler="Euler", schedule="leading", width=40, height=24, steps=4, cfg=5.0, seed=20 + place) | more))
        job.pop("full")
        made = Run(pipe, job, torch.float32).run()
        for key, text in (("ids", job["prompt"]), ("uncond_ids", job["negative"])):
            made[key] = torch.tensor([pipe.tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids],
                                     dtype=torch.int32)
        for key in [k for k in made if k not in ("uncondition", "noise", "image")]:
            tensors[f"{place}.{key}"] = made[key].contiguous().clone()
        cases.append(job | {"loras": [[f"{name}.safetensors", weight] for name, weight in loras]})
        print(loras, flush=True)
    save_file(tensors, HERE / "extras.safetensors")
    (HERE / "extras.json").write_text(json.dumps(cases, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    with torch.no_grad():
        main()
