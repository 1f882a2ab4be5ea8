/*
 * vendor.c - the three library operations without the libraries: products as they read, in double; convolution and attention by
 * the reference backend, recorded as a program of one op on copies widened to f32.
 *
 * Work is enqueued like any kernel, so that order, graphs and failures are the card's.
 */
#include "pipeline/backend/cuda/vendor.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/emulation/emulation.h"
#include "tests/emulation/enqueue.h"
#include "tests/emulation/half_bits.h"

enum { NOTES = 1 << 10 /* bytes of notes, so that plans reckon with some */ };

struct vendor {
    struct backend *reference;
};

const char *vendor_build(void) {
    return "with emulated CUDA";
}

const char *vendor_device(void) {
    return "emulated";
}

enum err vendor_create(struct vendor **vendor, int sm, struct error *error) {
    (void)sm;
    struct vendor *made = memory_get(sizeof *made);
    enum err err = backend_create(&made->reference, "reference", DTYPE_F32, 1, error);
    if (err != ERR_OK) {
        free(made);
        return err;
    }
    *vendor = made;
    return ERR_OK;
}

void vendor_destroy(struct vendor *vendor) {
    if (vendor != NULL) {
        backend_destroy(vendor->reference);
        free(vendor);
    }
}

/* ---- elements ----------------------------------------------------------------------------------------------------- */

static float widened(enum dtype dtype, const void *data, size_t place) {
    uint16_t bits;
    if (dtype == DTYPE_F32) {
        return ((const float *)data)[place];
    }
    memcpy(&bits, (const char *)data + 2 * place, sizeof bits);
    return dtype == DTYPE_F16 ? float_of_half(bits) : float_of_bfloat(bits);
}

static void put(enum dtype dtype, void *data, size_t place, float x) {
    if (dtype == DTYPE_F32) {
        ((float *)data)[place] = x;
        return;
    }
    uint16_t bits = dtype == DTYPE_F16 ? half_of_float(x) : bfloat_of_float(x);
    memcpy((char *)data + 2 * place, &bits, sizeof bits);
}

static float *widen_all(enum dtype dtype, const void *data, size_t count) {
    float *out = memory_get_array(count, sizeof *out);
    for (size_t i = 0; i < count; i++) {
        out[i] = widened(dtype, data, i);
    }
    return out;
}

/* ---- product ------------------------------------------------------------------------------------------------------ */

/* w as [k,n], so that the innermost loop runs along memory. */
static float *weights_across(const struct vendor_product *p, size_t matrix) {
    size_t size = (size_t)p->n * p->k;
    const char *w = (const char *)p->w + matrix * size * dtype_size(p->dtype);
    float *across = memory_get_array(size, sizeof *across);
    for (size_t i = 0; i < size; i++) {
        across[p->plain ? i : i % p->k * p->n + i / p->k] = widened(p->dtype, w, i);
    }
    return across;
}

/* Where a sum begins: at 0, or where a choosy library would for a product of so many rows. Sums are rounded to f32 then, so that
 * it shows. */
static uint32_t sum_begin(const struct vendor_product *p) {
    return emulation_is_choosy() ? (uint32_t)(p->rows * p->batch % p->k) : 0;
}

static void multiply(void *context) {
    const struct vendor_product *p = context;
    uint32_t begin = sum_begin(p);
    bool round = emulation_is_choosy();
    double *sums = memory_get_array(p->n, sizeof *sums);
    for (size_t matrix = 0; matrix < p->batch; matrix++) {
        float *w = weights_across(p, matrix);
        for (size_t row = matrix * p->rows; row < (matrix + 1) * p->rows; row++) {
            memset(sums, 0, p->n * sizeof *sums);
            for (uint32_t i = 0; i < p->k; i++) {
                uint32_t k = (begin + i) % p->k;
                double x = (double)widened(p->dtype, p->x, row * p->k + k);
                for (uint32_t j = 0; j < p->n; j++) {
                    sums[j] += x * (double)w[(size_t)k * p->n + j];
                    sums[j] = round ? (double)(float)sums[j] : sums[j];
                }
            }
            for (uint32_t i = 0; i < p->n; i++) {
                double value = (double)p->scale * sums[i];
                value += p->bias == NULL ? 0.0 : (double)widened(p->dtype, p->bias, i);
                value += p->residual == NULL ? 0.0 : (double)widened(p->dtype, p->residual, row * p->n + i);
                put(p->out_f32 ? DTYPE_F32 : p->dtype, p->out, row * p->n + i, (float)value);
            }
        }
        free(w);
    }
    free(sums);
}

