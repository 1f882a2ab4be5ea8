/*
 * sim.h - a whole farm in one thread: the real coordinator and the real agents under a virtual clock, network and disk.
 *
 * The program defines the symbols of base/clock.h, proto/link.h, coordinator/desk.h, coordinator/library.h, store/store.h and
 * worker/workshop.h itself, and is linked before the libraries, so that everything else is the farm's own code. Those interfaces
 * carry no context, so there is one world, here. All of it follows from the seed: the same seed, the same history.
 *
 * sim.c: options, seeds. world.c: time, who is when due. plan.c: what a seed has drawn. fault.c: what goes wrong. client.c: who
 * submits and asks. history.c, audit.c: what must hold. pool.c: sweeps and pictures, shared by all seeds.
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "proto/message.h"

enum { WORKERS_MOST = 5, CLIENT_COUNT = 2, SCRIPT_MOST = 24, USERS = 3, ECHO_STEP = 1 << 20 };
#define NEVER UINT64_MAX
#define SECOND UINT64_C(1000000)

enum { COORDINATOR = 0, FIRST_WORKER = 1, FIRST_CLIENT = FIRST_WORKER + WORKERS_MOST, NODES = FIRST_CLIENT + CLIENT_COUNT };

struct coordinator;
struct agent;
struct workshop;

/* ---- what a seed has drawn (plan.c) ------------------------------------------------------------------------------------- */

enum fault {
    FAULT_CRASH,     /* the coordinator's machine loses its power */
    FAULT_DIE,       /* the same in the middle of a write, or behind it */
    FAULT_RESTART,   /* SIGTERM to the coordinator */
    FAULT_KILL,      /* SIGKILL to a worker */
    FAULT_STOP,      /* SIGTERM to a worker */
    FAULT_FREEZE,    /* SIGSTOP to a worker, later SIGCONT */
    FAULT_HANG,      /* a worker's drawing thread does not come back, its heart beats */
    FAULT_RESET,     /* a connection breaks */
    FAULT_PARTITION, /* a worker cannot be reached for a while */
    FAULT_DISK,      /* writes fail for a while, before or after they are done */
    FAULT_FULL,      /* the disk is full for a while */
    FAULT_TROUBLE,   /* a worker's own disk fails for a while */
    FAULT_CLOCK,     /* the wall clock jumps */
    FAULT_DRAIN,     /* an operator drains a worker */
    FAULT_ECHO,      /* what a worker said of a lease at an older epoch comes now */
    FAULT_COUNT
};
extern const char *const fault_names[FAULT_COUNT];
enum disk { DISK_LEDGER = 1, DISK_OBJECTS = 2 }; /* bits: a failing disk may be either's, or both's */

struct traits {
    uint64_t step_us;    /* of one picture at 8x8 */
    uint32_t batch;
    uint32_t memory;     /* pictures at once; more is ERR_MEMORY; 0: no bound */
    bool broken;         /* fails every job */
    bool liar;           /* now and then its pixel digest is wrong */
    bool halves;         /* at ERR_MEMORY it tries fewer by itself, as old workers do */
};

enum script_what { DO_SUBMIT, DO_CANCEL, DO_PAUSE, DO_RESUME, DO_RETRY, DO_PRIORITY };
struct script_step {
    enum script_what what;
    uint64_t at_us;
    uint32_t sweep;      /* of the pool */
    uint32_t user;
    int32_t priority;
};

struct plan {
    bool faults[FAULT_COUNT];
    bool fair;                /* the window of fairness is watched, and nothing goes wrong */
    uint64_t fault_gap_us;    /* on average */
    uint64_t trouble_us;      /* then all heals */
    uint32_t worker_count;
    struct traits workers[WORKERS_MOST];
    uint32_t weights[USERS];
    struct script_step script[SCRIPT_MOST];
    uint32_t script_count;
    uint32_t poison;          /* one key in so many fails wherever it is drawn; 0: none */
    uint32_t heartbeat_ms, liveness_ms, patience_percent, max_batch, hang_ms;
    uint64_t latency_us, slow_latency_us;
    uint64_t desk_us, slow_desk_us;
    uint32_t queue_limit;     /* messages to a peer */
    uint64_t credit_bytes;
};
void plan_draw(struct plan *plan);
void plan_trace(const struct plan *plan);

/* ---- the world (world.c) ------------------------------------------------------------------------------------------------ */

struct worker_node {
    struct agent *agent;       /* NULL: it does not run */
    struct workshop *workshop; /* of the agent */
    const char *name;
    char cache[96];
    uint32_t pid;
    uint64_t begin_us;         /* NEVER while it runs, or where nobody starts it */
    uint64_t turn_us, least_us;
    uint64_t frozen_until_us;
    uint64_t trouble_until_us;
    bool hung;
    bool echo;                 /* its next PROGRESS is of an older epoch */
    bool hopeless;             /* it was, at some time: benched so often that no job waited for it */
};

struct world {
    uint64_t seed, random;
    bool tracing, failed;
    char failure[2048];
    struct plan plan;
    uint64_t now_us;
    int64_t wall_ms;           /* of the wall clock, beside its beginning */
    bool healed;               /* no more faults */

    struct coordinator *farm;  /* NULL: it does not run */
    uint64_t farm_begin_us, farm_turn_us, farm_least_us;
    bool dead;                 /* the coordinator's machine has no power: nothing it does has any effect */
    uint64_t die_at;           /* ... from this write on; 0: not */
    uint64_t disk_fault_until_us, full_until_us;
    unsigned failing_disks;    /* bits by enum disk */
    uint32_t farm_life, spins;
    bool farm_idle;            /* it wakes only because it always does after a while */

