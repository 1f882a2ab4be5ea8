/* plain.c - see plain.h. */
#include "tests/worker/plain.h"

#include "picture/picture.h"

void plain_draw(struct rendered *out, const struct spec *spec) {
    struct bytes canonical = BYTES_INIT, png = BYTES_INIT, cfg = BYTES_INIT;
    struct picture picture = { .width = spec->width, .height = spec->height };
    size_t size = (size_t)3 * spec->width * spec->height;
    *out = (struct rendered){ .png = BYTES_INIT };
    spec_canonical(&canonical, spec);
    spec_get(&cfg, spec, FIELD_CFG);
    struct digest key = digest_of(canonical.data, canonical.size);
    picture.rgb = memory_get(size);
    for (size_t i = 0; i < size; i++)
        picture.rgb[i] = key.bytes[i % 3];
    struct picture_job job = {
        .canonical = bytes_text(&canonical), .device_class = "plain", .prompt = spec->prompt, .negative = spec->negative,
        .sampler = sampler_name(spec->sampler), .schedule = schedule_name(spec->schedule), .cfg = bytes_text(&cfg),
        .model_name_or_digest = "plain", .seed = spec->seed, .steps = spec->steps, .width = spec->width,
        .height = spec->height, .clip_skip = spec->clip_skip,
    };
    if (png_encode_job(&png, &picture, &job, &out->error) == ERR_OK) {
        out->picture = digest_of(png.data, png.size);
        out->pixels = picture_pixel_digest(&picture);
        out->png = bytes_take(&png);
    }
    picture_release(&picture);
    bytes_release(&canonical);
    bytes_release(&png);
    bytes_release(&cfg);
}
