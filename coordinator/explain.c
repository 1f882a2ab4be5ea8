/*
 * explain.c - EXPLAIN: why isn't my job running? A stable word for programs, sentences for people: what holds it, and what
 * would change it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/control.h"
#include "coordinator/farm.h"

struct explaining {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    uint64_t request, index;
    struct order *order;
    const struct sweep *sweep;
    struct digest key;
    struct bytes failure;
    enum err err;
    struct error error;
};

static void explain(struct coordinator *farm, const struct route *route, uint64_t request, const char *rule,
                    const struct bytes *text) {
    struct message answer = { .type = MESSAGE_EXPLANATION, .request = request,
                              .explanation = { (char *)rule, (char *)bytes_text(text) } };
    farm_send(farm, route, &answer);
}

/* Jobs that stand before this place, and in which sweeps. */
static void add_queue(struct bytes *text, const struct coordinator *farm, const struct order *order, uint64_t index) {
    uint64_t own = order_waiting_before(order, index), others = 0;
    const struct order *first = NULL;
    for (size_t i = 0; i < farm->queue.count && farm->queue.orders[i] != order; i++) {
        const struct order *other = farm->queue.orders[i];
        if (other->state == SWEEP_ACTIVE && order_waiting(other)) {
            others += order_waiting(other);
            first = first ? first : other;
        }
    }
    if (others)
        bytes_add_format(text, "%" PRIu64 " jobs of older sweeps go first (the oldest is \"%s\"). ", others, first->name);
    bytes_add_format(text, "At most %" PRIu64 " jobs of its own sweep stand before it. Sweeps are drawn in the order in which they "
                     "were submitted; more workers make it go faster.", own);
}

/* What holds every waiting job of the farm, if anything does. */
static const char *add_farm_rule(struct bytes *text, const struct coordinator *farm) {
    if (farm->store_full) {
        bytes_add_format(text, "The store is full: %" PRIu64 " MiB are free, leasing begins again above %" PRIu64
                         " MiB. Make room on its disk.", farm->free_bytes >> 20, farm->options.free_mark_bytes >> 20);
        return "store-full";
    }
    if (!farm->sessions.count) {
        bytes_add_text(text, "No worker is connected. Start one: seedfarm-worker --coordinator ADDR --device cpu.");
        return "no-workers";
    }
    return NULL;
}

static void add_trouble(struct bytes *text, const struct flight *flight) {
    if (flight->trouble)
        bytes_add_format(text, " Its last attempt ended with %s: %s (%" PRIu32 " of %d attempts are used up).",
                         err_name(flight->trouble_code), flight->trouble, flight->attempts, ATTEMPTS_LIMIT);
}

static const char *add_leased(struct bytes *text, const struct coordinator *farm, const struct flight *flight) {
    const struct lease *lease = flight->lease;
    const struct session *session = session_find_number(&farm->sessions, lease->worker);
    bytes_add_format(text, "Worker \"%s\" has it, with %" PRIu32 " others in lease %" PRIu64 ": phase %s",
                     session ? session->hello.name : "(gone)", lease->count - 1, lease->id, work_phase_name(lease->phase));
    if (lease->steps)
        bytes_add_format(text, ", step %" PRIu32 " of %" PRIu32, lease->step, lease->steps);
    bytes_add_format(text, ", last progress %" PRIu64 " ms ago.", farm->now_ms - lease->progress_ms);
    return "leased";
}

static const char *explain_waiting(struct bytes *text, const struct explaining *explaining) {
    const struct coordinator *farm = explaining->farm;
    const struct flight *flight = schedule_find(&farm->scheduler, &explaining->key);
    const char *rule;
    if (flight && flight->place_count &&
        (flight->places[0].order != explaining->order || flight->places[0].index != explaining->index)) {
        bytes_add_format(text, "Job %" PRIu32 " of sweep \"%s\" is the very same job; it is drawn once, for both.",
                         flight->places[0].index, flight->places[0].order->name);
        return "waiting-for-same-key";
    }
    if (flight && flight->state == FLIGHT_LEASED)
        rule = add_leased(text, farm, flight);
    else if (flight && flight->state == FLIGHT_COMMITTING) {
        bytes_add_text(text, "Its picture is here and is being written to the disk.");
        rule = "committing";
    } else if (!(rule = add_farm_rule(text, farm))) {
        rule = "queued";
        bytes_add_text(text, "It waits for a worker. ");
        add_queue(text, farm, explaining->order, explaining->index);
    }
    if (flight)
        add_trouble(text, flight);
    return rule;
}

static void explaining_free(struct explaining *explaining) {
    bytes_release(&explaining->failure);
    free(explaining);
}

