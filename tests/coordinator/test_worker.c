/* test_worker.c - what a worker says beside its requests: how many it draws at once, and what it need not load. */
#include "tests/coordinator/kit_farm.h"

#define INK "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static struct spec spec_of(const char *model, const char *refiner, uint32_t side) {
    struct spec spec = { .model = digest_of(model, 1), .width = side, .height = side };
    if (*refiner)
        spec.refiner = digest_of(refiner, 1);
    return spec;
}

static void batches_follow_the_size_that_was_drawn(void **state) {
    struct worker *worker = worker_create(1, "w");
    struct spec small = spec_of("a", "", 256), drawn = spec_of("a", "", 512), large = spec_of("a", "", 1024),
                huge = spec_of("a", "", 4096);
    (void)state;
    worker_set_facts(worker, &(struct worker_facts){ .batch = 16 });
    assert_int_equal(worker_batch(worker, &huge), 16); /* nothing is known yet */
    worker_set_report(worker, &(struct worker_report){ .batch = 32, .width = 512, .height = 512 });
    assert_int_equal(worker_batch(worker, &drawn), 32);
    assert_int_equal(worker_batch(worker, &small), 32);
    assert_int_equal(worker_batch(worker, &large), 8);
    assert_int_equal(worker_batch(worker, &huge), 1);
    worker_limit(worker, &large, 4);
    assert_int_equal(worker_batch(worker, &large), 4);
    worker_set_facts(worker, &(struct worker_facts){ .batch = 16 }); /* it has come back */
    assert_int_equal(worker_batch(worker, &drawn), 16);
    worker_destroy(worker);
}

static int affinity(const struct worker *worker, const struct spec *spec) {
    struct digest prepared = spec_model_key(spec);
    return worker_affinity(worker, spec, &prepared);
}

static void what_is_on_the_device_costs_nothing(void **state) {
    struct worker *worker = worker_create(1, "w");
    struct digest files[] = { digest_of("a", 1), digest_of("b", 1), digest_of("c", 1) };
    struct spec a = spec_of("a", "", 64), b = spec_of("b", "", 64), both = spec_of("a", "b", 64), other = spec_of("a", "c", 64);
    struct digest ready[] = { spec_model_key(&a), spec_model_key(&both), spec_model_key(&b) };
    (void)state;
    worker_set_facts(worker, &(struct worker_facts){ .batch = 1, .models = files, .model_count = 3 });
    assert_int_equal(affinity(worker, &a), 1);
    worker_set_report(worker, &(struct worker_report){ .batch = 1, .models = ready, .model_count = 3 });
    assert_int_equal(affinity(worker, &a), 2);
    assert_int_equal(affinity(worker, &b), 2);
    assert_int_equal(affinity(worker, &both), 2);
    assert_int_equal(affinity(worker, &other), 1);
    a.vae = files[2]; /* another VAE, another model to load */
    assert_int_equal(affinity(worker, &a), 1);
    worker_set_report(worker, &(struct worker_report){ .batch = 1, .models = ready + 2, .model_count = 1 }); /* others had to go */
    assert_int_equal(affinity(worker, &both), 1);
    assert_int_equal(affinity(worker, &b), 2);
    worker_destroy(worker);
}

/* What a memory limit holds for: not for jobs that may need less. */
static void test_memory_kinds(void **state) {
    static const struct { enum field field; const char *text; bool same; } changes[] = {
        { FIELD_SEED, "7", true },        { FIELD_STEPS, "9", true },         { FIELD_PROMPT, "a fish", true }, { FIELD_CFG, "9", true },
        { FIELD_CFG, "1", false },        { FIELD_LORA, INK ":0.5", false },  { FIELD_VAE, INK, false },        { FIELD_REFINER, INK, false },
        { FIELD_VAE_TILING, "64", false }, { FIELD_SIZE, "16x8", false },     { FIELD_NUMERICS, "fp16", false },
    };
    const struct worker_facts facts = { .batch = 8 };
    struct worker *worker = worker_create(1, "one");
    struct spec spec, other;
    struct error error;
    (void)state;
    spec_init(&spec);
    spec.model = frog_model;
    worker_set_facts(worker, &facts);
    worker_limit(worker, &spec, 2);
    assert_int_equal(worker_batch(worker, &spec), 2);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        spec_init(&other);
        other.model = frog_model;
        assert_ok(spec_set(&other, changes[i].field, changes[i].text, &error), error);
        assert_int_equal(worker_batch(worker, &other), changes[i].same ? 2 : 8);
        spec_release(&other);
    }
    assert_ok(spec_set(&spec, FIELD_LORA, INK ":0.5", &error), error);
    worker_limit(worker, &spec, 1);
    assert_ok(spec_set(&spec, FIELD_LORA, INK ":0.75", &error), error); /* no matter how strongly it is merged */
    assert_int_equal(worker_batch(worker, &spec), 1);
    spec_release(&spec);
    worker_destroy(worker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_follow_the_size_that_was_drawn),
        cmocka_unit_test(what_is_on_the_device_costs_nothing),
        cmocka_unit_test(test_memory_kinds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
