/* workshop.c - queues, the model thread and the pieces it waits for, the drawing thread and its batches. */
#include "worker/workshop.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "worker/batches.h"
#include "worker/finisher.h"
#include "worker/showing.h"

enum {
    BATCH_PIXELS = 262144, /* 16 at 128x128 and below, 4 at 256x256, 1 at 512x512: more gains little on a CPU */
    BATCH_MOST = 16
};

struct queue {
    struct lease *first, **last;
};

/* What came for the model thread: a piece, or the refusal of one. */
struct arrival {
    struct message_chunk chunk;
    uint8_t object[OBJECT_PREFIX];
    struct error refusal; /* code ERR_OK: a piece */
    struct arrival *next;
};

/* Of the drawing thread, since its last lease: drawing, having models loaded, waiting for pictures to be finished and for a lease;
 * and for how long models were loaded while it did something else. */
struct times { uint64_t drawing_ns, loading_ns, finishing_ns, waiting_ns, ahead_ns; };

struct workshop {
    struct workshop_options options;
    pthread_t model_thread, drawing_thread;
    struct finisher *finisher;
    struct showing *showing;
    pthread_mutex_t mutex; /* of the queues, arrivals and `stopping` */
    pthread_cond_t changed;
    struct queue to_prepare, to_draw;
    struct arrival *arrivals, **last_arrival;
    bool stopping;
    struct lease *fetching; /* the model thread's own */
    struct lease *preparing; /* which the model thread loads the models of, under the mutex; NULL: none */
    struct batches *batches; /* the drawing thread's own */
    struct workshop_state state; /* under the mutex */
    struct times times; /* the drawing thread's own */
    atomic_uint job_ms;
};

/* ---- queues --------------------------------------------------------------------------------------------------------- */

static void queue_put(struct workshop *workshop, struct queue *queue, struct lease *lease) {
    pthread_mutex_lock(&workshop->mutex);
    lease->next = NULL;
    *queue->last = lease;
    queue->last = &lease->next;
    pthread_cond_broadcast(&workshop->changed);
    pthread_mutex_unlock(&workshop->mutex);
}

/* Waits; NULL when the workshop closes. */
static struct lease *queue_take(struct workshop *workshop, struct queue *queue) {
    pthread_mutex_lock(&workshop->mutex);
    while (!workshop->stopping && !queue->first)
        pthread_cond_wait(&workshop->changed, &workshop->mutex);
    struct lease *lease = workshop->stopping ? NULL : queue->first;
    if (lease) {
        queue->first = lease->next;
        if (!queue->first)
            queue->last = &queue->first;
    }
    pthread_mutex_unlock(&workshop->mutex);
    return lease;
}

static bool is_stopping(struct workshop *workshop) {
    pthread_mutex_lock(&workshop->mutex);
    bool stopping = workshop->stopping;
    pthread_mutex_unlock(&workshop->mutex);
    return stopping;
}

/* ---- telling the socket thread -------------------------------------------------------------------------------------- */

static void end_lease(struct workshop *workshop, struct lease *lease) {
    post_send(workshop->options.post, &(struct note){ .type = NOTE_ENDED, .lease = lease });
}

/* ---- the model thread ----------------------------------------------------------------------------------------------- */

static void ask_piece(void *context, const struct digest *object, uint64_t offset, uint32_t size) {
    struct workshop *workshop = context;
    post_send(workshop->options.post, &(struct note){ .type = NOTE_WANT, .object = *object, .offset = offset, .size = size });
}

static struct timespec deadline_after(uint32_t timeout_ms) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    uint64_t ns = (uint64_t)at.tv_nsec + (uint64_t)timeout_ms * 1000000;
    at.tv_sec += (time_t)(ns / 1000000000);
    at.tv_nsec = (long)(ns % 1000000000);
    return at;
}

