/* render.c - one batch end to end: specs in, PNG objects out. */
#include "worker/render.h"

#include <stdlib.h>

#include "base/clock.h"
#include "picture/picture.h"

_Static_assert((int)RENDER_RULES == (int)RENDER_RULES_FP32, "a job's key must name the rules its pixels were drawn by");

static struct render_job job_of(const struct spec *spec) {
    return (struct render_job){
        .prompt = spec->prompt,
        .negative = spec->negative,
        .seed = spec->seed,
        .width = spec->width,
        .height = spec->height,
        .steps = spec->steps,
        .cfg = decimal_value(spec->cfg),
        .sampler = sampler_name(spec->sampler),
        .schedule = schedule_name(spec->schedule),
        .clip_skip = spec->clip_skip,
    };
}

/* PNG and digests of one picture. */
static enum err finish(struct rendered *out, const struct spec *spec, const char *device_class,
                       const struct render_output *output, struct error *error) {
    struct bytes canonical = BYTES_INIT, png = BYTES_INIT;
    struct picture picture = { output->width, output->height, output->rgb }; /* borrowed */
    char cfg[32], model[DIGEST_HEX_SIZE];
    spec_canonical(&canonical, spec);
    decimal_format(cfg, spec->cfg);
    digest_hex(&spec->model, model);
    struct picture_job job = {
        .canonical = bytes_text(&canonical),
        .device_class = device_class,
        .prompt = spec->prompt,
        .negative = spec->negative,
        .sampler = sampler_name(spec->sampler),
        .schedule = schedule_name(spec->schedule),
        .cfg = cfg,
        .model_name_or_digest = model,
        .seed = spec->seed,
        .steps = spec->steps,
        .width = spec->width,
        .height = spec->height,
        .clip_skip = spec->clip_skip,
    };
    enum err err = png_encode_job(&png, &picture, &job, error);
    if (err)
        goto done;
    out->picture = digest_of(png.data, png.size);
    out->pixels = picture_pixel_digest(&picture);
    out->png = bytes_take(&png);
done:
    bytes_release(&canonical);
    bytes_release(&png);
    return err;
}

enum err render_specs(struct rendered *out, struct renderer *renderer, const char *device_class,
                      const struct spec *const *specs, size_t count, const struct render_watch *watch, const char *trace,
                      struct error *error) {
    uint64_t begin_ms = clock_monotonic_ms();
    struct render_job *jobs = memory_get_array(count, sizeof *jobs);
    struct render_output *outputs = memory_get_array(count, sizeof *outputs);
    for (size_t i = 0; i < count; i++)
        jobs[i] = job_of(specs[i]);
    enum err err = renderer_render(renderer, jobs, count, watch, trace, outputs, error);
    if (err)
        goto done;
    for (size_t i = 0; i < count; i++) {
        out[i] = (struct rendered){ .error = outputs[i].error, .png = BYTES_INIT };
        if (!out[i].error.code && finish(&out[i], specs[i], device_class, &outputs[i], &out[i].error) != ERR_OK)
            bytes_release(&out[i].png); /* the sentence is in out[i].error: this job's own trouble */
    }
    uint32_t share_ms = (uint32_t)((clock_monotonic_ms() - begin_ms) / count);
    for (size_t i = 0; i < count; i++)
        out[i].render_ms = share_ms;
done:
    for (size_t i = 0; i < count; i++)
        render_output_release(&outputs[i]);
    free(outputs);
    free(jobs);
    return err;
}
