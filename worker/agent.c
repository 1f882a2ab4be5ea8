/* agent.c - the socket thread: one loop over the socket, the notes of the other threads, and the clock. */
#include "worker/agent.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "worker/agent_parts.h"

enum {
    ANSWER_MS = 5000,         /* for WELCOME */
    BACKOFF_MS = 1000,        /* doubling to ... */
    BACKOFF_MOST_MS = 32000,
    SILENCE_LEAST_MS = 10000, /* an acknowledgement may wait for a slow disk */
    DRAIN_MS = 5000,
    LOCK_WAIT_MS = 3000,      /* a predecessor that was just killed may still be going */
    MESSAGES_A_TURN = 64,
    IDLE_MS = 60000
};

/* ---- making --------------------------------------------------------------------------------------------------------- */

/* One worker a cache: two would deliver and delete each other's results. */
static enum err take_lock(int *lock, const char *cache, struct error *error) {
    char *path = path_join(cache, "lock");
    uint64_t until_ms = clock_monotonic_ms() + LOCK_WAIT_MS;
    enum err err = ERR_OK;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        err = error_errno(error, "%s", path);
        goto done;
    }
    while (flock(fd, LOCK_EX | LOCK_NB) != 0 && !err) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            err = error_errno(error, "%s: lock", path);
        else if (clock_monotonic_ms() >= until_ms)
            err = error_set(error, ERR_INVALID, "%s: another worker uses this cache; give each one its own --cache", path);
        else
            clock_sleep_ms(20);
    }
    if (err)
        close(fd);
    else
        *lock = fd;
done:
    free(path);
    return err;
}

static enum err open_parts(struct agent *agent, struct error *error) {
    const struct agent_options *options = &agent->options;
    char *outbox = path_join(options->cache, "outbox"), *models = path_join(options->cache, "models");
    char *batches = path_join(options->cache, "batches.json");
    enum err err = folder_create(options->cache, error);
    if (!err)
        err = take_lock(&agent->lock, options->cache, error);
    if (!err)
        err = post_create(&agent->post, error);
    if (!err)
        err = outbox_open(&agent->outbox, outbox, error);
    if (!err)
        err = models_open(&agent->models, options->models, models, options->cache_bytes, error);
    if (!err)
        err = link_connect(&agent->link, options->coordinator, error);
    if (!err) {
        agent->delivery = delivery_create(agent->outbox);
        err = workshop_create(&agent->workshop,
                              &(struct workshop_options){ options->painter, agent->models, agent->outbox, agent->post,
                                                          options->threads, options->batch, batches },
                              error);
    }
    free(outbox);
    free(models);
    free(batches);
    return err;
}

enum err agent_create(struct agent **out, const struct agent_options *options, struct error *error) {
    struct agent *agent = memory_get(sizeof *agent);
    agent->options = *options;
    agent->lock = -1;
    agent->backoff_ms = BACKOFF_MS;
    agent->trouble_ms = BACKOFF_MS;
    agent->jitter = clock_monotonic_ns() ^ ((uint64_t)getpid() << 32 | 1);
    enum err err = open_parts(agent, error);
    if (err)
        agent_destroy(agent);
    else
        *out = agent;
    return err;
}

void agent_destroy(struct agent *agent) {
    if (!agent)
        return;
    workshop_destroy(agent->workshop);
    for (size_t i = 0; i < agent->lease_count; i++)
        lease_destroy(agent->leases[i]);
    free(agent->leases);
    delivery_destroy(agent->delivery);
    link_destroy(agent->link);
    models_close(agent->models);
    outbox_close(agent->outbox);
    post_destroy(agent->post);
    if (agent->lock >= 0)
        close(agent->lock);
    free(agent);
}

void agent_stop(struct agent *agent) {
    atomic_store(&agent->stop, true);
    post_wake(agent->post);
}

/* ---- presence ------------------------------------------------------------------------------------------------------- */

static void step_back(struct agent *agent, uint64_t now_ms) {
    agent->jitter = agent->jitter * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407); /* Knuth's MMIX */
    agent->next_hello_ms = now_ms + agent->backoff_ms + (agent->jitter >> 33) % (agent->backoff_ms / 4);
    agent->backoff_ms = agent->backoff_ms * 2 < BACKOFF_MOST_MS ? agent->backoff_ms * 2 : BACKOFF_MOST_MS;
}

