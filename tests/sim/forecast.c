/* forecast.c - see forecast.h. */
#include "tests/sim/forecast.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule.h"

enum {
    HEARTBEAT_MS = 5000,
    DEMAND_MS = 100,   /* session.c: what was granted in so long is kept ready */
    NEARLY_MS = 1000,  /* agent.c: a lease that ends within this is nearly done */
    LEASES_MOST = 2    /* agent.c: the one it draws, and the next */
};
#define NEVER UINT64_MAX

/* A lease as its worker has it. */
struct held {
    uint64_t id, here_ms; /* here_ms: it has arrived */
    uint32_t epoch;
    struct digest *keys;  /* [count] */
    uint32_t count, at;   /* at: of the first not drawn */
    uint32_t job_ms, steps;
    struct digest model;
};

struct hand { /* a worker */
    struct worker *worker;
    const struct forecast_class *class;
    struct forecast_class_result *result;
    struct held held[LEASES_MOST];
    uint32_t held_count;
    struct digest loaded;
    uint64_t begin_ms, end_ms; /* of the batch it draws; end_ms NEVER: none */
    uint32_t batch;            /* jobs in it */
    uint64_t beat_ms;          /* its next report */
    bool waiting;              /* it has asked for a lease */
    size_t heap_at;
};

struct run {
    const struct forecast_farm *farm;
    struct forecast *out;
    uint64_t now_ms;
    struct queue queue;
    struct bloom *bloom;
    struct scheduler scheduler;
    struct hand *hands; /* [hand_count] by their workers' numbers */
    size_t hand_count;
    struct hand **heap; /* [hand_count] by next_ms */
    struct hand **waiting;
    size_t waiting_count;
    uint32_t submitted;
    size_t open;        /* sweeps that are not done */
    bool contended;     /* all users have work */
    uint64_t window_ms; /* session.c's sums of what was granted of late */
    uint32_t granted, granted_before;
};

/* ---- whose turn it is ------------------------------------------------------------------------------------------------------- */

static const struct held *drawing(const struct hand *hand) {
    return hand->end_ms == NEVER ? NULL : &hand->held[0];
}

/* When it asks for another lease; as agent.c: in time, and no sooner. */
static uint64_t ask_ms(const struct hand *hand) {
    if (hand->waiting || hand->held_count == LEASES_MOST)
        return NEVER;
    const struct held *held = drawing(hand);
    if (!held)
        return hand->held_count ? NEVER : 0;
    uint64_t left_ms = (uint64_t)held->job_ms * (held->count - held->at - hand->batch);
    uint64_t end_ms = hand->end_ms + left_ms;
    return end_ms > NEARLY_MS ? end_ms - NEARLY_MS : 0;
}

static uint64_t next_ms(const struct hand *hand) {
    uint64_t next = ask_ms(hand);
    if (!drawing(hand))
        return next;
    next = hand->end_ms < next ? hand->end_ms : next;
    return hand->beat_ms < next ? hand->beat_ms : next;
}

static void put(struct run *run, size_t at, struct hand *hand) {
    run->heap[at] = hand;
    hand->heap_at = at;
}

static void sift(struct run *run, struct hand *hand) {
    size_t at = hand->heap_at;
    uint64_t own_ms = next_ms(hand);
    for (; at && next_ms(run->heap[(at - 1) / 2]) > own_ms; at = (at - 1) / 2)
        put(run, at, run->heap[(at - 1) / 2]);
    for (size_t child; (child = 2 * at + 1) < run->hand_count; at = child) {
        if (child + 1 < run->hand_count && next_ms(run->heap[child + 1]) < next_ms(run->heap[child]))
            child++;
        if (next_ms(run->heap[child]) >= own_ms)
            break;
        put(run, at, run->heap[child]);
    }
    put(run, at, hand);
}

/* ---- sweeps ------------------------------------------------------------------------------------------------------------------- */

static struct digest model_digest(uint32_t number) {
    return (struct digest){ { 1, (uint8_t)number } };
}

/* Seeds of a prompt of its own: no two sweeps share a job. */
static struct sweep *make_sweep(uint32_t number, const struct forecast_sweep *wanted) {
    struct sweep *sweep = memory_get(sizeof *sweep);
    struct error error;
    char *prompt = text_format("sweep %u", number), *steps = text_format("%u", wanted->steps);
    spec_init(&sweep->fixed);
    sweep->fixed.model = model_digest(wanted->model);
    enum err err = spec_set(&sweep->fixed, FIELD_PROMPT, prompt, &error);
    err = err ? err : spec_set(&sweep->fixed, FIELD_SIZE, "512x512", &error);
    err = err ? err : spec_set(&sweep->fixed, FIELD_STEPS, steps, &error);
    err = err ? err : spec_check(&sweep->fixed, &error);
    sweep->axis_count = 1;
    sweep->axes[0] = (struct axis){ .kind = AXIS_RANGE, .fields = { FIELD_SEED }, .field_count = 1, .count = wanted->jobs,
                                    .seed_step = 1 };
    err = err ? err : sweep_check(sweep, &error);
    assert(!err);
    free(prompt);
    free(steps);
    return sweep;
}

