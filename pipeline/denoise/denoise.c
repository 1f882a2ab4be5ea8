/*
 * denoise.c - look at the noise with the prompt in mind, push it a little toward what was seen, again and again.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/denoise/denoise.h"
#include "pipeline/watch.h"

/* ---- the story -------------------------------------------------------------------------------------------------- */

static struct unet_times times_of(const struct denoiser *d, const struct unet *unet) {
    uint32_t images = (d->guided ? 2 : 1) * d->count;
    return (struct unet_times){ .buffer = d->vectors, .steps = DENOISE_WINDOW, .images = unet_times_differ(unet) ? images : 1 };
}

static struct program *record_step(const struct denoiser *d, const struct unet *unet,
                                   const struct cross_memory *memory) {
    struct program *p = program_create(d->backend);
    uint32_t copies = d->guided ? 2 : 1;
    uint32_t n = d->count, h = d->height, w = d->width, c = d->channels;
    struct tensor latents = program_bind(p, d->latents, 0, n, h, w, c);
    struct tensor history = program_bind(p, d->history, 0, n, h, w, c);
    struct tensor belief = program_bind(p, d->belief, 0, n, h, w, c);
    struct tensor noise = d->fresh ? program_bind(p, d->noise, 0, DENOISE_WINDOW * n, h, w, c) : TENSOR_NONE;
    struct tensor keep = d->kept ? program_bind(p, d->keep, 0, n, h, w, 2 * c + 1) : TENSOR_NONE;
    struct tensor table = program_bind(p, d->table, 0, DENOISE_WINDOW, 1, 1, STEP_ROW_WIDTH);
    struct tensor counter = program_bind(p, d->counter, 0, 1, 1, 1, 1);
    struct tensor guidance = program_bind(p, d->guidance, 0, n, 1, 1, 2);
    struct unet_input input = { .times = times_of(d, unet), .step = counter,
                                .slots = program_bind(p, d->slots, 0, copies * n, 1, 1, 1) };

    /* look at the noise ... */
    input.x = op_latent_input(p, latents, table, counter, copies);
    if (d->beside != 0) {
        input.x = op_concat(p, input.x, program_bind(p, d->surround, 0, copies * n, h, w, d->beside));
    }
    /* ... with the prompt in mind, ... */
    struct tensor seen = unet_record(p, unet, &input, memory);
    /* ... and push it a little toward what was seen */
    op_update(p, latents, seen, guidance, history, noise, keep, belief, table, counter);
    program_finish(p);
    return p;
}

/* What the steps of a window have in common: what their timesteps add. */
static struct program *record_times(const struct denoiser *d, const struct unet *unet) {
    struct program *p = program_create(d->backend);
    const struct unet_times times = times_of(d, unet);
    struct tensor table = program_bind(p, d->table, 0, DENOISE_WINDOW, 1, 1, STEP_ROW_WIDTH);
    struct tensor told = TENSOR_NONE, added = TENSOR_NONE;
    if (d->told_width != 0) {
        told = program_bind(p, d->told, 0, times.images, 1, 1, d->told_width);
    }
    if (d->added_width != 0) {
        added = program_bind(p, d->added, 0, times.images, 1, 1, d->added_width);
    }
    unet_record_times(p, unet, &times, table, told, added);
    program_finish(p);
    return p;
}

/* `count` rows of noise into `buffer`, as the denoiser's draws say. */
static struct program *record_noise(const struct denoiser *d, struct buffer *buffer, uint32_t count) {
    struct program *p = program_create(d->backend);
    op_noise(p, program_bind(p, buffer, 0, count, d->height, d->width, d->channels),
             program_bind(p, d->draws, 0, count, 1, 1, sizeof(struct noise_row) / sizeof(float)));
    program_finish(p);
    return p;
}

static void latents_start(struct denoiser *d, const struct plan *plan, struct denoise_job *jobs, struct trace *trace);
static void latents_take(struct denoiser *d, const struct denoiser *before);
static void words_upload(struct denoiser *d, const struct denoise_job *jobs);
static void window_upload(struct denoiser *d, const struct plan *plan, uint32_t first, struct denoise_job *jobs);

