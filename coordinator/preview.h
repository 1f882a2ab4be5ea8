/*
 * preview.h - PREVIEW: what does this job look like by now? Asked of the worker that draws it (SHOW), one question a worker at a
 * time; who asks for the same job meanwhile gets the same answer.
 */
#ifndef COORDINATOR_PREVIEW_H
#define COORDINATOR_PREVIEW_H

#include "proto/link.h"
#include "proto/message.h"

struct coordinator;
struct session;
struct viewing;

struct previews {
    struct viewing *list; /* [count], in order of asking */
    size_t count;
    uint64_t asked;       /* numbers of SHOWs */
};

void previews_release(struct previews *previews);
/* A client's question. Takes what it keeps out of `message`. */
void preview_take(struct coordinator *farm, const struct route *route, struct message *message);
/* PREVIEWED, or REFUSED, of a worker's. */
void preview_answered(struct coordinator *farm, const struct session *session, const struct message *message);
/* It is gone, or begins anew: it will not answer. */
void previews_drop_worker(struct coordinator *farm, const struct session *session, const char *why);
void previews_close(struct coordinator *farm); /* all are refused: the coordinator ends */
/* What a worker has not answered for too long is refused. */
void previews_expire(struct coordinator *farm);

#endif
