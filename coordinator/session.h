/*
 * session.h - the workers: hello, requests for leases, progress, failures, silence, goodbye.
 */
#ifndef COORDINATOR_SESSION_H
#define COORDINATOR_SESSION_H

#include "coordinator/rate.h"
#include "proto/link.h"
#include "proto/message.h"

struct coordinator;

struct session {
    uint64_t number;
    struct route route;
    struct message_worker_hello hello; /* owned texts */
    uint64_t connected_unix_ms, heard_ms, probed_ms; /* the latter two monotonic */
    uint32_t wants;         /* jobs it asked for; 0: it does not wait */
    uint64_t wants_request; /* the question its ASSIGN answers */
    uint64_t wants_since;   /* in order of asking */
    uint64_t jobs_done, jobs_failed;
    struct rate rate;
};

struct sessions {
    struct session **list; /* [count] */
    size_t count;
    uint64_t next_number, asked;
};

void sessions_release(struct sessions *sessions);
struct session *session_find(const struct sessions *sessions, const struct route *route);
struct session *session_find_number(const struct sessions *sessions, uint64_t number);
/* Jobs that all waiting workers ask for together. */
uint32_t sessions_wanted(const struct sessions *sessions);

/* A message of a worker's. Takes what it keeps out of `message`. */
void session_take(struct coordinator *farm, const struct route *route, struct message *message);
/* Leases for those who wait for one, as far as there is work. */
void sessions_feed(struct coordinator *farm);
/* Workers that are gone and leases that have run out lose their jobs. */
void sessions_expire(struct coordinator *farm);
/* When sessions_expire has something to do next. */
uint64_t sessions_next_ms(const struct coordinator *farm);
void session_report(struct coordinator *farm, const struct route *route, uint64_t request); /* WORKERS */

#endif
