/* test_batches.c - the search for the largest batch that gains, with a device whose speed is a formula. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "proto/catalog.h"
#include "tests/worker/double.h"
#include "worker/batches.h"

struct device {
    double fixed_ms, each_ms; /* a batch of n takes fixed + n * each */
    uint32_t memory;          /* pictures at once; 0: no bound */
    uint32_t predictions, drawn;
};

static struct batch_kind kind(const char *device_class, uint32_t side) {
    struct batch_kind made = { .models = digest_of("m", 1), .width = side, .height = side, .guided = true };
    strcpy(made.device_class, device_class);
    return made;
}

static bool fits(void *context, uint32_t count) {
    struct device *device = context;
    device->predictions++;
    return !device->memory || count <= device->memory;
}

/* Draw so many batches as long as the search wishes them; the size that it came to. */
static uint32_t work(struct batches *batches, const struct batch_kind *of, struct device *device, uint32_t rounds, uint32_t steps) {
    uint32_t size = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        size = batches_size(batches, of, 1, fits, device);
        device->drawn += size;
        batches_note(batches, of, size, steps, (device->fixed_ms + size * device->each_ms) * (i % 2 ? 1 : 1.5)); /* every other is slow */
    }
    return batches_size(batches, of, 1, fits, device);
}

static void doubles_while_it_gains(void **state) {
    struct batches *batches = batches_open(NULL);
    struct batch_kind of = kind("card", 512);
    struct device device = { .fixed_ms = 100, .each_ms = 50 }; /* a picture takes 150, 100, 75, 62.5, 56.3, 53.1, 51.6 ms */
    (void)state;
    assert_int_equal(work(batches, &of, &device, 40, 20), 32);
    assert_int_equal(device.drawn, 2 * (1 + 2 + 4 + 8 + 16 + 32 + 64) + 26 * 32); /* nothing but what would be drawn anyway */
    batches_close(batches);
}

static void stays_where_batches_gain_nothing(void **state) {
    struct batches *batches = batches_open(NULL);
    struct batch_kind of = kind("cpu", 512);
    struct device device = { .each_ms = 50 };
    (void)state;
    assert_int_equal(work(batches, &of, &device, 10, 20), 1);
    batches_close(batches);
}

static void memory_ends_the_search_before_work(void **state) {
    struct batches *batches = batches_open(NULL);
    struct batch_kind of = kind("card", 512);
    struct device device = { .fixed_ms = 1000, .each_ms = 1, .memory = 11 };
    (void)state;
    assert_int_equal(work(batches, &of, &device, 40, 20), 8);
    assert_true(device.predictions <= 5); /* 2, 4, 8 and 16, not one a batch */
    device.memory = 0;
    batches_limit(batches, &of, 2); /* where the prediction was too hopeful */
    assert_int_equal(work(batches, &of, &device, 10, 20), 2);
    batches_close(batches);
}

static void at_most_what_a_lease_may_have(void **state) {
    struct batches *batches = batches_open(NULL);
    struct batch_kind of = kind("card", 64);
    struct device device = { .fixed_ms = 1e6, .each_ms = 1 };
    (void)state;
    assert_int_equal(work(batches, &of, &device, 60, 20), LIMIT_BATCH);
    batches_close(batches);
}

/* 4 steps after 50 look like a gain of ten times: they are not compared. Nor are smaller batches of a sweep's end. */
static void compares_only_like_with_like(void **state) {
    struct batches *batches = batches_open(NULL);
    struct batch_kind of = kind("cpu", 512);
    struct device slow = { .each_ms = 500 }, fast = { .each_ms = 40 };
    (void)state;
    work(batches, &of, &slow, 2, 50);
    assert_int_equal(batches_size(batches, &of, 1, fits, &slow), 2);
    batches_note(batches, &of, 1, 50, 1);
    assert_int_equal(work(batches, &of, &fast, 2, 4), 1); /* measured anew from there */
    assert_int_equal(work(batches, &of, &fast, 1, 4), 2);
    assert_int_equal(work(batches, &of, &fast, 2, 4), 1);
    batches_close(batches);
}

static void kinds_are_apart_and_remembered(void **state) {
    char *place = place_create(), *path = path_join(place, "batches.json");
    struct batches *batches = batches_open(path);
    struct batch_kind large = kind("card", 1024), small = kind("card", 64), other = kind("another card", 1024);
    struct device gains = { .fixed_ms = 100, .each_ms = 100 }, gains_more = { .fixed_ms = 400, .each_ms = 20 };
    (void)state;
    assert_int_equal(work(batches, &large, &gains, 40, 20), 16);
    assert_int_equal(work(batches, &small, &gains_more, 60, 20), 256);
    batches_close(batches);
    batches = batches_open(path);
    assert_int_equal(batches_size(batches, &large, 1, fits, &gains), 16);
    assert_int_equal(batches_size(batches, &small, 1, fits, &gains), 256);
    assert_int_equal(batches_size(batches, &other, 3, fits, &gains), 3);
    struct device tight = { .memory = 5 };
    batches_close(batches);
    batches = batches_open(path);
    assert_int_equal(batches_size(batches, &large, 1, fits, &tight), 4); /* what is remembered is held against the memory of today */
    batches_close(batches);
    free(path);
    place_remove(place);
}

