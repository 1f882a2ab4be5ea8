/*
 * step_test.c - the ops that a step begins and ends with, which the op suite's table cannot say: the sampler's update in place,
 * pixels, timesteps, noise, guidance's two copies.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/denoise/noise.h"
#include "tests/pipeline/op_kit.h"

/* ---- update ----------------------------------------------------------------------------------------------------- */

enum { BATCH = 2, PLACES = 5 * 3 * 4, ALL = BATCH * PLACES, STEPS = 3 };

struct update_case {
    bool guided, history, noise, belief, kept;
    float rescale;         /* of the first image; the second one's is 0 */
    float limit, quantile; /* of the believed picture */
};

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double spread_of(const double *values) {
    double sum = 0.0, squares = 0.0;
    for (int i = 0; i < PLACES; i++) {
        sum += values[i];
        squares += values[i] * values[i];
    }
    return sqrt(squares / PLACES - sum / PLACES * (sum / PLACES));
}

/* What the model says after guidance, of one image. */
static void guide(double e[PLACES], const float *uncond, const float *cond, double cfg, double rescale) {
    double prompted[PLACES];
    for (int i = 0; i < PLACES; i++) {
        prompted[i] = cond[i];
        e[i] = uncond[i] + cfg * ((double)cond[i] - uncond[i]);
    }
    double factor = rescale * spread_of(prompted) / spread_of(e) + 1.0 - rescale;
    for (int i = 0; i < PLACES; i++) {
        e[i] *= factor;
    }
}

/* The believed picture of one image, limited or thresholded. */
static void believe(double z[PLACES], const double *x, const double *e, const struct step_row *row) {
    double sorted[PLACES], limit = row->limit == 0.0f ? INFINITY : row->limit, scale = 1.0;
    for (int i = 0; i < PLACES; i++) {
        z[i] = row->belief_x * x[i] + row->belief_model * e[i];
        sorted[i] = fabs(z[i]);
    }
    if (row->quantile != 0.0f) {
        qsort(sorted, PLACES, sizeof *sorted, compare_doubles);
        double place = row->quantile * (PLACES - 1.0);
        int low = (int)place, high = low + 1 < PLACES ? low + 1 : low;
        scale = sorted[low] + (place - low) * (sorted[high] - sorted[low]);
        limit = scale = fmin(fmax(scale, 1.0), limit);
    }
    for (int i = 0; i < PLACES; i++) {
        z[i] = fmin(fmax(z[i], -limit), limit) / scale;
    }
}

