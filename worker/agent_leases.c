/* agent_leases.c - leases in the agent's hands: taken, given back, asked for in time, reported, found hung. */
#include "worker/agent_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"

enum {
    NEARLY_MS = 1000,         /* a lease that ends within this: time to ask for the next */
    NEARLY_MOST_MS = 15000,   /* slow ones: in their last quarter, as early as this */
    HANG_MS = 600000,
    HANG_SHARE = 5            /* a cancelled lease that should end within one step has this part of it */
};

#define NEARLY_SHARE 0.75

void agent_add_failure(struct agent *agent, uint64_t lease, uint32_t epoch, const struct digest *keys, size_t count,
                        const struct error *error) {
    char *jobs = text_format("%zu", count);
    log_event(LOG_WARN, "failure", "jobs", count ? jobs : "lease", "code", err_name(error->code), "why", error->message, NULL);
    free(jobs);
    delivery_add_failure(agent->delivery, lease, epoch, keys, count, error);
}

static struct lease *find_lease(struct agent *agent, uint64_t id) {
    for (size_t i = 0; i < agent->lease_count; i++)
        if (agent->leases[i]->id == id && !atomic_load(&agent->leases[i]->cancelled))
            return agent->leases[i];
    return NULL;
}

/* The same ids as in the coordinator's log. */
static void log_lease(const struct lease *lease) {
    char id[24], jobs[24], key[DIGEST_HEX_SIZE];
    snprintf(id, sizeof id, "%" PRIu64, lease->id);
    snprintf(jobs, sizeof jobs, "%zu", lease->count);
    digest_hex(&lease->keys[0], key);
    log_event(LOG_INFO, "lease", "lease", id, "jobs", jobs, "first_key", key, NULL);
}

void agent_take_assign(struct agent *agent, const struct message_assign *assign) {
    struct lease *lease = find_lease(agent, assign->lease);
    struct error error;
    agent->lease_asked = false;
    if (agent->draining || agent->finishing || (lease && lease->epoch == assign->epoch))
        return; /* goodbye gives it back; or we have it already */
    if (lease_create(&lease, assign, &error) != ERR_OK) {
        struct digest keys[LIMIT_BATCH];
        for (size_t i = 0; i < assign->count; i++)
            keys[i] = assign->jobs[i].key;
        agent_add_failure(agent, assign->lease, assign->epoch, keys, assign->count, &error);
        return;
    }
    agent->leases = memory_grow(agent->leases, agent->lease_count + 1, sizeof(struct lease *));
    agent->leases[agent->lease_count++] = lease;
    log_lease(lease);
    workshop_add(agent->workshop, lease);
}

void agent_take_revoke(struct agent *agent, const struct message_revoke *revoke) {
    struct lease *lease = find_lease(agent, revoke->lease);
    if (!lease || lease->epoch > revoke->epoch)
        return;
    workshop_cancel(agent->workshop, lease);
    if (agent->welcome.protocol >= 2)
        outbox_lose_lease(agent->outbox, lease->id); /* what it has finished may be there already */
}

/* Ended leases stay, and are reported as delivering, until their results are acknowledged: else they would run out. */
void agent_drop_leases(struct agent *agent) {
    for (size_t i = 0; i < agent->lease_count; ) {
        struct lease *lease = agent->leases[i];
        if (!lease->ended || (!atomic_load(&lease->cancelled) && outbox_holds_lease(agent->outbox, lease->id))) {
            i++;
            continue;
        }
        agent->leases[i] = agent->leases[--agent->lease_count];
        lease_destroy(lease);
    }
}

/* Will this lease soon be done, so that another should be asked for? Earlier would take jobs from idle workers, and a lease
 * that waits long runs out. */