#define DIGITS "62c66a7a5dd70c3146618063c344e531e6d4b59e379808443ce962b3abd63c5a" /* SHA-256 of "m" */
#define CARD(models, refiner_switch)                                                                                          \
    "{\"device_class\": \"card\", \"models\": \"" models "\", \"refiner_switch\": \"" refiner_switch "\", \"width\": 512,"        \
    " \"height\": 512, \"vae_tiling\": 0, \"guided\": true, \"deterministic\": false, \"batch\": "

static void what_an_older_version_kept_is_dropped(void **state) {
    static const char text[] = "{\"version\": 1, \"batches\": [{\"device_class\": \"card\", \"model\": \"" DIGITS "\", \"numerics\":"
                               " \"fp32\", \"width\": 512, \"height\": 512, \"vae_tiling\": 0, \"guided\": true,"
                               " \"deterministic\": false, \"batch\": 4}]}";
    char *place = place_create(), *path = path_join(place, "batches.json");
    struct batch_kind of = kind("card", 512);
    struct device device = { .each_ms = 1 };
    struct error error;
    (void)state;
    assert_int_equal(file_write(path, text, strlen(text), &error), ERR_OK);
    struct batches *batches = batches_open(path);
    assert_int_equal(batches_size(batches, &of, 7, fits, &device), 7);
    batches_close(batches);
    free(path);
    place_remove(place);
}

/* A refiner makes pictures slower than the model alone does, and its share of the way how much. */
static void whatever_changes_the_time_is_a_kind(void **state) {
    struct batches *batches = batches_open(NULL);
    struct digest model = digest_of("m", 1), other = digest_of("o", 1);
    struct device device = { .each_ms = 1 };
    struct spec specs[6];
    char file[DIGEST_HEX_SIZE], text[DIGEST_HEX_SIZE + 4];
    (void)state;
    digest_hex(&other, file);
    snprintf(text, sizeof text, "%s:1", file);
    for (size_t i = 0; i < 6; i++)
        double_spec(&specs[i], &model, i, 20);
    specs[1].refiner = specs[2].refiner = other;
    specs[2].refiner_switch = (struct decimal){ 5, 1 };
    specs[3].vae = other;
    specs[4].lora = text_copy(text);
    specs[5].numerics = NUMERICS_FP16;
    for (uint32_t i = 0; i < 6; i++) {
        struct batch_kind of = batch_kind_of(&specs[i], "card");
        assert_int_equal(batches_size(batches, &of, i + 1, fits, &device), i + 1);
    }
    specs[0].seed = 77; /* takes as long */
    struct batch_kind same = batch_kind_of(&specs[0], "card");
    assert_int_equal(batches_size(batches, &same, 9, fits, &device), 1);
    for (size_t i = 0; i < 6; i++)
        spec_release(&specs[i]);
    batches_close(batches);
}

static void a_bad_file_is_begun_anew(void **state) {
    static const char *const texts[] = {
        "", "{", "[]", "{\"version\": 3, \"batches\": []}", "{\"version\": 2}", "{\"version\": 2, \"batches\": [7]}",
        "{\"version\": 2, \"batches\": [" CARD("xy", "0.8") "4}]}", "{\"version\": 2, \"batches\": [" CARD(DIGITS, "much") "4}]}",
        "{\"version\": 2, \"batches\": [" CARD(DIGITS, "0.8") "100000}]}",
    };
    char *place = place_create(), *path = path_join(place, "batches.json");
    struct batch_kind of = kind("card", 512);
    struct device device = { .each_ms = 1 };
    struct error error;
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(file_write(path, texts[i], strlen(texts[i]), &error), ERR_OK);
        struct batches *batches = batches_open(path);
        assert_int_equal(batches_size(batches, &of, 1, fits, &device), 1);
        assert_int_equal(work(batches, &of, &device, 4, 20), 1);
        batches_close(batches);
        batches = batches_open(path);
        assert_int_equal(batches_size(batches, &of, 7, fits, &device), 1); /* written whole again */
        batches_close(batches);
    }
    free(path);
    place_remove(place);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(doubles_while_it_gains),
        cmocka_unit_test(stays_where_batches_gain_nothing),
        cmocka_unit_test(memory_ends_the_search_before_work),
        cmocka_unit_test(at_most_what_a_lease_may_have),
        cmocka_unit_test(compares_only_like_with_like),
        cmocka_unit_test(kinds_are_apart_and_remembered),
        cmocka_unit_test(what_an_older_version_kept_is_dropped),
        cmocka_unit_test(whatever_changes_the_time_is_a_kind),
        cmocka_unit_test(a_bad_file_is_begun_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