/* The state may have changed since the question was asked: this is the last word. */
static void key_finish(struct task *task) {
    struct explaining *explaining = (struct explaining *)task;
    struct coordinator *farm = explaining->farm;
    struct bytes text = BYTES_INIT;
    const char *rule = "done";
    switch (order_job_state(explaining->order, explaining->index)) {
    case JOB_DONE: bytes_add_text(&text, "It is done; `seedfarm fetch` gets its picture."); break;
    case JOB_EXCLUDED:
        rule = "excluded";
        bytes_add_text(&text, "The sweep's `exclude:` drops this combination; it is no job.");
        break;
    case JOB_CANCELLED:
        rule = "cancelled";
        bytes_add_text(&text, "Its sweep was cancelled. Submitting the sweep again goes on with it.");
        break;
    case JOB_FAILED:
        rule = "failed";
        bytes_add_format(&text, "It failed for good: %s. Submitting the sweep again tries it again.",
                         explaining->failure.size ? bytes_text(&explaining->failure) : explaining->order->last_error);
        break;
    case JOB_WAITING:
    case JOB_RUNNING:
        if (explaining->err) { /* a row that is no job: about to fail */
            rule = "failed";
            bytes_add_text(&text, explaining->error.message);
        } else {
            rule = explain_waiting(&text, explaining);
        }
        break;
    }
    explain(farm, &explaining->route, explaining->request, rule, &text);
    bytes_release(&text);
    explaining_free(explaining);
}

static void key_work(struct task *task) {
    struct explaining *explaining = (struct explaining *)task;
    struct spec spec;
    explaining->err = sweep_job(&spec, explaining->sweep, explaining->index, &explaining->error);
    if (explaining->err)
        return;
    explaining->key = spec_key(&spec);
    spec_release(&spec);
}

static void failure_work(struct task *task) {
    struct explaining *explaining = (struct explaining *)task;
    explaining->err = ledger_failure_text(&explaining->failure, explaining->farm->ledger, explaining->order->number,
                                          (uint32_t)explaining->index, &explaining->error);
}

static void explain_job(struct coordinator *farm, const struct route *route, const struct message *message,
                        struct order *order) {
    struct explaining *explaining = memory_get(sizeof *explaining);
    bool failed = order_job_state(order, message->explain.index) == JOB_FAILED;
    *explaining = (struct explaining){
        .task = { .work = failed ? failure_work : key_work, .finish = key_finish }, .farm = farm, .route = *route,
        .request = message->request, .index = message->explain.index, .order = order, .sweep = order->sweep,
        .failure = BYTES_INIT,
    };
    desk_post(failed ? farm->ledger_desk : farm->plan_desk, &explaining->task);
}

static const char *explain_active(struct bytes *text, const struct coordinator *farm, const struct order *order) {
    if (!order->sweep) {
        bytes_add_format(text, " It cannot go on: %s.", order->last_error);
        return "broken";
    }
    bytes_add_text(text, " ");
    const char *rule = add_farm_rule(text, farm);
    if (rule)
        return rule;
    if (order->running) {
        bytes_add_format(text, "%" PRIu64 " jobs are with workers now.", order->running);
        return "leased";
    }
    for (const struct flight *flight = farm->scheduler.ready_first; flight; flight = flight->next)
        if (flight->trouble && flight->place_count && flight->places[0].order == order) {
            bytes_add_text(text, "It waits for a worker.");
            add_trouble(text, flight);
            return "queued";
        }
    add_queue(text, farm, order, 0);
    return "queued";
}

static void explain_sweep(struct coordinator *farm, const struct route *route, uint64_t request, const struct order *order) {
    struct bytes text = BYTES_INIT;
    const char *rule = "done";
    bytes_add_format(&text, "Sweep \"%s\": %" PRIu64 " of %" PRIu64 " jobs done, %" PRIu64 " failed, %" PRIu64 " running, %" PRIu64
                     " waiting.", order->name, order->done, order->jobs, order->failed, order->running, order_waiting(order));
    if (order->state == SWEEP_ACTIVE) {
        rule = explain_active(&text, farm, order);
    } else if (order->state == SWEEP_CANCELLED) {
        rule = "cancelled";
        bytes_add_text(&text, " It was cancelled; submitting it again goes on with it.");
    } else if (order->failed) {
        rule = "failed";
        bytes_add_format(&text, " The last failure: %s. Submitting it again tries them again.", order->last_error);
    }
    explain(farm, route, request, rule, &text);
    bytes_release(&text);
}

static void explain_farm(struct coordinator *farm, const struct route *route, uint64_t request) {
    struct bytes text = BYTES_INIT;
    uint64_t waiting = 0;
    for (size_t i = 0; i < farm->queue.count; i++)
        waiting += farm->queue.orders[i]->state == SWEEP_ACTIVE ? order_waiting(farm->queue.orders[i]) : 0;
    bytes_add_format(&text, "The farm has %zu sweeps, %" PRIu64 " waiting jobs and %zu workers. ", farm->queue.count, waiting,
                     farm->sessions.count);
    const char *rule = waiting ? add_farm_rule(&text, farm) : "done";
    explain(farm, route, request, rule ? rule : "leased", &text);
    bytes_release(&text);
}

void explain_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct order *order;
    struct error error;
    if (!*message->explain.sweep) {
        explain_farm(farm, route, message->request);
        return;
    }
    enum err err = queue_find_word(&order, &farm->queue, message->explain.sweep, &error);
    if (!err && message->explain.has_index && message->explain.index >= order->places)
        err = error_set(&error, ERR_INVALID, "sweep \"%s\": want an index of 0..%" PRIu64 ", have %" PRIu64, order->name,
                        order->places - 1, message->explain.index);
    if (err)
        farm_refuse(farm, route, message->request, &error);
    else if (!message->explain.has_index)
        explain_sweep(farm, route, message->request, order);
    else if (control_sweep_is_open(farm, order, route, message))
        explain_job(farm, route, message, order);
}
