/*
 * test_preview.c - previews: colours by hand, shrinking, and of the demo model that they resemble its pictures and change none of
 * their bytes.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "pipeline/image/latent_rgb.h"
#include "tests/pipeline/preview_kit.h"

/* ---- the map ------------------------------------------------------------------------------------------------------- */

static void test_colours(void **state) {
    (void)state;
    const float latents[4][4] = { { 0.0f, 0.0f, 0.0f, 0.0f }, { 1.0f, 0.5f, -1.0f, 0.25f }, { 10.0f, 0.0f, 0.0f, 0.0f },
                                  { NAN, 0.0f, 0.0f, INFINITY } };
    /* red 0.3512 + 0.1625 + 0.2829 - 0.0530 = 0.7436, green 0.2297 + 0.2487 - 0.1762 - 0.0654 = 0.2368,
     * blue 0.3227 + 0.1175 - 0.2721 - 0.179425 = -0.011325: 127.5 (1 + v) is 222.3, 157.7, 126.06 */
    const uint8_t sd[4][3] = { { 128, 128, 128 }, { 222, 158, 126 }, { 255, 255, 255 }, { 0, 0, 0 } };
    uint8_t rgb[4][3];
    latent_rgb_draw(rgb[0], latent_rgb_find(0.18215f, 4), latents[0], 2, 2);
    assert_memory_equal(rgb, sd, sizeof sd);
    /* SDXL's bias alone: 127.5 * 1.1084 = 141.3, 127.5 * 0.9825 = 125.3, 127.5 * 0.9989 = 127.4 */
    const uint8_t grey[3] = { 141, 125, 127 };
    latent_rgb_draw(rgb[0], latent_rgb_find(0.13025f, 4), latents[0], 1, 1);
    assert_memory_equal(rgb[0], grey, sizeof grey);
    assert_null(latent_rgb_find(0.5f, 4));
    assert_null(latent_rgb_find(0.18215f, 16));
}

static void assert_size(uint32_t height, uint32_t width, uint32_t want_height, uint32_t want_width, uint32_t shrunk) {
    struct preview_size size = preview_size(height, width);
    assert_int_equal(size.height, want_height);
    assert_int_equal(size.width, want_width);
    assert_int_equal(size.shrunk, shrunk);
}

/* Means of whole cells; those at the edges are what is left of them. */
static void test_shrinking(void **state) {
    (void)state;
    assert_size(64, 96, 64, 96, 1);
    assert_size(128, 128, 128, 128, 1);
    assert_size(129, 8, 65, 4, 2);
    assert_size(2048, 1000, 128, 63, 16);
    const struct latent_rgb *map = latent_rgb_find(0.18215f, 4);
    enum { HEIGHT = 129, WIDTH = 3 };
    float (*latents)[4] = memory_get_array((size_t)HEIGHT * WIDTH, sizeof *latents);
    uint8_t rgb[65 * 2][3], alone[3];
    const float mean[4] = { 0.5f, 0.0f, 0.25f, 0.0f };
    for (int i = 0; i < 2; i++) { /* the upper left cell: 2x2 of mean; the lower right: one latent */
        for (int j = 0; j < 2; j++) {
            latents[i * WIDTH + j][0] = i == j ? 1.0f : 0.0f;
            latents[i * WIDTH + j][2] = j == 0 ? 0.5f : 0.0f;
        }
    }
    memcpy(latents[HEIGHT * WIDTH - 1], mean, sizeof mean);
    latent_rgb_draw(rgb[0], map, latents[0], HEIGHT, WIDTH);
    latent_rgb_draw(alone, map, mean, 1, 1);
    assert_memory_equal(rgb[0], alone, 3);
    assert_memory_equal(rgb[65 * 2 - 1], alone, 3);
    assert_memory_not_equal(rgb[1], alone, 3);
    free(latents);
}

/* ---- of a model that draws -------------------------------------------------------------------------------------------- */

