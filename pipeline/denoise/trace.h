/*
 * trace.h - what one render passed through, kept for a safetensors file (DESIGN section 4).
 *
 * Tensors of pictures are turned from our channels last to torch's channels first.
 */
#ifndef PIPELINE_DENOISE_TRACE_H
#define PIPELINE_DENOISE_TRACE_H

#include <stdint.h>

#include "base/error.h"
#include "pipeline/backend/backend.h"
#include "pipeline/weights/weights.h"

struct trace {
    struct safetensors_entry *entries; /* owned, names and data too */
    size_t count;
};
void trace_release(struct trace *trace);

/* Copies name and data. */
void trace_add(struct trace *trace, const char *name, enum dtype dtype, uint32_t dims, const uint64_t *shape,
               const void *data);
void trace_add_doubles(struct trace *trace, const char *name, const double *values, uint64_t count); /* as f32 */
/* f32 [h,w,c] -> `name` [c,h,w], or [1,c,h,w] with `batch`. */
void trace_add_picture(struct trace *trace, const char *name, const float *values, uint32_t height, uint32_t width,
                       uint32_t channels, bool batch);
/* A buffer [1,h,w,c] -> latents.00N [1,c,h,w]. */
void trace_add_latents(struct trace *trace, const struct buffer *latents, uint32_t step, uint32_t height, uint32_t width,
                       uint32_t channels);
MUST_USE enum err trace_write(const struct trace *trace, const char *path, struct error *error);

#endif
