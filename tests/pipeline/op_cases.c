/*
 * op_cases.c - the table of problems, and how one is recorded and run.
 */
#include "tests/pipeline/op_cases.h"

#include "pipeline/backend/op.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINEAR(T, K, N, ...) { PROBLEM_LINEAR, .h = (T), .w = 1, .c = (K), .cout = (N), __VA_ARGS__ }
#define CONV1(H, W, CIN, COUT, ...)                                                                                    \
    { PROBLEM_CONV, .h = (H), .w = (W), .c = (CIN), .cout = (COUT), .kernel = 1, .stride = 1, __VA_ARGS__ }
#define CONV3(H, W, CIN, COUT, ...)                                                                                    \
    { PROBLEM_CONV, .h = (H), .w = (W), .c = (CIN), .cout = (COUT), .kernel = 3, .stride = 1, .pad = { 1, 1, 1, 1 },   \
      __VA_ARGS__ }
#define CONV3S2(H, W, CIN, COUT, ...)                                                                                  \
    { PROBLEM_CONV, .h = (H), .w = (W), .c = (CIN), .cout = (COUT), .kernel = 3, .stride = 2, __VA_ARGS__ }
#define GROUP(H, W, C, G, ...)                                                                                         \
    { PROBLEM_GROUP_NORM, .h = (H), .w = (W), .c = (C), .groups = (G), __VA_ARGS__ }
#define LAYER(T, C, ...) { PROBLEM_LAYER_NORM, .h = (T), .w = 1, .c = (C), __VA_ARGS__ }
#define SELF(T, HEADS, D, ...)                                                                                         \
    { PROBLEM_ATTENTION, .h = (T), .w = 1, .c = (HEADS) * (D), .heads = (HEADS), __VA_ARGS__ }
#define CROSS(T, TK, HEADS, D, ...)                                                                                    \
    { PROBLEM_ATTENTION, .h = (T), .w = 1, .c = (HEADS) * (D), .heads = (HEADS), .keys = (TK), \
      __VA_ARGS__ }

