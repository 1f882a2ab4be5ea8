/*
 * unet.c - the parameters of a UNet2DConditionModel and its recording.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "pipeline/denoise/unet.h"

/* ---- parameters ------------------------------------------------------------------------------------------------- */

static uint32_t time_width(const struct unet_config *config) {
    return 4 * config->widths[0];
}

/* `layers` attentions of level `level`, named PREFIX.attentions.0 ... */
static void load_attentions(struct unet_level *out, struct unet *unet, uint32_t level, uint32_t layers,
                            const char *prefix) {
    const struct unet_config *config = &unet->config;
    out->attentions = memory_get_array(layers, sizeof *out->attentions);
    for (uint32_t i = 0; i < layers; i++) {
        struct transformer_options options = {
            .channels = config->widths[level],
            .heads = config->heads[level],
            .depth = config->depth[level],
            .condition_width = config->condition_width,
            .linear_projection = config->linear_projection,
            .first_cross = unet->crosses,
        };
        char name[LAYER_NAME_LIMIT];
        layer_name(name, "%s.attentions.%u", prefix, i);
        load_transformer(&out->attentions[i], &unet->loader, &options, name);
        unet->crosses += options.depth;
    }
}

static struct resnet load_unet_resnet(struct unet *unet, uint32_t in, uint32_t out, const char *prefix, uint32_t place) {
    char name[LAYER_NAME_LIMIT];
    layer_name(name, "%s.resnets.%u", prefix, place);
    return load_resnet(&unet->loader, in, out, time_width(&unet->config), name);
}

static void load_down(struct unet *unet, uint32_t level) {
    const struct unet_config *config = &unet->config;
    struct unet_level *down = &unet->down[level];
    uint32_t width = config->widths[level], before = level == 0 ? width : config->widths[level - 1];
    char prefix[LAYER_NAME_LIMIT];
    layer_name(prefix, "down_blocks.%u", level);
    down->layers = config->layers[level];
    for (uint32_t i = 0; i < down->layers; i++) {
        down->resnets[i] = load_unet_resnet(unet, i == 0 ? before : width, width, prefix, i);
    }
    if (config->down_attention[level]) {
        load_attentions(down, unet, level, down->layers, prefix);
    }
    if (level + 1 < config->levels) {
        down->resample = load_conv(&unet->loader, width, width, 3, "%s.downsamplers.0.conv", prefix);
    }
}

static void load_middle(struct unet *unet) {
    uint32_t last = unet->config.levels - 1, width = unet->config.widths[last];
    unet->middle.layers = 1;
    unet->middle.resnets[0] = load_unet_resnet(unet, width, width, "mid_block", 0);
    unet->middle.resnets[1] = load_unet_resnet(unet, width, width, "mid_block", 1);
    load_attentions(&unet->middle, unet, last, 1, "mid_block");
}

/* Up block `place` works at the level that the way down reached `place` levels before its end. Its input comes from
 * below; beside each of its layers stands what the way down kept: the level's own outputs, last first, and at the end the
 * output of the level above (or of conv_in). */
static void load_up(struct unet *unet, uint32_t place) {
    const struct unet_config *config = &unet->config;
    struct unet_level *up = &unet->up[place];
    uint32_t level = config->levels - 1 - place, width = config->widths[level];
    uint32_t below = place == 0 ? width : config->widths[level + 1];
    uint32_t above = level == 0 ? width : config->widths[level - 1];
    char prefix[LAYER_NAME_LIMIT];
    layer_name(prefix, "up_blocks.%u", place);
    up->layers = config->layers[level] + 1;
    for (uint32_t i = 0; i < up->layers; i++) {
        uint32_t skip = i + 1 == up->layers ? above : width;
        up->resnets[i] = load_unet_resnet(unet, (i == 0 ? below : width) + skip, width, prefix, i);
    }
    if (config->up_attention[place]) {
        load_attentions(up, unet, level, up->layers, prefix);
    }
    if (place + 1 < config->levels) {
        up->resample = load_conv(&unet->loader, width, width, 3, "%s.upsamplers.0.conv", prefix);
    }
}

