/* studio.c - rendering in this process. */
#include "cli/studio.h"

#include "base/clock.h"
#include "base/machine.h"
#include "cli/output.h"
#include "cli/preview_file.h"

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

/* Who watches: a bar on a terminal, and a file. */
struct audience {
    struct bar bar;
    const char *preview; /* or NULL */
    uint64_t next_ms;    /* not before this is another one written */
    struct error trouble; /* with the file; code ERR_OK: none */
};

static bool draw_progress(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    static const char *const names[] = { [RENDER_TEXT] = "reading", [RENDER_STEP] = "denoising", [RENDER_DECODE] = "decoding" };
    struct audience *audience = context;
    if (!audience->bar.terminal)
        return true;
    bar_draw(&audience->bar, names[phase], step, steps, "", phase == RENDER_STEP && step == steps);
    return true;
}

static uint32_t wants_preview(void *context) {
    const struct audience *audience = context;
    return !audience->trouble.code && clock_monotonic_ms() >= audience->next_ms ? 0 : PREVIEW_NONE;
}

static void take_preview(void *context, const struct render_preview *preview) {
    struct audience *audience = context;
    if (!preview->rgb) {
        error_set(&audience->trouble, ERR_UNSUPPORTED, "the model's VAE is of a kind whose latents no colours are known for");
        return;
    }
    if (preview_write(audience->preview, preview->width, preview->height, preview->rgb, &audience->trouble) == ERR_OK)
        audience->next_ms = clock_monotonic_ms() + PREVIEW_PAUSE_MS;
}

enum err studio_render(struct rendered *out, struct studio *studio, const struct spec *spec,
                       const struct file_places *places, const char *trace, const char *preview, struct error *error) {
    struct audience audience = { .preview = preview };
    const struct render_viewer viewer = { wants_preview, take_preview, &audience };
    const struct render_watch watch = { draw_progress, &audience, preview ? &viewer : NULL };
    bar_init(&audience.bar);
    enum err err = render_draw(out, studio->renderer, device_class(studio->device), &spec, 1, places, &watch, trace, error);
    bar_finish(&audience.bar);
    if (audience.trouble.code)
        output_warn("--preview %s: %s", preview, audience.trouble.message);
    if (!err)
        render_finish(out, spec);
    if (!err && out->error.code) {
        *error = out->error;
        err = out->error.code;
        rendered_release(out);
    }
    return err;
}
