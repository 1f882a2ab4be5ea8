/*
 * workshop.h - the threads that do the work: one makes models ready, one draws, some finish pictures (finisher.h).
 *
 * A lease goes through all of them in turn, so the next lease's model is fetched and loaded while the current one is drawn, and the last
 * one's pictures become PNG files. The socket thread hands leases in and pieces of objects; results go into the outbox,
 * everything else comes back as notes (post.h).
 */
#ifndef WORKER_WORKSHOP_H
#define WORKER_WORKSHOP_H

#include "worker/lease.h"
#include "worker/models.h"
#include "worker/outbox.h"
#include "worker/painter.h"
#include "worker/post.h"

struct workshop;

struct workshop_options {
    struct painter painter;
    struct models *models;  /* all borrowed */
    struct outbox *outbox;
    struct post *post;
    uint32_t threads;       /* that finish pictures: as many, but FINISH_THREADS at most */
    uint32_t batch;         /* largest batch; 0: what gains most, found on real work (batches.h) */
    const char *batches;    /* file where that is remembered, or NULL */
};

MUST_USE enum err workshop_create(struct workshop **workshop, const struct workshop_options *options, struct error *error);
/* Cancels everything and waits for the threads: one step at most, and until what is drawn is finished. No thread looks at any
 * lease afterwards. */
void workshop_destroy(struct workshop *workshop);

void workshop_add(struct workshop *workshop, struct lease *lease);
void workshop_cancel(struct workshop *workshop, struct lease *lease);
/* A piece the model thread asked for has come; takes chunk->data. */
void workshop_chunk(struct workshop *workshop, struct message_chunk *chunk);
/* Show this job while it is drawn: a preview or a refusal comes as NOTE_SHOWN with this number. */
void workshop_show(struct workshop *workshop, uint64_t request, const struct digest *key);
/* `object` are the first OBJECT_PREFIX bytes of the refused object's digest. */
enum { OBJECT_PREFIX = 7 };
void workshop_chunk_refused(struct workshop *workshop, const uint8_t *object, enum err code, const char *text);

/* Jobs of this size drawn at once where no batch was asked for and nothing is known yet. */
uint32_t workshop_batch(uint32_t width, uint32_t height);
/* What was drawn last, and the models that need no loading now. */
struct workshop_state {
    uint32_t batch;         /* how many at once: what the next lease should have of this size */
    uint32_t width, height; /* 0: nothing was drawn yet */
    struct digest *models;  /* [model_count], the caller's to free */
    size_t model_count;
};
void workshop_get_state(struct workshop_state *state, struct workshop *workshop);
/* Milliseconds a job took of late; UINT32_MAX: none was drawn yet. */
uint32_t workshop_job_ms(struct workshop *workshop);

#endif
