/*
 * renderer.c - one run's memory, reused for every batch: prompts, recorded runs, scratch; and the autoencoder alone.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "pipeline/renderer.h"
#include "pipeline/start.h"

enum {
    RENDER_SIDE_LIMIT = 16384,  /* pixels */
    RENDER_BATCH_LIMIT = 1024,
    RENDERER_SLOTS = 16,        /* prompts kept, or as many as SLOTS_BYTES hold, but those of a batch */
    SLOTS_BYTES = 64 << 20
};

enum err renderer_check_size(const struct model *model, uint32_t width, uint32_t height, size_t count, struct error *error) {
    uint32_t factor = model->shape.pixels_per_latent;
    if (width == 0 || height == 0 || width % factor != 0 || height % factor != 0) {
        return error_set(error, ERR_INVALID, "size: want multiples of %u, job has %ux%u", factor, width, height);
    }
    if (width > RENDER_SIDE_LIMIT || height > RENDER_SIDE_LIMIT) {
        return error_set(error, ERR_LIMIT, "size: want at most %d a side, job has %ux%u", RENDER_SIDE_LIMIT, width,
                         height);
    }
    if (count < 1 || count > RENDER_BATCH_LIMIT) {
        return error_set(error, ERR_LIMIT, "batch: want 1..%d jobs, got %zu", RENDER_BATCH_LIMIT, count);
    }
    return ERR_OK;
}

/* ---- memory ----------------------------------------------------------------------------------------------------- */

static uint32_t slots_for(const struct model *model, size_t count) { /* a prompt and a negative each */
    uint64_t slot = cross_memory_bytes(&model->unet, 1, model->shape.tokens), held = SLOTS_BYTES / (slot + 1);
    uint32_t kept = held < RENDERER_SLOTS ? (uint32_t)held : RENDERER_SLOTS;
    return 2 * count > kept ? (uint32_t)(2 * count) : kept;
}

static void forget_run(struct renderer *renderer, uint32_t place) {
    run_destroy(renderer->runs[place]);
    renderer->runs[place] = renderer->runs[--renderer->run_count];
}

static void forget_oldest_run(struct renderer *renderer) {
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < renderer->run_count; i++) {
        if (renderer->runs[i]->used_at < renderer->runs[oldest]->used_at) {
            oldest = i;
        }
    }
    forget_run(renderer, oldest);
}

/* Scratch that the kept runs and something of `scratch` bytes need. */
static uint64_t scratch_needed(const struct renderer *renderer, uint64_t scratch) {
    for (uint32_t i = 0; i < renderer->run_count; i++) {
        uint64_t needed = run_scratch(renderer->runs[i]);
        scratch = needed > scratch ? needed : scratch;
    }
    return scratch;
}

static uint64_t bytes_needed(const struct renderer *renderer, uint64_t buffers, uint64_t scratch) {
    uint64_t bytes = conditions_bytes(&renderer->conditions) + buffers + scratch_needed(renderer, scratch);
    for (uint32_t i = 0; i < renderer->run_count; i++) {
        bytes += run_bytes(renderer->runs[i]);
    }
    return bytes;
}

/* The renderer's own part of the budget; not 0 where there is one. */
static uint64_t own_budget(const struct renderer *renderer) {
    uint64_t beside = renderer->beside == NULL ? 0 : bytes_needed(renderer->beside, 0, 0);
    return renderer->budget > beside ? renderer->budget - beside : renderer->budget != 0;
}

/* Make room under the budget for something of these sizes (`what` names it), forgetting old runs where that helps, and
 * have the scratch for it. */
static enum err make_room(struct renderer *renderer, uint64_t buffers, uint64_t scratch, const char *what,
                          struct error *error) {
    uint64_t budget = own_budget(renderer);
    while (budget != 0 && renderer->run_count > 0 && bytes_needed(renderer, buffers, scratch) > budget) {
        forget_oldest_run(renderer);
    }
    uint64_t needed = bytes_needed(renderer, buffers, scratch);
    if (budget != 0 && needed > budget) {
        return error_set(error, ERR_MEMORY, "memory: want at most the budget of %" PRIu64 " bytes, %s needs %" PRIu64, budget,
                         what, needed);
    }
    uint64_t size = scratch_needed(renderer, scratch);
    uint64_t held = renderer->scratch == NULL ? 0 : buffer_size(renderer->scratch);
    if (held < size || (budget != 0 && held > size)) {
        buffer_destroy(renderer->scratch);
        renderer->scratch = NULL;
        enum err err = buffer_create(&renderer->scratch, renderer->model->backend, size, error);
        if (err != ERR_OK) { /* the runs' scratch is gone too */
            while (renderer->run_count > 0) {
                forget_run(renderer, 0);
            }
            return err;
        }
        for (uint32_t i = 0; i < renderer->run_count; i++) {
            run_attach(renderer->runs[i], renderer->scratch);
        }
    }
    return ERR_OK;
}