enum err unet_load(struct unet *unet, struct component *component, struct backend *backend, struct error *error) {
    struct unet_config config;
    enum err err = unet_config_read(&config, component_config(component), error);
    if (err != ERR_OK) {
        return err;
    }
    *unet = (struct unet){ .config = config };
    struct loader *loader = &unet->loader;
    loader_init(loader, component, backend, backend_numerics(backend));
    uint32_t first = config.widths[0], time = time_width(&config);
    unet->time1 = load_linear(loader, time, first, true, "time_embedding.linear_1");
    unet->time2 = load_linear(loader, time, time, true, "time_embedding.linear_2");
    if (config.told_width != 0) {
        unet->told = load_linear(loader, first, config.told_width, false, "time_embedding.cond_proj");
    }
    if (config.added_width != 0) {
        unet->added1 = load_linear(loader, time, config.added_width, true, "add_embedding.linear_1");
        unet->added2 = load_linear(loader, time, time, true, "add_embedding.linear_2");
    }
    unet->conv_in = load_conv(loader, first, config.in_channels, 3, "conv_in");
    for (uint32_t level = 0; level < config.levels; level++) {
        load_down(unet, level);
    }
    load_middle(unet);
    for (uint32_t place = 0; place < config.levels; place++) {
        load_up(unet, place);
    }
    unet->norm_out = load_norm(loader, first, "conv_norm_out");
    unet->conv_out = load_conv(loader, config.out_channels, first, 3, "conv_out");
    err = loader_finish(loader, error);
    if (err != ERR_OK) {
        unet_release(unet);
    }
    return err;
}

void unet_release(struct unet *unet) {
    loader_release(&unet->loader);
    for (uint32_t i = 0; i < UNET_LEVELS_LIMIT; i++) {
        free(unet->down[i].attentions);
        free(unet->up[i].attentions);
    }
    free(unet->middle.attentions);
    *unet = (struct unet){ 0 };
}

/* ---- the prompts' keys and values ------------------------------------------------------------------------------- */

enum { UNET_PARTS = 2 * UNET_LEVELS_LIMIT + 1 };

/* Its levels on the way: down, across, up. Returns how many. */
static uint32_t list_levels(const struct unet_level *levels[UNET_PARTS], const struct unet *unet) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < unet->config.levels; i++) {
        levels[count++] = &unet->down[i];
    }
    levels[count++] = &unet->middle;
    for (uint32_t i = 0; i < unet->config.levels; i++) {
        levels[count++] = &unet->up[i];
    }
    return count;
}

/* Call `visit` for every transformer, in the order of their cross attentions. */
static void each_transformer(const struct unet *unet, void (*visit)(const struct transformer *transformer, void *context),
                             void *context) {
    const struct unet_level *levels[UNET_PARTS];
    uint32_t count = list_levels(levels, unet);
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; levels[i]->attentions != NULL && k < levels[i]->layers; k++) {
            visit(&levels[i]->attentions[k], context);
        }
    }
}

struct memory_visit {
    struct cross_memory *memory; /* NULL: only count bytes */
    struct backend *backend;
    enum dtype numerics;
    uint32_t slots, tokens;
    uint64_t bytes;
    struct error error;
};

static void visit_memory(const struct transformer *transformer, void *context) {
    struct memory_visit *visit = context;
    size_t size = dtype_size(visit->numerics) * visit->slots * visit->tokens * 2 * transformer->channels;
    for (uint32_t i = 0; i < transformer->depth; i++) {
        visit->bytes += size;
        if (visit->memory != NULL && visit->error.code == ERR_OK) {
            struct buffer **place = &visit->memory->buffers[transformer->blocks[i].cross];
            visit->error.code = buffer_create(place, visit->backend, size, &visit->error);
        }
    }
}

uint64_t cross_memory_bytes(const struct unet *unet, uint32_t slots, uint32_t tokens) {
    enum dtype numerics = backend_numerics(unet->loader.backend);
    struct memory_visit visit = { .numerics = numerics, .slots = slots, .tokens = tokens };
    each_transformer(unet, visit_memory, &visit);
    return visit.bytes;
}

enum err cross_memory_init(struct cross_memory *memory, const struct unet *unet, struct backend *backend, uint32_t slots,
                           uint32_t tokens, struct error *error) {
    struct cross_memory made = { .crosses = unet->crosses, .slots = slots, .tokens = tokens };
    made.buffers = memory_get_array(unet->crosses, sizeof *made.buffers);
    struct memory_visit visit = { .memory = &made, .backend = backend, .numerics = backend_numerics(backend),
                                  .slots = slots, .tokens = tokens };
    each_transformer(unet, visit_memory, &visit);
    if (visit.error.code != ERR_OK) {
        cross_memory_release(&made);
        return error_set(error, visit.error.code, "%s", visit.error.message);
    }
    *memory = made;
    return ERR_OK;
}

