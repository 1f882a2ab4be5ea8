/* workshop_models.c - the model thread: files fetched and verified, pieces waited for, models loaded ahead. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "worker/workshop_parts.h"

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

void workshop_drop_places(struct workshop *workshop, const struct lease *lease) {
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
        workshop_drop_places(workshop, lease);
    return err;
}

/* For the socket thread. */
void workshop_show_models(struct workshop *workshop) {
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
        workshop_show_models(workshop);
    }
    set_preparing(workshop, NULL);
}

static void end_lease(struct workshop *workshop, struct lease *lease) {
    post_send(workshop->options.post, &(struct note){ .type = NOTE_ENDED, .lease = lease });
}

void *run_models(void *context) {
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
