/*
 * ops.c - each op as launches on the stream.
 */
#include <stdio.h>

#include "pipeline/backend/cuda/cuda.h"
#include "pipeline/backend/cuda/kernels.h"

static size_t elements(struct tensor tensor) {
    return tensor_rows(tensor) * tensor.c;
}

static const char *const kind_names[OP_KINDS] = {
    [OP_EMBED] = "embed",           [OP_LINEAR] = "linear",         [OP_CONV] = "convolution", [OP_GROUP_NORM] = "group norm",
    [OP_LAYER_NORM] = "layer norm", [OP_ATTENTION] = "attention",   [OP_CONCAT] = "concat",    [OP_SCALE] = "scale",
    [OP_TIMESTEP] = "timestep",     [OP_LATENT_INPUT] = "latents in", [OP_UPDATE] = "update",  [OP_PIXELS] = "pixels",
    [OP_COPY] = "copy",             [OP_SUM] = "sum",               [OP_NOISE] = "noise",
};

void op_describe(char *text, size_t size, const struct op *op) {
    struct tensor in = op->in[0], out = op->out[0];
    int length = snprintf(text, size, "%s [%u,%u,%u,%u] -> [%u,%u,%u,%u]", kind_names[op->kind], in.n, in.h, in.w, in.c, out.n,
                          out.h, out.w, out.c);
    if (op->kind == OP_ATTENTION && length > 0 && (size_t)length < size) {
        snprintf(text + length, size - (size_t)length, ", %u keys, %u heads", op->in[1].h, op->heads);
    }
}

bool cuda_op_went(struct cuda *cuda, const struct op *op, const char *trouble) {
    char text[160];
    if (trouble == NULL) {
        return true;
    }
    op_describe(text, sizeof text, op);
    cuda_fail_text(cuda, text, trouble);
    return false;
}

/* ---- linear ------------------------------------------------------------------------------------------------------- */

/* GEGLU's product is twice as wide as its output and cannot lie there. */
static size_t linear_workspace(const struct op *op) {
    bool wide = op->activation == ACTIVATION_GEGLU;
    return wide ? tensor_rows(op->out[0]) * op->weight->rows * dtype_size(op->out[0].dtype) : 0;
}

/* Without an activation the library does it all; with one, the rest is a pass of ours. */
static void linear(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor x = op->in[0], out = op->out[0];
    bool plain = op->activation == ACTIVATION_NONE, wide = op->activation == ACTIVATION_GEGLU;
    void *made = wide ? program_workspace(program, op) : program_data(program, out);
    const void *residual = cuda_input(program, op->in[1]);
    struct vendor_product product = { .dtype = x.dtype,
                                      .rows = tensor_rows(x),
                                      .n = op->weight->rows,
                                      .k = x.c,
                                      .batch = 1,
                                      .x = program_data(program, x),
                                      .w = op->weight->data,
                                      .bias = op->bias == NULL ? NULL : op->bias->data,
                                      .residual = plain ? residual : NULL,
                                      .out = made,
                                      .scale = 1.0f };
    if (cuda_op_went(cuda, op, vendor_product_run(cuda->vendor, cuda->stream, &product)) && !plain) {
        struct finish finish = { .x = made, .y = program_data(program, out), .residual = residual, .rows = product.rows,
                                 .n = out.c, .activation = op->activation };
        kernel_finish(cuda->stream, out.dtype, &finish);
    }
}

/* ---- norms -------------------------------------------------------------------------------------------------------- */

static void norm(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor x = op->in[0];
    bool group = op->kind == OP_GROUP_NORM;
    struct cuda_norm norm = { .x = program_data(program, x),
                              .out = program_data(program, op->out[0]),
                              .gamma = op->weight->data,
                              .beta = op->bias->data,
                              .images = group ? x.n : 1,
                              .rows = group ? x.h * x.w : (uint32_t)tensor_rows(x),
                              .channels = x.c,
                              .groups = group ? op->groups : 1,
                              .epsilon = op->number,
                              .silu = group && op->flag,
                              .notes = program_workspace(program, op) };
    if (group) {
        kernel_group_norm(cuda->stream, x.dtype, &norm);
    } else {
        kernel_layer_norm(cuda->stream, x.dtype, &norm);
    }
}

/* ---- the small ones ------------------------------------------------------------------------------------------------- */

static void embed(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor ids = op->in[0], out = op->out[0];
    struct embed embed = { .out = program_data(program, out),
                           .ids = program_data(program, ids),
                           .tokens = op->weight->data,
                           .added = op->added == NULL ? NULL : op->added->data,
                           .positions = op->bias == NULL ? NULL : op->bias->data,
                           .rows = tensor_rows(ids),
                           .length = ids.h,
                           .width = out.c,
                           .vocabulary = op->weight->rows,
                           .added_count = op->added == NULL ? 0 : op->added->rows };
    kernel_embed(cuda->stream, out.dtype, &embed);
}

