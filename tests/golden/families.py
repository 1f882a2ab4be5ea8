"""The random models of the family goldens: what they are made of, and their numbers.

A model is a description, models/NAME.json: every file of its folder that is not weights, and the name and shape of every
tensor. The numbers of a tensor follow from its name alone (fill; tests/golden/random_model.c does the same), so that no
weights are kept in the repository. Shapes are different in everything that a config can name.
"""
import json
import shutil
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

HERE = Path(__file__).resolve().parent
TOKENIZER = HERE.parent.parent / "models" / "demo" / "tokenizer"
VOCABULARY, START, END = 922, 920, 921

SCHEDULER = {
    "_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000, "prediction_type": "epsilon", "set_alpha_to_one": False, "skip_prk_steps": True,
    "steps_offset": 1, "timestep_spacing": "leading", "trained_betas": None, "clip_sample": False,
}


def text(width, inner, layers, heads, act="gelu", pad="!", projection=None, eos=END):
    return dict(hidden_size=width, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
                hidden_act=act, pad=pad, projection_dim=projection or 32, eos_token_id=eos, pooled=projection is not None)


def unet(widths, cross, layers, heads, depth, condition, down, groups=4, linear=True, added=None, **more):
    """down: a letter a level, C with cross attention, D without. added: (width of pooled text, numbers, of each)"""
    blocks = {"C": "CrossAttn", "D": ""}
    if added:
        more |= dict(addition_embed_type="text_time", addition_time_embed_dim=added[2],
                     projection_class_embeddings_input_dim=added[0] + added[1] * added[2])
    return dict(block_out_channels=widths, layers_per_block=layers, attention_head_dim=heads, cross_attention_dim=condition,
                transformer_layers_per_block=depth, norm_num_groups=groups, use_linear_projection=linear,
                down_block_types=[blocks[c] + "DownBlock2D" for c in down],
                up_block_types=[blocks[c] + "UpBlock2D" for c in cross], sample_size=8, **more)


def vae(widths, layers=1, scale=0.18215):
    return dict(block_out_channels=widths, layers_per_block=layers, norm_num_groups=4, scaling_factor=scale, sample_size=32,
                down_block_types=["DownEncoderBlock2D"] * len(widths), up_block_types=["UpDecoderBlock2D"] * len(widths))


V = dict(prediction_type="v_prediction")
MODELS = {
    # SD 1.x: quick GELU, projections as convolutions, one number of heads; texts padded with their end
    "sd1-a": dict(kind="sd", text=[text(32, 64, 3, 4, "quick_gelu", "<|endoftext|>")], vae=vae((8, 12, 16)),
                  unet=unet((8, 16, 24), "DCC", 1, 4, 1, 32, "CCD", linear=False)),
    "sd1-b": dict(kind="sd", text=[text(24, 40, 2, 2, "quick_gelu", "<|endoftext|>")], vae=vae((8, 12)),
                  unet=unet((12, 12, 24, 24), "DCCC", 2, 3, 1, 24, "CCCD", linear=False)),
    # SD 2.x: GELU, linear projections, heads by level; texts padded with "!"
    "sd2-a": dict(kind="sd", text=[text(40, 80, 3, 5)], vae=vae((8, 12, 16)), scheduler=V,
                  unet=unet((8, 16, 24), "DCC", 2, (2, 4, 3), 1, 40, "CCD")),
    "sd2-b": dict(kind="sd", text=[text(32, 72, 2, 2)], vae=vae((8, 8, 12, 12), 2),
                  unet=unet((16, 24, 24, 32), "DCCC", 1, (4, 3, 2, 8), (1, 2, 1, 1), 32, "CCCD", 8)),
    "sd2-c": dict(kind="sd", text=[text(24, 48, 4, 3)], vae=vae((8, 16)), scheduler=V,
                  unet=unet((20, 40), "CC", (1, 2), (5, 4), (2, 1), 24, "CC", 10)),
    # SDXL: two encoders, pooled text, sizes, depths by level
    "sdxl-a": dict(kind="sdxl", vae=vae((8, 12, 16), scale=0.13025),
                   text=[text(24, 48, 3, 3, "quick_gelu", "<|endoftext|>"), text(32, 64, 4, 4, projection=32, eos=2)],
                   unet=unet((8, 16, 24), "CCD", 2, (2, 4, 3), (1, 2, 3), 56, "DCC", added=(32, 6, 8))),
    "sdxl-b": dict(kind="sdxl", vae=vae((8, 12), scale=0.13025), scheduler=V, zero_empty=False,
                   text=[text(16, 40, 2, 2, "quick_gelu", "<|endoftext|>"), text(40, 56, 3, 5, projection=24)],
                   unet=unet((12, 24), "CD", 1, (3, 4), (1, 4), 56, "DC", added=(24, 6, 12))),
    "sdxl-c": dict(kind="sdxl", vae=vae((8, 8, 12, 12), scale=0.13025),
                   text=[text(32, 64, 4, 2, "quick_gelu", "<|endoftext|>"), text(24, 72, 2, 3, projection=40)],
                   unet=unet((8, 16, 16, 24), "CCCD", 1, (1, 2, 4, 6), (1, 1, 2, 2), 56, "DCCC", added=(40, 6, 6))),
    # SDXL's refiner: the second encoder alone, an aesthetic score, its own shape
    "refiner-a": dict(kind="refiner", vae=vae((8, 12, 16), scale=0.13025), text=[text(32, 64, 4, 4, projection=32, eos=2)],
                      unet=unet((12, 24, 24, 24), "DCCD", 2, (2, 4, 6, 6), 2, 32, "DCCD", added=(32, 5, 10))),
    "refiner-b": dict(kind="refiner", vae=vae((8, 12), scale=0.13025), text=[text(40, 56, 3, 5, projection=24)],
                      zero_empty=True, scheduler=V,
                      unet=unet((16, 24), "CC", 1, (4, 3), (1, 3), 40, "CC", 8, added=(24, 5, 8))),
}
CLASSES = {"sd": "StableDiffusionPipeline", "sdxl": "StableDiffusionXLPipeline",
           "refiner": "StableDiffusionXLImg2ImgPipeline"}