const char *vendor_product_run(struct vendor *vendor, cudaStream_t stream, const struct vendor_product *product) {
    (void)vendor;
    emulation_enqueue_call(stream, multiply, product, sizeof *product);
    return NULL;
}

/* ---- programs of one op on the reference backend -------------------------------------------------------------------- */

enum { HELD_LIMIT = 8 };

struct one_op {
    struct program *program;
    struct backend *backend;
    struct buffer *held[HELD_LIMIT];
    size_t count;
};

static struct one_op one_op_begin(struct backend *backend) {
    return (struct one_op){ .program = program_create(backend), .backend = backend };
}

static struct buffer *hold(struct one_op *one, size_t size) {
    struct error error;
    assert(one->count < HELD_LIMIT);
    enum err err = buffer_create(&one->held[one->count], one->backend, size, &error);
    assert(err == ERR_OK);
    return one->held[one->count++];
}

/* Takes `data`. */
static struct tensor bind(struct one_op *one, float *data, uint32_t n, uint32_t h, uint32_t w, uint32_t c) {
    size_t size = (size_t)n * h * w * c * sizeof *data;
    struct buffer *buffer = hold(one, size);
    buffer_upload(buffer, 0, data, size);
    free(data);
    return program_bind(one->program, buffer, 0, n, h, w, c);
}

static void one_op_end(struct one_op *one, struct tensor result, enum dtype dtype, void *out) {
    size_t count = (size_t)result.n * result.h * result.w * result.c;
    struct buffer *taken = hold(one, count * sizeof(float));
    op_copy(one->program, program_bind(one->program, taken, 0, result.n, result.h, result.w, result.c), result);
    program_finish(one->program);
    program_attach(one->program, hold(one, program_memory(one->program)));
    program_run(one->program);
    float *values = memory_get_array(count, sizeof *values);
    buffer_download(taken, 0, values, count * sizeof *values);
    for (size_t i = 0; i < count; i++) {
        put(dtype, out, i, values[i]);
    }
    free(values);
    program_destroy(one->program);
    for (size_t i = 0; i < one->count; i++) {
        buffer_destroy(one->held[i]);
    }
}

/* ---- convolution -------------------------------------------------------------------------------------------------- */

struct convolution_call {
    struct vendor *vendor;
    struct vendor_convolution c;
};

/* [cout,kh,kw,cin] -> the file's order */
static struct weight *file_weight(struct one_op *one, const struct vendor_convolution *c) {
    size_t taps = (size_t)c->kh * c->kw, count = c->cout * taps * c->cin;
    float *plain = memory_get_array(count, sizeof *plain);
    for (size_t i = 0; i < count; i++) {
        size_t cin = i % c->cin, tap = i / c->cin % taps, cout = i / c->cin / taps;
        plain[(cout * c->cin + cin) * taps + tap] = widened(c->dtype, c->weight, i);
    }
    struct weight_view view = { .data = plain, .dtype = DTYPE_F32, .dims = 4, .shape = { c->cout, c->cin, c->kh, c->kw } };
    struct weight *weight = NULL;
    struct error error;
    enum err err = weight_create(&weight, one->backend, WEIGHT_CONV, &view, 1, &error);
    assert(err == ERR_OK);
    free(plain);
    return weight;
}