/* The oldest arrival; NULL after the deadline, or when there is no more point in waiting. */
static struct arrival *take_arrival(struct workshop *workshop, uint32_t timeout_ms, bool *cancelled) {
    struct timespec deadline = deadline_after(timeout_ms);
    int rc = 0;
    pthread_mutex_lock(&workshop->mutex);
    for (;;) {
        *cancelled = workshop->stopping || atomic_load(&workshop->fetching->cancelled);
        if (*cancelled || workshop->arrivals || rc == ETIMEDOUT)
            break;
        rc = pthread_cond_timedwait(&workshop->changed, &workshop->mutex, &deadline);
    }
    struct arrival *arrival = *cancelled ? NULL : workshop->arrivals;
    if (arrival) {
        workshop->arrivals = arrival->next;
        if (!workshop->arrivals)
            workshop->last_arrival = &workshop->arrivals;
    }
    pthread_mutex_unlock(&workshop->mutex);
    return arrival;
}

static enum err answer_piece(struct message_chunk *chunk, void *context, const struct digest *object, uint32_t timeout_ms,
                             struct error *error) {
    bool cancelled;
    enum err err = ERR_OK;
    struct arrival *arrival = take_arrival(context, timeout_ms, &cancelled);
    if (cancelled)
        return error_set(error, ERR_CANCELLED, "the lease was revoked while its model was fetched");
    if (!arrival)
        return error_set(error, ERR_UNREACHABLE, "no piece of the model came within %" PRIu32 " ms", timeout_ms);
    if (arrival->refusal.code && memcmp(arrival->object, object->bytes, OBJECT_PREFIX) != 0)
        err = error_set(error, ERR_UNREACHABLE, "a refusal of an object asked for earlier");
    else if (arrival->refusal.code)
        err = error_set(error, arrival->refusal.code, "%s", arrival->refusal.message);
    else
        *chunk = arrival->chunk;
    free(arrival);
    return err;
}

static void show_fetching(void *context, uint64_t bytes, uint64_t total) {
    struct workshop *workshop = context;
    lease_set_progress(workshop->fetching, PHASE_FETCH, (uint32_t)(bytes >> 20), (uint32_t)(total >> 20));
}

static void drop_places(struct workshop *workshop, const struct lease *lease) {
    for (size_t i = 0; i < lease->places.count; i++)
        models_drop(workshop->options.models, &lease->places.list[i].digest);
}

/* Hold what all jobs of the lease need: their model, their refiner, and the files that they name. */
static enum err hold_places(struct workshop *workshop, struct lease *lease, const struct model_source *source,
                            struct error *error) {
    struct models *models = workshop->options.models;
    const struct digest *both[] = { &lease->specs[0].model, &lease->specs[0].refiner };
    struct digest files[SPEC_FILES_LIMIT];
    char *path;
    enum err err = ERR_OK;
    for (size_t i = 0; i < 2 && !err; i++) {
        if (digest_is_zero(both[i]) || file_places_find(&lease->places, both[i]))
            continue;
        err = models_hold(&path, models, both[i], source, error);
        if (!err)
            file_places_add(&lease->places, both[i], path);
    }
    for (size_t i = 0; i < lease->count && !err; i++) {
        size_t count = spec_files(files, &lease->specs[i]);
        for (size_t f = 0; f < count && !err; f++) {
            if (file_places_find(&lease->places, &files[f]))
                continue;
            err = models_hold_file(&path, models, &files[f], source, error);
            if (!err)
                file_places_add(&lease->places, &files[f], path);
        }
    }
    if (err)
        drop_places(workshop, lease);
    return err;
}

/* For the socket thread. */
static void show_models(struct workshop *workshop) {
    const struct painter *painter = &workshop->options.painter;
    struct workshop_state *state = &workshop->state;
    struct digest models[LIMIT_MODELS_AT_HAND];
    if (!painter->ready)
        return;
    pthread_mutex_lock(&workshop->mutex); /* both threads come here, and the later answer stays */
    state->model_count = painter->ready(painter->context, models, LIMIT_MODELS_AT_HAND);
    state->models = memory_grow(state->models, state->model_count, sizeof *state->models);
    if (state->model_count)
        memcpy(state->models, models, state->model_count * sizeof *models);
    pthread_mutex_unlock(&workshop->mutex);
}

static void set_preparing(struct workshop *workshop, struct lease *lease) {
    pthread_mutex_lock(&workshop->mutex);
    workshop->preparing = lease;
    pthread_cond_broadcast(&workshop->changed);
    pthread_mutex_unlock(&workshop->mutex);
}

