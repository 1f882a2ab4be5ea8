"""Small random models of every family, each written as a diffusers folder (new and old key forms) and as the single file that it
would have been: Python's standard library only.

    single_file.write(folder, family, seed)  ->  folder/NEW, folder/OLD (diffusers), folder/single.safetensors

A family's name with "-inpaint" behind it is the one whose U-Net reads 9 channels.
"""
import json
import os
import random
import struct

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORDS = 49408

# widths, blocks with attention, transformer depth, layers a block; text encoders: (width, layers, OpenCLIP's)
FAMILIES = {
    "sd1": dict(widths=(32, 64), attention=(1, 0), depth=(1, 1), layers=1, linear=False, texts=[(64, 2, False)], scaling=0.18215),
    "sd2": dict(widths=(64, 128), attention=(1, 1), depth=(1, 1), layers=2, linear=True, texts=[(64, 2, True)], scaling=0.18215),
    "sdxl": dict(widths=(64, 64, 128), attention=(0, 1, 1), depth=(1, 1, 2), layers=1, linear=True,
                 texts=[(64, 2, False), (64, 2, True)], numbers=6, scaling=0.13025),
    "refiner": dict(widths=(64, 64), attention=(1, 0), depth=(2, 2), layers=1, linear=True, texts=[(64, 3, True)], numbers=5,
                    scaling=0.13025),
}
NUMBER = 16  # sinusoids of each number of the added conditioning
VAE = (32, 64)


class Tensors(dict):
    """name -> (shape, bytes of f16)"""

    def __init__(self, seed):
        super().__init__()
        self.random = random.Random(seed)

    def put(self, name, *shape):
        count = 1
        for side in shape:
            count *= side
        data = bytearray(self.random.randbytes(2 * count))
        # halves of 2^-6..2^-5 with any sign; norms near one
        top = bytes(0x3c if "norm" in name and name.endswith("weight") else 0x24 | (byte & 0x83) for byte in range(256))
        data[1::2] = data[1::2].translate(top)
        self[name] = (shape, bytes(data))

    def layer(self, name, out, *rest, bias=True):
        self.put(f"{name}.weight", out, *rest)
        if bias:
            self.put(f"{name}.bias", out)


def save(path, tensors):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    header, at = {}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "F16", "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values():
            file.write(data)


# ---- the networks, by diffusers' names ----------------------------------------------------------------------------------

def resnet(t, name, into, out, time=0):
    t.layer(f"{name}.norm1", into)
    t.layer(f"{name}.conv1", out, into, 3, 3)
    if time:
        t.layer(f"{name}.time_emb_proj", out, time)
    t.layer(f"{name}.norm2", out)
    t.layer(f"{name}.conv2", out, out, 3, 3)
    if into != out:
        t.layer(f"{name}.conv_shortcut", out, into, 1, 1)


def attention(t, name, width, condition, depth, linear):
    ones = () if linear else (1, 1)
    t.layer(f"{name}.norm", width)
    t.layer(f"{name}.proj_in", width, width, *ones)
    for i in range(depth):
        block = f"{name}.transformer_blocks.{i}"
        for a, source in (("attn1", width), ("attn2", condition)):
            t.layer(f"{block}.{a}.to_q", width, width, bias=False)
            t.layer(f"{block}.{a}.to_k", width, source, bias=False)
            t.layer(f"{block}.{a}.to_v", width, source, bias=False)
            t.layer(f"{block}.{a}.to_out.0", width, width)
        t.layer(f"{block}.ff.net.0.proj", 8 * width, width)
        t.layer(f"{block}.ff.net.2", width, 4 * width)
        for n in ("norm1", "norm2", "norm3"):
            t.layer(f"{block}.{n}", width)
    t.layer(f"{name}.proj_out", width, width, *ones)