/* The coordinator is not there, or does not know us (any more). Hello as soon as may be, but not twice within a second. */
static void lose_coordinator(struct agent *agent, const char *why) {
    if (agent->presence == PRESENT)
        log_event(LOG_WARN, "coordinator-away", "address", agent->options.coordinator, "why", why, NULL);
    agent->presence = AWAY;
    agent->lease_asked = false;
    agent->next_hello_ms = agent->hello_ms ? agent->hello_ms + BACKOFF_MS : 0;
}

enum err agent_send(struct agent *agent, const struct message *message) {
    struct error error;
    enum err err = link_send(agent->link, NULL, message, &error);
    if (err == ERR_UNREACHABLE)
        lose_coordinator(agent, error.message);
    else if (err && err != ERR_LIMIT)
        log_event(LOG_ERROR, "send-failed", "why", error.message, NULL);
    return err;
}

uint64_t agent_next_request(struct agent *agent, enum request_kind kind) {
    return (uint64_t)kind << REQUEST_KIND_SHIFT | ++agent->requests;
}

static void say_hello(struct agent *agent, uint64_t now_ms) {
    const struct agent_options *options = &agent->options;
    struct workshop_state state;
    workshop_get_state(&state, agent->workshop);
    struct message hello = {
        .type = MESSAGE_WORKER_HELLO,
        .request = agent_next_request(agent, REQUEST_HELLO),
        .worker_hello = {
            .protocol_least = PROTOCOL_OLDEST,
            .protocol = PROTOCOL_VERSION,
            .name = (char *)options->name,
            .host = (char *)options->host,
            .pid = (uint32_t)getpid(),
            .device = (char *)options->device,
            .device_class = (char *)options->painter.device_class,
            .version = SEEDFARM_VERSION,
            .threads = options->threads,
            .batch = state.batch,
            .memory_bytes = options->memory_bytes,
            .numerics = options->painter.numerics ? options->painter.numerics : 1u << NUMERICS_FP32,
        },
    };
    struct error error;
    free(state.models);
    if (link_send(agent->link, NULL, &hello, &error) != ERR_OK)
        return; /* not connected: ZeroMQ goes on trying, the socket turns writable when it is */
    agent->presence = GREETING;
    agent->hello_ms = now_ms;
    agent->answer_by_ms = now_ms + ANSWER_MS;
}

/* What we go on with, for a coordinator that may have forgotten it: before the first PROGRESS, which it would answer by REVOKE. */
static void hold_leases(struct agent *agent) {
    for (size_t i = 0; i < agent->lease_count && agent->presence == PRESENT; i++) {
        const struct lease *lease = agent->leases[i];
        struct message hold;
        if (lease->ended || atomic_load(&lease->cancelled))
            continue;
        lease_hold(&hold, lease);
        enum err err = agent_send(agent, &hold);
        message_release(&hold);
        if (err == ERR_LIMIT)
            lose_coordinator(agent, "its queue is full"); /* and greet it again */
    }
}

static void take_welcome(struct agent *agent, const struct message_welcome *welcome, uint64_t now_ms) {
    if (welcome->protocol < PROTOCOL_OLDEST || welcome->protocol > PROTOCOL_VERSION) {
        error_set(&agent->fatal, ERR_UNSUPPORTED, "%s: it speaks protocol %" PRIu32 ", this worker %d..%d",
                  agent->options.coordinator, welcome->protocol, PROTOCOL_OLDEST, PROTOCOL_VERSION);
        return;
    }
    char *worker = text_format("%" PRIu64, welcome->worker);
    log_event(LOG_INFO, "welcome", "coordinator", agent->options.coordinator, "name", agent->options.name, "worker", worker,
              NULL);
    free(worker);
    agent->welcome = *welcome;
    if (!agent->welcome.heartbeat_ms)
        agent->welcome.heartbeat_ms = 1000;
    agent->presence = PRESENT;
    agent->backoff_ms = BACKOFF_MS;
    agent->heard_ms = now_ms;
    agent->heartbeat_ms = now_ms; /* at once: it may wonder what became of our leases */
    agent->lease_asked = false;
    delivery_restart(agent->delivery, welcome->protocol);
    if (welcome->protocol >= 2)
        hold_leases(agent);
}