/* Hand the lease on to the drawing thread, and load its models while that draws others; it waits for us when it comes to this one. */
static void prepare(struct workshop *workshop, struct lease *lease) {
    const struct painter *painter = &workshop->options.painter;
    set_preparing(workshop, lease);
    queue_put(workshop, &workshop->to_draw, lease);
    if (painter->prepare && !atomic_load(&lease->cancelled)) {
        lease->ahead_ns = painter->prepare(painter->context, &lease->specs[0], &lease->places);
        show_models(workshop);
    }
    set_preparing(workshop, NULL);
}

static void *run_models(void *context) {
    struct workshop *workshop = context;
    const struct model_source source = { workshop, ask_piece, answer_piece, show_fetching };
    for (struct lease *lease = queue_take(workshop, &workshop->to_prepare); lease;
         lease = queue_take(workshop, &workshop->to_prepare)) {
        struct error error;
        workshop->fetching = lease;
        if (atomic_load(&lease->cancelled)) {
            end_lease(workshop, lease);
            continue;
        }
        enum err err = hold_places(workshop, lease, &source, &error);
        if (!err) {
            prepare(workshop, lease);
            continue;
        }
        if (err != ERR_CANCELLED)
            post_failure(workshop->options.post, lease, lease->keys, lease->count, &error);
        end_lease(workshop, lease);
    }
    return NULL;
}

static void add_arrival(struct workshop *workshop, struct arrival *arrival) {
    pthread_mutex_lock(&workshop->mutex);
    *workshop->last_arrival = arrival;
    workshop->last_arrival = &arrival->next;
    pthread_cond_broadcast(&workshop->changed);
    pthread_mutex_unlock(&workshop->mutex);
}

void workshop_chunk(struct workshop *workshop, struct message_chunk *chunk) {
    struct arrival *arrival = memory_get(sizeof *arrival);
    arrival->chunk = *chunk;
    chunk->data = NULL;
    add_arrival(workshop, arrival);
}

void workshop_chunk_refused(struct workshop *workshop, const uint8_t *object, enum err code, const char *text) {
    struct arrival *arrival = memory_get(sizeof *arrival);
    memcpy(arrival->object, object, OBJECT_PREFIX);
    error_set(&arrival->refusal, code, "%s", text);
    add_arrival(workshop, arrival);
}

/* ---- the drawing thread ---------------------------------------------------------------------------------------------- */

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
    if (!workshop->options.batch)
        batches_note(workshop->batches, &kind, (uint32_t)count, spec->steps, (double)ns * 1e-6);
}

/* For the socket thread. */
static void show_state(struct workshop *workshop, const struct spec *spec, uint32_t batch) {
    pthread_mutex_lock(&workshop->mutex);
    workshop->state.batch = batch;
    workshop->state.width = spec->width;
    workshop->state.height = spec->height;
    pthread_mutex_unlock(&workshop->mutex);
    show_models(workshop);
}

/* A lease's batches follow one another, but its step count only grows: the coordinator takes growth for progress. */
struct stage {
    struct workshop *workshop;
    struct lease *lease;
    uint32_t steps_before; /* of this lease's batches so far */
    uint32_t batches_left; /* this one too */
};

