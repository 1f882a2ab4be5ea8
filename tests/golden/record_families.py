"""Record the goldens of the families with the diffusers library: tests/golden/families/NAME.{json,safetensors}.

    V/bin/python tests/golden/record_families.py [NAME ...]      (V: a virtual environment with tests/golden/requirements.txt)

The models are those of families.py; their descriptions are written, too. Schedules leading, trailing and linspace run
diffusers' own pipelines (base, and base with refiner: denoising_end and denoising_start; SDXL's for inpainting with a U-Net
that sees no mask) with the scheduler class of the sampler; a refiner alone, which diffusers draws nothing from noise with, runs
diffusers' scheduler and modules in the loop below.
An empty negative is diffusers' None.
"""
import json
import shutil
import sys
import tempfile
from pathlib import Path

import diffusers
import numpy as np
import torch
from diffusers import (StableDiffusionPipeline, StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline,
                       StableDiffusionXLPipeline)
from safetensors.torch import save_file

import families
from record import CLASSES, FROG, Run, is_spacing, scheduler_fields, sigma_of
from record_process import as_image, mask, picture

HERE = Path(__file__).resolve().parent
PIPELINES = {"sd": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline, "refiner": StableDiffusionXLImg2ImgPipeline}


def case(sampler, schedule, width, height, steps, cfg, prompt=FROG, negative="", seed=0, clip_skip=1, full=False, **more):
    return dict(sampler=sampler, schedule=schedule, width=width, height=height, steps=steps, cfg=cfg, prompt=prompt,
                negative=negative, seed=seed, clip_skip=clip_skip, full=full, **more)


def cases_of(name, seed):
    """Sizes in pixels that are multiples of 8 and odd counts of latents; every sampler and schedule somewhere."""
    sd = name.startswith("sd1") or name.startswith("sd2")
    base = [
        case("Euler", "leading", 56, 40, 5, 5.0, seed=seed, full=True),
        case("DDIM" if seed % 2 else "DPM++ 2M", "trailing", 40, 72, 5, 4.0, prompt="neon sign of a PENGUIN, 3 stars!",
             negative="blue, watercolor", seed=seed + 1, full=not sd),
        case("DPM++ 2M" if seed % 2 else "Euler a", "karras", 24, 40, 5, 3.0, prompt="", negative="pixel art", seed=seed + 2),
        case("Euler a", "linspace", 48, 24, 4, 1.0, prompt="a watercolor castle " * 30, seed=seed + 3),
    ]
    if name not in ("sd1-b", "sdxl-b", "sdxl-c", "refiner-b", "sd2-b"):
        base.append(case("Euler", "uniform", 40, 24, 4, 6.0, prompt="a red frog", seed=seed + 4, clip_skip=2, full=True))
    return base


# name -> base and refiner, their cases
SECOND = {
    "sdxl-a+refiner-a": [
        case("Euler", "leading", 56, 40, 8, 5.0, seed=40, refiner_switch=0.8, full=True),
        case("DPM++ 2M", "trailing", 40, 72, 8, 4.0, negative="blue", seed=41, refiner_switch=0.5),
        case("DDIM", "leading", 24, 40, 7, 1.0, seed=42, refiner_switch=0.33),
        case("Euler a", "linspace", 48, 24, 6, 3.0, seed=43, refiner_switch=0.7),
    ],
    "sdxl-b+refiner-b": [
        case("DPM++ 2M", "linspace", 40, 24, 6, 5.0, negative="pixel art", seed=50, refiner_switch=0.6),
        case("Euler", "trailing", 24, 40, 5, 5.0, seed=51, refiner_switch=0.25),
    ],
}

# name -> model, cases with a picture (init: its number) of which a part is kept
KEPT = {
    "sdxl-c-kept": ("sdxl-c", [
        case("Euler a", "leading", 40, 72, 5, 5.0, seed=60, init=1, strength=0.7),
        case("DPM++ 2M", "trailing", 56, 40, 5, 1.0, seed=61, init=2, strength=1.0),
        case("DDIM", "leading", 24, 40, 6, 4.0, negative="blue", seed=62, init=3, strength=0.5),
    ]),
}


def encode_all(pipe, texts, job):
    """Each text [positive, negative] -> condition, pooled (None where there is none). clip_skip holds for both, as in A1111."""
    prompt, negative = texts
    skip = job["clip_skip"] - 1 or None
    if isinstance(pipe, StableDiffusionPipeline):
        return [(pipe.encode_prompt(text, "cpu", 1, False, clip_skip=skip)[0], None) for text in texts]
    positive, zeros, pooled, zeros_pooled = pipe.encode_prompt(prompt, device="cpu", negative_prompt=None, clip_skip=skip)
    if negative == "" and pipe.config.force_zeros_for_empty_prompt:
        return [(positive, pooled), (zeros, zeros_pooled)]
    other, _, other_pooled, _ = pipe.encode_prompt(negative, device="cpu", clip_skip=skip)
    return [(positive, pooled), (other, other_pooled)]


