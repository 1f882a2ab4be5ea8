/*
 * upload.h - objects that come in pieces (PUT): few at a time, and not for ever.
 */
#ifndef COORDINATOR_UPLOAD_H
#define COORDINATOR_UPLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "proto/link.h"
#include "proto/message.h"

enum { UPLOADS_LIMIT = 64, UPLOADS_OF_CLIENT = 4, UPLOAD_IDLE_MS = 60000 };

struct coordinator;
struct upload;

struct uploads {
    struct upload **list; /* [count] */
    size_t count;
};

void upload_take(struct coordinator *farm, const struct route *route, struct message *message);
/* Those that nothing was heard of for long are given up. */
void uploads_expire(struct coordinator *farm);
void uploads_release(struct uploads *uploads); /* nothing is with a desk any more */

#endif
