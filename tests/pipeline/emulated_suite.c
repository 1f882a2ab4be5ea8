/*
 * emulated_suite.c - the op suite on the CUDA backend, emulated: our kernels' logic, memory plan, sequence and error paths
 * in fp32, fp16 and bf16, against `reference`. What the vendors' libraries do is not proved here: the reference backend stands
 * in for them (tests/emulation).
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pipeline/backend/op.h"
#include "tests/emulation/emulation.h"
#include "tests/pipeline/op_cases.h"

enum { IMAGES = 3 };

static struct backend *make(enum dtype numerics) {
    struct backend *backend = NULL;
    struct error error;
    struct emulation machine = emulation_default();
    emulation_set(&machine);
    if (backend_create(&backend, "emulated:0", numerics, 0, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
    return backend;
}

static float *run(struct backend *backend, const struct problem *problem, uint32_t first, uint32_t count) {
    float *out = malloc(count * problem_output(problem) * sizeof *out);
    problem_run(out, backend, problem, first, count);
    return out;
}

/* Largest distance as a share of the largest value wanted; infinite where an element is not finite. */
static double distance(const float *have, const float *want, size_t count) {
    double most = 0.0, error = 0.0;
    for (size_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)want[i]));
        error = isfinite(have[i]) ? fmax(error, fabs((double)have[i] - (double)want[i])) : INFINITY;
    }
    return error / most;
}

/* fp32: the CPU's. The others round inputs, weights and result to 2^-12 and 2^-9 of themselves at worst, and a mean that a
 * norm takes away was rounded with them. Largest errors measured: fp16 1.1e-3, with a mean of 30 5.4e-3; bf16 8 times that. */
static double tolerance(const struct problem *p, enum dtype numerics) {
    double fp16 = 1.5e-3 * (1.0 + (double)p->mean / 4.0);
    if (numerics == DTYPE_F32 && p->kind == PROBLEM_SUM) {
        return 2e-7; /* its SiLU is f32 here: 8.3e-8 */
    }
    return numerics == DTYPE_F32 ? problem_tolerance(p) : numerics == DTYPE_F16 ? fp16 : 8.0 * fp16;
}

static void follows_reference(enum dtype numerics) {
    struct backend *reference = NULL, *emulated = make(numerics);
    struct error error;
    assert_int_equal(backend_create(&reference, "reference", DTYPE_F32, 1, &error), ERR_OK);
    for (size_t i = 0; i < problem_count; i++) {
        const struct problem *p = &problems[i];
        float *want = run(reference, p, 0, IMAGES), *have = run(emulated, p, 0, IMAGES);
        double off = distance(have, want, IMAGES * problem_output(p));
        char name[256];
        problem_name(name, sizeof name, p);
        if (getenv("OP_SUITE_VERBOSE") != NULL) {
            printf("%s: %s: error %.2e\n", backend_class(emulated), name, off);
        }
        if (!(off <= tolerance(p, numerics))) {
            fail_msg("%s: %s: error %.2e, tolerance %.2e", backend_class(emulated), name, off, tolerance(p, numerics));
        }
        free(want);
        free(have);
    }
    assert_int_equal(backend_check(emulated, &error), ERR_OK);
    backend_destroy(emulated);
    backend_destroy(reference);
    assert_int_equal(emulation_memory_held(), 0);
}

static void fp32_follows_reference(void **state) {
    (void)state;
    follows_reference(DTYPE_F32);
}

static void fp16_follows_reference(void **state) {
    (void)state;
    follows_reference(DTYPE_F16);
}

static void bf16_follows_reference(void **state) {
    (void)state;
    follows_reference(DTYPE_BF16);
}

/* Our kernels sum in an order that shapes alone give. The libraries make no such promise (docs/CUDA.md). */
static void batch_is_its_images(void **state) {
    (void)state;
    struct backend *emulated = make(DTYPE_F16);
    for (size_t i = 0; i < problem_count; i++) {
        const struct problem *p = &problems[i];
        size_t count = problem_output(p);
        float *batch = run(emulated, p, 0, IMAGES);
        for (uint32_t image = 0; image < IMAGES; image++) {
            float *alone = run(emulated, p, image, 1);
            assert_memory_equal(batch + image * count, alone, count * sizeof *alone);
            free(alone);
        }
        free(batch);
    }
    backend_destroy(emulated);
}

/* ---- programs ----------------------------------------------------------------------------------------------------- */

struct chain {
    struct buffer *in, *out, *scratch;
    struct program *program;
};

/* out = 2 * 2 * ... in, `length` times, over 1000 values. */
static struct chain chain_make(struct backend *backend, int length) {
    struct chain chain = { .program = program_create(backend) };
    struct error error;
    float values[1000];
    for (int i = 0; i < 1000; i++) {
        values[i] = (float)i;
    }
    assert_int_equal(buffer_create(&chain.in, backend, sizeof values, &error), ERR_OK);
    assert_int_equal(buffer_create(&chain.out, backend, sizeof values, &error), ERR_OK);
    buffer_upload(chain.in, 0, values, sizeof values);
    struct tensor x = program_bind(chain.program, chain.in, 0, 1, 1, 1, 1000);
    for (int i = 0; i < length; i++) {
        x = op_scale(chain.program, x, 2.0f);
    }
    op_copy(chain.program, program_bind(chain.program, chain.out, 0, 1, 1, 1, 1000), x);
    program_finish(chain.program);
    assert_int_equal(buffer_create(&chain.scratch, backend, program_memory(chain.program), &error), ERR_OK);
    program_attach(chain.program, chain.scratch);
    return chain;
}