static void concat(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor a = op->in[0], b = op->in[1], out = op->out[0];
    kernel_concat(cuda->stream, out.dtype, program_data(program, out), program_data(program, a), program_data(program, b),
                  tensor_rows(out), a.c, b.c);
}

static void convert(struct cuda *cuda, const struct program *program, const struct op *op, float factor) {
    struct tensor x = op->in[0], out = op->out[0];
    kernel_convert(cuda->stream, program_data(program, out), out.dtype, program_data(program, x), x.dtype, elements(out),
                   factor);
}

static void sum(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor a = op->in[0], b = op->in[1], out = op->out[0];
    kernel_sum(cuda->stream, out.dtype, program_data(program, out), program_data(program, a), program_data(program, b),
               elements(a), elements(out), op->flag);
}

static void timestep(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor out = op->out[0];
    kernel_timestep(cuda->stream, out.dtype, program_data(program, out), program_data(program, op->in[0]), out.n,
                    out.n / op->in[0].n, out.c, op->flag, op->number);
}

static void noise(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor out = op->out[0];
    kernel_noise(cuda->stream, program_data(program, out), program_data(program, op->in[0]), out.n, (size_t)out.h * out.w, out.c);
}

static void latent_input(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor latent = op->in[0], out = op->out[0];
    kernel_latent_input(cuda->stream, out.dtype, program_data(program, out), program_data(program, latent),
                        program_data(program, op->in[1]), program_data(program, op->in[2]), op->in[1].n, elements(latent),
                        out.n / latent.n);
}

static void update(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor latent = op->out[0];
    struct cuda_update update = { .latent = program_data(program, latent),
                                  .history = cuda_input(program, op->out[1]),
                                  .belief = cuda_input(program, op->out[3]),
                                  .counter = program_data(program, op->out[2]),
                                  .prediction = program_data(program, op->in[0]),
                                  .guidance = cuda_input(program, op->in[1]),
                                  .noise = cuda_input(program, op->in[2]),
                                  .kept = cuda_input(program, op->in[4]),
                                  .table = program_data(program, op->in[3]),
                                  .steps = op->in[3].n,
                                  .images = latent.n,
                                  .channels = latent.c,
                                  .image = elements(latent) / latent.n };
    if (tensor_exists(op->in[2]) && op->in[2].n / latent.n < update.steps) {
        update.steps = op->in[2].n / latent.n;
    }
    kernel_update(cuda->stream, op->in[0].dtype, &update);
}

static void pixels(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor image = op->in[0];
    int32_t *bad = program_data(program, op->out[2]);
    (void)cudaMemsetAsync(bad, 0, image.n * sizeof *bad, cuda->stream);
    kernel_pixels(cuda->stream, image.dtype, program_data(program, op->out[0]), cuda_input(program, op->out[1]), bad,
                  program_data(program, image), image.n, elements(image) / image.n);
}

/* ---- all of them -------------------------------------------------------------------------------------------------- */

static size_t workspace(const struct backend *backend, const struct op *op) {
    switch (op->kind) {
    case OP_LINEAR:
        return linear_workspace(op);
    case OP_CONV:
        return convolution_workspace(cuda_of(backend), op);
    case OP_GROUP_NORM:
        return kernel_group_norm_notes(op->in[0].n, op->in[0].h * op->in[0].w, op->in[0].c);
    case OP_ATTENTION:
        return attention_workspace(cuda_of(backend), op);
    default:
        return 0;
    }
}

static void enqueue(struct cuda *cuda, const struct program *program, const struct op *op) {
    switch (op->kind) {
    case OP_EMBED: embed(cuda, program, op); break;
    case OP_LINEAR: linear(cuda, program, op); break;
    case OP_CONV: convolution_run(cuda, program, op); break;
    case OP_GROUP_NORM:
    case OP_LAYER_NORM: norm(cuda, program, op); break;
    case OP_ATTENTION: attention_run(cuda, program, op); break;
    case OP_CONCAT: concat(cuda, program, op); break;
    case OP_SCALE: convert(cuda, program, op, op->number); break;
    case OP_COPY: convert(cuda, program, op, 1.0f); break;
    case OP_SUM: sum(cuda, program, op); break;
    case OP_TIMESTEP: timestep(cuda, program, op); break;
    case OP_NOISE: noise(cuda, program, op); break;
    case OP_LATENT_INPUT: latent_input(cuda, program, op); break;
    case OP_UPDATE: update(cuda, program, op); break;
    case OP_PIXELS: pixels(cuda, program, op); break;
    case OP_KINDS: assert(!"an op that is none");
    }
}

size_t cuda_op_workspace(const struct backend *backend, const struct op *op) {
    struct cuda *cuda = cuda_of(backend);
    pthread_mutex_lock(&cuda->planning);
    size_t bytes = workspace(backend, op);
    pthread_mutex_unlock(&cuda->planning);
    return bytes;
}

void cuda_op_run(struct cuda *cuda, const struct program *program, const struct op *op) {
    pthread_mutex_lock(&cuda->planning);
    enqueue(cuda, program, op);
    pthread_mutex_unlock(&cuda->planning);
}
