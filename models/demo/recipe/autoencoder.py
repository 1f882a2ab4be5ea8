"""The VAE: pictures [3,64,64] <-> latents [4,16,16]. Used by train.py (stages vae and decoder)."""
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

import training

LEVELS = 3
CROP = 32
VALUES = 3 * 64 * 64  # of a picture


def new_model():
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        block_out_channels=(32, 64, 96),
        norm_num_groups=16,
        layers_per_block=1,
        sample_size=64,
        down_block_types=("DownEncoderBlock2D",) * LEVELS,
        up_block_types=("UpDecoderBlock2D",) * LEVELS,
    )


def new_optimizer(parameters):
    return torch.optim.AdamW(parameters, 1e-3, betas=(.9, .99), weight_decay=1e-4)


def pick(images, count, rng):
    return training.to_signed(images[np.sort(rng.choice(len(images), count, replace=False))])


def pick_crops(images, progress, rng):
    """Quarters of pictures at first, four times the steps in the same time; whole ones in the last quarter."""
    if progress >= .75:
        return pick(images, 12, rng)
    pictures = pick(images, 32, rng)
    top, left = 4 * rng.integers(0, 9, 2)
    return pictures[..., top:top + CROP, left:left + CROP]


def report(model, pictures, latents, path):
    restored = model.decode(latents).sample
    print("psnr", training.psnr(restored, pictures))
    training.save_sheet(torch.stack([pictures, restored], 1).flatten(0, 1), path, 16)


def train(minutes):
    model = new_model()
    print(training.millions_of_parameters(model), "M")
    images = training.load_images()
    rng = np.random.default_rng(0)
    optimizer = new_optimizer(model.parameters())
    average = training.averaged(model)

    def step(number, progress):
        pictures = pick_crops(images, progress, rng)
        with training.autocast():
            posterior = model.encode(pictures).latent_dist
            restored = model.decode(posterior.sample()).sample
        restored = restored.float()
        pixel_loss = F.l1_loss(restored, pictures) + .5 * F.mse_loss(restored, pictures)
        edge_loss = training.gradient_l1(restored, pictures)
        divergence = posterior.kl().float().mean() / VALUES
        loss = pixel_loss + .5 * edge_loss + 1e-4 * divergence * 16
        training.descend(loss, optimizer, model.parameters())
        training.follow(average, model, number, .999)
        return pixel_loss.item(), edge_loss.item(), divergence.item()

    training.loop(minutes, optimizer, 1.5e-3, step)
    with torch.no_grad():
        latents = average.encode(training.to_signed(images[:512])).latent_dist.mean
        print("std", latents.std().item(), "mean", latents.mean((0, 2, 3)))
        average.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
        average.save_pretrained("model/vae")
        report(average, training.to_signed(images[:32]), latents[:32], "vae.png")


def train_decoder(minutes):
    """Sharpen the decoder alone: the encoder, and so the latent space, stays."""
    model = AutoencoderKL.from_pretrained("model/vae")
    images = training.load_images()
    rng = np.random.default_rng(9)
    for part in (model.encoder, model.quant_conv):
        part.requires_grad_(False)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = new_optimizer(parameters)
    average = training.averaged(model)

    def step(number, progress):
        pictures = pick(images, 16, rng)
        with training.autocast():
            with torch.no_grad():
                latents = model.encode(pictures).latent_dist.mean
            noise = .02 * model.config.scaling_factor ** -1 * torch.randn_like(latents)
            restored = model.decode(latents + noise).sample
        restored = restored.float()
        pixel_loss = F.l1_loss(restored, pictures)
        edge_loss = training.gradient_l1(restored, pictures)
        # As much detail as the picture has, at whatever place.
        spectrum = torch.fft.rfft2(restored, norm="ortho").abs()
        detail_loss = (spectrum - torch.fft.rfft2(pictures, norm="ortho").abs()).abs().mean()
        loss = pixel_loss + .5 * edge_loss + .3 * detail_loss
        training.descend(loss, optimizer, parameters)
        training.follow(average, model, number, .999)
        return pixel_loss.item(), edge_loss.item(), detail_loss.item()

    training.loop(minutes, optimizer, 6e-4, step)
    average.save_pretrained("model/vae")
    with torch.no_grad():
        pictures = training.to_signed(images[:32])
        report(average, pictures, average.encode(pictures).latent_dist.mean, "decoder.png")
