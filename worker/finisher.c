/* finisher.c - a short queue of batches, threads that finish their pictures, one of them at a time that keeps the oldest batch. */
#include "worker/finisher.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct batch {
    struct lease *lease;
    size_t picked[LIMIT_BATCH]; /* [count] */
    struct rendered *rendered;  /* [count] */
    size_t count, begun, done;  /* count 0: the lease ends here */
    uint64_t bytes;             /* of pixels */
    struct batch *next;
};

struct finisher {
    struct finisher_options options;
    pthread_t threads[FINISH_THREADS];
    uint32_t thread_count;
    pthread_mutex_t mutex; /* of all below, and of the counts in batches */
    pthread_cond_t changed;
    struct batch *first, **last;
    size_t batch_count;
    uint64_t bytes;
    bool keeping, stopping;
};

/* ---- keeping -------------------------------------------------------------------------------------------------------- */

static void report(struct finisher *finisher, struct lease *lease, size_t job, const struct error *error) {
    post_failure(finisher->options.post, lease, &lease->keys[job], 1, error);
    atomic_fetch_add(&lease->finished, 1);
}

/* Put a batch's pictures into the outbox, report those that failed. */
static void keep(struct finisher *finisher, struct batch *batch) {
    struct lease *lease = batch->lease;
    struct outbox_entry entries[LIMIT_BATCH];
    struct error error;
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++)
        if (batch->rendered[i].error.code)
            report(finisher, lease, batch->picked[i], &batch->rendered[i].error);
        else
            entries[kept++] = (struct outbox_entry){ lease->keys[batch->picked[i]], &batch->rendered[i] };
    if (outbox_put(finisher->options.outbox, lease->id, lease->epoch, entries, kept, &error) == ERR_OK) {
        atomic_fetch_add(&lease->finished, kept);
    } else {
        post_failure(finisher->options.post, lease, NULL, 0, &error);
        atomic_store(&lease->refused, true);
    }
    post_wake(finisher->options.post);
}

static void batch_free(struct batch *batch) {
    for (size_t i = 0; i < batch->count; i++)
        rendered_release(&batch->rendered[i]);
    free(batch->rendered);
    free(batch);
}

static void keep_first(struct finisher *finisher) {
    struct batch *batch = finisher->first;
    finisher->keeping = true;
    pthread_mutex_unlock(&finisher->mutex);
    if (batch->count == 0)
        post_send(finisher->options.post, &(struct note){ .type = NOTE_ENDED, .lease = batch->lease });
    else if (!atomic_load(&batch->lease->refused))
        keep(finisher, batch);
    pthread_mutex_lock(&finisher->mutex);
    finisher->keeping = false;
    finisher->first = batch->next;
    if (!finisher->first)
        finisher->last = &finisher->first;
    finisher->batch_count--;
    finisher->bytes -= batch->bytes;
    batch_free(batch);
    pthread_cond_broadcast(&finisher->changed);
}

/* ---- finishing ------------------------------------------------------------------------------------------------------ */

/* The oldest batch of which a picture is still to be begun. */
static struct batch *find_batch(const struct finisher *finisher) {
    struct batch *batch = finisher->first;
    while (batch && batch->begun == batch->count)
        batch = batch->next;
    return batch;
}

static void finish_next(struct finisher *finisher, struct batch *batch) {
    const struct painter *painter = &finisher->options.painter;
    size_t i = batch->begun++;
    pthread_mutex_unlock(&finisher->mutex);
    painter->finish(painter->context, &batch->rendered[i], &batch->lease->specs[batch->picked[i]]);
    pthread_mutex_lock(&finisher->mutex);
    batch->done++;
}

static void *run_finisher(void *context) {
    struct finisher *finisher = context;
    pthread_mutex_lock(&finisher->mutex);
    while (finisher->first || !finisher->stopping) {
        struct batch *batch = find_batch(finisher);
        if (finisher->first && !finisher->keeping && finisher->first->done == finisher->first->count)
            keep_first(finisher);
        else if (batch)
            finish_next(finisher, batch);
        else
            pthread_cond_wait(&finisher->changed, &finisher->mutex);
    }
    pthread_mutex_unlock(&finisher->mutex);
    return NULL;
}

/* ---- what is drawn -------------------------------------------------------------------------------------------------- */

static bool has_room(const struct finisher *finisher, uint64_t bytes) {
    return finisher->batch_count == 0 || (finisher->batch_count < FINISH_BATCHES && finisher->bytes + bytes <= FINISH_BYTES);
}

static void add(struct finisher *finisher, struct batch *batch) {
    pthread_mutex_lock(&finisher->mutex);
    while (!has_room(finisher, batch->bytes))
        pthread_cond_wait(&finisher->changed, &finisher->mutex);
    *finisher->last = batch;
    finisher->last = &batch->next;
    finisher->batch_count++;
    finisher->bytes += batch->bytes;
    pthread_cond_broadcast(&finisher->changed);
    pthread_mutex_unlock(&finisher->mutex);
}

void finisher_add(struct finisher *finisher, struct lease *lease, const size_t *picked, size_t count, struct rendered *rendered) {
    struct batch *batch = memory_get(sizeof *batch);
    assert(count >= 1 && count <= LIMIT_BATCH);
    batch->lease = lease;
    batch->rendered = rendered;
    for (size_t i = 0; i < count; i++) {
        if (rendered[i].error.code) { /* at once: a worker that always fails should hear of it before it goes on */
            report(finisher, lease, picked[i], &rendered[i].error);
            continue;
        }
        batch->bytes += rendered[i].rgb ? 3 * (uint64_t)rendered[i].width * rendered[i].height : 0;
        batch->picked[batch->count] = picked[i];
        rendered[batch->count++] = rendered[i];
    }
    if (!finisher->options.painter.finish)
        batch->begun = batch->done = batch->count;
    if (batch->count)
        add(finisher, batch);
    else
        batch_free(batch);
}

void finisher_end(struct finisher *finisher, struct lease *lease) {
    struct batch *batch = memory_get(sizeof *batch);
    *batch = (struct batch){ .lease = lease };
    add(finisher, batch);
}

/* ---- opening and closing -------------------------------------------------------------------------------------------- */

void finisher_destroy(struct finisher *finisher) {
    if (!finisher)
        return;
    pthread_mutex_lock(&finisher->mutex);
    finisher->stopping = true;
    pthread_cond_broadcast(&finisher->changed);
    pthread_mutex_unlock(&finisher->mutex);
    for (uint32_t i = 0; i < finisher->thread_count; i++)
        pthread_join(finisher->threads[i], NULL);
    pthread_cond_destroy(&finisher->changed);
    pthread_mutex_destroy(&finisher->mutex);
    free(finisher);
}

enum err finisher_create(struct finisher **out, const struct finisher_options *options, struct error *error) {
    struct finisher *finisher = memory_get(sizeof *finisher);
    int rc = 0;
    assert(options->threads >= 1 && options->threads <= FINISH_THREADS);
    finisher->options = *options;
    finisher->last = &finisher->first;
    pthread_mutex_init(&finisher->mutex, NULL);
    pthread_cond_init(&finisher->changed, NULL);
    while (finisher->thread_count < options->threads && rc == 0) {
        rc = pthread_create(&finisher->threads[finisher->thread_count], NULL, run_finisher, finisher);
        finisher->thread_count += rc == 0;
    }
    if (rc != 0) {
        finisher_destroy(finisher);
        errno = rc;
        return error_errno(error, "the worker's threads");
    }
    *out = finisher;
    return ERR_OK;
}
