/*
 * op.h - inside of the backends: recorded ops, planned values, and what a device implements.
 *
 * Only files of this folder include it. program.c and plan.c know no device; a device knows `struct backend_ops` and
 * reads a finished program through program_data().
 */
#ifndef PIPELINE_BACKEND_OP_H
#define PIPELINE_BACKEND_OP_H

#include <assert.h>

#include "pipeline/backend/backend.h"

/* ---- ops -------------------------------------------------------------------------------------------------------- */

/* Behind each kind: which inputs and outputs it has, by place in `in` and `out`. */
enum op_kind {
    OP_EMBED,        /* in: ids; weight: tokens, added: its rows go on there, bias: positions */
    OP_LINEAR,       /* in: x, residual */
    OP_CONV,         /* in: x, residual, vector, step */
    OP_GROUP_NORM,   /* in: x; weight: gamma, bias: beta */
    OP_LAYER_NORM,   /* in: x; weight: gamma, bias: beta */
    OP_ATTENTION,    /* in: q, k, v, kv_index */
    OP_CONCAT,       /* in: a, b */
    OP_SCALE,        /* in: x */
    OP_SUM,          /* in: a, b */
    OP_TIMESTEP,     /* in: table */
    OP_NOISE,        /* in: rows */
    OP_LATENT_INPUT, /* in: latent, table, counter */
    OP_UPDATE,       /* in: prediction, guidance, noise, table, kept; out, in place: latent, history, counter; out: belief */
    OP_PIXELS,       /* in: image; out: pixels, unit, bad */
    OP_COPY,         /* in: x; to the numerics of its output */
    OP_KINDS
};

enum { OP_INPUTS = 5, OP_OUTPUTS = 4 };

struct op {
    enum op_kind kind;
    struct tensor in[OP_INPUTS];   /* TENSOR_NONE where there is none */
    struct tensor out[OP_OUTPUTS];
    const struct weight *weight;
    const struct weight *bias; /* or NULL */
    const struct weight *added; /* or NULL */
    enum activation activation;
    struct conv_options conv;
    uint32_t groups;
    uint32_t heads;
    float number; /* epsilon, factor or frequency shift */
    bool flag;    /* silu, causal or flip_sin_to_cos */
    uint32_t workspace; /* value that holds the device's notes while this op runs; UINT32_MAX: none */
};

static inline bool tensor_exists(struct tensor tensor) {
    return tensor.id != UINT32_MAX;
}
/* Vectors that a convolution adds: 1, or one an image. Where it has steps they lie behind those of the steps before. */
static inline uint32_t conv_vectors(const struct op *op) {
    return op->conv.steps == 0 ? op->in[2].n : op->in[2].n / op->conv.steps;
}
static inline size_t tensor_rows(struct tensor tensor) {
    return (size_t)tensor.n * tensor.h * tensor.w;
}

/* ---- programs --------------------------------------------------------------------------------------------------- */

/* Memory behind tensors: bound to a buffer, or a place in the scratch while ops first..last run. */
struct value {
    struct buffer *buffer; /* NULL: scratch */
    size_t offset;         /* bytes */
    size_t size;
    uint32_t first, last;
};

struct program {
    struct backend *backend;
    enum dtype numerics;
    struct op *ops;
    size_t op_count;
    struct value *values;
    size_t value_count;
    struct buffer *scratch; /* borrowed */
    void *device_notes;     /* the device's own, for as long as the scratch stays */
    size_t scratch_size;
    bool finished;
};

/* Place all scratch values so that none overlap while both live; returns bytes needed (plan.c). */
size_t plan_memory(struct value *values, size_t count);

/* First byte of a tensor on the device. */
void *program_data(const struct program *program, struct tensor tensor);
/* The device's notes of an op, NULL where it asked for none. */
void *program_workspace(const struct program *program, const struct op *op);

/* ---- devices ---------------------------------------------------------------------------------------------------- */

struct weight {
    struct backend *backend;
    enum weight_use use;
    uint32_t rows;       /* N, Cout, length of a vector, rows of a table */
    uint32_t columns;    /* elements a row: K, Cin*kh*kw, 1, D */
    uint32_t kh, kw, cin; /* of a convolution; linear: 1, 1, K */
    enum dtype numerics; /* of the programs that use it */
    enum dtype dtype; /* of data: the file's, F32 for vectors and for stacks whose parts differ */
    size_t bytes;
    void *data; /* the device's own layout */
};

struct buffer {
    struct backend *backend;
    size_t size;
    void *data;
};

