/*
 * viewer.c - taking previews behind steps, and handing them on.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "pipeline/denoise/viewer.h"

static size_t image_bytes(const struct viewer *viewer) {
    return sizeof(float) * viewer->height * viewer->width * viewer->channels;
}

enum err viewer_init(struct viewer *viewer, struct backend *backend, const struct latent_rgb *map, uint32_t height,
                     uint32_t width, uint32_t channels, struct error *error) {
    struct viewer made = { .map = map, .height = height, .width = width, .channels = channels };
    enum err err = snapshot_create(&made.snapshot, backend, image_bytes(&made), error);
    if (err == ERR_OK) {
        *viewer = made;
    }
    return err;
}

void viewer_release(struct viewer *viewer) {
    snapshot_destroy(viewer->snapshot);
    *viewer = (struct viewer){ 0 };
}

uint64_t viewer_bytes(const struct viewer *viewer) {
    return image_bytes(viewer);
}

void viewer_begin(struct viewer *viewer) {
    viewer->taken = false;
}

/* What has arrived. */
static void hand_on(struct viewer *viewer, const struct render_viewer *who) {
    const float *latents = viewer->taken ? snapshot_data(viewer->snapshot) : NULL;
    struct preview_size size = preview_size(viewer->height, viewer->width);
    if (latents == NULL) {
        return;
    }
    uint8_t *rgb = memory_get_array((size_t)size.height * size.width, 3);
    latent_rgb_draw(rgb, viewer->map, latents, viewer->height, viewer->width);
    viewer->coming.height = size.height;
    viewer->coming.width = size.width;
    viewer->coming.rgb = rgb;
    who->take(who->context, &viewer->coming);
    viewer->taken = false;
    free(rgb);
}

void viewer_look(struct viewer *viewer, const struct render_watch *watch, const struct buffer *belief, uint32_t step,
                 uint32_t steps) {
    const struct render_viewer *who = watch == NULL ? NULL : watch->viewer;
    if (who == NULL) {
        return;
    }
    uint32_t place = viewer->taken ? PREVIEW_NONE : who->wants(who->context);
    if (place != PREVIEW_NONE) {
        viewer->coming = (struct render_preview){ .place = place, .step = step, .steps = steps };
        if (viewer->map == NULL) {
            who->take(who->context, &viewer->coming);
            return;
        }
        snapshot_take(viewer->snapshot, belief, place * image_bytes(viewer));
        viewer->taken = true;
    }
    hand_on(viewer, who);
}

void viewer_end(struct viewer *viewer, const struct render_watch *watch) {
    if (viewer->taken) {
        hand_on(viewer, watch->viewer);
    }
}