enum err denoise(struct denoiser *d, const struct plan *plan, struct denoise_job *jobs, const struct denoiser *before,
                 const struct render_watch *watch, struct trace *trace, struct error *error) {
    viewer_begin(&d->viewer);
    words_upload(d, jobs);
    if (before == NULL) {
        latents_start(d, plan, jobs, trace); /* nothing but noise, as loud as the schedule begins */
    } else {
        latents_take(d, before); /* what another model has made of it so far */
    }
    for (uint32_t step = 0; step < plan->rows; step++) {
        if (step % DENOISE_WINDOW == 0) {
            window_upload(d, plan, step, jobs);
        }
        program_run(d->step);
        if (trace != NULL) {
            trace_add_latents(trace, d->latents, plan->first + step + 1, d->height, d->width, d->channels);
        }
        viewer_look(&d->viewer, watch, d->belief, plan->first + step + 1, plan->all);
        if (!render_watch_ask(watch, RENDER_STEP, plan->first + step + 1, plan->all)) {
            backend_wait(d->backend); /* nothing is under way in what the caller may free */
            return error_set(error, ERR_CANCELLED, "cancelled after step %u of %u", plan->first + step + 1, plan->all);
        }
    }
    backend_wait(d->backend);
    viewer_end(&d->viewer, watch);
    return ERR_OK;
}

/* ---- noise ------------------------------------------------------------------------------------------------------ */

/* The next [C,h,w] of an image's generator, as torch draws it, times `scale` -> out [h,w,C]. plain (may be NULL): as
 * drawn. */
static void draw_latents(float *out, float *plain, struct noise *noise, const struct denoiser *d, double scale) {
    size_t area = (size_t)d->height * d->width, size = area * d->channels;
    float *drawn = memory_get_array(size, sizeof *drawn);
    noise_draw(drawn, size, noise);
    for (size_t i = 0; i < area; i++) {
        for (uint32_t c = 0; c < d->channels; c++) {
            out[i * d->channels + c] = (float)(scale * (double)drawn[c * area + i]);
        }
    }
    if (plain != NULL) {
        memcpy(plain, drawn, size * sizeof *drawn);
    }
    free(drawn);
}

/* A draw from what the VAE says of a picture, moments [h,w,2C]: means, then logarithms of variances -> out [h,w,C]. */
static void draw_posterior(float *out, const float *moments, struct noise *noise, const struct denoiser *d) {
    draw_latents(out, NULL, noise, d, 1.0);
    for (size_t i = 0; i < (size_t)d->height * d->width; i++) {
        const float *mean = moments + 2 * i * d->channels, *variance = mean + d->channels;
        for (uint32_t c = 0; c < d->channels; c++) {
            double spread = exp(0.5 * fmin(fmax((double)variance[c], -30.0), 20.0));
            double drawn = (double)mean[c] + spread * (double)out[i * d->channels + c];
            out[i * d->channels + c] = (float)((double)d->latent_scale * drawn);
        }
    }
}

/* Where one image begins, on the host: pointers into what goes to the device. */
struct beginning {
    float *latents;  /* [h,w,C] */
    float *surround; /* [h,w,beside] */
    float *keep;     /* [h,w,2C+1] */
    float *plain;    /* [C,h,w]: its noise as it was drawn, or NULL */
};

/* What a U-Net for inpainting sees beside the latents: the mask, and a draw of the masked picture. */
static void begin_surround(float *surround, struct denoise_job *job, const struct denoiser *d) {
    size_t area = (size_t)d->height * d->width;
    float *masked = memory_get_array(area * d->channels, sizeof *masked);
    draw_posterior(masked, job->masked, &job->noise, d);
    for (size_t i = 0; i < area; i++) {
        surround[i * d->beside] = job->mask[i];
        memcpy(surround + i * d->beside + 1, masked + i * d->channels, d->channels * sizeof *masked);
    }
    free(masked);
}

/* What another U-Net's step keeps: the picture, its noise [h,w,C] and where. The masked picture, for which diffusers draws all the
 * same, is of no use here. */
static void begin_keep(float *keep, const float *picture, const float *noise, struct denoise_job *job, const struct denoiser *d) {
    size_t area = (size_t)d->height * d->width, c = d->channels, width = 2 * c + 1;
    for (size_t i = 0; i < area; i++) {
        memcpy(keep + i * width, picture + i * c, c * sizeof *keep);
        memcpy(keep + i * width + c, noise + i * c, c * sizeof *keep);
        keep[i * width + 2 * c] = job->mask[i];
    }
    float *unused = memory_get_array(area * c, sizeof *unused);
    draw_latents(unused, NULL, &job->noise, d, 1.0);
    free(unused);
}

