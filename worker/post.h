/*
 * post.h - what the worker's other threads have to say to the socket thread.
 *
 * A ZeroMQ socket belongs to one thread. So the threads that fetch models and render never touch it: they leave notes here,
 * and an eventfd wakes the socket thread, which sleeps in poll on both.
 */
#ifndef WORKER_POST_H
#define WORKER_POST_H

#include "base/hash.h"
#include "worker/lease.h"

enum note_type {
    NOTE_WANT,   /* ask the coordinator for a piece of an object */
    NOTE_FAILED, /* these jobs of the lease, or (count 0) the whole lease, could not be rendered */
    NOTE_ENDED,  /* no thread but the socket's looks at this lease any more */
    NOTE_SHOWN   /* a preview, or why there is none */
};

struct note {
    enum note_type type;
    struct digest object; /* WANT */
    uint64_t offset;
    uint32_t size;
    struct lease *lease;  /* ENDED */
    uint64_t lease_id;    /* FAILED */
    uint32_t epoch;
    struct digest *keys;  /* owned */
    size_t count;
    struct error error;   /* FAILED; SHOWN: code ERR_OK where there is a preview */
    uint64_t request;     /* SHOWN */
    struct message_previewed preview; /* its rgb is owned */
    struct note *next;
};

struct post;

MUST_USE enum err post_create(struct post **post, struct error *error);
void post_destroy(struct post *post);
void post_send(struct post *post, const struct note *note); /* copies; takes note->keys and preview.rgb */
/* These jobs of the lease failed; keys NULL, or a trouble that is not theirs but this worker's: the whole lease did. */
void post_failure(struct post *post, const struct lease *lease, const struct digest *keys, size_t count,
                  const struct error *error);
struct note *post_next(struct post *post);                  /* oldest first, NULL: none; note_free */
void note_free(struct note *note);
void post_wake(struct post *post); /* async-signal-safe */
int post_fd(const struct post *post); /* readable when there is something to do */
void post_calm(struct post *post); /* makes it unreadable until the next note or wake */

#endif