void renderer_forget(struct renderer *renderer) {
    while (renderer->run_count > 0) {
        forget_run(renderer, 0);
    }
    buffer_destroy(renderer->scratch);
    renderer->scratch = NULL;
}

enum err renderer_have_slots(struct renderer *renderer, size_t count, struct error *error) {
    if (slots_for(renderer->model, count) <= renderer->conditions.memory.slots) {
        return ERR_OK;
    }
    struct conditions larger;
    enum err err = conditions_init(&larger, renderer->model, slots_for(renderer->model, count), error);
    if (err != ERR_OK) {
        return err;
    }
    while (renderer->run_count > 0) {
        forget_run(renderer, 0);
    }
    conditions_release(&renderer->conditions);
    renderer->conditions = larger;
    return ERR_OK;
}

enum err renderer_run(struct run **run, struct renderer *renderer, const struct run_kind *kind, struct error *error) {
    for (uint32_t i = 0; i < renderer->run_count; i++) {
        if (run_kind_equal(&renderer->runs[i]->kind, kind)) {
            *run = renderer->runs[i];
            return ERR_OK;
        }
    }
    if (renderer->run_count == RENDERER_RUNS_LIMIT) {
        forget_oldest_run(renderer);
    }
    struct run *made;
    char what[80];
    snprintf(what, sizeof what, "a batch of %u at %ux%u", kind->count, kind->width, kind->height);
    enum err err = run_create(&made, renderer->model, &renderer->conditions.memory, kind, error);
    if (err != ERR_OK) {
        return err;
    }
    err = make_room(renderer, run_bytes(made), run_scratch(made), what, error);
    if (err != ERR_OK) {
        run_destroy(made);
        return err;
    }
    run_attach(made, renderer->scratch);
    renderer->runs[renderer->run_count++] = made;
    *run = made;
    return ERR_OK;
}

enum err renderer_encoding(struct encoding *encoding, struct renderer *renderer, uint32_t width, uint32_t height,
                           struct error *error) {
    enum err err = encoding_init(encoding, renderer->model, width, height, error);
    if (err != ERR_OK) {
        return err;
    }
    err = make_room(renderer, encoding_bytes(encoding), program_memory(encoding->program), "an encode", error);
    if (err != ERR_OK) {
        encoding_release(encoding);
        return err;
    }
    program_attach(encoding->program, renderer->scratch);
    return ERR_OK;
}

enum err render_memory(uint64_t *bytes, struct model *model, const struct render_size *size, struct error *error) {
    struct run_kind kind = { .width = size->width, .height = size->height, .count = size->batch,
                             .guided = size->guided && model->unet.config.told_width == 0, .fresh = true,
                             .kept = size->started && !start_inpaints(model), .vae_tiling = size->vae_tiling, .first = size->refined };
    struct conditions conditions;
    struct run *run = NULL;
    enum err err = renderer_check_size(model, size->width, size->height, size->batch, error);
    if (err != ERR_OK ||
        (err = conditions_init(&conditions, model, slots_for(model, size->batch), error)) != ERR_OK) {
        return err;
    }
    struct encoding encoding = { 0 };
    err = run_create(&run, model, &conditions.memory, &kind, error);
    if (err == ERR_OK && (size->started || start_inpaints(model))) { /* pictures are encoded first */
        err = encoding_init(&encoding, model, size->width, size->height, error);
    }
    if (err == ERR_OK) {
        uint64_t drawing = run_bytes(run) + run_scratch(run), encoding_too = 0;
        if (encoding.program != NULL) {
            encoding_too = encoding_bytes(&encoding) + program_memory(encoding.program);
        }
        *bytes = conditions_bytes(&conditions) + (drawing > encoding_too ? drawing : encoding_too);
    }
    encoding_release(&encoding);
    run_destroy(run);
    conditions_release(&conditions);
    return err;
}

/* ---- renderers -------------------------------------------------------------------------------------------------- */

enum err renderer_create(struct renderer **renderer, struct model *model, uint64_t budget_bytes, struct error *error) {
    struct renderer *made = memory_get(sizeof *made);
    made->model = model;
    made->budget = budget_bytes;
    enum err err = conditions_init(&made->conditions, model, slots_for(model, 1), error);
    if (err == ERR_OK && budget_bytes != 0 && conditions_bytes(&made->conditions) > budget_bytes) {
        err = error_set(error, ERR_MEMORY, "memory: want at most the budget of %" PRIu64 " bytes, the prompts alone need %"
                        PRIu64, budget_bytes, conditions_bytes(&made->conditions));
    }
    if (err != ERR_OK) {
        renderer_destroy(made);
        return err;
    }
    *renderer = made;
    return ERR_OK;
}

