/*
 * levels.h - a plan in the making, and its noise levels. Inside of the folder: schedule.c is the door.
 */
#ifndef PIPELINE_DENOISE_LEVELS_H
#define PIPELINE_DENOISE_LEVELS_H

#include "pipeline/denoise/curves.h"
#include "pipeline/denoise/samplers.h"

/* Where timesteps lie; of a curve, whose sigmas they follow, where it begins and ends. TABLE: at the table's ends, as in A1111. */
enum spacing {
    SPACING_UNIFORM, SPACING_SGM_UNIFORM, SPACING_SIMPLE, SPACING_ALIGNED, SPACING_DDIM, SPACING_TABLE,
    SPACING_LEADING, SPACING_TRAILING, SPACING_LINSPACE, SPACING_LCM
};

struct draft {
    const struct process *process;
    enum method method;
    enum spacing spacing;
    enum curve curve;
    enum prediction prediction;
    uint32_t steps;             /* asked for */
    bool xl;                    /* of the model: for ALIGNED */
    struct noise_level *levels; /* [T]: [count] of it filled; the caller's */
    uint32_t count;
    double start_sigma;         /* noise of the picture that is started from */
    enum plan_part part;
    uint32_t first, rows;       /* the levels of the part */
};

bool draft_as_diffusers(const struct draft *draft); /* and not as A1111 */
/* Fill levels from the process, method, spacing, curve, prediction, steps and xl. ERR_INVALID: they do not go together. */
MUST_USE enum err draft_levels(struct draft *draft, struct error *error);

#endif
