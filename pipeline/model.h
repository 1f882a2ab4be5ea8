/*
 * model.h - inside of the pipeline: what a device and a loaded model are.
 */
#ifndef PIPELINE_MODEL_H
#define PIPELINE_MODEL_H

#include "pipeline/backend/backend.h"
#include "pipeline/denoise/schedule.h"
#include "pipeline/denoise/unet.h"
#include "pipeline/family.h"
#include "pipeline/image/vae.h"
#include "pipeline/pipeline.h"
#include "pipeline/text/text_encoder.h"
#include "pipeline/text/tokenizer.h"

struct device {
    struct backend *backend;
};

struct text_part {
    struct tokenizer *tokenizer;
    struct text_encoder encoder;
};

struct model {
    struct backend *backend; /* borrowed: the device outlives its models */
    struct model_shape shape;
    struct family_index index;
    struct process process;
    struct text_part texts[FAMILY_TEXTS]; /* [index.family->text_count] */
    struct unet unet;
    struct vae vae;
};

/* How many numbers beside the pooled text its U-Net wants to be told: height, width, top, left, and either the target's height
 * and width (6) or an aesthetic score (5); 0: no added conditioning. */
uint32_t model_numbers(const struct model *model);
uint32_t model_clip_skip_limit(const struct model *model); /* the largest clip_skip it can do */

#endif
