/*
 * batch.c - from jobs to pictures: what their prompts and pictures mean, their way, its end decoded; and its trace.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/renderer.h"
#include "pipeline/start.h"
#include "pipeline/watch.h"

/* ---- checks ----------------------------------------------------------------------------------------------------- */

/* Two evaluations a step. A distilled U-Net that is told its guidance makes one of it. */
static bool is_guided(const struct model *model, const struct render_job *job) {
    return job->cfg > 1.0 && model->unet.config.told_width == 0;
}

static bool same_word(const char *a, const char *b) {
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

static enum err check_jobs(const struct model *model, const struct render_job *jobs, size_t count, struct error *error) {
    enum err err = renderer_check_size(model, jobs[0].width, jobs[0].height, count, error);
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        const struct render_job *job = &jobs[i];
        if (job->width != jobs[0].width || job->height != jobs[0].height || job->steps != jobs[0].steps ||
            is_guided(model, job) != is_guided(model, &jobs[0]) || strcmp(job->sampler, jobs[0].sampler) != 0 ||
            strcmp(job->schedule, jobs[0].schedule) != 0 || !same_word(job->prediction, jobs[0].prediction) ||
            job->vae_tiling != jobs[0].vae_tiling || (job->init == NULL) != (jobs[0].init == NULL) ||
            (job->mask == NULL) != (jobs[0].mask == NULL) ||
            job->strength != jobs[0].strength || job->refiner_switch != jobs[0].refiner_switch) {
            err = error_set(error, ERR_INVALID, "batch: want one size, steps, sampler, schedule, prediction, vae_tiling, strength,"
                            " refiner_switch, guided or not, from a picture or not, and masked or not, jobs 1 and %zu differ", i + 1);
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
static bool starts_from_picture(const struct render_job *job) {
    bool whole_way = job->strength == 0.0 || job->strength == 1.0;
    return job->init != NULL && !(job->mask != NULL && whole_way);
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
        work->from_noise = work[-1].from_noise;
        work->masked = work[-1].masked;
        work->mask = work[-1].mask;
        return;
    }
    work->from_noise = !starts_from_picture(job);
    if (!work->from_noise || start_keeps(model, job)) {
        start_picture(picture, job);
        encoding_run(out, encoding, picture);
        work->init = out;
    }
    if (start_inpaints(model)) {
        start_masked(picture, job);
        encoding_run(out + moments, encoding, picture);
        work->masked = out + moments;
    }
    if (job->mask != NULL) {
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
    enum err err = renderer_encoding(&encoding, renderer, job->width, job->height, error);
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
                                    .steps = job->steps, .xl = renderer->model->index.family->xl, .strength = job->strength,
                                    .part = part, .refiner_switch = job->refiner_switch };
    enum err err = check_jobs(renderer->model, batch->jobs, batch->count, error);
    if (err == ERR_OK) {
        err = plan_make(&batch->plan, &renderer->model->process, &request, error);
    }
    if (err != ERR_OK || (err = renderer_have_slots(renderer, batch->count, error)) != ERR_OK) {
        return err;
    }
    batch->work = memory_get_array(batch->count, sizeof *batch->work);
    if (part != PLAN_SECOND && (err = read_starts(renderer, batch, error)) != ERR_OK) {
        return err;
    }
    struct run_kind kind = { .width = job->width, .height = job->height, .count = (uint32_t)batch->count,
                             .guided = is_guided(renderer->model, job), .fresh = batch->plan.needs_noise,
                             .kept = start_keeps(renderer->model, job), .unit = batch->trace != NULL,
                             .vae_tiling = job->vae_tiling, .first = part == PLAN_FIRST };
    err = renderer_run(&batch->run, renderer, &kind, error);
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
    *batch = (struct batch){ .jobs = batch->jobs, .count = batch->count, .trace = batch->trace };
}

static enum err prepare_both(struct renderer *renderer, struct batch *batch, struct batch *second, struct error *error) {
    enum err err = prepare(renderer, batch, PLAN_FIRST, error);
    return err == ERR_OK ? prepare(renderer->refiner, second, PLAN_SECOND, error) : err;
}

/* Model and refiner share one budget: where a batch does not fit into it beside what either keeps of others, all that goes. */
static enum err prepare_all(struct renderer *renderer, struct batch *batch, struct batch *second, struct error *error) {
    if (renderer->refiner == NULL) {
        return prepare(renderer, batch, PLAN_WHOLE, error);
    }
    enum err err = prepare_both(renderer, batch, second, error);
    if (err == ERR_MEMORY) {
        batch_release(batch);
        batch_release(second);
        renderer_forget(renderer);
        renderer_forget(renderer->refiner);
        err = prepare_both(renderer, batch, second, error);
    }
    return err;
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
    enum err err = prepare_all(renderer, &batch, &second, error);
    if (err == ERR_OK) {
        err = render(renderer, &batch, &second, watch, error);
    }
    if (err == ERR_OK && trace_path != NULL) {
        err = trace_end(last, trace_path, error);
    }
    for (size_t i = 0; err == ERR_OK && i < count; i++) {
        outputs[i] = decoding_take(&last->run->decoding, (uint32_t)i, jobs[0].width, jobs[0].height);
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
