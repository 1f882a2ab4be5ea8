/*
 * session.h - the connections of workers: hello, requests for leases, progress, failures, offers, silence, goodbye.
 *
 * What is known of a worker beyond its connection is worker.h's, under its name. Nothing here walks over all sessions but
 * the report: by route there is a hash table, by worker an array, who waits for a lease and who was silent longest are lists.
 */
#ifndef COORDINATOR_SESSION_H
#define COORDINATOR_SESSION_H

#include "coordinator/rate.h"
#include "coordinator/worker.h"
#include "proto/link.h"
#include "proto/message.h"

struct coordinator;

struct session {
    struct worker *worker;  /* the scheduler's */
    struct route route;
    struct message_worker_hello hello; /* owned texts */
    uint32_t protocol;      /* spoken with it */
    uint64_t connected_unix_ms, heard_ms, probed_ms; /* the latter two monotonic */
    uint32_t wants;         /* jobs it asked for; 0: it does not wait */
    uint64_t wants_request; /* the question its ASSIGN answers */
    bool told_drain;        /* that it is draining */
    uint64_t jobs_done, jobs_failed;
    struct rate rate;
    size_t place;           /* in sessions->list */
    struct session *chain;  /* by route */
    struct session *wait_next, *wait_previous;   /* while wants > 0, in order of asking */
    struct session *heard_next, *heard_previous; /* the longest silent first */
};

struct sessions {
    struct session **list;     /* [count] */
    size_t count;
    struct session **buckets;  /* [bucket_count] by route */
    size_t bucket_count;
    struct session **by_worker; /* [worker_count] by worker->number - 1 */
    size_t worker_count;
    struct session *wait_first, *wait_last;
    struct session *wait_fresh; /* the first of those that nobody has looked for a lease for; NULL: none */
    uint64_t fed_version;       /* of the schedule, when all of them were looked at last */
    struct session *heard_first, *heard_last;
    uint32_t wanted;           /* jobs that all waiting ones ask for together */
    uint64_t window_ms;        /* when the present window of DEMAND_MS began ... */
    uint32_t granted, granted_before; /* ... and how many jobs were granted in it and in the one before */
};

void sessions_release(struct sessions *sessions);
/* Tell a draining worker so, once. Where its queue is full it is told when it is heard of next. */
void session_tell_drain(struct coordinator *farm, struct session *session);
struct session *session_find(const struct sessions *sessions, const struct route *route);
struct session *session_find_worker(const struct sessions *sessions, uint64_t number); /* by worker->number */

/* A message of a worker's. Takes what it keeps out of `message`. */
void session_take(struct coordinator *farm, const struct route *route, struct message *message);
/* Leases for those who wait for one, as far as there is work; and leases that have ended on our side are called back. */
void sessions_feed(struct coordinator *farm);
/* How many jobs are worth having ready: what is asked for, and what will be by the time that more can be made ready. */
uint32_t sessions_wanted(const struct sessions *sessions, uint64_t now_ms);
/* Workers that are gone and leases that have run out lose their jobs. */
void sessions_expire(struct coordinator *farm);
/* When sessions_expire has something to do next. */
uint64_t sessions_next_ms(const struct coordinator *farm);

/* The worker's leases end at no charge, its connection is forgotten. */
void session_drop(struct coordinator *farm, struct session *session, const char *why);

#endif
