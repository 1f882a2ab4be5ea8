/* fault.c - see fault.h. */
#include "tests/sim/fault.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/sim/sim.h"
#include "worker/agent.h"

uint64_t fault_next_us(void) {
    bool any = false;
    for (int i = 0; i < FAULT_COUNT; i++)
        any = any || world.plan.faults[i];
    return any ? world.now_us + 1 + dice(2 * world.plan.fault_gap_us) : NEVER;
}

void fault_echo(int node, struct message *message) {
    if (node < FIRST_WORKER || node >= FIRST_CLIENT || message->type != MESSAGE_PROGRESS || !message->progress.count)
        return;
    struct worker_node *worker = &world.workers[node - FIRST_WORKER];
    if (!worker->echo)
        return;
    worker->echo = false;
    message->progress.leases[0].epoch--;
    message->progress.leases[0].step = ECHO_STEP;
    message->progress.leases[0].steps = ECHO_STEP;
}

/* Cut off, or as long as it was and empty from there on: sizes may reach the disk before bytes do. */
static void tear(const char *path) {
    struct stat info;
    if (stat(path, &info) != 0 || truncate(path, (off_t)dice((uint64_t)info.st_size)) != 0 ||
        (chance(500) && truncate(path, info.st_size) != 0))
        broken("%s cannot be torn", path);
}

void fault_tear_outbox(const char *folder, bool all) {
    DIR *listing = opendir(folder);
    char *names[256]; /* sorted: the system's order is not the seed's */
    int count = 0;
    for (struct dirent *entry = listing ? readdir(listing) : NULL; entry && count < 256; entry = readdir(listing)) {
        if (entry->d_name[0] == '.')
            continue;
        int place = count++;
        for (; place && strcmp(names[place - 1], entry->d_name) > 0; place--)
            names[place] = names[place - 1];
        names[place] = path_join(folder, entry->d_name);
    }
    if (listing)
        closedir(listing);
    for (int i = 0; i < count; i++) {
        if (all || chance(200))
            unlink(names[i]);
        else if (chance(800))
            tear(names[i]);
        free(names[i]);
    }
}

static void kill_worker(struct worker_node *node) {
    bool machine = chance(node->workshop && workshop_outbox_count(node->workshop) ? 800 : 300); /* rather where something can be torn */
    trace("%s is killed%s", node->name, machine ? " with its machine" : "");
    worker_end(node, world.now_us + spread(SECOND / 10, 40 * SECOND));
    if (machine) {
        char *folder = text_format("%s/outbox", node->cache);
        fault_tear_outbox(folder, false);
        free(folder);
    }
}

static void freeze(struct worker_node *node) {
    uint64_t for_us = spread(SECOND / 10, 60 * SECOND);
    trace("%s stands still for %.1f s", node->name, (double)for_us / 1e6);
    node->frozen_until_us = world.now_us + for_us;
    net_partition(FIRST_WORKER + worker_index(node), node->frozen_until_us);
}

static void partition(struct worker_node *node) {
    uint64_t for_us = spread(SECOND / 10, 60 * SECOND);
    trace("%s cannot be reached for %.1f s", node->name, (double)for_us / 1e6);
    net_partition(FIRST_WORKER + worker_index(node), world.now_us + for_us);
}

static void strike(enum fault fault, struct worker_node *node) {
    uint64_t until_us = world.now_us + spread(SECOND / 10, 30 * SECOND);
    switch (fault) {
    case FAULT_CRASH: farm_crash(); break;
    case FAULT_DIE: world.die_at = 1 + dice(40); break;
    case FAULT_RESTART: farm_restart(); break;
    case FAULT_KILL: kill_worker(node); break;
    case FAULT_STOP:
        if (node->agent) {
            trace("%s is told to end", node->name);
            agent_stop(node->agent);
            node->turn_us = world.now_us;
        }
        break;
    case FAULT_FREEZE: freeze(node); break;
    case FAULT_HANG:
        trace("%s hangs", node->name);
        node->hung = true;
        break;
    case FAULT_RESET: net_reset(chance(300) ? FIRST_CLIENT + (int)dice(CLIENT_COUNT) : FIRST_WORKER + worker_index(node)); break;
    case FAULT_PARTITION: partition(node); break;
    case FAULT_DISK:
        world.failing_disks = 1 + (unsigned)dice(DISK_LEDGER | DISK_OBJECTS);
        trace("writes fail now and then%s", world.failing_disks == DISK_LEDGER    ? ", the ledger's"
                                            : world.failing_disks == DISK_OBJECTS ? ", the objects'"
                                                                                  : "");
        world.disk_fault_until_us = until_us;
        break;
    case FAULT_FULL:
        trace("the disk is full");
        world.full_until_us = until_us;
        break;
    case FAULT_TROUBLE:
        trace("%s's disk fails", node->name);
        node->trouble_until_us = until_us;
        break;
    case FAULT_CLOCK: world.wall_ms += (int64_t)dice(7200000) - 3600000; break;
    case FAULT_DRAIN: client_drain_worker(worker_index(node)); break;
    case FAULT_ECHO: node->echo = true; break;
    case FAULT_COUNT: break;
    }
}

void fault_strike(void) {
    enum fault fault;
    do
        fault = (enum fault)dice(FAULT_COUNT);
    while (!world.plan.faults[fault]);
    trace("fault: %s", fault_names[fault]);
    world.disturbances++;
    strike(fault, &world.workers[dice(world.plan.worker_count)]);
    world.fault_us = fault_next_us();
}

void fault_heal(void) {
    trace("nothing goes wrong any more");
    world.healed = true;
    world.die_at = 0;
    world.disk_fault_until_us = world.full_until_us = 0;
    for (int i = 0; i < (int)world.plan.worker_count; i++) {
        struct worker_node *node = &world.workers[i];
        net_partition(FIRST_WORKER + i, 0);
        node->frozen_until_us = node->trouble_until_us = 0;
        node->echo = false;
        if (node->hung)
            worker_end(node, world.now_us + SECOND);
    }
    clients_heal();
}
