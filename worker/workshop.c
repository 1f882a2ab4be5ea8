/* workshop.c - the threads that do the work: begun, told, and ended; and the queues between them. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "worker/workshop_parts.h"

/* ---- queues --------------------------------------------------------------------------------------------------------- */

void queue_put(struct workshop *workshop, struct queue *queue, struct lease *lease) {
    pthread_mutex_lock(&workshop->mutex);
    lease->next = NULL;
    *queue->last = lease;
    queue->last = &lease->next;
    pthread_cond_broadcast(&workshop->changed);
    pthread_mutex_unlock(&workshop->mutex);
}

struct lease *queue_take(struct workshop *workshop, struct queue *queue) {
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

bool workshop_is_stopping(struct workshop *workshop) {
    pthread_mutex_lock(&workshop->mutex);
    bool stopping = workshop->stopping;
    pthread_mutex_unlock(&workshop->mutex);
    return stopping;
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
