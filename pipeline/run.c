/*
 * run.c - recording and releasing what a kind of batch needs.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "pipeline/run.h"

/* ---- decoding --------------------------------------------------------------------------------------------------- */

/* Pictures first..first+count: latents, or the canvas of one, -> pixels, and how many values went wrong. */
static struct program *record_decoding(const struct decoding *decoding, const struct model *model, uint32_t first,
                                       uint32_t count, uint32_t width, uint32_t height) {
    uint32_t factor = model->shape.pixels_per_latent, h = height / factor, w = width / factor;
    size_t latent_size = sizeof(float) * h * w * model->shape.latent_channels, area = (size_t)width * height;
    struct program *p = vae_program_create(&model->vae);
    struct tensor pixels = program_bind(p, decoding->pixels, first * area * 3, count, height, width, 3);
    struct tensor bad = program_bind(p, decoding->bad, first * sizeof(int32_t), count, 1, 1, 1);
    struct tensor unit = TENSOR_NONE;
    if (decoding->unit != NULL) {
        unit = program_bind(p, decoding->unit, first * area * 3 * sizeof(float), count, height, width, 3);
    }
    if (decoding->tiled != NULL) {
        op_pixels(p, pixels, unit, bad, program_bind(p, tiled_canvas(decoding->tiled), 0, 1, height, width, 3));
    } else {
        struct tensor latent = program_bind(p, decoding->latents, first * latent_size, count, h, w,
                                            model->shape.latent_channels);
        op_pixels(p, pixels, unit, bad, vae_record_decoder(p, &model->vae, latent));
    }
    program_finish(p);
    return p;
}

/* The VAE wants far more memory a picture than the U-Net does. */
static uint32_t chunk_for(const struct decoding *decoding, const struct model *model, const struct run_kind *kind,
                          uint64_t memory) {
    uint32_t chunk = decoding->tiled != NULL ? 1 : kind->count;
    while (chunk > 1) {
        struct program *trial = record_decoding(decoding, model, 0, chunk, kind->width, kind->height);
        bool fits = program_memory(trial) <= memory;
        program_destroy(trial);
        if (fits) {
            break;
        }
        chunk = (chunk + 1) / 2;
    }
    return chunk;
}

enum err decoding_init(struct decoding *decoding, const struct model *model, struct buffer *latents,
                       const struct run_kind *kind, uint64_t memory, struct error *error) {
    struct decoding made = { .latents = latents };
    uint32_t count = kind->count;
    size_t values = (size_t)count * kind->width * kind->height * 3; /* a VAE halves sides at least once: a multiple of 4 a picture */
    enum err err = buffer_create(&made.pixels, model->backend, values, error);
    if (err == ERR_OK) {
        err = buffer_create(&made.bad, model->backend, count * sizeof(int32_t), error);
    }
    if (err == ERR_OK && kind->unit) {
        err = buffer_create(&made.unit, model->backend, values * sizeof(float), error);
    }
    if (err == ERR_OK && tiled_applies(kind->width, kind->height, kind->vae_tiling)) {
        err = tiled_create(&made.tiled, model, kind->width, kind->height, kind->vae_tiling, error);
    }
    if (err != ERR_OK) {
        decoding_release(&made);
        return err;
    }
    made.chunk = chunk_for(&made, model, kind, memory);
    made.programs = memory_get_array((count + made.chunk - 1) / made.chunk, sizeof *made.programs);
    for (uint32_t first = 0; first < count; first += made.chunk) {
        uint32_t size = count - first < made.chunk ? count - first : made.chunk;
        made.programs[made.program_count++] = record_decoding(&made, model, first, size, kind->width, kind->height);
    }
    *decoding = made;
    return ERR_OK;
}

void decoding_run(struct decoding *decoding, uint32_t program) {
    if (decoding->tiled != NULL) {
        tiled_decode(decoding->tiled, decoding->latents, program);
    }
    program_run(decoding->programs[program]);
}