# ---- numbers --------------------------------------------------------------------------------------------------------

def uniform(name, count):
    """count numbers of -1..1 that follow from `name`: splitmix64 from its FNV-1a hash on."""
    state = 0xcbf29ce484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001b3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(state) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9e3779b97f4a7c15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94d049bb133111eb)
        z = z ^ (z >> np.uint64(31))
    return ((z >> np.uint64(40)).astype(np.int64) - 2**23).astype(np.float32) * np.float32(2.0**-23)


def fill(name, shape):
    """Small enough that errors do not grow from step to step, large enough that attention is far from uniform."""
    numbers = uniform(name, int(np.prod(shape)))
    if "norm" in name and name.endswith("weight"):
        numbers = np.float32(1) + np.float32(0.375) * numbers
    elif name.endswith("bias"):
        numbers = np.float32(0.1875) * numbers
    elif "embedding.weight" in name:
        numbers = np.float32(1.75) * numbers
    else:
        gain = 2.5 if any(part in name for part in ("to_q", "to_k", "q_proj", "k_proj")) else 1.0
        numbers = np.float32(gain / np.sqrt(float(np.prod(shape[1:])))) * numbers
    return torch.from_numpy(numbers.reshape(shape).copy())


# ---- folders --------------------------------------------------------------------------------------------------------

def component_class(present, library, name):
    return [library, name] if present else [None, None]


def index_of(model):
    kind, two = model["kind"], model["kind"] == "sdxl"
    index = {"_class_name": CLASSES[kind], "_diffusers_version": "0.42.1",
             "scheduler": ["diffusers", "EulerDiscreteScheduler"], "unet": ["diffusers", "UNet2DConditionModel"],
             "vae": ["diffusers", "AutoencoderKL"], "feature_extractor": [None, None], "image_encoder": [None, None],
             "text_encoder": component_class(kind != "refiner", "transformers", "CLIPTextModel"),
             "tokenizer": component_class(kind != "refiner", "transformers", "CLIPTokenizer")}
    if kind == "sd":
        return index | {"safety_checker": [None, None], "requires_safety_checker": False}
    index |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
              "tokenizer_2": ["transformers", "CLIPTokenizer"],
              "force_zeros_for_empty_prompt": model.get("zero_empty", two)}
    return index if two else index | {"requires_aesthetics_score": True}


def save_random(module, folder):
    module.save_pretrained(folder, safe_serialization=True)
    file = next(folder.glob("*.safetensors"))
    with safe_open(file, "pt") as held:
        shapes = {name: list(held.get_slice(name).get_shape()) for name in sorted(held.keys())}
    save_file({name: fill(f"{folder.name}.{name}", shape) for name, shape in shapes.items()}, file, {"format": "pt"})
    return shapes


def make(name, folder):
    """Write model `name` to `folder`, and its description beside this file."""
    model = MODELS[name]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "scheduler").mkdir(parents=True)
    tensors = {}
    places = [""] if model["kind"] == "sd" else ["", "_2"] if model["kind"] == "sdxl" else ["_2"]
    for place, config in zip(places, model["text"]):
        config = dict(config)
        pooled, pad = config.pop("pooled"), config.pop("pad")
        module = (CLIPTextModelWithProjection if pooled else CLIPTextModel)(CLIPTextConfig(
            vocab_size=VOCABULARY, max_position_embeddings=77, bos_token_id=START, pad_token_id=END, **config))
        tensors["text_encoder" + place] = save_random(module, folder / ("text_encoder" + place))
        shutil.copytree(TOKENIZER, folder / ("tokenizer" + place), copy_function=shutil.copyfile)
        file = folder / ("tokenizer" + place) / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token": pad}))
    tensors["unet"] = save_random(UNet2DConditionModel(**model["unet"]), folder / "unet")
    tensors["vae"] = save_random(AutoencoderKL(**model["vae"]), folder / "vae")
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(SCHEDULER | model.get("scheduler", {})))
    (folder / "model_index.json").write_text(json.dumps(index_of(model)))
    files = {str(path.relative_to(folder)): json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))
             if path.name != "vocab.json"}
    description = {"files": files, "tensors": tensors}
    (HERE / "models" / f"{name}.json").write_text(json.dumps(description, separators=(",", ":"), sort_keys=True) + "\n")
