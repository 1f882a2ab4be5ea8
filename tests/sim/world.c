/* world.c - time, and whose turn it is. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "coordinator/coordinator.h"
#include "tests/sim/fault.h"
#include "tests/sim/sim.h"
#include "worker/agent.h"

enum { EVENTS_MOST = 3000000, SPINS_MOST = 3000 };
#define REST_US (4 * 3600 * SECOND)

struct world world;

/* ---- small things ---------------------------------------------------------------------------------------------------------- */

/* splitmix64 */
uint64_t dice(uint64_t sides) {
    uint64_t z = world.random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    z ^= z >> 31;
    return sides ? z % sides : 0;
}

bool chance(uint32_t of_thousand) {
    return dice(1000) < of_thousand;
}

uint64_t spread(uint64_t least, uint64_t most) {
    uint64_t value = least;
    while (value < most && dice(2))
        value = value * 2 < most ? value * 2 : most;
    return value + dice(value / 2 + 1);
}

const char *node_name(int node) {
    static const char *const names[NODES] = { "coordinator", "w1", "w2", "w3", "w4", "w5", "operator", "observer" };
    return names[node];
}

void trace(const char *format, ...) {
    va_list arguments;
    if (!world.tracing)
        return;
    printf("%10.4f  ", (double)world.now_us / 1e6);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
}

void broken(const char *format, ...) {
    va_list arguments;
    if (world.failed)
        return;
    world.failed = true;
    int size = snprintf(world.failure, sizeof world.failure, "at %.4f s: ", (double)world.now_us / 1e6);
    va_start(arguments, format);
    vsnprintf(world.failure + size, sizeof world.failure - (size_t)size, format, arguments);
    va_end(arguments);
    trace("BROKEN %s", world.failure);
}

int worker_index(const struct worker_node *node) {
    return (int)(node - world.workers);
}

static uint64_t us_of_ms(uint64_t monotonic_ms) {
    static const uint64_t begin_ms = 1000000; /* clock.c */
    return monotonic_ms > begin_ms ? (monotonic_ms - begin_ms) * 1000 : 0;
}

