/*
 * attention.c - attention as the library's, or as two products with a softmax between.
 *
 * F16 and BF16 with heads of a multiple of 8 go to the library, as wide as it takes them. Everything else (f32, the text
 * encoder's causal one, the VAE's one head of 512) pulls the heads apart and keeps the scores of as many matrices, or rows of one, as SCORES_BYTES hold. Where
 * images choose among the prompts' keys (kv_index), the chosen ones are gathered first. The rule is of shape and numerics alone.
 */
#include <math.h>

#include "pipeline/backend/cuda/cuda.h"
#include "pipeline/backend/cuda/kernels.h"

enum { SCORES_BYTES = 64 << 20, NOTES_ALIGNMENT = 256 };

static size_t aligned(size_t size) {
    return (size + NOTES_ALIGNMENT - 1) / NOTES_ALIGNMENT * NOTES_ALIGNMENT;
}

static bool by_library(const struct cuda *cuda, const struct op *op) {
    struct tensor q = op->in[0], k = op->in[1], v = op->in[2];
    uint32_t depth = q.c / op->heads;
    bool fits = q.c_first % 8 == 0 && q.c_row % 8 == 0 && k.c_first % 8 == 0 && k.c_row % 8 == 0 && v.c_first % 8 == 0;
    return op->out[0].dtype != DTYPE_F32 && !op->flag && depth % 8 == 0 && depth <= vendor_attention_depth(cuda->vendor) && fits &&
           k.c_row == v.c_row;
}

/* ---- the library's ------------------------------------------------------------------------------------------------- */

static struct vendor_attention describe(const struct op *op) {
    struct tensor q = op->in[0], k = op->in[1];
    uint32_t depth = q.c / op->heads;
    struct vendor_attention a = {
        .dtype = q.dtype, .n = q.n, .heads = op->heads, .depth = depth, .queries = q.h, .keys = k.h,
        .q_row = q.c_row, .q_head = depth, .q_image = (size_t)q.h * q.c_row,
        .k_row = k.c_row, .k_head = depth, .k_image = (size_t)k.h * k.c_row,
    };
    if (tensor_exists(op->in[3])) { /* gathered: [n,heads,keys,depth] */
        a.k_row = depth;
        a.k_head = (size_t)k.h * depth;
        a.k_image = a.k_head * op->heads;
    }
    return a;
}

/* Notes: [gathered keys] [gathered values] [the library's]. */
static size_t gathered_size(const struct op *op) {
    struct tensor q = op->in[0], k = op->in[1];
    return tensor_exists(op->in[3]) ? aligned((size_t)q.n * k.h * q.c * dtype_size(q.dtype)) : 0;
}

static void run_library(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct vendor_attention a = describe(op);
    struct tensor q = op->in[0], k = op->in[1], v = op->in[2];
    size_t gathered = gathered_size(op);
    char *notes = program_workspace(program, op);
    const int32_t *index = cuda_input(program, op->in[3]);
    a.q = program_data(program, q);
    a.k = program_data(program, k);
    a.v = program_data(program, v);
    a.out = program_data(program, op->out[0]);
    if (index != NULL) {
        kernel_heads_split(cuda->stream, k.dtype, notes, a.k, k.c_row, index, q.n, k.n, k.h, op->heads, a.depth);
        kernel_heads_split(cuda->stream, v.dtype, notes + gathered, a.v, v.c_row, index, q.n, v.n, v.h, op->heads, a.depth);
        a.k = notes;
        a.v = notes + gathered;
    }
    (void)cuda_op_went(cuda, op, vendor_attention_run(cuda->vendor, cuda->stream, &a, notes + 2 * gathered));
}

/* ---- products and a softmax ------------------------------------------------------------------------------------------ */

/* Notes: heads of q, of k, of v, of the result; scores f32 and weights of `matrices` matrices, `rows` rows of each. */
struct split {
    size_t q, k, v, out, scores, weights, size;
    uint32_t matrices, rows; /* at once */
};

