/*
 * renderer.c - one run's memory, reused for every batch: prompts, recorded runs, scratch; and the way from jobs to
 * pictures.
 */
#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/conditions.h"
#include "pipeline/run.h"
#include "pipeline/start.h"
#include "pipeline/watch.h"

enum {
    RENDER_SIDE_LIMIT = 16384,  /* pixels */
    RENDER_BATCH_LIMIT = 1024,
    RENDERER_RUNS_LIMIT = 8,    /* kinds of batches kept recorded */
    RENDERER_SLOTS = 16,        /* prompts kept, or as many as SLOTS_BYTES hold, but those of a batch */
    SLOTS_BYTES = 64 << 20
};

struct renderer {
    struct model *model;
    uint64_t budget; /* bytes, 0: none */
    struct conditions conditions;
    struct run *runs[RENDERER_RUNS_LIMIT];
    uint32_t run_count;
    struct buffer *scratch; /* for the program that runs; attached to all runs */
    uint64_t batch;
    struct renderer *refiner; /* walks the end of the way; owned; NULL: none */
};

static bool model_inpaints(const struct model *model) {
    return model->unet.config.in_channels != model->unet.config.out_channels;
}

/* ---- checks ----------------------------------------------------------------------------------------------------- */

static enum err check_size(const struct model *model, uint32_t width, uint32_t height, size_t count,
                           struct error *error) {
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

/* Two evaluations a step. A distilled U-Net that is told its guidance makes one of it. */
static bool is_guided(const struct model *model, const struct render_job *job) {
    return job->cfg > 1.0 && model->unet.config.told_width == 0;
}

static bool same_word(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static enum err check_jobs(const struct model *model, const struct render_job *jobs, size_t count, struct error *error) {
    enum err err = check_size(model, jobs[0].width, jobs[0].height, count, error);
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        const struct render_job *job = &jobs[i];
        if (job->width != jobs[0].width || job->height != jobs[0].height || job->steps != jobs[0].steps ||
            is_guided(model, job) != is_guided(model, &jobs[0]) || strcmp(job->sampler, jobs[0].sampler) != 0 ||
            strcmp(job->schedule, jobs[0].schedule) != 0 || !same_word(job->prediction, jobs[0].prediction) ||
            job->vae_tiling != jobs[0].vae_tiling || (job->init == NULL) != (jobs[0].init == NULL) ||
            job->strength != jobs[0].strength || job->refiner_switch != jobs[0].refiner_switch) {
            err = error_set(error, ERR_INVALID, "batch: want one size, steps, sampler, schedule, prediction, vae_tiling, strength,"
                            " refiner_switch, guided or not, and from a picture or not, jobs 1 and %zu differ", i + 1);
        } else if (job->vae_tiling % tiled_unit(model) != 0) {
            err = error_set(error, ERR_INVALID, "vae_tiling: want 0 or a multiple of %u for this model, job has %u",
                            tiled_unit(model), job->vae_tiling);
        } else if (job->clip_skip < 1 || job->clip_skip > model_clip_skip_limit(model)) {
            err = error_set(error, ERR_INVALID, "clip_skip: want 1..%u for this model, job has %u",
                            model_clip_skip_limit(model), job->clip_skip);
        } else if (!isfinite(job->cfg)) {
            err = error_set(error, ERR_INVALID, "cfg: want a finite number, job has %g", job->cfg);
        } else if (!(job->cfg_rescale >= 0.0 && job->cfg_rescale <= 1.0)) {
            err = error_set(error, ERR_INVALID, "cfg_rescale: want 0..1, job has %g", job->cfg_rescale);
        } else {
            err = start_check(model, job, error);
        }
    }
    return err;
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

/* Make room under the budget for something of these sizes (`what` names it), forgetting old runs where that helps, and
 * have the scratch for it. */
static enum err make_room(struct renderer *renderer, uint64_t buffers, uint64_t scratch, const char *what,
                          struct error *error) {
    while (renderer->budget != 0 && renderer->run_count > 0 &&
           bytes_needed(renderer, buffers, scratch) > renderer->budget) {
        forget_oldest_run(renderer);
    }
    uint64_t needed = bytes_needed(renderer, buffers, scratch);
    if (renderer->budget != 0 && needed > renderer->budget) {
        return error_set(error, ERR_MEMORY, "memory: want at most the budget of %" PRIu64 " bytes, %s needs %" PRIu64,
                         renderer->budget, what, needed);
    }
    uint64_t size = scratch_needed(renderer, scratch);
    uint64_t held = renderer->scratch == NULL ? 0 : buffer_size(renderer->scratch);
    if (held < size || (renderer->budget != 0 && held > size)) {
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

/* Enough slots for the prompts of `count` jobs. Recorded runs read the old ones: they go. */
static enum err have_slots(struct renderer *renderer, size_t count, struct error *error) {
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

static enum err find_run(struct run **run, struct renderer *renderer, const struct run_kind *kind, struct error *error) {
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

enum err render_memory(uint64_t *bytes, struct model *model, const struct render_size *size, struct error *error) {
    struct run_kind kind = { .width = size->width, .height = size->height, .count = size->batch,
                             .guided = size->guided && model->unet.config.told_width == 0, .fresh = true,
                             .vae_tiling = size->vae_tiling };
    struct conditions conditions;
    struct run *run = NULL;
    enum err err = check_size(model, size->width, size->height, size->batch, error);
    if (err != ERR_OK ||
        (err = conditions_init(&conditions, model, slots_for(model, size->batch), error)) != ERR_OK) {
        return err;
    }
    struct encoding encoding = { 0 };
    err = run_create(&run, model, &conditions.memory, &kind, error);
    if (err == ERR_OK && start_inpaints(model)) { /* whose every picture is encoded first */
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
    while (renderer->run_count > 0) {
        forget_run(renderer, 0);
    }
    renderer_destroy(renderer->refiner);
    conditions_release(&renderer->conditions);
    buffer_destroy(renderer->scratch);
    free(renderer);
}

uint64_t renderer_held(const struct renderer *renderer) {
    return bytes_needed(renderer, 0, 0) + (renderer->refiner == NULL ? 0 : renderer_held(renderer->refiner));
}

void renderer_bound(struct renderer *renderer, uint64_t budget_bytes) {
    renderer->budget = budget_bytes;
    if (renderer->refiner != NULL) {
        renderer->refiner->budget = budget_bytes / 2;
        renderer->budget -= budget_bytes / 2;
    }
}

enum err renderer_refine(struct renderer *renderer, struct model *refiner, struct error *error) {
    const struct model_shape *first = &renderer->model->shape, *second = &refiner->shape;
    assert(renderer->refiner == NULL);
    if (first->pixels_per_latent != second->pixels_per_latent || first->latent_channels != second->latent_channels) {
        return error_set(error, ERR_INVALID, "refiner: want the model's latents, %u channels of %u pixels a side, it has %u of %u",
                         first->latent_channels, first->pixels_per_latent, second->latent_channels, second->pixels_per_latent);
    }
    if (model_inpaints(refiner)) {
        return error_set(error, ERR_UNSUPPORTED, "refiner: want a model that draws whole pictures, it is one for inpainting");
    }
    enum err err = renderer_create(&renderer->refiner, refiner, renderer->budget / 2, error);
    if (err == ERR_OK) {
        renderer_bound(renderer, renderer->budget);
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

/* ---- encoding ------------------------------------------------------------------------------------------------------ */

static enum err encoding_ready(struct encoding *encoding, struct renderer *renderer, uint32_t width, uint32_t height,
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

/* picture [H,W,3] in -1..1 -> moments [h,w,2C] */
static void encode(float *moments, struct encoding *encoding, const float *picture) {
    buffer_upload(encoding->picture, 0, picture, buffer_size(encoding->picture));
    program_run(encoding->program);
    buffer_download(encoding->moments, 0, moments, buffer_size(encoding->moments));
}

enum err renderer_encode(struct renderer *renderer, float *moments, const uint8_t *rgb, uint32_t width, uint32_t height,
                         struct error *error) {
    struct render_job job = { .width = width, .height = height, .init = rgb };
    struct encoding encoding;
    enum err err = check_size(renderer->model, width, height, 1, error);
    if (err == ERR_OK) {
        err = encoding_ready(&encoding, renderer, width, height, error);
    }
    if (err != ERR_OK) {
        return err;
    }
    float *picture = memory_get_array((size_t)width * height * 3, sizeof *picture);
    start_picture(picture, &job);
    encode(moments, &encoding, picture);
    free(picture);
    encoding_release(&encoding);
    return backend_check(renderer->model->backend, error);
}

/* ---- from jobs to pictures -------------------------------------------------------------------------------------- */

/* One batch on its way. */
struct batch {
    const struct render_job *jobs;
    size_t count;
    struct plan plan;
    struct run *run;
    struct denoise_job *work; /* [count], owned */
    float *added;             /* [2*count,A]: where the jobs' added conditioning lies; owned */
    float *starts;            /* what the jobs' pictures and masks were made into, owned */
    struct trace *trace;      /* or NULL */
};

enum { NUMBERS_LIMIT = 6 };
static const float SCORE = 6.0f, SCORE_NEGATIVE = 2.5f; /* aesthetic: what everybody asks a refiner for */

/* What an SDXL U-Net is told beside the prompt: size, crop, and target size or aesthetic score. */
static void add_numbers(float *added, const struct conditions *conditions, uint32_t slot, const struct render_job *job,
                        bool negative) {
    float width = (float)job->width, height = (float)job->height;
    float numbers[NUMBERS_LIMIT] = { height, width, 0.0f, 0.0f, height, width };
    if (conditions->model->index.score) {
        numbers[4] = negative ? SCORE_NEGATIVE : SCORE;
    }
    conditions_added(added, conditions, slot, numbers);
}

/* What the prompts mean. A trace wants the negative's meaning even where nothing is guided by it. */
static enum err read_prompts(struct renderer *renderer, struct batch *batch, struct error *error) {
    bool negatives = batch->run->kind.guided || batch->trace != NULL;
    uint32_t width = renderer->model->unet.config.added_width;
    batch->added = memory_get_array(2 * batch->count * width, sizeof *batch->added);
    conditions_begin_batch(&renderer->conditions);
    for (size_t i = 0; i < batch->count; i++) {
        const struct render_job *job = &batch->jobs[i];
        struct denoise_job *work = &batch->work[i];
        work->guidance = job->cfg;
        work->rescale = job->cfg_rescale;
        enum err err = conditions_find(&work->prompt, &renderer->conditions, job->prompt, job->clip_skip, false, error);
        if (err == ERR_OK && negatives) {
            err = conditions_find(&work->negative, &renderer->conditions, job->negative, job->clip_skip, true, error);
        }
        if (err != ERR_OK) {
            return err;
        }
        if (width != 0) {
            work->added = batch->added + 2 * i * width;
            work->added_negative = work->added + width;
            add_numbers(work->added, &renderer->conditions, work->prompt, job, false);
            if (negatives) {
                add_numbers(work->added_negative, &renderer->conditions, work->negative, job, true);
            }
        }
    }
    return ERR_OK;
}

/* Is this job's picture started from, or only drawn around? */
static bool starts_from_picture(const struct model *model, const struct render_job *job) {
    bool whole_way = job->strength == 0.0 || job->strength == 1.0;
    return job->init != NULL && !(start_inpaints(model) && whole_way);
}

/* One job's picture and mask, through the VAE; `out` has room for moments of both and a mask. A job with the pictures of the one
 * before shares what was made of them. */
static void read_start(float *out, struct encoding *encoding, float *picture, const struct model *model, struct batch *batch,
                       size_t place) {
    const struct render_job *job = &batch->jobs[place], *before = place == 0 ? NULL : job - 1;
    struct denoise_job *work = &batch->work[place];
    size_t moments = buffer_size(encoding->moments) / sizeof(float);
    if (before != NULL && job->init == before->init && job->mask == before->mask) {
        work->init = work[-1].init;
        work->masked = work[-1].masked;
        work->mask = work[-1].mask;
        return;
    }
    if (starts_from_picture(model, job)) {
        start_picture(picture, job);
        encode(out, encoding, picture);
        work->init = out;
    }
    if (start_inpaints(model)) {
        start_masked(picture, job);
        encode(out + moments, encoding, picture);
        work->masked = out + moments;
        start_mask(out + 2 * moments, job, model->shape.pixels_per_latent);
        work->mask = out + 2 * moments;
    }
}

/* Before the batch's run is looked for: encoding may want its room. */
static enum err read_starts(struct renderer *renderer, struct batch *batch, struct error *error) {
    const struct render_job *job = &batch->jobs[0];
    struct encoding encoding;
    if (job->init == NULL) {
        return ERR_OK;
    }
    enum err err = encoding_ready(&encoding, renderer, job->width, job->height, error);
    if (err != ERR_OK) {
        return err;
    }
    uint32_t factor = renderer->model->shape.pixels_per_latent;
    size_t each = 2 * (buffer_size(encoding.moments) / sizeof(float)) + (size_t)(job->height / factor) * (job->width / factor);
    float *picture = memory_get_array((size_t)job->width * job->height * 3, sizeof *picture);
    batch->starts = memory_get_array(batch->count * each, sizeof *batch->starts);
    for (size_t i = 0; i < batch->count; i++) {
        read_start(batch->starts + i * each, &encoding, picture, renderer->model, batch, i);
    }
    free(picture);
    encoding_release(&encoding);
    return ERR_OK;
}

static enum err decode(struct batch *batch, const struct render_watch *watch, struct error *error) {
    struct decoding *decoding = &batch->run->decoding;
    for (uint32_t i = 0; i < decoding->program_count; i++) {
        decoding_run(decoding, i);
        backend_wait(program_backend(decoding->programs[i]));
        if (!render_watch_ask(watch, RENDER_DECODE, batch->plan.all, batch->plan.all)) {
            return error_set(error, ERR_CANCELLED, "cancelled while decoding");
        }
    }
    return ERR_OK;
}

/* Picture `place` of a decoding, or that it has none. */
static struct render_output take_output(const struct decoding *decoding, uint32_t place, uint32_t width,
                                        uint32_t height) {
    struct render_output output = { .width = width, .height = height };
    size_t size = (size_t)width * height * 3;
    int32_t bad = 0;
    buffer_download(decoding->bad, place * sizeof bad, &bad, sizeof bad);
    if (bad != 0) {
        (void)error_set(&output.error, ERR_NUMERIC, "U-Net or VAE output holds %d values that are not finite", bad);
        return output;
    }
    output.rgb = memory_get(size);
    buffer_download(decoding->pixels, place * size, output.rgb, size);
    return output;
}

/* Names of what a trace holds of a prompt: ids of each text encoder, condition, pooled text. */
struct trace_names {
    const char *ids[FAMILY_TEXTS], *condition, *pooled;
};

static void trace_prompt(struct trace *trace, const struct conditions *conditions, uint32_t slot,
                         const struct trace_names *names) {
    const struct model *model = conditions->model;
    const struct model_shape *shape = &model->shape;
    const struct condition_slot *kept = &conditions->slots[slot];
    uint32_t texts = model->index.family->text_count;
    float *condition = memory_get_array((size_t)shape->tokens * shape->condition_width, sizeof *condition);
    conditions_read(condition, conditions, slot);
    for (uint32_t i = 0; i < texts; i++) {
        trace_add(trace, names->ids[i], DTYPE_I32, 2, (uint64_t[]){ 1, shape->tokens }, kept->ids + i * shape->tokens);
    }
    trace_add(trace, names->condition, DTYPE_F32, 3, (uint64_t[]){ 1, shape->tokens, shape->condition_width }, condition);
    if (kept->pooled != NULL) {
        uint64_t width = model->texts[texts - 1].encoder.config.projection;
        trace_add(trace, names->pooled, DTYPE_F32, 2, (uint64_t[]){ 1, width }, kept->pooled);
    }
    free(condition);
}

static void trace_prompts(struct batch *batch, const struct conditions *conditions) {
    static const struct trace_names PROMPT = { { "ids", "ids_2" }, "condition", "pooled" };
    static const struct trace_names NEGATIVE = { { "uncond_ids", "uncond_ids_2" }, "uncondition", "unpooled" };
    static const struct trace_names REFINER = { { "refiner.ids", "refiner.ids_2" }, "refiner.condition", "refiner.pooled" };
    static const struct trace_names REFINER_NEGATIVE = { { "refiner.uncond_ids", "refiner.uncond_ids_2" },
                                                         "refiner.uncondition", "refiner.unpooled" };
    bool second = batch->plan.first != 0;
    trace_prompt(batch->trace, conditions, batch->work[0].prompt, second ? &REFINER : &PROMPT);
    trace_prompt(batch->trace, conditions, batch->work[0].negative, second ? &REFINER_NEGATIVE : &NEGATIVE);
}

/* Of the whole way, whoever walks it. */
static void trace_levels(struct trace *trace, const struct plan *first, const struct plan *second) {
    double *timesteps = memory_get_array(first->all, sizeof *timesteps), *sigmas = memory_get_array(first->all + 1, sizeof *sigmas);
    memcpy(timesteps, first->timesteps, first->rows * sizeof *timesteps);
    memcpy(sigmas, first->sigmas, (first->rows + 1) * sizeof *sigmas);
    if (second->rows != 0) {
        memcpy(timesteps + first->rows, second->timesteps, second->rows * sizeof *timesteps);
        memcpy(sigmas + first->rows, second->sigmas, (second->rows + 1) * sizeof *sigmas);
    }
    trace_add_doubles(trace, "timesteps", timesteps, first->all);
    trace_add_doubles(trace, "sigmas", sigmas, first->all + 1);
    free(timesteps);
    free(sigmas);
}

static enum err trace_end(struct batch *batch, const char *path, struct error *error) {
    const struct run_kind *kind = &batch->run->kind;
    size_t values = (size_t)kind->width * kind->height * 3;
    float *unit = memory_get_array(values, sizeof *unit);
    uint8_t *pixels = memory_get(values);
    buffer_download(batch->run->decoding.unit, 0, unit, values * sizeof *unit);
    buffer_download(batch->run->decoding.pixels, 0, pixels, values);
    trace_add_picture(batch->trace, "image", unit, kind->height, kind->width, 3, false);
    trace_add(batch->trace, "pixels", DTYPE_U8, 3, (uint64_t[]){ kind->height, kind->width, 3 }, pixels);
    free(unit);
    free(pixels);
    return trace_write(batch->trace, path, error);
}

/* Everything of a batch that can be wrong, and its memory. */
static enum err prepare(struct renderer *renderer, struct batch *batch, enum plan_part part, struct error *error) {
    const struct render_job *job = &batch->jobs[0];
    struct plan_request request = { .sampler = job->sampler, .schedule = job->schedule, .prediction = job->prediction,
                                    .steps = job->steps, .strength = job->strength, .part = part,
                                    .refiner_switch = job->refiner_switch };
    enum err err = check_jobs(renderer->model, batch->jobs, batch->count, error);
    if (err == ERR_OK) {
        err = plan_make(&batch->plan, &renderer->model->process, &request, error);
    }
    if (err != ERR_OK || (err = have_slots(renderer, batch->count, error)) != ERR_OK) {
        return err;
    }
    batch->work = memory_get_array(batch->count, sizeof *batch->work);
    if (part != PLAN_SECOND && (err = read_starts(renderer, batch, error)) != ERR_OK) {
        return err;
    }
    struct run_kind kind = { .width = job->width, .height = job->height, .count = (uint32_t)batch->count,
                             .guided = is_guided(renderer->model, job), .fresh = batch->plan.needs_noise, .unit = batch->trace != NULL,
                             .vae_tiling = job->vae_tiling, .first = part == PLAN_FIRST };
    err = find_run(&batch->run, renderer, &kind, error);
    if (err == ERR_OK) {
        batch->run->used_at = ++renderer->batch;
    }
    return err;
}

/* Prompts, and the model's part of the way to a picture. */
static enum err walk(struct renderer *renderer, struct batch *batch, const struct denoiser *before,
                     const struct render_watch *watch, struct error *error) {
    enum err err = read_prompts(renderer, batch, error);
    if (err != ERR_OK) {
        return err;
    }
    if (!render_watch_ask(watch, RENDER_TEXT, batch->plan.first, batch->plan.all)) {
        return error_set(error, ERR_CANCELLED, "cancelled before step %u of %u", batch->plan.first + 1, batch->plan.all);
    }
    if (batch->trace != NULL) {
        trace_prompts(batch, &renderer->conditions);
    }
    return denoise(&batch->run->denoiser, &batch->plan, batch->work, before, watch, batch->trace, error);
}

/* From noise to pixels, the refiner's part included. */
static enum err render(struct renderer *renderer, struct batch *batch, struct batch *second, const struct render_watch *watch,
                       struct error *error) {
    for (size_t i = 0; i < batch->count; i++) {
        (batch->jobs[i].philox ? noise_init_philox : noise_init)(&batch->work[i].noise, batch->jobs[i].seed);
    }
    if (batch->trace != NULL) {
        trace_levels(batch->trace, &batch->plan, &second->plan);
    }
    enum err err = walk(renderer, batch, NULL, watch, error);
    if (err == ERR_OK && renderer->refiner != NULL) {
        for (size_t i = 0; i < batch->count; i++) {
            second->work[i].noise = batch->work[i].noise; /* one generator a picture, whoever draws from it */
        }
        err = walk(renderer->refiner, second, &batch->run->denoiser, watch, error);
        batch = second;
    }
    return err == ERR_OK ? decode(batch, watch, error) : err;
}

static void batch_release(struct batch *batch) {
    free(batch->work);
    free(batch->added);
    free(batch->starts);
    plan_release(&batch->plan);
}

enum err renderer_render(struct renderer *renderer, const struct render_job *jobs, size_t count,
                         const struct render_watch *watch, const char *trace_path, struct render_output *outputs,
                         struct error *error) {
    struct trace trace = { 0 };
    struct batch batch = { .jobs = jobs, .count = count, .trace = trace_path == NULL ? NULL : &trace }, second = batch;
    struct batch *last = renderer->refiner == NULL ? &batch : &second;
    if (count == 0 || (trace_path != NULL && count != 1)) {
        return error_set(error, ERR_INVALID, "batch: want %s, got %zu jobs", count == 0 ? "a job" : "one job for a trace",
                         count);
    }
    enum err err = prepare(renderer, &batch, renderer->refiner == NULL ? PLAN_WHOLE : PLAN_FIRST, error);
    if (err == ERR_OK && renderer->refiner != NULL) {
        err = prepare(renderer->refiner, &second, PLAN_SECOND, error);
    }
    if (err == ERR_OK) {
        err = render(renderer, &batch, &second, watch, error);
    }
    if (err == ERR_OK && trace_path != NULL) {
        err = trace_end(last, trace_path, error);
    }
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        outputs[i] = take_output(&last->run->decoding, (uint32_t)i, jobs[0].width, jobs[0].height);
    }
    if (err == ERR_OK && (err = backend_check(renderer->model->backend, error)) != ERR_OK) {
        for (size_t i = 0; i < count; i++) {
            render_output_release(&outputs[i]);
        }
    }
    batch_release(&batch);
    batch_release(&second);
    trace_release(&trace);
    return err;
}

/* ---- the autoencoder alone -------------------------------------------------------------------------------------- */

enum err renderer_decode(struct renderer *renderer, const float *latents, uint32_t width, uint32_t height,
                         struct render_output *output, struct error *error) {
    struct model *model = renderer->model;
    struct decoding decoding = { 0 };
    struct buffer *input = NULL;
    uint32_t factor = model->shape.pixels_per_latent;
    enum err err = check_size(model, width, height, 1, error);
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
        *output = take_output(&decoding, 0, width, height);
        err = backend_check(model->backend, error);
    }
    if (decoding.programs != NULL) {
        decoding_release(&decoding);
    }
    buffer_destroy(input);
    return err;
}

