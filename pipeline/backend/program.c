/*
 * program.c - recording: each op checks its shapes, makes its output value and appends a record.
 *
 * Shapes come from a model whose configuration was checked before, so a wrong one here is our bug: asserted.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "pipeline/backend/op.h"

struct program *program_create(struct backend *backend) {
    return program_create_as(backend, backend->numerics);
}

struct program *program_create_as(struct backend *backend, enum dtype numerics) {
    struct program *program = memory_get(sizeof *program);
    assert(numerics == backend->numerics || numerics == DTYPE_F32);
    program->backend = backend;
    program->numerics = numerics;
    return program;
}

static void forget(struct program *program) {
    if (program->device_notes != NULL) {
        program->backend->ops->forget(program);
    }
}

void program_destroy(struct program *program) {
    if (program == NULL) {
        return;
    }
    forget(program);
    free(program->ops);
    free(program->values);
    free(program);
}

struct backend *program_backend(const struct program *program) {
    return program->backend;
}

/* ---- values ----------------------------------------------------------------------------------------------------- */

static bool is_power_of_two(size_t number) {
    return (number & (number - 1)) == 0;
}

static uint32_t value_add(struct program *program, struct value value) {
    assert(!program->finished);
    if (is_power_of_two(program->value_count)) { /* full, or empty */
        size_t room = program->value_count == 0 ? 1 : program->value_count * 2;
        program->values = memory_grow(program->values, room, sizeof *program->values);
    }
    program->values[program->value_count] = value;
    return (uint32_t)program->value_count++;
}

static struct tensor tensor_make(uint32_t id, uint32_t n, uint32_t h, uint32_t w, uint32_t c, enum dtype dtype) {
    assert(n > 0 && h > 0 && w > 0 && c > 0);
    return (struct tensor){ .id = id, .n = n, .h = h, .w = w, .c = c, .c_first = 0, .c_row = c, .dtype = dtype };
}

static struct tensor value_scratch(struct program *program, uint32_t n, uint32_t h, uint32_t w, uint32_t c) {
    enum dtype numerics = program->numerics;
    struct value value = { .size = (size_t)n * h * w * c * dtype_size(numerics), .first = UINT32_MAX };
    return tensor_make(value_add(program, value), n, h, w, c, numerics);
}

static struct tensor bind(struct program *program, struct buffer *buffer, size_t offset, uint32_t n, uint32_t h,
                          uint32_t w, uint32_t c, enum dtype dtype) {
    assert(buffer->backend == program->backend && offset % 4 == 0 && offset <= buffer->size);
    /* The element size is the op's business (pixels are u8): ops check what they will touch. */
    struct value value = { .buffer = buffer, .offset = offset, .size = buffer->size - offset };
    return tensor_make(value_add(program, value), n, h, w, c, dtype);
}

struct tensor program_bind(struct program *program, struct buffer *buffer, size_t offset, uint32_t n, uint32_t h,
                           uint32_t w, uint32_t c) {
    return bind(program, buffer, offset, n, h, w, c, DTYPE_F32);
}

struct tensor program_bind_own(struct program *program, struct buffer *buffer, size_t offset, uint32_t n, uint32_t h,
                               uint32_t w, uint32_t c) {
    return bind(program, buffer, offset, n, h, w, c, program->numerics);
}

struct tensor tensor_slice(struct tensor tensor, uint32_t first, uint32_t count) {
    assert(count > 0 && first + count <= tensor.c);
    tensor.c_first += first;
    tensor.c = count;
    return tensor;
}

/* ---- checks ----------------------------------------------------------------------------------------------------- */

static void check_memory(const struct program *p, struct tensor t, size_t element) {
    assert(t.id < p->value_count);
    assert(tensor_rows(t) * t.c_row * element <= p->values[t.id].size);
}

static void check_slice(const struct program *p, struct tensor t) {
    check_memory(p, t, dtype_size(t.dtype));
    assert(t.c_first + t.c <= t.c_row);
}

static void check_whole(const struct program *p, struct tensor t) {
    check_slice(p, t);
    assert(t.c_first == 0 && t.c == t.c_row);
}