const struct problem problems[] = {
    { PROBLEM_EMBED, .h = 7, .w = 1, .c = 11, .cout = 20 },
    { PROBLEM_EMBED, .h = 5, .w = 1, .c = 30, .cout = 7, .bias = true },
    { PROBLEM_EMBED, .h = 7, .w = 1, .c = 9, .cout = 12, .bias = true, .keys = 4 },
    { PROBLEM_CONCAT, .h = 3, .w = 5, .c = 7, .cout = 12 },
    { PROBLEM_CONCAT, .h = 4, .w = 4, .c = 64, .cout = 32 },
    { PROBLEM_SCALE, .h = 3, .w = 3, .c = 4 },
    { PROBLEM_SUM, .h = 1, .w = 1, .c = 37, .vector = true, .silu = true },
    { PROBLEM_SUM, .h = 1, .w = 1, .c = 320, .vector = true },
    { PROBLEM_SUM, .h = 3, .w = 2, .c = 5, .residual = true, .silu = true },
    { PROBLEM_LATENT_INPUT, .h = 3, .w = 5, .c = 4 },

    LINEAR(1, 1, 1, .bias = true),
    LINEAR(1, 3, 5, .bias = true),
    LINEAR(1, 320, 1280, .bias = true, .activation = ACTIVATION_SILU),
    LINEAR(2, 64, 256, .bias = true, .activation = ACTIVATION_GELU),
    LINEAR(3, 17, 33),
    LINEAR(4, 16, 32, .bias = true, .residual = true),
    LINEAR(5, 255, 31, .bias = true, .activation = ACTIVATION_GELU_QUICK),
    LINEAR(6, 256, 64, .bias = true, .residual = true, .activation = ACTIVATION_SILU),
    LINEAR(7, 257, 65, .bias = true),
    LINEAR(11, 512, 96, .residual = true),
    LINEAR(12, 513, 100, .bias = true, .activation = ACTIVATION_GELU),
    LINEAR(13, 700, 29, .bias = true),
    LINEAR(16, 192, 576),
    LINEAR(25, 64, 10, .bias = true, .activation = ACTIVATION_GEGLU),
    LINEAR(16, 192, 1536, .bias = true, .activation = ACTIVATION_GEGLU),
    LINEAR(9, 50, 74, .activation = ACTIVATION_GEGLU, .residual = true),
    LINEAR(3, 20, 1100, .bias = true, .activation = ACTIVATION_GEGLU),
    LINEAR(77, 128, 512, .bias = true, .activation = ACTIVATION_GELU_QUICK),
    LINEAR(100, 320, 320, .bias = true, .residual = true),
    LINEAR(256, 64, 192),
    LINEAR(110, 33, 530, .bias = true),
    LINEAR(64, 1280, 1280, .bias = true, .residual = true),

    LINEAR(1, 320, 1280, .bias = true, .activation = ACTIVATION_SILU, .weights = DTYPE_F16),
    LINEAR(1, 320, 1280, .bias = true, .activation = ACTIVATION_SILU, .weights = DTYPE_BF16),
    LINEAR(13, 513, 75, .bias = true, .residual = true, .weights = DTYPE_F16),
    LINEAR(110, 33, 530, .bias = true, .weights = DTYPE_BF16),
    LINEAR(3, 20, 1100, .bias = true, .activation = ACTIVATION_GEGLU, .weights = DTYPE_F16),
    LINEAR(9, 50, 74, .activation = ACTIVATION_GEGLU, .residual = true, .weights = DTYPE_BF16),
    { PROBLEM_EMBED, .h = 5, .w = 1, .c = 30, .cout = 7, .bias = true, .weights = DTYPE_F16 },
    { PROBLEM_EMBED, .h = 7, .w = 1, .c = 11, .cout = 200, .bias = true, .weights = DTYPE_BF16 },
    { PROBLEM_EMBED, .h = 7, .w = 1, .c = 5, .cout = 24, .keys = 2, .weights = DTYPE_F16 },

    CONV1(1, 1, 4, 4, .bias = true),
    CONV1(8, 8, 128, 64, .bias = true, .residual = true),
    CONV1(5, 7, 9, 3, .bias = true),
    CONV1(16, 16, 320, 96),
    CONV3(1, 1, 4, 8, .bias = true),
    CONV3(16, 16, 4, 64, .bias = true),
    CONV3(16, 16, 64, 64, .bias = true, .vector = true),
    CONV3(16, 16, 64, 4, .bias = true),
    CONV3(8, 8, 128, 128, .bias = true, .residual = true),
    CONV3(4, 4, 192, 192, .bias = true, .vector = true, .residual = true),
    CONV3(4, 4, 64, 32, .bias = true, .vector = true, .steps = 3),
    CONV3(5, 3, 20, 13, .vector = true, .steps = 2, .residual = true),
    CONV3(4, 4, 384, 192, .bias = true),
    CONV3(5, 7, 13, 17, .bias = true, .residual = true),
    CONV3(7, 5, 3, 32),
    CONV3(20, 9, 32, 3, .bias = true),
    CONV3(3, 50, 20, 40, .bias = true, .vector = true),
    CONV3(2, 2, 640, 320, .bias = true),
    CONV3S2(16, 16, 64, 64, .pad = { 1, 1, 1, 1 }, .bias = true),
    CONV3S2(16, 16, 32, 32, .pad = { 0, 0, 1, 1 }, .bias = true),
    CONV3S2(7, 9, 12, 20, .pad = { 0, 0, 1, 1 }),
    CONV3S2(7, 9, 12, 20, .pad = { 1, 1, 1, 1 }),
    CONV3(4, 4, 64, 32, .resize_h = 8, .resize_w = 8, .bias = true),
    CONV3(5, 3, 20, 9, .resize_h = 10, .resize_w = 6, .bias = true),
    CONV3(5, 4, 7, 9, .resize_h = 9, .resize_w = 7, .bias = true, .residual = true),
    { PROBLEM_CONV, .h = 6, .w = 8, .c = 5, .cout = 6, .kernel = 2, .stride = 1, .pad = { 2, 0, 0, 3 }, .bias = true },
    { PROBLEM_CONV, .h = 28, .w = 28, .c = 3, .cout = 40, .kernel = 7, .stride = 2, .pad = { 3, 3, 3, 3 } },
    /* Weights of more than 4 MB: a card takes them in pieces. */
    { PROBLEM_CONV, .h = 3, .w = 3, .c = 229, .cout = 520, .kernel = 3, .stride = 1 },
    LINEAR(2, 1030, 1100, .bias = true),

    CONV3(16, 16, 64, 4, .bias = true, .weights = DTYPE_F16),
    CONV3(4, 4, 384, 192, .bias = true, .residual = true, .weights = DTYPE_F16),
    CONV3(5, 7, 13, 17, .bias = true, .residual = true, .weights = DTYPE_BF16),
    CONV3(5, 3, 20, 9, .resize_h = 10, .resize_w = 6, .bias = true, .weights = DTYPE_BF16),

    GROUP(16, 16, 64, 32, .silu = true),
    GROUP(4, 4, 192, 32, .silu = true),
    GROUP(8, 8, 128, 32),
    GROUP(1, 1, 8, 4),
    GROUP(5, 13, 30, 3, .silu = true),
    GROUP(9, 7, 7, 7),
    GROUP(16, 8, 20, 1, .mean = 30.0f),
    GROUP(32, 32, 32, 16, .silu = true, .mean = 3.0f),
    GROUP(11, 11, 320, 32, .silu = true),
    GROUP(93, 97, 10, 5), /* more than 128 pieces of 64 places */
    LAYER(77, 128),
    LAYER(1, 1),
    LAYER(3, 7),
    LAYER(70, 320, .mean = 30.0f),
    LAYER(65, 33),
    LAYER(5, 1280),

    SELF(1, 1, 8),
    SELF(16, 4, 48),
    SELF(64, 4, 32),
    SELF(256, 4, 16),
    SELF(100, 2, 40),
    SELF(33, 8, 20),
    SELF(65, 2, 64, .causal = true),
    SELF(77, 4, 32, .causal = true),
    SELF(200, 1, 8, .causal = true),
    SELF(130, 2, 80),
    SELF(64, 1, 160),
    SELF(97, 1, 512),
    SELF(256, 1, 96),
    SELF(31, 3, 5),
    CROSS(256, 77, 4, 16),
    CROSS(64, 77, 4, 32, .indexed = true),
    CROSS(16, 77, 2, 48, .indexed = true),
    CROSS(50, 96, 2, 40),
    CROSS(9, 97, 3, 7, .indexed = true),
    CROSS(40, 1, 2, 16),
    CROSS(20, 300, 1, 300, .indexed = true),
};
const size_t problem_count = sizeof problems / sizeof problems[0];