/* Of a preview's values with those of the picture, each pixel the mean of those that it stands for. */
static double correlation(const uint8_t *preview, const uint8_t *picture) {
    enum { VALUES = LATENTS * LATENTS * 3, CELL = SIDE / LATENTS };
    double a = 0.0, b = 0.0, aa = 0.0, bb = 0.0, ab = 0.0;
    for (int i = 0; i < VALUES; i++) {
        int y = i / 3 / LATENTS, x = i / 3 % LATENTS;
        double mean = 0.0, value = preview[i];
        for (int j = 0; j < CELL * CELL; j++) {
            mean += picture[((y * CELL + j / CELL) * SIDE + x * CELL + j % CELL) * 3 + i % 3] / (double)(CELL * CELL);
        }
        a += value;
        b += mean;
        aa += value * value;
        bb += mean * mean;
        ab += value * mean;
    }
    return (ab - a * b / VALUES) / sqrt((aa - a * a / VALUES) * (bb - b * b / VALUES));
}

/* Whatever the sampler holds between steps: the last preview looks like the picture (0.966 and 0.968 measured), halfway it does
 * already (0.88 to 0.93), and behind the first step less (0.75 to 0.80). */
static void test_resemblance(void **state) {
    (void)state;
    static const char *const SAMPLERS[] = { "Euler", "Euler a", "DDIM", "DPM++ 2M" };
    struct studio studio = studio_of("cpu", "models/demo");
    for (size_t i = 0; i < sizeof SAMPLERS / sizeof *SAMPLERS; i++) {
        struct render_output plain[COUNT], watched[COUNT];
        struct seen seen = { .wanted = (uint32_t)i % COUNT };
        const struct render_job jobs[COUNT] = { job_of(1, SAMPLERS[i]), job_of(2, SAMPLERS[i]) };
        draw(plain, &studio, jobs, NULL);
        draw(watched, &studio, jobs, &seen);
        for (int j = 0; j < COUNT; j++) {
            assert_memory_equal(plain[j].rgb, watched[j].rgb, SIDE * SIDE * 3);
        }
        const uint8_t *picture = plain[seen.wanted].rgb;
        assert_true(seen.count >= 2);
        for (size_t j = 0; j < seen.count; j++) {
            assert_int_equal(seen.list[j].place, seen.wanted);
            assert_int_equal(seen.list[j].steps, STEPS);
            assert_true(j == 0 || seen.list[j].step > seen.list[j - 1].step);
        }
        double first = correlation(seen.list[0].rgb, picture), last = correlation(seen.list[seen.count - 1].rgb, picture);
        double middle = correlation(seen.list[seen.count / 2].rgb, picture);
        if (!(last > 0.9 && middle > 0.8 && first < middle && seen.list[0].step == 1)) {
            fail_msg("%s: %.3f at step %u, %.3f, %.3f at step %u", SAMPLERS[i], first, seen.list[0].step, middle, last,
                     seen.list[seen.count - 1].step);
        }
        for (int j = 0; j < COUNT; j++) {
            render_output_release(&plain[j]);
            render_output_release(&watched[j]);
        }
    }
    studio_close(&studio);
}

/* One that is asked for in the middle is of that step, and one at the end comes before the picture. */
static void test_when(void **state) {
    (void)state;
    struct studio studio = studio_of("cpu", "models/demo");
    const struct render_job jobs[COUNT] = { job_of(1, "Euler"), job_of(2, "Euler") };
    for (uint32_t step = 7; step <= STEPS; step += STEPS - 7) {
        struct seen seen = { .wanted = 0, .first_step = step };
        struct render_output outputs[COUNT];
        draw(outputs, &studio, jobs, &seen);
        assert_true(seen.count >= 1);
        assert_int_equal(seen.list[0].step, step);
        render_output_release(&outputs[0]);
        render_output_release(&outputs[1]);
    }
    studio_close(&studio);
}

/* Latents of a space that no map is known for: said, and no pixels. */
static void test_unknown(void **state) {
    (void)state;
    struct studio studio = studio_of("cpu", "tests/golden/models/tiny-a");
    const struct render_job jobs[COUNT] = { job_of(1, "Euler"), job_of(2, "Euler") };
    struct seen seen = { .wanted = 0, .first_step = STEPS };
    struct render_output outputs[COUNT];
    assert_null(latent_rgb_find(0.31f, 4)); /* its config's */
    draw(outputs, &studio, jobs, &seen);
    assert_true(seen.count == 1 && seen.without_pixels);
    render_output_release(&outputs[0]);
    render_output_release(&outputs[1]);
    studio_close(&studio);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_colours), cmocka_unit_test(test_shrinking), cmocka_unit_test(test_resemblance),
        cmocka_unit_test(test_when),    cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