static bool same_shape(struct tensor a, struct tensor b) {
    return a.n == b.n && a.h == b.h && a.w == b.w && a.c == b.c;
}

static void check_vector(const struct weight *weight, uint32_t length) {
    assert(weight->use == WEIGHT_VECTOR && weight->rows == length);
}

static void check_residual(const struct program *p, struct tensor residual, struct tensor out) {
    if (tensor_exists(residual)) {
        check_whole(p, residual);
        assert(same_shape(residual, out));
    }
}

static void check_counter(const struct program *p, struct tensor counter) {
    check_whole(p, counter);
    assert(tensor_rows(counter) * counter.c == 1);
}

static void check_rows(const struct program *p, struct tensor table) {
    check_whole(p, table);
    assert(table.c == STEP_ROW_WIDTH && table.h == 1 && table.w == 1);
}

static void check_table(const struct program *p, struct tensor table, struct tensor counter) {
    check_rows(p, table);
    check_counter(p, counter);
}

/* ---- records ---------------------------------------------------------------------------------------------------- */

static struct op op_make(enum op_kind kind) {
    struct op op = { .kind = kind, .workspace = UINT32_MAX };
    for (size_t i = 0; i < OP_INPUTS; i++) {
        op.in[i] = TENSOR_NONE;
    }
    for (size_t i = 0; i < OP_OUTPUTS; i++) {
        op.out[i] = TENSOR_NONE;
    }
    return op;
}

static void value_touch(struct program *program, struct tensor tensor, uint32_t place) {
    if (tensor_exists(tensor)) {
        struct value *value = &program->values[tensor.id];
        value->first = value->first < place ? value->first : place;
        value->last = value->last > place ? value->last : place;
    }
}

static void op_add(struct program *program, struct op op) {
    assert(!program->finished);
    assert(op.weight == NULL || op.weight->numerics == program->numerics);
    assert(op.bias == NULL || op.bias->numerics == program->numerics);
    if (is_power_of_two(program->op_count)) {
        size_t room = program->op_count == 0 ? 1 : program->op_count * 2;
        program->ops = memory_grow(program->ops, room, sizeof *program->ops);
    }
    uint32_t place = (uint32_t)program->op_count;
    for (size_t i = 0; i < OP_INPUTS; i++) { /* a scratch value must have been written before it is read */
        assert(!tensor_exists(op.in[i]) || program->values[op.in[i].id].buffer != NULL ||
               program->values[op.in[i].id].first < place);
        value_touch(program, op.in[i], place);
    }
    for (size_t i = 0; i < OP_OUTPUTS; i++) {
        value_touch(program, op.out[i], place);
    }
    size_t notes = program->backend->ops->op_workspace(program->backend, &op);
    if (notes > 0) {
        op.workspace = value_add(program, (struct value){ .size = notes, .first = place, .last = place });
    }
    program->ops[program->op_count++] = op;
}

/* `x` in the program's numerics: itself, or a copy. A slice stays one, of a copy of the whole. */
static struct tensor own(struct program *p, struct tensor x) {
    if (!tensor_exists(x) || x.dtype == p->numerics) {
        return x;
    }
    struct op op = op_make(OP_COPY);
    op.in[0] = x;
    op.in[0].c_first = 0;
    op.in[0].c = x.c_row;
    struct tensor copy = op.out[0] = value_scratch(p, x.n, x.h, x.w, x.c_row);
    op_add(p, op);
    copy.c_first = x.c_first;
    copy.c = x.c;
    return copy;
}

struct tensor op_embed(struct program *p, struct tensor ids, const struct weight *tokens, const struct weight *added,
                       const struct weight *positions) {
    check_whole(p, ids);
    assert(ids.w == 1 && ids.c == 1 && tokens->use == WEIGHT_TABLE);
    assert(added == NULL || (added->use == WEIGHT_TABLE && added->columns == tokens->columns));
    assert(positions == NULL || (positions->use == WEIGHT_TABLE && positions->columns == tokens->columns &&
                                 positions->rows >= ids.h));
    struct op op = op_make(OP_EMBED);
    op.in[0] = ids;
    op.weight = tokens;
    op.added = added;
    op.bias = positions;
    op.out[0] = value_scratch(p, ids.n, ids.h, 1, tokens->columns);
    op_add(p, op);
    return op.out[0];
}

