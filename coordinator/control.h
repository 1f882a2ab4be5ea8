/*
 * control.h - questions of clients (and FETCH of workers): each is answered, or refused with a sentence.
 */
#ifndef COORDINATOR_CONTROL_H
#define COORDINATOR_CONTROL_H

#include "proto/link.h"
#include "proto/message.h"

struct coordinator;
struct order;

/* Takes what it keeps out of `message`. */
void control_take(struct coordinator *farm, const struct route *route, struct message *message);

/* The parts, a file each. */
void submit_take(struct coordinator *farm, const struct route *route, struct message *message);
void list_take(struct coordinator *farm, const struct route *route, struct message *message);
void operate_take(struct coordinator *farm, const struct route *route, struct message *message);
void drain_take(struct coordinator *farm, const struct route *route, const struct message *message);
void status_take(struct coordinator *farm, const struct route *route, const struct message *message);
void workers_take(struct coordinator *farm, const struct route *route, uint64_t request);
void usage_take(struct coordinator *farm, const struct route *route, uint64_t request);
void explain_take(struct coordinator *farm, const struct route *route, struct message *message);
void fetch_take(struct coordinator *farm, const struct route *route, const struct message *message);
void missing_take(struct coordinator *farm, const struct route *route, struct message *message);

/* True: the sweep of `order` is open. False: it is being opened, and control_take is called again with this message (taken)
 * when it is. */
bool control_sweep_is_open(struct coordinator *farm, struct order *order, const struct route *route,
                           struct message *message);

#endif