static const char *const kind_names[] = { "embed",     "linear", "conv",  "group_norm",  "layer_norm",
                                          "attention", "concat", "scale", "sum",  "latent_input" };

void problem_name(char *name, size_t size, const struct problem *p) {
    snprintf(name, size, "%s %ux%ux%u cout %u kernel %u stride %u pad %u%u%u%u resize %ux%u act %d keys %u heads %u%s dtype %d",
             kind_names[p->kind], p->h, p->w, p->c, p->cout, p->kernel, p->stride, p->pad[0], p->pad[1], p->pad[2],
             p->pad[3], p->resize_h, p->resize_w, (int)p->activation, p->keys, p->heads, p->causal ? " causal" : "", (int)p->weights);
}

/* Beside each: the largest error measured over its problems in the classes x86-64-v4, v3 and generic. */
double problem_tolerance(const struct problem *p) {
    switch (p->kind) {
    case PROBLEM_LINEAR:
    case PROBLEM_CONV:
        return 2e-6; /* 6.8e-7 */
    case PROBLEM_GROUP_NORM:
    case PROBLEM_LAYER_NORM:
        return p->mean > 10.0f ? 6e-6 : 1e-6; /* 2.4e-6 where the mean is 50 deviations, else 3e-7 */
    case PROBLEM_ATTENTION:
        return 2e-6; /* 6.9e-7 */
    default:
        return 0.0; /* the same code on both */
    }
}

static uint32_t conv_out(uint32_t size, uint32_t resize, uint32_t before, uint32_t after, const struct problem *p) {
    return ((resize == 0 ? size : resize) + before + after - p->kernel) / p->stride + 1;
}