void op_linear_into(struct program *p, struct tensor out, struct tensor x, const struct weight *weight,
                    const struct weight *bias, enum activation activation, struct tensor residual) {
    check_whole(p, x);
    check_whole(p, out);
    assert(weight->use == WEIGHT_LINEAR && weight->columns == x.c);
    assert(activation != ACTIVATION_GEGLU || weight->rows % 2 == 0);
    assert(out.c == (activation == ACTIVATION_GEGLU ? weight->rows / 2 : weight->rows));
    assert(out.n == x.n && out.h == x.h && out.w == x.w);
    if (bias != NULL) {
        check_vector(bias, weight->rows);
    }
    check_residual(p, residual, out);
    if (out.dtype != p->numerics) {
        op_copy(p, out, op_linear(p, x, weight, bias, activation, residual));
        return;
    }
    struct op op = op_make(OP_LINEAR);
    op.in[0] = own(p, x);
    op.in[1] = own(p, residual);
    op.weight = weight;
    op.bias = bias;
    op.activation = activation;
    op.out[0] = out;
    op_add(p, op);
}

struct tensor op_linear(struct program *p, struct tensor x, const struct weight *weight, const struct weight *bias,
                        enum activation activation, struct tensor residual) {
    uint32_t columns = activation == ACTIVATION_GEGLU ? weight->rows / 2 : weight->rows;
    struct tensor out = value_scratch(p, x.n, x.h, x.w, columns);
    op_linear_into(p, out, x, weight, bias, activation, residual);
    return out;
}

struct tensor op_conv(struct program *p, struct tensor x, const struct weight *weight, const struct weight *bias,
                      const struct conv_options *options) {
    check_whole(p, x);
    assert(weight->use == WEIGHT_CONV && weight->cin == x.c);
    assert(options->stride == 1 || options->stride == 2);
    assert((options->resize_h == 0) == (options->resize_w == 0));
    uint32_t height = (options->resize_h == 0 ? x.h : options->resize_h) + options->pad_top + options->pad_bottom;
    uint32_t width = (options->resize_w == 0 ? x.w : options->resize_w) + options->pad_left + options->pad_right;
    assert(height >= weight->kh && width >= weight->kw);
    struct op op = op_make(OP_CONV);
    op.out[0] = value_scratch(p, x.n, (height - weight->kh) / options->stride + 1,
                              (width - weight->kw) / options->stride + 1, weight->rows);
    if (bias != NULL) {
        check_vector(bias, weight->rows);
    }
    check_residual(p, options->residual, op.out[0]);
    if (tensor_exists(options->vector)) {
        check_whole(p, options->vector);
        uint32_t steps = options->steps == 0 ? 1 : options->steps;
        assert(options->vector.n == steps || options->vector.n == steps * x.n);
        assert(options->vector.h == 1 && options->vector.w == 1 && options->vector.c == weight->rows);
    }
    op.in[0] = own(p, x);
    op.in[1] = own(p, options->residual);
    op.in[2] = own(p, options->vector);
    if (options->steps != 0) {
        check_counter(p, options->step);
        op.in[3] = options->step;
    }
    op.weight = weight;
    op.bias = bias;
    op.conv = *options;
    op_add(p, op);
    return op.out[0];
}

struct tensor op_group_norm(struct program *p, struct tensor x, const struct weight *gamma, const struct weight *beta,
                            uint32_t groups, float epsilon, bool silu) {
    check_whole(p, x);
    check_vector(gamma, x.c);
    check_vector(beta, x.c);
    assert(groups > 0 && x.c % groups == 0);
    struct op op = op_make(OP_GROUP_NORM);
    op.in[0] = own(p, x);
    op.weight = gamma;
    op.bias = beta;
    op.groups = groups;
    op.number = epsilon;
    op.flag = silu;
    op.out[0] = value_scratch(p, x.n, x.h, x.w, x.c);
    op_add(p, op);
    return op.out[0];
}

