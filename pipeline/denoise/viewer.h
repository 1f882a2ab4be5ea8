/*
 * viewer.h - previews of what a denoiser draws, for whoever watches it: at most one under way, and no step waits for it.
 *
 * A preview shows the clean picture that the model believes in after a step (z of the step table), not the noisy latents. One that
 * is wanted is copied from the device behind that step and handed on when it has arrived, which on a card is a step or two later.
 */
#ifndef PIPELINE_DENOISE_VIEWER_H
#define PIPELINE_DENOISE_VIEWER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "pipeline/backend/backend.h"
#include "pipeline/image/latent_rgb.h"
#include "pipeline/pipeline.h"

struct viewer {
    const struct latent_rgb *map; /* or NULL: of latents whose colours nobody knows */
    uint32_t height, width, channels; /* of one image's latents */
    struct snapshot *snapshot;    /* of one image's */
    bool taken;                   /* under way: ... */
    struct render_preview coming; /* ... what is known of it, without its pixels */
};
MUST_USE enum err viewer_init(struct viewer *viewer, struct backend *backend, const struct latent_rgb *map, uint32_t height,
                              uint32_t width, uint32_t channels, struct error *error);
void viewer_release(struct viewer *viewer);
uint64_t viewer_bytes(const struct viewer *viewer); /* of the host's memory */

void viewer_begin(struct viewer *viewer); /* a batch: what an earlier one has left behind is forgotten */
/* After evaluation `step` of `steps` was enqueued. belief [count,h,w,C] is what it leaves. */
void viewer_look(struct viewer *viewer, const struct render_watch *watch, const struct buffer *belief, uint32_t step,
                 uint32_t steps);
/* All steps are done (backend_wait): hand on what is still under way. */
void viewer_end(struct viewer *viewer, const struct render_watch *watch);

#endif
