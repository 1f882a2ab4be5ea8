/* session.c - the workers' side of the conversation. */
#include "coordinator/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/farm.h"
#include "coordinator/offer.h"

enum { PROBE_MS = 500, DEMAND_MS = 100, UNSENT_AGAIN_MS = 100, BUCKETS_LEAST = 64 };

/* ---- the tables ----------------------------------------------------------------------------------------------------- */

static void hello_release(struct message_worker_hello *hello) {
    free(hello->name);
    free(hello->host);
    free(hello->device);
    free(hello->device_class);
    free(hello->version);
    free(hello->models);
    *hello = (struct message_worker_hello){ 0 };
}

static void session_free(struct session *session) {
    hello_release(&session->hello);
    free(session);
}

void sessions_release(struct sessions *sessions) {
    for (size_t i = 0; i < sessions->count; i++)
        session_free(sessions->list[i]);
    free(sessions->list);
    free(sessions->buckets);
    free(sessions->by_worker);
    *sessions = (struct sessions){ 0 };
}

static bool route_equal(const struct route *a, const struct route *b) {
    return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0;
}

/* FNV-1a: routing ids are ZeroMQ's own, random and short. */
static struct session **bucket_of(const struct sessions *sessions, const struct route *route) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < route->size; i++)
        hash = (hash ^ route->bytes[i]) * UINT64_C(1099511628211);
    return &sessions->buckets[hash & (sessions->bucket_count - 1)];
}

struct session *session_find(const struct sessions *sessions, const struct route *route) {
    if (!sessions->count)
        return NULL;
    for (struct session *session = *bucket_of(sessions, route); session; session = session->chain)
        if (route_equal(&session->route, route))
            return session;
    return NULL;
}

struct session *session_find_worker(const struct sessions *sessions, uint64_t number) {
    return number && number <= sessions->worker_count ? sessions->by_worker[number - 1] : NULL;
}

static void route_add(struct sessions *sessions, struct session *session) {
    struct session **bucket = bucket_of(sessions, &session->route);
    session->chain = *bucket;
    *bucket = session;
}

static void route_remove(struct sessions *sessions, struct session *session) {
    struct session **place = bucket_of(sessions, &session->route);
    while (*place != session)
        place = &(*place)->chain;
    *place = session->chain;
}

static void buckets_grow(struct sessions *sessions) {
    free(sessions->buckets);
    sessions->bucket_count = sessions->bucket_count ? 2 * sessions->bucket_count : BUCKETS_LEAST;
    sessions->buckets = memory_get_array(sessions->bucket_count, sizeof *sessions->buckets);
    for (size_t i = 0; i < sessions->count; i++)
        route_add(sessions, sessions->list[i]);
}

static void workers_grow(struct sessions *sessions, uint64_t number) {
    size_t before = sessions->worker_count;
    if (number <= before)
        return;
    sessions->worker_count = before ? 2 * before : BUCKETS_LEAST;
    while (sessions->worker_count < number)
        sessions->worker_count *= 2;
    sessions->by_worker = memory_grow(sessions->by_worker, sessions->worker_count, sizeof *sessions->by_worker);
    memset(sessions->by_worker + before, 0, (sessions->worker_count - before) * sizeof *sessions->by_worker);
}

static void heard_remove(struct sessions *sessions, struct session *session) {
    *(session->heard_previous ? &session->heard_previous->heard_next : &sessions->heard_first) = session->heard_next;
    *(session->heard_next ? &session->heard_next->heard_previous : &sessions->heard_last) = session->heard_previous;
}

static void heard_add(struct sessions *sessions, struct session *session, uint64_t now_ms) {
    session->heard_ms = now_ms;
    session->heard_next = NULL;
    session->heard_previous = sessions->heard_last;
    *(sessions->heard_last ? &sessions->heard_last->heard_next : &sessions->heard_first) = session;
    sessions->heard_last = session;
}

static void heard_again(struct sessions *sessions, struct session *session, uint64_t now_ms) {
    heard_remove(sessions, session);
    heard_add(sessions, session, now_ms);
}

