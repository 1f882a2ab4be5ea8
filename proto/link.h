/*
 * link.h - ZeroMQ sockets with every option set that FACTS section C1 says must not be left to its default.
 *
 * One message is one frame (and the routing id before it, on the coordinator's side). Links are used from one thread.
 */
#ifndef PROTO_LINK_H
#define PROTO_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/message.h"

enum { LINK_ROUTE_LIMIT = 255 };

/* Who sent it: ZeroMQ's routing id. Never an identity, only a way back. */
struct route {
    uint8_t bytes[LINK_ROUTE_LIMIT];
    uint8_t size;
};

struct link;

/* "ipc://...", "tcp://host:port". Until keys exist, only ipc and loopback may be bound: anything else is ERR_INVALID,
 * with the sentence that says so. An ipc path longer than the system's limit is refused by name and length. */
MUST_USE enum err address_check_bind(const char *address, struct error *error);
MUST_USE enum err address_check_connect(const char *address, struct error *error);

MUST_USE enum err link_bind(struct link **link, const char *const *addresses, size_t count, struct error *error); /* ROUTER */
MUST_USE enum err link_connect(struct link **link, const char *address, struct error *error);                      /* DEALER */
void link_destroy(struct link *link); /* what is queued is given a short while to leave */
void *link_socket(struct link *link); /* for zmq_poll */
/* What it is bound or connected to (the last one of several); "tcp://127.0.0.1:*" has become its real port. */
const char *link_address(const struct link *link);

/* Send one message, without waiting. ERR_UNREACHABLE: nobody there (any more); ERR_LIMIT: its queue is full, try later. ERR_INTERNAL:
 * it is larger than LIMIT_MESSAGE (who fills lists cuts them by bytes: MESSAGE_ROOM). A DEALER that has just been made is not
 * connected yet: wait for ZMQ_POLLOUT, or try again. */
MUST_USE enum err link_send(struct link *link, const struct route *to /* NULL on a DEALER */, const struct message *message,
                            struct error *error);
/* Receive one if there is one: *got false, ERR_OK when there is none. A frame that does not decode is ERR_CORRUPT with *from
 * set, and is dropped; the caller may answer REFUSED and goes on. */
MUST_USE enum err link_receive(bool *got, struct route *from, struct message *message, struct link *link,
                               struct error *error);
/* Wait until something can be received, at most timeout_ms. */
MUST_USE enum err link_wait(bool *ready, struct link *link, uint32_t timeout_ms, struct error *error);

/* A client's question and its answer: sends with a fresh request number, drops answers to older ones. REFUSED becomes the
 * error it carries. ERR_UNREACHABLE after timeout_ms names the address. */
MUST_USE enum err link_ask(struct message *answer, struct link *link, struct message *question, uint32_t timeout_ms,
                           struct error *error);

#endif
