"""What the training stages share: the data, the loop with its learning rate, averaged weights."""
import copy
import json
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPTokenizer

WIDTH = 128  # of the text encoder, of CLIP's common space, of the U-Net's cross-attention
TOKENS = 77


def begin():
    torch.set_num_threads(2)
    torch.manual_seed(0)


def autocast():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def load_images():
    return np.load("data_images.npy", mmap_mode="r")


def load_captions():
    with open("data_captions.json") as file:
        return json.load(file)["captions"]


def to_signed(pixels):
    """[N,H,W,3] u8 -> [N,3,H,W] floats in -1..1."""
    return torch.from_numpy(np.asarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def token_ids(texts):
    """[N,77]"""
    tokenizer = CLIPTokenizer.from_pretrained("model/tokenizer")
    return tokenizer(texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt").input_ids


def millions_of_parameters(model):
    return sum(parameter.numel() for parameter in model.parameters()) / 1e6


def gradient_l1(a, b):
    """Distance of the differences between neighbours: blurred pictures are told apart from sharp ones."""
    across = F.l1_loss(a[..., 1:] - a[..., :-1], b[..., 1:] - b[..., :-1])
    down = F.l1_loss(a[..., 1:, :] - a[..., :-1, :], b[..., 1:, :] - b[..., :-1, :])
    return across + down


def descend(loss, optimizer, parameters):
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.)
    optimizer.step()


def averaged(model):
    """A copy that follows the model's weights slowly (follow()) and is what is kept in the end."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def follow(average, model, number, limit):
    decay = min(limit, (1 + number) / (10 + number))
    with torch.no_grad():
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


def learning_rate(progress, peak):
    """A short linear rise, then half a cosine down to 0."""
    return peak * min(1, progress / .02) * (.5 + .5 * math.cos(math.pi * min(1, progress)))


def loop(minutes, optimizer, peak, step):
    """Call step(number, progress in 0..1) until the minutes are over; it returns losses, printed as averages."""
    begun = time.time()
    losses = []
    number = 0
    while (progress := (time.time() - begun) / (minutes * 60)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, peak) + 1e-7
        losses.append(step(number, progress))
        number += 1
        if number % 100 == 0:
            mean = np.round(np.mean(losses[-100:], 0), 4)
            rate = number / (time.time() - begun)
            print(f"{number} {progress:.3f} loss {mean} {rate:.1f}/s", flush=True)
    print("steps", number)


def psnr(a, b):
    """In decibels, for values in -1..1."""
    return (10 * torch.log10(4 / F.mse_loss(a, b))).item()


def save_sheet(batch, path, columns):
    """[N,3,H,W] in -1..1 as one picture."""
    pixels = ((batch.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
    count, height, width, _ = pixels.shape
    rows = count // columns
    grid = pixels[:rows * columns].reshape(rows, columns, height, width, 3)
    Image.fromarray(grid.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)).save(path)
