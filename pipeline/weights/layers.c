/*
 * layers.c - parameters by name and shape, and the recording of the parts that networks share.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/weights/layers.h"

enum { STACK_LIMIT = 3, MISSING_NAMED = 3, DROP_BYTES = 1 << 20 };

void loader_init(struct loader *loader, struct component *component, struct backend *backend, enum dtype numerics) {
    *loader = (struct loader){ .component = component, .backend = backend, .numerics = numerics };
}

enum err loader_finish(struct loader *loader, struct error *error) {
    if (loader->error.code == ERR_OK && loader->missing_count > 0) {
        return error_set(error, ERR_NOT_FOUND, "%s: want every parameter that its config describes, file has no such tensor for %zu: %s%s",
                         component_name(loader->component), loader->missing_count, bytes_text(&loader->missing),
                         loader->missing_count > MISSING_NAMED ? ", ..." : "");
    }
    if (loader->error.code == ERR_OK) {
        return component_check_all_used(loader->component, error);
    }
    return error_set(error, loader->error.code, "%s", loader->error.message);
}

void loader_release(struct loader *loader) {
    for (size_t i = 0; i < loader->count; i++) {
        weight_destroy(loader->weights[i]);
    }
    free(loader->weights);
    bytes_release(&loader->missing);
    *loader = (struct loader){ 0 };
}

/* ---- parameters ------------------------------------------------------------------------------------------------- */

#define NAME_FROM(format)                                     \
    char name[LAYER_NAME_LIMIT];                              \
    do {                                                      \
        va_list arguments;                                    \
        va_start(arguments, format);                          \
        vsnprintf(name, sizeof name, format, arguments);      \
        va_end(arguments);                                    \
    } while (0)

void layer_name(char out[LAYER_NAME_LIMIT], const char *format, ...) {
    NAME_FROM(format);
    memcpy(out, name, sizeof name);
}

/* Is one of these not in the file? It is noted, and loading goes on, so that all of them can be counted. */
static bool any_missing(struct loader *loader, const char *const *names, size_t count) {
    bool any = false;
    for (size_t i = 0; i < count; i++) {
        if (component_has(loader->component, names[i])) {
            continue;
        }
        any = true;
        if (loader->missing_count++ < MISSING_NAMED) {
            bytes_add_format(&loader->missing, "%s%s", loader->missing.size ? ", " : "", names[i]);
        }
    }
    return any;
}

static void keep(struct loader *loader, struct weight *weight, uint64_t elements) {
    loader->parameters += elements;
    loader->bytes += weight_bytes(weight);
    loader->weights = memory_grow(loader->weights, loader->count + 1, sizeof *loader->weights);
    loader->weights[loader->count++] = weight;
}

static const struct weight *load(struct loader *loader, enum weight_use use, const char *const *names, size_t count,
                                 uint32_t dims, const uint64_t *shape) {
    struct weight_view views[STACK_LIMIT];
    struct weight *weight = NULL;
    assert(count <= STACK_LIMIT);
    if (any_missing(loader, names, count)) {
        return NULL;
    }
    for (size_t i = 0; i < count && loader->error.code == ERR_OK; i++) {
        loader->error.code = component_tensor(&views[i], loader->component, names[i], dims, shape, &loader->error);
    }
    if (loader->error.code == ERR_OK) {
        loader->error.code = weight_create_as(&weight, loader->backend, loader->numerics, use, views, count, &loader->error);
    }
    component_settle(loader->component);
    if (loader->error.code != ERR_OK) {
        return NULL;
    }
    uint64_t elements = count;
    for (uint32_t i = 0; i < dims; i++) {
        elements *= shape[i];
    }
    keep(loader, weight, elements);
    if (weight_bytes(weight) >= DROP_BYTES) { /* else a file would be in memory twice: as it is, and packed */
        component_drop_pages(loader->component);
    }
    return weight;
}

/* NAME.weight of this shape, and NAME.bias of its first dimension where asked for. */
static struct layer load_layer(struct loader *loader, enum weight_use use, uint32_t dims, const uint64_t *shape, bool bias,
                               const char *name) {
    char weight_name[LAYER_NAME_LIMIT], bias_name[LAYER_NAME_LIMIT];
    const char *weight_names[] = { weight_name }, *bias_names[] = { bias_name };
    layer_name(weight_name, "%s.weight", name);
    layer_name(bias_name, "%s.bias", name);
    struct layer layer = { .weight = load(loader, use, weight_names, 1, dims, shape) };
    if (bias) {
        layer.bias = load(loader, WEIGHT_VECTOR, bias_names, 1, 1, shape);
    }
    return layer;
}

struct layer load_norm(struct loader *loader, uint32_t width, const char *format, ...) {
    NAME_FROM(format);
    return load_layer(loader, WEIGHT_VECTOR, 1, (uint64_t[]){ width }, true, name);
}

struct layer load_linear(struct loader *loader, uint32_t rows, uint32_t columns, bool bias, const char *format, ...) {
    NAME_FROM(format);
    return load_layer(loader, WEIGHT_LINEAR, 2, (uint64_t[]){ rows, columns }, bias, name);
}

struct layer load_conv(struct loader *loader, uint32_t out, uint32_t in, uint32_t side, const char *format, ...) {
    NAME_FROM(format);
    return load_layer(loader, WEIGHT_CONV, 4, (uint64_t[]){ out, in, side, side }, true, name);
}

struct layer load_pointwise(struct loader *loader, uint32_t rows, uint32_t columns, const char *format, ...) {
    NAME_FROM(format);
    return load_layer(loader, WEIGHT_LINEAR, 4, (uint64_t[]){ rows, columns, 1, 1 }, true, name);
}