    struct worker_node workers[WORKERS_MOST];
    int current;               /* node whose code runs */
    uint64_t fault_us;         /* the next one */
    uint32_t disturbances;     /* that may cost a render */
    char folder[64];
};
extern struct world world;

uint64_t dice(uint64_t sides);
bool chance(uint32_t of_thousand);
/* Half of the time near `least`, seldom near `most`. */
uint64_t spread(uint64_t least, uint64_t most);
void trace(const char *format, ...) PRINTF_LIKE(1, 2);
/* What must hold does not; the seed ends. Only the first is told. */
void broken(const char *format, ...) PRINTF_LIKE(1, 2);
const char *node_name(int node);

/* One seed from its beginning to its rest. False: world.failure says why. */
bool world_run(uint64_t seed);
void farm_crash(void);
void farm_restart(void);
void worker_end(struct worker_node *node, uint64_t again_us); /* as by SIGKILL */
int worker_index(const struct worker_node *node);

/* ---- link.c: the network ------------------------------------------------------------------------------------------------ */

void net_begin(void);
void net_end(void);
uint64_t net_due_us(int node);  /* when something arrives at it, or its connection stands, or is seen to be gone */
uint64_t net_next_us(void);     /* when net_step has something to do */
void net_step(void);
void net_reset(int node);                            /* its connection breaks, both sides see it soon */
void net_partition(int node, uint64_t until_us);
bool net_frozen(int node);

/* ---- desk.c ------------------------------------------------------------------------------------------------------------- */

void desks_begin(void);
uint64_t desks_next_us(void);
void desks_step(void);          /* the task that is due */
bool desks_have_finished(void); /* inbox_run has something to do */
void desks_drain(void);         /* every task to its end, as the machine dies or ends */

/* ---- disk.c, store.c ---------------------------------------------------------------------------------------------------- */

void disk_register(void);
void disk_begin(void);
void disk_crash(void); /* what was not synced is lost, or not, or half */
void disk_end(void);
/* One write is about to be done. 0: do it; else why not. *after: do it, and then say that it failed. */
enum err disk_write_fault(bool *after, enum disk disk);
void objects_begin(void);
void objects_crash(void);
void objects_end(void);
bool objects_has(const struct digest *digest);

/* ---- workshop.c --------------------------------------------------------------------------------------------------------- */

uint64_t workshop_next_us(const struct workshop *workshop);
void workshop_step(struct workshop *workshop);
size_t workshop_outbox_count(struct workshop *workshop);

/* ---- pool.c ------------------------------------------------------------------------------------------------------------- */

struct pool_job {
    struct digest key, picture, pixels;
    char *canonical;
    uint32_t sweeps;  /* bits of those that want it */
    struct bytes png; /* made when first asked for */
};
struct pool_sweep {
    char name[16];
    struct digest id;
    struct bytes json;
    uint32_t *jobs;   /* [count] into the pool's jobs */
    uint32_t count;
};
struct pool {
    struct pool_sweep *sweeps;
    uint32_t sweep_count;
    struct pool_job *jobs;
    uint32_t job_count;
    struct digest model;
};
extern struct pool pool;
void pool_make(void);
void pool_release(void);
struct pool_job *pool_find(const struct digest *key); /* NULL: none of it */
void pool_draw(struct pool_job *job);

/* ---- client.c ----------------------------------------------------------------------------------------------------------- */

void clients_begin(void);
void clients_end(void);
uint64_t client_next_us(int client);
void client_turn(int client);
bool clients_are_content(void); /* everything was answered, and everything that was accepted has ended */
void clients_heal(void);
void client_drain_worker(int worker);

/* ---- history.c ---------------------------------------------------------------------------------------------------------- */

/* A question of the operator's: its number tells what it was about. */
enum { QUESTION_SWEEP_BITS = 8, QUESTION_WHAT_BITS = 8 };
struct track {              /* of a sweep of the pool */
    bool asked, accepted;   /* SUBMIT was heard; SUBMITTED was said */
    bool cancelled, paused; /* so said, and not asked otherwise since */
    uint32_t reopening;     /* SUBMIT or RETRY heard and not answered */
    uint64_t last_question;
    uint64_t told_done, told_failed; /* failed: since it was asked again last */
    bool told_over;
    enum sweep_state state; /* an observer's latest knowledge; 0: none */
    uint32_t user, assigned; /* jobs, with repetition */
};
struct record {             /* of a job of the pool */
    uint32_t renders, failures;
    uint32_t failed_by;     /* bits by worker */
    bool acknowledged;
};
extern struct track *tracks;
extern struct record *records;

void history_begin(void);
void history_end(void);
void history_sent(int to, const struct message *message);     /* by the coordinator */
void history_heard(int from, const struct message *message);  /* by the coordinator */
void history_new_life(void);
void history_render(int worker, const struct digest *key);
void history_failure(int worker, const struct digest *key);
uint64_t history_effects(void); /* how much the coordinator has begun: leases, calls back, tasks */
void history_effect(void);
void history_list(uint32_t sweep, const struct message_jobs *jobs); /* a client has got it */
bool is_poison(const struct digest *key);

/* ---- audit.c: what holds inside the coordinator ------------------------------------------------------------------------- */

void audit_turn(void);
void audit_life(void);      /* after a start: nothing that was promised is lost */
bool audit_is_idle(void);       /* nothing but its habit makes the coordinator look again */
bool audit_store_is_full(void); /* as the coordinator sees it: how much is free is asked once a second */
bool audit_is_at_rest(void);
void audit_end(void);
void audit_farm_lines(void); /* traces what the coordinator holds */

#endif
