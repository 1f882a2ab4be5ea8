/*
 * share.h - whose turn is it: weighted fair queueing between users.
 *
 * Start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing", 1996), counted in estimated device milliseconds: a
 * user's tag moves on by cost / weight with every grant; the smallest tag is next. Who was away begins where the others are:
 * absence is no credit. The caller may serve somebody else who is no further ahead than slack_ms.
 *
 * Pure: no clock. Users live as long as the share; they are few thousands at most.
 */
#ifndef COORDINATOR_SHARE_H
#define COORDINATOR_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/catalog.h"

enum { WEIGHT_DEFAULT = 1 };

struct docket; /* schedule.h */

struct user {
    char *name;
    uint32_t weight;
    double tag;                  /* virtual milliseconds */
    size_t heap_at;              /* place in the heap + 1; 0: has nothing to be served */
    struct docket *ready;        /* the scheduler's: sweeps with ready jobs, most urgent first */
    struct docket *claim_first, *claim_last; /* sweeps with untaken indexes, most urgent first */
    uint64_t device_ms;          /* delivered for it since the start */
    uint64_t ready_jobs, coming_jobs, leased; /* ready; claimed and not yet ready; with workers */
    struct user *chain;          /* of the hash table */
    struct user *stash;          /* of those taken out by share_pop */
};

struct share {
    struct user **heap;          /* [count] by tag */
    size_t count, room;
    struct user **buckets;       /* [bucket_count] by name */
    size_t bucket_count, user_count;
    double clock;                /* the largest tag that was served */
    double slack_ms;             /* virtual; set by the caller */
};

void share_init(struct share *share);
void share_release(struct share *share);
struct user *share_user(struct share *share, const char *name); /* found or made */
struct user *share_find(const struct share *share, const char *name); /* NULL: none */
void share_set_weight(struct share *share, const char *name, uint32_t weight); /* 1..LIMIT_WEIGHT, asserted */

void share_wake(struct share *share, struct user *user);  /* it has something to be served; idempotent */
void share_sleep(struct share *share, struct user *user); /* it has nothing any more; idempotent */
/* The user next in turn, taken out; NULL: none. share_restore puts all of them back. Between the two only share_charge. */
struct user *share_pop(struct share *share, struct user **stash);
void share_restore(struct share *share, struct user *stash);
/* It is served `cost_ms` of device time now. */
void share_charge(struct share *share, struct user *user, double cost_ms);
/* It was not: what it was charged comes back. */
void share_refund(struct share *share, struct user *user, double cost_ms);

#endif
