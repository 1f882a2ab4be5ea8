/* test_tail.c - farms of uneven workers come to the end together: drawn event by event, in virtual time. */
#include "tests/coordinator/kit_farm.h"

#include <math.h>
#include <string.h>

struct drawing {
    uint64_t lease, end_ms; /* end_ms 0: idle */
};

struct run {
    struct farm farm;
    uint32_t workers;
    double job_ms[FARM_WORKERS];
    uint32_t stops_at[FARM_WORKERS]; /* the worker stands still for good with its n-th lease; 0: never */
    uint32_t drawn[FARM_WORKERS];
    struct drawing drawing[FARM_WORKERS];
    uint64_t last_ms; /* the last delivery */
};

static void deliver_due(struct run *run) {
    struct farm *farm = &run->farm;
    for (uint32_t i = 0; i < run->workers; i++) {
        struct drawing *drawing = &run->drawing[i];
        if (!drawing->end_ms || drawing->end_ms > farm->now_ms)
            continue;
        struct lease *lease = lease_find(&farm->scheduler.leases, drawing->lease);
        if (lease) {
            farm_deliver_lease(farm, i + 1, lease, (uint32_t)run->job_ms[i]);
            run->last_ms = farm->now_ms;
        }
        drawing->end_ms = 0;
    }
}

static void take_revokes(struct run *run) {
    struct scheduler *scheduler = &run->farm.scheduler;
    for (size_t i = 0; i < scheduler->revoke_count; i++) {
        struct drawing *drawing = &run->drawing[scheduler->revokes[i].worker - 1];
        if (drawing->lease == scheduler->revokes[i].lease)
            drawing->end_ms = 0;
    }
    scheduler->revoke_count = 0;
}

static uint64_t draw(struct run *run) {
    struct farm *farm = &run->farm;
    uint64_t next_ms = UINT64_MAX;
    farm_pages(farm, 256);
    for (uint32_t i = 0; i < run->workers; i++) {
        struct drawing *drawing = &run->drawing[i];
        struct lease *lease = drawing->end_ms ? NULL : farm_grant(farm, i + 1, LIMIT_BATCH);
        if (lease) {
            bool stops = ++run->drawn[i] == run->stops_at[i];
            *drawing = (struct drawing){ lease->id, stops ? UINT64_MAX
                                                          : farm->now_ms + (uint64_t)ceil(run->job_ms[i] * lease->count) };
        }
        if (drawing->end_ms && drawing->end_ms < next_ms)
            next_ms = drawing->end_ms;
    }
    uint64_t look_ms = schedule_next_ms(&farm->scheduler, farm->now_ms);
    look_ms = look_ms > farm->now_ms ? look_ms : farm->now_ms + 1;
    return next_ms < look_ms ? next_ms : look_ms;
}

/* How much longer than the ideal, in which all draw until the end. */
static double run_jobs(struct run *run, uint32_t jobs) {
    struct farm *farm = &run->farm;
    double pace = 0;
    for (uint32_t i = 0; i < run->workers; i++)
        pace += 1 / run->job_ms[i];
    const struct order *order = farm_order(farm, "ann", kit_sweep("a frog", 0, jobs, &frog_model));
    uint64_t begin_ms = farm->now_ms;
    for (; !order_is_finished(order); deliver_due(run), take_revokes(run)) {
        farm->now_ms = draw(run);
        assert_true(farm->now_ms < begin_ms + 100000000);
    }
    return (double)(run->last_ms - begin_ms) / (jobs / pace);
}

static void test_one_fast_and_three_slow(void **state) {
    (void)state;
    for (uint32_t batch = 1; batch <= 8; batch *= 2) {
        struct run run;
        memset(&run, 0, sizeof run);
        run.workers = 4;
        farm_init(&run.farm, 4, batch);
        run.job_ms[0] = 100;
        for (int i = 1; i < 4; i++)
            run.job_ms[i] = 1000;
        double ratio = run_jobs(&run, 400);
        if (ratio > 1.1)
            fail_msg("batch %u: want at most 1.1 of the ideal, has %.3f", batch, ratio);
        farm_release(&run.farm);
    }
}

static void test_five_speeds(void **state) {
    struct run run;
    (void)state;
    memset(&run, 0, sizeof run);
    run.workers = 50;
    farm_init(&run.farm, 50, 4);
    for (int i = 0; i < 50; i++)
        run.job_ms[i] = 200 << i % 5;
    double ratio = run_jobs(&run, 10000);
    if (ratio > 1 / 0.97)
        fail_msg("want 97 %% busy at least, has %.1f", 100 / ratio);
    farm_release(&run.farm);
}

/* A worker that stands still at the end is copied, not waited for: its lease would run out after minutes. */
static void test_one_stands_still(void **state) {
    struct run run;
    (void)state;
    memset(&run, 0, sizeof run);
    run.workers = 2;
    farm_init(&run.farm, 2, 1);
    run.job_ms[0] = run.job_ms[1] = 500;
    run.stops_at[1] = 10;
    double ratio = run_jobs(&run, 60);
    assert_true(ratio < 2);
    farm_release(&run.farm);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_one_fast_and_three_slow), cmocka_unit_test(test_five_speeds),
                                        cmocka_unit_test(test_one_stands_still) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
