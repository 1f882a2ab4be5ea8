"""Record the pipeline's goldens with the diffusers library: tests/golden/{tiny-a,tiny-b,tiled-a,curves-a,demo}.{json,safetensors}.

    V/bin/python tests/golden/record.py [NAME ...]        (V: a virtual environment with tests/golden/requirements.txt)

Replayed by tests/golden/test_golden.c. Schedules leading, trailing and linspace, plain or with -karras, -exponential or
-beta, run diffusers' own pipeline with the scheduler class of the sampler; A1111's schedules, for which diffusers has no
class, run the loops of k-diffusion and of A1111's DDIM, written below, around diffusers' U-Net. Everything in fp32 on the
CPU, noise from one torch.Generator a picture. The demo model is also run in fp64: the test allows 20 times torch's own
distance (the "distance" of a case).
"""
import json
import math
import sys
from pathlib import Path

import diffusers
import numpy as np
import scipy.stats
import torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, StableDiffusionPipeline)
from safetensors.torch import save_file

HERE = Path(__file__).resolve().parent
CLASSES = {"Euler": EulerDiscreteScheduler, "Euler a": EulerAncestralDiscreteScheduler, "DDIM": DDIMScheduler,
           "DPM++ 2M": DPMSolverMultistepScheduler}
SPACINGS = ("leading", "trailing", "linspace")
FROG = "a van gogh painting of a frog"


def case(sampler, schedule, width, height, steps, cfg, prompt=FROG, negative="", seed=0, clip_skip=1, full=False, **more):
    return dict(sampler=sampler, schedule=schedule, width=width, height=height, steps=steps, cfg=cfg, prompt=prompt,
                negative=negative, seed=seed, clip_skip=clip_skip, full=full, **more)