static void submit(struct run *run) {
    const struct forecast_sweep *wanted = &run->farm->sweeps[run->submitted++];
    struct order order = {
        .number = run->submitted, .touched = run->submitted, .id = { { 2, (uint8_t)run->submitted, (uint8_t)(run->submitted >> 8) } },
        .name = text_format("sweep %u", run->submitted), .user = text_copy(wanted->user), .last_error = text_copy(""),
        .state = SWEEP_ACTIVE, .sweep = make_sweep(run->submitted, wanted), .places = wanted->jobs, .jobs = wanted->jobs,
        .priority = wanted->priority,
    };
    queue_add(&run->queue, &order);
    run->open++;
    run->contended = run->submitted == run->farm->sweep_count;
}

static bool has_work(const struct run *run, const char *user) {
    for (size_t i = 0; i < run->queue.count; i++)
        if (run->queue.orders[i]->state == SWEEP_ACTIVE && strcmp(run->queue.orders[i]->user, user) == 0)
            return true;
    return false;
}

static void count_picture(struct run *run, const struct place *place, uint32_t job_ms) {
    struct order *order = place->order;
    struct forecast_sweep_result *sweep = &run->out->sweeps[order->number - 1];
    if (!order->done)
        sweep->first_ms = run->now_ms;
    sweep->last_ms = run->out->end_ms = run->now_ms;
    sweep->device_ms += job_ms;
    sweep->contended_ms += run->contended ? job_ms : 0;
    run->out->jobs++;
    order_set_done(order, place->index);
    if (!order_is_finished(order))
        return;
    order->state = SWEEP_DONE;
    schedule_order_changed(&run->scheduler, order);
    run->open--;
    run->contended = run->contended && has_work(run, order->user);
}

/* ---- workers -------------------------------------------------------------------------------------------------------------------- */

static void begin_batch(struct run *run, struct hand *hand, uint64_t at_ms) {
    const struct held *held = &hand->held[0];
    uint32_t left = held->count - held->at;
    hand->batch = left < hand->class->batch ? left : hand->class->batch;
    hand->begin_ms = at_ms;
    if (!digest_equal(&hand->loaded, &held->model)) {
        hand->begin_ms += run->farm->load_ms;
        hand->result->load_ms += run->farm->load_ms;
        hand->loaded = held->model;
    }
    hand->end_ms = hand->begin_ms + (uint64_t)held->job_ms * hand->batch;
}

/* The next lease, if it is here; `at_ms`: the one before has ended. */
static void begin_lease(struct run *run, struct hand *hand, uint64_t at_ms) {
    hand->end_ms = NEVER;
    if (!hand->held_count)
        return;
    hand->beat_ms = run->now_ms + HEARTBEAT_MS;
    begin_batch(run, hand, hand->held[0].here_ms > at_ms ? hand->held[0].here_ms : at_ms);
}

static void drop_lease(struct hand *hand, uint32_t at) {
    free(hand->held[at].keys);
    hand->held_count--;
    memmove(&hand->held[at], &hand->held[at + 1], (hand->held_count - at) * sizeof *hand->held);
}

/* A picture: the first of its job counts. */
static bool deliver(struct run *run, const struct hand *hand, const struct digest *key, uint32_t job_ms) {
    struct scheduler *scheduler = &run->scheduler;
    const struct flight *flight = schedule_find(scheduler, key);
    schedule_delivered(scheduler, hand->worker, key, job_ms, run->now_ms);
    schedule_commit_begin(scheduler, key);
    for (uint32_t p = 0; flight && p < flight->place_count; p++)
        count_picture(run, &flight->places[p], job_ms);
    schedule_committed(scheduler, key);
    return flight != NULL;
}

static void end_batch(struct run *run, struct hand *hand) {
    struct held *held = &hand->held[0];
    uint64_t end_ms = hand->end_ms;
    for (uint32_t i = 0; i < hand->batch; i++)
        if (deliver(run, hand, &held->keys[held->at + i], held->job_ms)) {
            hand->result->jobs++;
            hand->result->busy_ms += held->job_ms;
        } else {
            hand->result->wasted_ms += held->job_ms;
        }
    held->at += hand->batch;
    if (held->at < held->count) {
        begin_batch(run, hand, end_ms);
        return;
    }
    drop_lease(hand, 0);
    begin_lease(run, hand, end_ms);
}

