/*
 * reference.c - the oracle: each op as its formula reads, sums in double, one thread.
 *
 * Weights stay in the file's order, widened to f32.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/backend/op.h"

/* ---- linear and convolution ------------------------------------------------------------------------------------- */

static double activate(double x, enum activation activation) {
    switch (activation) {
    case ACTIVATION_SILU:
        return x / (1.0 + exp(-x));
    case ACTIVATION_GELU:
    case ACTIVATION_GEGLU:
        return 0.5 * x * (1.0 + erf(x * M_SQRT1_2));
    case ACTIVATION_GELU_QUICK:
        return x / (1.0 + exp(-1.702 * x));
    case ACTIVATION_NONE:
        break;
    }
    return x;
}

/* One output of x W^T + bias; x and row are K long. */
static double linear_one(const struct op *op, const float *x, uint32_t row) {
    const float *w = (const float *)op->weight->data + (size_t)row * op->weight->columns;
    double sum = op->bias == NULL ? 0.0 : ((const float *)op->bias->data)[row];
    for (uint32_t k = 0; k < op->weight->columns; k++) {
        sum += (double)x[k] * w[k];
    }
    return sum;
}

static void linear(const struct program *program, const struct op *op) {
    struct tensor out = op->out[0];
    const float *x = program_data(program, op->in[0]);
    const float *residual = tensor_exists(op->in[1]) ? program_data(program, op->in[1]) : NULL;
    float *y = program_data(program, out);
    for (size_t r = 0; r < tensor_rows(out); r++) {
        for (uint32_t c = 0; c < out.c; c++) {
            double value = linear_one(op, x + r * op->in[0].c, c);
            if (op->activation == ACTIVATION_GEGLU) {
                value *= activate(linear_one(op, x + r * op->in[0].c, out.c + c), ACTIVATION_GELU);
            } else {
                value = activate(value, op->activation);
            }
            y[r * out.c + c] = (float)(residual == NULL ? value : value + residual[r * out.c + c]);
        }
    }
}

/* The input at place (i,j) of the resized and padded image n, or NULL in the padding: [Cin]. */
static const float *conv_place(const struct op *op, const float *x, uint32_t n, int64_t i, int64_t j) {
    struct tensor in = op->in[0];
    int64_t height = op->conv.resize_h == 0 ? in.h : op->conv.resize_h;
    int64_t width = op->conv.resize_w == 0 ? in.w : op->conv.resize_w;
    if (i < 0 || j < 0 || i >= height || j >= width) {
        return NULL;
    }
    return x + (((size_t)n * in.h + (size_t)(i * in.h / height)) * in.w + (size_t)(j * in.w / width)) * in.c;
}

static double conv_one(const struct op *op, const float *x, uint32_t n, uint32_t i, uint32_t j, uint32_t cout) {
    const struct weight *weight = op->weight;
    const float *w = (const float *)weight->data + (size_t)cout * weight->columns; /* [Cin,kh,kw] */
    double sum = op->bias == NULL ? 0.0 : ((const float *)op->bias->data)[cout];
    for (uint32_t di = 0; di < weight->kh; di++) {
        for (uint32_t dj = 0; dj < weight->kw; dj++) {
            const float *place = conv_place(op, x, n, (int64_t)i * op->conv.stride + di - op->conv.pad_top,
                                            (int64_t)j * op->conv.stride + dj - op->conv.pad_left);
            for (uint32_t c = 0; place != NULL && c < weight->cin; c++) {
                sum += (double)place[c] * w[(c * weight->kh + di) * weight->kw + dj];
            }
        }
    }
    return sum;
}

static void conv(const struct program *program, const struct op *op) {
    struct tensor out = op->out[0];
    const float *x = program_data(program, op->in[0]);
    const float *residual = tensor_exists(op->in[1]) ? program_data(program, op->in[1]) : NULL;
    const float *add = host_conv_vector(program, op);
    float *y = program_data(program, out);
    for (size_t place = 0; place < tensor_rows(out); place++) {
        uint32_t j = (uint32_t)(place % out.w), i = (uint32_t)(place / out.w % out.h);
        uint32_t n = (uint32_t)(place / out.w / out.h);
        for (uint32_t c = 0; c < out.c; c++, y++) {
            double value = conv_one(op, x, n, i, j, c);
            value += add == NULL ? 0.0 : add[(conv_vectors(op) == 1 ? 0 : n) * out.c + c];
            value += residual == NULL ? 0.0 : residual[place * out.c + c];
            *y = (float)value;
        }
    }
}

/* ---- norms ------------------------------------------------------------------------------------------------------ */

struct moments {
    double mean, inverse; /* inverse: 1 / sqrt(variance + epsilon) */
};

/* Over `rows` runs of `width` elements, `step` apart. */
static struct moments moments_of(const float *x, size_t rows, size_t width, size_t step, double epsilon) {
    double sum = 0.0, squares = 0.0, count = (double)(rows * width);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < width; i++) {
            sum += x[r * step + i];
        }
    }
    double mean = sum / count;
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < width; i++) {
            squares += (x[r * step + i] - mean) * (x[r * step + i] - mean);
        }
    }
    return (struct moments){ mean, 1.0 / sqrt(squares / count + epsilon) };
}

