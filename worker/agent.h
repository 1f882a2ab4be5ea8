/*
 * agent.h - the worker's side of the farm: connects, leases, reports, delivers.
 *
 * The thread in agent_run owns the socket and does nothing that takes long: it sends heartbeats on time however busy the
 * rendering threads (workshop.h) are, and they never touch the socket. A coordinator that is away is waited for with
 * back-off while rendering goes on; on its return it gets everything that it has not acknowledged.
 */
#ifndef WORKER_AGENT_H
#define WORKER_AGENT_H

#include "worker/painter.h"

struct agent_options {
    const char *coordinator; /* address; all borrowed as long as the agent lives */
    const char *name;        /* unique on the farm */
    const char *host;
    const char *device;      /* "cpu" */
    uint32_t threads;        /* that compute; those that finish pictures are no more */
    uint32_t batch;          /* largest batch; 0: what gains most (batches.h) */
    uint64_t memory_bytes;   /* 0: no bound */
    uint32_t hang_ms;        /* the drawing thread that shows no progress for so long is taken for hung; 0: 600,000 */
    const char *cache;       /* folder of outbox/, models/, batches.json and lock; one worker at a time */
    uint64_t cache_bytes;    /* for models; 0: no bound */
    const char *models;      /* colon-separated folders, or NULL */
    struct painter painter;  /* what draws */
};

struct agent;

MUST_USE enum err agent_create(struct agent **agent, const struct agent_options *options, struct error *error);
void agent_destroy(struct agent *agent);

/* Until agent_stop, or until the coordinator has drained this worker; then ERR_OK. ERR_UNSUPPORTED: coordinator and worker
 * speak different protocols. ERR_DEVICE: the device failed for good, and the coordinator knows. ERR_STALE: the drawing thread hangs; the process must end now, by _exit, for agent_destroy would
 * wait for it. */
MUST_USE enum err agent_run(struct agent *agent, struct error *error);

/* One turn of agent_run, without its waiting; *over: it has come to its end. For who drives several agents, or a simulated one.
 * The next turn is due when there is a message or a note, and at agent_wakes_ms at the latest. */
MUST_USE enum err agent_turn(bool *over, struct agent *agent, struct error *error);
uint64_t agent_wakes_ms(const struct agent *agent, uint64_t now_ms);

/* Lease nothing more, drop what is being rendered within one step, deliver what is finished (for a few seconds at most, and
 * only to a coordinator that is there; the rest stays in the outbox), say goodbye. Async-signal-safe. */
void agent_stop(struct agent *agent);

#endif