static void wait_end(struct sessions *sessions, struct session *session) {
    if (!session->wants)
        return;
    *(session->wait_previous ? &session->wait_previous->wait_next : &sessions->wait_first) = session->wait_next;
    *(session->wait_next ? &session->wait_next->wait_previous : &sessions->wait_last) = session->wait_previous;
    if (sessions->wait_fresh == session)
        sessions->wait_fresh = session->wait_next;
    session->wait_next = session->wait_previous = NULL;
    sessions->wanted -= session->wants;
    session->wants = 0;
}

static void wait_begin(struct sessions *sessions, struct session *session, uint32_t jobs, uint64_t request) {
    wait_end(sessions, session);
    session->wants = jobs < LIMIT_BATCH ? jobs : LIMIT_BATCH;
    session->wants_request = request;
    session->wait_previous = sessions->wait_last;
    *(sessions->wait_last ? &sessions->wait_last->wait_next : &sessions->wait_first) = session;
    sessions->wait_last = session;
    sessions->wait_fresh = sessions->wait_fresh ? sessions->wait_fresh : session;
    sessions->wanted += session->wants;
}

static void session_add(struct sessions *sessions, struct session *session, uint64_t now_ms) {
    workers_grow(sessions, session->worker->number);
    sessions->by_worker[session->worker->number - 1] = session;
    sessions->list = memory_grow(sessions->list, sessions->count + 1, sizeof *sessions->list);
    session->place = sessions->count;
    sessions->list[sessions->count++] = session;
    if (sessions->count > sessions->bucket_count)
        buckets_grow(sessions);
    else
        route_add(sessions, session);
    heard_add(sessions, session, now_ms);
}

static void session_remove(struct sessions *sessions, struct session *session) {
    wait_end(sessions, session);
    heard_remove(sessions, session);
    route_remove(sessions, session);
    sessions->by_worker[session->worker->number - 1] = NULL;
    sessions->list[session->place] = sessions->list[--sessions->count];
    sessions->list[session->place]->place = session->place;
}

/* ---- the log -------------------------------------------------------------------------------------------------------- */

/* What follows a job from its sweep to its object: sweep, lease, worker and the first of its keys. */
static void log_lease(enum log_level level, const char *event, const struct worker *worker, const struct lease *lease,
                      const char *why) {
    char id[24], jobs[16], key[DIGEST_HEX_SIZE] = "", sweep[DIGEST_HEX_SIZE] = "";
    const struct flight *first = lease->count ? lease->flights[0] : NULL;
    snprintf(id, sizeof id, "%" PRIu64, lease->id);
    snprintf(jobs, sizeof jobs, "%u", lease->count);
    if (first)
        digest_hex(&first->key, key);
    if (first && first->place_count)
        digest_hex(&first->places[0].order->id, sweep);
    log_event(level, event, "lease", id, "worker", worker->name, "sweep", sweep, "jobs", jobs, "first_key", key, "copy",
              lease->copy ? "yes" : "no", "phase", work_phase_name(lease->phase), "why", why, NULL);
}

/* ---- its end --------------------------------------------------------------------------------------------------------- */

void session_drop(struct coordinator *farm, struct session *session, const char *why) {
    for (const struct lease *lease = session->worker->leases; lease; lease = lease->next)
        log_lease(LOG_WARN, "lease-lost", session->worker, lease, why);
    previews_drop_worker(farm, session, why);
    log_event(LOG_INFO, "worker-gone", "worker", session->worker->name, "why", why, NULL);
    session_remove(&farm->sessions, session);
    schedule_worker_gone(&farm->scheduler, session->worker, farm->now_ms);
    session_free(session);
}

/* ---- hello ---------------------------------------------------------------------------------------------------------- */

/* Is there still somebody at its route? DONE says nothing to a worker. */
static bool is_reachable(struct coordinator *farm, struct session *session) {
    struct error error;
    struct message probe = { .type = MESSAGE_DONE };
    session->probed_ms = farm->now_ms;
    return link_send(farm->link, &session->route, &probe, &error) != ERR_UNREACHABLE;
}