def unet(t, f, condition, added, channels):
    widths, layers, time = f["widths"], f["layers"], 4 * f["widths"][0]
    t.layer("time_embedding.linear_1", time, widths[0])
    t.layer("time_embedding.linear_2", time, time)
    if added:
        t.layer("add_embedding.linear_1", time, added)
        t.layer("add_embedding.linear_2", time, time)
    t.layer("conv_in", widths[0], channels, 3, 3)
    skips, last = [widths[0]], len(widths) - 1
    for level, width in enumerate(widths):
        for i in range(layers):
            resnet(t, f"down_blocks.{level}.resnets.{i}", skips[-1], width, time)
            if f["attention"][level]:
                attention(t, f"down_blocks.{level}.attentions.{i}", width, condition, f["depth"][level], f["linear"])
            skips.append(width)
        if level < last:
            t.layer(f"down_blocks.{level}.downsamplers.0.conv", width, width, 3, 3)
            skips.append(width)
    resnet(t, "mid_block.resnets.0", widths[-1], widths[-1], time)
    attention(t, "mid_block.attentions.0", widths[-1], condition, f["depth"][-1], f["linear"])
    resnet(t, "mid_block.resnets.1", widths[-1], widths[-1], time)
    below = widths[-1]
    for place, level in enumerate(reversed(range(len(widths)))):
        width = widths[level]
        for i in range(layers + 1):
            resnet(t, f"up_blocks.{place}.resnets.{i}", below + skips.pop(), width, time)
            if f["attention"][level]:
                attention(t, f"up_blocks.{place}.attentions.{i}", width, condition, f["depth"][level], f["linear"])
            below = width
        if place < last:
            t.layer(f"up_blocks.{place}.upsamplers.0.conv", width, width, 3, 3)
    t.layer("conv_norm_out", widths[0])
    t.layer("conv_out", 4, widths[0], 3, 3)


def vae(t):
    for half, into, ends in (("encoder", 3, (VAE[0], 8)), ("decoder", 4, (VAE[-1], 3))):
        order = VAE if half == "encoder" else VAE[::-1]
        side, what = ("down", "downsamplers") if half == "encoder" else ("up", "upsamplers")
        t.layer(f"{half}.conv_in", order[0], into, 3, 3)
        below = order[0]
        for level, width in enumerate(order):
            for i in range(1 + (half == "decoder")):
                resnet(t, f"{half}.{side}_blocks.{level}.resnets.{i}", below, width)
                below = width
            if level + 1 < len(order):
                t.layer(f"{half}.{side}_blocks.{level}.{what}.0.conv", width, width, 3, 3)
        for i in range(2):
            resnet(t, f"{half}.mid_block.resnets.{i}", VAE[-1], VAE[-1])
        middle = f"{half}.mid_block.attentions.0"
        t.layer(f"{middle}.group_norm", VAE[-1])
        for name in ("to_q", "to_k", "to_v", "to_out.0"):
            t.layer(f"{middle}.{name}", VAE[-1], VAE[-1])
        t.layer(f"{half}.conv_norm_out", order[-1])
        t.layer(f"{half}.conv_out", ends[1], order[-1], 3, 3)
    t.layer("quant_conv", 8, 8, 1, 1)
    t.layer("post_quant_conv", 4, 4, 1, 1)


def text(t, width, layers, projection):
    t.put("text_model.embeddings.token_embedding.weight", WORDS, width)
    t.put("text_model.embeddings.position_embedding.weight", 77, width)
    for i in range(layers):
        layer = f"text_model.encoder.layers.{i}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            t.layer(f"{layer}.self_attn.{name}", width, width)
        t.layer(f"{layer}.layer_norm1", width)
        t.layer(f"{layer}.layer_norm2", width)
        t.layer(f"{layer}.mlp.fc1", 2 * width, width)
        t.layer(f"{layer}.mlp.fc2", width, 2 * width)
    t.layer("text_model.final_layer_norm", width)
    if projection:
        t.put("text_projection.weight", width, width)


# ---- LDM's names ----------------------------------------------------------------------------------------------------------

