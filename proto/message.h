/*
 * message.h - everything that crosses a socket, as our own structs. codec.c turns them to and from protobuf
 * (farm.proto) and holds every size against its named limit, once, here.
 *
 * Coordinator: one ROUTER. Workers and clients: DEALERs. One message is one frame. A client puts a `request` number in,
 * the answer carries the same. Unknown messages are answered with REFUSED, never ignored.
 *
 * Ownership: message_decode allocates what the message points to; message_release frees it. For encoding, pointers are
 * borrowed.
 */
#ifndef PROTO_MESSAGE_H
#define PROTO_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "proto/catalog.h"

enum {
    PROTOCOL_VERSION = 3, /* 2: HOLD, OFFER, WANTED, DRAIN; 3: SHOW, PREVIEWED; what clients ask since */
    PROTOCOL_OLDEST = 1,  /* spoken still: such a worker is never sent DRAIN or SHOW, and never sends HOLD or OFFER */
    PROTOCOL_SHOWS = 3,   /* the oldest whose workers show previews */
    MESSAGE_ROOM = 7 << 20 /* who fills RESULTS, ASSIGN or JOBS stops adding items once their bytes pass this: with the
                            * largest last item the message is still below LIMIT_MESSAGE */
};

enum message_type {
    MESSAGE_REFUSED = 1,     /* any answer that is no: code and sentence */
    MESSAGE_DONE,            /* any answer that needs no more words */
    /* worker -> coordinator */
    MESSAGE_WORKER_HELLO,    /* -> WELCOME or REFUSED */
    MESSAGE_LEASE_REQUEST,   /* room for `jobs` more: answered by ASSIGN as soon as there is work; held open until then */
    MESSAGE_PROGRESS,        /* the heartbeat, and what each lease is doing; also renews leases */
    MESSAGE_RESULTS,         /* -> ACKNOWLEDGED once durable */
    MESSAGE_FAILURE,         /* a job, or a lease, could not be rendered: why -> ACKNOWLEDGED */
    MESSAGE_GOODBYE,
    /* coordinator -> worker */
    MESSAGE_WELCOME,
    MESSAGE_ASSIGN,
    MESSAGE_ACKNOWLEDGED,    /* these keys are safe: forget them */
    MESSAGE_REVOKE,          /* stop working on this lease */
    /* client -> coordinator */
    MESSAGE_SUBMIT,          /* -> SUBMITTED */
    MESSAGE_MISSING,         /* which of these objects do you lack? -> MISSING */
    MESSAGE_PUT,             /* a piece of an object -> DONE */
    MESSAGE_FETCH,           /* a piece of an object (workers too) -> CHUNK */
    MESSAGE_STATUS,          /* one sweep or all -> STATUS_REPORT */
    MESSAGE_LIST,            /* jobs of a sweep -> JOBS */
    MESSAGE_CANCEL,          /* -> DONE */
    MESSAGE_EXPLAIN,         /* -> EXPLANATION */
    MESSAGE_WORKERS,         /* -> WORKERS_REPORT */
    /* coordinator -> client */
    MESSAGE_SUBMITTED,
    MESSAGE_CHUNK,
    MESSAGE_STATUS_REPORT,
    MESSAGE_JOBS,
    MESSAGE_EXPLANATION,
    MESSAGE_WORKERS_REPORT,
    /* since protocol 2: worker -> coordinator */
    MESSAGE_HOLD,            /* after WELCOME: a lease that it is still working on; REVOKE if it is not wanted */
    MESSAGE_OFFER,           /* keys of results -> ACKNOWLEDGED those that are there already, WANTED the others */
    /* coordinator -> worker */
    MESSAGE_WANTED,          /* send these results */
    MESSAGE_DRAIN,           /* finish and deliver what you have, say goodbye, end */
    /* client -> coordinator */
    MESSAGE_PAUSE,           /* -> DONE */
    MESSAGE_RESUME,          /* -> DONE */
    MESSAGE_RETRY,           /* ask for the failed jobs of a sweep again -> DONE */
    MESSAGE_PRIORITY,        /* -> DONE */
    MESSAGE_DRAIN_WORKER,    /* -> DONE */
    MESSAGE_USAGE,           /* -> USAGE_REPORT */
    /* coordinator -> client */
    MESSAGE_USAGE_REPORT,
    /* since protocol 3: client -> coordinator */
    MESSAGE_PREVIEW,         /* of a job that is being drawn -> PREVIEWED */
    /* coordinator -> worker */
    MESSAGE_SHOW,            /* -> PREVIEWED after the next step, or REFUSED: it is not being drawn now. One at a time */
    /* worker -> coordinator -> client */
    MESSAGE_PREVIEWED,
    MESSAGE_TYPE_COUNT
};

