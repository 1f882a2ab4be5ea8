/* test_forecast.c - what the scheduler promises of speed and fairness, at the size of a whole farm. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/forecast.h"

static struct forecast_farm farm;
static struct forecast forecast;

static void add_workers(uint32_t count, uint32_t job_ms, uint32_t batch) {
    farm.classes[farm.class_count++] = (struct forecast_class){ count, job_ms, batch };
}

static void add_sweep(const char *user, uint64_t jobs, uint64_t at_ms, uint32_t model) {
    struct forecast_sweep sweep = { .jobs = jobs, .at_ms = at_ms, .steps = FORECAST_STEPS, .model = model };
    snprintf(sweep.user, sizeof sweep.user, "%s", user);
    farm.sweeps[farm.sweep_count++] = sweep;
}

static int set_up(void **state) {
    (void)state;
    memset(&farm, 0, sizeof farm);
    farm.latency_ms = 5;
    return 0;
}

static void test_one_fast_and_three_slow(void **state) {
    (void)state;
    for (uint32_t batch = 1; batch <= 8; batch *= 2) {
        set_up(NULL);
        add_workers(1, 100, batch);
        add_workers(3, 1000, batch);
        add_sweep("ann", 400, 0, 1);
        forecast_run(&forecast, &farm);
        assert_int_equal(forecast.jobs, 400);
        if ((double)forecast.end_ms > 1.1 * forecast.ideal_ms)
            fail_msg("batch %u: want at most 1.1 of the ideal, has %.3f", batch, (double)forecast.end_ms / forecast.ideal_ms);
    }
}

/* Five speeds, 20 sweeps of 4 models and 5 users; a model takes two seconds to load. */
static void test_a_thousand_workers(void **state) {
    static const char *const users[] = { "ann", "bob", "cat", "dan", "eve" };
    (void)state;
    farm.load_ms = 2000;
    for (uint32_t i = 0; i < 5; i++)
        add_workers(200, 200 << i, 4);
    for (uint32_t i = 0; i < 20; i++)
        add_sweep(users[i % 5], 50000, 0, 1 + i % 4);
    forecast_run(&forecast, &farm);
    assert_int_equal(forecast.jobs, 1000000);
    if (forecast_busy(&forecast) < 0.97)
        fail_msg("want 97 %% busy at least, has %.2f", 100 * forecast_busy(&forecast));
}

/* 100 jobs that come when 10,000 of somebody else's are under way end as if half of the farm were theirs, but for the leases that
 * run as they come. */
static void test_small_beside_large(void **state) {
    enum { AT_MS = 60000, JOB_MS = 1000, WORKERS = 16 };
    (void)state;
    add_workers(WORKERS, JOB_MS, 1);
    add_sweep("large", 10000, 0, 1);
    add_sweep("small", 100, AT_MS, 1);
    forecast_run(&forecast, &farm);
    double share_ms = 100.0 * JOB_MS / (WORKERS / 2.0), took_ms = (double)(forecast.sweeps[1].last_ms - AT_MS);
    double wait_ms = (double)(forecast.sweeps[1].first_ms - AT_MS);
    if (took_ms > share_ms + 3 * JOB_MS || wait_ms > 3 * JOB_MS)
        fail_msg("want the first after %d ms and the last after %.0f ms at most, has %.0f ms and %.0f ms", 3 * JOB_MS,
                 share_ms + 3 * JOB_MS, wait_ms, took_ms);
}

static void test_ten_weights(void **state) {
    (void)state;
    uint64_t all_ms = 0;
    add_workers(50, 500, 2);
    add_workers(50, 2000, 2);
    for (uint32_t i = 0; i < 10; i++) {
        struct forecast_user *user = &farm.users[farm.user_count++];
        user->weight = i + 1;
        snprintf(user->name, sizeof user->name, "user%u", i + 1);
        add_sweep(user->name, 5000, 0, 1);
    }
    forecast_run(&forecast, &farm);
    for (uint32_t i = 0; i < 10; i++)
        all_ms += forecast.sweeps[i].contended_ms;
    for (uint32_t i = 0; i < 10; i++) {
        double share = (double)forecast.sweeps[i].contended_ms / (double)all_ms, fair = (i + 1) / 55.0;
        if (fabs(share / fair - 1) > 0.05)
            fail_msg("weight %u: want %.2f %% of the time within 5 %%, has %.2f %%", i + 1, 100 * fair, 100 * share);
    }
}

/* Speeds are those of the jobs that count; what is drawn twice is said. */
static void test_sums(void **state) {
    (void)state;
    add_workers(3, 700, 3);
    add_workers(1, 90, 1);
    add_sweep("ann", 500, 0, 1);
    add_sweep("bob", 300, 30000, 2);
    farm.load_ms = 1000;
    forecast_run(&forecast, &farm);
    uint64_t jobs = forecast.classes[0].jobs + forecast.classes[1].jobs;
    uint64_t busy_ms = forecast.classes[0].busy_ms + forecast.classes[1].busy_ms;
    assert_int_equal(jobs, 800);
    assert_int_equal(busy_ms, 700 * forecast.classes[0].jobs + 90 * forecast.classes[1].jobs);
    assert_int_equal(busy_ms, forecast.sweeps[0].device_ms + forecast.sweeps[1].device_ms);
    assert_true(forecast.sweeps[1].first_ms >= 31000 && (double)forecast.end_ms >= forecast.ideal_ms);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_fast_and_three_slow, set_up), cmocka_unit_test_setup(test_a_thousand_workers, set_up),
        cmocka_unit_test_setup(test_small_beside_large, set_up),      cmocka_unit_test_setup(test_ten_weights, set_up),
        cmocka_unit_test_setup(test_sums, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