static void take_hello_refusal(struct agent *agent, const struct message_refused *refused, uint64_t now_ms) {
    if (refused->code == ERR_UNSUPPORTED) {
        error_set(&agent->fatal, ERR_UNSUPPORTED, "%s refuses this worker: %s", agent->options.coordinator, refused->text);
        return;
    }
    agent->presence = AWAY;
    step_back(agent, now_ms);
    char *wait = text_format("%" PRIu64, agent->next_hello_ms - now_ms);
    log_event(LOG_WARN, "hello-refused", "coordinator", agent->options.coordinator, "name", agent->options.name, "code",
              err_name(refused->code), "why", refused->text, "retry_ms", wait, NULL);
    free(wait);
}

/* ---- notes from the other threads ----------------------------------------------------------------------------------- */

static void send_fetch(struct agent *agent, const struct note *note) {
    uint64_t prefix = 0;
    for (int i = 0; i < OBJECT_PREFIX; i++)
        prefix = prefix << 8 | note->object.bytes[i];
    struct message message = { .type = MESSAGE_FETCH, .request = (uint64_t)REQUEST_FETCH << REQUEST_KIND_SHIFT | prefix,
                               .fetch = { note->object, note->offset, note->size } };
    /* What is not sent, the model thread asks for again after a while. */
    if (agent->presence == PRESENT && agent_send(agent, &message) != ERR_OK)
        log_event(LOG_DEBUG, "fetch-not-sent", NULL);
}

/* CUDA keeps an error for the life of a process: report it, then end (end_broken). */
static void device_broke(struct agent *agent, const struct error *error, uint64_t now_ms) {
    if (agent->broken.code)
        return;
    agent->broken = *error;
    agent->broken_until_ms = now_ms + DRAIN_MS;
    log_event(LOG_ERROR, "device-failed", "why", error->message, NULL);
}

static void take_failed(struct agent *agent, const struct note *note, uint64_t now_ms) {
    if (note->error.code == ERR_DEVICE)
        device_broke(agent, &note->error, now_ms);
    agent_add_failure(agent, note->lease_id, note->epoch, note->keys, note->count, &note->error);
    if (note->count)
        return;
    agent->no_lease_before_ms = now_ms + agent->trouble_ms; /* our own trouble: a full disk does not clear in a moment */
    agent->trouble_ms = agent->trouble_ms * 2 < BACKOFF_MOST_MS ? agent->trouble_ms * 2 : BACKOFF_MOST_MS;
}

/* An answer that cannot be sent is given up: who asked will ask again. */
static void take_shown(struct agent *agent, const struct note *note) {
    struct message answer = { .type = MESSAGE_PREVIEWED, .request = note->request, .previewed = note->preview };
    if (note->error.code)
        answer = (struct message){ .type = MESSAGE_REFUSED, .request = note->request,
                                   .refused = { note->error.code, (char *)note->error.message } };
    if (agent->presence == PRESENT && agent_send(agent, &answer) != ERR_OK)
        log_event(LOG_DEBUG, "preview-not-sent", NULL);
}

static void take_notes(struct agent *agent, uint64_t now_ms) {
    post_calm(agent->post);
    for (struct note *note = post_next(agent->post); note; note = post_next(agent->post)) {
        switch (note->type) {
        case NOTE_WANT:
            send_fetch(agent, note);
            break;
        case NOTE_FAILED:
            take_failed(agent, note, now_ms);
            break;
        case NOTE_ENDED:
            note->lease->ended = true;
            lease_set_progress(note->lease, PHASE_DELIVER, 0, 0);
            if (atomic_load(&note->lease->finished) == note->lease->count)
                agent->trouble_ms = BACKOFF_MS;
            break;
        case NOTE_SHOWN:
            take_shown(agent, note);
            break;
        }
        note_free(note);
    }
    agent_drop_leases(agent);
}

/* ---- messages from the coordinator ---------------------------------------------------------------------------------- */

static void take_refused(struct agent *agent, uint64_t request, const struct message_refused *refused, uint64_t now_ms) {
    enum request_kind kind = (enum request_kind)(request >> REQUEST_KIND_SHIFT);
    uint8_t object[OBJECT_PREFIX];
    if (kind == REQUEST_HELLO) {
        if (agent->presence == GREETING)
            take_hello_refusal(agent, refused, now_ms);
        return;
    }
    if (kind == REQUEST_FETCH) {
        for (int i = 0; i < OBJECT_PREFIX; i++)
            object[i] = (uint8_t)(request >> 8 * (OBJECT_PREFIX - 1 - i));
        workshop_chunk_refused(agent->workshop, object, refused->code, refused->text);
        return;
    }
    if ((kind == REQUEST_RESULTS || kind == REQUEST_FAILURE || kind == REQUEST_OFFER) && refused->code != ERR_STALE && refused->code != ERR_NOT_FOUND) {
        delivery_refused(agent->delivery, request, refused->code, refused->text, now_ms);
        return;
    }
    if (agent->presence == PRESENT) /* a heartbeat or a question of a stranger's: it was restarted, say */
        lose_coordinator(agent, refused->text);
}