static void chain_release(struct chain *chain) {
    program_destroy(chain->program);
    buffer_destroy(chain->in);
    buffer_destroy(chain->out);
    buffer_destroy(chain->scratch);
}

static void assert_result(const struct chain *chain, float factor) {
    float values[1000];
    buffer_download(chain->out, 0, values, sizeof values);
    for (int i = 0; i < 1000; i++) {
        assert_true(values[i] == factor * (float)i);
    }
}

/* Op by op, then captured, then replayed; and captured anew where its memory has moved. */
static void programs_are_captured_once(void **state) {
    (void)state;
    struct backend *backend = make(DTYPE_F32);
    struct chain chain = chain_make(backend, 3);
    struct buffer *other = NULL;
    struct error error;
    for (int round = 0; round < 4; round++) {
        float zero[1000] = { 0 };
        buffer_upload(chain.out, 0, zero, sizeof zero);
        program_run(chain.program);
        assert_result(&chain, 8.0f);
    }
    assert_int_equal(emulation_graph_launches(), 3);
    assert_int_equal(buffer_create(&other, backend, program_memory(chain.program), &error), ERR_OK);
    program_attach(chain.program, other);
    buffer_destroy(chain.scratch);
    chain.scratch = other;
    for (int round = 0; round < 3; round++) {
        program_run(chain.program);
    }
    backend_wait(backend);
    assert_result(&chain, 8.0f);
    assert_int_equal(emulation_graph_launches(), 5);
    chain_release(&chain);
    backend_destroy(backend);
}

/* ---- snapshots ---------------------------------------------------------------------------------------------------- */

/* What it was when it was taken, though the program went on, and no wait of the host's more than without. */
static uint64_t check_snapshots(bool take) {
    struct backend *backend = make(DTYPE_F32);
    struct chain chain = chain_make(backend, 1);
    struct snapshot *snapshot = NULL;
    struct error error;
    const float *late = NULL;
    assert_int_equal(snapshot_create(&snapshot, backend, 500 * sizeof(float), &error), ERR_OK);
    program_run(chain.program); /* op by op */
    float tens[1000];
    for (int i = 0; i < 1000; i++) {
        tens[i] = 10.0f * (float)i;
    }
    program_run(chain.program); /* captured: out is 2 i */
    if (take) {
        snapshot_take(snapshot, chain.out, 300 * sizeof(float));
    }
    uint64_t waits = emulation_waits();
    for (int round = 0; round < 8; round++) {
        program_run(chain.program);
        late = take && late == NULL ? snapshot_data(snapshot) : late;
    }
    waits = emulation_waits() - waits;
    backend_wait(backend);
    buffer_upload(chain.in, 0, tens, sizeof tens);
    program_run(chain.program);
    backend_wait(backend);
    assert_result(&chain, 20.0f);
    for (int i = 0; take && i < 500; i++) {
        assert_true(late[i] == 2.0f * (float)(i + 300));
    }
    assert_int_equal(backend_check(backend, &error), ERR_OK);
    snapshot_destroy(snapshot);
    chain_release(&chain);
    backend_destroy(backend);
    return waits;
}

static void snapshots_wait_for_nothing(void **state) {
    (void)state;
    uint64_t without = check_snapshots(false), with = check_snapshots(true);
    assert_true(without > 0 && with <= without);
}

/* It is still under way: enqueued behind much work. A card that vanishes delivers none, and says why. */
static void snapshots_come_when_they_are_done(void **state) {
    (void)state;
    struct backend *backend = make(DTYPE_F32);
    struct chain chain = chain_make(backend, 150);
    struct emulation machine = emulation_default();
    struct snapshot *snapshot = NULL;
    struct error error;
    assert_int_equal(snapshot_create(&snapshot, backend, 4, &error), ERR_OK);
    program_run(chain.program);
    program_run(chain.program);
    snapshot_take(snapshot, chain.out, 0);
    assert_null(snapshot_data(snapshot));
    backend_wait(backend);
    assert_non_null(snapshot_data(snapshot));
    program_run(chain.program);
    snapshot_take(snapshot, chain.out, 0);
    machine.fail_after = 10;
    emulation_set(&machine);
    for (int i = 0; i < 10; i++) {
        assert_null(snapshot_data(snapshot));
    }
    assert_int_equal(backend_check(backend, &error), ERR_DEVICE);
    snapshot_destroy(snapshot);
    chain_release(&chain);
    backend_destroy(backend);
}

/* ---- failures ----------------------------------------------------------------------------------------------------- */

