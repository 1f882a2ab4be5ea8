/*
 * render.h - one batch end to end: specs in, PNG objects out. The worker, `seedfarm render` and `seedfarm reproduce` all
 * come through here, so the same job gives the same bytes wherever it is drawn.
 *
 * In two stages: render_draw is the device's, render_finish the processor's, so that a card need not wait for PNG files.
 */
#ifndef WORKER_RENDER_H
#define WORKER_RENDER_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "pipeline/pipeline.h"
#include "proto/spec.h"
#include "worker/places.h"

struct rendered {
    struct error error;    /* this job's own trouble (NaN, say); the rest is empty then */
    uint8_t *rgb;          /* [height,width,3], owned; NULL once it is finished */
    uint32_t width, height;
    const char *device_class; /* borrowed: the device's */
    struct bytes png;      /* owned; empty until it is finished, and so are both digests */
    struct digest picture; /* SHA-256 of png */
    struct digest pixels;  /* pixel digest */
    uint32_t render_ms;    /* this job's share of its batch's time on the device */
};
void rendered_release(struct rendered *rendered);

/* The model that draws this job, of the files in these places. */
MUST_USE enum err spec_model_load(struct model **model, struct device *device, const struct spec *spec,
                                  const struct file_places *places, struct error *error);
/* ERR_MEMORY, both values said, where that model and `batch` pictures of this job's size would take more than `budget_bytes`
 * (0: no bound). Predicted from shapes: no weight is read. `device` may be NULL, as in model_memory. */
MUST_USE enum err spec_memory_check(struct memory_need *need, struct device *device, const struct spec *spec,
                                    const struct file_places *places, size_t batch, uint64_t budget_bytes, struct error *error);
/* The model that walks the end of the job's way; NULL: none. */
MUST_USE enum err spec_refiner_load(struct model **refiner, struct device *device, const struct spec *spec,
                                    const struct file_places *places, struct error *error);
/* What spec_model_load and spec_refiner_load would refuse. */
MUST_USE enum err spec_model_check(const struct spec *spec, const struct file_places *places, struct error *error);

/* ERR_INVALID, both sizes said, where the job's init or mask is not of the job's size; one that is not in these places passes. */
MUST_USE enum err spec_starts_check(const struct spec *spec, const struct file_places *places, struct error *error);

/* Pixels of jobs that may share one batch (spec_batches_with), drawn as one; deterministic ones one by one where the device's bytes
 * hang on the batch (renderer_batch_invariant). `trace` as in pipeline.h, for one spec, or NULL. */
MUST_USE enum err render_draw(struct rendered *out, struct renderer *renderer, const char *device_class,
                              const struct spec *const *specs, size_t count, const struct file_places *places,
                              const struct render_watch *watch, const char *trace, struct error *error);
/* Pixels -> PNG and digests; trouble is the job's own. From any thread, several pictures at once. */
void render_finish(struct rendered *rendered, const struct spec *spec);

#endif
