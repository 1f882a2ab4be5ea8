/* workshop_drawing.c - the drawing thread: a lease's jobs in batches, and where its time goes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/workshop_parts.h"

enum { BATCH_PIXELS = 262144 }; /* 16 at 128x128 and below, 4 at 256x256, 1 at 512x512: more gains little on a CPU */

uint32_t workshop_batch(uint32_t width, uint32_t height) {
    uint64_t fits = BATCH_PIXELS / ((uint64_t)width * height);
    return fits < 1 ? 1 : fits > BATCH_MOST ? BATCH_MOST : (uint32_t)fits;
}

static struct batch_kind kind_of(const struct workshop *workshop, const struct spec *spec) {
    return batch_kind_of(spec, workshop->options.painter.device_class);
}

struct question { const struct painter *painter; const struct lease *lease; };

static bool fits(void *context, uint32_t count) {
    const struct question *question = context;
    const struct painter *painter = question->painter;
    return !painter->fits || painter->fits(painter->context, &question->lease->specs[0], &question->lease->places, count);
}

/* How many of the lease's jobs to draw at once. A batch that was asked for is lowered by memory alone. */
static uint32_t batch_limit(struct workshop *workshop, const struct lease *lease) {
    const struct spec *spec = &lease->specs[0];
    const struct batch_kind kind = kind_of(workshop, spec);
    struct question question = { &workshop->options.painter, lease };
    uint32_t asked = workshop->options.batch, first = asked ? asked : workshop_batch(spec->width, spec->height);
    return batches_size(workshop->batches, &kind, first, fits, &question);
}

static void lower_limit(struct workshop *workshop, const struct spec *spec, uint32_t batch, const char *why) {
    const struct batch_kind kind = kind_of(workshop, spec);
    batches_limit(workshop->batches, &kind, batch);
    char *text = text_format("%" PRIu32, batch);
    log_event(LOG_WARN, "batch-halved", "batch", text, "why", why, NULL);
    free(text);
}

static void note_batch(struct workshop *workshop, const struct spec *spec, size_t count, uint64_t ns) {
    const struct batch_kind kind = kind_of(workshop, spec);
    atomic_store(&workshop->job_ms, (unsigned)(ns / 1000000 / count));
    double walked = digest_is_zero(&spec->init) ? spec->steps : spec->steps * decimal_value(spec->strength);
    if (!workshop->options.batch)
        batches_note(workshop->batches, &kind, (uint32_t)count, (uint32_t)walked, (double)ns * 1e-6);
}

/* For the socket thread. */
static void show_state(struct workshop *workshop, const struct spec *spec, uint32_t batch) {
    pthread_mutex_lock(&workshop->mutex);
    workshop->state.batch = batch;
    workshop->state.width = spec->width;
    workshop->state.height = spec->height;
    pthread_mutex_unlock(&workshop->mutex);
    workshop_show_models(workshop);
}

/* A lease's batches follow one another, but its step count only grows: the coordinator takes growth for progress. */
struct stage {
    struct workshop *workshop;
    struct lease *lease;
    uint32_t steps_before; /* of this lease's batches so far */
    uint32_t batches_left; /* this one too */
};

static bool goes_on(struct workshop *workshop, struct lease *lease) {
    return !atomic_load(&lease->cancelled) && !atomic_load(&lease->refused) && !workshop_is_stopping(workshop);
}

static bool show_rendering(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    static const enum work_phase phases[] = { [RENDER_TEXT] = PHASE_TEXT, [RENDER_STEP] = PHASE_STEP,
                                              [RENDER_DECODE] = PHASE_DECODE };
    struct stage *stage = context;
    uint32_t now = phase == RENDER_TEXT ? 0 : phase == RENDER_STEP ? step : steps;
    lease_set_progress(stage->lease, phases[phase], stage->steps_before + now, stage->steps_before + steps * stage->batches_left);
    post_wake(stage->workshop->options.post);
    return goes_on(stage->workshop, stage->lease);
}

