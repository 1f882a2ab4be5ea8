/*
 * painter.h - the seam between the farm's side of a worker and what draws.
 *
 * The worker's own is easel.c (pipeline, picture). Tests and benches of the farm bring one that draws at once, without a
 * model. All calls but `finish`, `prepare` and `ready` come from one thread.
 */
#ifndef WORKER_PAINTER_H
#define WORKER_PAINTER_H

#include "worker/render.h"

struct painter {
    void *context;
    const char *device_class; /* "cpu x86-64-v4"; outlives the painter's use */
    /* Have ready what draws this job and those that share its batch (spec_model_key), from the files in these places; asked
     * before every batch, cheap where it is ready already. */
    enum err (*load)(void *context, const struct spec *spec, const struct file_places *places, struct error *error);
    /* Begin with `load` beside whatever is drawn, from one other thread, and come back when it is done: have what draws this job on the
     * device if there is room for it as well. What does not succeed is left to `load`. How long it loaded, in ns; 0: nothing came of it.
     * NULL: it never does. */
    uint64_t (*prepare)(void *context, const struct spec *spec, const struct file_places *places);
    /* As render_draw, with what was loaded last. ERR_MEMORY: as a whole too large, a smaller batch may do. */
    enum err (*draw)(void *context, struct rendered *out, const struct spec *const *specs, size_t count,
                     const struct file_places *places, const struct render_watch *watch, struct error *error);
    /* As render_finish: from any thread, several at once, while others are drawn. NULL: `draw` leaves nothing to do. */
    void (*finish)(void *context, struct rendered *rendered, const struct spec *spec);
    /* With what was loaded last: has the device memory for so many jobs like this at once, whatever else gives way? Predicted, no
     * work. NULL: it always has. */
    bool (*fits)(void *context, const struct spec *spec, const struct file_places *places, uint32_t count);
    /* The models that need no loading now (spec_model_key), at most `most` of them: how many. From any thread. NULL: it says
     * nothing. */
    size_t (*ready)(void *context, struct digest *models, size_t most);
    uint32_t numerics; /* what it computes with, bit by enum numerics; 0: fp32 alone */
};

#endif