def ldm_unet(tensors, f):
    """f: widths, layers, attention of a FAMILIES entry"""
    resnets = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
               "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    ends = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "conv_in": "input_blocks.0.0",
            "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_norm_out": "out.0",
            "conv_out": "out.2"}
    places, layers = {}, f["layers"]
    for level in range(len(f["widths"])):
        for i in range(layers):
            places[f"down_blocks.{level}.resnets.{i}"] = f"input_blocks.{1 + level * (layers + 1) + i}.0"
            places[f"down_blocks.{level}.attentions.{i}"] = f"input_blocks.{1 + level * (layers + 1) + i}.1"
        places[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{(level + 1) * (layers + 1)}.0.op"
        attends = f["attention"][len(f["widths"]) - 1 - level]
        for i in range(layers + 1):
            places[f"up_blocks.{level}.resnets.{i}"] = f"output_blocks.{level * (layers + 1) + i}.0"
            places[f"up_blocks.{level}.attentions.{i}"] = f"output_blocks.{level * (layers + 1) + i}.1"
        places[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{level * (layers + 1) + layers}.{1 + attends}.conv"
    places |= {"mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1",
               "mid_block.resnets.1": "middle_block.2"} | ends
    for name, value in tensors.items():
        stem = max((p for p in places if name.startswith(p + ".")), key=len)
        rest = name[len(stem) + 1:]
        if ".resnets." in stem:
            part, last = rest.rsplit(".", 1)
            rest = f"{resnets[part]}.{last}"
        yield f"model.diffusion_model.{places[stem]}.{rest}", value


def ldm_vae(tensors):
    names = {"mid_block.resnets.0": "mid.block_1", "mid_block.resnets.1": "mid.block_2", "conv_shortcut": "nin_shortcut",
             "mid_block.attentions.0.group_norm": "mid.attn_1.norm", "mid_block.attentions.0.to_q": "mid.attn_1.q",
             "mid_block.attentions.0.to_k": "mid.attn_1.k", "mid_block.attentions.0.to_v": "mid.attn_1.v",
             "mid_block.attentions.0.to_out.0": "mid.attn_1.proj_out", "conv_norm_out": "norm_out"}
    for level in range(len(VAE)):
        up = len(VAE) - 1 - level
        names[f"down_blocks.{level}.downsamplers.0"] = f"down.{level}.downsample"
        names[f"up_blocks.{level}.upsamplers.0"] = f"up.{up}.upsample"
        for i in range(3):
            names[f"down_blocks.{level}.resnets.{i}"] = f"down.{level}.block.{i}"
            names[f"up_blocks.{level}.resnets.{i}"] = f"up.{up}.block.{i}"
    for name, (shape, data) in tensors.items():
        for mine, theirs in names.items():
            name = name.replace(mine + ".", theirs + ".")
        if ".attn_1." in name and len(shape) == 2:
            shape = (*shape, 1, 1)
        yield "first_stage_model." + name, (shape, data)


def transposed(shape, data):
    rows, columns = shape
    halves = [data[2 * i:2 * i + 2] for i in range(rows * columns)]
    return (columns, rows), b"".join(halves[r * columns + c] for c in range(columns) for r in range(rows))


def open_clip(tensors, prefix, layers, extra_layer):
    """extra_layer: one more layer stands behind the last one that is used (SD 2)."""
    names = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
             "self_attn.out_proj": "attn.out_proj"}
    ends = {"text_model.embeddings.token_embedding.weight": "token_embedding.weight",
            "text_model.embeddings.position_embedding.weight": "positional_embedding",
            "text_model.final_layer_norm.weight": "ln_final.weight", "text_model.final_layer_norm.bias": "ln_final.bias"}
    made = {}
    for name, value in tensors.items():
        if name in ends:
            made[ends[name]] = value
        elif name == "text_projection.weight":
            made["text_projection"] = transposed(*value)
        elif "_proj." in name and "out_proj" not in name:
            continue
        else:
            _, _, _, i, rest = name.split(".", 4)
            part, last = rest.rsplit(".", 1)
            made[f"transformer.resblocks.{i}.{names[part]}.{last}"] = value
    for i in range(layers):
        for last in ("weight", "bias"):
            parts = [tensors[f"text_model.encoder.layers.{i}.self_attn.{p}_proj.{last}"] for p in "qkv"]
            shape = (3 * parts[0][0][0], *parts[0][0][1:])
            made[f"transformer.resblocks.{i}.attn.in_proj_{last}"] = (shape, b"".join(p[1] for p in parts))
    if extra_layer:
        for name in [n for n in made if n.startswith(f"transformer.resblocks.{layers - 1}.")]:
            made[name.replace(f".{layers - 1}.", f".{layers}.", 1)] = made[name]
        width = tensors["text_model.final_layer_norm.weight"][0][0]
        made["text_projection"] = ((width, width), bytes(2 * width * width))
    made["logit_scale"] = ((), b"\0\x3c")
    return {prefix + name: value for name, value in made.items()}


# ---- folders --------------------------------------------------------------------------------------------------------------

def letters():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + n) for n in range(len(others))]


def put_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        json.dump(value, file)


def put_tokenizer(folder, padding):
    with open(os.path.join(SOURCE, "pipeline", "text", "clip_merges.txt")) as file:
        merges = file.read()
    words = letters() + [letter + "</w>" for letter in letters()]
    words += ["".join(line.split()) for line in merges.splitlines()[1:]] + ["<|startoftext|>", "<|endoftext|>"]
    put_json(os.path.join(folder, "vocab.json"), {word: i for i, word in enumerate(words)})
    with open(os.path.join(folder, "merges.txt"), "w") as file:
        file.write(merges)
    put_json(os.path.join(folder, "tokenizer_config.json"),
             {"tokenizer_class": "CLIPTokenizer", "bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>",
              "unk_token": "<|endoftext|>", "pad_token": padding, "model_max_length": 77, "do_lower_case": True})


def old_keys(part, tensors):
    """As transformers 5 and diffusers before 0.13 named things: without text_model, and the VAE's attention by its old words."""
    vae_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for name, value in tensors.items():
        if part == "vae" and ".attentions." in name:
            for new, old in vae_names.items():
                name = name.replace(f".{new}.", f".{old}.")
        yield name.removeprefix("text_model.") if part.startswith("text") else name, value


