"""Record goldens of the process with the diffusers library: pictures to start from, inpainting, LCM, guidance rescale, another
prediction than the model's, masks with a model that is not for inpainting.
tests/golden/process-{a,inpaint,lcm,kept}.{json,safetensors}.

    V/bin/python tests/golden/record_process.py [NAME ...]        (V: a virtual environment with tests/golden/requirements.txt)

Replayed by tests/golden/test_golden.c. diffusers' own pipelines draw everything from the one generator, so that the order of the
draws is theirs. Pictures are random smooth ones, masks a rectangle and some noise.
"""
import json
import sys

import torch
from diffusers import (LCMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline,
                       StableDiffusionPipeline)
from PIL import Image
from record import CLASSES, FROG, HERE, load, scheduler_fields
from safetensors.torch import save_file

CLASSES = CLASSES | {"LCM": LCMScheduler}


def case(sampler, schedule, width, height, steps, cfg, prompt=FROG, negative="", seed=0, clip_skip=1, cfg_rescale=0.0,
         prediction=None, strength=1.0, init=None):
    return dict(sampler=sampler, schedule=schedule, width=width, height=height, steps=steps, cfg=cfg, prompt=prompt,
                negative=negative, seed=seed, clip_skip=clip_skip, cfg_rescale=cfg_rescale, prediction=prediction,
                strength=strength, init=init)


# "init": the number of a picture
PLAIN = [
    case("Euler", "leading", 40, 24, 6, 5.0, init=1, strength=0.7),
    case("Euler a", "trailing", 64, 48, 7, 5.0, negative="blue", init=2, strength=0.5, seed=1),
    case("DDIM", "trailing", 40, 24, 6, 1.0, init=3, strength=0.4, seed=2),
    case("DPM++ 2M", "trailing", 40, 24, 8, 5.0, init=1, strength=0.75, seed=3),
    case("DPM++ 2M", "linspace", 24, 40, 5, 5.0, init=4, strength=1.0, seed=4),
    case("Euler", "linspace", 40, 24, 6, 9.0, cfg_rescale=0.7, seed=5),
    case("DDIM", "leading", 64, 48, 5, 7.0, negative="a red ground", cfg_rescale=1.0, prediction="v", seed=6),
    case("DPM++ 2M", "trailing", 40, 24, 5, 5.0, cfg_rescale=0.25, prediction="sample", seed=7),
    case("LCM", "lcm", 40, 24, 4, 1.0, seed=8),
    case("LCM", "lcm", 40, 24, 4, 3.0, init=2, strength=0.6, seed=9),
    case("Euler", "leading", 44, 28, 5, 5.0, init=3, strength=0.6, seed=10),  # 11x7 latents: the U-Net halves them
]
INPAINT = [
    case("Euler", "trailing", 64, 48, 5, 5.0, init=1),
    case("Euler a", "trailing", 40, 24, 5, 5.0, negative="blue", init=2, seed=1),
    case("DDIM", "trailing", 40, 24, 5, 5.0, init=3, seed=2),
    case("DDIM", "leading", 40, 24, 6, 5.0, init=4, seed=3, strength=0.6),
    case("DPM++ 2M", "leading", 24, 40, 6, 1.0, init=5, seed=4, strength=0.7),
    case("Euler a", "linspace", 40, 24, 6, 5.0, init=1, seed=5, strength=0.8),
    case("LCM", "lcm", 40, 24, 4, 1.0, init=1, seed=6),
    case("DDIM", "trailing", 44, 28, 5, 5.0, init=2, seed=7),  # 11x7 latents
]
LCM = [
    case("LCM", "lcm", 40, 24, 4, 8.0),
    case("LCM", "lcm", 24, 40, 1, 1.0, seed=1),
    case("LCM", "lcm", 40, 24, 8, 1.5, seed=2, prompt="Neon sign of a PENGUIN, 3 stars!"),
    case("Euler", "trailing", 40, 24, 3, 4.0, seed=3),
    case("LCM", "lcm", 42, 26, 4, 8.0, init=2, strength=0.8, seed=4),  # 21x13 latents
]
KEPT = [
    case("Euler", "leading", 40, 24, 5, 5.0, init=1),
    case("Euler", "trailing-karras", 64, 48, 6, 5.0, init=2, strength=0.7, seed=1),
    case("Euler a", "trailing", 40, 24, 6, 5.0, negative="blue", init=3, strength=0.6, seed=2),
    case("DDIM", "linspace", 40, 24, 6, 5.0, init=4, seed=3),  # whose steps end elsewhere than the next one begins
    case("DDIM", "trailing", 44, 28, 6, 5.0, init=5, strength=0.8, seed=4),  # 11x7 latents
    case("DPM++ 2M", "leading", 24, 40, 6, 1.0, init=1, strength=0.7, seed=5),
    case("DPM++ 2M", "trailing", 40, 24, 5, 5.0, init=2, seed=6),
    case("LCM", "lcm", 40, 24, 4, 1.0, init=3, strength=0.9, seed=7),
    case("Euler a", "leading", 40, 24, 5, 5.0, init=4, seed=8),
]