# full: conditioning, noise and the picture as floats are kept, too
TINY_A = [
    case("Euler", "uniform", 64, 48, 6, 5.0, full=True),
    case("Euler", "karras", 40, 24, 5, 1.0, prompt="Neon sign of a PENGUIN, 3 stars!", seed=7, clip_skip=2, full=True),
    case("Euler", "ddim", 40, 24, 6, 5.0, seed=2**32 + 5),
    case("Euler", "leading", 48, 64, 7, 5.0, negative="blue, watercolor", seed=1, full=True),
    case("Euler", "trailing", 40, 24, 7, 5.0),
    case("Euler", "linspace", 40, 24, 6, 1.0, clip_skip=3),
    case("Euler a", "uniform", 40, 24, 6, 5.0, seed=3),
    case("Euler a", "karras", 40, 24, 5, 5.0, negative="a red ground", seed=4),
    case("Euler a", "leading", 64, 48, 19, 5.0, seed=5),
    case("Euler a", "trailing", 40, 24, 6, 1.0, seed=6),
    case("Euler a", "linspace", 40, 24, 7, 5.0, seed=7),
    case("DDIM", "ddim", 40, 24, 7, 5.0, seed=8),
    case("DDIM", "leading", 64, 48, 6, 5.0, seed=9, clip_skip=2),
    case("DDIM", "trailing", 40, 24, 6, 5.0, seed=10),
    case("DDIM", "linspace", 40, 24, 7, 5.0, seed=11),
    case("DPM++ 2M", "uniform", 40, 24, 6, 5.0, seed=12),
    case("DPM++ 2M", "karras", 64, 48, 8, 5.0, negative="pixel art", seed=13),
    case("DPM++ 2M", "ddim", 40, 24, 6, 5.0, seed=14),
    case("DPM++ 2M", "leading", 40, 24, 7, 5.0, seed=15),
    case("DPM++ 2M", "trailing", 40, 24, 16, 1.0, seed=16),
    case("DPM++ 2M", "linspace", 40, 24, 7, 5.0, seed=17),
]
TINY_B = [  # 8 pixels a latent, four levels: 56x40 is 7x5 latents, which no level divides
    case("Euler", "karras", 64, 48, 6, 5.0, full=True),
    case("Euler", "leading", 56, 40, 5, 5.0, negative="blue", seed=1, clip_skip=2, full=True),
    case("Euler a", "uniform", 56, 40, 6, 5.0, seed=2),
    case("Euler a", "trailing", 40, 72, 5, 1.0, seed=3),
    case("DDIM", "ddim", 56, 40, 6, 5.0, seed=4),
    case("DDIM", "leading", 64, 48, 6, 5.0, seed=5),
    case("DDIM", "linspace", 56, 40, 5, 5.0, seed=6),
    case("DPM++ 2M", "karras", 56, 40, 6, 5.0, seed=7),
    case("DPM++ 2M", "linspace", 64, 48, 7, 5.0, seed=8),
]
TILED_A = [  # 4 pixels a latent: tiles of 8 latents at every 6th; of 12 at every 9th, which are enough for the height
    case("Euler", "leading", 72, 104, 2, 5.0, full=True, vae_tiling=32),
    case("Euler", "leading", 104, 40, 2, 5.0, seed=1, full=True, vae_tiling=48),
    case("Euler", "leading", 40, 24, 2, 5.0, seed=2, full=True, vae_tiling=48),
    case("Euler", "leading", 80, 80, 2, 5.0, seed=3, vae_tiling=48),  # both last ones cut, either way
]
CURVES_A = [
    case("Euler", "leading-karras", 40, 24, 6, 5.0),
    case("Euler", "trailing-exponential", 40, 24, 5, 5.0, seed=1),
    case("Euler", "linspace-beta", 40, 24, 6, 5.0, seed=2),
    case("DPM++ 2M", "trailing-karras", 40, 24, 6, 5.0, seed=3),
    case("DPM++ 2M", "linspace-exponential", 40, 24, 6, 1.0, seed=4),
    case("DPM++ 2M", "leading-beta", 40, 24, 7, 5.0, seed=5),
    case("Euler", "exponential", 40, 24, 5, 5.0, seed=6),
    case("Euler a", "sgm_uniform", 40, 24, 5, 5.0, seed=7),
    case("DPM++ 2M", "simple", 40, 24, 6, 5.0, seed=8),
    case("Euler a", "kl_optimal", 40, 24, 5, 5.0, seed=9),  # which ends at the smallest sigma, with fresh noise
    case("DPM++ 2M", "kl_optimal", 40, 24, 6, 5.0, seed=10),
    case("DPM++ 2M", "beta", 40, 24, 6, 5.0, seed=11),
    case("Euler a", "align_your_steps", 40, 24, 6, 5.0, seed=12),
]
DEMO = [
    case("Euler", "uniform", 64, 64, 8, 4.5, full=True),
    case("Euler a", "uniform", 64, 64, 8, 4.5, prompt="neon sign of a penguin", seed=1),
    case("DDIM", "ddim", 64, 64, 8, 4.5, prompt="a watercolor castle", seed=2),
    case("DPM++ 2M", "karras", 64, 64, 8, 4.5, prompt="a sunflower on a teal background", negative="pixel art", seed=3),
    case("Euler", "karras", 64, 56, 6, 4.5, seed=4, clip_skip=2),
    case("Euler", "leading", 64, 64, 8, 4.5, prompt="pixel art of a fish on a green background", seed=5),
    case("Euler", "trailing", 64, 64, 6, 1.0, seed=6),
    case("Euler", "linspace", 64, 64, 6, 4.5, seed=7),
    case("Euler a", "leading", 64, 64, 8, 4.5, seed=8),
    case("DDIM", "leading", 64, 64, 8, 4.5, seed=9),
    case("DDIM", "trailing", 64, 64, 6, 4.5, seed=10),
    case("DPM++ 2M", "leading", 64, 64, 8, 4.5, seed=11),
    case("DPM++ 2M", "trailing", 64, 64, 20, 4.5, seed=12),
    case("DPM++ 2M", "linspace", 64, 64, 6, 4.5, seed=13),
]


def is_spacing(schedule):
    return schedule.partition("-")[0] in SPACINGS


def scheduler_fields(schedule):
    """A spacing of diffusers' ("leading-karras") as its scheduler_config says it."""
    spacing, _, curve = schedule.partition("-")
    return {"timestep_spacing": spacing} | ({f"use_{curve}_sigmas": True} if curve else {})


# ---- A1111's schedules and loops ------------------------------------------------------------------------------------

def append_zero(sigmas):
    return torch.cat([sigmas, sigmas.new_zeros(1)])


