/*
 * offer.h - results that a worker offers without their bytes, because the coordinator may have them: those of an earlier life
 * and of leases that went elsewhere. What the ledger has is acknowledged, the rest is wanted.
 */
#ifndef COORDINATOR_OFFER_H
#define COORDINATOR_OFFER_H

#include "proto/message.h"

struct coordinator;
struct session;

/* OFFER of a worker: takes what the message holds. */
void offer_take(struct coordinator *farm, struct session *session, struct message *message);

#endif