static uint64_t least(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

/* Who has a process of its own has a number of its own. */
pid_t __wrap_getpid(void);
pid_t __wrap_getpid(void) {
    int worker = world.current - FIRST_WORKER;
    return worker >= 0 && worker < WORKERS_MOST ? (pid_t)world.workers[worker].pid : 1;
}

/* Only the coordinator's winding up waits by itself: for its helper threads. */
int __wrap_zmq_poll(void *items, int count, long timeout_ms);
int __wrap_zmq_poll(void *items, int count, long timeout_ms) {
    uint64_t task_us = desks_next_us();
    (void)items, (void)count;
    if (task_us == NEVER) {
        world.now_us += (uint64_t)timeout_ms * 1000;
        return 0;
    }
    world.now_us = most(world.now_us, task_us);
    desks_step();
    return 1;
}

/* ---- the coordinator ---------------------------------------------------------------------------------------------------------- */

static void lose_power(void) {
    disk_crash();
    objects_crash();
    world.dead = false;
    world.die_at = 0;
}

static void farm_begin(void) {
    static const char *const addresses[] = { "sim" };
    static const char *const users[USERS] = { "ann", "bob", "cat" };
    struct user_weight weights[USERS];
    struct error error;
    for (int i = 0; i < USERS; i++)
        weights[i] = (struct user_weight){ users[i], world.plan.weights[i] };
    struct coordinator_options options = {
        .store = "sim", .ledger = "ledger", .addresses = addresses, .address_count = 1,
        .heartbeat_ms = world.plan.heartbeat_ms, .liveness_ms = world.plan.liveness_ms, .max_batch = world.plan.max_batch,
        .patience_percent = world.plan.patience_percent, .weights = weights, .weight_count = USERS, .free_mark_bytes = 1000,
        .credit_bytes = world.plan.credit_bytes,
    };
    world.farm_begin_us = NEVER;
    world.current = COORDINATOR;
    if (coordinator_create(&world.farm, &options, &error) != ERR_OK) {
        world.farm = NULL;
        trace("the coordinator does not begin: %s", error.message);
        lose_power();
        world.farm_begin_us = world.now_us + SECOND;
        if (world.healed)
            broken("the coordinator does not begin: %s", error.message);
        return;
    }
    trace("the coordinator begins life %u", ++world.farm_life);
    world.farm_turn_us = world.farm_least_us = world.now_us;
    world.farm_idle = false;
    history_new_life();
    audit_life();
}

void farm_crash(void) {
    if (!world.farm)
        return;
    trace("the coordinator's machine has no power");
    world.current = COORDINATOR;
    world.dead = true;
    desks_drain();
    coordinator_destroy(world.farm);
    world.farm = NULL;
    lose_power();
    world.farm_begin_us = world.now_us + spread(SECOND / 50, 20 * SECOND);
}

void farm_restart(void) {
    struct error error;
    if (!world.farm)
        return;
    trace("the coordinator is told to end");
    world.current = COORDINATOR;
    coordinator_stop(world.farm);
    if (coordinator_run(world.farm, &error) != ERR_OK)
        broken("the coordinator ends with: %s", error.message);
    if (world.dead) {
        farm_crash();
        return;
    }
    coordinator_destroy(world.farm);
    world.farm = NULL;
    if (world.dead)
        lose_power();
    world.farm_begin_us = world.now_us + spread(SECOND / 50, 5 * SECOND);
}

/* A turn that only its own idle time has caused should find nothing to do: else somebody forgot to wake it. */
static void check_wake(bool idle, bool was_full, uint64_t effects_before) {
    if (idle && !was_full && history_effects() != effects_before)
        broken("a wake-up was lost: the coordinator found work by chance");
}

static void farm_turn(void) {
    struct error error;
    bool woken = net_due_us(COORDINATOR) <= world.now_us || desks_have_finished();
    bool idle = !woken && world.farm_idle, was_full = audit_store_is_full();
    uint64_t effects = history_effects();
    world.current = COORDINATOR;
    if (coordinator_turn(world.farm, &error) != ERR_OK)
        broken("the coordinator's turn: %s", error.message);
    if (!world.dead)
        audit_turn();
    check_wake(idle, was_full, effects);
    uint64_t now_ms = clock_monotonic_ms(), wakes_ms = coordinator_wakes_ms(world.farm);
    world.farm_idle = audit_is_idle();
    world.spins = !woken && wakes_ms <= now_ms ? world.spins + 1 : 0;
    if (world.spins > SPINS_MOST)
        broken("the coordinator spins");
    world.farm_turn_us = us_of_ms(wakes_ms);
    world.farm_least_us = world.now_us + 20 + dice(100);
    if (world.dead)
        farm_crash();
}

static uint64_t farm_due_us(void) {
    if (!world.farm)
        return world.farm_begin_us;
    uint64_t due_us = desks_have_finished() ? world.now_us : least(world.farm_turn_us, net_due_us(COORDINATOR));
    return most(due_us, world.farm_least_us);
}

/* ---- workers ----------------------------------------------------------------------------------------------------------------- */

static void worker_begin(struct worker_node *node) {
    const struct traits *traits = &world.plan.workers[worker_index(node)];
    struct agent_options options = {
        .coordinator = "sim", .name = node->name, .host = "sim", .device = "cpu", .threads = 1, .batch = traits->batch,
        .cache = node->cache, .painter = { .device_class = "sim" },
    };
    struct error error;
    node->pid++;
    node->begin_us = NEVER;
    node->hung = false;
    node->frozen_until_us = 0;
    world.current = FIRST_WORKER + worker_index(node);
    trace("%s begins", node->name);
    if (agent_create(&node->agent, &options, &error) != ERR_OK)
        broken("%s does not begin: %s", node->name, error.message);
    node->turn_us = node->least_us = world.now_us;
}

void worker_end(struct worker_node *node, uint64_t again_us) {
    if (!node->agent)
        return;
    world.current = FIRST_WORKER + worker_index(node);
    agent_destroy(node->agent);
    node->agent = NULL;
    node->begin_us = again_us;
}

static void worker_turn(struct worker_node *node) {
    struct error error;
    bool over = false;
    world.current = FIRST_WORKER + worker_index(node);
    enum err err = agent_turn(&over, node->agent, &error);
    if (err || over) {
        trace("%s ends: %s", node->name, err ? error.message : "it was told to");
        worker_end(node, world.now_us + spread(SECOND / 10, 20 * SECOND));
        return;
    }
    node->turn_us = us_of_ms(agent_wakes_ms(node->agent, clock_monotonic_ms()));
    node->least_us = world.now_us + 50 + dice(100);
}

static uint64_t worker_due_us(struct worker_node *node) {
    if (!node->agent)
        return node->begin_us;
    uint64_t due_us = least(node->turn_us, net_due_us(FIRST_WORKER + worker_index(node)));
    return most(most(due_us, node->least_us), node->frozen_until_us);
}

static uint64_t workshop_due_us(const struct worker_node *node) {
    if (!node->agent || !node->workshop)
        return NEVER;
    return most(workshop_next_us(node->workshop), node->frozen_until_us);
}

/* ---- events ------------------------------------------------------------------------------------------------------------------ */

enum event { EVENT_NONE, EVENT_FARM, EVENT_DESK, EVENT_NET, EVENT_FAULT, EVENT_HEAL, EVENT_WORKER, EVENT_WORKSHOP, EVENT_CLIENT };

struct next {
    enum event event;
    int index;
    uint64_t at_us;
};

static void consider(struct next *next, enum event event, int index, uint64_t at_us) {
    if (at_us < next->at_us)
        *next = (struct next){ event, index, at_us };
}

static struct next next_event(void) {
    struct next next = { EVENT_NONE, 0, NEVER };
    consider(&next, EVENT_FARM, 0, farm_due_us());
    consider(&next, EVENT_DESK, 0, desks_next_us());
    consider(&next, EVENT_NET, 0, net_next_us());
    if (!world.healed) {
        consider(&next, EVENT_FAULT, 0, world.fault_us);
        consider(&next, EVENT_HEAL, 0, world.plan.trouble_us);
    }
    for (int i = 0; i < (int)world.plan.worker_count; i++) {
        consider(&next, EVENT_WORKER, i, worker_due_us(&world.workers[i]));
        consider(&next, EVENT_WORKSHOP, i, workshop_due_us(&world.workers[i]));
    }
    for (int i = 0; i < CLIENT_COUNT; i++)
        consider(&next, EVENT_CLIENT, i, least(client_next_us(i), net_due_us(FIRST_CLIENT + i)));
    return next;
}

static void run_event(const struct next *next) {
    struct worker_node *node = &world.workers[next->index];
    world.now_us = most(world.now_us, next->at_us);
    switch (next->event) {
    case EVENT_FARM:
        if (world.farm)
            farm_turn();
        else
            farm_begin();
        break;
    case EVENT_DESK:
        world.current = COORDINATOR;
        desks_step();
        if (world.dead)
            farm_crash();
        break;
    case EVENT_NET: net_step(); break;
    case EVENT_FAULT: fault_strike(); break;
    case EVENT_HEAL: fault_heal(); break;
    case EVENT_WORKER:
        if (node->agent)
            worker_turn(node);
        else
            worker_begin(node);
        break;
    case EVENT_WORKSHOP:
        world.current = FIRST_WORKER + next->index;
        workshop_step(node->workshop);
        node->turn_us = world.now_us;
        break;
    case EVENT_CLIENT:
        world.current = FIRST_CLIENT + next->index;
        client_turn(next->index);
        break;
    case EVENT_NONE: broken("nothing is ever due again"); break;
    }
}

/* ---- a seed -------------------------------------------------------------------------------------------------------------------- */

static void begin(uint64_t seed, bool tracing) {
    char folder[64];
    memcpy(folder, world.folder, sizeof folder);
    world = (struct world){ .seed = seed, .random = seed, .tracing = tracing, .farm_begin_us = 0 };
    memcpy(world.folder, folder, sizeof folder);
    plan_draw(&world.plan);
    plan_trace(&world.plan);
    net_begin();
    desks_begin();
    disk_begin();
    objects_begin();
    history_begin();
    clients_begin();
    for (int i = 0; i < (int)world.plan.worker_count; i++) {
        struct worker_node *node = &world.workers[i];
        node->name = node_name(FIRST_WORKER + i);
        snprintf(node->cache, sizeof node->cache, "%s/%s", world.folder, node->name);
        node->pid = (uint32_t)(1000 * (i + 1));
        node->begin_us = dice(SECOND / 2);
    }
    world.fault_us = fault_next_us();
}

static void empty_outbox(const struct worker_node *node) {
    char *folder = text_format("%s/outbox", node->cache);
    fault_tear_outbox(folder, true);
    free(folder);
}

static void end(void) {
    world.current = COORDINATOR;
    if (world.farm && world.failed)
        audit_farm_lines();
    if (world.farm)
        farm_crash();
    for (int i = 0; i < (int)world.plan.worker_count; i++) {
        worker_end(&world.workers[i], NEVER);
        empty_outbox(&world.workers[i]);
    }
    clients_end();
    net_end();
    disk_end();
    objects_end();
    history_end();
}

static bool is_at_rest(void) {
    if (!world.healed || !world.farm || !clients_are_content() || !audit_is_at_rest())
        return false;
    for (int i = 0; i < (int)world.plan.worker_count; i++)
        if (!world.workers[i].workshop || workshop_outbox_count(world.workers[i].workshop))
            return false;
    return true;
}

bool world_run(uint64_t seed) {
    bool tracing = world.tracing;
    begin(seed, tracing);
    uint64_t events = 0;
    for (; !world.failed && !is_at_rest(); events++) {
        struct next next = next_event();
        if (world.healed && next.at_us > world.plan.trouble_us + REST_US)
            broken("the farm does not come to rest");
        else if (events > EVENTS_MOST)
            broken("the farm is busy and does not come to rest");
        else
            run_event(&next);
    }
    trace("%" PRIu64 " events", events);
    if (!world.failed)
        audit_end();
    end();
    return !world.failed;
}