class KDiffusion:
    """The model as k-diffusion's CompVisDenoiser and CompVisVDenoiser wrap it, without quantisation."""

    def __init__(self, alphas_cumprod, predict, prediction):
        self.sigmas = ((1 - alphas_cumprod) / alphas_cumprod) ** 0.5
        self.log_sigmas = self.sigmas.log()
        self.predict = predict
        self.prediction = prediction

    def sigma_to_t(self, sigma):
        dists = sigma.log() - self.log_sigmas
        low = dists.ge(0).cumsum(0).argmax().clamp(max=len(self.sigmas) - 2)
        w = ((self.log_sigmas[low] - sigma.log()) / (self.log_sigmas[low] - self.log_sigmas[low + 1])).clamp(0, 1)
        return (1 - w) * low + w * (low + 1)

    def t_to_sigma(self, t):
        low, high, w = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp()

    def schedule(self, name, n):
        if name == "uniform":
            return append_zero(self.t_to_sigma(torch.linspace(len(self.sigmas) - 1, 0, n)))
        if name == "karras":
            ramp, low, high = torch.linspace(0, 1, n), self.sigmas[0] ** (1 / 7), self.sigmas[-1] ** (1 / 7)
            return append_zero((high + ramp * (low - high)) ** 7)
        if name == "exponential":
            return append_zero(torch.linspace(math.log(self.sigmas[-1]), math.log(self.sigmas[0]), n).exp())
        if name == "sgm_uniform":
            return append_zero(self.t_to_sigma(torch.linspace(len(self.sigmas) - 1, 0, n + 1)[:-1]))
        if name == "simple":
            return append_zero(self.sigmas[[-1 - int(i * len(self.sigmas) / n) for i in range(n)]])
        if name == "kl_optimal":
            ramp, low, high = torch.arange(n + 1) / n, self.sigmas[0].arctan(), self.sigmas[-1].arctan()
            return (ramp * low + (1 - ramp) * high).tan()
        if name == "align_your_steps":
            levels = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029]  # of SD 1.5
            places = np.interp(np.linspace(0, 1, n), np.linspace(0, 1, 11), np.log(levels[::-1]))
            return append_zero(torch.from_numpy(np.exp(places)[::-1].copy()).to(self.sigmas.dtype))
        if name == "beta":
            ramp, low, high = scipy.stats.beta.ppf(1 - np.linspace(0, 1, n), 0.6, 0.6), self.sigmas[0], self.sigmas[-1]
            return append_zero((low + torch.from_numpy(ramp) * (high - low)).to(low.dtype))
        return append_zero(self.sigmas[1::max(len(self.sigmas) // n, 1)].flip(0))  # ddim

    def __call__(self, x, sigma):
        e = self.predict(x / (sigma**2 + 1) ** 0.5, self.sigma_to_t(sigma))
        if self.prediction == "v_prediction":
            return x / (sigma**2 + 1) - e * sigma / (sigma**2 + 1) ** 0.5
        return x - e * sigma


def sample_euler(model, x, sigmas, draw, keep, ancestral):
    for now, to in zip(sigmas[:-1], sigmas[1:]):
        d = (x - model(x, now)) / now
        up = (to**2 * (now**2 - to**2) / now**2) ** 0.5 if ancestral else torch.zeros(())
        x = x + d * ((to**2 - up**2) ** 0.5 - now)
        if ancestral and to > 0:
            x = x + draw() * up
        keep(x)


def sample_dpmpp_2m(model, x, sigmas, keep):
    old = None
    for i in range(len(sigmas) - 1):
        denoised = model(x, sigmas[i])
        t, t_next = -sigmas[i].log(), -sigmas[i + 1].log()
        h = t_next - t
        d = denoised
        if old is not None and sigmas[i + 1] > 0:
            r = (t + sigmas[i - 1].log()) / h
            d = (1 + 1 / (2 * r)) * denoised - 1 / (2 * r) * old
        x = sigmas[i + 1] / sigmas[i] * x - (-h).expm1() * d
        old = denoised
        keep(x / (1 + sigmas[i + 1] ** 2) ** 0.5)  # as diffusers' scheduler holds it: variance-preserving


def sample_ddim(predict, x, alphas_cumprod, n, prediction, keep, timesteps_seen):
    timesteps = torch.clip(torch.arange(0, 1000, 1000 // n) + 1, 0, 999)
    for i in range(len(timesteps) - 1, 0, -1):
        a, a_prev = alphas_cumprod[timesteps[i]], alphas_cumprod[timesteps[i - 1]]
        e = predict(x, timesteps[i])
        if prediction == "v_prediction":
            e = a.sqrt() * e + (1 - a).sqrt() * x
        x = a_prev.sqrt() * (x - (1 - a).sqrt() * e) / a.sqrt() + (1 - a_prev).sqrt() * e
        keep(x)
        timesteps_seen.append((float(timesteps[i]), float(a), float(a_prev)))


# ---- one case -------------------------------------------------------------------------------------------------------

def sigma_of(alpha):
    return math.sqrt((1 - alpha) / alpha)


class Run:
    """One case in one precision."""

    def __init__(self, pipe, job, dtype):
        self.pipe, self.job, self.dtype = pipe, job, dtype
        self.generator = torch.Generator().manual_seed(job["seed"])
        factor = pipe.vae_scale_factor
        self.shape = (1, pipe.unet.config.in_channels, job["height"] // factor, job["width"] // factor)
        self.tensors = {"noise": self.draw()}
        self.steps = 0
        self.guided = job["cfg"] > 1
        self.positive, self.negative = self.encode(job["prompt"]), self.encode(job["negative"])
        self.tensors["condition"], self.tensors["uncondition"] = self.positive, self.negative

    def encode(self, text):
        # diffusers skips layers of the prompt alone; A1111, whose word clip_skip is, of the negative too
        return self.pipe.encode_prompt(text, "cpu", 1, False, clip_skip=self.job["clip_skip"] - 1 or None)[0]

    def draw(self, *_, **__):
        return torch.randn(self.shape, generator=self.generator).to(self.dtype)

    def keep(self, latents):
        self.steps += 1
        self.tensors[f"latents.{self.steps:03}"] = latents

    def predict(self, x, timestep):
        cfg = self.job["cfg"]
        timestep = timestep.to(torch.float32)
        if not self.guided:
            return self.pipe.unet(x, timestep, self.positive).sample
        both = self.pipe.unet(torch.cat([x, x]), timestep, torch.cat([self.negative, self.positive])).sample
        unguided, guided = both.chunk(2)
        return unguided + cfg * (guided - unguided)

    def levels(self, timesteps, sigmas):
        self.tensors["timesteps"] = torch.tensor([float(t) for t in timesteps])
        self.tensors["sigmas"] = torch.tensor([float(s) for s in sigmas])

    def a1111(self):
        job, scheduler = self.job, self.pipe.scheduler
        prediction = scheduler.config.prediction_type
        noise = self.tensors["noise"]
        alphas = scheduler.alphas_cumprod
        if job["sampler"] == "DDIM":
            seen = []
            sample_ddim(self.predict, noise, alphas, job["steps"], prediction, self.keep, seen)
            self.levels([s[0] for s in seen], [sigma_of(s[1]) for s in seen] + [sigma_of(seen[-1][2])])
            return
        model = KDiffusion(alphas, self.predict, prediction)
        sigmas = model.schedule(job["schedule"], job["steps"])
        self.levels([model.sigma_to_t(s) for s in sigmas[:-1]], sigmas)
        if job["sampler"] == "DPM++ 2M":
            sample_dpmpp_2m(model, noise * sigmas[0], sigmas, self.keep)
        else:
            sample_euler(model, noise * sigmas[0], sigmas, self.draw, self.keep, job["sampler"] == "Euler a")

    def diffusers(self):
        job, pipe = self.job, self.pipe
        config = dict(pipe.scheduler.config)
        for key in ("clip_sample", "set_alpha_to_one"):  # not the classes' defaults
            config.setdefault(key, False)
        before = pipe.scheduler
        pipe.scheduler = CLASSES[job["sampler"]].from_config(config, **scheduler_fields(job["schedule"]))
        module = diffusers.schedulers.scheduling_euler_ancestral_discrete
        plain, module.randn_tensor = module.randn_tensor, self.draw  # drawn in fp32 whatever the precision
        pipe(prompt_embeds=self.positive, negative_prompt_embeds=self.negative if self.guided else None,
             width=job["width"], height=job["height"], num_inference_steps=job["steps"], guidance_scale=job["cfg"],
             latents=self.tensors["noise"], output_type="latent",
             callback_on_step_end=lambda _pipe, _i, _t, values: self.keep(values["latents"]) or values)
        module.randn_tensor = plain
        timesteps = pipe.scheduler.timesteps
        if job["sampler"] == "DDIM":
            alphas, stride = pipe.scheduler.alphas_cumprod, 1000 // job["steps"]
            last = timesteps[-1] - stride
            end = alphas[last] if last >= 0 else pipe.scheduler.final_alpha_cumprod
            self.levels(timesteps, [sigma_of(float(alphas[t])) for t in timesteps] + [sigma_of(float(end))])
        else:
            self.levels(timesteps, pipe.scheduler.sigmas)
        pipe.scheduler = before

    @torch.no_grad()
    def run(self):
        (self.diffusers if is_spacing(self.job["schedule"]) else self.a1111)()
        latents = self.tensors[f"latents.{self.steps:03}"]
        vae, tile = self.pipe.vae, self.job.get("vae_tiling", 0)
        vae.use_tiling = tile != 0
        vae.tile_sample_min_size, vae.tile_latent_min_size = tile, tile // self.pipe.vae_scale_factor
        picture = self.pipe.vae.decode(latents / self.pipe.vae.config.scaling_factor).sample[0]
        self.tensors["image"] = (picture / 2 + 0.5).clamp(0, 1)
        self.tensors["pixels"] = (self.tensors["image"].permute(1, 2, 0) * 255).round().to(torch.uint8)
        return self.tensors


def distance(one, other, relative):
    worst = (one.double() - other.double()).abs().max().item()
    return worst / other.double().abs().max().item() if relative else worst


def load(folder, dtype):
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=dtype, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    # diffusers' clip_skip looks for text_model, which transformers 5 folded into the encoder itself
    type(pipe.text_encoder).text_model = property(lambda encoder: encoder)
    return pipe


@torch.no_grad()
def record(name, folder, cases, double):
    pipe = load(folder, torch.float32)
    pipe64 = load(folder, torch.float64) if double else None
    tensors = {}
    for place, job in enumerate(cases):
        made = Run(pipe, job, torch.float32).run()
        tokenize = lambda text: pipe.tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
        made["ids"] = torch.tensor([tokenize(job["prompt"])], dtype=torch.int32)
        made["uncond_ids"] = torch.tensor([tokenize(job["negative"])], dtype=torch.int32)
        made["pixels"], latents = made["pixels"], [k for k in made if k.startswith("latents")]
        if double:
            exact = Run(pipe64, job, torch.float64).run()
            job["distance"] = {"condition": distance(made["condition"], exact["condition"], False),
                               "latents": max(distance(made[k], exact[k], True) for k in latents),
                               "image": distance(made["image"], exact["image"], False)}
        full = job.pop("full")
        for key in [k for k in made if full or k not in ("condition", "uncondition", "noise", "image")]:
            tensors[f"{place}.{key}"] = made[key].contiguous().clone()
        print(name, job["sampler"], job["schedule"], [round(made[k].abs().max().item(), 3) for k in latents[::4]],
              "picture", made["image"].std().item(), job.get("distance", ""), flush=True)
    size = (40, 24)
    rgb = torch.randint(0, 256, (size[1], size[0], 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    moments = pipe.vae.encode(rgb.permute(2, 0, 1)[None].float() / 255 * 2 - 1).latent_dist.parameters
    tensors["encode.rgb"], tensors["encode.moments"] = rgb, moments[0].permute(1, 2, 0).contiguous()
    save_file(tensors, HERE / f"{name}.safetensors")
    (HERE / f"{name}.json").write_text(json.dumps(cases, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    models = {"tiny-a": (HERE / "models" / "tiny-a", TINY_A, False), "tiny-b": (HERE / "models" / "tiny-b", TINY_B, False),
              "tiled-a": (HERE / "models" / "tiny-a", TILED_A, False),
              "curves-a": (HERE / "models" / "tiny-a", CURVES_A, False),
              "demo": (HERE.parent.parent / "models" / "demo", DEMO, True)}
    for name in sys.argv[1:] or models:
        record(name, *models[name])
