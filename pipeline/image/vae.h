/*
 * vae.h - the autoencoder (AutoencoderKL; Kingma 2013, Rombach 2022): pictures to latents and back.
 *
 * Parameters are immutable after load; recording appends to a program and computes nothing. Latents here are as the U-Net
 * sees them: scaled by scaling_factor.
 */
#ifndef PIPELINE_IMAGE_VAE_H
#define PIPELINE_IMAGE_VAE_H

#include <jansson.h>
#include <stdint.h>

#include "base/error.h"
#include "pipeline/backend/backend.h"
#include "pipeline/weights/layers.h"

enum { VAE_LEVELS_LIMIT = 6, VAE_LAYERS_LIMIT = 8, VAE_WIDTH_LIMIT = 8192, VAE_LATENT_LIMIT = 64 };

struct vae_config {
    uint32_t latent_channels;
    uint32_t levels;
    uint32_t widths[VAE_LEVELS_LIMIT]; /* block_out_channels */
    uint32_t layers;                   /* layers_per_block; the decoder has one more */
    uint32_t norm_groups;
    float scaling_factor;
    bool force_upcast; /* its activations overflow f16 */
};
MUST_USE enum err vae_config_read(struct vae_config *config, const json_t *json, struct error *error);
uint32_t vae_pixels_per_latent(const struct vae_config *config); /* 2^(levels-1) */

struct vae_level {
    uint32_t layers;
    struct resnet resnets[VAE_LAYERS_LIMIT + 1];
    struct layer resample; /* weight NULL on the last */
};

/* One head over all places, between two residual blocks. */
struct vae_middle {
    struct resnet resnets[2];
    struct layer norm, qkv, out;
};

/* Encoder and decoder have the same parts, in opposite order. */
struct vae_half {
    struct layer conv_in, norm_out, conv_out;
    struct layer quant; /* 1x1: quant_conv behind the encoder, post_quant_conv before the decoder */
    struct vae_level levels[VAE_LEVELS_LIMIT]; /* in the order of the way through */
    struct vae_middle middle;
};

struct vae {
    struct vae_config config;
    struct loader loader; /* owns the parameters */
    struct vae_half encoder, decoder;
};
/* may_upcast: where its config says force_upcast and the device computes in f16, the VAE is prepared and drawn in f32, as
 * diffusers' SDXL pipelines do it, and those alone: the VAEs of SD 1 and 2 carry the flag as a default and fit into f16. */
MUST_USE enum err vae_load(struct vae *vae, struct component *component, struct backend *backend, bool may_upcast,
                           struct error *error);
void vae_release(struct vae *vae);

/* A program in the VAE's numerics: what the two below are recorded into. */
struct program *vae_program_create(const struct vae *vae);
/* latents [n,h,w,L] -> picture [n,h*f,w*f,3] in -1..1 (about). */
struct tensor vae_record_decoder(struct program *program, const struct vae *vae, struct tensor latents);
/* picture [n,H,W,3] in -1..1 -> mean and log variance of the posterior [n,H/f,W/f,2L], unscaled. */
struct tensor vae_record_encoder(struct program *program, const struct vae *vae, struct tensor picture);

#endif
