/*
 * forecast.h - what would this farm do? The real scheduler, and workers that draw like clockwork, in virtual time.
 *
 * Nothing fails, a picture is durable as soon as it is drawn, and the coordinator's own work takes no time: what is left is who
 * gets what, and when. Workers ask, load, draw in batches, report and hear of revoked leases as the real ones do.
 */
#ifndef TESTS_SIM_FORECAST_H
#define TESTS_SIM_FORECAST_H

#include <stdint.h>

enum { FORECAST_LIMIT = 1024, FORECAST_STEPS = 20, FORECAST_MODELS = 64 };

/* Workers that are alike. */
struct forecast_class {
    uint32_t count;
    uint32_t job_ms;      /* of a job of FORECAST_STEPS steps; alone or in a batch */
    uint32_t batch;       /* jobs drawn at once, at most */
};
struct forecast_user {
    char name[32];
    uint32_t weight;
};
struct forecast_sweep {
    char user[32];
    uint64_t jobs, at_ms; /* at_ms: submitted */
    uint32_t steps, model;
    int32_t priority;
};
struct forecast_farm {
    struct forecast_class classes[FORECAST_LIMIT]; /* [class_count] */
    struct forecast_user users[FORECAST_LIMIT];    /* [user_count]; who is not there has weight 1 */
    struct forecast_sweep sweeps[FORECAST_LIMIT];  /* [sweep_count] by at_ms */
    uint32_t class_count, user_count, sweep_count;
    uint32_t latency_ms;  /* from asking for a lease to having it */
    uint32_t load_ms;     /* another model than the last lease's */
};

struct forecast_class_result {
    uint64_t jobs, busy_ms, wasted_ms, load_ms; /* wasted: on copies, and on what a copy was sooner with */
};
struct forecast_sweep_result {
    uint64_t first_ms, last_ms; /* its first and last picture */
    uint64_t device_ms;
    uint64_t contended_ms;      /* of it: while all users had work */
};
struct forecast {
    uint64_t end_ms;      /* the last picture */
    double ideal_ms;      /* the same, if all workers drew all the time there was work, and came to its end together */
    uint64_t worker_count, jobs, copies, wasted_ms; /* copies: leases */
    struct forecast_class_result classes[FORECAST_LIMIT];
    struct forecast_sweep_result sweeps[FORECAST_LIMIT];
};

/* Runs until every sweep is done. */
void forecast_run(struct forecast *out, const struct forecast_farm *farm);
/* Drawing what counts, of all the time of all workers until the end. */
double forecast_busy(const struct forecast *forecast);

#endif
