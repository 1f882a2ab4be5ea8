"""Record what diffusers' schedulers do with every field of scheduler_config that we honour: tests/golden/schedules.json.

    V/bin/python tests/golden/record_schedules.py        (V: a virtual environment with tests/golden/requirements.txt)

Replayed by tests/pipeline/test_schedule_golden.c. No network: the model says 0.6 input + 0.3 cos(i + t / 100) of place i at
timestep t, noise is sin(17 k + i) in draw k (1, 2, ...; draw 0 is the start). Kept: timesteps, sigmas and what the scheduler
holds after every step.
"""
import json
from pathlib import Path

import numpy as np
import torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, LCMScheduler)
from diffusers.schedulers import scheduling_euler_ancestral_discrete, scheduling_lcm
from record import scheduler_fields

HERE = Path(__file__).resolve().parent
CLASSES = {"Euler": EulerDiscreteScheduler, "Euler a": EulerAncestralDiscreteScheduler, "DDIM": DDIMScheduler,
           "DPM++ 2M": DPMSolverMultistepScheduler, "LCM": LCMScheduler}
SHAPE = (1, 4, 2, 3)
SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
V = dict(prediction_type="v_prediction")
SAMPLE = dict(prediction_type="sample")
ZERO = dict(rescale_betas_zero_snr=True)
THRESHOLD = dict(thresholding=True, dynamic_thresholding_ratio=0.8, sample_max_value=1.7)
SOLVERS = ("Euler", "Euler a", "DDIM", "DPM++ 2M")


def cases():
    for sampler in SOLVERS:
        for spacing in ("leading", "trailing", "linspace"):
            yield sampler, spacing, 5, SD
        yield sampler, "leading", 4, dict(beta_schedule="linear", beta_start=0.0001, beta_end=0.02)
        yield sampler, "trailing", 4, dict(beta_schedule="squaredcos_cap_v2")
        yield sampler, "linspace", 4, dict(trained_betas=[float(b) for b in np.linspace(0.001, 0.3, 40, dtype=np.float32)],
                                           num_train_timesteps=40)
        yield sampler, "leading", 4, SD | V
        yield sampler, "trailing", 4, SD | V | ZERO
        yield sampler, "linspace", 4, SD | V | ZERO
        if sampler != "Euler a":  # diffusers' has no such kind
            yield sampler, "trailing", 4, SD | SAMPLE
            yield sampler, "trailing", 3, SD | SAMPLE | ZERO
    for sampler in ("Euler", "Euler a", "DPM++ 2M"):
        yield sampler, "trailing", 4, SD | ZERO
    for spacing in ("leading", "trailing", "linspace"):
        for sampler in ("Euler", "DPM++ 2M"):
            yield sampler, spacing, 5, SD | dict(final_sigmas_type="sigma_min")
        yield "Euler", spacing, 4, SD | dict(interpolation_type="log_linear")
        yield "DPM++ 2M", spacing, 6, SD | dict(lambda_min_clipped=-1.5)
    yield "Euler", "trailing", 4, SD | V | dict(timestep_type="continuous")
    yield "Euler", "trailing", 4, SD | dict(timestep_type="continuous")
    yield "DPM++ 2M", "trailing", 16, SD | dict(final_sigmas_type="sigma_min")
    yield "DPM++ 2M", "trailing", 16, SD | dict(final_sigmas_type="sigma_min", euler_at_final=True)
    yield "DPM++ 2M", "trailing", 5, SD | dict(final_sigmas_type="sigma_min", lower_order_final=False)
    yield "DDIM", "leading", 4, SD | dict(set_alpha_to_one=True)
    for kind in ({}, V, SAMPLE):
        yield "DDIM", "leading", 5, SD | kind | dict(clip_sample=True)
        yield "DDIM", "trailing", 5, SD | kind | THRESHOLD
        yield "DPM++ 2M", "leading", 6, SD | kind | THRESHOLD
        yield "LCM", "lcm", 4, SD | kind
    yield "DDIM", "leading", 4, SD | THRESHOLD | dict(clip_sample=True, clip_sample_range=0.5)
    yield "DDIM", "trailing", 4, SD | V | ZERO | dict(clip_sample=True, clip_sample_range=1.5)
    yield "DPM++ 2M", "leading", 4, SD | dict(clip_sample=True)  # which this sampler does not know
    yield "DPM++ 2M", "trailing", 5, SD | V | ZERO | THRESHOLD | dict(sample_max_value=3.0, dynamic_thresholding_ratio=1.0)
    yield "LCM", "lcm", 1, SD
    yield "LCM", "lcm", 7, SD
    yield "LCM", "lcm", 50, SD
    yield "LCM", "lcm", 8, SD | dict(original_inference_steps=30, timestep_scaling=3.0)
    yield "LCM", "lcm", 4, SD | V | ZERO
    yield "LCM", "lcm", 4, SD | dict(clip_sample=True, clip_sample_range=0.8)
    yield "LCM", "lcm", 4, SD | THRESHOLD
    yield from curves()