def picture(number, width, height):
    generator = torch.Generator().manual_seed(1000 + number)
    coarse = torch.rand((1, 3, 4, 5), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return (smooth[0].permute(1, 2, 0) * 255).round().to(torch.uint8)


def mask(number, width, height):
    generator = torch.Generator().manual_seed(2000 + number)
    drawn = torch.randint(0, 256, (height, width, 3), generator=generator)
    drawn[height // 4:, : width // 2] = torch.tensor([250, 200, 220])
    drawn[: height // 3, width // 3:] = torch.tensor([9, 40, 20])
    return drawn.to(torch.uint8)


def as_image(tensor):
    return Image.fromarray(tensor.numpy())


def run(pipe, job, masked):
    tensors, steps = {}, []
    encode = lambda text: pipe.encode_prompt(text, "cpu", 1, False, clip_skip=job["clip_skip"] - 1 or None)[0]
    guided = job["cfg"] > 1 and pipe.unet.config.time_cond_proj_dim is None
    config = {"clip_sample": False, "set_alpha_to_one": False} | dict(pipe.scheduler.config)
    more = {} if job["schedule"] == "lcm" else scheduler_fields(job["schedule"])
    if job["prediction"]:
        more["prediction_type"] = {"v": "v_prediction"}.get(job["prediction"], job["prediction"])
    parts = dict(pipe.components) | {"scheduler": CLASSES[job["sampler"]].from_config(config, **more)}
    arguments = dict(prompt_embeds=encode(job["prompt"]), negative_prompt_embeds=encode(job["negative"]) if guided else None,
                     num_inference_steps=job["steps"], guidance_scale=job["cfg"], output_type="latent",
                     generator=torch.Generator().manual_seed(job["seed"]),
                     callback_on_step_end=lambda _pipe, _i, _t, values: steps.append(values["latents"]) or values)
    if job["init"] is None:
        made = StableDiffusionPipeline(**parts, requires_safety_checker=False)
        arguments |= dict(width=job["width"], height=job["height"], guidance_rescale=job["cfg_rescale"])
    else:
        tensors["init"] = picture(job["init"], job["width"], job["height"])
        arguments |= dict(image=as_image(tensors["init"]), strength=job["strength"])
        if masked:
            tensors["mask"] = mask(job["init"], job["width"], job["height"])
            arguments |= dict(mask_image=as_image(tensors["mask"]), width=job["width"], height=job["height"])
            made = StableDiffusionInpaintPipeline(**parts, requires_safety_checker=False)
        else:
            made = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    made(**arguments)
    for step, latents in enumerate(steps, 1):
        tensors[f"latents.{step:03}"] = latents
    image = (pipe.vae.decode(steps[-1] / pipe.vae.config.scaling_factor).sample[0] / 2 + 0.5).clamp(0, 1)
    tensors["pixels"] = (image.permute(1, 2, 0) * 255).round().to(torch.uint8)
    tokenize = lambda text: pipe.tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
    tensors["ids"] = torch.tensor([tokenize(job["prompt"])], dtype=torch.int32)
    tensors["uncond_ids"] = torch.tensor([tokenize(job["negative"])], dtype=torch.int32)
    return tensors, image


@torch.no_grad()
def record(name, model, cases, masked):
    pipe = load(HERE / "models" / model, torch.float32)
    tensors = {}
    for place, job in enumerate(cases):
        made, image = run(pipe, job, masked)
        tensors |= {f"{place}.{key}": value.contiguous().clone() for key, value in made.items()}
        latents = [round(made[k].abs().max().item(), 3) for k in made if k.startswith("latents")]
        print(name, job["sampler"], job["schedule"], latents, "picture", image.std().item(), flush=True)
    save_file(tensors, HERE / f"{name}.safetensors")
    (HERE / f"{name}.json").write_text(json.dumps(cases, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    sets = {"process-a": ("tiny-a", PLAIN, False), "process-inpaint": ("tiny-inpaint", INPAINT, True),
            "process-lcm": ("tiny-lcm", LCM, False), "process-kept": ("tiny-a", KEPT, True)}
    for name in sys.argv[1:] or sets:
        record(name, *sets[name])
