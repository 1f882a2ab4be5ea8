/*
 * local_farm.h - a real coordinator and real workers as children of this process, over ipc.
 *
 * Children are told to die with their parent, whichever way it goes (PR_SET_PDEATHSIG), so that no orphan is left.
 * local_farm_start must be called from the main thread: the death signal follows the thread that forked.
 */
#ifndef CLI_LOCAL_FARM_H
#define CLI_LOCAL_FARM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum { LOCAL_FARM_WORKERS_LIMIT = 64 };

struct local_farm;

struct local_farm_options {
    const char *store;
    char *const *models;       /* folders, borrowed */
    uint32_t model_count;
    uint32_t workers;          /* 0: the coordinator alone */
    uint32_t threads;          /* a worker; 0: the cores divided among them */
    uint32_t batch;            /* largest batch; 0: the worker's own choice */
    const char *device;        /* NULL: cpu */
};

MUST_USE enum err local_farm_start(struct local_farm **farm, const struct local_farm_options *options, struct error *error);
const char *local_farm_address(const struct local_farm *farm);
/* Has a child ended? One that was killed is started again, a few times in a row at most; then, or when it says that its
 * arguments are wrong, this is an error with its last words. */
MUST_USE enum err local_farm_check(struct local_farm *farm, struct error *error);
/* SIGTERM to all, a grace period, then SIGKILL; waits for every child. NULL is fine. */
void local_farm_stop(struct local_farm *farm);

#endif
