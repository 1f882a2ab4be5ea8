/*
 * cpu_pool.c - a claim is one compare-and-swap on the number of tasks left. What a task reads of the pool it reads
 * after its claim: the claimed run cannot end, and the next cannot begin, before the task is counted as done.
 */
#include "pipeline/backend/cpu_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { SPINS = 4000 }; /* some 50 us: longer than the gap between two ops, shorter than a time slice */

struct pool {
    pool_task *task; /* written between runs only */
    void *context;
    uint32_t count;
    _Alignas(64) atomic_uint unclaimed;
    _Alignas(64) atomic_uint unfinished;
    _Alignas(64) atomic_uint sleepers; /* threads in `work_came`, changed under the lock */
    atomic_bool caller_sleeps;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t work_came, work_done;
    uint32_t threads; /* the caller's included */
    uint32_t started;
    struct pool_thread *helpers;
};

struct pool_thread {
    struct pool *pool;
    pthread_t handle;
    uint32_t number;
};

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool task_claim_and_do(struct pool *pool, uint32_t thread) {
    uint32_t left = atomic_load_explicit(&pool->unclaimed, memory_order_acquire);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&pool->unclaimed, &left, left - 1)) {
            pool->task(pool->context, pool->count - left, thread);
            if (atomic_fetch_sub(&pool->unfinished, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
                pthread_mutex_lock(&pool->lock);
                pthread_cond_signal(&pool->work_done);
                pthread_mutex_unlock(&pool->lock);
            }
            return true;
        }
    }
    return false;
}

static void sleep_until_work(struct pool *pool) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->unclaimed) == 0 && !atomic_load(&pool->stop)) {
        pthread_cond_wait(&pool->work_came, &pool->lock);
    }
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
}

static void *thread_main(void *argument) {
    struct pool_thread *thread = argument;
    struct pool *pool = thread->pool;
    while (!atomic_load(&pool->stop)) {
        int spins = 0;
        while (spins++ < SPINS) {
            if (task_claim_and_do(pool, thread->number)) {
                spins = 0;
            }
            relax();
        }
        sleep_until_work(pool);
    }
    return NULL;
}

void pool_run(struct pool *pool, pool_task *task, void *context, uint32_t count) {
    if (pool->threads == 1 || count <= 1) {
        for (uint32_t i = 0; i < count; i++) {
            task(context, i, 0);
        }
        return;
    }
    pool->task = task;
    pool->context = context;
    pool->count = count;
    atomic_store(&pool->unfinished, count);
    atomic_store(&pool->unclaimed, count);
    if (atomic_load(&pool->sleepers) > 0) {
        pthread_mutex_lock(&pool->lock);
        pthread_cond_broadcast(&pool->work_came);
        pthread_mutex_unlock(&pool->lock);
    }
    while (task_claim_and_do(pool, 0)) {
    }
    for (int spins = 0; spins < SPINS && atomic_load(&pool->unfinished) > 0; spins++) {
        relax();
    }
    if (atomic_load(&pool->unfinished) == 0) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_sleeps, true);
    while (atomic_load(&pool->unfinished) > 0) {
        pthread_cond_wait(&pool->work_done, &pool->lock);
    }
    atomic_store(&pool->caller_sleeps, false);
    pthread_mutex_unlock(&pool->lock);
}

enum err pool_create(struct pool **pool, uint32_t threads, struct error *error) {
    struct pool *made = aligned_alloc(64, (sizeof *made + 63) / 64 * 64);
    if (made == NULL) {
        return error_set(error, ERR_MEMORY, "threads: no memory for %u", threads);
    }
    memset(made, 0, sizeof *made);
    made->threads = threads;
    made->helpers = memory_get_array(threads, sizeof *made->helpers);
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->work_came, NULL);
    pthread_cond_init(&made->work_done, NULL);
    for (uint32_t i = 1; i < threads; i++) {
        struct pool_thread *thread = &made->helpers[i];
        *thread = (struct pool_thread){ .pool = made, .number = i };
        int failed = pthread_create(&thread->handle, NULL, thread_main, thread);
        if (failed != 0) {
            pool_destroy(made);
            return error_set(error, ERR_MEMORY, "threads: want %u, number %u would not start: %s", threads, i + 1,
                             strerror(failed));
        }
        made->started = i;
    }
    *pool = made;
    return ERR_OK;
}

void pool_destroy(struct pool *pool) {
    if (pool == NULL) {
        return;
    }
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->stop, true);
    pthread_cond_broadcast(&pool->work_came);
    pthread_mutex_unlock(&pool->lock);
    for (uint32_t i = 1; i <= pool->started; i++) {
        pthread_join(pool->helpers[i].handle, NULL);
    }
    pthread_cond_destroy(&pool->work_came);
    pthread_cond_destroy(&pool->work_done);
    pthread_mutex_destroy(&pool->lock);
    free(pool->helpers);
    free(pool);
}