static void take_message(struct agent *agent, struct message *message, uint64_t now_ms) {
    agent->heard_ms = now_ms;
    switch (message->type) {
    case MESSAGE_WELCOME:
        if (agent->presence == GREETING)
            take_welcome(agent, &message->welcome, now_ms);
        break;
    case MESSAGE_REFUSED:
        take_refused(agent, message->request, &message->refused, now_ms);
        break;
    case MESSAGE_ASSIGN:
        agent_take_assign(agent, &message->assign);
        break;
    case MESSAGE_REVOKE:
        agent_take_revoke(agent, &message->revoke);
        break;
    case MESSAGE_ACKNOWLEDGED:
        delivery_acknowledged(agent->delivery, message->request, message->keys.keys, message->keys.count);
        agent_drop_leases(agent);
        break;
    case MESSAGE_WANTED:
        delivery_wanted(agent->delivery, message->keys.keys, message->keys.count);
        break;
    case MESSAGE_DRAIN:
        if (!agent->finishing)
            log_event(LOG_INFO, "drained", "coordinator", agent->options.coordinator, NULL);
        agent->finishing = true;
        break;
    case MESSAGE_CHUNK:
        workshop_chunk(agent->workshop, &message->chunk);
        break;
    case MESSAGE_SHOW:
        workshop_show(agent->workshop, message->request, &message->show.key);
        break;
    case MESSAGE_DONE:
        break;
    default:
        log_event(LOG_WARN, "unexpected-message", "type", message_type_name(message->type), NULL);
    }
}

static enum err receive_messages(struct agent *agent, uint64_t now_ms, struct error *error) {
    for (int i = 0; i < MESSAGES_A_TURN; i++) {
        struct message message;
        struct route from;
        bool got;
        enum err err = link_receive(&got, &from, &message, agent->link, error);
        if (err == ERR_CORRUPT) {
            log_event(LOG_WARN, "message-damaged", "why", error->message, NULL);
            continue;
        }
        if (err || !got)
            return err;
        take_message(agent, &message, now_ms);
        message_release(&message);
    }
    return ERR_OK;
}

/* ---- the loop ------------------------------------------------------------------------------------------------------- */

static uint64_t silence_ms(const struct agent *agent) {
    uint64_t twice = 2 * (uint64_t)agent->welcome.liveness_ms;
    return twice > SILENCE_LEAST_MS ? twice : SILENCE_LEAST_MS;
}

static void act_present(struct agent *agent, uint64_t now_ms) {
    struct error error;
    uint64_t since_ms = delivery_waits_since_ms(agent->delivery);
    if (since_ms && now_ms - since_ms > silence_ms(agent) && now_ms - agent->heard_ms > silence_ms(agent)) {
        lose_coordinator(agent, "it does not acknowledge and says nothing");
        return;
    }
    enum err err = delivery_send(agent->delivery, agent->link, agent->welcome.credit_bytes, now_ms, &error);
    if (err == ERR_UNREACHABLE)
        lose_coordinator(agent, error.message);
    else if (err)
        log_event(LOG_ERROR, "send-failed", "why", error.message, NULL);
    if (agent->presence == PRESENT && now_ms >= agent->heartbeat_ms)
        agent_send_progress(agent, now_ms);
    if (agent->presence == PRESENT && agent_wants_lease(agent, now_ms))
        agent_ask_lease(agent);
}

static void say_goodbye(struct agent *agent) {
    agent->over = true;
    if (agent->presence == PRESENT && agent_send(agent, &(struct message){ .type = MESSAGE_GOODBYE }) == ERR_OK)
        log_event(LOG_INFO, "goodbye", NULL);
}

static void drain(struct agent *agent, uint64_t now_ms) {
    size_t working = 0;
    if (!agent->draining) {
        log_event(LOG_INFO, "draining", NULL);
        agent->draining = true;
        agent->drain_by_ms = now_ms + DRAIN_MS;
        for (size_t i = 0; i < agent->lease_count; i++)
            if (!agent->leases[i]->ended)
                workshop_cancel(agent->workshop, agent->leases[i]);
    }
    for (size_t i = 0; i < agent->lease_count; i++)
        working += !agent->leases[i]->ended;
    bool delivered = working == 0 && delivery_is_done(agent->delivery);
    if (!delivered && agent->presence == PRESENT && now_ms < agent->drain_by_ms)
        return;
    say_goodbye(agent);
}