size_t problem_output(const struct problem *p) {
    switch (p->kind) {
    case PROBLEM_EMBED:
        return (size_t)p->h * p->cout;
    case PROBLEM_LINEAR:
        return (size_t)p->h * (p->activation == ACTIVATION_GEGLU ? p->cout / 2 : p->cout);
    case PROBLEM_CONV:
        return (size_t)conv_out(p->h, p->resize_h, p->pad[0], p->pad[2], p) *
               conv_out(p->w, p->resize_w, p->pad[1], p->pad[3], p) * p->cout;
    case PROBLEM_CONCAT:
        return (size_t)p->h * p->w * (p->c + p->cout);
    default:
        return (size_t)p->h * p->w * p->c;
    }
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static float number_of(uint64_t seed) { /* splitmix64 */
    seed = (seed + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
    seed = (seed ^ (seed >> 27)) * 0x94d049bb133111eb;
    return (float)(int32_t)(seed >> 40) * 0x1p-23f - 1.0f;
}

float problem_number(uint32_t which, uint32_t image, size_t place) {
    return number_of(((uint64_t)which << 60) + ((uint64_t)image << 40) + place);
}

/* Towards zero; halves smaller than their smallest normal number become zero. */
static uint16_t narrow_bits(float number, enum dtype dtype) {
    uint32_t bits;
    memcpy(&bits, &number, sizeof bits);
    if (dtype == DTYPE_BF16) {
        return (uint16_t)(bits >> 16);
    }
    uint32_t size = bits & 0x7fffffff, sign = bits >> 16 & 0x8000;
    return (uint16_t)(size < 113u << 23 ? sign : sign | (size - (112u << 23)) >> 13);
}

float problem_weight(const struct problem *p, uint32_t which, size_t place) {
    float number = number_of(((uint64_t)(which + 8) << 60) + place);
    bool product = which == 0 && (p->kind == PROBLEM_LINEAR || p->kind == PROBLEM_CONV);
    uint32_t k = p->c * (p->kind == PROBLEM_CONV ? p->kernel * p->kernel : 1);
    number = product ? number * 4.0f / (float)(k < 16 ? 4 : k < 64 ? 8 : k < 256 ? 16 : k < 1024 ? 32 : 64) : number;
    if (p->weights != DTYPE_F32) {
        uint16_t bits = narrow_bits(number, p->weights);
        floats_widen(&number, &bits, p->weights, 1);
    }
    return number;
}

uint32_t problem_kv(uint32_t image) {
    return (image + 2) % PROBLEM_KV_IMAGES;
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

enum { HELD_MAX = 12 };

/* What one run holds until it ends. */
struct bench {
    struct backend *backend;
    struct program *program;
    const struct problem *problem;
    uint32_t first, count;
    struct buffer *buffers[HELD_MAX];
    struct weight *weights[HELD_MAX];
    size_t buffer_count, weight_count;
};

static struct buffer *hold_buffer(struct bench *b, size_t size) {
    struct buffer *buffer = NULL;
    struct error error;
    enum err err = buffer_create(&buffer, b->backend, size, &error);
    assert(err == ERR_OK && b->buffer_count < HELD_MAX);
    void *poison = malloc(size + 1);
    memset(poison, 0xff, size); /* NaN as f32 */
    buffer_upload(buffer, 0, poison, size);
    free(poison);
    b->buffers[b->buffer_count++] = buffer;
    return buffer;
}

static struct tensor input(struct bench *b, uint32_t which, uint32_t first, uint32_t n, uint32_t h, uint32_t w,
                           uint32_t c) {
    size_t image = (size_t)h * w * c;
    float *numbers = malloc(n * image * sizeof *numbers);
    for (uint32_t i = 0; i < n; i++) {
        for (size_t place = 0; place < image; place++) {
            numbers[i * image + place] = problem_number(which, first + i, place) + b->problem->mean;
        }
    }
    struct buffer *buffer = hold_buffer(b, n * image * sizeof *numbers);
    buffer_upload(buffer, 0, numbers, n * image * sizeof *numbers);
    free(numbers);
    return program_bind(b->program, buffer, 0, n, h, w, c);
}

static struct tensor input_ints(struct bench *b, const int32_t *ints, uint32_t n, uint32_t h) {
    struct buffer *buffer = hold_buffer(b, (size_t)n * h * sizeof *ints);
    buffer_upload(buffer, 0, ints, (size_t)n * h * sizeof *ints);
    return program_bind(b->program, buffer, 0, n, h, 1, 1);
}

static const struct weight *weight(struct bench *b, uint32_t which, enum weight_use use, uint64_t rows, uint64_t cin,
                                   uint32_t kernel) {
    size_t count = rows * cin * kernel * kernel;
    float *numbers = malloc(count * sizeof *numbers);
    for (size_t i = 0; i < count; i++) {
        numbers[i] = problem_weight(b->problem, which, i);
    }
    enum dtype dtype = b->problem->widened ? DTYPE_F32 : b->problem->weights;
    if (dtype != DTYPE_F32) { /* in place: shorter */
        for (size_t i = 0; i < count; i++) {
            uint16_t bits = narrow_bits(numbers[i], dtype);
            memcpy((char *)numbers + i * sizeof bits, &bits, sizeof bits);
        }
    }
    struct weight_view view = { .data = numbers, .dtype = dtype, .shape = { rows, cin, kernel, kernel } };
    view.dims = use == WEIGHT_VECTOR ? 1 : use == WEIGHT_CONV ? 4 : 2;
    struct error error;
    enum err err = weight_create(&b->weights[b->weight_count], b->backend, use, &view, 1, &error);
    assert(err == ERR_OK && b->weight_count < HELD_MAX);
    free(numbers);
    return b->weights[b->weight_count++];
}

static struct tensor record_embed(struct bench *b, const struct problem *p) {
    int32_t *ids = malloc((size_t)b->count * p->h * sizeof *ids);
    for (uint32_t i = 0; i < b->count * p->h; i++) {
        ids[i] = (int32_t)((b->first * p->h + i) % p->c);
    }
    struct tensor tensor = input_ints(b, ids, b->count, p->h);
    free(ids);
    return op_embed(b->program, tensor, weight(b, 0, WEIGHT_TABLE, p->c - p->keys, p->cout, 1),
                    p->keys ? weight(b, 2, WEIGHT_TABLE, p->keys, p->cout, 1) : NULL,
                    p->bias ? weight(b, 1, WEIGHT_TABLE, p->h, p->cout, 1) : NULL);
}

static struct tensor record_linear(struct bench *b, const struct problem *p) {
    uint32_t columns = p->activation == ACTIVATION_GEGLU ? p->cout / 2 : p->cout;
    return op_linear(b->program, input(b, 0, b->first, b->count, p->h, p->w, p->c),
                     weight(b, 0, WEIGHT_LINEAR, p->cout, p->c, 1),
                     p->bias ? weight(b, 1, WEIGHT_VECTOR, p->cout, 1, 1) : NULL, p->activation,
                     p->residual ? input(b, 1, b->first, b->count, p->h, p->w, columns) : TENSOR_NONE);
}

/* Vectors of all steps, NaN but for the last one's. */
static struct tensor input_steps(struct bench *b, const struct problem *p) {
    size_t each = (size_t)b->count * p->cout;
    float *numbers = malloc(p->steps * each * sizeof *numbers);
    for (size_t i = 0; i < p->steps * each; i++) {
        size_t place = i % each;
        numbers[i] = i / each + 1 < p->steps ? NAN : problem_number(2, b->first + (uint32_t)(place / p->cout), place % p->cout);
    }
    struct buffer *buffer = hold_buffer(b, p->steps * each * sizeof *numbers);
    buffer_upload(buffer, 0, numbers, p->steps * each * sizeof *numbers);
    free(numbers);
    return program_bind(b->program, buffer, 0, p->steps * b->count, 1, 1, p->cout);
}

static struct tensor record_conv(struct bench *b, const struct problem *p) {
    uint32_t h = conv_out(p->h, p->resize_h, p->pad[0], p->pad[2], p);
    uint32_t w = conv_out(p->w, p->resize_w, p->pad[1], p->pad[3], p);
    struct conv_options options = {
        .stride = p->stride,
        .pad_top = p->pad[0],
        .pad_left = p->pad[1],
        .pad_bottom = p->pad[2],
        .pad_right = p->pad[3],
        .resize_h = p->resize_h,
        .resize_w = p->resize_w,
        .vector = p->steps ? input_steps(b, p) : p->vector ? input(b, 2, b->first, b->count, 1, 1, p->cout) : TENSOR_NONE,
        .residual = p->residual ? input(b, 1, b->first, b->count, h, w, p->cout) : TENSOR_NONE,
    };
    if (p->steps) {
        const int32_t last = (int32_t)p->steps - 1;
        options.steps = p->steps;
        options.step = input_ints(b, &last, 1, 1);
    }
    return op_conv(b->program, input(b, 0, b->first, b->count, p->h, p->w, p->c),
                   weight(b, 0, WEIGHT_CONV, p->cout, p->c, p->kernel),
                   p->bias ? weight(b, 1, WEIGHT_VECTOR, p->cout, 1, 1) : NULL, &options);
}

static struct tensor record_attention(struct bench *b, const struct problem *p) {
    if (p->keys == 0) {
        struct tensor all = input(b, 0, b->first, b->count, p->h, 1, 3 * p->c);
        return op_attention(b->program, tensor_slice(all, 0, p->c), tensor_slice(all, p->c, p->c),
                            tensor_slice(all, 2 * p->c, p->c), TENSOR_NONE, p->heads, p->causal);
    }
    struct tensor index = TENSOR_NONE;
    uint32_t first = p->indexed ? 0 : b->first, images = p->indexed ? PROBLEM_KV_IMAGES : b->count;
    if (p->indexed) {
        int32_t *ids = malloc(b->count * sizeof *ids);
        for (uint32_t i = 0; i < b->count; i++) {
            ids[i] = (int32_t)problem_kv(b->first + i);
        }
        index = input_ints(b, ids, b->count, 1);
        free(ids);
    }
    return op_attention(b->program, input(b, 0, b->first, b->count, p->h, 1, p->c),
                        input(b, 1, first, images, p->keys, 1, p->c), input(b, 2, first, images, p->keys, 1, p->c),
                        index, p->heads, p->causal);
}

static struct tensor record_latent_input(struct bench *b, const struct problem *p) {
    struct step_row rows[3] = { { .input_scale = 9.0f }, { .input_scale = 0.3f }, { .input_scale = 9.0f } };
    struct buffer *table = hold_buffer(b, sizeof rows);
    buffer_upload(table, 0, rows, sizeof rows);
    return op_latent_input(b->program, input(b, 0, b->first, b->count, p->h, p->w, p->c),
                           program_bind(b->program, table, 0, 3, 1, 1, STEP_ROW_WIDTH), input_ints(b, &(int32_t){ 1 }, 1, 1), 1);
}

static struct tensor record(struct bench *b, const struct problem *p) {
    switch (p->kind) {
    case PROBLEM_EMBED:
        return record_embed(b, p);
    case PROBLEM_LINEAR:
        return record_linear(b, p);
    case PROBLEM_CONV:
        return record_conv(b, p);
    case PROBLEM_GROUP_NORM:
        return op_group_norm(b->program, input(b, 0, b->first, b->count, p->h, p->w, p->c),
                             weight(b, 0, WEIGHT_VECTOR, p->c, 1, 1), weight(b, 1, WEIGHT_VECTOR, p->c, 1, 1),
                             p->groups, 1e-5f, p->silu);
    case PROBLEM_LAYER_NORM:
        return op_layer_norm(b->program, input(b, 0, b->first, b->count, p->h, p->w, p->c),
                             weight(b, 0, WEIGHT_VECTOR, p->c, 1, 1), weight(b, 1, WEIGHT_VECTOR, p->c, 1, 1), 1e-5f);
    case PROBLEM_ATTENTION:
        return record_attention(b, p);
    case PROBLEM_CONCAT:
        return op_concat(b->program, input(b, 0, b->first, b->count, p->h, p->w, p->c),
                         input(b, 1, b->first, b->count, p->h, p->w, p->cout));
    case PROBLEM_SCALE:
        return op_scale(b->program, input(b, 0, b->first, b->count, p->h, p->w, p->c), 0.18215f);
    case PROBLEM_SUM:
        return op_sum(b->program, input(b, 1, p->vector ? 0 : b->first, p->vector ? 1 : b->count, p->h, p->w, p->c),
                      input(b, 0, b->first, b->count, p->h, p->w, p->c), p->silu);
    case PROBLEM_LATENT_INPUT:
        return record_latent_input(b, p);
    }
    abort();
}

void problem_run(float *out, struct backend *backend, const struct problem *problem, uint32_t first, uint32_t count) {
    struct bench b = { .backend = backend, .problem = problem, .first = first, .count = count };
    b.program = program_create(backend);
    struct tensor result = record(&b, problem);
    size_t size = count * problem_output(problem) * sizeof *out;
    assert((size_t)result.n * result.h * result.w * result.c * sizeof *out == size);
    struct buffer *taken = hold_buffer(&b, size);
    op_copy(b.program, program_bind(b.program, taken, 0, result.n, result.h, result.w, result.c), result);
    program_finish(b.program);
    program_attach(b.program, hold_buffer(&b, program_memory(b.program)));
    program_run(b.program);
    backend_wait(backend);
    buffer_download(taken, 0, out, size);
    program_destroy(b.program);
    for (size_t i = 0; i < b.buffer_count; i++) {
        buffer_destroy(b.buffers[i]);
    }
    for (size_t i = 0; i < b.weight_count; i++) {
        weight_destroy(b.weights[i]);
    }
}
