/* preview_kit.h - what the tests of previews share: two pictures drawn as one batch, and what was seen of them meanwhile. */
#ifndef TESTS_PIPELINE_PREVIEW_KIT_H
#define TESTS_PIPELINE_PREVIEW_KIT_H

#include "pipeline/pipeline.h"

enum { SIDE = 64, LATENTS = 16, STEPS = 20, MOST = 64, COUNT = 2 };

struct seen {
    uint32_t wanted;       /* place, or PREVIEW_NONE */
    uint32_t first_step;   /* asked for from this step on; 0: from the first */
    uint32_t at;           /* steps so far */
    size_t count;
    struct { uint32_t place, step, steps; uint8_t rgb[LATENTS * LATENTS * 3]; } list[MOST];
    bool without_pixels;
};

struct studio {
    struct device *device;
    struct model *model;
    struct renderer *renderer;
};

struct render_job job_of(uint64_t seed, const char *sampler);
struct studio studio_of(const char *device, const char *folder);
void studio_close(struct studio *studio);
/* Two pictures of LATENTS x LATENTS latents as one batch; seen NULL: nobody watches. */
void draw(struct render_output outputs[COUNT], struct studio *studio, const struct render_job jobs[COUNT], struct seen *seen);

#endif
