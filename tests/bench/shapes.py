"""Figure: SD 1.5, SD 2.1 and SDXL in their true shapes with random fp16 weights: load, one step and a decode on this machine,
and the memory that was predicted before beside the peak that was measured (VmHWM).

Folders are written as a stream, a tensor at a time, from the shapes that diffusers gives a model of that configuration (SDXL:
7 GB); each is deleted before the next one is written.

usage: $(tests/tools/venv) tests/bench/shapes.py [--models sd15 sd21 sdxl] [--scratch FOLDER]
"""
import argparse
import json
import math
import os
import shutil
import tempfile

import bench

VAE = {"block_out_channels": (128, 256, 512, 512), "down_block_types": ("DownEncoderBlock2D",) * 4,
       "up_block_types": ("UpDecoderBlock2D",) * 4, "latent_channels": 4, "layers_per_block": 2, "sample_size": 512}
IDS = {"bos_token_id": 920, "eos_token_id": 921, "pad_token_id": 921}  # of the demo model's tokenizer
CLIP_L = {"vocab_size": 49408, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
          "max_position_embeddings": 77, "hidden_act": "quick_gelu", **IDS}
CLIP_H = {"vocab_size": 49408, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
          "max_position_embeddings": 77, "hidden_act": "gelu", **IDS}
CLIP_G = {"vocab_size": 49408, "hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20,
          "max_position_embeddings": 77, "hidden_act": "gelu", "projection_dim": 1280, **IDS}
MODELS = {
    "sd15": {"size": 512, "texts": [("text_encoder", "CLIPTextModel", CLIP_L)], "vae": VAE,
             "unet": {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8,
                      "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2}},
    "sd21": {"size": 768, "texts": [("text_encoder", "CLIPTextModel", CLIP_H)], "vae": VAE,
             "unet": {"sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": (5, 10, 20, 20),
                      "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, "use_linear_projection": True}},
    "sdxl": {"size": 1024, "vae": {**VAE, "sample_size": 1024, "scaling_factor": 0.13025},
             "texts": [("text_encoder", "CLIPTextModel", CLIP_L), ("text_encoder_2", "CLIPTextModelWithProjection", CLIP_G)],
             "unet": {"sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": (5, 10, 20),
                      "block_out_channels": (320, 640, 1280), "layers_per_block": 2, "use_linear_projection": True,
                      "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                      "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                      "transformer_layers_per_block": (1, 2, 10), "addition_embed_type": "text_time",
                      "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}},
}


def write_tensors(path, shapes):
    """Random fp16 tensors as a safetensors file: gains 1, biases 0, weights tame enough for any depth."""
    import numpy
    noise = numpy.random.default_rng(0).standard_normal(1 << 22, dtype=numpy.float32)
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            count = math.prod(shape)
            if len(shape) == 1:
                file.write(numpy.full(count, name.endswith("weight"), numpy.float16).tobytes())
                continue
            block = (noise * (0.5 / math.sqrt(count // shape[0]))).astype(numpy.float16)
            for first in range(0, count, len(block)):
                file.write(block[:count - first].tobytes())


def write_component(folder, name, model):
    """`model` lies on torch's meta device: names and shapes, no numbers."""
    os.makedirs(os.path.join(folder, name))
    if name.startswith("text"):
        model.config.to_json_file(os.path.join(folder, name, "config.json"))
    else:
        model.save_config(os.path.join(folder, name))
    library = "model" if name.startswith("text") else "diffusion_pytorch_model"
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items() if not key.endswith("position_ids")}
    write_tensors(os.path.join(folder, name, library + ".safetensors"), shapes)


def write_model(folder, name):
    """A diffusers folder; the demo model's tokenizer, whose ids fit the larger vocabulary."""
    import diffusers
    import torch
    import transformers
    made = MODELS[name]
    with torch.device("meta"):
        parts = [("unet", diffusers.UNet2DConditionModel(**made["unet"])), ("vae", diffusers.AutoencoderKL(**made["vae"]))]
        for text, kind, config in made["texts"]:
            parts.append((text, getattr(transformers, kind)(transformers.CLIPTextConfig(**config))))
    for part, model in parts:
        write_component(folder, part, model)
    shutil.copytree(os.path.join(bench.DEMO, "scheduler"), os.path.join(folder, "scheduler"))
    with open(os.path.join(bench.DEMO, "model_index.json")) as file:
        index = json.load(file)
    for text, kind, _ in made["texts"]:
        tokenizer = text.replace("text_encoder", "tokenizer")
        shutil.copytree(os.path.join(bench.DEMO, "tokenizer"), os.path.join(folder, tokenizer))
        index[text], index[tokenizer] = ["transformers", kind], ["transformers", "CLIPTokenizer"]
    if len(made["texts"]) == 2:
        index.update(_class_name="StableDiffusionXLPipeline", force_zeros_for_empty_prompt=True)
    with open(os.path.join(folder, "model_index.json"), "w") as file:
        json.dump(index, file, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--scratch", help="where folders are written (SDXL: 7 GB)")
    arguments = parser.parse_args()
    program = os.path.join(os.path.dirname(bench.BIN), "tests", "bench_pipeline")
    rows = []
    for name in arguments.models:
        size = MODELS[name]["size"]
        with tempfile.TemporaryDirectory(prefix=f"seedfarm-{name}-", dir=arguments.scratch) as folder:
            write_model(folder, name)
            ours = json.loads(bench.run([program, folder, size, size, 1, 1])[1])
        rows.append([name, f"{size}x{size}", f"{ours['weights_mb']:.0f}", f"{ours['run_mb']:.0f}", f"{ours['predicted_mb']:.0f}",
                     f"{ours['peak_mb']:.0f}", f"{ours['predicted_mb'] / ours['peak_mb']:.3f}", f"{ours['loaded_mb']:.0f}",
                     f"{ours['load_s']:.1f}", f"{ours['step_s']:.1f}", f"{ours['decode_s']:.1f}"])
    bench.table("True shapes, random fp16 weights, one picture under guidance (two evaluations a step); MiB and seconds",
                ["model", "size", "weights", "run", "predicted", "peak", "predicted / peak", "peak of loading", "load", "step",
                 "decode"], rows)


if __name__ == "__main__":
    main()
