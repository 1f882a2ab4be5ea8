/*
 * op_suite.c - every op on every backend: `reference` against formulas, `cpu` against `reference`; and bit for bit:
 * a batch against its images alone, one thread against many.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/backend/op.h"
#include "tests/pipeline/op_cases.h"

enum { IMAGES = 3 };
static const char *const classes[] = { "cpu x86-64-v4", "cpu x86-64-v3", "cpu generic" };

static struct backend *make(const char *device, uint32_t threads) {
    struct backend *backend = NULL;
    struct error error;
    assert_int_equal(backend_create(&backend, device, DTYPE_F32, threads, &error), ERR_OK);
    return backend;
}

static float *run(struct backend *backend, const struct problem *problem, uint32_t first, uint32_t count) {
    float *out = malloc(count * problem_output(problem) * sizeof *out);
    problem_run(out, backend, problem, first, count);
    return out;
}

/* Largest distance as a share of the largest value wanted; infinite where an element is NaN. */
static double distance(const float *have, const double *want, size_t count) {
    double most = 0.0, error = 0.0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs(want[i]));
        error = isfinite(have[i]) ? fmax(error, fabs(have[i] - want[i])) : INFINITY;
    }
    return error / most;
}

static void report(const char *what, const struct problem *problem, double error, double tolerance) {
    char name[256];
    problem_name(name, sizeof name, problem);
    if (!(error <= tolerance)) {
        fail_msg("%s: %s: error %.2e, tolerance %.2e", what, name, error, tolerance);
    }
    if (getenv("OP_SUITE_VERBOSE") != NULL) {
        printf("%s: %s: error %.2e\n", what, name, error);
    }
}

/* Sums in double, stored in f32: half a unit in the last place, 6e-8; embed, concat and the like also. */
static void reference_follows_formulas(void **state) {
    (void)state;
    struct backend *backend = make("reference", 0);
    for (size_t i = 0; i < problem_count; i++) {
        const struct problem *p = &problems[i];
        size_t count = problem_output(p);
        float *have = run(backend, p, 1, 2); /* images 1 and 2 */
        double *want = malloc(count * sizeof *want);
        for (uint32_t image = 0; image < 2; image++) {
            problem_expect(want, p, image + 1);
            report("reference", p, distance(have + image * count, want, count), 7e-8);
        }
        free(want);
        free(have);
    }
    backend_destroy(backend);
}

/* In one class of instruction set; skipped where this machine lacks it. */
static void class_follows_reference(const char *class_name) {
    struct backend *reference = make("reference", 0), *cpu = NULL;
    struct error error;
    enum err err = cpu_create_class(&cpu, class_name, 2, &error);
    if (err == ERR_UNSUPPORTED) {
        backend_destroy(reference);
        print_message("%s\n", error.message);
        skip();
    }
    assert_int_equal(err, ERR_OK);
    assert_string_equal(backend_class(cpu), class_name);
    for (size_t i = 0; i < problem_count; i++) {
        const struct problem *p = &problems[i];
        size_t count = IMAGES * problem_output(p);
        float *plain = run(reference, p, 0, IMAGES), *have = run(cpu, p, 0, IMAGES);
        double *want = malloc(count * sizeof *want);
        for (size_t k = 0; k < count; k++) {
            want[k] = plain[k];
        }
        report(backend_class(cpu), p, distance(have, want, count), problem_tolerance(p));
        free(want);
        free(plain);
        free(have);
    }
    backend_destroy(reference);
    backend_destroy(cpu);
}

static void v4_follows_reference(void **state) {
    (void)state;
    class_follows_reference("cpu x86-64-v4");
}

static void v3_follows_reference(void **state) {
    (void)state;
    class_follows_reference("cpu x86-64-v3");
}

static void generic_follows_reference(void **state) {
    (void)state;
    class_follows_reference("cpu generic");
}

static void same_bytes(const char *what, const struct problem *p, const float *a, const float *b, size_t count) {
    char name[256];
    problem_name(name, sizeof name, p);
    if (memcmp(a, b, count * sizeof *a) != 0) {
        fail_msg("%s: %s: bytes differ", what, name);
    }
}

/* Weights that are kept narrow give what the same numbers give as f32, bit for bit. */
static void narrow_is_wide(void **state) {
    (void)state;
    for (size_t c = 0; c < sizeof classes / sizeof classes[0]; c++) {
        struct backend *cpu = NULL;
        struct error error;
        if (cpu_create_class(&cpu, classes[c], 2, &error) != ERR_OK) {
            continue;
        }
        for (size_t i = 0; i < problem_count; i++) {
            if (problems[i].weights != DTYPE_F32) {
                struct problem widened = problems[i];
                widened.widened = true;
                float *narrow = run(cpu, &problems[i], 0, IMAGES), *wide = run(cpu, &widened, 0, IMAGES);
                same_bytes(classes[c], &problems[i], narrow, wide, IMAGES * problem_output(&problems[i]));
                free(narrow);
                free(wide);
            }
        }
        backend_destroy(cpu);
    }
}

static void batch_is_its_images(void **state) {
    (void)state;
    struct backend *cpu = make("cpu", 2);
    for (size_t i = 0; i < problem_count; i++) {
        const struct problem *p = &problems[i];
        size_t count = problem_output(p);
        float *batch = run(cpu, p, 0, 5);
        for (uint32_t image = 0; image < 5; image++) {
            float *alone = run(cpu, p, image, 1);
            same_bytes("alone or in a batch", p, batch + image * count, alone, count);
            free(alone);
        }
        float *pair = run(cpu, p, 1, 2);
        same_bytes("in a batch of two or five", p, batch + count, pair, 2 * count);
        free(pair);
        free(batch);
    }
    backend_destroy(cpu);
}

static void threads_agree(void **state) {
    (void)state;
    enum { MOST = 4 };
    struct backend *backends[MOST];
    for (uint32_t i = 0; i < MOST; i++) {
        backends[i] = make("cpu", i + 1);
        assert_int_equal(backend_threads(backends[i]), i + 1);
    }
    for (size_t i = 0; i < problem_count; i++) {
        const struct problem *p = &problems[i];
        float *one = run(backends[0], p, 0, IMAGES);
        for (uint32_t k = 1; k < MOST; k++) {
            float *many = run(backends[k], p, 0, IMAGES);
            same_bytes("one thread or many", p, one, many, IMAGES * problem_output(p));
            free(many);
        }
        free(one);
    }
    for (uint32_t i = 0; i < MOST; i++) {
        backend_destroy(backends[i]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reference_follows_formulas),
        cmocka_unit_test(v4_follows_reference),
        cmocka_unit_test(v3_follows_reference),
        cmocka_unit_test(generic_follows_reference),
        cmocka_unit_test(narrow_is_wide),
        cmocka_unit_test(batch_is_its_images),
        cmocka_unit_test(threads_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
