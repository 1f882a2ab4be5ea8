/*
 * cpu_pool.h - threads that wait for tasks of one op after another.
 *
 * Tasks are claimed one at a time, whoever is free. The caller works too, as thread 0. Threads spin for some
 * microseconds between ops, then sleep. One caller at a time.
 */
#ifndef PIPELINE_BACKEND_CPU_POOL_H
#define PIPELINE_BACKEND_CPU_POOL_H

#include "base/error.h"

#include <stdint.h>

struct pool;
typedef void pool_task(void *context, uint32_t task, uint32_t thread);

MUST_USE enum err pool_create(struct pool **pool, uint32_t threads, struct error *error);
void pool_destroy(struct pool *pool);

/* Call task(context, i, thread) for every i below count, and return when all are done. */
void pool_run(struct pool *pool, pool_task *task, void *context, uint32_t count);

#endif
