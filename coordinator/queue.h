/*
 * queue.h - the sweeps in memory. A sweep is a spec, a few counts and bitmaps; its jobs are never written out.
 *
 * Pure: no socket, no clock, no file. An index is untaken until order_take hands it out; it is then in the scheduler's
 * hands until it is done or failed, and comes back to the queue only when the sweep is cancelled or reopened.
 */
#ifndef COORDINATOR_QUEUE_H
#define COORDINATOR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "coordinator/rate.h"
#include "proto/message.h"
#include "proto/sweep.h"

enum { CHUNK_PLACES = 65536 }; /* indexes of one chunk of bitmap in the ledger: one container of a roaring bitmap */

struct roaring_bitmap_s;

/* A submitted sweep. */
struct order {
    uint64_t number;  /* in order of first submission */
    uint64_t touched; /* grows with every submission: a name points to the largest */
    struct digest id;
    char *name, *user;
    enum sweep_state state;
    struct sweep *sweep; /* NULL until opened: a finished one is only when somebody looks into it */
    uint64_t places, jobs;
    uint64_t done, failed, running; /* places; running: leased */
    uint64_t rendered;              /* of done: drawn for this sweep */
    uint64_t submitted_unix_ms, finished_unix_ms;
    char *last_error; /* "" none */
    struct rate rate;
    int32_t priority;   /* -LIMIT_PRIORITY..LIMIT_PRIORITY among its user's sweeps; the higher the sooner */
    uint64_t device_ms; /* rendered for it, as its workers measured */
    uint32_t life; /* grows when untaken places come back: pages of an older life are void */
    uint64_t cursor; /* every untaken index is at or behind it */
    struct roaring_bitmap_s *done_places, *failed_places;
    struct roaring_bitmap_s *taken_places;  /* handed out, neither done nor failed */
    struct roaring_bitmap_s *leased_places; /* of these: with a worker */
    struct queue *queue;     /* it is in */
    uint64_t counted;        /* jobs of it in queue->waiting */
    double job_cost;         /* units a job, as far as known: worker.h */
    double counted_cost;     /* of it in queue->waiting_cost */
    struct docket *docket;   /* the scheduler's; NULL none */
};

struct queue {
    struct order **orders; /* [count] by number */
    size_t count;
    uint64_t touches; /* the largest `touched` */
    uint64_t waiting;    /* jobs of active sweeps neither done, failed nor running, kept up to date by the functions below */
    double waiting_cost; /* the same in units */
};

void queue_init(struct queue *queue);
void queue_release(struct queue *queue); /* with its orders, and their sweeps */

/* Takes what `order` points to (name, user, last_error, sweep); bitmaps are made here. */
struct order *queue_add(struct queue *queue, const struct order *order);
struct order *queue_find(const struct queue *queue, const struct digest *id);
struct order *queue_find_number(const struct queue *queue, uint64_t number);
/* By id, by the first letters of the id (6 at least), or by name (the newest of that name). */
MUST_USE enum err queue_find_word(struct order **order, const struct queue *queue, const char *word, struct error *error);
/* The next untaken index. False: none within `*budget` places looked at (decreased by them); with a budget left over there is
 * none at all. */
bool order_take(uint32_t *index, struct order *order, uint32_t *budget);
bool order_may_have_untaken(const struct order *order);
void order_untake_one(struct order *order, uint32_t index); /* it was taken for nothing */
uint64_t order_waiting(const struct order *order); /* jobs neither done, failed nor running */
/* Places before `index` that are neither done, failed nor running (excluded ones are counted, nobody has looked at them). */
uint64_t order_waiting_before(const struct order *order, uint64_t index);
/* Count it anew in its queue's sums: after a change of its state or its job_cost. */
void order_recount(struct order *order);
bool order_is_finished(const struct order *order); /* every job done or failed */

/* Idempotent; true where something changed. */
bool order_set_done(struct order *order, uint32_t index);
bool order_set_failed(struct order *order, uint32_t index);
void order_set_leased(struct order *order, uint32_t index, bool leased);
void order_set_error(struct order *order, const char *text);
/* Cancelled, or asked for again: nothing is taken any more. */
void order_untake(struct order *order);
/* Failures are forgotten; what is neither done nor on its way can be taken again, where it was cancelled or paused too. */
void order_ask_again(struct order *order);

/* EXCLUDED is told only where the sweep is opened. */
enum job_state order_job_state(const struct order *order, uint64_t index);
/* The first index at or behind `from` in this state (0: any but excluded), looking at no more than *budget places where
 * looking is needed; `places` if there is none, or where the budget ended. */
uint64_t order_find_state(const struct order *order, uint64_t from, enum job_state state, uint32_t *budget);

/* The ledger's form of one chunk's bitmaps: roaring's portable form of the done and of the failed indexes, less the chunk's
 * first. `also_done` [count] are indexes to be counted in. Empty bitmaps are empty bytes. */
void order_chunk(struct bytes *done, struct bytes *failed, const struct order *order, uint32_t chunk,
                 const uint32_t *also_done, size_t done_count, const uint32_t *also_failed, size_t failed_count);
MUST_USE enum err order_load_chunk(struct order *order, uint32_t chunk, const void *done, size_t done_size,
                                   const void *failed, size_t failed_size, struct error *error);

#endif