/* The jobs of the lease that are still to be drawn; those whose pictures wait in the outbox are delivered under this lease. */
static size_t pick_jobs(size_t *picked, struct workshop *workshop, struct lease *lease) {
    size_t count = 0;
    for (size_t i = 0; i < lease->count; i++) {
        if (outbox_adopt(workshop->options.outbox, lease->id, lease->epoch, &lease->keys[i]))
            atomic_fetch_add(&lease->finished, 1);
        else
            picked[count++] = i;
    }
    return count;
}

static void fail_picked(struct workshop *workshop, struct lease *lease, const size_t *picked, size_t count,
                        const struct error *error) {
    struct digest keys[LIMIT_BATCH];
    for (size_t i = 0; i < count; i++)
        keys[i] = lease->keys[picked[i]];
    post_failure(workshop->options.post, lease, keys, count, error);
    atomic_fetch_add(&lease->finished, count);
}

static enum err draw_batch(struct stage *stage, const size_t *picked, size_t count);

/* One of them has failed them all, a picture to start from that is none, say: each alone, so that its mates are not charged. */
static enum err draw_each(struct stage *stage, const size_t *picked, size_t count) {
    enum err err = ERR_OK;
    stage->batches_left += (uint32_t)count;
    for (size_t i = 0; i < count && !err; i++) {
        err = draw_batch(stage, &picked[i], 1);
        stage->batches_left--;
        stage->steps_before += stage->lease->specs[0].steps;
    }
    return err;
}

/* Draw the picked jobs as one batch. ERR_MEMORY: too many at once (the limit is lowered). ERR_OK where the lease goes on. */
static enum err draw_batch(struct stage *stage, const size_t *picked, size_t count) {
    struct workshop *workshop = stage->workshop;
    struct lease *lease = stage->lease;
    const struct painter *painter = &workshop->options.painter;
    const struct render_viewer viewer = showing_viewer(workshop->showing);
    const struct render_watch watch = { show_rendering, stage, &viewer };
    const struct spec *specs[LIMIT_BATCH];
    struct rendered *rendered = memory_get_array(count, sizeof *rendered);
    struct error error;
    uint64_t begin_ns = clock_monotonic_ns();
    for (size_t i = 0; i < count; i++)
        specs[i] = &lease->specs[picked[i]];
    showing_begin(workshop->showing, lease, picked, count);
    enum err err = painter->draw(painter->context, rendered, specs, count, &lease->places, &watch, &error);
    showing_end(workshop->showing);
    uint64_t end_ns = clock_monotonic_ns();
    workshop->times.drawing_ns += end_ns - begin_ns;
    if (!err) {
        note_batch(workshop, specs[0], count, end_ns - begin_ns);
        finisher_add(workshop->finisher, lease, picked, count, rendered);
        workshop->times.finishing_ns += clock_monotonic_ns() - end_ns;
        return ERR_OK;
    }
    if (err == ERR_MEMORY && count > 1) {
        lower_limit(workshop, specs[0], (uint32_t)count / 2, error.message);
    } else if (err != ERR_CANCELLED && count > 1) {
        err = draw_each(stage, picked, count);
    } else if (err != ERR_CANCELLED) {
        fail_picked(workshop, lease, picked, count, &error);
        err = ERR_OK;
    }
    free(rendered);
    return err;
}

static void draw_lease(struct workshop *workshop, struct lease *lease) {
    struct stage stage = { workshop, lease, 0, 0 };
    size_t picked[LIMIT_BATCH];
    atomic_store(&lease->begin_ms, clock_monotonic_ms());
    size_t count = pick_jobs(picked, workshop, lease);
    post_wake(workshop->options.post);
    for (size_t at = 0; at < count && goes_on(workshop, lease); ) {
        uint32_t limit = batch_limit(workshop, lease);
        size_t batch = count - at < limit ? count - at : limit;
        show_state(workshop, &lease->specs[0], limit);
        stage.batches_left = (uint32_t)((count - at + limit - 1) / limit);
        enum err err = draw_batch(&stage, picked + at, batch);
        if (err == ERR_MEMORY)
            continue; /* the same jobs, fewer at once */
        if (err)
            return;
        at += batch;
        stage.steps_before += lease->specs[0].steps;
    }
}

