/* test_worker.c - what a worker says beside its requests: how many it draws at once, and what it need not load. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "coordinator/worker.h"

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

static void what_is_on_the_device_costs_nothing(void **state) {
    struct worker *worker = worker_create(1, "w");
    struct digest all[] = { digest_of("a", 1), digest_of("b", 1), digest_of("c", 1) };
    struct spec a = spec_of("a", "", 64), b = spec_of("b", "", 64), both = spec_of("a", "b", 64), other = spec_of("a", "c", 64);
    (void)state;
    worker_set_facts(worker, &(struct worker_facts){ .batch = 1, .models = all, .model_count = 3 });
    assert_int_equal(worker_affinity(worker, &a), 1);
    worker_set_report(worker, &(struct worker_report){ .batch = 1, .models = all, .model_count = 2 });
    assert_int_equal(worker_affinity(worker, &a), 2);
    assert_int_equal(worker_affinity(worker, &b), 2);
    assert_int_equal(worker_affinity(worker, &both), 2);
    assert_int_equal(worker_affinity(worker, &other), 1);
    worker_set_report(worker, &(struct worker_report){ .batch = 1, .models = all + 1, .model_count = 1 }); /* a had to go */
    assert_int_equal(worker_affinity(worker, &a), 1);
    assert_int_equal(worker_affinity(worker, &b), 2);
    worker_destroy(worker);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_follow_the_size_that_was_drawn),
        cmocka_unit_test(what_is_on_the_device_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
