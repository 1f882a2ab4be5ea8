/*
 * test_noise.c - our normals against torch's (tests/golden/record_noise.py), and the promises of noise.h.
 *
 * Tolerance: torch's AVX2 form, which the goldens hold, is within 4.8e-7 of ours; its scalar form within 1.7e-6.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "pipeline/denoise/noise.h"
#include "pipeline/weights/weights.h"

static const double TOLERANCE = 1e-6;
static const size_t SEQUENCE[] = { 5, 16, 5, 17, 3, 4, 100, 15, 15, 1024, 1, 1, 33 }; /* as record_noise.py */

static void replay(float *out, size_t count, const char *name) {
    char *kind;
    struct noise noise;
    noise_init(&noise, strtoull(name, &kind, 10));
    if (strcmp(kind, ".sequence") != 0) {
        noise_draw(out, count, &noise);
        return;
    }
    size_t at = 0;
    for (size_t i = 0; i < sizeof SEQUENCE / sizeof *SEQUENCE; i++) {
        noise_draw(out + at, SEQUENCE[i], &noise);
        at += SEQUENCE[i];
    }
    assert_int_equal(at, count);
}

/* A1111's "NV", seed 0 (FACTS section A4); the second draw goes on, and 2^32 more is another seed. */
static void test_philox(void **state) {
    (void)state;
    static const float WANT[] = { -0.92466f, -0.42534f, -2.64385f, 0.14518f };
    struct noise noise, other;
    float first[8], second[8], far[8];
    noise_init_philox(&noise, 0);
    noise_draw(first, 8, &noise);
    noise_draw(second, 8, &noise);
    for (int i = 0; i < 4; i++)
        assert_true(fabsf(first[i] - WANT[i]) < 1e-5f);
    assert_true(first[0] != second[0]);
    noise_init_philox(&other, UINT64_C(1) << 32);
    noise_draw(far, 8, &other);
    assert_true(first[0] != far[0]);
    noise_init_philox(&other, 0);
    noise_draw(far, 3, &other); /* a place's value does not hang on how many are drawn */
    assert_memory_equal(first, far, 3 * sizeof *far);
}

static void test_goldens(void **state) {
    (void)state;
    struct safetensors *file = NULL;
    struct error error;
    if (safetensors_open(&file, SOURCE_DIR "/tests/golden/noise.safetensors", &error) != ERR_OK)
        fail_msg("%s", error.message);
    assert_true(safetensors_count(file) >= 40);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        struct weight_view view;
        const char *name = safetensors_name(file, i);
        assert_int_equal(safetensors_find(&view, file, name, &error), ERR_OK);
        size_t count = view.shape[0];
        float *ours = memory_get_array(count, sizeof *ours), *theirs = memory_get_array(count, sizeof *theirs);
        memcpy(theirs, view.data, count * sizeof *theirs);
        replay(ours, count, name);
        for (size_t j = 0; j < count; j++)
            if (!(fabs((double)ours[j] - theirs[j]) <= TOLERANCE))
                fail_msg("%s[%zu]: want %.9g, got %.9g", name, j, theirs[j], ours[j]);
        free(ours);
        free(theirs);
    }
    safetensors_close(file);
}

/* Seeds count modulo 2^32, as in torch. */
static void test_seed_wraps(void **state) {
    (void)state;
    struct noise a, b;
    float x[20], y[20];
    noise_init(&a, 5);
    noise_init(&b, (UINT64_C(1) << 32) + 5);
    noise_draw(x, 20, &a);
    noise_draw(y, 20, &b);
    assert_memory_equal(x, y, sizeof x);
}

/* Images of a batch one after the other are what one draw gives, where their size divides by 16. */
static void test_draws_join(void **state) {
    (void)state;
    struct noise a, b;
    float x[1024], y[1024];
    noise_init(&a, 7);
    noise_init(&b, 7);
    noise_draw(x, 1024, &a);
    noise_draw(y, 16, &b);
    noise_draw(y + 16, 624, &b);
    noise_draw(y + 640, 384, &b);
    assert_memory_equal(x, y, sizeof x);
}

/* The bits themselves: the same from every compiler and instruction set. A change here changes every picture. */
static void test_bits(void **state) {
    (void)state;
    struct noise noise;
    uint64_t hash = UINT64_C(14695981039346656037);
    float *out = memory_get_array(100007, sizeof *out);
    noise_init(&noise, 20240229);
    noise_draw(out, 100007, &noise);
    noise_draw(out, 15, &noise);
    for (size_t i = 0; i < 100007; i++) {
        uint32_t bits;
        memcpy(&bits, &out[i], sizeof bits);
        hash = (hash ^ bits) * UINT64_C(1099511628211);
    }
    free(out);
    assert_true(hash == UINT64_C(0xc99f6379b157dee9));
}

static void test_moments(void **state) {
    (void)state;
    enum { COUNT = 1 << 20 };
    struct noise noise;
    double sum = 0, squares = 0;
    float *out = memory_get_array(COUNT, sizeof *out);
    noise_init(&noise, 1);
    noise_draw(out, COUNT, &noise);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(isfinite(out[i]));
        sum += out[i];
        squares += (double)out[i] * out[i];
    }
    free(out);
    assert_true(fabs(sum / COUNT) < 0.005);
    assert_true(fabs(squares / COUNT - 1) < 0.01);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_philox), cmocka_unit_test(test_seed_wraps), cmocka_unit_test(test_draws_join),
        cmocka_unit_test(test_bits),    cmocka_unit_test(test_moments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
