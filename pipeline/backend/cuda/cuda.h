/*
 * cuda.h - inside of the CUDA backend: one card, drawing on one stream and loading weights on another.
 *
 * device.c opens cards and holds memory and the first failure; weights.c loads parameters; ops.c turns ops into launches;
 * graph.c captures a program once and replays it; attention.c and convolution.c choose how, by shape and numerics alone. What
 * libraries do sits behind vendor.h.
 */
#ifndef PIPELINE_BACKEND_CUDA_CUDA_H
#define PIPELINE_BACKEND_CUDA_CUDA_H

#include <pthread.h>
#include <stdatomic.h>

#include <cuda_runtime_api.h>

#include "pipeline/backend/cuda/vendor.h"
#include "pipeline/backend/op.h"

enum { CUDA_AHEAD = 2 /* replays that may be enqueued at once */ };
enum { LOADING_PIECE = 4 << 20, LOADING_AHEAD = 2 /* pieces that may wait in pinned memory */ };

/* What weights are loaded with, by one thread at a time; made for the first of them. */
struct loading {
    pthread_mutex_t lock;
    cudaStream_t stream;
    void *staging[LOADING_AHEAD];    /* pinned, LOADING_PIECE bytes each, in turn */
    cudaEvent_t sent[LOADING_AHEAD]; /* behind the copy from each */
    void *file, *ordered;            /* on the card, LOADING_PIECE bytes: as the file has them, and reordered */
};
void loading_init(struct loading *loading);
void loading_release(struct loading *loading);

struct cuda {
    struct backend backend;
    int index;
    int major, minor;         /* compute capability */
    char class_name[64];      /* "cuda sm_90", "cuda sm_90 fp16" */
    char card[160];           /* "cuda:0 (NVIDIA H100 80GB HBM3)", for sentences */
    cudaStream_t stream;      /* one thread's: the one that draws */
    void *staging;            /* pinned, STAGING bytes: what goes up or down passes through it */
    struct loading loading;
    struct vendor *vendor;
    pthread_mutex_t planning; /* of the vendor: whoever records programs makes plans, and programs are recorded to count, too */
    cudaEvent_t marks[CUDA_AHEAD]; /* behind the last replays, in turn */
    uint64_t replayed;
    char replays[280];        /* what was launched last, for a failure that shows later */
    pthread_mutex_t failing;
    atomic_bool failed;       /* `failure` is written, and stays */
    struct error failure;     /* the first one */
};

static inline struct cuda *cuda_of(const struct backend *backend) {
    return (struct cuda *)backend;
}

/* Keeps the first failure. `what` names the op and its shape, or the call. */
void cuda_fail(struct cuda *cuda, cudaError_t error, const char *what);
void cuda_fail_text(struct cuda *cuda, const char *what, const char *text);
/* Has the card failed? */
static inline bool cuda_failed(const struct cuda *cuda) {
    return atomic_load(&cuda->failed);
}
/* Why `size` bytes of the card could not be had by `call`: ERR_MEMORY, or a failure, kept. */
MUST_USE enum err cuda_memory_error(struct cuda *cuda, cudaError_t result, size_t size, const char *call, struct error *error);

/* ---- weights.c ---------------------------------------------------------------------------------------------------- */

size_t cuda_weight_measure(const struct backend *backend, const struct weight *weight);
MUST_USE enum err cuda_weight_prepare(struct weight *weight, const void *plain, struct error *error);
void cuda_weight_release(struct weight *weight);

/* ---- ops.c -------------------------------------------------------------------------------------------------------- */

size_t cuda_op_workspace(const struct backend *backend, const struct op *op);
void cuda_op_run(struct cuda *cuda, const struct program *program, const struct op *op); /* enqueues */
void op_describe(char *text, size_t size, const struct op *op); /* "conv [2,64,64,320] -> [2,64,64,320]" */
/* What a library said of an op (NULL: it went well), kept with op and shape if it is the first trouble. Did it go well? */
bool cuda_op_went(struct cuda *cuda, const struct op *op, const char *trouble);

/* ---- graph.c ------------------------------------------------------------------------------------------------------ */

void cuda_program_run(struct program *program);
void cuda_program_forget(struct program *program); /* its graph: the program ends, or gets other memory */

/* ---- convolution.c, attention.c ------------------------------------------------------------------------------------- */

size_t convolution_workspace(const struct cuda *cuda, const struct op *op);
void convolution_run(struct cuda *cuda, const struct program *program, const struct op *op);
size_t attention_workspace(const struct cuda *cuda, const struct op *op);
void attention_run(struct cuda *cuda, const struct program *program, const struct op *op);

static inline void *cuda_input(const struct program *program, struct tensor tensor) {
    return tensor_exists(tensor) ? program_data(program, tensor) : NULL;
}

#endif
