/* studio.c - rendering in this process. */
#include "cli/studio.h"

#include "base/machine.h"
#include "cli/output.h"

enum err studio_open(struct studio *studio, const char *device, uint32_t threads, const struct spec *spec,
                     const struct file_places *places, struct error *error) {
    struct studio opened = { 0 };
    struct memory_need need;
    enum err err = device_open(&opened.device, device, numerics_name(spec->numerics), threads, error);
    if (!err)
        err = spec_memory_check(&need, opened.device, spec, places, 1, device_memory(opened.device), error);
    if (!err)
        err = spec_model_load(&opened.model, opened.device, spec, places, error);
    if (!err)
        err = spec_refiner_load(&opened.refiner, opened.device, spec, places, error);
    if (!err)
        err = renderer_create(&opened.renderer, opened.model, 0, error);
    if (!err && opened.refiner)
        err = renderer_refine(opened.renderer, opened.refiner, error);
    if (err)
        studio_close(&opened);
    else
        *studio = opened;
    return err;
}

void studio_close(struct studio *studio) {
    if (studio->renderer)
        renderer_destroy(studio->renderer);
    model_destroy(studio->model);
    model_destroy(studio->refiner);
    if (studio->device)
        device_close(studio->device);
    *studio = (struct studio){ 0 };
}

static bool draw_progress(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    static const char *const names[] = { [RENDER_TEXT] = "reading", [RENDER_STEP] = "denoising", [RENDER_DECODE] = "decoding" };
    bar_draw(context, names[phase], step, steps, "", phase == RENDER_STEP && step == steps);
    return true;
}

enum err studio_render(struct rendered *out, struct studio *studio, const struct spec *spec,
                       const struct file_places *places, const char *trace, struct error *error) {
    struct bar bar;
    bar_init(&bar);
    struct render_watch watch = { .progress = draw_progress, .context = &bar };
    enum err err = render_draw(out, studio->renderer, device_class(studio->device), &spec, 1, places,
                               bar.terminal ? &watch : NULL, trace, error);
    bar_finish(&bar);
    if (!err)
        render_finish(out, spec);
    if (!err && out->error.code) {
        *error = out->error;
        err = out->error.code;
        rendered_release(out);
    }
    return err;
}
