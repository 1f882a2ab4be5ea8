/* preview_kit.c - a model that draws two pictures, and who watches them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "tests/pipeline/preview_kit.h"

static bool count_step(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    struct seen *seen = context;
    (void)steps;
    seen->at = phase == RENDER_STEP ? step : seen->at;
    return true;
}

static uint32_t wants(void *context) {
    const struct seen *seen = context;
    return seen->at + 1 >= seen->first_step ? seen->wanted : PREVIEW_NONE;
}

static void take(void *context, const struct render_preview *preview) {
    struct seen *seen = context;
    assert_true(seen->count < MOST);
    seen->without_pixels = preview->rgb == NULL;
    seen->list[seen->count].place = preview->place;
    seen->list[seen->count].step = preview->step;
    seen->list[seen->count].steps = preview->steps;
    if (preview->rgb != NULL) {
        assert_int_equal(preview->width, LATENTS);
        assert_int_equal(preview->height, LATENTS);
        memcpy(seen->list[seen->count].rgb, preview->rgb, sizeof seen->list[0].rgb);
    }
    seen->count++;
}

struct render_job job_of(uint64_t seed, const char *sampler) {
    return (struct render_job){ .prompt = seed == 1 ? "a sunflower on a teal background" : "pixel art of a fish on a green background",
                                .negative = "", .seed = seed, .width = SIDE, .height = SIDE, .steps = STEPS, .cfg = 4.0,
                                .sampler = sampler, .schedule = strcmp(sampler, "DDIM") == 0 ? "leading" : "karras",
                                .clip_skip = 1 };
}

struct studio studio_of(const char *device, const char *folder) {
    struct studio studio;
    struct error error;
    char *path = text_format("%s/%s", SOURCE_DIR, folder);
    if (device_open(&studio.device, device, "fp32", 2, &error) != ERR_OK || model_load(&studio.model, studio.device, path, &error) != ERR_OK ||
        renderer_create(&studio.renderer, studio.model, 0, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
    free(path);
    return studio;
}

void studio_close(struct studio *studio) {
    renderer_destroy(studio->renderer);
    model_destroy(studio->model);
    device_close(studio->device);
}

void draw(struct render_output outputs[COUNT], struct studio *studio, const struct render_job jobs[COUNT], struct seen *seen) {
    const struct render_viewer viewer = { wants, take, seen };
    const struct render_watch watch = { count_step, seen, &viewer };
    struct error error;
    if (renderer_render(studio->renderer, jobs, COUNT, seen == NULL ? NULL : &watch, NULL, outputs, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
}
