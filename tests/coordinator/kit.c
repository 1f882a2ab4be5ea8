/* kit.c - see kit.h. */
#include "tests/coordinator/kit.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "picture/picture.h"

struct sweep *kit_sweep(const char *prompt, uint64_t from, uint64_t count, const struct digest *model) {
    return kit_sized_sweep(prompt, from, count, model, "8x8");
}

struct sweep *kit_sized_sweep(const char *prompt, uint64_t from, uint64_t count, const struct digest *model, const char *size) {
    return kit_field_sweep(prompt, from, count, model, FIELD_SIZE, size);
}

struct sweep *kit_field_sweep(const char *prompt, uint64_t from, uint64_t count, const struct digest *model, enum field field,
                              const char *text) {
    struct error error;
    struct sweep *sweep = memory_get(sizeof *sweep);
    struct bytes json = BYTES_INIT;
    spec_init(&sweep->fixed);
    sweep->fixed.model = *model;
    assert_ok(spec_set(&sweep->fixed, FIELD_PROMPT, prompt, &error), error);
    assert_ok(spec_set(&sweep->fixed, FIELD_SIZE, "8x8", &error), error);
    assert_ok(spec_set(&sweep->fixed, FIELD_STEPS, "2", &error), error);
    assert_ok(spec_set(&sweep->fixed, field, text, &error), error);
    assert_ok(spec_check(&sweep->fixed, &error), error);
    sweep->axis_count = 1;
    sweep->axes[0] = (struct axis){ .kind = AXIS_RANGE, .fields = { FIELD_SEED }, .field_count = 1, .count = count,
                                    .seed_from = from, .seed_step = 1 };
    assert_ok(sweep_check(sweep, &error), error);
    assert_ok(sweep_resolved(&json, sweep, &error), error);
    sweep_release(sweep);
    assert_ok(sweep_parse(sweep, json.data, json.size, &error), error);
    bytes_release(&json);
    return sweep;
}

void kit_sweep_free(struct sweep *sweep) {
    sweep_release(sweep);
    free(sweep);
}

struct order *kit_order(struct queue *queue, uint64_t number, const char *name, struct sweep *sweep) {
    struct error error;
    struct bytes json = BYTES_INIT;
    uint64_t places;
    assert_ok(sweep_resolved(&json, sweep, &error), error);
    assert_ok(sweep_places(&places, sweep, &error), error);
    struct order order = {
        .number = number, .touched = number, .id = digest_of(json.data, json.size), .name = text_copy(name),
        .user = text_copy("tester"), .last_error = text_copy(""), .state = SWEEP_ACTIVE, .sweep = sweep, .places = places,
        .jobs = sweep_jobs(sweep),
    };
    bytes_release(&json);
    return queue_add(queue, &order);
}

void kit_result(struct result_item *item, const char *canonical, uint8_t shade) {
    struct error error;
    struct spec spec;
    struct bytes png = BYTES_INIT, cfg = BYTES_INIT;
    assert_ok(spec_parse(&spec, canonical, strlen(canonical), &error), error);
    struct digest key = digest_of(canonical, strlen(canonical));
    struct picture picture = { .width = spec.width, .height = spec.height };
    size_t size = (size_t)3 * spec.width * spec.height;
    picture.rgb = memory_get(size);
    for (size_t i = 0; i < size; i++)
        picture.rgb[i] = (uint8_t)(key.bytes[i % DIGEST_SIZE] + shade);
    spec_get(&cfg, &spec, FIELD_CFG);
    struct picture_job job = {
        .canonical = canonical, .device_class = "test", .prompt = spec.prompt, .negative = spec.negative,
        .sampler = sampler_name(spec.sampler), .schedule = schedule_name(spec.schedule), .cfg = bytes_text(&cfg),
        .model_name_or_digest = "test", .seed = spec.seed, .steps = spec.steps, .width = spec.width, .height = spec.height,
        .clip_skip = spec.clip_skip,
    };
    assert_ok(png_encode_job(&png, &picture, &job, &error), error);
    *item = (struct result_item){ .key = key, .picture = digest_of(png.data, png.size),
                                  .pixels = picture_pixel_digest(&picture), .render_ms = 5, .png_size = png.size };
    item->png = bytes_take(&png).data;
    picture_release(&picture);
    bytes_release(&cfg);
    spec_release(&spec);
}

char *kit_folder(void) {
    char *folder = text_copy("/tmp/seedfarm-coordinator-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *place) {
    (void)stat;
    (void)kind;
    (void)place;
    return remove(path);
}

void kit_remove(char *folder) {
    assert_int_equal(nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(folder);
}

uint64_t kit_random(uint64_t *state, uint64_t below) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % below;
}
