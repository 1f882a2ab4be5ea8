/*
 * denoise.h - the loop: from noise to latents, a whole batch at once, under the prompts' guidance.
 *
 * A denoiser is one recorded step for (size, count, guided or not) and the buffers it runs on; it serves every batch of
 * that kind, whatever its prompts, seeds, guidance, sampler and schedule. It lives as long as its cross_memory.
 */
#ifndef PIPELINE_DENOISE_DENOISE_H
#define PIPELINE_DENOISE_DENOISE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "pipeline/denoise/noise.h"
#include "pipeline/denoise/schedule.h"
#include "pipeline/denoise/unet.h"
#include "pipeline/denoise/viewer.h"
#include "pipeline/pipeline.h"
#include "pipeline/denoise/trace.h"

enum { DENOISE_WINDOW = 16 }; /* steps whose table and noise lie on the device at once */

struct denoiser {
    struct backend *backend;
    uint32_t count, height, width, channels; /* of the latents */
    uint32_t beside;         /* channels that an inpainting U-Net sees beside the latents: mask and masked picture; or 0 */
    float latent_scale;      /* of the VAE's own latents to ours */
    bool guided, fresh, kept;
    uint32_t told_width;     /* G: of the U-Net */
    uint32_t added_width;    /* A: of the U-Net */
    struct program *step;
    struct program *times;   /* what a window's timesteps add, for all its steps */
    struct program *begin;   /* noise -> latents, where the device makes it */
    struct program *renew;   /* noise -> a window's, where fresh, likewise */
    struct buffer *latents;  /* [count,h,w,C] */
    struct buffer *history;  /* [count,h,w,C]: what a multistep sampler remembers */
    struct buffer *belief;   /* [count,h,w,C]: the pictures that the last step's model believed in */
    struct buffer *noise;    /* [WINDOW*count,h,w,C]: where fresh: noise of ancestral samplers */
    struct buffer *draws;    /* [count, or WINDOW*count where fresh] noise_row */
    struct buffer *table;    /* [WINDOW] step_row */
    struct buffer *counter;  /* i32: row of the table */
    struct buffer *guidance; /* [count,2] f32: cfg and its rescaling */
    struct buffer *slots;    /* [count or 2*count] i32: unconditioned first */
    struct buffer *added;    /* [count or 2*count,A]: added conditioning, likewise */
    struct buffer *told;     /* [count,G]: sinusoids of guidance, for U-Nets that are told it. These are never guided */
    struct buffer *vectors;  /* of unet_times: what a window's timesteps add */
    struct buffer *surround; /* [count or 2*count,h,w,beside] */
    struct buffer *keep;     /* [count,h,w,2C+1]: where kept: a picture's latents, its noise, 1 where it is drawn anew, else 0 */
    struct viewer viewer;
};
struct denoiser_shape {
    uint32_t count, height, width; /* of the latents */
    bool guided;
    bool fresh; /* for samplers that add noise on the way, too */
    bool kept;  /* parts of pictures are kept, by a U-Net that is not for inpainting */
    float latent_scale;
    const struct latent_rgb *map; /* for previews, or NULL */
};
MUST_USE enum err denoiser_init(struct denoiser *denoiser, const struct unet *unet, struct backend *backend,
                                const struct cross_memory *memory, const struct denoiser_shape *shape,
                                struct error *error);
void denoiser_release(struct denoiser *denoiser);
uint64_t denoiser_scratch(const struct denoiser *denoiser); /* that its programs need, one at a time */
void denoiser_attach(struct denoiser *denoiser, struct buffer *scratch);
uint64_t denoiser_bytes(const struct denoiser *denoiser); /* of its buffers, and of its viewer */

/* What to draw, a value an image. */
struct denoise_job {
    struct noise noise;  /* seeded; also feeds ancestral samplers */
    double guidance;     /* cfg */
    double rescale;      /* of guidance, 0: none (Lin 2023) */
    uint32_t prompt, negative; /* slots of the cross_memory; negative unused where not guided */
    float *added, *added_negative; /* [A] each, where the U-Net has added conditioning */
    const float *init;   /* [h,w,2C]: the VAE's moments of the picture to start from, or NULL: nothing but noise */
    bool from_noise;     /* where kept: init is not started from, only kept */
    const float *masked; /* inpainting U-Nets. [h,w,2C]: moments of the picture without what is to be drawn anew */
    const float *mask;   /* inpainting U-Nets, and where kept. [h,w]: 1 where it is drawn anew, else 0 */
};

/* Leaves the finished latents in denoiser->latents. `before` (or NULL: from noise or pictures): the denoiser of the same shape whose
 * way this one walks on. ERR_CANCELLED where `watch` says so. trace: NULL, or of one image. */
MUST_USE enum err denoise(struct denoiser *denoiser, const struct plan *plan, struct denoise_job *jobs,
                          const struct denoiser *before, const struct render_watch *watch, struct trace *trace,
                          struct error *error);

#endif