static struct split split_of(const struct op *op) {
    struct tensor q = op->in[0], k = op->in[1];
    size_t element = dtype_size(q.dtype), whole = (size_t)q.n * op->heads, row = k.h * sizeof(float);
    size_t queries = aligned((size_t)q.n * q.h * q.c * element), keys = aligned((size_t)q.n * k.h * q.c * element);
    size_t rows = SCORES_BYTES / row == 0 ? 1 : SCORES_BYTES / row;
    struct split s = { .k = queries, .v = queries + keys, .out = queries + 2 * keys };
    s.rows = rows < q.h ? (uint32_t)rows : q.h;
    s.matrices = rows < 2 * (size_t)q.h ? 1 : rows / q.h < whole ? (uint32_t)(rows / q.h) : (uint32_t)whole;
    s.scores = s.out + queries;
    s.weights = s.scores + aligned((size_t)s.matrices * s.rows * row);
    s.size = s.weights + aligned((size_t)s.matrices * s.rows * k.h * element);
    return s;
}

/* Rows first.. of matrices matrix..: scores, weights, result. */
static const char *attend(struct cuda *cuda, const struct op *op, const struct split *s, char *notes, size_t matrix,
                          uint32_t matrices, uint32_t first, uint32_t rows) {
    struct tensor q = op->in[0], k = op->in[1];
    uint32_t depth = q.c / op->heads;
    size_t element = dtype_size(q.dtype), query = (matrix * q.h + first) * depth * element, key = matrix * k.h * depth * element;
    struct vendor_product scores = { .dtype = q.dtype, .out_f32 = true, .rows = rows, .n = k.h, .k = depth, .batch = matrices,
                                     .x = notes + s->q + query, .w = notes + s->k + key, .out = notes + s->scores,
                                     .scale = 1.0f };
    const char *trouble = vendor_product_run(cuda->vendor, cuda->stream, &scores);
    if (trouble != NULL) {
        return trouble;
    }
    kernel_softmax(cuda->stream, q.dtype, notes + s->weights, (const float *)(notes + s->scores), matrices, rows, k.h,
                   1.0f / sqrtf((float)depth), op->flag, first);
    struct vendor_product result = { .dtype = q.dtype, .plain = true, .rows = rows, .n = depth, .k = k.h, .batch = matrices,
                                     .x = notes + s->weights, .w = notes + s->v + key, .out = notes + s->out + query,
                                     .scale = 1.0f };
    return vendor_product_run(cuda->vendor, cuda->stream, &result);
}

static void run_products(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor q = op->in[0], k = op->in[1], v = op->in[2];
    struct split s = split_of(op);
    uint32_t depth = q.c / op->heads;
    char *notes = program_workspace(program, op);
    const int32_t *index = cuda_input(program, op->in[3]);
    kernel_heads_split(cuda->stream, q.dtype, notes + s.q, program_data(program, q), q.c_row, NULL, q.n, q.n, q.h, op->heads,
                       depth);
    kernel_heads_split(cuda->stream, k.dtype, notes + s.k, program_data(program, k), k.c_row, index, q.n, k.n, k.h, op->heads,
                       depth);
    kernel_heads_split(cuda->stream, v.dtype, notes + s.v, program_data(program, v), v.c_row, index, q.n, v.n, v.h, op->heads,
                       depth);
    size_t whole = (size_t)q.n * op->heads;
    for (size_t matrix = 0; matrix < whole; matrix += s.matrices) {
        uint32_t matrices = whole - matrix < s.matrices ? (uint32_t)(whole - matrix) : s.matrices;
        for (uint32_t first = 0; first < q.h; first += s.rows) {
            uint32_t rows = q.h - first < s.rows ? q.h - first : s.rows;
            if (!cuda_op_went(cuda, op, attend(cuda, op, &s, notes, matrix, matrices, first, rows))) {
                return;
            }
        }
    }
    kernel_heads_merge(cuda->stream, q.dtype, program_data(program, op->out[0]), notes + s.out, q.n, q.h, op->heads, depth);
}

/* ---- either ------------------------------------------------------------------------------------------------------- */

size_t attention_workspace(const struct cuda *cuda, const struct op *op) {
    if (by_library(cuda, op)) {
        struct vendor_attention a = describe(op);
        return 2 * gathered_size(op) + vendor_attention_notes(cuda->vendor, &a);
    }
    return split_of(op).size;
}

void attention_run(struct cuda *cuda, const struct program *program, const struct op *op) {
    if (by_library(cuda, op)) {
        run_library(cuda, program, op);
    } else {
        run_products(cuda, program, op);
    }
}