/* Group norm; a layer norm is the same with every row an image of its own and one group. */
static void norm(const struct program *program, const struct op *op) {
    struct tensor x = op->in[0];
    bool layer = op->kind == OP_LAYER_NORM;
    size_t images = layer ? tensor_rows(x) : x.n, rows = layer ? 1 : (size_t)x.h * x.w;
    uint32_t groups = layer ? 1 : op->groups, width = x.c / groups;
    const float *in = program_data(program, x), *gamma = op->weight->data, *beta = op->bias->data;
    float *out = program_data(program, op->out[0]);
    for (size_t n = 0; n < images; n++) {
        for (uint32_t g = 0; g < groups; g++) {
            const float *first = in + n * rows * x.c + g * width;
            struct moments m = moments_of(first, rows, width, x.c, op->number);
            for (size_t i = 0; i < rows * width; i++) {
                size_t place = i / width * x.c + i % width, c = g * width + i % width;
                double value = (first[place] - m.mean) * m.inverse * gamma[c] + beta[c];
                out[n * rows * x.c + g * width + place] =
                    (float)(op->flag && !layer ? activate(value, ACTIVATION_SILU) : value);
            }
        }
    }
}

/* ---- attention -------------------------------------------------------------------------------------------------- */

/* out[d] = softmax(q k^T / sqrt(d)) v for one query over `count` keys; scores holds `count`. */
static void attend_one(float *out, const float *q, const float *k, size_t k_row, const float *v, size_t v_row,
                       size_t count, uint32_t d, double *scores) {
    double most = -INFINITY, total = 0.0;
    for (size_t t = 0; t < count; t++) {
        double dot = 0.0;
        for (uint32_t i = 0; i < d; i++) {
            dot += (double)q[i] * k[t * k_row + i];
        }
        scores[t] = dot / sqrt(d);
        most = scores[t] > most ? scores[t] : most;
    }
    for (size_t t = 0; t < count; t++) {
        scores[t] = exp(scores[t] - most);
        total += scores[t];
    }
    for (uint32_t i = 0; i < d; i++) {
        double sum = 0.0;
        for (size_t t = 0; t < count; t++) {
            sum += scores[t] * v[t * v_row + i];
        }
        out[i] = (float)(sum / total);
    }
}

static void attention(const struct program *program, const struct op *op) {
    struct tensor q = op->in[0], k = op->in[1], v = op->in[2];
    const float *q_data = program_data(program, q), *k_data = program_data(program, k);
    const float *v_data = program_data(program, v);
    const int32_t *index = tensor_exists(op->in[3]) ? program_data(program, op->in[3]) : NULL;
    float *out = program_data(program, op->out[0]);
    double *scores = program_workspace(program, op);
    uint32_t d = q.c / op->heads;
    for (uint32_t n = 0; n < q.n; n++) {
        size_t m = index == NULL ? n : (size_t)index[n];
        assert(m < k.n);
        for (uint32_t head = 0; head < op->heads; head++) {
            for (uint32_t t = 0; t < q.h; t++) {
                size_t place = (size_t)n * q.h + t, keys = op->flag && t + 1 < k.h ? t + 1 : k.h;
                attend_one(out + place * q.c + head * d, q_data + place * q.c_row + head * d,
                           k_data + m * k.h * k.c_row + head * d, k.c_row,
                           v_data + m * v.h * v.c_row + head * d, v.c_row, keys, d, scores);
            }
        }
    }
}

/* ---- the device ------------------------------------------------------------------------------------------------- */

static size_t measure(const struct backend *backend, const struct weight *weight) {
    (void)backend;
    return (size_t)weight->rows * weight->columns * sizeof(float);
}

static enum err prepare(struct weight *weight, const void *plain, struct error *error) {
    size_t count = (size_t)weight->rows * weight->columns;
    weight->bytes = measure(weight->backend, weight);
    enum err err = host_memory_create(&weight->data, weight->backend, weight->bytes, error);
    if (err == ERR_OK) {
        floats_widen(weight->data, plain, weight->dtype, count);
        weight->dtype = DTYPE_F32;
    }
    return err;
}

static size_t workspace(const struct backend *backend, const struct op *op) {
    (void)backend;
    return op->kind == OP_ATTENTION ? op->in[1].h * sizeof(double) : 0; /* the scores of one query */
}

static void run(struct program *program) {
    for (size_t i = 0; i < program->op_count; i++) {
        const struct op *op = &program->ops[i];
        if (op->kind == OP_LINEAR) {
            linear(program, op);
        } else if (op->kind == OP_CONV) {
            conv(program, op);
        } else if (op->kind == OP_GROUP_NORM || op->kind == OP_LAYER_NORM) {
            norm(program, op);
        } else if (op->kind == OP_ATTENTION) {
            attention(program, op);
        } else {
            bool done = host_execute(program, op);
            assert(done);
        }
    }
}

static void wait_nothing(struct backend *backend) {
    (void)backend; /* run returns when all is done */
}

static void destroy(struct backend *backend) {
    free(backend);
}

enum err reference_create(struct backend **backend, struct error *error) {
    static const struct backend_ops ops = {
        .destroy = destroy,
        .memory_create = host_memory_create,
        .memory_destroy = host_memory_destroy,
        .upload = host_upload,
        .download = host_download,
        .snapshot_prepare = host_snapshot_prepare,
        .snapshot_release = host_snapshot_release,
        .snapshot_take = host_snapshot_take,
        .snapshot_done = host_snapshot_done,
        .weight_prepare = prepare,
        .weight_release = host_weight_release,
        .weight_measure = measure,
        .op_workspace = workspace,
        .run = run,
        .wait = wait_nothing,
    };
    (void)error; /* nothing can fail yet */
    struct backend *made = memory_get(sizeof *made);
    *made = (struct backend){ .ops = &ops, .class_name = "reference", .batch_invariant = true, .threads = 1 };
    *backend = made;
    return ERR_OK;
}