static void convolve(void *context) {
    const struct convolution_call *call = context;
    const struct vendor_convolution *c = &call->c;
    struct one_op one = one_op_begin(call->vendor->reference);
    struct weight *weight = file_weight(&one, c);
    uint32_t biases = c->bias_each ? c->n : 1;
    struct conv_options options = { .stride = c->stride, .pad_top = c->pad_top, .pad_left = c->pad_left,
                                    .pad_bottom = c->pad_bottom, .pad_right = c->pad_right, .vector = TENSOR_NONE,
                                    .residual = TENSOR_NONE };
    if (c->has_bias) {
        options.vector = bind(&one, widen_all(c->dtype, c->bias, (size_t)biases * c->cout), biases, 1, 1, c->cout);
    }
    if (c->has_residual) {
        size_t count = (size_t)c->n * c->out_h * c->out_w * c->cout;
        options.residual = bind(&one, widen_all(c->dtype, c->residual, count), c->n, c->out_h, c->out_w, c->cout);
    }
    float *x = widen_all(c->dtype, c->x, (size_t)c->n * c->h * c->w * c->cin);
    one_op_end(&one, op_conv(one.program, bind(&one, x, c->n, c->h, c->w, c->cin), weight, NULL, &options), c->dtype, c->out);
    weight_destroy(weight);
}

size_t vendor_convolution_notes(struct vendor *vendor, const struct vendor_convolution *convolution) {
    (void)vendor, (void)convolution;
    return NOTES;
}

const char *vendor_convolution_run(struct vendor *vendor, cudaStream_t stream, const struct vendor_convolution *convolution,
                                   void *notes) {
    struct convolution_call call = { vendor, *convolution };
    (void)cudaMemsetAsync(notes, 0xff, NOTES, stream); /* nobody else's */
    emulation_enqueue_call(stream, convolve, &call, sizeof call);
    return NULL;
}

/* ---- attention ---------------------------------------------------------------------------------------------------- */

struct attention_call {
    struct vendor *vendor;
    struct vendor_attention a;
};

/* To [n,length,heads*depth], f32. */
static float *gather(const struct vendor_attention *a, const void *x, uint32_t length, size_t row, size_t head, size_t image) {
    size_t width = (size_t)a->heads * a->depth, count = a->n * length * width;
    float *out = memory_get_array(count, sizeof *out);
    for (size_t i = 0; i < count; i++) {
        size_t d = i % a->depth, h = i / a->depth % a->heads, t = i / width % length, n = i / width / length;
        out[i] = widened(a->dtype, x, n * image + h * head + t * row + d);
    }
    return out;
}

static void attend(void *context) {
    const struct attention_call *call = context;
    const struct vendor_attention *a = &call->a;
    uint32_t width = a->heads * a->depth;
    struct one_op one = one_op_begin(call->vendor->reference);
    float *q = gather(a, a->q, a->queries, a->q_row, a->q_head, a->q_image);
    float *k = gather(a, a->k, a->keys, a->k_row, a->k_head, a->k_image);
    float *v = gather(a, a->v, a->keys, a->k_row, a->k_head, a->k_image);
    struct tensor made = op_attention(one.program, bind(&one, q, a->n, a->queries, 1, width),
                                      bind(&one, k, a->n, a->keys, 1, width), bind(&one, v, a->n, a->keys, 1, width),
                                      TENSOR_NONE, a->heads, false);
    one_op_end(&one, made, a->dtype, a->out);
}

uint32_t vendor_attention_depth(const struct vendor *vendor) {
    (void)vendor;
    return 128;
}

size_t vendor_attention_notes(struct vendor *vendor, const struct vendor_attention *attention) {
    (void)vendor, (void)attention;
    return NOTES;
}

const char *vendor_attention_run(struct vendor *vendor, cudaStream_t stream, const struct vendor_attention *attention,
                                 void *notes) {
    struct attention_call call = { vendor, *attention };
    (void)cudaMemsetAsync(notes, 0xff, NOTES, stream);
    emulation_enqueue_call(stream, attend, &call, sizeof call);
    return NULL;
}