/* Three steps of one program: the counter walks down the table, latent and history carry over. */
static void check_update(struct backend *backend, struct update_case c) {
    float latent[ALL], prediction[2 * ALL], history[ALL], noise[STEPS * ALL], belief[ALL];
    float kept[ALL / 4][9], guidance[BATCH][2] = { { 7.5f, c.rescale }, { 1.5f, 0.0f } };
    struct step_row rows[STEPS];
    double x[ALL], h[ALL];
    for (int i = 0; i < ALL; i++) {
        x[i] = latent[i] = wave(1, i);
        h[i] = history[i] = wave(2, i);
    }
    for (int i = 0; i < 2 * ALL; i++) {
        prediction[i] = wave(3, i);
    }
    for (int i = 0; i < STEPS * ALL; i++) {
        noise[i] = wave(4, i);
    }
    for (int i = 0; i < ALL / 4; i++) {
        for (int k = 0; k < 9; k++) {
            kept[i][k] = k < 8 ? wave(5, 9 * i + k) : (float)(i % 3 == 0);
        }
    }
    for (int s = 0; s < STEPS; s++) {
        rows[s] = (struct step_row){ .x_scale = 0.9f + (float)s, .model = -0.2f, .history = 0.3f, .noise = 0.7f,
                                     .history_x = 0.11f, .history_model = 1.2f, .history_keep = 0.5f, .belief_x = 1.3f,
                                     .belief_model = -0.8f, .belief = 0.6f, .history_belief = -0.4f, .limit = c.limit,
                                     .quantile = c.quantile, .kept_picture = 0.4f, .kept_noise = 3.0f - (float)s };
    }
    int32_t zero = 0, counted = 0;
    struct buffer *buffers[] = { hold(backend, latent, sizeof latent),     hold(backend, prediction, sizeof prediction),
                                 hold(backend, history, sizeof history),   hold(backend, noise, sizeof noise),
                                 hold(backend, guidance, sizeof guidance), hold(backend, rows, sizeof rows),
                                 hold(backend, &zero, sizeof zero),        hold(backend, latent, sizeof latent),
                                 hold(backend, kept, sizeof kept) };
    struct program *p = program_create(backend);
    op_update(p, program_bind(p, buffers[0], 0, BATCH, 5, 3, 4),
              program_bind(p, buffers[1], 0, c.guided ? 2 * BATCH : BATCH, 5, 3, 4),
              c.guided ? program_bind(p, buffers[4], 0, BATCH, 1, 1, 2) : TENSOR_NONE,
              c.history ? program_bind(p, buffers[2], 0, BATCH, 5, 3, 4) : TENSOR_NONE,
              c.noise ? program_bind(p, buffers[3], 0, STEPS * BATCH, 5, 3, 4) : TENSOR_NONE,
              c.kept ? program_bind(p, buffers[8], 0, BATCH, 5, 3, 9) : TENSOR_NONE,
              c.belief ? program_bind(p, buffers[7], 0, BATCH, 5, 3, 4) : TENSOR_NONE,
              program_bind(p, buffers[5], 0, STEPS, 1, 1, STEP_ROW_WIDTH), program_bind(p, buffers[6], 0, 1, 1, 1, 1));
    program_finish(p);
    assert_int_equal(program_memory(p), 0);
    for (int s = 0; s < STEPS; s++) {
        program_run(p);
        backend_wait(backend);
        buffer_download(buffers[0], 0, latent, sizeof latent);
        buffer_download(buffers[2], 0, history, sizeof history);
        buffer_download(buffers[6], 0, &counted, sizeof counted);
        buffer_download(buffers[7], 0, belief, sizeof belief);
        assert_int_equal(counted, s + 1);
        double e[PLACES], z[PLACES];
        for (int i = 0; i < ALL; i++) {
            if (i % PLACES == 0) {
                const float *image = &prediction[i];
                guide(e, image, c.guided ? image + ALL : image, c.guided ? guidance[i / PLACES][0] : 1.0,
                      c.guided ? guidance[i / PLACES][1] : 0.0);
                believe(z, &x[i], e, &rows[s]);
            }
            double now = e[i % PLACES], picture = z[i % PLACES];
            double next = rows[s].x_scale * x[i] + rows[s].model * now + rows[s].belief * picture;
            next += c.history ? rows[s].history * h[i] : 0.0;
            next += c.noise ? rows[s].noise * (double)noise[s * ALL + i] : 0.0;
            h[i] = c.history ? rows[s].history_x * x[i] + rows[s].history_model * now +
                                   rows[s].history_belief * picture + rows[s].history_keep * h[i]
                             : h[i];
            const float *beside = kept[i / 4];
            if (c.kept && beside[8] == 0.0f) {
                next = rows[s].kept_picture * (double)beside[i % 4] + rows[s].kept_noise * (double)beside[4 + i % 4];
            }
            x[i] = next;
            assert_true(fabs(belief[i] - (c.belief ? picture : wave(1, i))) <= 1e-6 * (1.0 + fabs(picture)));
            assert_true(fabs(latent[i] - next) <= 1e-6 * (1.0 + fabs(next)));
            assert_true(fabs(history[i] - h[i]) <= 1e-6 * (1.0 + fabs(h[i])));
        }
    }
    program_destroy(p);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        buffer_destroy(buffers[i]);
    }
}

static void update_follows_its_row(void **state) {
    (void)state;
    const char *const devices[] = { "reference", DEVICE };
    for (int d = 0; d < 2; d++) {
        struct backend *backend = make(devices[d]);
        for (int bits = 0; bits < 32; bits++) {
            bool guided = bits & 1, history = bits & 2, noise = bits & 4, belief = bits & 8, kept = bits & 16;
            check_update(backend, (struct update_case){ guided, history, noise, belief, kept, 0.0f, 0.0f, 0.0f });
            check_update(backend, (struct update_case){ guided, history, noise, belief, kept, 0.7f, 0.0f, 0.0f });
            check_update(backend, (struct update_case){ guided, history, noise, belief, kept, 0.0f, 0.8f, 0.0f });
            check_update(backend, (struct update_case){ guided, history, noise, belief, kept, 1.0f, 1.5f, 0.9f });
            check_update(backend, (struct update_case){ guided, history, noise, belief, kept, 0.0f, 100.0f, 1.0f });
        }
        backend_destroy(backend);
    }
}