static enum err load(struct workshop *workshop, struct lease *lease, struct error *error) {
    const struct painter *painter = &workshop->options.painter;
    uint64_t begin_ns = clock_monotonic_ns();
    lease_set_progress(lease, PHASE_LOAD, 0, 0);
    enum err err = painter->load(painter->context, &lease->specs[0], &lease->places, error);
    workshop->times.loading_ns += clock_monotonic_ns() - begin_ns;
    return err;
}

/* The model thread is done with the lease; what it loaded before we came counts as loaded ahead. */
static void await_prepared(struct workshop *workshop, struct lease *lease) {
    uint64_t begin_ns = clock_monotonic_ns();
    if (!atomic_load(&lease->cancelled))
        lease_set_progress(lease, PHASE_LOAD, 0, 0); /* not before: a lease that waits its turn does not hang */
    pthread_mutex_lock(&workshop->mutex);
    while (workshop->preparing == lease)
        pthread_cond_wait(&workshop->changed, &workshop->mutex);
    pthread_mutex_unlock(&workshop->mutex);
    uint64_t waited_ns = clock_monotonic_ns() - begin_ns;
    workshop->times.loading_ns += waited_ns;
    workshop->times.ahead_ns += lease->ahead_ns > waited_ns ? lease->ahead_ns - waited_ns : 0;
}

static void take_lease(struct workshop *workshop, struct lease *lease) {
    struct error error;
    enum err err = load(workshop, lease, &error);
    if (!err)
        draw_lease(workshop, lease);
    else if (err == ERR_MEMORY) /* not one of them fits: fewer at once would not do */
        for (size_t i = 0; i < lease->count; i++)
            post_failure(workshop->options.post, lease, &lease->keys[i], 1, &error);
    else
        post_failure(workshop->options.post, lease, lease->keys, lease->count, &error);
}

/* Where the device's time went since it began its last lease but this: tests/bench/busy.py adds these lines up. */
static void log_drawn(struct workshop *workshop, const struct lease *lease) {
    struct times *times = &workshop->times;
    char id[24], jobs[24], ms[5][24];
    uint64_t parts[] = { times->drawing_ns, times->loading_ns, times->finishing_ns, times->waiting_ns, times->ahead_ns };
    snprintf(id, sizeof id, "%" PRIu64, lease->id);
    snprintf(jobs, sizeof jobs, "%zu", lease->count);
    for (int i = 0; i < 5; i++)
        snprintf(ms[i], sizeof ms[i], "%" PRIu64, parts[i] / 1000000);
    log_event(LOG_INFO, "drawn", "lease", id, "jobs", jobs, "drawing_ms", ms[0], "loading_ms", ms[1], "finishing_ms", ms[2],
              "waiting_ms", ms[3], "ahead_ms", ms[4], NULL);
    *times = (struct times){ 0 };
}

void *run_drawing(void *context) {
    struct workshop *workshop = context;
    uint64_t free_ns = clock_monotonic_ns();
    for (struct lease *lease = queue_take(workshop, &workshop->to_draw); lease; lease = queue_take(workshop, &workshop->to_draw)) {
        workshop->times.waiting_ns = clock_monotonic_ns() - free_ns;
        await_prepared(workshop, lease);
        if (!atomic_load(&lease->cancelled))
            take_lease(workshop, lease);
        free_ns = clock_monotonic_ns();
        log_drawn(workshop, lease);
        workshop_drop_places(workshop, lease);
        atomic_store(&lease->drawn, true);
        finisher_end(workshop->finisher, lease);
        post_wake(workshop->options.post); /* it is time for another lease */
    }
    return NULL;
}
