"""The U-Net, and the latents and conditions it learns from. Used by train.py (stages latents and unet)."""
import time

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextModel

import training

BATCH = 64
STEPS = 1000          # of the noise schedule
WITHOUT_PROMPT = .1   # share of pictures shown with the empty prompt, for guidance
SNR_LIMIT = 5         # Hang et al. 2023, min-SNR weighting
SAVE_EVERY_S = 600


def encode():
    """Every picture as its latent, every distinct caption as its condition; the last one is the empty caption."""
    autoencoder = AutoencoderKL.from_pretrained("model/vae").eval()
    encoder = CLIPTextModel.from_pretrained("model/text_encoder").eval()
    images = training.load_images()
    scale = autoencoder.config.scaling_factor
    latents = []
    with torch.no_grad():
        for first in range(0, len(images), 500):
            pictures = training.to_signed(images[first:first + 500])
            latents.append(autoencoder.encode(pictures).latent_dist.mean * scale)
        torch.save(torch.cat(latents).half(), "latents.pt")
        texts, which = np.unique(np.array(training.load_captions() + [""]), return_inverse=True)
        ids = training.token_ids(list(texts))
        parts = [encoder(ids[first:first + 500]).last_hidden_state for first in range(0, len(texts), 500)]
        conditions = torch.cat(parts)
        torch.save((conditions.half(), torch.from_numpy(which)), "embeds.pt")
        print(conditions.shape, "std", conditions.std())


def new_model():
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        cross_attention_dim=training.WIDTH,
        attention_head_dim=4,
        block_out_channels=(64, 128, 192),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 3,
        up_block_types=("CrossAttnUpBlock2D",) * 3,
    )


def stratified_timesteps(generator):
    """[BATCH] one from each equal part of the schedule, in random order."""
    order = torch.randperm(BATCH, generator=generator)
    return ((order + torch.rand(BATCH, generator=generator)) / BATCH * STEPS).long().clamp(0, STEPS - 1)


def train(minutes):
    latents = torch.load("latents.pt")
    conditions, which = torch.load("embeds.pt")
    empty = which[-1]
    model = new_model()
    print(training.millions_of_parameters(model), "M")
    average = training.averaged(model)
    model.set_attn_processor(AttnProcessor())  # torch's flash attention is slow backwards on a CPU
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, betas=(.9, .99), weight_decay=1e-3, fused=True)
    scheduler = DDPMScheduler(beta_start=.00085, beta_end=.012, beta_schedule="scaled_linear",
                              num_train_timesteps=STEPS)
    alphas = scheduler.alphas_cumprod
    snr = alphas / (1 - alphas)
    generator = torch.Generator().manual_seed(5)
    saved = time.time()

    def step(number, progress):
        nonlocal saved
        picked = torch.randint(len(latents), (BATCH,), generator=generator)
        clean = latents[picked].float()
        unprompted = torch.rand(BATCH, generator=generator) < WITHOUT_PROMPT
        condition = conditions[torch.where(unprompted, empty, which[picked])].float()
        timestep = stratified_timesteps(generator)
        noise = torch.randn(clean.shape, generator=generator)
        alpha = alphas[timestep].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
        with training.autocast():
            predicted = compiled(noisy, timestep, condition).sample
        weight = snr[timestep].clamp(max=SNR_LIMIT) / snr[timestep]
        losses = ((predicted.float() - noise) ** 2).mean((1, 2, 3))
        loss = (losses * weight).mean()
        training.descend(loss, optimizer, model.parameters())
        training.follow(average, model, number, .9995)
        if time.time() - saved > SAVE_EVERY_S:
            saved = time.time()
            average.save_pretrained("model/unet")
            torch.save((model.state_dict(), optimizer.state_dict()), "unet_state.pt")
        return losses.mean().item(), loss.item()

    training.loop(minutes, optimizer, 1e-3, step)
    average.save_pretrained("model/unet")