/* ---- pixels ----------------------------------------------------------------------------------------------------- */

static void pixels_round_and_count(void **state) {
    (void)state;
    struct backend *backend = make(DEVICE);
    float image[2][4][3] = {
        { { -1.0f, 1.0f, 0.0f }, { -2.0f, 2.0f, -0.5f }, { 0.25f, 0.5f, 0.75f }, { -0.0f, 1e-9f, 0.999f } },
        { { NAN, 1.0f, INFINITY }, { -INFINITY, 0.0f, 0.0f }, { 0.0f, NAN, 0.0f }, { 0.0f, 0.0f, 0.0f } },
    };
    uint8_t pixels[2][4][3];
    float unit[2][4][3];
    int32_t bad[2];
    memset(pixels, 0xaa, sizeof pixels);
    memset(unit, 0xff, sizeof unit);
    memset(bad, 0xaa, sizeof bad);
    struct buffer *in = hold(backend, image, sizeof image), *out = hold(backend, pixels, sizeof pixels);
    struct buffer *units = hold(backend, unit, sizeof unit), *bads = hold(backend, bad, sizeof bad);
    struct program *p = program_create(backend);
    op_pixels(p, program_bind(p, out, 0, 2, 2, 2, 3), program_bind(p, units, 0, 2, 2, 2, 3),
              program_bind(p, bads, 0, 2, 1, 1, 1), program_bind(p, in, 0, 2, 2, 2, 3));
    run_to_end(p, backend);
    buffer_download(out, 0, pixels, sizeof pixels);
    buffer_download(units, 0, unit, sizeof unit);
    buffer_download(bads, 0, bad, sizeof bad);
    assert_int_equal(bad[0], 0);
    assert_int_equal(bad[1], 4);
    const uint8_t want[4][3] = { { 0, 255, 128 }, { 0, 255, 64 }, { 159, 191, 223 }, { 128, 128, 255 } };
    assert_memory_equal(pixels[0], want, sizeof want); /* 0.0: 127.5 to even is 128 */
    assert_true(unit[0][0][2] == 0.5f && unit[0][1][0] == 0.0f && unit[0][1][1] == 1.0f && unit[0][2][0] == 0.625f);
    assert_int_equal(pixels[1][0][0], 0);
    assert_int_equal(pixels[1][0][2], 255);
    program_destroy(p);
    buffer_destroy(in);
    buffer_destroy(out);
    buffer_destroy(units);
    buffer_destroy(bads);
    backend_destroy(backend);
}

/* ---- timestep --------------------------------------------------------------------------------------------------- */

static void check_timestep(struct backend *backend, uint32_t dim, bool flip, float shift) {
    enum { ROWS = 2, COPIES = 3 };
    const struct step_row rows[ROWS] = { { .timestep = 3.0f }, { .timestep = 951.0f } };
    float all[ROWS * COPIES * 32];
    struct buffer *table = hold(backend, rows, sizeof rows);
    memset(all, 0xff, sizeof all);
    struct buffer *taken = hold(backend, all, sizeof all);
    struct program *p = program_create(backend);
    struct tensor made = op_timestep(p, program_bind(p, table, 0, ROWS, 1, 1, STEP_ROW_WIDTH), COPIES, dim, flip, shift);
    op_copy(p, program_bind(p, taken, 0, ROWS * COPIES, 1, 1, dim), made);
    run_to_end(p, backend);
    buffer_download(taken, 0, all, sizeof all);
    for (uint32_t row = 0; row < ROWS * COPIES; row++) {
        const float *out = all + row * dim;
        for (uint32_t i = 0; i < dim / 2; i++) {
            /* f32 angles up to 951 are 3e-5 apart, and diffusers rounds them so */
            double angle = (double)rows[row / COPIES].timestep * pow(10000.0, -(double)i / (dim / 2 - (double)shift));
            assert_true(fabs(out[flip ? dim / 2 + i : i] - sin(angle)) < 2e-4);
            assert_true(fabs(out[flip ? i : dim / 2 + i] - cos(angle)) < 2e-4);
        }
        assert_true(dim % 2 == 0 || out[dim - 1] == 0.0f);
    }
    program_destroy(p);
    buffer_destroy(table);
    buffer_destroy(taken);
}

static void timestep_makes_sinusoids(void **state) {
    (void)state;
    struct backend *backend = make(DEVICE);
    check_timestep(backend, 32, true, 0.0f);
    check_timestep(backend, 32, false, 1.0f);
    check_timestep(backend, 7, true, 0.0f);
    backend_destroy(backend);
}

