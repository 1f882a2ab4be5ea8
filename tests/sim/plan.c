/* plan.c - what a seed has drawn: who is there, who wants what, and what may go wrong. Not every seed has every fault: few at a time
 * reach further than all at once. */
#include <inttypes.h>

#include "tests/sim/sim.h"

const char *const fault_names[FAULT_COUNT] = { "crash", "die", "restart", "kill", "stop", "freeze", "hang", "reset", "partition",
                                               "disk", "full", "trouble", "clock", "drain", "echo" };

static void draw_workers(struct plan *plan) {
    plan->worker_count = 1 + (uint32_t)dice(WORKERS_MOST);
    for (uint32_t i = 0; i < plan->worker_count; i++) {
        struct traits *traits = &plan->workers[i];
        traits->step_us = spread(3000, 2 * SECOND);
        traits->batch = 1 + (uint32_t)dice(dice(2) ? 4 : 16);
        if (chance(150))
            traits->memory = 1 + (uint32_t)dice(4);
        traits->halves = chance(500);
        traits->broken = i > 0 && chance(100); /* the first one always can */
        traits->liar = i > 0 && chance(50);
        if (i == 0 && plan->patience_percent < 100 && traits->step_us > SECOND / 4)
            traits->step_us = SECOND / 4; /* else no lease of the larger sizes would ever be long enough */
    }
}

static void add_step(struct plan *plan, enum script_what what, uint32_t sweep, uint64_t at_us) {
    if (plan->script_count == SCRIPT_MOST)
        return;
    struct script_step step = { what, at_us, sweep, (uint32_t)dice(USERS), (int32_t)dice(7) - 3 };
    uint32_t place = plan->script_count++;
    for (; place && plan->script[place - 1].at_us > at_us; place--)
        plan->script[place] = plan->script[place - 1];
    plan->script[place] = step;
}

static void draw_script(struct plan *plan) {
    uint32_t sweeps = 1 + (uint32_t)dice(4);
    bool operations = chance(600);
    for (uint32_t i = 0; i < sweeps; i++) {
        uint32_t sweep = (uint32_t)dice(chance(250) ? pool.sweep_count : pool.sweep_count - 3);
        uint64_t at_us = dice(3) ? dice(plan->trouble_us / 2) : dice(SECOND);
        add_step(plan, DO_SUBMIT, sweep, at_us);
        while (operations && chance(400)) {
            enum script_what what = DO_CANCEL + (enum script_what)dice(5);
            at_us += dice(plan->trouble_us / 3);
            add_step(plan, what, sweep, at_us);
            if (what == DO_PAUSE && chance(700))
                add_step(plan, DO_RESUME, sweep, at_us + dice(plan->trouble_us / 4));
        }
        if (chance(200))
            add_step(plan, DO_SUBMIT, sweep, at_us + dice(plan->trouble_us)); /* the very same once more */
    }
}

static void draw_faults(struct plan *plan) {
    if (chance(150))
        return;
    uint32_t of_thousand = 100 + (uint32_t)dice(500);
    for (int i = 0; i < FAULT_COUNT; i++)
        plan->faults[i] = chance(of_thousand);
}

/* Two or three users want as much as they can get, of jobs that cost the same, and nothing goes wrong. */
static void draw_fair(struct plan *plan) {
    static const uint32_t large[USERS] = { 9, 10, 11 };
    plan->fair = true;
    plan->poison = 0;
    plan->worker_count = 1 + (uint32_t)dice(2);
    struct traits traits = { .step_us = 20000 + dice(30000), .batch = 1 + (uint32_t)dice(2) };
    for (uint32_t i = 0; i < plan->worker_count; i++)
        plan->workers[i] = traits; /* one as fast as the other: shares are of their time, and jobs are counted */
    for (uint32_t i = 0; i < USERS; i++) {
        plan->script[plan->script_count++] = (struct script_step){ DO_SUBMIT, 10000 * i, large[i], i, 0 };
        plan->weights[i] = 1 + (uint32_t)dice(4);
    }
    plan->trouble_us = 20 * SECOND;
    plan->desk_us = plan->slow_desk_us = plan->latency_us = plan->slow_latency_us = 500; /* nobody's jobs come late */
}

void plan_draw(struct plan *plan) {
    static const uint32_t heartbeats_ms[] = { 500, 1000, 2000 };
    *plan = (struct plan){
        .trouble_us = spread(10 * SECOND, 200 * SECOND),
        .heartbeat_ms = heartbeats_ms[dice(3)],
        .liveness_ms = dice(2) ? 10000 : 5000,
        .patience_percent = dice(2) ? 100 : 5,
        .max_batch = dice(2) ? LIMIT_BATCH : 1 + (uint32_t)dice(8),
        .hang_ms = 20000,
        .latency_us = spread(200, SECOND / 5),
        .slow_latency_us = spread(1000, 3 * SECOND),
        .desk_us = spread(100, SECOND / 20),
        .slow_desk_us = spread(1000, SECOND),
        .queue_limit = chance(100) ? 4 + (uint32_t)dice(8) : 1000,
        .credit_bytes = chance(200) ? 1000 : 1 << 20,
        .poison = chance(400) ? 5 + (uint32_t)dice(20) : 0,
        .weights = { 1, 1, 1 },
    };
    plan->fault_gap_us = spread(plan->trouble_us / 12, plan->trouble_us);
    if (chance(30)) {
        draw_fair(plan);
        return;
    }
    draw_workers(plan);
    draw_script(plan);
    draw_faults(plan);
}

void plan_trace(const struct plan *plan) {
    static const char *const what[] = { "submit", "cancel", "pause", "resume", "retry", "priority" };
    for (uint32_t i = 0; i < plan->worker_count; i++) {
        const struct traits *traits = &plan->workers[i];
        trace("plan: w%u: %" PRIu64 " us a step, batch %u, memory %u%s%s%s", i + 1, traits->step_us, traits->batch, traits->memory,
              traits->broken ? ", fails always" : "", traits->liar ? ", lies" : "", traits->halves ? ", halves by itself" : "");
    }
    for (uint32_t i = 0; i < plan->script_count; i++)
        trace("plan: %s %s at %.3f s", what[plan->script[i].what], pool.sweeps[plan->script[i].sweep].name,
              (double)plan->script[i].at_us / 1e6);
    for (int i = 0; i < FAULT_COUNT; i++)
        if (plan->faults[i])
            trace("plan: %s", fault_names[i]);
    trace("plan: trouble for %.1f s, a fault in %.1f s, poison 1 in %u%s", (double)plan->trouble_us / 1e6,
          (double)plan->fault_gap_us / 1e6, plan->poison, plan->fair ? ", fairness" : "");
}