void session_tell_drain(struct coordinator *farm, struct session *session) {
    if (session->worker->draining && !session->told_drain && session->protocol >= 2)
        session->told_drain = farm_send(farm, &session->route, &(struct message){ .type = MESSAGE_DRAIN }) == ERR_OK;
}

static void welcome(struct coordinator *farm, struct session *session, uint64_t request) {
    struct message answer = {
        .type = MESSAGE_WELCOME,
        .request = request,
        .welcome = { .protocol = session->protocol, .worker = session->worker->number,
                     .heartbeat_ms = farm->options.heartbeat_ms, .liveness_ms = farm->options.liveness_ms,
                     .credit_bytes = farm->options.credit_bytes },
    };
    farm_send(farm, &session->route, &answer);
    session->told_drain = false; /* it may be another process */
    session_tell_drain(farm, session);
}

static void take_facts(struct coordinator *farm, struct session *session) {
    const struct message_worker_hello *hello = &session->hello;
    struct worker_facts facts = { .batch = hello->batch, .memory_bytes = hello->memory_bytes, .numerics = hello->numerics,
                                  .models = hello->models, .model_count = hello->model_count };
    schedule_worker_here(&farm->scheduler, session->worker, &facts);
}

static void session_begin(struct coordinator *farm, struct worker *worker, const struct route *route, uint32_t protocol,
                          struct message *message) {
    struct session *session = memory_get(sizeof *session);
    session->worker = worker;
    session->route = *route;
    session->protocol = protocol;
    session->hello = message->worker_hello;
    message->worker_hello = (struct message_worker_hello){ 0 };
    session->connected_unix_ms = clock_unix_ms();
    session_add(&farm->sessions, session, farm->now_ms);
    schedule_drain(&farm->scheduler, worker, false); /* a new process: what was drained has ended */
    take_facts(farm, session);
    log_event(LOG_INFO, "worker", "worker", worker->name, "host", session->hello.host, "device_class",
              session->hello.device_class, "version", session->hello.version, NULL);
    welcome(farm, session, message->request);
}

/* The same process again, over a new connection or the old one: it still holds what it held. */
static void session_resume(struct coordinator *farm, struct session *session, const struct route *route, uint32_t protocol,
                           struct message *message) {
    route_remove(&farm->sessions, session);
    session->route = *route;
    route_add(&farm->sessions, session);
    wait_end(&farm->sessions, session);
    session->protocol = protocol;
    hello_release(&session->hello);
    session->hello = message->worker_hello;
    message->worker_hello = (struct message_worker_hello){ 0 };
    heard_again(&farm->sessions, session, farm->now_ms);
    take_facts(farm, session);
    previews_drop_worker(farm, session, "it has connected anew; ask again");
    log_event(LOG_INFO, "worker-again", "worker", session->worker->name, NULL);
    welcome(farm, session, message->request);
}

/* The highest protocol that both speak; 0: none. */
static uint32_t common_protocol(const struct message_worker_hello *hello) {
    uint32_t highest = hello->protocol < PROTOCOL_VERSION ? hello->protocol : PROTOCOL_VERSION;
    return highest >= PROTOCOL_OLDEST && highest >= hello->protocol_least ? highest : 0;
}