/* ---- noise ------------------------------------------------------------------------------------------------------ */

/* The generator's own draw [c,h,w], scaled, bit for bit; a row that is not drawn stays. Seed 0 begins as A1111's "NV" does. */
static void noise_is_the_generators(void **state) {
    (void)state;
    enum { ROWS = 4, H = 9, W = 8, C = 4, AREA = H * W, SIZE = AREA * C };
    static const float first[] = { -0.92466f, -0.42534f, -2.64385f, 0.14518f };
    static const uint64_t seeds[ROWS] = { 0, 0, (UINT64_C(1) << 40) + 7, 3 };
    static const double scales[ROWS] = { 1.0, 14.6146, 0.3, 1.0 };
    struct backend *backend = make(DEVICE);
    struct noise generators[ROWS];
    struct noise_row rows[ROWS];
    float out[ROWS * SIZE], drawn[SIZE];
    for (int i = 0; i < ROWS; i++) {
        (i == 3 ? noise_init : noise_init_philox)(&generators[i], seeds[i]); /* the last is torch's CPU generator */
        if (i == 1) {
            noise_draw(drawn, SIZE, &generators[i]);
        }
        struct noise kept = generators[i];
        rows[i] = noise_next_row(&generators[i], scales[i]);
        assert_int_equal(generators[i].offset, i == 3 ? 0 : i == 1 ? 2 : 1);
        generators[i] = kept;
    }
    for (int i = 0; i < ROWS * SIZE; i++) {
        out[i] = 77.0f;
    }
    struct buffer *made = hold(backend, out, sizeof out), *told = hold(backend, rows, sizeof rows);
    struct program *p = program_create(backend);
    op_noise(p, program_bind(p, made, 0, ROWS, H, W, C), program_bind(p, told, 0, ROWS, 1, 1, 6));
    run_to_end(p, backend);
    buffer_download(made, 0, out, sizeof out);
    for (int i = 0; i < 4; i++) {
        assert_true(fabsf(out[i * C] - first[i]) < 1e-5f);
    }
    for (int row = 0; row < ROWS; row++) {
        noise_draw(drawn, SIZE, &generators[row]);
        for (int i = 0; i < SIZE; i++) {
            float want = row == 3 ? 77.0f : (float)(scales[row] * (double)drawn[i % C * AREA + i / C]);
            assert_memory_equal(&out[row * SIZE + i], &want, sizeof want);
        }
    }
    program_destroy(p);
    buffer_destroy(made);
    buffer_destroy(told);
    backend_destroy(backend);
}

/* ---- guidance's two copies -------------------------------------------------------------------------------------- */

static void latent_input_copies(void **state) {
    (void)state;
    struct backend *backend = make(DEVICE);
    float latent[BATCH * 8], out[2 * BATCH * 8];
    for (int i = 0; i < BATCH * 8; i++) {
        latent[i] = wave(5, i);
    }
    struct step_row row = { .input_scale = 0.25f };
    int32_t zero = 0;
    struct buffer *buffers[] = { hold(backend, latent, sizeof latent), hold(backend, &row, sizeof row),
                                 hold(backend, &zero, sizeof zero), hold(backend, out, sizeof out) };
    struct program *p = program_create(backend);
    struct tensor made = op_latent_input(p, program_bind(p, buffers[0], 0, BATCH, 2, 1, 4),
                                         program_bind(p, buffers[1], 0, 1, 1, 1, STEP_ROW_WIDTH),
                                         program_bind(p, buffers[2], 0, 1, 1, 1, 1), 2);
    assert_int_equal(made.n, 2 * BATCH);
    op_copy(p, program_bind(p, buffers[3], 0, 2 * BATCH, 2, 1, 4), made);
    run_to_end(p, backend);
    buffer_download(buffers[3], 0, out, sizeof out);
    for (int i = 0; i < 2 * BATCH * 8; i++) {
        assert_true(out[i] == 0.25f * latent[i % (BATCH * 8)]);
    }
    program_destroy(p);
    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        buffer_destroy(buffers[i]);
    }
    backend_destroy(backend);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(update_follows_its_row),
        cmocka_unit_test(pixels_round_and_count),
        cmocka_unit_test(timestep_makes_sinusoids),
        cmocka_unit_test(latent_input_copies),
        cmocka_unit_test(noise_is_the_generators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
