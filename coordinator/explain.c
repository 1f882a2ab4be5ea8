/*
 * explain.c - EXPLAIN: why isn't my job running? why is this worker idle? A stable word for programs, sentences for people: what holds it, and what
 * would change it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/control.h"
#include "coordinator/farm.h"
#include "coordinator/why.h"

struct explaining {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    uint64_t request, index;
    struct order *order;
    const struct sweep *sweep;
    struct digest key;
    bool varies; /* with its batch */
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

/* What holds every waiting job of the farm, if anything does. */
static const char *add_farm_rule(struct bytes *text, const struct coordinator *farm) {
    if (!farm->store_full)
        return NULL;
    bytes_add_format(text, "The store is full: %" PRIu64 " MiB are free, leasing begins again above %" PRIu64
                     " MiB. Make room on its disk.", farm->free_bytes >> 20, farm->options.free_mark_bytes >> 20);
    return "store-full";
}

/* Of jobs that cards alone draw, as they come: what the default does not promise. */
static void add_promise(struct bytes *text) {
    bytes_add_text(text, " With numerics bf16 and fp16 the same job may come out with other bytes in another batch; `deterministic:"
                         " true` promises the same ones, and draws each job alone.");
}

/* May a job of the sweep have this value? A table's rows are not looked at. */
static bool may_have(const struct sweep *sweep, enum field field, const char *text) {
    for (uint32_t a = 0; a < sweep->axis_count; a++) {
        const struct axis *axis = &sweep->axes[a];
        for (uint32_t f = 0; f < axis->field_count; f++) {
            if (axis->fields[f] != field)
                continue;
            for (uint64_t i = 0; axis->kind == AXIS_VALUES && i < axis->count; i++)
                if (strcmp(axis->values[i * axis->field_count + f], text) == 0)
                    return true;
            return axis->kind == AXIS_TABLE;
        }
    }
    struct bytes fixed = BYTES_INIT;
    spec_get(&fixed, &sweep->fixed, field);
    bool has = strcmp(bytes_text(&fixed), text) == 0;
    bytes_release(&fixed);
    return has;
}

static bool may_vary(const struct sweep *sweep) {
    return (may_have(sweep, FIELD_NUMERICS, numerics_name(NUMERICS_FP16)) ||
            may_have(sweep, FIELD_NUMERICS, numerics_name(NUMERICS_BF16))) && may_have(sweep, FIELD_DETERMINISTIC, "false");
}

static void add_trouble(struct bytes *text, const struct flight *flight) {
    if (flight->trouble)
        bytes_add_format(text, " Its last attempt ended with %s: %s (%" PRIu32 " attempts failed, on %" PRIu32 " workers; three"
                         " distinct workers end it).", err_name(flight->trouble_code), flight->trouble, flight->attempts,
                         flight->distinct);
}

static void add_seconds(struct bytes *text, const struct coordinator *farm, uint64_t until_ms) {
    uint64_t left_ms = until_ms > farm->now_ms ? until_ms - farm->now_ms : 0;
    bytes_add_format(text, "%.1f s", (double)left_ms / 1000);
}

static void add_leased(struct bytes *text, const struct coordinator *farm, const struct lease *lease) {
    bytes_add_format(text, "Worker \"%s\" has it, with %" PRIu32 " others in lease %" PRIu64 ": phase %s", lease->worker->name,
                     lease->count - 1, lease->id, work_phase_name(lease->phase));
    if (lease->steps)
        bytes_add_format(text, ", step %" PRIu32 " of %" PRIu32, lease->step, lease->steps);
    bytes_add_format(text, ", last progress %" PRIu64 " ms ago.", farm->now_ms - lease->progress_ms);
}

/* How many workers each rule excludes; those that exclude none are not mentioned. */
static void add_workers(struct bytes *text, const struct why *why) {
    const struct { uint32_t count; const char *what; } list[] = {
        { why->lack_numerics, "cannot compute with its numerics" }, { why->lack_memory, "lack the memory" },
        { why->failed_it, "have failed it" }, { why->benched, "are benched" }, { why->draining, "are draining" },
    };
    bytes_add_format(text, " Of %" PRIu32 " workers %" PRIu32 " could take it", why->workers, why->able);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (list[i].count)
            bytes_add_format(text, ", %" PRIu32 " %s", list[i].count, list[i].what);
    bytes_add_text(text, ".");
}

static void add_benched(struct bytes *text, const struct coordinator *farm, const struct why *why) {
    bytes_add_format(text, "Every worker that could take it is benched, for three failures in a row. The first to be tried again"
                     " is \"%s\", in ", why->worker->name);
    add_seconds(text, farm, why->until_ms);
    bytes_add_format(text, "; it failed with: %s. Mend it, or start another worker.",
                     why->worker->bench_reason ? why->worker->bench_reason : "(unknown)");
}

static void add_before(struct bytes *text, const struct why *why, uint64_t own) {
    if (why->before && why->first)
        bytes_add_format(text, "%" PRIu64 " jobs of the same user's sweeps go first (beginning with \"%s\"). ", why->before,
                         why->first->name);
    bytes_add_format(text, "At most %" PRIu64 " jobs of its own sweep stand before it. More workers, a higher priority or a"
                     " greater weight of its user make it go sooner.", own);
}

