/*
 * schedule.h - which noise levels the denoising visits, and each sampler's rows of the step table.
 *
 * Pure arithmetic in double. A sampler is a function from the model's diffusion process, a schedule and a number of
 * steps to an array of rows (backend.h's step_row): the loop itself does not know which sampler it runs.
 * docs/PIPELINE.md derives every row.
 */
#ifndef PIPELINE_DENOISE_SCHEDULE_H
#define PIPELINE_DENOISE_SCHEDULE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "pipeline/backend/backend.h"

enum { SCHEDULE_TRAIN_STEPS_LIMIT = 100000 };

enum prediction { PREDICTION_EPSILON, PREDICTION_V, PREDICTION_SAMPLE };

/* The process a model was trained for: read from scheduler_config.json, defaults as diffusers' class has them (but
 * clip_sample and set_alpha_to_one are false where the file does not say: FACTS section B2). */
struct process {
    uint32_t train_steps;      /* T: 1000 */
    double *alphas_cumprod;    /* [T], owned; torch's f32 values */
    enum prediction prediction;
    uint32_t steps_offset;
    bool set_alpha_to_one;
    bool clip_sample;
};
MUST_USE enum err process_read(struct process *process, const json_t *scheduler_config, struct error *error);
void process_release(struct process *process);

/* Everything about one run that does not depend on the picture. */
struct plan {
    uint32_t rows;           /* evaluations */
    struct step_row *table;  /* [rows], owned */
    double *timesteps;       /* [rows], owned: for traces */
    double *sigmas;          /* [rows + 1], owned: sigma = sqrt((1-a)/a), the last is where the run ends */
    double initial_scale;    /* latents start at initial_scale * noise */
    bool needs_history, needs_noise;
};

/* `sampler` and `schedule` are the names of DESIGN section 4 ("Euler a", "karras"). ERR_UNSUPPORTED names the known ones.
 * `rows` may differ from `steps` where A1111's count does (its "ddim"). */
MUST_USE enum err plan_make(struct plan *plan, const struct process *process, const char *sampler, const char *schedule,
                            uint32_t steps, struct error *error);
void plan_release(struct plan *plan);

#endif