class FamilyRun(Run):
    def __init__(self, pipe, job, refiner=None):
        self.refiner = refiner
        self.encoded = None
        self.pipe, self.job = pipe, job
        super().__init__(pipe, job, torch.float32)
        (_, self.pooled), (_, self.unpooled) = self.encoded
        if self.pooled is not None:
            self.tensors |= {"pooled": self.pooled, "unpooled": self.unpooled}
        self.added = None if self.pooled is None else self.added_conditioning()

    def encode(self, text):  # called by Run for the prompt, then for the negative
        if self.encoded is None:
            self.encoded = encode_all(self.pipe, (self.job["prompt"], self.job["negative"]), self.job)
            return self.encoded[0][0]
        return self.encoded[1][0]

    def added_conditioning(self):
        size = (self.job["height"], self.job["width"])
        if isinstance(self.pipe, StableDiffusionXLImg2ImgPipeline):
            ids, unids = self.pipe._get_add_time_ids(size, (0, 0), size, 6.0, 2.5, size, (0, 0), size, torch.float32,
                                                     self.pipe.text_encoder_2.config.projection_dim)
        else:
            ids = self.pipe._get_add_time_ids(size, (0, 0), size, torch.float32,
                                              self.pipe.text_encoder_2.config.projection_dim)
            unids = ids
        return ids, unids

    def predict(self, x, timestep):
        if self.added is None:
            return super().predict(x, timestep)
        timestep = timestep.to(torch.float32)
        ask = lambda x, condition, pooled, ids: self.pipe.unet(
            x, timestep, condition, added_cond_kwargs={"text_embeds": pooled, "time_ids": ids}).sample
        guided = ask(x, self.positive, self.pooled, self.added[0])
        if not self.guided:
            return guided
        unguided = ask(x, self.negative, self.unpooled, self.added[1])
        return unguided + self.job["cfg"] * (guided - unguided)

    def scheduler_of(self, pipe):
        config = dict(pipe.scheduler.config)
        for key in ("clip_sample", "set_alpha_to_one"):
            config.setdefault(key, False)
        return CLASSES[self.job["sampler"]].from_config(config, **scheduler_fields(self.job["schedule"]))

    def embeds(self, encoded):
        (positive, pooled), (negative, unpooled) = encoded
        return dict(prompt_embeds=positive, pooled_prompt_embeds=pooled,
                    negative_prompt_embeds=negative if self.guided else None,
                    negative_pooled_prompt_embeds=unpooled if self.guided else None)

    def diffusers(self):
        if self.pooled is None:
            return super().diffusers()
        job, pipe = self.job, self.pipe
        before, pipe.scheduler = pipe.scheduler, self.scheduler_of(pipe)
        module = diffusers.schedulers.scheduling_euler_ancestral_discrete
        plain, module.randn_tensor = module.randn_tensor, self.draw
        common = dict(num_inference_steps=job["steps"], guidance_scale=job["cfg"], output_type="latent",
                      callback_on_step_end=lambda _pipe, _i, _t, values: self.keep(values["latents"]) or values)
        if isinstance(pipe, StableDiffusionXLImg2ImgPipeline):
            self.alone()
        else:
            latents = pipe(**self.embeds(self.encoded), width=job["width"], height=job["height"],
                           latents=self.tensors["noise"], denoising_end=job.get("refiner_switch"), **common).images
        timesteps = list(pipe.scheduler.timesteps)
        if self.refiner is not None:
            first = self.steps
            self.refiner.scheduler = self.scheduler_of(self.refiner)
            encoded = encode_all(self.refiner, (job["prompt"], job["negative"]), job)
            size = (job["height"], job["width"])
            self.refiner(**self.embeds(encoded), image=latents, denoising_start=job["refiner_switch"], original_size=size,
                         target_size=size, negative_original_size=size, negative_target_size=size, **common)
            (self.tensors["refiner.condition"], self.tensors["refiner.pooled"]) = encoded[0]
            (self.tensors["refiner.uncondition"], self.tensors["refiner.unpooled"]) = encoded[1]
            print("   of", self.steps, "evaluations the refiner makes", self.steps - first)
        module.randn_tensor = plain
        if job["sampler"] == "DDIM":
            alphas, stride = pipe.scheduler.alphas_cumprod, 1000 // job["steps"]
            last = timesteps[-1] - stride
            end = alphas[last] if last >= 0 else pipe.scheduler.final_alpha_cumprod
            self.levels(timesteps, [sigma_of(float(alphas[t])) for t in timesteps] + [sigma_of(float(end))])
        else:
            self.levels(timesteps, pipe.scheduler.sigmas)
        pipe.scheduler = before

    def alone(self):
        scheduler = self.pipe.scheduler
        scheduler.set_timesteps(self.job["steps"])
        latents = self.tensors["noise"] * scheduler.init_noise_sigma
        for t in scheduler.timesteps:
            prediction = self.predict(scheduler.scale_model_input(latents, t), t)
            latents = scheduler.step(prediction, t, latents).prev_sample
            self.keep(latents)

    def run(self):
        decoder = self.pipe if self.refiner is None else self.refiner
        with torch.no_grad():
            (self.diffusers if is_spacing(self.job["schedule"]) else self.a1111)()
            latents = self.tensors[f"latents.{self.steps:03}"]
            picture = decoder.vae.decode(latents / decoder.vae.config.scaling_factor).sample[0]
        self.tensors["image"] = (picture / 2 + 0.5).clamp(0, 1)
        self.tensors["pixels"] = (self.tensors["image"].permute(1, 2, 0) * 255).round().to(torch.uint8)
        return self.tensors


