"""Make the two tiny random models of the goldens: SD 1.x layout, different in every shape that a config can name.

    V/bin/python tests/golden/make_tiny_models.py        (V: a virtual environment with tests/golden/requirements.txt)

Writes tests/golden/models/tiny-a and tiny-b. Weights are drawn so that mistakes show: norms with scales and offsets,
biases everywhere, and queries and keys large enough that attention is far from uniform.
"""
import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

HERE = Path(__file__).resolve().parent
DEMO = HERE.parent.parent / "models" / "demo"

SCHEDULER = {
    "_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000, "skip_prk_steps": True, "timestep_spacing": "leading", "trained_betas": None,
}

MODELS = {
    # two levels, two layers each, 2x the pixels of a latent twice, quick GELU, projections as convolutions
    "tiny-a": {
        "dtype": torch.float32,
        "text": dict(hidden_size=40, intermediate_size=104, num_hidden_layers=3, num_attention_heads=5,
                     hidden_act="quick_gelu"),
        "unet": dict(block_out_channels=(16, 32), layers_per_block=2, attention_head_dim=2, cross_attention_dim=40,
                     norm_num_groups=8, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
                     up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), use_linear_projection=False),
        "vae": dict(block_out_channels=(8, 12, 16), layers_per_block=1, norm_num_groups=4, scaling_factor=0.31),
        "scheduler": dict(steps_offset=1, set_alpha_to_one=False, clip_sample=False, prediction_type="epsilon"),
    },
    # four levels, the last plain; one layer each; heads by level, one of odd size; GELU; projections as linear layers;
    # saved as fp16; predicts v
    "tiny-b": {
        "dtype": torch.float16,
        "text": dict(hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=3, hidden_act="gelu"),
        "unet": dict(block_out_channels=(12, 20, 28, 28), layers_per_block=1, attention_head_dim=(4, 2, 4, 7),
                     cross_attention_dim=48, norm_num_groups=4,
                     down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
                     up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3, use_linear_projection=True,
                     flip_sin_to_cos=False, freq_shift=1),
        "vae": dict(block_out_channels=(8, 8, 12, 12), layers_per_block=2, norm_num_groups=4, scaling_factor=0.18215),
        "scheduler": dict(steps_offset=1, set_alpha_to_one=True, clip_sample=False, prediction_type="v_prediction"),
    },
}


def roughen(module, generator):
    for name, p in module.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if "norm" in name and name.endswith("weight"):
            p.data = 1 + 0.2 * noise
        elif name.endswith("bias"):
            p.data = 0.1 * noise
        elif any(part in name for part in ("to_q", "to_k", "q_proj", "k_proj")):
            p.data = 1.5 * noise / p.shape[-1] ** 0.5
        elif "embedding.weight" in name:
            p.data = noise
        else:  # small enough that errors do not grow from step to step
            p.data = 0.6 * noise / p[0].numel() ** 0.5


def main():
    for seed, (name, model) in enumerate(MODELS.items()):
        folder = HERE / "models" / name
        shutil.rmtree(folder, ignore_errors=True)
        generator = torch.Generator().manual_seed(seed)
        vocabulary = json.loads((DEMO / "text_encoder" / "config.json").read_text())
        text = CLIPTextModel(CLIPTextConfig(
            vocab_size=vocabulary["vocab_size"], max_position_embeddings=77, bos_token_id=vocabulary["bos_token_id"],
            eos_token_id=vocabulary["eos_token_id"], pad_token_id=vocabulary["pad_token_id"], **model["text"]))
        unet = UNet2DConditionModel(sample_size=8, **model["unet"])
        levels = len(model["vae"]["block_out_channels"])
        vae = AutoencoderKL(sample_size=32, down_block_types=("DownEncoderBlock2D",) * levels,
                            up_block_types=("UpDecoderBlock2D",) * levels, **model["vae"])
        for part, module in (("text_encoder", text), ("unet", unet), ("vae", vae)):
            roughen(module, generator)
            module.to(model["dtype"]).save_pretrained(folder / part, safe_serialization=True)
        shutil.copytree(DEMO / "tokenizer", folder / "tokenizer", copy_function=shutil.copyfile)
        (folder / "scheduler").mkdir()
        (folder / "scheduler" / "scheduler_config.json").write_text(
            json.dumps(SCHEDULER | model["scheduler"], indent=2, sort_keys=True) + "\n")
        shutil.copyfile(DEMO / "model_index.json", folder / "model_index.json")


if __name__ == "__main__":
    main()