CLASSES = {"sd1": "StableDiffusion{}Pipeline", "sd2": "StableDiffusion{}Pipeline", "sdxl": "StableDiffusionXL{}Pipeline",
           "refiner": "StableDiffusionXLImg2ImgPipeline"}


def write(folder, name, seed=1):
    family, channels = name.removesuffix("-inpaint"), 9 if name.endswith("-inpaint") else 4
    f = FAMILIES[family]
    widths, levels, xl = f["widths"], len(f["widths"]), "numbers" in f
    condition, pooled = sum(width for width, _, _ in f["texts"]), f["texts"][-1][0]
    added = pooled + f["numbers"] * NUMBER if xl else 0
    parts = {"unet": Tensors(seed), "vae": Tensors(seed + 1)}
    unet(parts["unet"], f, condition, added, channels)
    vae(parts["vae"])
    blocks = ["CrossAttn" * a for a in f["attention"]]
    configs = {
        "unet": {"_class_name": "UNet2DConditionModel", "in_channels": channels, "out_channels": 4, "block_out_channels": widths,
                 "layers_per_block": f["layers"], "cross_attention_dim": condition, "norm_num_groups": 32,
                 "attention_head_dim": 8 if family == "sd1" else [max(1, width // 64) for width in widths],
                 "transformer_layers_per_block": f["depth"], "use_linear_projection": f["linear"],
                 "down_block_types": [b + "DownBlock2D" for b in blocks], "up_block_types": [b + "UpBlock2D" for b in blocks[::-1]]},
        "vae": {"_class_name": "AutoencoderKL", "block_out_channels": VAE, "layers_per_block": 1, "latent_channels": 4,
                "norm_num_groups": 32, "scaling_factor": f["scaling"], "down_block_types": ["DownEncoderBlock2D"] * len(VAE),
                "up_block_types": ["UpDecoderBlock2D"] * len(VAE)}}
    if xl:
        configs["unet"] |= {"addition_embed_type": "text_time", "addition_time_embed_dim": NUMBER,
                            "projection_class_embeddings_input_dim": added}
    index = {"_class_name": CLASSES[family].format("Inpaint" if channels == 9 else "")}
    if xl:
        index |= {"force_zeros_for_empty_prompt": family == "sdxl", "requires_aesthetics_score": family == "refiner"}
    single = dict(ldm_unet(parts["unet"], f)) | dict(ldm_vae(parts["vae"]))
    for place, (width, layers, open_clips) in enumerate(f["texts"]):
        number = "_2" if xl and open_clips else ""
        part, tensors, projection = f"text_encoder{number}", Tensors(seed + 2 + place), xl and open_clips
        text(tensors, width, layers, projection)
        parts[part] = tensors
        index[part] = ["transformers", "CLIPTextModelWithProjection" if projection else "CLIPTextModel"]
        configs[part] = {"model_type": "clip_text_model", "hidden_size": width, "num_hidden_layers": layers,
                         "num_attention_heads": max(1, width // 64), "intermediate_size": 2 * width, "vocab_size": WORDS,
                         "max_position_embeddings": 77, "eos_token_id": 49407, "hidden_act": "gelu" if open_clips else "quick_gelu"}
        if projection:
            configs[part]["projection_dim"] = width
        for form in ("new", "old"):
            put_tokenizer(os.path.join(folder, form, f"tokenizer{number}"), "!" if open_clips else "<|endoftext|>")
        prefix = f"conditioner.embedders.{place}." if xl else "cond_stage_model."
        if open_clips:
            single |= open_clip(tensors, prefix + "model.", layers, family == "sd2")
        else:
            single |= {f"{prefix}transformer.{key}": value for key, value in tensors.items()}
    single["alphas_cumprod"] = ((1000,), bytes(2000))
    for form in ("new", "old"):
        put_json(os.path.join(folder, form, "model_index.json"), index)
        put_json(os.path.join(folder, form, "scheduler", "scheduler_config.json"),
                 {"_class_name": "EulerDiscreteScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
                  "num_train_timesteps": 1000, "prediction_type": "epsilon", "steps_offset": 1, "timestep_spacing": "leading",
                  "set_alpha_to_one": False, "clip_sample": False})
        for part, tensors in parts.items():
            file = "model.safetensors" if part.startswith("text") else "diffusion_pytorch_model.safetensors"
            put_json(os.path.join(folder, form, part, "config.json"), configs[part])
            save(os.path.join(folder, form, part, file), dict(old_keys(part, tensors)) if form == "old" else tensors)
    save(os.path.join(folder, "single.safetensors"), single)