static bool nearly_done(struct agent *agent, const struct lease *lease, uint64_t now_ms) {
    struct lease_progress progress = lease_get_progress(lease);
    uint64_t begin_ms = atomic_load(&lease->begin_ms);
    double total_ms = (double)workshop_job_ms(agent->workshop) * (double)lease->count, done = 0;
    if (begin_ms && progress.steps && progress.step) {
        done = (double)progress.step / progress.steps;
        total_ms = (double)(now_ms - begin_ms) / done;
    }
    double left_ms = total_ms * (1 - done);
    return left_ms <= NEARLY_MS || (done >= NEARLY_SHARE && left_ms <= NEARLY_MOST_MS);
}

bool agent_wants_lease(struct agent *agent, uint64_t now_ms) {
    size_t undone = 0;
    bool nearly = true;
    if (agent->lease_asked || agent->draining || agent->finishing || now_ms < agent->no_lease_before_ms)
        return false;
    if (outbox_bytes(agent->outbox) > 2 * agent->welcome.credit_bytes)
        return false; /* the coordinator does not keep up: its disk is full, say */
    for (size_t i = 0; i < agent->lease_count; i++) {
        if (agent->leases[i]->ended || atomic_load(&agent->leases[i]->drawn) || atomic_load(&agent->leases[i]->cancelled))
            continue;
        undone++;
        nearly = nearly_done(agent, agent->leases[i], now_ms);
    }
    return undone == 0 || (undone == 1 && nearly);
}

void agent_ask_lease(struct agent *agent) {
    struct workshop_state state;
    workshop_get_state(&state, agent->workshop);
    /* Since protocol 2 the coordinator decides by our speed; before, it gave what was asked for. */
    struct message message = { .type = MESSAGE_LEASE_REQUEST, .request = agent_next_request(agent, REQUEST_LEASE),
                               .lease_request = { agent->welcome.protocol >= 2 ? LIMIT_BATCH : state.batch, state.batch, state.width,
                                                  state.height, state.models, state.model_count } };
    agent->lease_asked = agent_send(agent, &message) == ERR_OK;
    free(state.models);
}

void agent_send_progress(struct agent *agent, uint64_t now_ms) {
    struct message message = { .type = MESSAGE_PROGRESS };
    struct lease_progress *leases = memory_get_array(agent->lease_count + 1, sizeof *leases);
    for (size_t i = 0; i < agent->lease_count && message.progress.count < LIMIT_LEASES; i++)
        if (!atomic_load(&agent->leases[i]->cancelled))
            leases[message.progress.count++] = lease_get_progress(agent->leases[i]);
    message.progress.leases = leases;
    if (agent_send(agent, &message) == ERR_OK)
        agent->heartbeat_ms = now_ms + agent->welcome.heartbeat_ms;
    else
        agent->heartbeat_ms = now_ms + agent->welcome.heartbeat_ms / 4 + 1; /* its queue is full, or it is away */
    free(leases);
}

uint64_t agent_hangs_at_ms(const struct agent *agent, const struct lease *lease) {
    uint64_t allowed_ms = agent->options.hang_ms ? agent->options.hang_ms : HANG_MS;
    if (lease->ended || lease_get_progress(lease).phase == PHASE_FETCH)
        return UINT64_MAX;
    return atomic_load(&lease->moved_ms) + (atomic_load(&lease->cancelled) ? allowed_ms / HANG_SHARE : allowed_ms);
}

void agent_watch_leases(struct agent *agent, uint64_t now_ms) {
    for (size_t i = 0; i < agent->lease_count; i++) {
        const struct lease *lease = agent->leases[i];
        struct lease_progress progress = lease_get_progress(lease);
        if (agent_hangs_at_ms(agent, lease) > now_ms)
            continue;
        error_set(&agent->fatal, ERR_STALE, "lease %" PRIu64 ": no progress in phase %s, step %" PRIu32 " of %" PRIu32 ", for %" PRIu64
                  " ms: taken for hung", lease->id, work_phase_name(progress.phase), progress.step, progress.steps,
                  now_ms - (uint64_t)atomic_load(&lease->moved_ms));
        log_event(LOG_ERROR, "render-hangs", "why", agent->fatal.message, NULL);
        return;
    }
}