/* Where nothing but a Philox generator's noise is in the latents, the device makes them by the row that this returns; a picture's are
 * mixed here. The generator's order is diffusers': the picture's latents, the noise, the masked picture's latents. */
static struct noise_row image_start(const struct beginning *begin, const struct plan *plan, struct denoise_job *job,
                                    const struct denoiser *d) {
    size_t size = (size_t)d->height * d->width * d->channels;
    float *picture = memory_get_array(size, sizeof *picture), *noise = memory_get_array(size, sizeof *noise);
    struct noise_row row = { .drawn = 0 };
    if (job->init != NULL) {
        draw_posterior(picture, job->init, &job->noise, d);
    } else {
        row = noise_next_row(&job->noise, plan->initial_scale);
    }
    if (row.drawn == 0) {
        draw_latents(noise, begin->plain, &job->noise, d, 1.0);
    }
    bool starts = job->init != NULL && !job->from_noise;
    for (size_t i = 0; i < size; i++) {
        float noisy = (float)((starts ? plan->noise_scale : plan->initial_scale) * (double)noise[i]);
        begin->latents[i] = starts ? (float)(plan->picture_scale * (double)picture[i] + (double)noisy) : noisy;
    }
    if (d->beside != 0) {
        begin_surround(begin->surround, job, d);
    }
    if (d->kept) {
        begin_keep(begin->keep, picture, noise, job, d);
    }
    free(picture);
    free(noise);
    return row;
}

/* Sinusoids of 1000 (guidance - 1) as diffusers' get_guidance_scale_embedding rounds them: angles are f32. */
static void tell_guidance(float *out, double guidance, uint32_t width) {
    uint32_t half = width / 2;
    float scale = (float)(guidance - 1.0) * 1000.0f, step = (float)log(10000.0) / (float)(half - 1);
    memset(out, 0, width * sizeof *out);
    for (uint32_t i = 0; i < half; i++) {
        float angle = scale * (float)exp((double)((float)i * -step));
        out[i] = (float)sin((double)angle);
        out[half + i] = (float)cos((double)angle);
    }
}

/* The noise of one image as the device draws it, before its scale. */
static void trace_drawn(struct trace *trace, struct denoiser *d, struct noise_row row) {
    size_t bytes = buffer_size(d->latents);
    float *values = memory_get(bytes);
    row.scale = 1.0;
    buffer_upload(d->draws, 0, &row, sizeof row);
    program_run(d->begin);
    buffer_download(d->latents, 0, values, bytes);
    trace_add_picture(trace, "noise", values, d->height, d->width, d->channels, true);
    free(values);
}

static void latents_start(struct denoiser *d, const struct plan *plan, struct denoise_job *jobs, struct trace *trace) {
    size_t size = (size_t)d->height * d->width * d->channels;
    float *latents = memory_get_array(size, sizeof *latents);
    float *plain = trace == NULL ? NULL : memory_get_array(size, sizeof *plain);
    size_t beside = (size_t)d->height * d->width * d->beside, kept = buffer_size(d->keep) / d->count;
    float *surround = memory_get_array(d->count * beside, sizeof *surround), *keep = memory_get(kept);
    struct noise_row *rows = memory_get_array(d->count, sizeof *rows);
    for (uint32_t i = 0; i < d->count; i++) {
        struct beginning begin = { .latents = latents, .surround = surround + i * beside, .keep = keep, .plain = plain };
        rows[i] = image_start(&begin, plan, &jobs[i], d);
        buffer_upload(d->keep, i * kept, keep, kept);
        if (rows[i].drawn == 0) {
            buffer_upload(d->latents, i * size * sizeof *latents, latents, size * sizeof *latents);
        }
    }
    if (trace != NULL && rows[0].drawn != 0) {
        trace_drawn(trace, d, rows[0]);
    } else if (trace != NULL) {
        trace_add(trace, "noise", DTYPE_F32, 4, (uint64_t[]){ 1, d->channels, d->height, d->width }, plain);
    }
    buffer_upload(d->draws, 0, rows, d->count * sizeof *rows);
    program_run(d->begin);
    for (uint32_t copy = 0; beside != 0 && copy < (d->guided ? 2u : 1u); copy++) {
        size_t bytes = d->count * beside * sizeof *surround;
        buffer_upload(d->surround, copy * bytes, surround, bytes);
    }
    float *nothing = memory_get(buffer_size(d->history));
    buffer_upload(d->history, 0, nothing, buffer_size(d->history));
    free(nothing);
    free(rows);
    free(latents);
    free(plain);
    free(surround);
    free(keep);
}

