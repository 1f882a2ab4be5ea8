/*
 * delivery.h - bringing results and failures to the coordinator until it has acknowledged them.
 *
 * Pictures come from the outbox and may be delivered twice, which is harmless: a commit is judged by key and content. What may be
 * there already is offered first (protocol 2), and delivered if it is wanted.
 * Failures are kept in memory alone: a worker that ends forgets them, and the lease runs out. Socket thread only.
 */
#ifndef WORKER_DELIVERY_H
#define WORKER_DELIVERY_H

#include "proto/link.h"
#include "worker/outbox.h"
#include "worker/post.h"

/* The kind of question is part of its request number, so that an answer needs no table to be understood. */
enum request_kind { REQUEST_HELLO = 1, REQUEST_LEASE, REQUEST_RESULTS, REQUEST_FAILURE, REQUEST_FETCH, REQUEST_OFFER };
enum { REQUEST_KIND_SHIFT = 56 };
#define REQUEST_COUNT_MASK ((UINT64_C(1) << REQUEST_KIND_SHIFT) - 1)

struct delivery;

struct delivery *delivery_create(struct outbox *outbox);
void delivery_destroy(struct delivery *delivery);

void delivery_add_failure(struct delivery *delivery, uint64_t lease, uint32_t epoch, const struct digest *keys, size_t count,
                          const struct error *error);
/* Send what credit and a refusal's waiting time allow. ERR_UNREACHABLE: the coordinator is away. */
MUST_USE enum err delivery_send(struct delivery *delivery, struct link *link, uint64_t credit_bytes, uint64_t now_ms,
                                struct error *error);
void delivery_acknowledged(struct delivery *delivery, uint64_t request, const struct digest *keys, size_t count);
/* RESULTS or FAILURE was refused. A picture that is itself refused goes, with a log line; otherwise delivery waits. */
void delivery_refused(struct delivery *delivery, uint64_t request, enum err code, const char *text, uint64_t now_ms);
void delivery_wanted(struct delivery *delivery, const struct digest *keys, size_t count); /* of what was offered */
/* A new connection, and the protocol it speaks: everything once more. */
void delivery_restart(struct delivery *delivery, uint32_t protocol);

bool delivery_is_done(struct delivery *delivery);     /* nothing to send and nothing unacknowledged */
uint64_t delivery_waits_since_ms(struct delivery *delivery); /* for the oldest answer; 0: for none */
uint64_t delivery_wakes_ms(struct delivery *delivery); /* when delivery_send should be tried again; UINT64_MAX: no need */

#endif
