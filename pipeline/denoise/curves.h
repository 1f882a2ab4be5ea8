/*
 * curves.h - noise levels by a formula from a largest sigma down to a smallest, whatever the timesteps are. Inside of the
 * folder: schedule.c is the door.
 *
 * Pure arithmetic in double.
 */
#ifndef PIPELINE_DENOISE_CURVES_H
#define PIPELINE_DENOISE_CURVES_H

#include <stdbool.h>
#include <stdint.h>

enum curve {
    CURVE_NONE,
    CURVE_KARRAS,      /* sigma^(1/7) in equal parts: Karras 2022, equation 5 */
    CURVE_EXPONENTIAL, /* ln sigma in equal parts: k-diffusion's get_sigmas_exponential */
    CURVE_BETA,        /* sigma at quantiles of the beta distribution (0.6, 0.6) in equal parts: Lee 2024 */
    CURVE_KL_OPTIMAL   /* arctan sigma in equal parts: Sabour 2024 */
};

/* Sigma at `place` of `count`: 0 is `high`, count - 1 `low`; of one alone `high`. 0 < low <= high. */
double curve_sigma(enum curve curve, double high, double low, uint32_t place, uint32_t count);

/* The same of the eleven levels that Align Your Steps found best (Sabour 2024), for Stable Diffusion XL or else for 1.5; ln sigma
 * lies on straight lines between them. Of one alone it is the smallest, as A1111 has it. */
double aligned_sigma(bool xl, uint32_t place, uint32_t count);

#endif
