/*
 * model.h - inside of the pipeline: what a device and a loaded model are.
 */
#ifndef PIPELINE_MODEL_H
#define PIPELINE_MODEL_H

#include "pipeline/backend/backend.h"
#include "pipeline/denoise/schedule.h"
#include "pipeline/denoise/unet.h"
#include "pipeline/image/vae.h"
#include "pipeline/pipeline.h"
#include "pipeline/text/text_encoder.h"
#include "pipeline/text/tokenizer.h"

struct device {
    struct backend *backend;
};

struct model {
    struct backend *backend; /* borrowed: the device outlives its models */
    struct model_shape shape;
    struct tokenizer *tokenizer;
    struct process process;
    struct text_encoder text;
    struct unet unet;
    struct vae vae;
};

#endif