static void report(struct run *run, struct hand *hand) {
    const struct held *held = &hand->held[0];
    uint32_t steps = held->steps * ((held->count + hand->class->batch - 1) / hand->class->batch);
    double done = held->at + (run->now_ms > hand->begin_ms ? (double)(run->now_ms - hand->begin_ms) / held->job_ms : 0);
    struct lease_progress progress = { held->id, held->epoch, run->now_ms < hand->begin_ms ? PHASE_LOAD : PHASE_STEP,
                                       (uint32_t)(steps * done / held->count), steps };
    struct error error;
    hand->beat_ms = run->now_ms + HEARTBEAT_MS;
    enum err err = schedule_progress(&run->scheduler, hand->worker, &progress, run->now_ms, &error);
    assert(!err || err == ERR_STALE); /* a copy was sooner */
}

static void act(struct run *run, struct hand *hand) {
    while (hand->end_ms <= run->now_ms)
        end_batch(run, hand);
    if (drawing(hand) && hand->beat_ms <= run->now_ms)
        report(run, hand);
    if (ask_ms(hand) <= run->now_ms) {
        hand->waiting = true;
        run->waiting[run->waiting_count++] = hand;
    }
    sift(run, hand);
}

/* ---- leases --------------------------------------------------------------------------------------------------------------------- */

static void count_granted(struct run *run, uint32_t jobs) {
    if (run->now_ms >= run->window_ms + DEMAND_MS) {
        run->granted_before = run->now_ms < run->window_ms + 2 * DEMAND_MS ? run->granted : 0;
        run->granted = 0;
        run->window_ms = run->now_ms;
    }
    run->granted += jobs;
}

static void take(struct run *run, struct hand *hand, const struct lease *lease) {
    struct held *held = &hand->held[hand->held_count++];
    const struct spec *spec = &lease->flights[0]->spec;
    *held = (struct held){
        .id = lease->id, .epoch = lease->epoch, .here_ms = run->now_ms + run->farm->latency_ms, .count = lease->count,
        .keys = memory_get_array(lease->count, sizeof *held->keys), .steps = spec->steps, .model = spec->model,
        .job_ms = (uint32_t)fmax(1, round((double)hand->class->job_ms * spec->steps / FORECAST_STEPS)),
    };
    for (uint32_t i = 0; i < lease->count; i++)
        held->keys[i] = lease->flights[i]->key;
    run->out->copies += lease->copy;
    count_granted(run, lease->count);
    if (hand->held_count == 1)
        begin_lease(run, hand, run->now_ms);
}

/* As sessions_feed does: all who wait, in the order in which they asked. */
static void feed(struct run *run) {
    size_t kept = 0;
    schedule_tick(&run->scheduler, run->now_ms);
    for (size_t i = 0; i < run->waiting_count; i++) {
        struct hand *hand = run->waiting[i];
        struct lease *lease = schedule_grant(&run->scheduler, hand->worker, LIMIT_BATCH, run->now_ms);
        if (!lease) {
            run->waiting[kept++] = hand;
            continue;
        }
        hand->waiting = false;
        take(run, hand, lease);
        sift(run, hand);
    }
    run->waiting_count = kept;
}

/* What it has drawn of the batch is lost. */
static void revoke(struct run *run, struct hand *hand, uint64_t lease) {
    for (uint32_t i = 0; i < hand->held_count; i++) {
        if (hand->held[i].id != lease)
            continue;
        drop_lease(hand, i);
        if (i > 0)
            return;
        if (run->now_ms > hand->begin_ms)
            hand->result->wasted_ms += run->now_ms - hand->begin_ms;
        begin_lease(run, hand, run->now_ms);
        sift(run, hand);
        return;
    }
}

static void take_revokes(struct run *run) {
    struct scheduler *scheduler = &run->scheduler;
    for (size_t i = 0; i < scheduler->revoke_count; i++)
        revoke(run, &run->hands[scheduler->revokes[i].worker - 1], scheduler->revokes[i].lease);
    scheduler->revoke_count = 0;
}

static uint32_t wanted_jobs(const struct run *run) {
    uint32_t of_late = run->granted > run->granted_before ? run->granted : run->granted_before;
    return (uint32_t)run->waiting_count * LIMIT_BATCH + (run->now_ms < run->window_ms + 2 * DEMAND_MS ? of_late : 0);
}

static bool wants_page(struct run *run) {
    return schedule_wants_page(&run->scheduler, wanted_jobs(run));
}

