/*
 * workshop_parts.h - what the workshop's threads share; nobody outside of its files includes it.
 */
#ifndef WORKER_WORKSHOP_PARTS_H
#define WORKER_WORKSHOP_PARTS_H

#include <pthread.h>

#include "worker/batches.h"
#include "worker/finisher.h"
#include "worker/showing.h"
#include "worker/workshop.h"

enum { BATCH_MOST = 16 }; /* pictures at once where nobody asks for more and nothing is known yet */

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

/* ---- queues: workshop.c --------------------------------------------------------------------------------------------- */

void queue_put(struct workshop *workshop, struct queue *queue, struct lease *lease);
struct lease *queue_take(struct workshop *workshop, struct queue *queue); /* waits; NULL when the workshop closes */
bool workshop_is_stopping(struct workshop *workshop);

/* ---- the model thread: workshop_models.c ------------------------------------------------------------------------------ */

void *run_models(void *workshop);
void workshop_drop_places(struct workshop *workshop, const struct lease *lease); /* its files may go now */
void workshop_show_models(struct workshop *workshop); /* which are ready, for the socket thread */

/* ---- the drawing thread: workshop_drawing.c --------------------------------------------------------------------------- */

void *run_drawing(void *workshop);

#endif