void cross_memory_release(struct cross_memory *memory) {
    for (uint32_t i = 0; i < memory->crosses; i++) {
        buffer_destroy(memory->buffers[i]);
    }
    free(memory->buffers);
    *memory = (struct cross_memory){ 0 };
}

struct prompt_visit {
    struct program *program;
    const struct cross_memory *memory;
    struct tensor condition;
    uint32_t slot;
};

static void visit_prompt(const struct transformer *transformer, void *context) {
    const struct prompt_visit *visit = context;
    record_prompt_keys(visit->program, transformer, visit->condition, visit->memory, visit->slot);
}

void unet_record_prompt(struct program *program, const struct unet *unet, struct tensor condition,
                        const struct cross_memory *memory, uint32_t slot) {
    struct prompt_visit visit = { program, memory, condition, slot };
    each_transformer(unet, visit_prompt, &visit);
}

/* ---- what the timesteps add --------------------------------------------------------------------------------------- */

enum { TIMES_ALIGNMENT = 256 };

/* Walks along the residual blocks, in order, with the place of each one's vectors in the buffer. */
struct times_walk {
    struct program *program;
    struct unet_times times;
    uint64_t offset; /* of the next block's */
};

static uint64_t times_size(const struct times_walk *walk, const struct resnet *resnet, enum dtype numerics) {
    uint64_t size = (uint64_t)walk->times.steps * walk->times.images * resnet->width * dtype_size(numerics);
    return (size + TIMES_ALIGNMENT - 1) / TIMES_ALIGNMENT * TIMES_ALIGNMENT;
}

/* [steps*images,1,1,out] */
static struct tensor next_times(struct times_walk *walk, const struct resnet *resnet) {
    struct tensor vectors = program_bind_own(walk->program, walk->times.buffer, walk->offset, walk->times.steps * walk->times.images,
                                             1, 1, resnet->width);
    walk->offset += times_size(walk, resnet, vectors.dtype);
    return vectors;
}

static void each_resnet(const struct unet *unet, void (*visit)(const struct resnet *resnet, void *context), void *context) {
    const struct unet_level *levels[UNET_PARTS];
    uint32_t count = list_levels(levels, unet);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t resnets = levels[i]->layers + (levels[i] == &unet->middle ? 1 : 0);
        for (uint32_t k = 0; k < resnets; k++) {
            visit(&levels[i]->resnets[k], context);
        }
    }
}

struct measure_visit {
    struct times_walk walk;
    enum dtype numerics;
};

static void visit_measure(const struct resnet *resnet, void *context) {
    struct measure_visit *visit = context;
    visit->walk.offset += times_size(&visit->walk, resnet, visit->numerics);
}

bool unet_times_differ(const struct unet *unet) {
    return unet->told.weight != NULL || unet->added1.weight != NULL;
}

uint64_t unet_times_bytes(const struct unet *unet, uint32_t steps, uint32_t images) {
    struct measure_visit visit = { .walk = { .times = { .steps = steps, .images = images } },
                                   .numerics = backend_numerics(unet->loader.backend) };
    each_resnet(unet, visit_measure, &visit);
    return visit.walk.offset;
}

/* The timesteps' embeddings, with what is added to them, after their last SiLU: [steps*images,1,1,4*widths[0]]. */
static struct tensor record_embeddings(struct program *program, const struct unet *unet, const struct unet_times *times,
                                       struct tensor table, struct tensor told, struct tensor added) {
    const struct unet_config *config = &unet->config;
    bool more = unet->added1.weight != NULL;
    struct tensor time = op_timestep(program, table, times->images, config->widths[0], config->flip_sin_to_cos,
                                     config->frequency_shift);
    if (unet->told.weight != NULL) {
        time = op_sum(program, record_linear(program, unet->told, told, ACTIVATION_NONE, TENSOR_NONE), time, false);
    }
    time = record_linear(program, unet->time1, time, ACTIVATION_SILU, TENSOR_NONE);
    time = record_linear(program, unet->time2, time, more ? ACTIVATION_NONE : ACTIVATION_SILU, TENSOR_NONE);
    if (more) {
        struct tensor extra = record_linear(program, unet->added1, added, ACTIVATION_SILU, TENSOR_NONE);
        time = op_sum(program, record_linear(program, unet->added2, extra, ACTIVATION_NONE, TENSOR_NONE), time, true);
    }
    return time;
}

