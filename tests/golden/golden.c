/* golden.c - recorded cases of one model, and comparing a render with them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/json.h"
#include "tests/golden/golden.h"

void golden_open(struct golden *golden, const char *name) {
    struct error error = { 0 };
    char *json = text_format("%s/tests/golden/%s.json", SOURCE_DIR, name);
    char *tensors = text_format("%s/tests/golden/%s.safetensors", SOURCE_DIR, name);
    char *numerics = text_format("%s/tests/golden/numerics.json", SOURCE_DIR);
    golden->name = name;
    if (json_read_file(&golden->cases, json, 1 << 20, &error) != ERR_OK ||
        json_read_file(&golden->numerics, numerics, 1 << 20, &error) != ERR_OK ||
        safetensors_open(&golden->tensors, tensors, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
    free(json);
    free(numerics);
    free(tensors);
}

void golden_close(struct golden *golden) {
    json_decref(golden->cases);
    json_decref(golden->numerics);
    safetensors_close(golden->tensors);
}

static const char *text_at(const json_t *item, const char *key) {
    return json_string_value(json_object_get(item, key));
}

static double number_at(const json_t *item, const char *key) {
    return json_number_value(json_object_get(item, key));
}

/* fp32, random weights: FACTS section B2's; trained ones: 20 times torch's own distance between fp32 and fp64. Other numerics:
 * twice torch's own distance from fp32. */
struct tolerance golden_tolerance(const struct golden *golden, size_t place, const char *numerics) {
    const json_t *distance = json_object_get(json_array_get(golden->cases, place), "distance");
    double factor = 20.0, encode = 1e-4;
    bool fp32 = strcmp(numerics, "fp32") == 0;
    if (!fp32) {
        distance = json_object_get(json_object_get(golden->numerics, golden->name), numerics);
        assert_non_null(distance);
        factor = 2.0;
        encode = factor * number_at(distance, "encode");
    }
    if (distance == NULL) {
        return (struct tolerance){ .condition = 2e-5, .latents = 1e-4, .image = 1e-3, .encode = encode, .pixels = true };
    }
    return (struct tolerance){ .condition = factor * number_at(distance, "condition"),
                               .latents = factor * number_at(distance, "latents"),
                               .image = factor * number_at(distance, "image"), .encode = encode, .pixels = fp32 };
}

/* Pixels [H,W,3] of a case, or NULL. */
static const uint8_t *picture_at(const struct golden *golden, size_t place, const char *name) {
    struct weight_view view;
    struct error error;
    char recorded[64];
    snprintf(recorded, sizeof recorded, "%zu.%s", place, name);
    return safetensors_view(&view, golden->tensors, recorded, &error) == ERR_OK ? view.data : NULL;
}

struct render_job golden_job(const struct golden *golden, size_t place) {
    const json_t *item = json_array_get(golden->cases, place);
    return (struct render_job){
        .prompt = text_at(item, "prompt"),
        .negative = text_at(item, "negative"),
        .seed = (uint64_t)json_integer_value(json_object_get(item, "seed")),
        .width = (uint32_t)number_at(item, "width"),
        .height = (uint32_t)number_at(item, "height"),
        .steps = (uint32_t)number_at(item, "steps"),
        .cfg = number_at(item, "cfg"),
        .cfg_rescale = number_at(item, "cfg_rescale"),
        .sampler = text_at(item, "sampler"),
        .schedule = text_at(item, "schedule"),
        .prediction = text_at(item, "prediction"),
        .clip_skip = (uint32_t)number_at(item, "clip_skip"),
        .vae_tiling = (uint32_t)json_integer_value(json_object_get(item, "vae_tiling")), /* absent: 0 */
        .refiner_switch = number_at(item, "refiner_switch"),
        .init = picture_at(golden, place, "init"),
        .mask = picture_at(golden, place, "mask"),
        .strength = number_at(item, "strength"),
    };
}

static size_t elements(const struct weight_view *view) {
    size_t count = 1;
    for (uint32_t i = 0; i < view->dims; i++) {
        count *= view->shape[i];
    }
    return count;
}