static void take_hello(struct coordinator *farm, const struct route *route, struct message *message) {
    const struct message_worker_hello *hello = &message->worker_hello;
    uint32_t protocol = common_protocol(hello);
    struct error error;
    if (!protocol) {
        error_set(&error, ERR_UNSUPPORTED, "worker \"%s\": want protocol %d..%d, it speaks %" PRIu32 "..%" PRIu32 "; upgrade the %s",
                  hello->name, PROTOCOL_OLDEST, PROTOCOL_VERSION, hello->protocol_least, hello->protocol,
                  hello->protocol < PROTOCOL_OLDEST ? "worker" : "coordinator");
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    if (farm->sessions.count >= LIMIT_WORKERS) {
        error_set(&error, ERR_LIMIT, "worker \"%s\": want at most %d workers, all are here", hello->name, LIMIT_WORKERS);
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    struct worker *worker = schedule_find_worker(&farm->scheduler, hello->name);
    struct session *named = worker ? session_find_worker(&farm->sessions, worker->number) : NULL;
    struct session *here = session_find(&farm->sessions, route);
    if (here && here != named)
        session_drop(farm, here, "it has another name now");
    if (named && named->hello.pid == hello->pid && strcmp(named->hello.host, hello->host) == 0) {
        session_resume(farm, named, route, protocol, message);
        return;
    }
    if (named && named != here && is_reachable(farm, named)) {
        error_set(&error, ERR_INVALID, "worker name \"%s\": taken by process %" PRIu32 " on %s, asked for by process %" PRIu32 " on %s",
                  hello->name, named->hello.pid, named->hello.host, hello->pid, hello->host);
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    if (named)
        session_drop(farm, named, "its process is another one now");
    session_begin(farm, schedule_worker(&farm->scheduler, hello->name), route, protocol, message);
}

/* ---- leases --------------------------------------------------------------------------------------------------------- */

static void revoke(struct coordinator *farm, const struct session *session, uint64_t lease, uint32_t epoch) {
    struct message message = { .type = MESSAGE_REVOKE, .revoke = { lease, epoch } };
    farm_send(farm, &session->route, &message);
}

static void take_progress(struct coordinator *farm, struct session *session, const struct message_progress *progress) {
    struct error error;
    for (size_t i = 0; i < progress->count; i++) {
        const struct lease_progress *told = &progress->leases[i];
        bool held = schedule_progress(&farm->scheduler, session->worker, told, farm->now_ms, &error) == ERR_OK;
        /* Not its any more. What it has finished is welcome all the same. */
        if (!held && told->phase != PHASE_DELIVER)
            revoke(farm, session, told->lease, told->epoch);
    }
}

/* The worker's own trouble: nobody is charged, but who asks for the sweep's status should see it. */
static void show_trouble(const struct lease *lease, const char *text) {
    for (uint32_t i = 0; i < lease->count; i++)
        if (lease->flights[i]->place_count)
            order_set_error(lease->flights[i]->places[0].order, text);
}

static void log_bench(const struct worker *worker, uint64_t benched_before_ms, uint64_t now_ms) {
    char wait[24];
    if (worker->benched_until_ms == benched_before_ms || !worker_is_benched(worker, now_ms))
        return;
    snprintf(wait, sizeof wait, "%" PRIu64, worker->benched_until_ms - now_ms);
    log_event(LOG_WARN, "worker-benched", "worker", worker->name, "for_ms", wait, "why", worker->bench_reason, NULL);
}

static void take_failure(struct coordinator *farm, struct session *session, const struct message *message) {
    const struct message_failure *failure = &message->failure;
    struct scheduler *scheduler = &farm->scheduler;
    const struct lease *lease = lease_find(&scheduler->leases, failure->lease);
    uint64_t benched_ms = session->worker->benched_until_ms;
    char id[24], jobs[16], key[DIGEST_HEX_SIZE] = "";
    snprintf(id, sizeof id, "%" PRIu64, failure->lease);
    snprintf(jobs, sizeof jobs, "%zu", failure->count);
    if (failure->count)
        digest_hex(&failure->keys[0], key);
    log_event(LOG_WARN, "failure", "worker", session->worker->name, "lease", id, "jobs", failure->count ? jobs : "all",
              "first_key", key, "code", err_name(failure->code), "why", failure->text, NULL);
    if (!failure->count) {
        if (lease && lease->worker == session->worker && lease->epoch == failure->epoch) {
            show_trouble(lease, failure->text);
            schedule_trouble(scheduler, session->worker, failure->lease, failure->code, failure->text, farm->now_ms);
        }
    } else if (failure->code == ERR_MEMORY) {
        schedule_memory(scheduler, session->worker, failure->lease, failure->keys, failure->count, failure->text, farm->now_ms);
    } else {
        for (size_t i = 0; i < failure->count; i++)
            schedule_fail(scheduler, session->worker, failure->lease, &failure->keys[i], failure->code, failure->text,
                          farm->now_ms);
        session->jobs_failed += failure->count;
    }
    log_bench(session->worker, benched_ms, farm->now_ms);
    struct message answer = { .type = MESSAGE_ACKNOWLEDGED, .request = message->request,
                              .keys = { failure->keys, failure->count } };
    farm_send(farm, &session->route, &answer);
}

/* It renders what we have forgotten: we were restarted. A job it names wrongly is not adopted. */
static void take_hold(struct coordinator *farm, struct session *session, const struct message_assign *hold) {
    struct held_job jobs[LIMIT_BATCH];
    const struct lease *lease = lease_find(&farm->scheduler.leases, hold->lease);
    size_t count = 0;
    if (lease && lease->worker == session->worker && lease->epoch == hold->epoch)
        return; /* we have not forgotten it */
    for (size_t i = 0; i < hold->count; i++) {
        const struct assigned_job *job = &hold->jobs[i];
        struct digest key = digest_of(job->spec, strlen(job->spec));
        struct error error;
        if (!digest_equal(&key, &job->key) || spec_parse(&jobs[count].spec, job->spec, strlen(job->spec), &error) != ERR_OK)
            continue;
        jobs[count].key = key;
        jobs[count++].canonical = text_copy(job->spec);
    }
    if (!schedule_adopt(&farm->scheduler, session->worker, hold->lease, hold->epoch, jobs, count, farm->now_ms))
        revoke(farm, session, hold->lease, hold->epoch);
    else if ((lease = lease_find(&farm->scheduler.leases, hold->lease)))
        log_lease(LOG_INFO, "lease-adopted", session->worker, lease, "");
}

/* Beside every request: how it draws, and what it need not load. */
static void take_report(struct worker *worker, const struct message_lease_request *request) {
    const struct worker_report report = { request->batch, request->width, request->height, request->models, request->model_count };
    if (request->batch)
        worker_set_report(worker, &report);
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
    heard_again(&farm->sessions, session, farm->now_ms);
    session_tell_drain(farm, session);
    switch (message->type) {
    case MESSAGE_LEASE_REQUEST:
        take_report(session->worker, &message->lease_request);
        wait_begin(&farm->sessions, session, message->lease_request.jobs, message->request);
        break;
    case MESSAGE_PROGRESS: take_progress(farm, session, &message->progress); break;
    case MESSAGE_FAILURE: take_failure(farm, session, message); break;
    case MESSAGE_HOLD: take_hold(farm, session, &message->assign); break;
    case MESSAGE_OFFER: offer_take(farm, session, message); break;
    case MESSAGE_RESULTS: gather_take(farm, session, message); break;
    case MESSAGE_PREVIEWED:
    case MESSAGE_REFUSED: preview_answered(farm, session, message); break;
    case MESSAGE_GOODBYE: session_drop(farm, session, "goodbye"); break;
    default: break; /* the loop gives us no others */
    }
}

static void count_granted(struct sessions *sessions, uint32_t jobs, uint64_t now_ms) {
    if (now_ms >= sessions->window_ms + DEMAND_MS) {
        sessions->granted_before = now_ms < sessions->window_ms + 2 * DEMAND_MS ? sessions->granted : 0;
        sessions->granted = 0;
        sessions->window_ms = now_ms;
    }
    sessions->granted += jobs;
}

uint32_t sessions_wanted(const struct sessions *sessions, uint64_t now_ms) {
    uint32_t of_late = sessions->granted > sessions->granted_before ? sessions->granted : sessions->granted_before;
    return sessions->wanted + (now_ms < sessions->window_ms + 2 * DEMAND_MS ? of_late : 0);
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
    enum err err = farm_send(farm, &session->route, &message);
    if (!err) {
        wait_end(&farm->sessions, session);
        count_granted(&farm->sessions, lease->count, farm->now_ms);
        log_lease(LOG_INFO, "lease", session->worker, lease, "");
        return;
    }
    schedule_ungrant(&farm->scheduler, lease); /* its question stands: it would not ask again */
    if (err == ERR_UNREACHABLE)
        session_drop(farm, session, "its connection is gone");
    /* The jobs are for others now, who were perhaps looked at before: not in this turn, and a queue may stay full for a while. */
    schedule_look_again(&farm->scheduler, farm->now_ms + (err == ERR_UNREACHABLE ? 1 : UNSENT_AGAIN_MS));
}

static void send_revokes(struct coordinator *farm) {
    struct scheduler *scheduler = &farm->scheduler;
    for (size_t i = 0; i < scheduler->revoke_count; i++) {
        const struct revoke *ended = &scheduler->revokes[i];
        const struct session *session = session_find_worker(&farm->sessions, ended->worker);
        if (session)
            revoke(farm, session, ended->lease, ended->epoch);
    }
    scheduler->revoke_count = 0;
}

void sessions_feed(struct coordinator *farm) {
    struct sessions *sessions = &farm->sessions;
    bool open = !farm->store_full && !farm->closing, news = schedule_has_news(&farm->scheduler, sessions->fed_version, farm->now_ms);
    struct session *session = news ? sessions->wait_first : sessions->wait_fresh, *next;
    schedule_tick(&farm->scheduler, farm->now_ms);
    sessions->fed_version = open ? farm->scheduler.version : 0; /* 0: it never is; everybody is looked at when we open */
    sessions->wait_fresh = open ? NULL : sessions->wait_fresh;
    for (; session && open; session = next) {
        next = session->wait_next;
        struct lease *lease = schedule_grant(&farm->scheduler, session->worker, session->wants, farm->now_ms);
        if (lease)
            assign(farm, session, lease);
    }
    send_revokes(farm);
}

/* ---- time ----------------------------------------------------------------------------------------------------------- */

static void expire_lease(struct coordinator *farm, struct lease *lease) {
    struct worker *worker = lease->worker;
    const struct session *session = session_find_worker(&farm->sessions, worker->number);
    uint64_t benched_ms = worker->benched_until_ms;
    struct error error;
    error_set(&error, ERR_STALE, "lease %" PRIu64 ": no progress in phase %s for %" PRIu64 " ms", lease->id,
              work_phase_name(lease->phase), farm->now_ms - lease->progress_ms);
    log_lease(LOG_WARN, "lease-expired", worker, lease, error.message);
    show_trouble(lease, error.message);
    if (session)
        revoke(farm, session, lease->id, lease->epoch);
    schedule_trouble(&farm->scheduler, worker, lease->id, ERR_STALE, error.message, farm->now_ms);
    log_bench(worker, benched_ms, farm->now_ms);
}

void sessions_expire(struct coordinator *farm) {
    struct session *session = farm->sessions.heard_first, *next;
    struct lease *lease;
    for (; session; session = next) {
        uint64_t silent_ms = farm->now_ms - session->heard_ms;
        next = session->heard_next;
        if (silent_ms < 2 * (uint64_t)farm->options.heartbeat_ms && silent_ms < farm->options.liveness_ms)
            break; /* those behind it were heard later */
        if (silent_ms >= farm->options.liveness_ms)
            session_drop(farm, session, "silent for too long");
        else if (farm->now_ms - session->probed_ms >= PROBE_MS && !is_reachable(farm, session))
            session_drop(farm, session, "its connection is gone");
    }
    while ((lease = schedule_expired(&farm->scheduler, farm->now_ms)))
        expire_lease(farm, lease);
}

uint64_t sessions_next_ms(const struct coordinator *farm) {
    uint64_t next_ms = schedule_next_ms(&farm->scheduler, farm->now_ms);
    const struct session *session = farm->sessions.heard_first;
    if (!session)
        return next_ms;
    uint64_t probe_ms = session->heard_ms + 2 * (uint64_t)farm->options.heartbeat_ms;
    uint64_t end_ms = session->heard_ms + farm->options.liveness_ms;
    if (probe_ms <= farm->now_ms)
        probe_ms = farm->now_ms + PROBE_MS;
    if (probe_ms < next_ms)
        next_ms = probe_ms;
    return end_ms < next_ms ? end_ms : next_ms;
}
