/*
 * studio.h - one machine, no farm: a device, a model and a renderer for `render` and `reproduce`.
 */
#ifndef CLI_STUDIO_H
#define CLI_STUDIO_H

#include "pipeline/pipeline.h"
#include "proto/spec.h"
#include "worker/render.h"

struct studio {
    struct device *device;
    struct model *model, *refiner; /* refiner NULL: none */
    struct renderer *renderer;
};

/* Ready to draw this job from the files in these places. */
MUST_USE enum err studio_open(struct studio *studio, const char *device, uint32_t threads, const struct spec *spec,
                              const struct file_places *places, struct error *error);
void studio_close(struct studio *studio);

/* One picture, with a bar. `trace` may be NULL, and `preview`: a PNG file that shows how far it is, again and again. The job's own
 * error becomes this function's; a preview that cannot be written is a warning. */
MUST_USE enum err studio_render(struct rendered *out, struct studio *studio, const struct spec *spec,
                                const struct file_places *places, const char *trace, const char *preview, struct error *error);

#endif
