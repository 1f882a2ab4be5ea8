/*
 * trace.c - named tensors, kept until they are written.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/denoise/trace.h"

void trace_release(struct trace *trace) {
    for (size_t i = 0; i < trace->count; i++) {
        free((char *)trace->entries[i].name);
        free((void *)trace->entries[i].data);
    }
    free(trace->entries);
    *trace = (struct trace){ 0 };
}

void trace_add(struct trace *trace, const char *name, enum dtype dtype, uint32_t dims, const uint64_t *shape,
               const void *data) {
    struct safetensors_entry entry = { .name = text_copy(name), .dtype = dtype, .dims = dims };
    size_t size = dtype_size(dtype);
    for (uint32_t i = 0; i < dims; i++) {
        entry.shape[i] = shape[i];
        size *= shape[i];
    }
    entry.data = memcpy(memory_get(size), data, size);
    trace->entries = memory_grow(trace->entries, trace->count + 1, sizeof *trace->entries);
    trace->entries[trace->count++] = entry;
}

void trace_add_doubles(struct trace *trace, const char *name, const double *values, uint64_t count) {
    float *floats = memory_get_array(count, sizeof *floats);
    for (uint64_t i = 0; i < count; i++) {
        floats[i] = (float)values[i];
    }
    trace_add(trace, name, DTYPE_F32, 1, &count, floats);
    free(floats);
}

void trace_add_picture(struct trace *trace, const char *name, const float *values, uint32_t height, uint32_t width,
                       uint32_t channels, bool batch) {
    size_t area = (size_t)height * width;
    float *turned = memory_get_array(area * channels, sizeof *turned);
    for (size_t i = 0; i < area; i++) {
        for (uint32_t c = 0; c < channels; c++) {
            turned[c * area + i] = values[i * channels + c];
        }
    }
    const uint64_t shape[4] = { 1, channels, height, width };
    trace_add(trace, name, DTYPE_F32, batch ? 4 : 3, batch ? shape : shape + 1, turned);
    free(turned);
}

void trace_add_latents(struct trace *trace, const struct buffer *latents, uint32_t step, uint32_t height, uint32_t width,
                       uint32_t channels) {
    float *values = memory_get_array((size_t)height * width * channels, sizeof *values);
    char name[32];
    snprintf(name, sizeof name, "latents.%03u", step);
    buffer_download(latents, 0, values, (size_t)height * width * channels * sizeof *values);
    trace_add_picture(trace, name, values, height, width, channels, true);
    free(values);
}

enum err trace_write(const struct trace *trace, const char *path, struct error *error) {
    return safetensors_write(path, trace->entries, trace->count, error);
}