struct render_output decoding_take(const struct decoding *decoding, uint32_t place, uint32_t width, uint32_t height) {
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

void decoding_release(struct decoding *decoding) {
    for (uint32_t i = 0; i < decoding->program_count; i++) {
        program_destroy(decoding->programs[i]);
    }
    free(decoding->programs);
    tiled_destroy(decoding->tiled);
    buffer_destroy(decoding->pixels);
    buffer_destroy(decoding->bad);
    buffer_destroy(decoding->unit);
    *decoding = (struct decoding){ 0 };
}

uint64_t decoding_bytes(const struct decoding *decoding) {
    return buffer_size(decoding->pixels) + buffer_size(decoding->bad) +
           (decoding->unit == NULL ? 0 : buffer_size(decoding->unit)) +
           (decoding->tiled == NULL ? 0 : tiled_bytes(decoding->tiled));
}

uint64_t decoding_scratch(const struct decoding *decoding) {
    uint64_t most = decoding->tiled == NULL ? 0 : tiled_scratch(decoding->tiled);
    for (uint32_t i = 0; i < decoding->program_count; i++) {
        uint64_t needed = program_memory(decoding->programs[i]);
        most = needed > most ? needed : most;
    }
    return most;
}

void decoding_attach(struct decoding *decoding, struct buffer *scratch) {
    for (uint32_t i = 0; i < decoding->program_count; i++) {
        program_attach(decoding->programs[i], scratch);
    }
    if (decoding->tiled != NULL) {
        tiled_attach(decoding->tiled, scratch);
    }
}

/* ---- encoding ------------------------------------------------------------------------------------------------------ */

enum err encoding_init(struct encoding *encoding, const struct model *model, uint32_t width, uint32_t height,
                       struct error *error) {
    uint32_t factor = model->shape.pixels_per_latent, channels = 2 * model->shape.latent_channels;
    uint32_t h = height / factor, w = width / factor;
    struct encoding made = { .program = vae_program_create(&model->vae) };
    struct program *p = made.program;
    enum err err = buffer_create(&made.picture, model->backend, sizeof(float) * width * height * 3, error);
    if (err == ERR_OK) {
        err = buffer_create(&made.moments, model->backend, sizeof(float) * h * w * channels, error);
    }
    if (err != ERR_OK) {
        encoding_release(&made);
        return err;
    }
    op_copy(p, program_bind(p, made.moments, 0, 1, h, w, channels),
            vae_record_encoder(p, &model->vae, program_bind(p, made.picture, 0, 1, height, width, 3)));
    program_finish(p);
    *encoding = made;
    return ERR_OK;
}

void encoding_run(float *moments, struct encoding *encoding, const float *picture) {
    buffer_upload(encoding->picture, 0, picture, buffer_size(encoding->picture));
    program_run(encoding->program);
    buffer_download(encoding->moments, 0, moments, buffer_size(encoding->moments));
}

void encoding_release(struct encoding *encoding) {
    program_destroy(encoding->program);
    buffer_destroy(encoding->picture);
    buffer_destroy(encoding->moments);
    *encoding = (struct encoding){ 0 };
}

uint64_t encoding_bytes(const struct encoding *encoding) {
    return buffer_size(encoding->picture) + buffer_size(encoding->moments);
}

/* ---- runs ------------------------------------------------------------------------------------------------------- */

bool run_kind_equal(const struct run_kind *a, const struct run_kind *b) {
    return a->width == b->width && a->height == b->height && a->count == b->count && a->guided == b->guided &&
           a->fresh == b->fresh && a->kept == b->kept && a->unit == b->unit && a->vae_tiling == b->vae_tiling &&
           a->first == b->first;
}

enum err run_create(struct run **run, const struct model *model, const struct cross_memory *memory,
                    const struct run_kind *kind, struct error *error) {
    uint32_t factor = model->shape.pixels_per_latent;
    struct denoiser_shape shape = { .count = kind->count, .height = kind->height / factor, .width = kind->width / factor,
                                    .guided = kind->guided, .fresh = kind->fresh, .kept = kind->kept,
                                    .latent_scale = model->vae.config.scaling_factor,
                                    .map = latent_rgb_find(model->vae.config.scaling_factor, model->shape.latent_channels) };
    struct run *made = memory_get(sizeof *made);
    made->kind = *kind;
    enum err err = denoiser_init(&made->denoiser, &model->unet, model->backend, memory, &shape, error);
    if (err == ERR_OK && !kind->first) {
        err = decoding_init(&made->decoding, model, made->denoiser.latents, kind, denoiser_scratch(&made->denoiser), error);
    }
    if (err != ERR_OK) {
        run_destroy(made);
        return err;
    }
    *run = made;
    return ERR_OK;
}

void run_destroy(struct run *run) {
    if (run != NULL) {
        decoding_release(&run->decoding);
        denoiser_release(&run->denoiser);
        free(run);
    }
}

uint64_t run_bytes(const struct run *run) {
    return denoiser_bytes(&run->denoiser) + (run->kind.first ? 0 : decoding_bytes(&run->decoding));
}

uint64_t run_scratch(const struct run *run) {
    uint64_t step = denoiser_scratch(&run->denoiser), decode = decoding_scratch(&run->decoding);
    return step > decode ? step : decode;
}

void run_attach(struct run *run, struct buffer *scratch) {
    denoiser_attach(&run->denoiser, scratch);
    decoding_attach(&run->decoding, scratch);
}
