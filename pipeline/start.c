/*
 * start.c - pictures and masks to floats.
 */
#include "pipeline/start.h"

bool start_inpaints(const struct model *model) {
    return model->unet.config.in_channels != model->unet.config.out_channels;
}

bool start_keeps(const struct model *model, const struct render_job *job) {
    return job->mask != NULL && !start_inpaints(model);
}

enum err start_check(const struct model *model, const struct render_job *job, struct error *error) {
    const struct unet_config *unet = &model->unet.config;
    bool inpaints = start_inpaints(model);
    if (!(job->strength >= 0.0 && job->strength <= 1.0)) {
        return error_set(error, ERR_INVALID, "strength: want 0..1, job has %g", job->strength);
    }
    if (inpaints && (job->init == NULL || job->mask == NULL)) {
        return error_set(error, ERR_INVALID, "init and mask: want both, the model is one for inpainting (its U-Net has %u input"
                         " channels), job has %s", unet->in_channels,
                         job->init != NULL ? "init alone" : job->mask != NULL ? "mask alone" : "neither");
    }
    if (job->mask != NULL && job->init == NULL) {
        return error_set(error, ERR_INVALID, "init: want a picture that the mask is laid on, job has mask alone");
    }
    if (job->init == NULL && job->strength != 0.0 && job->strength != 1.0) {
        return error_set(error, ERR_INVALID, "strength: want 1 without a picture to start from (init), job has %g", job->strength);
    }
    return ERR_OK;
}

/* Brightness as Pillow's convert("L") has it, against one half. */
static bool is_white(const uint8_t *rgb) {
    uint32_t brightness = (rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16;
    return brightness >= 128;
}

void start_picture(float *picture, const struct render_job *job) {
    size_t values = (size_t)job->width * job->height * 3;
    for (size_t i = 0; i < values; i++) {
        picture[i] = (float)job->init[i] / 255.0f * 2.0f - 1.0f;
    }
}

void start_masked(float *picture, const struct render_job *job) {
    size_t places = (size_t)job->width * job->height;
    start_picture(picture, job);
    for (size_t i = 0; i < places; i++) {
        if (is_white(job->mask + 3 * i)) {
            picture[3 * i] = picture[3 * i + 1] = picture[3 * i + 2] = 0.0f;
        }
    }
}

void start_mask(float *mask, const struct render_job *job, uint32_t pixels_per_latent) {
    uint32_t height = job->height / pixels_per_latent, width = job->width / pixels_per_latent;
    for (uint32_t y = 0; y < height; y++) {
        for (uint32_t x = 0; x < width; x++) {
            size_t pixel = ((size_t)y * job->width + x) * pixels_per_latent;
            mask[y * width + x] = is_white(job->mask + 3 * pixel) ? 1.0f : 0.0f;
        }
    }
}
