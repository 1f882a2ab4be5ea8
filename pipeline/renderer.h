/*
 * renderer.h - what a renderer keeps, for the files that draw with it.
 */
#ifndef PIPELINE_RENDERER_H
#define PIPELINE_RENDERER_H

#include "pipeline/conditions.h"
#include "pipeline/run.h"

enum { RENDERER_RUNS_LIMIT = 8 }; /* kinds of batches kept recorded */

struct renderer {
    struct model *model;
    uint64_t budget; /* bytes, 0: none; what `beside` holds is within it, too */
    struct renderer *beside; /* of a refined one its refiner, and the other way round; NULL: it is alone */
    struct conditions conditions;
    struct run *runs[RENDERER_RUNS_LIMIT];
    uint32_t run_count;
    struct buffer *scratch; /* for the program that runs; attached to all runs */
    uint64_t batch;
    struct renderer *refiner; /* walks the end of the way; owned; NULL: none */
};

/* ERR_INVALID, ERR_LIMIT: `count` pictures of this size, in pixels, are not what the model draws. */
MUST_USE enum err renderer_check_size(const struct model *model, uint32_t width, uint32_t height, size_t count,
                                      struct error *error);
/* Enough slots for the prompts of `count` jobs. Recorded runs read the old ones: they go. */
MUST_USE enum err renderer_have_slots(struct renderer *renderer, size_t count, struct error *error);
/* The recorded run of a kind, under the budget, with scratch; the renderer's, until the next call. */
MUST_USE enum err renderer_run(struct run **run, struct renderer *renderer, const struct run_kind *kind, struct error *error);
/* Keep prompts alone. */
void renderer_forget(struct renderer *renderer);
/* The VAE's encoder for one size, under the budget, with scratch; the caller's to release. */
MUST_USE enum err renderer_encoding(struct encoding *encoding, struct renderer *renderer, uint32_t width, uint32_t height,
                                    struct error *error);

#endif
