/*
 * showing.h - previews for the coordinator: which job of the batch that is being drawn somebody wants to see.
 *
 * The socket thread asks, the drawing thread shows; what comes of it goes to the post (NOTE_SHOWN): pixels, or why there are none.
 * Every question is answered but one that is asked over, of which nobody waits any more.
 */
#ifndef WORKER_SHOWING_H
#define WORKER_SHOWING_H

#include "pipeline/pipeline.h"
#include "worker/lease.h"
#include "worker/post.h"

struct showing;

struct showing *showing_create(struct post *post);
void showing_destroy(struct showing *showing);

/* The socket thread: show this job. One question stands at a time: it takes the place of an older one. */
void showing_ask(struct showing *showing, uint64_t request, const struct digest *key);

/* The drawing thread: these jobs of the lease are one batch, borrowed until showing_end. */
void showing_begin(struct showing *showing, const struct lease *lease, const size_t *picked, size_t count);
struct render_viewer showing_viewer(struct showing *showing); /* for its watch */
void showing_end(struct showing *showing);

#endif
