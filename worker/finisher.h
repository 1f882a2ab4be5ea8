/*
 * finisher.h - what becomes of pictures once they are drawn: PNG and digests on threads of the processor, several pictures at
 * once, while the device draws the next batch; then the outbox, batch by batch in the order in which they were drawn.
 *
 * What waits is bounded in bytes and in batches: who draws faster than that waits in finisher_add.
 */
#ifndef WORKER_FINISHER_H
#define WORKER_FINISHER_H

#include "worker/lease.h"
#include "worker/outbox.h"
#include "worker/painter.h"
#include "worker/post.h"

enum {
    FINISH_BYTES = 256 << 20, /* pixels that wait, beside one batch: 85 pictures of 1024x1024 */
    FINISH_BATCHES = 8,       /* small ones */
    FINISH_THREADS = 8        /* at most: 220 pictures of 512x512 a second, at 35 ms each */
};

struct finisher;

struct finisher_options {
    struct painter painter;
    struct outbox *outbox; /* both borrowed */
    struct post *post;
    uint32_t threads;      /* 1..FINISH_THREADS */
};

MUST_USE enum err finisher_create(struct finisher **finisher, const struct finisher_options *options, struct error *error);
/* Finishes and keeps all that was added. */
void finisher_destroy(struct finisher *finisher);

/* Jobs picked[count] of the lease are drawn: takes rendered[count] and what is in it. Waits while too much is waiting. A picture
 * that failed is reported at once; an outbox that takes nothing fails the lease, and sets lease->refused. */
void finisher_add(struct finisher *finisher, struct lease *lease, const size_t *picked, size_t count, struct rendered *rendered);
/* No more of the lease comes: NOTE_ENDED once all that was added is kept. The caller must not look at it again. */
void finisher_end(struct finisher *finisher, struct lease *lease);

#endif
