"""CLIP: captions and pictures in one space; its text half conditions the U-Net. Used by train.py (stage clip)."""
import json
import math

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTextModel, CLIPVisionConfig

import training

UNSEEN = 1024  # pictures at the end of the data set that training leaves out
BATCH = 192
MEAN = torch.tensor([.48145466, .4578275, .40821073]).view(1, 3, 1, 1)
STD = torch.tensor([.26862954, .26130258, .27577711]).view(1, 3, 1, 1)


def text_config():
    with open("model/tokenizer/vocab.json") as file:
        size = len(json.load(file))
    return CLIPTextConfig(
        vocab_size=size,
        hidden_size=training.WIDTH,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=training.TOKENS,
        projection_dim=training.WIDTH,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )


def new_model(text):
    vision = CLIPVisionConfig(
        hidden_size=training.WIDTH,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
        projection_dim=training.WIDTH,
    )
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=training.WIDTH)
    return CLIPModel(config)


def normalised(pixels):
    return ((training.to_signed(pixels) + 1) / 2 - MEAN) / STD


def same_caption(ids):
    """[B,B] bool: captions repeat, and a picture may go with any copy of its own."""
    return (ids[:, None] == ids[None]).all(-1)


def contrastive_loss(logits, target):
    """Captions to pictures and pictures to captions."""
    to_pictures = -(target * logits.log_softmax(1)).sum(1).mean() / 2
    return to_pictures - (target * logits.T.log_softmax(1)).sum(1).mean() / 2


def report(model, images, ids):
    with torch.no_grad():
        picked = np.arange(len(images) - 256, len(images))
        answer = model(input_ids=ids[picked], pixel_values=normalised(images[picked]))
        guess = answer.logits_per_image.argmax(1)
        right = same_caption(ids[picked])[torch.arange(256), guess]
        print("unseen picture -> caption among 256:", right.float().mean().item())


def train(minutes):
    text = text_config()
    model = new_model(text)
    print(training.millions_of_parameters(model), "M")
    images = training.load_images()
    ids = training.token_ids(training.load_captions())
    rng = np.random.default_rng(1)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(.9, .98), weight_decay=.05)
    longest = int((ids != text.pad_token_id).sum(1).max()) + 1
    print("longest", longest)

    def step(number, progress):
        picked = np.sort(rng.choice(len(images) - UNSEEN, BATCH, replace=False))
        pixels = normalised(images[picked])
        with training.autocast():
            answer = model(input_ids=ids[picked][:, :longest], pixel_values=pixels)
        logits = answer.logits_per_text.float()
        same = same_caption(ids[picked]).float()
        loss = contrastive_loss(logits, same / same.sum(1, keepdim=True))
        training.descend(loss, optimizer, model.parameters())
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        return loss.item(), (logits.argmax(1) == torch.arange(len(picked))).float().mean().item()

    training.loop(minutes, optimizer, 1e-3, step)
    model.eval()
    model.save_pretrained("clip")
    CLIPTextModel.from_pretrained("clip").save_pretrained("model/text_encoder")
    report(model, images, ids)
