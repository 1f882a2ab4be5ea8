/*
 * process.h - the diffusion process that a model was trained for: scheduler_config.json, every field that diffusers honours
 * for the samplers we have.
 *
 * A scheduler_config says two things. How the model was trained, which is kept here; and how a scheduler of its own would
 * step (solver, spacing, karras or not), which a job says for itself: those fields are known and not kept.
 */
#ifndef PIPELINE_DENOISE_PROCESS_H
#define PIPELINE_DENOISE_PROCESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { PROCESS_STEPS_LIMIT = 100000 };

enum prediction { PREDICTION_EPSILON, PREDICTION_V, PREDICTION_SAMPLE };

/* Defaults are those of diffusers' classes, but clip_sample and set_alpha_to_one are false where the file does not say
 * (FACTS section B2). */
struct process {
    uint32_t train_steps;      /* T: 1000 */
    double *alphas_cumprod;    /* [T], owned; torch's f32 values. The last one is 0 where zero_snr */
    bool zero_snr;             /* rescale_betas_zero_snr: trained to begin with nothing but noise (Lin 2023) */
    enum prediction prediction;
    uint32_t steps_offset;
    bool set_alpha_to_one;     /* DDIM ends at alpha 1 and not at the table's first */
    bool end_at_sigma_min;     /* final_sigmas_type: Euler and DPM++ 2M end at the table's smallest sigma and not at 0 */
    double sigma_min, sigma_max; /* ends of Euler's and DPM++ 2M's karras, exponential and beta; 0: where they end by themselves */
    bool cosine;               /* beta_schedule squaredcos_cap_v2, with which DPM++ 2M's karras rounds no timesteps */
    bool log_linear;           /* interpolation_type, of Euler */
    bool continuous;           /* timestep_type, of Euler where it predicts v: the model is told ln(sigma) / 4 */
    bool lower_order_final, euler_at_final; /* of DPM++ 2M where it does not end at 0 */
    double lambda_min;         /* lambda_min_clipped, of DPM++ 2M: noise below this ln(alpha / spread) is not visited */
    double limit, quantile;    /* of the believed picture (backend.h): clip_sample, thresholding; 0: none */
    bool clips;                /* clip_sample alone: DPM++ 2M knows thresholding only */
    uint32_t lcm_steps;        /* original_inference_steps: timesteps an LCM was distilled for */
    double lcm_scaling;        /* timestep_scaling */
};
MUST_USE enum err process_read(struct process *process, const json_t *scheduler_config, struct error *error);
MUST_USE enum err process_open(struct process *process, const char *path, struct error *error); /* scheduler_config.json */
/* Of a checkpoint in one file, which has no scheduler_config: Stable Diffusion's betas, and what its marker tensors say
 * (v_pred, ztsnr). */
struct process process_of_checkpoint(bool v_prediction, bool zero_snr);
void process_release(struct process *process);

#endif