class KeptRun(FamilyRun):
    """diffusers draws everything itself, from one generator."""

    def diffusers(self):
        job, parts = self.job, dict(self.pipe.components) | {"scheduler": self.scheduler_of(self.pipe)}
        pipe = StableDiffusionXLInpaintPipeline(**parts, add_watermarker=False)
        pipe.set_progress_bar_config(disable=True)
        shown = {"init": picture(job["init"], job["width"], job["height"]), "mask": mask(job["init"], job["width"], job["height"])}
        pipe(**self.embeds(self.encoded), image=as_image(shown["init"]), mask_image=as_image(shown["mask"]), width=job["width"],
             height=job["height"], strength=job["strength"], num_inference_steps=job["steps"], guidance_scale=job["cfg"],
             output_type="latent", generator=torch.Generator().manual_seed(job["seed"]),
             callback_on_step_end=lambda _pipe, _i, _t, values: self.keep(values["latents"]) or values)
        self.tensors |= shown


def load(folder, kind):
    options = dict(safety_checker=None) if kind == "sd" else dict(add_watermarker=False)
    pipe = PIPELINES[kind].from_pretrained(folder, torch_dtype=torch.float32, **options)
    pipe.set_progress_bar_config(disable=True)
    if kind == "sd":
        type(pipe.text_encoder).text_model = property(lambda encoder: encoder)
    return pipe


def ids_of(pipe, text):
    tokenizers = [t for t in (getattr(pipe, name, None) for name in ("tokenizer", "tokenizer_2")) if t is not None]
    words = lambda t: pipe.maybe_convert_prompt(text, t)  # embeddings of several vectors: WORD WORD_1 ...
    return [torch.tensor([t(words(t), padding="max_length", max_length=77, truncation=True).input_ids], dtype=torch.int32)
            for t in tokenizers]


@torch.no_grad()
def draw(name, cases, pipe, refiner=None, first=0, kind=FamilyRun):
    """The tensors of `cases`, which are numbered from `first` on."""
    tensors = {}
    for place, job in enumerate(cases, first):
        made = kind(pipe, job, refiner).run()
        for text, word in (("prompt", "ids"), ("negative", "uncond_ids")):
            for ids, tail in zip(ids_of(pipe, job[text]), ("", "_2")):
                made[word + tail] = ids
        full = job.pop("full")
        dropped = ("condition", "uncondition", "noise", "image", "refiner.condition", "refiner.uncondition")
        for key in [k for k in made if full or k not in dropped]:
            tensors[f"{place}.{key}"] = made[key].contiguous().clone()
        latents = [k for k in made if k.startswith("latents")]
        print(name, job["sampler"], job["schedule"], [round(made[k].abs().max().item(), 3) for k in latents],
              "picture", made["image"].std().item(), flush=True)
    return tensors


def keep(name, cases, tensors, folder="families"):
    (HERE / folder).mkdir(exist_ok=True)
    save_file(tensors, HERE / folder / f"{name}.safetensors")
    (HERE / folder / f"{name}.json").write_text(json.dumps(cases, indent=1, sort_keys=True) + "\n")


def main(wanted):
    np.seterr(all="raise", under="ignore")
    work = Path(tempfile.mkdtemp())
    pipes = {}
    for seed, name in enumerate(families.MODELS):
        families.make(name, work / name)
        pipes[name] = load(work / name, families.MODELS[name]["kind"])
        if not wanted or name in wanted:
            cases = cases_of(name, 10 * seed)
            keep(name, cases, draw(name, cases, pipes[name]))
    for name, cases in SECOND.items():
        if not wanted or name in wanted:
            base, refiner = name.split("+")
            keep(name, cases, draw(name, cases, pipes[base], pipes[refiner]))
    for name, (model, cases) in KEPT.items():
        if not wanted or name in wanted:
            keep(name, cases, draw(name, cases, pipes[model], kind=KeptRun))
    shutil.rmtree(work)


if __name__ == "__main__":
    main(sys.argv[1:])
