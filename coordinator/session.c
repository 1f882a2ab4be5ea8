/* session.c - the workers' side of the conversation. */
#include "coordinator/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/farm.h"

enum { PROBE_MS = 500 };

static void hello_release(struct message_worker_hello *hello) {
    free(hello->name);
    free(hello->host);
    free(hello->device);
    free(hello->device_class);
    free(hello->version);
    free(hello->models);
    *hello = (struct message_worker_hello){ 0 };
}

void sessions_release(struct sessions *sessions) {
    for (size_t i = 0; i < sessions->count; i++) {
        hello_release(&sessions->list[i]->hello);
        free(sessions->list[i]);
    }
    free(sessions->list);
    *sessions = (struct sessions){ 0 };
}

static bool route_equal(const struct route *a, const struct route *b) {
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

struct session *session_find(const struct sessions *sessions, const struct route *route) {
    for (size_t i = 0; i < sessions->count; i++)
        if (route_equal(&sessions->list[i]->route, route))
            return sessions->list[i];
    return NULL;
}

struct session *session_find_number(const struct sessions *sessions, uint64_t number) {
    for (size_t i = 0; i < sessions->count; i++)
        if (sessions->list[i]->number == number)
            return sessions->list[i];
    return NULL;
}

static struct session *find_name(const struct sessions *sessions, const char *name) {
    for (size_t i = 0; i < sessions->count; i++)
        if (strcmp(sessions->list[i]->hello.name, name) == 0)
            return sessions->list[i];
    return NULL;
}

uint32_t sessions_wanted(const struct sessions *sessions) {
    uint32_t wanted = 0;
    for (size_t i = 0; i < sessions->count; i++)
        wanted += sessions->list[i]->wants < LIMIT_BATCH ? sessions->list[i]->wants : LIMIT_BATCH;
    return wanted;
}

static void log_lease(enum log_level level, const char *event, const struct session *session, const struct lease *lease,
                      const char *why) {
    char id[24], jobs[16];
    snprintf(id, sizeof id, "%" PRIu64, lease->id);
    snprintf(jobs, sizeof jobs, "%u", lease->count);
    log_event(level, event, "lease", id, "jobs", jobs, "worker", session ? session->hello.name : "", "phase",
              work_phase_name(lease->phase), "why", why, NULL);
}

/* Its leases come back at no charge; the session is gone. */
static void session_drop(struct coordinator *farm, struct session *session, const char *why) {
    struct sessions *sessions = &farm->sessions;
    struct lease_table *table = &farm->scheduler.leases;
    for (size_t i = table->count; i-- > 0;)
        if (table->leases[i]->worker == session->number) {
            log_lease(LOG_WARN, "lease-lost", session, table->leases[i], why);
            schedule_return(&farm->scheduler, table->leases[i], ERR_UNREACHABLE, NULL);
        }
    log_event(LOG_INFO, "worker-gone", "worker", session->hello.name, "why", why, NULL);
    for (size_t i = 0; i < sessions->count; i++)
        if (sessions->list[i] == session)
            sessions->list[i] = sessions->list[--sessions->count];
    hello_release(&session->hello);
    free(session);
}

/* ---- hello ---------------------------------------------------------------------------------------------------------- */

/* Is there still somebody at its route? DONE says nothing to a worker. */
static bool is_reachable(struct coordinator *farm, struct session *session) {
    struct error error;
    struct message probe = { .type = MESSAGE_DONE };
    session->probed_ms = farm->now_ms;
    return link_send(farm->link, &session->route, &probe, &error) != ERR_UNREACHABLE;
}

static void welcome(struct coordinator *farm, const struct session *session, uint64_t request) {
    struct message answer = {
        .type = MESSAGE_WELCOME,
        .request = request,
        .welcome = { .protocol = PROTOCOL_VERSION, .worker = session->number, .heartbeat_ms = farm->options.heartbeat_ms,
                     .liveness_ms = farm->options.liveness_ms, .credit_bytes = farm->options.credit_bytes },
    };
    farm_send(farm, &session->route, &answer);
}

static void session_begin(struct coordinator *farm, const struct route *route, struct message *message) {
    struct sessions *sessions = &farm->sessions;
    struct session *session = memory_get(sizeof *session);
    session->number = ++sessions->next_number;
    session->route = *route;
    session->hello = message->worker_hello;
    message->worker_hello = (struct message_worker_hello){ 0 };
    session->connected_unix_ms = clock_unix_ms();
    session->heard_ms = farm->now_ms;
    sessions->list = memory_grow(sessions->list, sessions->count + 1, sizeof *sessions->list);
    sessions->list[sessions->count++] = session;
    log_event(LOG_INFO, "worker", "worker", session->hello.name, "host", session->hello.host, "device_class",
              session->hello.device_class, "version", session->hello.version, NULL);
    welcome(farm, session, message->request);
}

/* The same process again, over a new connection or the old one: it still holds what it held. */
static void session_resume(struct coordinator *farm, struct session *session, const struct route *route, uint64_t request) {
    session->route = *route;
    session->heard_ms = farm->now_ms;
    session->wants = 0;
    log_event(LOG_INFO, "worker-again", "worker", session->hello.name, NULL);
    welcome(farm, session, request);
}

static void take_hello(struct coordinator *farm, const struct route *route, struct message *message) {
    const struct message_worker_hello *hello = &message->worker_hello;
    struct error error;
    if (hello->protocol != PROTOCOL_VERSION) {
        error_set(&error, ERR_UNSUPPORTED, "worker \"%s\": want protocol %d, it speaks %" PRIu32, hello->name,
                  PROTOCOL_VERSION, hello->protocol);
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    if (farm->sessions.count >= LIMIT_WORKERS) {
        error_set(&error, ERR_LIMIT, "worker \"%s\": want at most %d workers, all are here", hello->name, LIMIT_WORKERS);
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    struct session *named = find_name(&farm->sessions, hello->name), *here = session_find(&farm->sessions, route);
    if (named && named->hello.pid == hello->pid && strcmp(named->hello.host, hello->host) == 0) {
        session_resume(farm, named, route, message->request);
        return;
    }
    if (here && here != named)
        session_drop(farm, here, "it has another name now");
    if (named && named != here && is_reachable(farm, named)) {
        error_set(&error, ERR_INVALID, "worker name \"%s\": taken by process %" PRIu32 " on %s, asked for by process %" PRIu32 " on %s",
                  hello->name, named->hello.pid, named->hello.host, hello->pid, hello->host);
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    if (named)
        session_drop(farm, named, "its process is another one now");
    session_begin(farm, route, message);
}

/* ---- leases --------------------------------------------------------------------------------------------------------- */

static void revoke(struct coordinator *farm, const struct route *route, uint64_t lease, uint32_t epoch) {
    struct message message = { .type = MESSAGE_REVOKE, .revoke = { lease, epoch } };
    farm_send(farm, route, &message);
}

static void take_progress(struct coordinator *farm, struct session *session, const struct message_progress *progress) {
    struct error error;
    for (size_t i = 0; i < progress->count; i++) {
        const struct lease_progress *told = &progress->leases[i];
        struct lease *lease = lease_find(&farm->scheduler.leases, told->lease);
        bool held = lease && lease->worker == session->number &&
                    lease_progress(lease, told, farm->now_ms, &error) == ERR_OK;
        /* Not its any more, or of an earlier life of ours. What it has finished is welcome all the same. */
        if (!held && told->phase != PHASE_DELIVER)
            revoke(farm, &session->route, told->lease, told->epoch);
    }
    lease_extend_waiting(&farm->scheduler.leases, session->number, farm->now_ms);
}

/* The worker's own trouble: nobody is charged, but who asks for the sweep's status should see it. */
static void return_lease(struct coordinator *farm, struct lease *lease, const struct message_failure *failure) {
    for (uint32_t i = 0; i < lease->count; i++) {
        const struct flight *flight = lease->flights[i];
        if (flight->place_count)
            order_set_error(flight->places[0].order, failure->text);
    }
    schedule_return(&farm->scheduler, lease, failure->code, failure->text);
}

static void take_failure(struct coordinator *farm, struct session *session, const struct message *message) {
    const struct message_failure *failure = &message->failure;
    struct lease *lease = lease_find(&farm->scheduler.leases, failure->lease);
    char id[24], jobs[16];
    snprintf(id, sizeof id, "%" PRIu64, failure->lease);
    snprintf(jobs, sizeof jobs, "%zu", failure->count);
    log_event(LOG_WARN, "failure", "worker", session->hello.name, "lease", id, "jobs", failure->count ? jobs : "all", "code",
              err_name(failure->code), "why", failure->text, NULL);
    if (lease && lease->worker == session->number && lease->epoch == failure->epoch) {
        if (!failure->count)
            return_lease(farm, lease, failure);
        for (size_t i = 0; i < failure->count && (lease = lease_find(&farm->scheduler.leases, failure->lease)); i++)
            schedule_fail(&farm->scheduler, lease, &failure->keys[i], failure->code, failure->text);
        session->jobs_failed += failure->count;
    }
    struct message answer = { .type = MESSAGE_ACKNOWLEDGED, .request = message->request,
                              .keys = { failure->keys, failure->count } };
    farm_send(farm, &session->route, &answer);
}

void session_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct session *session = session_find(&farm->sessions, route);
    struct error error;
    if (message->type == MESSAGE_WORKER_HELLO) {
        take_hello(farm, route, message);
        return;
    }
    if (!session) {
        error_set(&error, ERR_STALE, "message %s: want WORKER_HELLO first, this connection has not said it",
                  message_type_name(message->type));
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    session->heard_ms = farm->now_ms;
    switch (message->type) {
    case MESSAGE_LEASE_REQUEST:
        session->wants = message->lease_request.jobs;
        session->wants_request = message->request;
        session->wants_since = ++farm->sessions.asked;
        break;
    case MESSAGE_PROGRESS: take_progress(farm, session, &message->progress); break;
    case MESSAGE_FAILURE: take_failure(farm, session, message); break;
    case MESSAGE_RESULTS: gather_take(farm, session, message); break;
    case MESSAGE_GOODBYE: session_drop(farm, session, "goodbye"); break;
    default: break; /* the loop gives us no others */
    }
}

static struct session *longest_waiting(const struct sessions *sessions, uint64_t behind) {
    struct session *next = NULL;
    for (size_t i = 0; i < sessions->count; i++) {
        struct session *session = sessions->list[i];
        if (session->wants && session->wants_since > behind && (!next || session->wants_since < next->wants_since))
            next = session;
    }
    return next;
}

static void assign(struct coordinator *farm, struct session *session, struct lease *lease) {
    struct assigned_job jobs[LIMIT_BATCH];
    struct message message = {
        .type = MESSAGE_ASSIGN,
        .request = session->wants_request,
        .assign = { .lease = lease->id, .epoch = lease->epoch, .deadline_ms = (uint32_t)(lease->deadline_ms - farm->now_ms),
                    .jobs = jobs, .count = lease->count },
    };
    for (uint32_t i = 0; i < lease->count; i++)
        jobs[i] = (struct assigned_job){ lease->flights[i]->key, lease->flights[i]->canonical };
    session->wants = 0;
    enum err err = farm_send(farm, &session->route, &message);
    if (!err)
        log_lease(LOG_DEBUG, "lease", session, lease, "");
    else if (err == ERR_UNREACHABLE)
        session_drop(farm, session, "its connection is gone");
    else
        schedule_return(&farm->scheduler, lease, err, NULL); /* it asks again */
}

void sessions_feed(struct coordinator *farm) {
    uint64_t behind = 0;
    struct session *session;
    while (!farm->store_full && !farm->closing && (session = longest_waiting(&farm->sessions, behind))) {
        behind = session->wants_since;
        struct lease *lease = schedule_grant(&farm->scheduler, session->number, session->wants,
                                             (uint32_t)farm->sessions.count, farm->now_ms);
        if (lease)
            assign(farm, session, lease);
    }
}

/* ---- time ----------------------------------------------------------------------------------------------------------- */

void sessions_expire(struct coordinator *farm) {
    struct lease *lease;
    for (size_t i = farm->sessions.count; i-- > 0;) {
        struct session *session = farm->sessions.list[i];
        uint64_t silent_ms = farm->now_ms - session->heard_ms;
        if (silent_ms >= farm->options.liveness_ms)
            session_drop(farm, session, "silent for too long");
        else if (silent_ms >= 2 * (uint64_t)farm->options.heartbeat_ms && farm->now_ms - session->probed_ms >= PROBE_MS &&
                 !is_reachable(farm, session))
            session_drop(farm, session, "its connection is gone");
    }
    while ((lease = lease_expired(&farm->scheduler.leases, farm->now_ms))) {
        struct session *session = session_find_number(&farm->sessions, lease->worker);
        struct error error;
        error_set(&error, ERR_STALE, "lease %" PRIu64 ": no progress in phase %s for %" PRIu64 " ms", lease->id,
                  work_phase_name(lease->phase), farm->now_ms - lease->progress_ms);
        log_lease(LOG_WARN, "lease-expired", session, lease, error.message);
        if (session)
            revoke(farm, &session->route, lease->id, lease->epoch);
        schedule_return(&farm->scheduler, lease, ERR_STALE, error.message);
    }
}

uint64_t sessions_next_ms(const struct coordinator *farm) {
    uint64_t next_ms = lease_next_deadline_ms(&farm->scheduler.leases);
    for (size_t i = 0; i < farm->sessions.count; i++) {
        const struct session *session = farm->sessions.list[i];
        uint64_t probe_ms = session->heard_ms + 2 * (uint64_t)farm->options.heartbeat_ms;
        if (probe_ms <= farm->now_ms)
            probe_ms = session->probed_ms + PROBE_MS;
        if (probe_ms < next_ms)
            next_ms = probe_ms;
        if (session->heard_ms + farm->options.liveness_ms < next_ms)
            next_ms = session->heard_ms + farm->options.liveness_ms;
    }
    return next_ms;
}

/* ---- report --------------------------------------------------------------------------------------------------------- */

void session_report(struct coordinator *farm, const struct route *route, uint64_t request) {
    struct message answer = { .type = MESSAGE_WORKERS_REPORT, .request = request };
    struct worker_status *list = memory_get_array(farm->sessions.count + 1, sizeof *list);
    answer.workers_report.workers = list;
    for (size_t i = 0; i < farm->sessions.count; i++) {
        const struct session *session = farm->sessions.list[i];
        const struct message_worker_hello *hello = &session->hello;
        struct worker_status *status = &list[answer.workers_report.count++];
        *status = (struct worker_status){
            .worker = session->number, .name = hello->name, .host = hello->host, .device = hello->device,
            .device_class = hello->device_class, .version = hello->version, .pid = hello->pid, .threads = hello->threads,
            .batch = hello->batch, .connected_unix_ms = session->connected_unix_ms,
            .silent_ms = farm->now_ms - session->heard_ms, .jobs_done = session->jobs_done,
            .jobs_failed = session->jobs_failed, .jobs_per_second = rate_per_second(&session->rate, farm->now_ms),
        };
        for (size_t l = 0; l < farm->scheduler.leases.count; l++) {
            const struct lease *lease = farm->scheduler.leases.leases[l];
            if (lease->worker != session->number)
                continue;
            if (!status->leased || lease->phase < PHASE_DELIVER) { /* of two, the one it works on */
                status->phase = lease->phase;
                status->step = lease->step;
                status->steps = lease->steps;
            }
            status->leased += lease->count;
        }
    }
    farm_send(farm, route, &answer);
    free(list);
}
