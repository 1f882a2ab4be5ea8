/*
 * worker.h - what is known of a worker: what it can take, how fast it is, how it fails.
 *
 * A worker is its name: it lives as long as the coordinator, connections come and go. So one that connects again is the same
 * one to the counts of failures, and keeps its speed, its memory limits and its bench.
 *
 * Pure: no socket, no clock; callers pass `now_ms`. Cost is counted in units, spec_cost: steps x pixels, twice that with
 * guidance. Speeds are milliseconds a unit, measured by model, of what was delivered.
 */
#ifndef COORDINATOR_WORKER_H
#define COORDINATOR_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "proto/spec.h"

enum {
    ROW_LIMIT = 3,                      /* failures in a row that bench a worker */
    BENCH_FIRST_MS = 10000,
    BENCH_MOST_MS = 600000,
    HOPELESS_BENCHES = 3                /* in a row: no job waits for it any more */
};

/* What it says of itself when it connects. */
struct worker_facts {
    uint32_t batch;                     /* largest it takes; at least 1 */
    uint64_t memory_bytes;              /* 0 unknown */
    uint32_t numerics;                  /* bits by enum numerics; 0: fp32 alone */
    const struct digest *models;        /* [model_count] at hand without fetching; copied */
    size_t model_count;
};

/* What it says of itself when it asks for work. */
struct worker_report {
    uint32_t batch;                     /* drawn at once of the size drawn last */
    uint32_t width, height;             /* that size; 0: it has drawn nothing yet */
    const struct digest *models;        /* [model_count] on its device, which need no loading: spec_model_key; copied */
    size_t model_count;
};

struct speed {
    struct digest model;
    double unit_ms;                     /* milliseconds a unit, the latest counting most; 0: not measured */
};

/* Jobs that take as much memory as each other. Which LoRAs are merged and how strongly does not count, only whether some are:
 * what is merged is kept wider than a file has it. */
struct memory_kind {
    struct digest model, vae, refiner;
    uint32_t width, height, vae_tiling;
    enum numerics numerics;
    bool merged, guided, started; /* from a picture */
};
struct memory_kind memory_kind_of(const struct spec *spec);
bool memory_kind_is(const struct memory_kind *kind, const struct spec *spec);

/* At most so many jobs of this kind at once; 0: none, ever. */
struct memory_limit {
    struct memory_kind kind;
    uint32_t jobs;
};

/* One failure in a row: a job's key, or of a trouble of its own the lease. */
struct row_entry {
    struct digest key;                  /* zero: trouble of its own */
    uint64_t lease;
};

struct lease;

struct worker {
    uint64_t number;                    /* from 1, in order of first appearance */
    char *name;
    bool present, draining;
    uint32_t batch, numerics;
    uint64_t batch_pixels;              /* of one picture of such a batch; 0: of any size */
    uint64_t memory_bytes;
    struct digest *models;              /* [model_count] at hand */
    size_t model_count;
    struct digest *ready;               /* [ready_count] on its device: spec_model_key */
    size_t ready_count;
    struct digest loaded;               /* spec_model_key of the latest lease; zero: none yet */
    struct digest loaded_model;         /* its model */
    struct speed *speeds;               /* [speed_count] by model */
    size_t speed_count;
    double unit_ms;                     /* over all models; 0: not measured */
    struct memory_limit *limits;        /* [limit_count] */
    size_t limit_count;
    struct row_entry row[ROW_LIMIT];    /* [row_count] */
    uint32_t row_count;
    uint64_t trouble_ms;                /* of its latest trouble: what ends in one moment is one trouble */
    bool probation;                     /* off the bench, and one job will tell */
    uint32_t benches;                   /* in a row: each is twice as long */
    uint64_t benched_until_ms;          /* 0: not benched */
    char *bench_reason;                 /* owned; NULL unless benched or on probation */
    char *said;                         /* owned: what it last said of a failure; NULL: nothing since its last success */
    uint64_t jobs_done, jobs_failed, device_ms;
    struct lease *leases;               /* lease.h: in order of granting */
    uint32_t lease_count, leased;       /* leases, and jobs in them */
    double leased_cost;                 /* units in them */
    /* The scheduler's: it found nothing for this worker when it was at this version, and need not look before. */
    uint64_t looked_version, look_again_ms;
    uint64_t held_ms;                   /* since when it is held back; 0: it is not */
    double pace;                        /* of it in scheduler->pace */
    bool counted;                       /* in scheduler->present */
};

/* steps x pixels x (2 with guidance): what a job is expected to cost, in units. At least 1. */
double spec_cost(const struct spec *spec);

struct worker *worker_create(uint64_t number, const char *name);
void worker_destroy(struct worker *worker);
void worker_set_facts(struct worker *worker, const struct worker_facts *facts);
void worker_set_report(struct worker *worker, const struct worker_report *report);

bool worker_has_model(const struct worker *worker, const struct digest *model);
void worker_loads(struct worker *worker, const struct spec *spec); /* its models are at hand from now on */
/* What it costs to begin with this job's models, `prepared` being its spec_model_key: 2 nothing, 1 loading, 0 fetching. */
int worker_affinity(const struct worker *worker, const struct spec *spec, const struct digest *prepared);
bool worker_can_numerics(const struct worker *worker, enum numerics numerics);

/* A picture of `cost` units took `render_ms` of its own. */
void worker_learn(struct worker *worker, const struct digest *model, double cost, uint32_t render_ms);
double worker_unit_ms(const struct worker *worker, const struct digest *model); /* 0: not measured */

/* How many jobs of this kind of memory it may be given at once: its batch, less of larger pictures than those that it was
 * reported of, and no more than memory had room for. 0: none. */
uint32_t worker_batch(const struct worker *worker, const struct spec *spec);
void worker_limit(struct worker *worker, const struct spec *spec, uint32_t jobs);

bool worker_row_has(const struct worker *worker, const struct digest *key);
/* Add to its row of failures; the same job or lease twice counts once. True: the row is full. */
bool worker_row_add(struct worker *worker, const struct digest *key, uint64_t lease);
void worker_row_drop(struct worker *worker, const struct digest *key); /* the job failed elsewhere too: its own fault */
/* To the bench: 10 s, then twice as long each time, 10 minutes at most; 10 s again where the failure says little of the worker
 * (`weak`: the job has failed before, and may be to blame). The row is emptied. */
void worker_bench(struct worker *worker, const char *reason, bool weak, uint64_t now_ms);
bool worker_is_benched(const struct worker *worker, uint64_t now_ms);
/* It delivered: its row, its bench and its probation end. */
void worker_success(struct worker *worker);

#endif
