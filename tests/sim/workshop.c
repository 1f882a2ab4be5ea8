/*
 * workshop.c - worker/workshop.h without threads: leases are drawn in virtual time, as fast as the worker's traits say.
 *
 * What the real one does with a lease is done here too, in the same order: pictures that wait in the outbox are adopted, batches
 * follow one another, each step is a sign of progress and a moment to be cancelled, pictures go into the real outbox.
 */
#include "worker/workshop.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "tests/sim/sim.h"

enum { LEASES_MOST = 64 };

enum stage { IDLE, PREPARING, DRAWING };

struct workshop {
    struct workshop_options options;
    int node;
    const struct traits *traits;
    struct lease *queue[LEASES_MOST]; /* [count]; the first is being worked on */
    size_t count;
    enum stage stage;
    uint64_t due_us;
    size_t picked[LIMIT_BATCH]; /* [pick_count]: jobs of the lease to draw */
    size_t pick_count, at, batch;
    uint32_t step, steps_before, limit; /* limit: of the batch, where it halves by itself */
    uint64_t begin_ms;
    uint32_t room, job_ms;
};

static struct worker_node *node_of(const struct workshop *workshop) {
    return &world.workers[workshop->node - FIRST_WORKER];
}

static void fail(struct workshop *workshop, const size_t *picked, size_t count, const struct error *error) {
    const struct lease *lease = workshop->queue[0];
    struct note note = { .type = NOTE_FAILED, .lease_id = lease->id, .epoch = lease->epoch, .error = *error };
    if (count)
        note.keys = memory_get_array(count, sizeof *note.keys);
    for (size_t i = 0; i < count; i++) {
        note.keys[note.count++] = lease->keys[picked[i]];
        if (error->code != ERR_MEMORY)
            history_failure(workshop->node - FIRST_WORKER, &lease->keys[picked[i]]);
    }
    post_send(workshop->options.post, &note);
}

static void begin_next(struct workshop *workshop) {
    workshop->stage = workshop->count ? PREPARING : IDLE;
    workshop->due_us = workshop->count ? world.now_us + 500 + dice(2000) : NEVER;
}

static void end_lease(struct workshop *workshop) {
    struct lease *lease = workshop->queue[0];
    workshop->count--;
    memmove(workshop->queue, workshop->queue + 1, workshop->count * sizeof *workshop->queue);
    post_send(workshop->options.post, &(struct note){ .type = NOTE_ENDED, .lease = lease });
    begin_next(workshop);
}

/* ---- batches --------------------------------------------------------------------------------------------------------------- */

static uint32_t batch_steps(const struct workshop *workshop) {
    return workshop->queue[0]->specs[0].steps;
}

static uint64_t step_us(const struct workshop *workshop) {
    const struct spec *spec = &workshop->queue[0]->specs[0];
    uint64_t one_us = workshop->traits->step_us * spec->width * spec->height / 64;
    return one_us * (1 + workshop->batch) / 2 + 1;
}

static void next_batch(struct workshop *workshop) {
    size_t left = workshop->pick_count - workshop->at;
    if (!left) {
        end_lease(workshop);
        return;
    }
    uint32_t limit = workshop->traits->batch;
    if (workshop->limit && workshop->limit < limit)
        limit = workshop->limit;
    workshop->batch = left < limit ? left : limit;
    workshop->room = limit;
    workshop->step = 0;
    workshop->begin_ms = clock_monotonic_ms();
    uint32_t batches = (uint32_t)((left + limit - 1) / limit);
    lease_set_progress(workshop->queue[0], PHASE_TEXT, workshop->steps_before,
                       workshop->steps_before + batches * batch_steps(workshop));
    workshop->due_us = world.now_us + step_us(workshop);
}