/* The same tensor of both, of one shape; false where the golden does not hold it. */
static bool find_both(struct weight_view *made, struct weight_view *wanted, const struct golden *golden, size_t place,
                      const struct safetensors *trace, const char *name) {
    struct error error;
    char recorded[64];
    snprintf(recorded, sizeof recorded, "%zu.%s", place, name);
    if (safetensors_view(wanted, golden->tensors, recorded, &error) != ERR_OK) {
        return false;
    }
    if (safetensors_view(made, trace, name, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
    assert_int_equal(made->dtype, wanted->dtype);
    assert_int_equal(made->dims, wanted->dims);
    assert_memory_equal(made->shape, wanted->shape, made->dims * sizeof *made->shape);
    return true;
}

static float float_at(const struct weight_view *view, size_t place) {
    float value;
    memcpy(&value, (const char *)view->data + place * sizeof value, sizeof value);
    return value;
}

/* Largest difference, divided by the largest value where `relative`, as a share of the tolerance. */
static double compare_floats(const struct golden *golden, size_t place, const struct safetensors *trace, const char *name,
                             double tolerance, bool relative, const char *title) {
    struct weight_view made, wanted;
    double worst = 0.0, largest = 0.0;
    if (!find_both(&made, &wanted, golden, place, trace, name)) {
        return 0.0;
    }
    for (size_t i = 0; i < elements(&made); i++) {
        double difference = fabs((double)float_at(&made, i) - (double)float_at(&wanted, i));
        worst = difference <= worst ? worst : difference; /* a NaN stays */
        largest = fmax(largest, fabs((double)float_at(&wanted, i)));
    }
    worst /= relative ? largest : 1.0;
    if (!(worst <= tolerance)) {
        fail_msg("%s: %s: want within %g, is %g", title, name, tolerance, worst);
    }
    return worst / tolerance;
}

static void compare_ids(const struct golden *golden, size_t place, const struct safetensors *trace, const char *name) {
    struct weight_view made, wanted;
    if (find_both(&made, &wanted, golden, place, trace, name)) {
        assert_memory_equal(made.data, wanted.data, elements(&made) * sizeof(int32_t));
    }
}

/* Within 1 level at 99.99 % of places. */
static void compare_pixels(const struct golden *golden, size_t place, const struct safetensors *trace, const char *title) {
    struct weight_view made, wanted;
    assert_true(find_both(&made, &wanted, golden, place, trace, "pixels"));
    const uint8_t *a = made.data, *b = wanted.data;
    size_t off = 0, count = elements(&made);
    for (size_t i = 0; i < count; i++) {
        off += abs(a[i] - b[i]) > 1;
    }
    if ((double)off > 1e-4 * (double)count) {
        fail_msg("%s: pixels: want at most 1 in 10000 off by more than 1 level, are %zu of %zu", title, off, count);
    }
}

double golden_compare(const struct golden *golden, size_t place, const char *path, const struct tolerance *tolerance,
                      const char *title) {
    static const char *const IDS[] = { "ids", "uncond_ids", "ids_2", "uncond_ids_2" };
    static const char *const TEXTS[] = { "condition", "uncondition", "pooled", "unpooled", "refiner.condition", "refiner.uncondition",
                                         "refiner.pooled", "refiner.unpooled" };
    static const struct { const char *name; double tolerance; bool relative; } LEVELS[] = {
        { "noise", 3e-6, false }, { "timesteps", 1e-3, false }, { "sigmas", 1e-5, true } };
    struct safetensors *trace = NULL;
    struct error error;
    if (safetensors_open(&trace, path, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
    for (size_t i = 0; i < sizeof IDS / sizeof *IDS; i++) {
        compare_ids(golden, place, trace, IDS[i]);
    }
    for (size_t i = 0; i < sizeof LEVELS / sizeof *LEVELS; i++) {
        (void)compare_floats(golden, place, trace, LEVELS[i].name, LEVELS[i].tolerance, LEVELS[i].relative, title);
    }
    double used = 0.0;
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        used = fmax(used, compare_floats(golden, place, trace, TEXTS[i], tolerance->condition, false, title));
    }
    struct weight_view view;
    char name[64], recorded[80];
    for (uint32_t step = 1;; step++) {
        snprintf(name, sizeof name, "latents.%03u", step);
        snprintf(recorded, sizeof recorded, "%zu.%s", place, name);
        bool made = safetensors_view(&view, trace, name, &error) == ERR_OK;
        bool wanted = safetensors_view(&view, golden->tensors, recorded, &error) == ERR_OK;
        assert_int_equal(made, wanted); /* as many evaluations */
        if (!made) {
            assert_true(step > 1);
            break;
        }
        used = fmax(used, compare_floats(golden, place, trace, name, tolerance->latents, true, title));
    }
    used = fmax(used, compare_floats(golden, place, trace, "image", tolerance->image, false, title));
    if (tolerance->pixels) {
        compare_pixels(golden, place, trace, title);
    }
    safetensors_close(trace);
    return used;
}