struct tensor op_layer_norm(struct program *p, struct tensor x, const struct weight *gamma, const struct weight *beta,
                            float epsilon) {
    check_whole(p, x);
    check_vector(gamma, x.c);
    check_vector(beta, x.c);
    struct op op = op_make(OP_LAYER_NORM);
    op.in[0] = own(p, x);
    op.weight = gamma;
    op.bias = beta;
    op.number = epsilon;
    op.out[0] = value_scratch(p, x.n, x.h, x.w, x.c);
    op_add(p, op);
    return op.out[0];
}

struct tensor op_attention(struct program *p, struct tensor q, struct tensor k, struct tensor v, struct tensor kv_index,
                           uint32_t heads, bool causal) {
    check_slice(p, q);
    check_slice(p, k);
    check_slice(p, v);
    assert(q.w == 1 && k.w == 1 && same_shape(k, v) && k.c == q.c && heads > 0 && q.c % heads == 0);
    if (tensor_exists(kv_index)) {
        check_whole(p, kv_index);
        assert(kv_index.n == q.n && kv_index.h == 1 && kv_index.w == 1 && kv_index.c == 1);
    } else {
        assert(k.n == q.n);
    }
    struct op op = op_make(OP_ATTENTION);
    op.in[0] = own(p, q);
    op.in[1] = own(p, k);
    op.in[2] = own(p, v);
    op.in[3] = kv_index;
    op.heads = heads;
    op.flag = causal;
    op.out[0] = value_scratch(p, q.n, q.h, 1, q.c);
    op_add(p, op);
    return op.out[0];
}

struct tensor op_concat(struct program *p, struct tensor a, struct tensor b) {
    check_whole(p, a);
    check_whole(p, b);
    assert(a.n == b.n && a.h == b.h && a.w == b.w);
    struct op op = op_make(OP_CONCAT);
    op.in[0] = own(p, a);
    op.in[1] = own(p, b);
    op.out[0] = value_scratch(p, a.n, a.h, a.w, a.c + b.c);
    op_add(p, op);
    return op.out[0];
}

struct tensor op_scale(struct program *p, struct tensor x, float factor) {
    check_whole(p, x);
    struct op op = op_make(OP_SCALE);
    op.in[0] = own(p, x);
    op.number = factor;
    op.out[0] = value_scratch(p, x.n, x.h, x.w, x.c);
    op_add(p, op);
    return op.out[0];
}

struct tensor op_sum(struct program *p, struct tensor a, struct tensor b, bool silu) {
    check_whole(p, a);
    check_whole(p, b);
    assert(a.n != 0 && b.n % a.n == 0 && a.h == b.h && a.w == b.w && a.c == b.c);
    struct op op = op_make(OP_SUM);
    op.in[0] = own(p, a);
    op.in[1] = own(p, b);
    op.flag = silu;
    op.out[0] = value_scratch(p, b.n, b.h, b.w, b.c);
    op_add(p, op);
    return op.out[0];
}

struct tensor op_timestep(struct program *p, struct tensor table, uint32_t copies, uint32_t dim, bool flip_sin_to_cos,
                          float frequency_shift) {
    check_rows(p, table);
    assert(copies >= 1 && dim >= 2 && (float)(dim / 2) > frequency_shift);
    struct op op = op_make(OP_TIMESTEP);
    op.in[0] = table;
    op.number = frequency_shift;
    op.flag = flip_sin_to_cos;
    op.out[0] = value_scratch(p, table.n * copies, 1, 1, dim);
    op_add(p, op);
    return op.out[0];
}

void op_noise(struct program *p, struct tensor out, struct tensor rows) {
    check_whole(p, out);
    check_whole(p, rows);
    assert(out.dtype == DTYPE_F32 && rows.n == out.n && rows.h == 1 && rows.w == 1);
    assert(rows.c == sizeof(struct noise_row) / sizeof(float) && (size_t)out.h * out.w * out.c <= UINT32_MAX);
    struct op op = op_make(OP_NOISE);
    op.in[0] = rows;
    op.out[0] = out;
    op_add(p, op);
}