static void begin_lease(struct workshop *workshop) {
    struct lease *lease = workshop->queue[0];
    workshop->pick_count = workshop->at = 0;
    workshop->steps_before = 0;
    workshop->stage = DRAWING;
    lease_set_progress(lease, PHASE_LOAD, 0, 0);
    atomic_store(&lease->begin_ms, clock_monotonic_ms());
    for (size_t i = 0; i < lease->count; i++)
        if (outbox_adopt(workshop->options.outbox, lease->id, lease->epoch, &lease->keys[i]))
            atomic_fetch_add(&lease->finished, 1);
        else
            workshop->picked[workshop->pick_count++] = i;
    next_batch(workshop);
}

/* Too many at once: fewer are tried from now on, and the coordinator is told, or these too are drawn in smaller batches. */
static bool memory_suffices(struct workshop *workshop) {
    const size_t *picked = workshop->picked + workshop->at;
    struct error error;
    if (!workshop->traits->memory || workshop->batch <= workshop->traits->memory)
        return true;
    workshop->limit = (uint32_t)workshop->batch / 2;
    if (!workshop->traits->halves) {
        error_set(&error, ERR_MEMORY, "%zu pictures at once: there is room for %u", workshop->batch, workshop->traits->memory);
        fail(workshop, picked, workshop->batch, &error);
        atomic_fetch_add(&workshop->queue[0]->finished, workshop->batch);
        workshop->at += workshop->batch;
    }
    next_batch(workshop);
    return false;
}

/* A picture, or what became of it instead. */
static void draw_one(struct rendered *rendered, struct workshop *workshop, const struct digest *key, uint32_t render_ms) {
    struct pool_job *job = pool_find(key);
    *rendered = (struct rendered){ .png = BYTES_INIT, .render_ms = render_ms };
    if (is_poison(key) || workshop->traits->broken) {
        error_set(&rendered->error, ERR_NUMERIC, "%s fails", node_name(workshop->node));
        return;
    }
    history_render(workshop->node - FIRST_WORKER, key);
    pool_draw(job);
    bytes_add(&rendered->png, job->png.data, job->png.size);
    rendered->picture = job->picture;
    rendered->pixels = job->pixels;
    if (workshop->traits->liar && chance(100)) {
        rendered->pixels.bytes[0] ^= 1;
        history_failure(workshop->node - FIRST_WORKER, key);
    }
}

/* Into the outbox, unless the worker's disk fails. */
static enum err keep(struct workshop *workshop, const struct outbox_entry *entries, size_t count) {
    struct lease *lease = workshop->queue[0];
    struct error error;
    if (count && world.now_us < node_of(workshop)->trouble_until_us) {
        error_set(&error, ERR_IO, "%s's disk fails", node_name(workshop->node));
        fail(workshop, NULL, 0, &error);
        return ERR_IO;
    }
    enum err err = outbox_put(workshop->options.outbox, lease->id, lease->epoch, entries, count, &error);
    if (err)
        broken("%s's outbox: %s", node_name(workshop->node), error.message);
    atomic_fetch_add(&lease->finished, count);
    return err;
}

static enum err draw_batch(struct workshop *workshop, uint32_t render_ms) {
    struct lease *lease = workshop->queue[0];
    const size_t *picked = workshop->picked + workshop->at;
    struct rendered rendered[LIMIT_BATCH];
    struct outbox_entry entries[LIMIT_BATCH];
    size_t kept = 0;
    for (size_t i = 0; i < workshop->batch; i++) {
        draw_one(&rendered[i], workshop, &lease->keys[picked[i]], render_ms);
        if (rendered[i].error.code) {
            fail(workshop, &picked[i], 1, &rendered[i].error);
            atomic_fetch_add(&lease->finished, 1);
        } else {
            entries[kept++] = (struct outbox_entry){ lease->keys[picked[i]], &rendered[i] };
        }
    }
    enum err err = keep(workshop, entries, kept);
    for (size_t i = 0; i < workshop->batch; i++)
        rendered_release(&rendered[i]);
    return err;
}