static void take_pages(struct run *run) {
    struct digest asked[PAGE_MOST];
    struct page page;
    while (schedule_take_page(&page, &run->scheduler, wanted_jobs(run))) {
        size_t count = 0;
        page_resolve(&page);
        schedule_add_page(asked, &count, &run->scheduler, &page);
        assert(!count); /* nothing was drawn before */
    }
}

/* ---- a run ------------------------------------------------------------------------------------------------------------------------ */

static void begin(struct run *run) {
    const struct forecast_farm *farm = run->farm;
    for (uint32_t i = 0; i < farm->class_count; i++)
        run->hand_count += farm->classes[i].count;
    run->hands = memory_get_array(run->hand_count, sizeof *run->hands);
    run->heap = memory_get_array(run->hand_count, sizeof(struct hand *));
    run->waiting = memory_get_array(run->hand_count, sizeof(struct hand *));
    run->out->worker_count = run->hand_count;
    queue_init(&run->queue);
    run->bloom = bloom_create(1000);
    schedule_init(&run->scheduler, &run->queue, run->bloom, 0, LIMIT_BATCH);
    for (uint32_t i = 0; i < farm->user_count; i++)
        schedule_set_weight(&run->scheduler, farm->users[i].name, farm->users[i].weight);
    size_t number = 0;
    for (uint32_t c = 0; c < farm->class_count; c++)
        for (uint32_t i = 0; i < farm->classes[c].count; i++) {
            const struct worker_facts facts = { .batch = farm->classes[c].batch };
            struct hand *hand = &run->hands[number];
            char *name = text_format("w%zu", number + 1);
            *hand = (struct hand){ .worker = schedule_worker(&run->scheduler, name), .class = &farm->classes[c],
                                   .result = &run->out->classes[c], .end_ms = NEVER };
            free(name);
            schedule_worker_here(&run->scheduler, hand->worker, &facts);
            put(run, number++, hand);
        }
}

static void end(struct run *run) {
    for (size_t i = 0; i < run->hand_count; i++)
        while (run->hands[i].held_count)
            drop_lease(&run->hands[i], 0);
    schedule_release(&run->scheduler);
    bloom_destroy(run->bloom);
    queue_release(&run->queue);
    free(run->hands);
    free(run->heap);
    free(run->waiting);
}

/* The next moment at which something happens. */
static uint64_t next_moment_ms(const struct run *run) {
    uint64_t next = next_ms(run->heap[0]), due_ms = schedule_next_ms(&run->scheduler, run->now_ms);
    if (run->submitted < run->farm->sweep_count && run->farm->sweeps[run->submitted].at_ms < next)
        next = run->farm->sweeps[run->submitted].at_ms;
    if (run->waiting_count && due_ms < next)
        next = due_ms;
    assert(next != NEVER);
    return next > run->now_ms ? next : run->now_ms + 1;
}

/* Work that comes is done by all, at all of their speed. */
static double ideal_ms(const struct forecast_farm *farm) {
    double pace = 0, end_ms = 0;
    for (uint32_t i = 0; i < farm->class_count; i++)
        pace += (double)farm->classes[i].count / farm->classes[i].job_ms;
    for (uint32_t i = 0; i < farm->sweep_count; i++)
        end_ms = fmax(end_ms, (double)farm->sweeps[i].at_ms) +
                 (double)farm->sweeps[i].jobs * farm->sweeps[i].steps / FORECAST_STEPS / pace;
    return end_ms;
}

static void turn(struct run *run) {
    while (run->submitted < run->farm->sweep_count && run->farm->sweeps[run->submitted].at_ms <= run->now_ms)
        submit(run);
    while (next_ms(run->heap[0]) <= run->now_ms)
        act(run, run->heap[0]);
    do {
        take_pages(run);
        feed(run);
        take_revokes(run);
    } while (wants_page(run)); /* since a worker has found nothing */
}

void forecast_run(struct forecast *out, const struct forecast_farm *farm) {
    struct run run = { .farm = farm, .out = out };
    *out = (struct forecast){ .ideal_ms = ideal_ms(farm) };
    begin(&run);
    turn(&run);
    while (run.submitted < farm->sweep_count || run.open) {
        run.now_ms = next_moment_ms(&run);
        turn(&run);
    }
    for (uint32_t c = 0; c < farm->class_count; c++)
        out->wasted_ms += out->classes[c].wasted_ms;
    end(&run);
}

double forecast_busy(const struct forecast *forecast) {
    uint64_t busy_ms = 0;
    for (uint32_t c = 0; c < FORECAST_LIMIT; c++)
        busy_ms += forecast->classes[c].busy_ms;
    return (double)busy_ms / ((double)forecast->end_ms * (double)forecast->worker_count);
}