struct tensor op_latent_input(struct program *p, struct tensor latent, struct tensor table, struct tensor counter,
                              uint32_t copies) {
    check_whole(p, latent);
    check_table(p, table, counter);
    assert(copies >= 1);
    struct op op = op_make(OP_LATENT_INPUT);
    op.in[0] = latent;
    op.in[1] = table;
    op.in[2] = counter;
    op.out[0] = value_scratch(p, copies * latent.n, latent.h, latent.w, latent.c);
    op_add(p, op);
    return op.out[0];
}

void op_update(struct program *p, struct tensor latent, struct tensor prediction, struct tensor guidance,
               struct tensor history, struct tensor noise, struct tensor kept, struct tensor belief, struct tensor table,
               struct tensor counter) {
    check_whole(p, latent);
    check_whole(p, prediction);
    check_table(p, table, counter);
    assert(prediction.n == latent.n || prediction.n == 2 * latent.n);
    assert(prediction.h == latent.h && prediction.w == latent.w && prediction.c == latent.c);
    if (prediction.n == 2 * latent.n) {
        check_whole(p, guidance);
        assert(tensor_rows(guidance) == latent.n && guidance.c == 2);
    }
    check_residual(p, history, latent);
    check_residual(p, belief, latent);
    if (tensor_exists(noise)) {
        check_whole(p, noise);
        assert(noise.n % latent.n == 0 && noise.h == latent.h && noise.w == latent.w && noise.c == latent.c);
    }
    if (tensor_exists(kept)) {
        check_whole(p, kept);
        assert(kept.n == latent.n && kept.h == latent.h && kept.w == latent.w && kept.c == 2 * latent.c + 1);
    }
    struct op op = op_make(OP_UPDATE);
    op.in[0] = own(p, prediction);
    op.in[1] = prediction.n == latent.n ? TENSOR_NONE : guidance;
    op.in[2] = noise;
    op.in[3] = table;
    op.in[4] = kept;
    op.out[0] = latent;
    op.out[1] = history;
    op.out[2] = counter;
    op.out[3] = belief;
    op_add(p, op);
}

void op_pixels(struct program *p, struct tensor pixels, struct tensor unit, struct tensor bad, struct tensor image) {
    check_whole(p, image);
    check_memory(p, pixels, 1);
    check_whole(p, bad);
    check_residual(p, unit, image);
    assert(same_shape(pixels, image) && tensor_rows(bad) == image.n && bad.c == 1);
    struct op op = op_make(OP_PIXELS);
    op.in[0] = own(p, image);
    op.out[0] = pixels;
    op.out[1] = unit;
    op.out[2] = bad;
    op_add(p, op);
}

void op_copy(struct program *p, struct tensor out, struct tensor x) {
    check_whole(p, x);
    check_whole(p, out);
    assert(same_shape(out, x));
    struct op op = op_make(OP_COPY);
    op.in[0] = x;
    op.out[0] = out;
    op_add(p, op);
}

/* ---- finished programs ------------------------------------------------------------------------------------------ */

void program_finish(struct program *program) {
    assert(!program->finished);
    program->scratch_size = plan_memory(program->values, program->value_count);
    program->finished = true;
}

size_t program_memory(const struct program *program) {
    assert(program->finished);
    return program->scratch_size;
}

void program_attach(struct program *program, struct buffer *scratch) {
    assert(program->finished && scratch->backend == program->backend && scratch->size >= program->scratch_size);
    if (program->scratch != scratch) {
        forget(program); /* it may know where things lay */
    }
    program->scratch = scratch;
}

void program_run(struct program *program) {
    assert(program->finished && (program->scratch != NULL || program->scratch_size == 0));
    program->backend->ops->run(program);
}

static void *value_data(const struct program *program, uint32_t id) {
    const struct value *value = &program->values[id];
    const struct buffer *buffer = value->buffer != NULL ? value->buffer : program->scratch;
    return (char *)buffer->data + value->offset;
}

void *program_data(const struct program *program, struct tensor tensor) {
    return (char *)value_data(program, tensor.id) + (size_t)tensor.c_first * dtype_size(tensor.dtype);
}

void *program_workspace(const struct program *program, const struct op *op) {
    return op->workspace == UINT32_MAX ? NULL : value_data(program, op->workspace);
}