/* The rule that holds a job or a sweep, in sentences: what would change it is part of each. `own`: jobs of its own sweep
 * that stand before it. */
static void add_rule(struct bytes *text, const struct coordinator *farm, const struct why *why, uint64_t own) {
    switch (why->rule) {
    case WHY_PAUSED: bytes_add_text(text, "Its sweep is paused; `seedfarm resume` goes on with it."); return;
    case WHY_BROKEN: bytes_add_text(text, "Its sweep cannot be opened."); return;
    case WHY_COMMITTING: bytes_add_text(text, "Its picture is here and is being written to the disk."); return;
    case WHY_ASKED: bytes_add_text(text, "The ledger is asked whether it was drawn before."); return;
    case WHY_NO_WORKERS:
        bytes_add_text(text, "No worker is connected. Start one: seedfarm-worker --coordinator ADDR --device cpu.");
        return;
    case WHY_NUMERICS:
        bytes_add_format(text, "It wants numerics %s, and no worker that is here computes with it. Start one that does.",
                         numerics_name(why->numerics));
        break;
    case WHY_MEMORY:
        bytes_add_format(text, "One picture of %ux%u is too much for the memory of every worker that is here: each has tried,"
                         " or has no more than one that has. Start a worker with more memory, ask for a smaller size, or with"
                         " vae_tiling for a decode that takes less.",
                         why->width, why->height);
        break;
    case WHY_BENCHED: add_benched(text, farm, why); break;
    case WHY_DRAINING: bytes_add_text(text, "Every worker that could take it is draining. Start another one."); break;
    case WHY_FAILED_HERE:
        bytes_add_text(text, "It waits for a worker that has not failed it yet; those that could are busy or away.");
        break;
    case WHY_BACK_OFF:
        bytes_add_text(text, "It failed, and is tried again in ");
        add_seconds(text, farm, why->until_ms);
        bytes_add_text(text, ".");
        break;
    case WHY_PRIORITY:
        bytes_add_format(text, "Sweeps of the same user with a higher priority go first: \"%s\" has %" PRId32 ". `seedfarm"
                         " priority` changes that. ", why->first->name, why->priority);
        add_before(text, why, own);
        break;
    case WHY_SHARE:
        bytes_add_text(text, "It waits for its turn: users who got less device time of late, for their weight, go first");
        if (why->first)
            bytes_add_format(text, " (now \"%s\" with sweep \"%s\")", why->first->user, why->first->name);
        bytes_add_text(text, ". ");
        add_before(text, why, own);
        break;
    default:
        bytes_add_text(text, "It waits for a worker to be free. ");
        add_before(text, why, own);
        break;
    }
    add_workers(text, why);
}

