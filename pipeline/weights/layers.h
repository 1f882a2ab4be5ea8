/*
 * layers.h - the parts that networks share: their parameters, found by name and exact shape, and how they are recorded.
 *
 * A loader prepares parameters on a backend and owns them; networks hold borrowed handles in plain struct fields. The
 * first trouble sticks (handles are NULL from then on; of what is missing, all is counted), so that a network's loading is a straight list of its parts with
 * one check at its end.
 */
#ifndef PIPELINE_WEIGHTS_LAYERS_H
#define PIPELINE_WEIGHTS_LAYERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"
#include "pipeline/backend/backend.h"
#include "pipeline/weights/weights.h"

enum { LAYER_NAME_LIMIT = 256 };

struct loader {
    struct component *component; /* borrowed while loading */
    struct backend *backend;
    enum dtype numerics;     /* of the programs that will use them */
    struct weight **weights; /* owned */
    size_t count;
    uint64_t parameters;
    uint64_t bytes; /* prepared */
    struct error error;
    struct bytes missing; /* the first names that the file does not have */
    size_t missing_count;
};

void loader_init(struct loader *loader, struct component *component, struct backend *backend, enum dtype numerics);
/* After the last part: the first trouble, or parameters that nobody asked for. */
MUST_USE enum err loader_finish(struct loader *loader, struct error *error);
void loader_release(struct loader *loader); /* destroys the weights */

/* weight and bias of a linear layer or convolution, gamma and beta of a norm. bias may be NULL. */
struct layer {
    const struct weight *weight, *bias;
};

/* A name built from parts; too long a one is cut, and then no parameter has it. */
void layer_name(char name[LAYER_NAME_LIMIT], const char *format, ...) PRINTF_LIKE(2, 3);

/* Names are printf-style: the part before ".weight" and ".bias". */
struct layer load_norm(struct loader *loader, uint32_t width, const char *format, ...) PRINTF_LIKE(3, 4);
struct layer load_linear(struct loader *loader, uint32_t rows, uint32_t columns, bool bias, const char *format, ...)
    PRINTF_LIKE(5, 6);
struct layer load_conv(struct loader *loader, uint32_t out, uint32_t in, uint32_t side, const char *format, ...)
    PRINTF_LIKE(5, 6);
/* A 1x1 convolution, which is a linear layer on channels last. */
struct layer load_pointwise(struct loader *loader, uint32_t rows, uint32_t columns, const char *format, ...)
    PRINTF_LIKE(4, 5);
const struct weight *load_table(struct loader *loader, uint32_t rows, uint32_t width, const char *format, ...)
    PRINTF_LIKE(4, 5);
/* A table that lies in no file: `rows` [rows,width]. To be called after loader_finish; its error is the caller's. */
MUST_USE enum err load_made_table(const struct weight **table, struct loader *loader, const float *rows, uint32_t count, uint32_t width,
                                  struct error *error);
/* Linear layers of one shape, PREFIX.NAME each, stacked into one product. */
struct layer load_stack(struct loader *loader, uint32_t rows, uint32_t columns, bool bias, const char *prefix,
                        const char *const *names, size_t count);

struct tensor record_linear(struct program *program, struct layer layer, struct tensor x, enum activation activation,
                            struct tensor residual);
/* 3x3, stride 1, zeros around. */
struct tensor record_conv(struct program *program, struct layer layer, struct tensor x);
/* The same on x resized to height x width, nearest. */
struct tensor record_conv_resized(struct program *program, struct layer layer, struct tensor x, uint32_t height,
                                  uint32_t width);
struct tensor record_layer_norm(struct program *program, struct layer layer, struct tensor x, float epsilon);

struct norm_options {
    uint32_t groups;
    float epsilon;
};
struct tensor record_group_norm(struct program *program, struct layer layer, struct tensor x, struct norm_options options,
                                bool silu);

/* [n,h,w,c] seen as a sequence [n,h*w,1,c], and back. */
struct tensor tensor_tokens(struct tensor x);
struct tensor tensor_picture(struct tensor tokens, uint32_t height, uint32_t width);

/* Residual block (He 2016, with Wu & He's norms): x + conv2(silu(norm2(conv1(silu(norm1(x))) + time))). */
struct resnet {
    struct layer norm1, conv1, norm2, conv2;
    struct layer time;     /* weight NULL: the network has no timestep */
    struct layer shortcut; /* weight NULL: in == out */
    uint32_t width;        /* out */
};
/* time: width of the timestep's embedding, or 0. */
struct resnet load_resnet(struct loader *loader, uint32_t in, uint32_t out, uint32_t time, const char *prefix);
/* What a timestep adds to a block, of every step that is to come: [steps*(1|n),1,1,out], and which step it is. */
struct resnet_times {
    struct tensor vectors, step;
    uint32_t steps;
};
/* time [rows,1,1,time], embeddings after their SiLU -> out [rows,1,1,out]. */
void record_resnet_times(struct program *program, struct tensor out, const struct resnet *resnet, struct tensor time);
/* x [n,h,w,in] -> [n,h,w,out]. times NULL: the network has no timestep. */
struct tensor record_resnet(struct program *program, const struct resnet *resnet, struct tensor x,
                            const struct resnet_times *times, struct norm_options norm);

#endif
