/*
 * samplers.h - each sampler as rows of the step table. Inside of the folder: schedule.c is the door.
 */
#ifndef PIPELINE_DENOISE_SAMPLERS_H
#define PIPELINE_DENOISE_SAMPLERS_H

#include <stddef.h>

#include "pipeline/denoise/schedule.h"

enum method { METHOD_EULER, METHOD_EULER_A, METHOD_DDIM, METHOD_DPMPP_2M };

/* One evaluation: at `timestep`, where the noise is `sigma` times the picture's, on to `next`. */
struct noise_level {
    double timestep, sigma, next;
};

/* Variance-exploding samplers hold x = z + sigma * noise, the others x / sqrt(1 + sigma^2). */
bool method_explodes(enum method method);

/* rows[count], one a level. */
void sampler_rows(struct step_row *rows, enum method method, const struct noise_level *levels, size_t count,
                  enum prediction prediction);

#endif