static const char *explain_waiting(struct bytes *text, const struct explaining *explaining) {
    const struct coordinator *farm = explaining->farm;
    const struct flight *flight = schedule_find(&farm->scheduler, &explaining->key);
    uint64_t own = order_waiting_before(explaining->order, explaining->index);
    struct why why;
    if (flight && flight->place_count &&
        (flight->places[0].order != explaining->order || flight->places[0].index != explaining->index)) {
        bytes_add_format(text, "Job %" PRIu32 " of sweep \"%s\" is the very same job; it is drawn once, for both.",
                         flight->places[0].index, flight->places[0].order->name);
        return "waiting-for-same-key";
    }
    if (flight)
        schedule_why_flight(&why, &farm->scheduler, flight, farm->now_ms);
    else
        schedule_why_order(&why, &farm->scheduler, explaining->order, farm->now_ms);
    if (flight && why.rule == WHY_LEASED) {
        add_leased(text, farm, why.lease);
    } else {
        const char *rule = why.rule == WHY_COMMITTING ? NULL : add_farm_rule(text, farm);
        if (rule)
            return rule;
        if (!flight && why.rule == WHY_LEASED)
            why.rule = WHY_QUEUED; /* others of its sweep are with workers */
        add_rule(text, farm, &why, own);
    }
    if (flight)
        add_trouble(text, flight);
    return why.rule == WHY_NOTHING ? why_rule_name(WHY_QUEUED) : why_rule_name(why.rule);
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
        bytes_add_format(&text, "It failed for good: %s. `seedfarm retry` tries it again.",
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
    if (explaining->varies)
        add_promise(&text);
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
    explaining->varies = spec.numerics != NUMERICS_FP32 && !spec.deterministic;
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

static const char *explain_open(struct bytes *text, const struct coordinator *farm, const struct order *order) {
    struct why why;
    bytes_add_text(text, " ");
    if (!order->sweep) {
        bytes_add_format(text, "It cannot go on: %s.", order->last_error);
        return why_rule_name(WHY_BROKEN);
    }
    const char *rule = add_farm_rule(text, farm);
    if (rule)
        return rule;
    schedule_why_order(&why, &farm->scheduler, order, farm->now_ms);
    bool held = why.rule == WHY_PAUSED || why.rule == WHY_NO_WORKERS;
    if (order->running && !held) {
        bytes_add_format(text, "%" PRIu64 " jobs are with workers now.", order->running);
        return why_rule_name(WHY_LEASED);
    }
    add_rule(text, farm, &why, 0);
    if (*order->last_error)
        bytes_add_format(text, " The last trouble: %s.", order->last_error);
    return why.rule == WHY_NOTHING ? why_rule_name(WHY_QUEUED) : why_rule_name(why.rule);
}

static void explain_sweep(struct coordinator *farm, const struct route *route, uint64_t request, const struct order *order) {
    struct bytes text = BYTES_INIT;
    const char *rule = "done";
    bytes_add_format(&text, "Sweep \"%s\" of \"%s\", priority %" PRId32 ": %" PRIu64 " of %" PRIu64 " jobs done, %" PRIu64
                     " failed, %" PRIu64 " running, %" PRIu64 " waiting.", order->name, order->user, order->priority, order->done,
                     order->jobs, order->failed, order->running, order_waiting(order));
    if (order->state == SWEEP_ACTIVE || order->state == SWEEP_PAUSED) {
        rule = explain_open(&text, farm, order);
    } else if (order->state == SWEEP_CANCELLED) {
        rule = "cancelled";
        bytes_add_text(&text, " It was cancelled; submitting it again goes on with it.");
    } else if (order->failed) {
        rule = "failed";
        bytes_add_format(&text, " The last failure: %s. `seedfarm retry` tries them again.", order->last_error);
    }
    if (order->sweep && may_vary(order->sweep))
        add_promise(&text);
    explain(farm, route, request, rule, &text);
    bytes_release(&text);
}

/* ---- workers and the farm --------------------------------------------------------------------------------------------- */

static void add_worker_rule(struct bytes *text, const struct coordinator *farm, const struct why *why) {
    switch (why->rule) {
    case WHY_ABSENT: bytes_add_text(text, "It is not connected."); break;
    case WHY_DRAINING:
        bytes_add_text(text, "It is draining: it ends what it has, and gets nothing new. `seedfarm drain --stop` ends that.");
        break;
    case WHY_BENCHED:
        bytes_add_text(text, "It is benched for three failures in a row, and is given one job to try in ");
        add_seconds(text, farm, why->until_ms);
        bytes_add_format(text, ". The last: %s", why->worker->bench_reason ? why->worker->bench_reason : "(unknown)");
        break;
    case WHY_PROBATION: bytes_add_text(text, "It is back from the bench, with one job; if that succeeds it gets more."); break;
    case WHY_WORKING: add_leased(text, farm, why->lease); break;
    case WHY_NUMERICS:
        bytes_add_format(text, "What waits wants numerics %s, with which it does not compute.", numerics_name(why->numerics));
        break;
    case WHY_MEMORY:
        bytes_add_format(text, "What waits is too large for its memory (%ux%u).", why->width, why->height);
        break;
    case WHY_TAIL: bytes_add_text(text, "What is left will be ended sooner by faster workers."); break;
    case WHY_NO_WORK: bytes_add_text(text, "Nothing waits that it could draw."); break;
    default: bytes_add_text(text, "Nothing holds it; it will ask for work, or is about to get some."); break;
    }
}

static void explain_worker(struct coordinator *farm, const struct route *route, uint64_t request, const struct worker *worker) {
    struct bytes text = BYTES_INIT;
    struct why why;
    const char *rule = NULL;
    schedule_why_worker(&why, &farm->scheduler, worker, farm->now_ms);
    bytes_add_format(&text, "Worker \"%s\": %" PRIu64 " jobs done, %" PRIu64 " failed, %" PRIu32 " in its hands. ", worker->name,
                     worker->jobs_done, worker->jobs_failed, worker->leased);
    if (why.rule == WHY_NO_WORK || why.rule == WHY_NOTHING)
        rule = add_farm_rule(&text, farm);
    if (!rule) {
        add_worker_rule(&text, farm, &why);
        rule = why_rule_name(why.rule);
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
    if (!rule && !farm->sessions.count) {
        rule = why_rule_name(WHY_NO_WORKERS);
        bytes_add_text(&text, "Start a worker: seedfarm-worker --coordinator ADDR --device cpu.");
    }
    if (!rule)
        bytes_add_text(&text, "Nothing holds the whole of it: `seedfarm explain SWEEP` and `seedfarm explain WORKER` say what holds one.");
    explain(farm, route, request, rule ? rule : why_rule_name(WHY_LEASED), &text);
    bytes_release(&text);
}

void explain_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct order *order;
    struct error error;
    if (!*message->explain.sweep) {
        explain_farm(farm, route, message->request);
        return;
    }
    const struct worker *worker = schedule_find_worker(&farm->scheduler, message->explain.sweep);
    enum err err = queue_find_word(&order, &farm->queue, message->explain.sweep, &error);
    if (err == ERR_NOT_FOUND && worker && !message->explain.has_index) {
        explain_worker(farm, route, message->request, worker);
        return;
    }
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