/* All of one model's buffer into the other's. */
static void buffer_take(struct buffer *to, const struct buffer *from) {
    size_t bytes = buffer_size(to);
    void *values = memory_get(bytes);
    assert(buffer_size(from) == bytes);
    buffer_download(from, 0, values, bytes);
    buffer_upload(to, 0, values, bytes);
    free(values);
}

static void latents_take(struct denoiser *d, const struct denoiser *before) {
    assert(d->beside == 0);
    buffer_take(d->latents, before->latents);
    buffer_take(d->history, before->history);
    if (d->kept) {
        buffer_take(d->keep, before->keep);
    }
}

/* What each image is guided by. */
static void words_upload(struct denoiser *d, const struct denoise_job *jobs) {
    uint32_t copies = d->guided ? 2 : 1;
    float *guidance = memory_get_array(2 * d->count, sizeof *guidance);
    int32_t *slots = memory_get_array(copies * d->count, sizeof *slots);
    float *told = memory_get_array(d->count * d->told_width, sizeof *told);
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->told_width != 0) {
            tell_guidance(told + i * d->told_width, jobs[i].guidance, d->told_width);
        }
        guidance[2 * i] = (float)jobs[i].guidance;
        guidance[2 * i + 1] = (float)jobs[i].rescale;
        slots[(copies - 1) * d->count + i] = (int32_t)jobs[i].prompt;
        if (d->guided) {
            slots[i] = (int32_t)jobs[i].negative;
        }
    }
    buffer_upload(d->guidance, 0, guidance, buffer_size(d->guidance));
    buffer_upload(d->slots, 0, slots, buffer_size(d->slots));
    buffer_upload(d->told, 0, told, buffer_size(d->told));
    for (uint32_t i = 0; d->added_width != 0 && i < d->count; i++) {
        size_t bytes = d->added_width * sizeof(float);
        buffer_upload(d->added, ((copies - 1) * d->count + i) * bytes, jobs[i].added, bytes);
        if (d->guided) {
            buffer_upload(d->added, i * bytes, jobs[i].added_negative, bytes);
        }
    }
    free(told);
    free(guidance);
    free(slots);
}

/* Rows `first`... of the plan to the device, with the fresh noise they add, drawn in order of steps: what the device can make
 * itself it makes, the rest is uploaded. */
static void window_upload(struct denoiser *d, const struct plan *plan, uint32_t first, struct denoise_job *jobs) {
    uint32_t rows = plan->rows - first < DENOISE_WINDOW ? plan->rows - first : DENOISE_WINDOW;
    const int32_t start = 0;
    struct step_row window[DENOISE_WINDOW] = { 0 };
    memcpy(window, &plan->table[first], rows * sizeof *window);
    buffer_upload(d->table, 0, window, sizeof window);
    buffer_upload(d->counter, 0, &start, sizeof start);
    program_run(d->times);
    assert(d->fresh || !plan->needs_noise);
    if (!plan->needs_noise) {
        return;
    }
    size_t bytes = (size_t)d->height * d->width * d->channels * sizeof(float);
    float *fresh = memory_get(bytes);
    struct noise_row *draws = memory_get(buffer_size(d->draws));
    for (uint32_t place = 0; place < rows * d->count; place++) {
        struct noise *noise = &jobs[place % d->count].noise;
        draws[place] = noise_next_row(noise, 1.0);
        if (draws[place].drawn == 0) {
            draw_latents(fresh, NULL, noise, d, 1.0);
            buffer_upload(d->noise, place * bytes, fresh, bytes);
        }
    }
    buffer_upload(d->draws, 0, draws, buffer_size(d->draws));
    program_run(d->renew);
    free(draws);
    free(fresh);
}

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

