/*
 * samplers.h - each sampler as rows of the step table. Inside of the folder: schedule.c is the door.
 */
#ifndef PIPELINE_DENOISE_SAMPLERS_H
#define PIPELINE_DENOISE_SAMPLERS_H

#include <stddef.h>

#include "pipeline/denoise/schedule.h"

enum method { METHOD_EULER, METHOD_EULER_A, METHOD_DDIM, METHOD_DPMPP_2M, METHOD_LCM };

/* One evaluation: at `timestep`, where the noise is `sigma` times the picture's, on to `next`. sigma INFINITY: nothing but
 * noise (DDIM, LCM). */
struct noise_level {
    double timestep, sigma, next;
};

/* Variance-exploding samplers hold x = z + sigma * noise, the others x / sqrt(1 + sigma^2). */
bool method_explodes(enum method method);

struct sampler_options {
    enum method method;
    enum prediction prediction;
    double limit, quantile;    /* of the believed picture (backend.h); 0: none. Not of Euler and Euler a */
    double lcm_scaling;        /* LCM's timestep_scaling */
    bool last_of_first_order;  /* DPM++ 2M: the last row, where it does not end at 0 */
};

/* x = alpha * z + spread * noise of a variance-preserving x at sigma. */
struct mix {
    double alpha, spread;
};
struct mix mix_at(double sigma);

/* rows[count], one a level. */
void sampler_rows(struct step_row *rows, const struct noise_level *levels, size_t count,
                  const struct sampler_options *options);

#endif