static void finish_batch(struct workshop *workshop) {
    uint32_t render_ms = (uint32_t)((clock_monotonic_ms() - workshop->begin_ms) / workshop->batch);
    workshop->job_ms = render_ms;
    if (draw_batch(workshop, render_ms) != ERR_OK) {
        end_lease(workshop);
        return;
    }
    workshop->at += workshop->batch;
    workshop->steps_before += batch_steps(workshop);
    next_batch(workshop);
}

static void draw_step(struct workshop *workshop) {
    struct lease *lease = workshop->queue[0];
    uint32_t steps = batch_steps(workshop), batch = workshop->traits->batch;
    if (workshop->step == 0 && !memory_suffices(workshop))
        return;
    if (workshop->step == steps) {
        finish_batch(workshop);
        return;
    }
    workshop->step++;
    uint32_t left = (uint32_t)((workshop->pick_count - workshop->at + batch - 1) / batch);
    lease_set_progress(lease, PHASE_STEP, workshop->steps_before + workshop->step, workshop->steps_before + left * steps);
    workshop->due_us = world.now_us + step_us(workshop);
}

/* ---- for the world ------------------------------------------------------------------------------------------------------ */

uint64_t workshop_next_us(const struct workshop *workshop) {
    return node_of(workshop)->hung ? NEVER : workshop->due_us;
}

void workshop_step(struct workshop *workshop) {
    if (!workshop->count)
        workshop->due_us = NEVER;
    else if (atomic_load(&workshop->queue[0]->cancelled))
        end_lease(workshop);
    else if (workshop->stage == PREPARING)
        begin_lease(workshop);
    else
        draw_step(workshop);
}

size_t workshop_outbox_count(struct workshop *workshop) {
    return outbox_count(workshop->options.outbox);
}

/* ---- workshop.h ------------------------------------------------------------------------------------------------------------- */

enum err workshop_create(struct workshop **out, const struct workshop_options *options, struct error *error) {
    struct workshop *workshop = memory_get(sizeof *workshop);
    (void)error;
    workshop->options = *options;
    workshop->node = world.current;
    workshop->traits = &world.plan.workers[world.current - FIRST_WORKER];
    workshop->due_us = NEVER;
    workshop->room = workshop->traits->batch;
    workshop->job_ms = UINT32_MAX;
    node_of(workshop)->workshop = workshop;
    *out = workshop;
    return ERR_OK;
}

void workshop_destroy(struct workshop *workshop) {
    if (!workshop)
        return;
    node_of(workshop)->workshop = NULL;
    free(workshop);
}

void workshop_add(struct workshop *workshop, struct lease *lease) {
    if (workshop->count == LEASES_MOST) {
        broken("%s holds %d leases at once", node_name(workshop->node), LEASES_MOST);
        return;
    }
    workshop->queue[workshop->count++] = lease;
    if (workshop->stage == IDLE)
        begin_next(workshop);
}

/* Seen at the next step, as by a thread. */
void workshop_cancel(struct workshop *workshop, struct lease *lease) {
    (void)workshop;
    atomic_store(&lease->cancelled, true);
}

void workshop_chunk(struct workshop *workshop, struct message_chunk *chunk) {
    (void)workshop, (void)chunk;
}

void workshop_chunk_refused(struct workshop *workshop, const uint8_t *object, enum err code, const char *text) {
    (void)workshop, (void)object, (void)code, (void)text;
}

/* Nobody asks: the clients here look at no pictures. */
void workshop_show(struct workshop *workshop, uint64_t request, const struct digest *key) {
    (void)workshop, (void)request, (void)key;
}

uint32_t workshop_batch(uint32_t width, uint32_t height) {
    (void)width, (void)height;
    return 1;
}

void workshop_get_state(struct workshop_state *state, struct workshop *workshop) {
    *state = (struct workshop_state){ .batch = workshop->room };
}

uint32_t workshop_job_ms(struct workshop *workshop) {
    return workshop->job_ms;
}
