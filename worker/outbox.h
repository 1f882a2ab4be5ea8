/*
 * outbox.h - finished pictures, on disk until the coordinator has them.
 *
 * One file a batch (outbox_file.h), which goes when the last of its pictures has gone. Nothing is synced: a picture lost with the
 * machine is drawn again. Bytes of fresh pictures stay in memory too, as far as OUTBOX_MEMORY goes, so that delivering them need
 * not read and hash them again.
 *
 * A picture of a lease that is held is delivered straight; any other (of an earlier life, of a lease that was lost, after the
 * coordinator was away) is offered first, for it may be there already. Every call is O(1) a picture.
 *
 * Thread-safe: one of the threads that finish pictures puts at a time, the socket thread reads, delivers and forgets.
 */
#ifndef WORKER_OUTBOX_H
#define WORKER_OUTBOX_H

#include "proto/message.h"
#include "worker/render.h"

enum { OUTBOX_MEMORY = 64 << 20 /* bytes of pictures also kept in memory */ };

struct outbox;

/* Creates the folder and reads back what an earlier life left there (lease 0). Damaged files go, with a log line each. */
MUST_USE enum err outbox_open(struct outbox **outbox, const char *folder, struct error *error);
void outbox_close(struct outbox *outbox); /* files stay */

struct outbox_entry {
    struct digest key;
    struct rendered *rendered; /* borrowed; its bytes are taken */
};
/* All of them or none. At most LIMIT_BATCH, of different keys. */
MUST_USE enum err outbox_put(struct outbox *outbox, uint64_t lease, uint32_t epoch, const struct outbox_entry *entries,
                             size_t count, struct error *error);
/* Is this job's picture waiting here? It is then delivered (again), straight, under this lease. */
bool outbox_adopt(struct outbox *outbox, uint64_t lease, uint32_t epoch, const struct digest *key);
bool outbox_holds_lease(struct outbox *outbox, uint64_t lease);
size_t outbox_count(struct outbox *outbox);
uint64_t outbox_bytes(struct outbox *outbox);
uint64_t outbox_unacknowledged(struct outbox *outbox); /* bytes delivered, not yet acknowledged */

/* This lease is held no more: its pictures that were not delivered yet are offered first. */
void outbox_lose_lease(struct outbox *outbox, uint64_t lease);

enum { OUTBOX_OFFER = 1024 /* at most so many in one offer */ };
/* The next pictures to offer, at most OUTBOX_OFFER: how many. They count as offered from then on. */
size_t outbox_next_offer(struct digest *keys, struct outbox *outbox);
void outbox_offer_again(struct outbox *outbox, const struct digest *keys, size_t count); /* of what was offered: it did not arrive */
bool outbox_has_offered(struct outbox *outbox); /* and has had no answer for some */
void outbox_wanted(struct outbox *outbox, const struct digest *keys, size_t count); /* these are delivered now */

/* The next pictures to deliver: of one lease, together at most `bytes` (but always one where nothing is unacknowledged);
 * count 0: none now. They count as delivered from then on. The bytes stay the outbox's, until they are forgotten; the caller
 * releases the rest with outbox_results_release. */
void outbox_next(struct message_results *results, struct outbox *outbox, uint64_t bytes);
void outbox_results_release(struct message_results *results);

void outbox_forget(struct outbox *outbox, const struct digest *keys, size_t count); /* acknowledged */
/* Nothing counts as offered or delivered any more. `offer`: everything is to be offered first. */
void outbox_resend(struct outbox *outbox, bool offer);
/* These were refused. Together with others: each is sent alone next time. Alone: it goes, and true is returned. */
bool outbox_refused(struct outbox *outbox, const struct digest *keys, size_t count);
/* These could not be sent: they are undelivered again. */
void outbox_return(struct outbox *outbox, const struct message_results *results);

#endif