enum job_state { JOB_WAITING = 1, JOB_RUNNING, JOB_DONE, JOB_FAILED, JOB_CANCELLED, JOB_EXCLUDED };
enum sweep_state { SWEEP_ACTIVE = 1, SWEEP_DONE, SWEEP_CANCELLED, SWEEP_PAUSED };
enum work_phase { PHASE_FETCH = 1, PHASE_LOAD, PHASE_TEXT, PHASE_STEP, PHASE_DECODE, PHASE_DELIVER };

struct message_refused { enum err code; char *text; };

struct message_worker_hello {
    uint32_t protocol_least; /* the oldest and the newest that it speaks; PROTOCOL_OLDEST said only the newest */
    uint32_t protocol;
    char *name;          /* unique on the farm: a second one of a live name is refused */
    char *host;
    uint32_t pid;
    char *device;        /* "cpu" */
    char *device_class;  /* "cpu x86-64-v4" */
    char *version;
    uint32_t threads;
    uint32_t batch;      /* largest batch it will take */
    uint64_t memory_bytes; /* it may use; 0 unknown */
    uint32_t numerics;   /* bit by enum numerics; never 0 */
    struct digest *models; /* at hand without fetching */
    size_t model_count;  /* at most LIMIT_MODELS_AT_HAND */
};
struct message_welcome {
    uint32_t protocol;       /* the highest that both speak */
    uint64_t worker;         /* its number, for logs */
    uint32_t heartbeat_ms;   /* send PROGRESS at least this often */
    uint32_t liveness_ms;    /* silence after which leases go elsewhere */
    uint64_t credit_bytes;   /* at most so many result bytes unacknowledged */
};
struct message_lease_request {
    uint32_t jobs;
    uint32_t batch;         /* drawn at once of the size drawn last; 0: not said */
    uint32_t width, height; /* that size; 0: nothing was drawn yet */
    struct digest *models;  /* on the device: they need no loading; spec_model_key */
    size_t model_count;     /* at most LIMIT_MODELS_AT_HAND */
};

struct assigned_job {
    struct digest key;
    char *spec;              /* canonical bytes, NUL-ended text */
};
struct message_assign {
    uint64_t lease;
    uint32_t epoch;
    uint32_t deadline_ms;    /* from now, extended by PROGRESS that shows progress */
    struct assigned_job *jobs;
    size_t count;            /* 1..LIMIT_BATCH; all may share one batch */
};

struct lease_progress {
    uint64_t lease;
    uint32_t epoch;
    enum work_phase phase;
    uint32_t step, steps;
};
struct message_progress { struct lease_progress *leases; size_t count; };

struct result_item {
    struct digest key;
    struct digest picture;       /* SHA-256 of png */
    struct digest pixels;        /* pixel digest: see picture/picture.h */
    uint32_t render_ms;          /* this picture's share of its batch's time */
    uint8_t *png;
    size_t png_size;             /* 1..LIMIT_PICTURE */
};
struct message_results {
    uint64_t lease;              /* 0: from an earlier life, found on disk */
    uint32_t epoch;
    struct result_item *items;
    size_t count;
};
struct message_failure {
    uint64_t lease;
    uint32_t epoch;
    struct digest *keys;         /* count 0: the whole lease (the worker's own trouble) */
    size_t count;
    enum err code;               /* ERR_NUMERIC, ERR_NOT_FOUND (model) ...; ERR_MEMORY: these jobs together were too much,
                                  * one alone: it cannot be drawn here; nobody's fault */
    char *text;
};
struct message_keys { struct digest *keys; size_t count; }; /* ACKNOWLEDGED, OFFER, WANTED, MISSING (both ways) */
struct message_revoke { uint64_t lease; uint32_t epoch; };

struct message_submit {
    char *name;
    char *user;
    char *sweep;                 /* resolved JSON */
    size_t sweep_size;           /* 1..LIMIT_SWEEP_BYTES */
    int32_t priority;            /* -LIMIT_PRIORITY..LIMIT_PRIORITY; the highest of a user goes first */
};
struct message_submitted {
    struct digest sweep;
    uint64_t jobs, places;
    bool known;                  /* the very same sweep was there already */
    enum numerics automatic;     /* what numerics auto became; NUMERICS_AUTO: no job left it to the farm */
};
struct message_put { struct digest digest; uint64_t offset, total; uint8_t *data; size_t size; };
struct message_fetch { struct digest digest; uint64_t offset; uint32_t size; };
struct message_chunk { struct digest digest; uint64_t offset, total; uint8_t *data; size_t size; };

/* A sweep named by id, by the first letters of its id (6 at least), or by name (the newest of that name). "" is all. */
struct message_sweep_ref { char *sweep; };