struct snapshot {
    struct backend *backend;
    size_t size;
    void *data; /* the host's; NULL on a planner */
    void *mark; /* the device's own, by which it knows that the copy is done */
};

/* Devices of the host never fail and leave `check` and `forget` NULL. A planner leaves the snapshots' NULL. */
struct backend_ops {
    void (*destroy)(struct backend *backend);
    enum err (*memory_create)(void **data, struct backend *backend, size_t size, struct error *error);
    void (*memory_destroy)(struct backend *backend, void *data, size_t size);
    void (*upload)(struct backend *backend, void *data, const void *host, size_t size);
    void (*download)(struct backend *backend, void *host, const void *data, size_t size);
    /* Fill data and bytes of `weight` from its parameter in plain form: [rows,columns] in the file's order, of the
     * weight's dtype, perhaps unaligned, not kept. A device that wants it wider says so in dtype. NULL: keeps none. */
    enum err (*weight_prepare)(struct weight *weight, const void *plain, struct error *error);
    void (*weight_release)(struct weight *weight); /* its data */
    size_t (*weight_measure)(const struct backend *backend, const struct weight *weight); /* bytes it will have */
    enum err (*snapshot_prepare)(struct snapshot *snapshot, struct error *error); /* its data and mark */
    void (*snapshot_release)(struct snapshot *snapshot);
    void (*snapshot_take)(struct snapshot *snapshot, const void *data);
    bool (*snapshot_done)(const struct snapshot *snapshot);
    size_t (*op_workspace)(const struct backend *backend, const struct op *op); /* bytes of notes while it runs */
    void (*run)(struct program *program);
    void (*forget)(struct program *program); /* free device_notes; NULL: it makes none */
    void (*wait)(struct backend *backend);
    enum err (*check)(const struct backend *backend, struct error *error);
};

/* Devices embed it as their first member. */
struct backend {
    const struct backend_ops *ops;
    const char *class_name;
    enum dtype numerics;
    uint64_t memory_bytes; /* free at first; 0: the host's */
    bool any_numerics; /* F16 and BF16 beside F32 */
    bool batch_invariant;
    uint32_t threads;
};

MUST_USE enum err reference_create(struct backend **backend, struct error *error);
MUST_USE enum err cpu_create(struct backend **backend, uint32_t threads, struct error *error);
/* The same with the kernels of a named class ("cpu generic"), so that tests reach them all on one machine.
 * ERR_UNSUPPORTED where this machine cannot run them. */
MUST_USE enum err cpu_create_class(struct backend **backend, const char *class_name, uint32_t threads,
                                   struct error *error);

/* CUDA's devices: "cuda:0", "cuda:GPU-...". One of three makes them: cuda/ (device.c), cuda_absent.c in a build without CUDA,
 * tests/emulation, where they are called "emulated:0". */
bool cuda_claims(const char *device);
const char *cuda_build(void); /* "without CUDA", "with CUDA 13.0 for sm_80 89 90 100 120" */
MUST_USE enum err cuda_create(struct backend **backend, const char *device, enum dtype numerics, struct error *error);
/* Every card, by UUID. ERR_UNSUPPORTED, ERR_NOT_FOUND: there is none that can be used, and why. */
MUST_USE enum err cuda_list(struct device_name names[DEVICES_LIMIT], size_t *count, struct error *error);

/* Memory of the host, 64-byte aligned, for the two devices that compute there. */
MUST_USE enum err host_memory_create(void **data, struct backend *backend, size_t size, struct error *error);
void host_memory_destroy(struct backend *backend, void *data, size_t size);
void host_weight_release(struct weight *weight);
void host_upload(struct backend *backend, void *data, const void *host, size_t size);
void host_download(struct backend *backend, void *host, const void *data, size_t size);
enum err host_snapshot_prepare(struct snapshot *snapshot, struct error *error);
void host_snapshot_release(struct snapshot *snapshot);
void host_snapshot_take(struct snapshot *snapshot, const void *data);
bool host_snapshot_done(const struct snapshot *snapshot);

/* Ops that take no time and are the same plain code on both (host_ops.c): everything from OP_EMBED that is not
 * LINEAR, CONV, a norm or ATTENTION. Returns false for those. */
bool host_execute(const struct program *program, const struct op *op);
/* Of a convolution: [conv_vectors,Cout] that it adds now, or NULL. */
const float *host_conv_vector(const struct program *program, const struct op *op);
/* Rows first_row.. of a concatenation, for a device that shares it out. */
void host_concat(const struct program *program, const struct op *op, size_t first_row, size_t rows);

#endif
