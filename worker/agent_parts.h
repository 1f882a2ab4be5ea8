/*
 * agent_parts.h - what the agent's own files share: agent.c (connection, notes, loop) and agent_leases.c. All of it is the socket
 * thread's.
 */
#ifndef WORKER_AGENT_PARTS_H
#define WORKER_AGENT_PARTS_H

#include <stdatomic.h>

#include "worker/agent.h"
#include "worker/delivery.h"
#include "worker/workshop.h"

enum presence {
    AWAY,     /* no coordinator, or it does not want us now: hello at next_hello_ms */
    GREETING, /* hello sent: WELCOME or REFUSED until answer_by_ms */
    PRESENT
};

struct agent {
    struct agent_options options;
    atomic_bool stop; /* set by any thread: apart from the loop's flags, which a compiler may read as one word */
    int lock;
    struct post *post;
    struct outbox *outbox;
    struct models *models;
    struct workshop *workshop;
    struct delivery *delivery;
    struct link *link;
    struct lease **leases; /* all in our hands */
    size_t lease_count;

    enum presence presence;
    struct message_welcome welcome;
    bool lease_asked;
    uint64_t hello_ms, next_hello_ms, answer_by_ms, heard_ms, heartbeat_ms, no_lease_before_ms;
    uint64_t backoff_ms, trouble_ms;
    uint64_t requests;
    uint64_t jitter; /* state of a small generator: spreads workers that lost the same coordinator */

    bool draining, over;
    bool finishing;           /* the coordinator wants no more of us: what we have is finished first */
    uint64_t drain_by_ms;
    struct error fatal;
    struct error broken;      /* the device failed for good; code ERR_OK: it did not */
    uint64_t broken_until_ms; /* for telling the coordinator */
};

/* ---- agent.c -------------------------------------------------------------------------------------------------------- */

/* ERR_OK only where it was sent. */
MUST_USE enum err agent_send(struct agent *agent, const struct message *message);
uint64_t agent_next_request(struct agent *agent, enum request_kind kind);

/* ---- agent_leases.c ------------------------------------------------------------------------------------------------- */

/* For the coordinator; keys NULL: the whole lease. */
void agent_add_failure(struct agent *agent, uint64_t lease, uint32_t epoch, const struct digest *keys, size_t count,
                       const struct error *error);
void agent_take_assign(struct agent *agent, const struct message_assign *assign);
void agent_take_revoke(struct agent *agent, const struct message_revoke *revoke);
void agent_drop_leases(struct agent *agent);
bool agent_wants_lease(struct agent *agent, uint64_t now_ms);
void agent_ask_lease(struct agent *agent);
void agent_send_progress(struct agent *agent, uint64_t now_ms);
/* When this lease will be taken for hung if it does not move; UINT64_MAX: the drawing thread does not have it yet, or no more. */
uint64_t agent_hangs_at_ms(const struct agent *agent, const struct lease *lease);
void agent_watch_leases(struct agent *agent, uint64_t now_ms); /* one that hangs is fatal */

#endif