/* The coordinator has drained us: we end when everything is finished and delivered. */
static void finish(struct agent *agent) {
    for (size_t i = 0; i < agent->lease_count; i++)
        if (!agent->leases[i]->ended)
            return;
    if (delivery_is_done(agent->delivery))
        say_goodbye(agent);
}

/* The report has arrived, or nobody takes it. Finished pictures wait in the outbox for the next life. */
static void end_broken(struct agent *agent, uint64_t now_ms) {
    if (agent->presence != PRESENT || delivery_is_done(agent->delivery) || now_ms >= agent->broken_until_ms)
        agent->fatal = agent->broken;
}

static void act(struct agent *agent, uint64_t now_ms) {
    agent_watch_leases(agent, now_ms);
    if (agent->broken.code)
        end_broken(agent, now_ms);
    if (agent->finishing)
        finish(agent);
    if (agent->over)
        return;
    if (agent->presence == GREETING && now_ms >= agent->answer_by_ms) {
        log_event(LOG_WARN, "coordinator-silent", "address", agent->options.coordinator, NULL);
        agent->presence = AWAY;
        step_back(agent, now_ms);
    }
    if (agent->presence == AWAY && now_ms >= agent->next_hello_ms)
        say_hello(agent, now_ms);
    if (agent->presence == PRESENT)
        act_present(agent, now_ms);
    if (atomic_load(&agent->stop))
        drain(agent, now_ms);
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

/* Wants a connection: the socket turns writable when there is one. */
static bool greets(const struct agent *agent, uint64_t now_ms) {
    return agent->presence == AWAY && now_ms >= agent->next_hello_ms;
}

uint64_t agent_wakes_ms(const struct agent *agent, uint64_t now_ms) {
    uint64_t next_ms = now_ms + IDLE_MS;
    if (agent->presence == PRESENT)
        next_ms = earlier(next_ms, earlier(agent->heartbeat_ms, delivery_wakes_ms(agent->delivery)));
    else if (agent->presence == GREETING)
        next_ms = earlier(next_ms, agent->answer_by_ms);
    else if (!greets(agent, now_ms))
        next_ms = earlier(next_ms, agent->next_hello_ms);
    for (size_t i = 0; i < agent->lease_count; i++)
        next_ms = earlier(next_ms, agent_hangs_at_ms(agent, agent->leases[i]));
    if (agent->presence == PRESENT && now_ms < agent->no_lease_before_ms)
        next_ms = earlier(next_ms, agent->no_lease_before_ms);
    return agent->draining ? earlier(next_ms, agent->drain_by_ms) : next_ms;
}

static enum err wait_for_something(struct agent *agent, uint64_t now_ms, struct error *error) {
    zmq_pollitem_t items[] = {
        { .socket = link_socket(agent->link), .events = (short)(ZMQ_POLLIN | (greets(agent, now_ms) ? ZMQ_POLLOUT : 0)) },
        { .fd = post_fd(agent->post), .events = ZMQ_POLLIN },
    };
    uint64_t next_ms = agent_wakes_ms(agent, now_ms);
    if (zmq_poll(items, 2, next_ms > now_ms ? (long)(next_ms - now_ms) : 0) < 0 && errno != EINTR)
        return error_set(error, ERR_IO, "waiting for messages: %s", zmq_strerror(errno));
    return ERR_OK;
}

enum err agent_turn(bool *over, struct agent *agent, struct error *error) {
    uint64_t now_ms = clock_monotonic_ms();
    enum err err = receive_messages(agent, now_ms, error);
    take_notes(agent, now_ms);
    if (!err && agent->fatal.code)
        err = error_set(error, agent->fatal.code, "%s", agent->fatal.message);
    if (!err)
        act(agent, now_ms);
    *over = agent->over;
    return err;
}

enum err agent_run(struct agent *agent, struct error *error) {
    bool over = false;
    enum err err = agent_turn(&over, agent, error);
    while (!err && !over) {
        err = wait_for_something(agent, clock_monotonic_ms(), error);
        if (!err)
            err = agent_turn(&over, agent, error);
    }
    return err;
}
