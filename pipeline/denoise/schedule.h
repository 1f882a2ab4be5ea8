/*
 * schedule.h - which noise levels the denoising visits, and each sampler's rows of the step table.
 *
 * Pure arithmetic in double. A sampler is a function from the model's diffusion process, a schedule and a number of
 * steps to an array of rows (backend.h's step_row): the loop itself does not know which sampler it runs.
 * docs/PIPELINE.md derives every row.
 */
#ifndef PIPELINE_DENOISE_SCHEDULE_H
#define PIPELINE_DENOISE_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "pipeline/backend/backend.h"
#include "pipeline/denoise/process.h"

/* Of a way that two models share: the part of the first, or of the second. */
enum plan_part { PLAN_WHOLE, PLAN_FIRST, PLAN_SECOND };

/* What a job asks for, in the words of DESIGN section 4. */
struct plan_request {
    const char *sampler;    /* "Euler a" */
    const char *schedule;   /* "karras" */
    const char *prediction; /* "epsilon", "v", "sample"; NULL: what the model's config says */
    uint32_t steps;
    bool xl;                /* the model is of Stable Diffusion XL: for align_your_steps, which differs there */
    double strength;        /* 0..1: the share of the way that is walked, its end. 1 (and 0, which would be none): all of it */
    enum plan_part part;
    double refiner_switch;  /* of a part: the share of the training's timesteps, from noise on, that is the first model's. The second
                             * takes over at the first evaluation below it, as with diffusers' denoising_end and denoising_start */
};

/* Everything about one run that does not depend on the picture. */
struct plan {
    uint32_t rows;           /* evaluations */
    uint32_t first, all;     /* of how many altogether they are, and how many precede them: a part's are not all */
    struct step_row *table;  /* [rows], owned */
    double *timesteps;       /* [rows], owned: for traces */
    double *sigmas;          /* [rows + 1], owned: sigma = sqrt((1-a)/a), the last is where the run ends */
    double initial_scale;    /* latents start at initial_scale * noise, ... */
    double picture_scale, noise_scale; /* ... or, from a picture, at picture_scale * its latents + noise_scale * noise */
    bool needs_history, needs_noise;
};

/* ERR_UNSUPPORTED names the known samplers, schedules and kinds of prediction. `rows` may differ from `steps` where A1111's
 * count does (its "ddim"). */
MUST_USE enum err plan_make(struct plan *plan, const struct process *process, const struct plan_request *request,
                            struct error *error);
void plan_release(struct plan *plan);

#endif