struct times_visit {
    struct times_walk walk;
    struct tensor time;
};

static void visit_times(const struct resnet *resnet, void *context) {
    struct times_visit *visit = context;
    record_resnet_times(visit->walk.program, next_times(&visit->walk, resnet), resnet, visit->time);
}

void unet_record_times(struct program *program, const struct unet *unet, const struct unet_times *times, struct tensor table,
                       struct tensor told, struct tensor added) {
    assert(table.n == times->steps);
    struct times_visit visit = { .walk = { .program = program, .times = *times },
                                 .time = record_embeddings(program, unet, times, table, told, added) };
    each_resnet(unet, visit_times, &visit);
}

/* ---- recording -------------------------------------------------------------------------------------------------- */

struct recording {
    struct program *program;
    const struct unet *unet;
    const struct cross_memory *memory;
    struct tensor slots; /* [n,1,1,1] i32 */
    struct tensor step;  /* i32 */
    struct times_walk times;
    struct norm_options norm;
    struct tensor kept[UNET_LEVELS_LIMIT * (UNET_LAYERS_LIMIT + 1) + 1]; /* what the way down saw */
    uint32_t kept_count;
};

static void keep(struct recording *recording, struct tensor x) {
    assert(recording->kept_count < sizeof recording->kept / sizeof *recording->kept);
    recording->kept[recording->kept_count++] = x;
}

static struct tensor record_block(struct recording *r, const struct resnet *resnet, struct tensor x) {
    struct resnet_times times = { .vectors = next_times(&r->times, resnet), .step = r->step, .steps = r->times.times.steps };
    return record_resnet(r->program, resnet, x, &times, r->norm);
}

static struct tensor record_layer(struct recording *r, const struct unet_level *level, uint32_t place, struct tensor x) {
    x = record_block(r, &level->resnets[place], x);
    if (level->attentions != NULL) {
        x = record_transformer(r->program, &level->attentions[place], x, r->memory, r->slots, r->norm.groups);
    }
    return x;
}

static struct tensor record_down(struct recording *r, const struct unet_level *level, struct tensor x) {
    for (uint32_t i = 0; i < level->layers; i++) {
        x = record_layer(r, level, i, x);
        keep(r, x);
    }
    if (level->resample.weight != NULL) {
        struct conv_options options = { .stride = 2, .pad_top = 1, .pad_left = 1, .pad_bottom = 1, .pad_right = 1,
                                        .vector = TENSOR_NONE, .residual = TENSOR_NONE };
        x = op_conv(r->program, x, level->resample.weight, level->resample.bias, &options);
        keep(r, x);
    }
    return x;
}

static struct tensor record_up(struct recording *r, const struct unet_level *level, struct tensor x) {
    for (uint32_t i = 0; i < level->layers; i++) {
        x = op_concat(r->program, x, r->kept[--r->kept_count]);
        x = record_layer(r, level, i, x);
    }
    if (level->resample.weight != NULL) { /* to the size of what is kept there: levels may have odd sizes */
        struct tensor target = r->kept[r->kept_count - 1];
        x = record_conv_resized(r->program, level->resample, x, target.h, target.w);
    }
    return x;
}

struct tensor unet_record(struct program *program, const struct unet *unet, const struct unet_input *input,
                          const struct cross_memory *memory) {
    const struct unet_config *config = &unet->config;
    struct recording r = { .program = program, .unet = unet, .memory = memory, .slots = input->slots,
                           .step = input->step, .times = { .program = program, .times = input->times },
                           .norm = { .groups = config->norm_groups, .epsilon = config->norm_epsilon } };

    struct tensor x = record_conv(program, unet->conv_in, input->x);
    keep(&r, x);
    for (uint32_t i = 0; i < config->levels; i++) {
        x = record_down(&r, &unet->down[i], x);
    }
    x = record_layer(&r, &unet->middle, 0, x);
    x = record_block(&r, &unet->middle.resnets[1], x);
    for (uint32_t i = 0; i < config->levels; i++) {
        x = record_up(&r, &unet->up[i], x);
    }
    assert(r.kept_count == 0);
    x = record_group_norm(program, unet->norm_out, x, r.norm, true);
    return record_conv(program, unet->conv_out, x);
}