def curves():
    for sampler in ("Euler", "DPM++ 2M"):
        for spacing in ("leading", "trailing", "linspace"):
            for curve in ("karras", "exponential", "beta"):
                yield sampler, f"{spacing}-{curve}", 5, SD
        yield sampler, "trailing-karras", 4, SD | V | ZERO
        yield sampler, "leading-beta", 4, SD | V | ZERO
        yield sampler, "linspace-exponential", 5, dict(beta_schedule="linear", beta_start=0.0001, beta_end=0.02)
        yield sampler, "leading-karras", 5, dict(beta_schedule="squaredcos_cap_v2")  # whose timesteps DPM++ 2M does not round
        for curve in ("karras", "exponential", "beta"):
            yield sampler, f"trailing-{curve}", 4, SD | dict(sigma_min=0.1, sigma_max=9.5)
            yield sampler, f"linspace-{curve}", 4, SD | dict(final_sigmas_type="sigma_min")
        yield sampler, "leading-karras", 4, SD | dict(sigma_max=30.0)  # beyond the table
    yield "Euler", "trailing-beta", 61, SD  # numpy.arange's one point too many is taken for the table's first
    yield "Euler", "leading-karras", 4, SD | dict(interpolation_type="log_linear")
    yield "Euler", "trailing-karras", 4, SD | V | dict(timestep_type="continuous", sigma_min=0.002, sigma_max=700.0)
    yield "DPM++ 2M", "leading-beta", 6, SD | dict(lambda_min_clipped=-1.5)  # which no curve heeds
    yield "DPM++ 2M", "trailing-exponential", 6, SD | THRESHOLD


def draw(k):
    return torch.sin(17.0 * k + torch.arange(np.prod(SHAPE), dtype=torch.float64)).float().reshape(SHAPE)


def predict(x, t):
    place = torch.arange(x.numel(), dtype=torch.float64).reshape(SHAPE)
    return (0.6 * x.double() + 0.3 * torch.cos(place + float(t) / 100)).float()


def sigma_of(alpha):
    return float("inf") if alpha == 0 else ((1 - alpha) / alpha) ** 0.5


def record(sampler, schedule, steps, config):
    config = dict(clip_sample=False, set_alpha_to_one=False) | config
    own = {} if schedule == "lcm" else scheduler_fields(schedule)
    scheduler = CLASSES[sampler].from_config(config, **own)
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):  # else two equal timesteps at the start are one too few
        scheduler.set_begin_index(0)
    timesteps = scheduler.timesteps
    draws = iter(range(1, 1001))
    scheduling_euler_ancestral_discrete.randn_tensor = scheduling_lcm.randn_tensor = lambda *_, **__: draw(next(draws))
    if sampler == "DDIM":
        previous = timesteps[-1] - config.get("num_train_timesteps", 1000) // steps
        end = scheduler.alphas_cumprod[previous] if previous >= 0 else scheduler.final_alpha_cumprod
        sigmas = [sigma_of(float(scheduler.alphas_cumprod[t])) for t in timesteps] + [sigma_of(float(end))]
    elif sampler == "LCM":
        sigmas = [sigma_of(float(scheduler.alphas_cumprod[t])) for t in timesteps] + [0.0]
    else:
        sigmas = [float(s) for s in scheduler.sigmas][:len(timesteps) + 1]
    x, latents = draw(0) * scheduler.init_noise_sigma, []
    for t in timesteps:
        x = scheduler.step(predict(scheduler.scale_model_input(x, t), t), t, x).prev_sample
        latents.append([float(f"{value:.9g}") for value in x.flatten().tolist()])
    assert all(np.isfinite(latents[-1])), (sampler, schedule, config)
    sigmas = [float(f"{s:.9g}") if s != float("inf") else -1.0 for s in sigmas]  # -1: JSON has no infinity
    return dict(sampler=sampler, schedule=schedule, steps=steps, config=config, sigmas=sigmas, latents=latents,
                timesteps=[float(f"{float(t):.9g}") for t in timesteps])


if __name__ == "__main__":
    made = [record(*case) for case in cases()]
    (HERE / "schedules.json").write_text("[\n" + ",\n".join(json.dumps(case) for case in made) + "\n]\n")
    print(len(made), "cases")