/* The card vanishes: op and shape are named, downloads are zeros, nothing runs any more, and all memory can be freed. */
static void check_vanishing(uint64_t after, int runs, const char *named) {
    struct backend *backend = make(DTYPE_F16);
    struct chain chain = chain_make(backend, 3);
    struct emulation machine = emulation_default();
    struct error error;
    machine.fail_after = after;
    emulation_set(&machine);
    for (int i = 0; i < runs; i++) {
        program_run(chain.program);
    }
    backend_wait(backend);
    assert_int_equal(backend_check(backend, &error), ERR_DEVICE);
    assert_non_null(strstr(error.message, "emulated:0 (Emulated card 0)"));
    if (strstr(error.message, named) == NULL) {
        fail_msg("want \"%s\" in \"%s\"", named, error.message);
    }
    float values[1000];
    memset(values, 0xff, sizeof values);
    buffer_download(chain.out, 0, values, sizeof values);
    assert_true(values[0] == 0.0f && values[999] == 0.0f);
    struct buffer *more = NULL;
    assert_int_equal(buffer_create(&more, backend, 16, &error), ERR_DEVICE);
    chain_release(&chain);
    backend_destroy(backend);
    assert_int_equal(emulation_memory_held(), 0);
}

static void failures_name_op_and_shape(void **state) {
    (void)state;
    check_vanishing(2, 1, "scale [1,1,1,1000] -> [1,1,1,1000]: cudaErrorLaunchFailure");
    check_vanishing(5, 2, "a program of 5 ops, from copy [1,1,1,1000]");
}

static void cards_are_found(void **state) {
    (void)state;
    struct emulation machine = emulation_default();
    struct backend *backend = NULL;
    struct error error;
    machine.devices = 2;
    emulation_set(&machine);
    assert_int_equal(backend_create(&backend, "emulated:2", DTYPE_F16, 0, &error), ERR_NOT_FOUND);
    assert_string_equal(error.message, "device \"emulated:2\": want emulated:0 to emulated:1");
    assert_int_equal(backend_create(&backend, "emulated:x", DTYPE_F16, 0, &error), ERR_NOT_FOUND);
    assert_int_equal(backend_create(&backend, "emulated:GPU-1", DTYPE_F16, 0, &error), ERR_NOT_FOUND);
    struct device_name names[DEVICES_LIMIT];
    size_t count = 0;
    backend_list(names, &count);
    assert_int_equal(count, 2);
    assert_string_equal(names[1].text, "emulated:GPU-00000000-0000-0000-0000-000000000001");
    assert_int_equal(backend_create(&backend, names[1].text, DTYPE_F16, 0, &error), ERR_OK);
    assert_string_equal(backend_class(backend), "emulated sm_90 fp16");
    backend_destroy(backend);
    machine.driver = 12040;
    emulation_set(&machine);
    assert_int_equal(backend_create(&backend, "emulated:0", DTYPE_F16, 0, &error), ERR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "built for CUDA 13.0, the driver knows CUDA up to 12.4"));
    machine.driver = 0;
    emulation_set(&machine);
    assert_int_equal(backend_create(&backend, "emulated:0", DTYPE_F16, 0, &error), ERR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "no NVIDIA driver"));
    machine = emulation_default();
    machine.devices = 0;
    emulation_set(&machine);
    assert_int_equal(backend_create(&backend, "emulated:0", DTYPE_F16, 0, &error), ERR_NOT_FOUND);
    backend_list(names, &count);
    assert_int_equal(count, 1);
    assert_string_equal(names[0].text, "cpu");
}

static void full_cards_say_how_much(void **state) {
    (void)state;
    struct emulation machine = emulation_default();
    struct backend *backend = make(DTYPE_F32);
    struct buffer *first = NULL, *second = NULL;
    struct error error;
    machine.memory_bytes = emulation_memory_held() + 1000000;
    emulation_set(&machine);
    assert_int_equal(buffer_create(&first, backend, 700000, &error), ERR_OK);
    assert_int_equal(buffer_create(&second, backend, 400000, &error), ERR_MEMORY);
    char want[160];
    snprintf(want, sizeof want, "memory of 400000 bytes on emulated:0 (Emulated card 0): 300000 of its %" PRIu64 " are free, "
             "100000 too few", machine.memory_bytes);
    assert_string_equal(error.message, want);
    assert_int_equal(backend_check(backend, &error), ERR_OK); /* it goes on */
    assert_int_equal(buffer_create(&second, backend, 300000, &error), ERR_OK);
    buffer_destroy(first);
    buffer_destroy(second);
    backend_destroy(backend);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fp32_follows_reference),     cmocka_unit_test(fp16_follows_reference),
        cmocka_unit_test(bf16_follows_reference),     cmocka_unit_test(batch_is_its_images),
        cmocka_unit_test(programs_are_captured_once), cmocka_unit_test(failures_name_op_and_shape),
        cmocka_unit_test(snapshots_wait_for_nothing), cmocka_unit_test(snapshots_come_when_they_are_done),
        cmocka_unit_test(cards_are_found),            cmocka_unit_test(full_cards_say_how_much),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