void renderer_destroy(struct renderer *renderer) {
    if (renderer == NULL) {
        return;
    }
    renderer_forget(renderer);
    renderer_destroy(renderer->refiner);
    conditions_release(&renderer->conditions);
    free(renderer);
}

uint64_t renderer_held(const struct renderer *renderer) {
    return bytes_needed(renderer, 0, 0) + (renderer->refiner == NULL ? 0 : renderer_held(renderer->refiner));
}

void renderer_bound(struct renderer *renderer, uint64_t budget_bytes) {
    renderer->budget = budget_bytes;
    if (renderer->refiner != NULL) {
        renderer->refiner->budget = budget_bytes;
    }
}

enum err renderer_refine(struct renderer *renderer, struct model *refiner, struct error *error) {
    const struct model_shape *first = &renderer->model->shape, *second = &refiner->shape;
    assert(renderer->refiner == NULL);
    if (first->pixels_per_latent != second->pixels_per_latent || first->latent_channels != second->latent_channels) {
        return error_set(error, ERR_INVALID, "refiner: want the model's latents, %u channels of %u pixels a side, it has %u of %u",
                         first->latent_channels, first->pixels_per_latent, second->latent_channels, second->pixels_per_latent);
    }
    if (start_inpaints(refiner) || start_inpaints(renderer->model)) {
        return error_set(error, ERR_UNSUPPORTED, "refiner: want models that draw whole pictures, %s is one for inpainting",
                         start_inpaints(refiner) ? "it" : "the first");
    }
    uint64_t held = renderer_held(renderer), left = renderer->budget > held ? renderer->budget - held : renderer->budget != 0;
    enum err err = renderer_create(&renderer->refiner, refiner, left, error);
    if (err == ERR_OK) {
        renderer->beside = renderer->refiner;
        renderer->refiner->beside = renderer;
        renderer->refiner->budget = renderer->budget;
    }
    return err;
}

bool renderer_batch_invariant(const struct renderer *renderer) {
    return backend_batch_invariant(renderer->model->backend);
}

void render_output_release(struct render_output *output) {
    free(output->rgb);
    *output = (struct render_output){ 0 };
}

/* ---- the autoencoder alone -------------------------------------------------------------------------------------- */

enum err renderer_encode(struct renderer *renderer, float *moments, const uint8_t *rgb, uint32_t width, uint32_t height,
                         struct error *error) {
    struct render_job job = { .width = width, .height = height, .init = rgb };
    struct encoding encoding;
    enum err err = renderer_check_size(renderer->model, width, height, 1, error);
    if (err == ERR_OK) {
        err = renderer_encoding(&encoding, renderer, width, height, error);
    }
    if (err != ERR_OK) {
        return err;
    }
    float *picture = memory_get_array((size_t)width * height * 3, sizeof *picture);
    start_picture(picture, &job);
    encoding_run(moments, &encoding, picture);
    free(picture);
    encoding_release(&encoding);
    return backend_check(renderer->model->backend, error);
}

enum err renderer_decode(struct renderer *renderer, const float *latents, uint32_t width, uint32_t height,
                         struct render_output *output, struct error *error) {
    struct model *model = renderer->model;
    struct decoding decoding = { 0 };
    struct buffer *input = NULL;
    uint32_t factor = model->shape.pixels_per_latent;
    enum err err = renderer_check_size(model, width, height, 1, error);
    if (err != ERR_OK) {
        return err;
    }
    size_t size = sizeof(float) * (width / factor) * (height / factor) * model->shape.latent_channels;
    err = buffer_create(&input, model->backend, size, error);
    if (err == ERR_OK) {
        const struct run_kind kind = { .width = width, .height = height, .count = 1 };
        err = decoding_init(&decoding, model, input, &kind, 0, error);
    }
    if (err == ERR_OK) {
        err = make_room(renderer, size + decoding_bytes(&decoding), decoding_scratch(&decoding), "a decode", error);
    }
    if (err == ERR_OK) {
        decoding_attach(&decoding, renderer->scratch);
        buffer_upload(input, 0, latents, size);
        decoding_run(&decoding, 0);
        backend_wait(model->backend);
        *output = decoding_take(&decoding, 0, width, height);
        err = backend_check(model->backend, error);
    }
    if (decoding.programs != NULL) {
        decoding_release(&decoding);
    }
    buffer_destroy(input);
    return err;
}