struct sweep_status {
    struct digest id;
    char *name;
    char *user;
    enum sweep_state state;
    uint64_t places, jobs, done, failed, running, waiting;
    uint64_t rendered;           /* done by rendering for this sweep; the others were there already */
    uint64_t submitted_unix_ms, finished_unix_ms /* 0: not yet */;
    double jobs_per_second;      /* of late; 0 unknown */
    uint64_t eta_ms;             /* 0 unknown */
    char *last_error;            /* "" none */
    int32_t priority;
    double running_done;         /* of the running jobs, how many are drawn, counted in steps */
    uint64_t device_ms;          /* spent on it */
};
struct message_status_report { struct sweep_status *sweeps; size_t count; uint64_t store_free_bytes; uint32_t workers; };

struct message_list {
    char *sweep;
    uint64_t from;               /* first index */
    uint32_t limit;              /* 1..10000 */
    uint32_t state;              /* enum job_state, 0: any but excluded */
};
struct listed_job {
    uint64_t index;
    enum job_state state;
    struct digest key;
    struct digest picture, pixels; /* zero unless done */
    char *spec;                  /* canonical bytes */
    char *error;                 /* "" unless failed */
};
struct message_jobs { struct listed_job *jobs; size_t count; uint64_t next; /* index to go on from; 0: that was all */ };

struct message_explain { char *sweep /* or, where no sweep is meant, a worker's name */; bool has_index; uint64_t index; };
struct message_priority { char *sweep; int32_t priority; };
struct message_drain_worker { char *worker; bool stop; /* lease to it again */ };
struct message_explanation {
    char *rule;                  /* stable word: "done", "no-workers", "leased", "store-full", "failed", ... */
    char *text;                  /* sentences for a person: what holds it, what it excludes, what would change it */
};

struct worker_status {
    uint64_t worker;
    char *name, *host, *device, *device_class, *version;
    uint32_t pid, threads, batch;
    uint64_t connected_unix_ms, silent_ms;
    uint64_t jobs_done, jobs_failed;
    uint32_t leased;             /* jobs in its hands */
    enum work_phase phase;       /* 0: idle */
    uint32_t step, steps;
    double jobs_per_second;
    uint32_t protocol;           /* spoken with it */
    bool draining;
    uint64_t benched_ms;         /* still to go; 0: not benched */
    char *bench_reason;          /* "" not benched */
    double job_ms;               /* a job like the latest takes it, measured; 0 unknown */
    struct digest model;         /* of its latest lease; zero none */
    uint64_t memory_bytes;
};
struct message_workers_report { struct worker_status *workers; size_t count; };

struct user_usage {
    char *user;
    uint32_t weight;             /* 1..LIMIT_WEIGHT */
    uint64_t device_ms, jobs;    /* drawn for sweeps of this user */
    uint64_t waiting, running;   /* jobs, now */
};
struct message_preview { char *sweep; uint64_t index; };
struct message_show { struct digest key; };
struct message_previewed {
    struct digest key;
    uint32_t step, steps;        /* behind which it was taken, of how many */
    uint32_t width, height;      /* 1..LIMIT_PREVIEW_SIDE */
    uint8_t *rgb;                /* [height,width,3] */
    char *worker;                /* who draws it; "" from a worker */
};

struct message_usage_report { struct user_usage *users; size_t count; };

struct message {
    enum message_type type;
    uint64_t request;            /* echoed by answers; 0 where nobody waits */
    union {
        struct message_refused refused;
        struct message_worker_hello worker_hello;
        struct message_welcome welcome;
        struct message_lease_request lease_request;
        struct message_assign assign;         /* ASSIGN, HOLD (deadline_ms 0) */
        struct message_progress progress;
        struct message_results results;
        struct message_failure failure;
        struct message_keys keys;             /* ACKNOWLEDGED, OFFER, WANTED, MISSING */
        struct message_revoke revoke;
        struct message_submit submit;
        struct message_submitted submitted;
        struct message_put put;
        struct message_fetch fetch;
        struct message_chunk chunk;
        struct message_sweep_ref sweep_ref;   /* STATUS, CANCEL, PAUSE, RESUME, RETRY */
        struct message_status_report status_report;
        struct message_list list;
        struct message_jobs jobs;
        struct message_explain explain;
        struct message_explanation explanation;
        struct message_workers_report workers_report;
        struct message_priority priority;
        struct message_drain_worker drain_worker;
        struct message_usage_report usage_report;
        struct message_preview preview;
        struct message_show show;
        struct message_previewed previewed;
    };
};

/* Appends. Counts and sizes are asserted: our own values. Sentences (refused.text, failure.text, last_error, error,
 * explanation.text) may quote foreign bytes: they are made UTF-8 and cut to LIMIT_SENTENCE. A NULL text is "". */
void message_encode(struct bytes *out, const struct message *message);
/* ERR_CORRUPT or ERR_LIMIT for anything that is not a message within every limit; names hold no control characters. */
MUST_USE enum err message_decode(struct message *message, const void *data, size_t size, struct error *error);
void message_release(struct message *message);
const char *message_type_name(enum message_type type);
const char *job_state_name(enum job_state state);
const char *sweep_state_name(enum sweep_state state);
const char *work_phase_name(enum work_phase phase);

#endif
