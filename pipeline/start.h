/*
 * start.h - a job's picture and mask, as the VAE and the U-Net want them. Pure.
 *
 * As diffusers' image processor does it for pictures of the job's own size: nothing is resized.
 */
#ifndef PIPELINE_START_H
#define PIPELINE_START_H

#include "pipeline/model.h"

bool start_inpaints(const struct model *model); /* its U-Net sees a mask and a masked picture beside the latents */
/* Is the picture kept where the mask is black, by a model that sees no mask? */
bool start_keeps(const struct model *model, const struct render_job *job);
/* Does the job bring what its model needs to begin with? */
MUST_USE enum err start_check(const struct model *model, const struct render_job *job, struct error *error);

void start_picture(float *picture, const struct render_job *job); /* [H,W,3]: init in -1..1 */
void start_masked(float *picture, const struct render_job *job);  /* [H,W,3]: grey (0) where the mask is white */
/* [h,w]: 1 where the mask is white at the upper left pixel of a latent's place, else 0. */
void start_mask(float *mask, const struct render_job *job, uint32_t pixels_per_latent);

#endif