const struct weight *load_table(struct loader *loader, uint32_t rows, uint32_t width, const char *format, ...) {
    NAME_FROM(format);
    return load_layer(loader, WEIGHT_TABLE, 2, (uint64_t[]){ rows, width }, false, name).weight;
}

enum err load_made_table(const struct weight **table, struct loader *loader, const float *rows, uint32_t count, uint32_t width,
                         struct error *error) {
    struct weight_view view = { .data = rows, .dtype = DTYPE_F32, .dims = 2, .shape = { count, width } };
    struct weight *made;
    enum err err = weight_create_as(&made, loader->backend, loader->numerics, WEIGHT_TABLE, &view, 1, error);
    if (err == ERR_OK) {
        keep(loader, made, (uint64_t)count * width);
        *table = made;
    }
    return err;
}

struct layer load_stack(struct loader *loader, uint32_t rows, uint32_t columns, bool bias, const char *prefix,
                        const char *const *names, size_t count) {
    char text[2][STACK_LIMIT][LAYER_NAME_LIMIT];
    const char *weights[STACK_LIMIT], *biases[STACK_LIMIT];
    assert(count <= STACK_LIMIT);
    for (size_t i = 0; i < count; i++) {
        layer_name(text[0][i], "%s.%s.weight", prefix, names[i]);
        layer_name(text[1][i], "%s.%s.bias", prefix, names[i]);
        weights[i] = text[0][i];
        biases[i] = text[1][i];
    }
    struct layer layer = { .weight = load(loader, WEIGHT_LINEAR, weights, count, 2, (uint64_t[]){ rows, columns }) };
    if (bias) {
        layer.bias = load(loader, WEIGHT_VECTOR, biases, count, 1, (uint64_t[]){ rows });
    }
    return layer;
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

struct tensor record_linear(struct program *program, struct layer layer, struct tensor x, enum activation activation,
                            struct tensor residual) {
    return op_linear(program, x, layer.weight, layer.bias, activation, residual);
}

static struct conv_options conv_same(void) {
    return (struct conv_options){ .stride = 1, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1,
                                  .vector = TENSOR_NONE, .residual = TENSOR_NONE };
}

struct tensor record_conv(struct program *program, struct layer layer, struct tensor x) {
    struct conv_options options = conv_same();
    return op_conv(program, x, layer.weight, layer.bias, &options);
}

struct tensor record_conv_resized(struct program *program, struct layer layer, struct tensor x, uint32_t height,
                                  uint32_t width) {
    struct conv_options options = conv_same();
    options.resize_h = height;
    options.resize_w = width;
    return op_conv(program, x, layer.weight, layer.bias, &options);
}

struct tensor record_layer_norm(struct program *program, struct layer layer, struct tensor x, float epsilon) {
    return op_layer_norm(program, x, layer.weight, layer.bias, epsilon);
}

struct tensor record_group_norm(struct program *program, struct layer layer, struct tensor x, struct norm_options options,
                                bool silu) {
    return op_group_norm(program, x, layer.weight, layer.bias, options.groups, options.epsilon, silu);
}

struct tensor tensor_tokens(struct tensor x) {
    x.h *= x.w;
    x.w = 1;
    return x;
}

struct tensor tensor_picture(struct tensor tokens, uint32_t height, uint32_t width) {
    assert(tokens.h == height * width && tokens.w == 1);
    tokens.h = height;
    tokens.w = width;
    return tokens;
}

/* ---- residual blocks -------------------------------------------------------------------------------------------- */

struct resnet load_resnet(struct loader *loader, uint32_t in, uint32_t out, uint32_t time, const char *prefix) {
    struct resnet resnet = {
        .width = out,
        .norm1 = load_norm(loader, in, "%s.norm1", prefix),
        .conv1 = load_conv(loader, out, in, 3, "%s.conv1", prefix),
        .norm2 = load_norm(loader, out, "%s.norm2", prefix),
        .conv2 = load_conv(loader, out, out, 3, "%s.conv2", prefix),
    };
    if (time != 0) {
        resnet.time = load_linear(loader, out, time, true, "%s.time_emb_proj", prefix);
    }
    if (in != out) {
        resnet.shortcut = load_pointwise(loader, out, in, "%s.conv_shortcut", prefix);
    }
    return resnet;
}

void record_resnet_times(struct program *program, struct tensor out, const struct resnet *resnet, struct tensor time) {
    op_linear_into(program, out, time, resnet->time.weight, resnet->time.bias, ACTIVATION_NONE, TENSOR_NONE);
}

struct tensor record_resnet(struct program *program, const struct resnet *resnet, struct tensor x,
                            const struct resnet_times *times, struct norm_options norm) {
    struct conv_options options = conv_same();
    if (times != NULL) {
        options.vector = times->vectors;
        options.step = times->step;
        options.steps = times->steps;
    }
    struct tensor hidden = record_group_norm(program, resnet->norm1, x, norm, true);
    hidden = op_conv(program, hidden, resnet->conv1.weight, resnet->conv1.bias, &options);
    hidden = record_group_norm(program, resnet->norm2, hidden, norm, true);
    options = conv_same();
    options.residual = x;
    if (resnet->shortcut.weight != NULL) {
        options.residual = record_linear(program, resnet->shortcut, x, ACTIVATION_NONE, TENSOR_NONE);
    }
    return op_conv(program, hidden, resnet->conv2.weight, resnet->conv2.bias, &options);
}