enum { DENOISER_BUFFERS = 14 };

static void list_buffers(struct denoiser *d, struct buffer **places[DENOISER_BUFFERS]) {
    struct buffer **all[DENOISER_BUFFERS] = { &d->latents, &d->history,  &d->noise, &d->table,
                                              &d->counter, &d->guidance, &d->slots, &d->added, &d->told,
                                              &d->surround, &d->draws, &d->vectors, &d->belief, &d->keep };
    memcpy(places, all, sizeof all);
}

enum err denoiser_init(struct denoiser *denoiser, const struct unet *unet, struct backend *backend,
                       const struct cross_memory *memory, const struct denoiser_shape *shape, struct error *error) {
    uint32_t count = shape->count, height = shape->height, width = shape->width;
    struct denoiser d = { .backend = backend, .count = count, .height = height, .width = width,
                          .channels = unet->config.out_channels, .guided = shape->guided, .fresh = shape->fresh,
                          .kept = shape->kept, .beside = unet->config.in_channels - unet->config.out_channels,
                          .latent_scale = shape->latent_scale, .added_width = unet->config.added_width,
                          .told_width = unet->config.told_width };
    uint32_t copies = d.guided ? 2 : 1;
    size_t latents = sizeof(float) * count * height * width * d.channels;
    size_t sizes[DENOISER_BUFFERS] = { latents, latents, d.fresh ? DENOISE_WINDOW * latents : 0,
                                       DENOISE_WINDOW * sizeof(struct step_row), sizeof(int32_t), 2 * count * sizeof(float),
                                       copies * count * sizeof(int32_t), copies * count * d.added_width * sizeof(float),
                                       copies * count * d.told_width * sizeof(float),
                                       copies * sizeof(float) * count * height * width * d.beside,
                                       (d.fresh ? DENOISE_WINDOW : 1) * count * sizeof(struct noise_row),
                                       unet_times_bytes(unet, times_of(&d, unet).steps, times_of(&d, unet).images), latents,
                                       d.kept ? sizeof(float) * count * height * width * (2 * d.channels + 1) : 0 };
    struct buffer **places[DENOISER_BUFFERS];
    list_buffers(&d, places);
    enum err err = viewer_init(&d.viewer, backend, shape->map, height, width, d.channels, error);
    for (size_t i = 0; err == ERR_OK && i < DENOISER_BUFFERS; i++) {
        err = buffer_create(places[i], backend, sizes[i], error);
    }
    if (err != ERR_OK) {
        denoiser_release(&d);
        return err;
    }
    d.step = record_step(&d, unet, memory);
    d.times = record_times(&d, unet);
    d.begin = record_noise(&d, d.latents, count);
    d.renew = d.fresh ? record_noise(&d, d.noise, DENOISE_WINDOW * count) : NULL;
    *denoiser = d;
    return ERR_OK;
}

void denoiser_release(struct denoiser *denoiser) {
    struct buffer **places[DENOISER_BUFFERS];
    list_buffers(denoiser, places);
    program_destroy(denoiser->step);
    program_destroy(denoiser->times);
    program_destroy(denoiser->begin);
    program_destroy(denoiser->renew);
    for (size_t i = 0; i < DENOISER_BUFFERS; i++) {
        buffer_destroy(*places[i]);
    }
    viewer_release(&denoiser->viewer);
    *denoiser = (struct denoiser){ 0 };
}

uint64_t denoiser_scratch(const struct denoiser *denoiser) {
    uint64_t step = program_memory(denoiser->step), times = program_memory(denoiser->times);
    return step > times ? step : times;
}

void denoiser_attach(struct denoiser *denoiser, struct buffer *scratch) {
    program_attach(denoiser->step, scratch);
    program_attach(denoiser->times, scratch);
}

uint64_t denoiser_bytes(const struct denoiser *denoiser) {
    struct denoiser copy = *denoiser;
    struct buffer **places[DENOISER_BUFFERS];
    uint64_t bytes = viewer_bytes(&denoiser->viewer);
    list_buffers(&copy, places);
    for (size_t i = 0; i < DENOISER_BUFFERS; i++) {
        bytes += buffer_size(*places[i]);
    }
    return bytes;
}