static bool goes_on(struct workshop *workshop, struct lease *lease) {
    return !atomic_load(&lease->cancelled) && !atomic_load(&lease->refused) && !is_stopping(workshop);
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

static void *run_drawing(void *context) {
    struct workshop *workshop = context;
    uint64_t free_ns = clock_monotonic_ns();
    for (struct lease *lease = queue_take(workshop, &workshop->to_draw); lease; lease = queue_take(workshop, &workshop->to_draw)) {
        workshop->times.waiting_ns = clock_monotonic_ns() - free_ns;
        await_prepared(workshop, lease);
        if (!atomic_load(&lease->cancelled))
            take_lease(workshop, lease);
        free_ns = clock_monotonic_ns();
        log_drawn(workshop, lease);
        drop_places(workshop, lease);
        atomic_store(&lease->drawn, true);
        finisher_end(workshop->finisher, lease);
        post_wake(workshop->options.post); /* it is time for another lease */
    }
    return NULL;
}

/* ---- opening and closing -------------------------------------------------------------------------------------------- */

static void stop_threads(struct workshop *workshop) {
    pthread_mutex_lock(&workshop->mutex);
    workshop->stopping = true;
    pthread_cond_broadcast(&workshop->changed);
    pthread_mutex_unlock(&workshop->mutex);
}

static enum err start_threads(struct workshop *workshop, struct error *error) {
    int rc = pthread_create(&workshop->model_thread, NULL, run_models, workshop);
    if (rc == 0) {
        rc = pthread_create(&workshop->drawing_thread, NULL, run_drawing, workshop);
        if (rc != 0) {
            stop_threads(workshop);
            pthread_join(workshop->model_thread, NULL);
        }
    }
    errno = rc;
    return rc == 0 ? ERR_OK : error_errno(error, "the worker's threads");
}

static enum err start(struct workshop *workshop, struct error *error) {
    const struct workshop_options *options = &workshop->options;
    uint32_t threads = options->threads < 1 ? 1 : options->threads < FINISH_THREADS ? options->threads : FINISH_THREADS;
    const struct finisher_options finishing = { options->painter, options->outbox, options->post, threads };
    sigset_t all, before;
    sigfillset(&all); /* signals are for the thread that made us */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    enum err err = finisher_create(&workshop->finisher, &finishing, error);
    if (!err)
        err = start_threads(workshop, error);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return err;
}

static void free_workshop(struct workshop *workshop) {
    finisher_destroy(workshop->finisher);
    showing_destroy(workshop->showing);
    batches_close(workshop->batches);
    free(workshop->state.models);
    while (workshop->arrivals) {
        struct arrival *arrival = workshop->arrivals;
        workshop->arrivals = arrival->next;
        free(arrival->chunk.data);
        free(arrival);
    }
    pthread_cond_destroy(&workshop->changed);
    pthread_mutex_destroy(&workshop->mutex);
    free(workshop);
}

enum err workshop_create(struct workshop **out, const struct workshop_options *options, struct error *error) {
    struct workshop *workshop = memory_get(sizeof *workshop);
    pthread_condattr_t monotonic;
    workshop->options = *options;
    workshop->to_prepare.last = &workshop->to_prepare.first;
    workshop->to_draw.last = &workshop->to_draw.first;
    workshop->last_arrival = &workshop->arrivals;
    workshop->state.batch = options->batch ? options->batch : BATCH_MOST;
    workshop->batches = batches_open(options->batches);
    workshop->showing = showing_create(options->post);
    atomic_init(&workshop->job_ms, UINT32_MAX);
    pthread_mutex_init(&workshop->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&workshop->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    enum err err = start(workshop, error);
    if (err)
        free_workshop(workshop);
    else
        *out = workshop;
    return err;
}

void workshop_destroy(struct workshop *workshop) {
    if (!workshop)
        return;
    stop_threads(workshop);
    pthread_join(workshop->model_thread, NULL);
    pthread_join(workshop->drawing_thread, NULL);
    free_workshop(workshop);
}

void workshop_add(struct workshop *workshop, struct lease *lease) {
    queue_put(workshop, &workshop->to_prepare, lease);
}

void workshop_cancel(struct workshop *workshop, struct lease *lease) {
    atomic_store(&lease->cancelled, true);
    pthread_mutex_lock(&workshop->mutex);
    pthread_cond_broadcast(&workshop->changed);
    pthread_mutex_unlock(&workshop->mutex);
}

void workshop_show(struct workshop *workshop, uint64_t request, const struct digest *key) {
    showing_ask(workshop->showing, request, key);
}

void workshop_get_state(struct workshop_state *state, struct workshop *workshop) {
    pthread_mutex_lock(&workshop->mutex);
    *state = workshop->state;
    state->models = memory_get_array(state->model_count, sizeof *state->models);
    if (state->model_count)
        memcpy(state->models, workshop->state.models, state->model_count * sizeof *state->models);
    pthread_mutex_unlock(&workshop->mutex);
}

uint32_t workshop_job_ms(struct workshop *workshop) {
    return atomic_load(&workshop->job_ms);
}
