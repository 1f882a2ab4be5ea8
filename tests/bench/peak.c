#include "tests/bench/peak.h"

#include <pthread.h>
#include <time.h>

enum { ROUNDS = 20000000, CHAINS = 12, THREADS_MAX = 256 };

double seconds_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* CHAINS independent chains hide the latency of one. */
#define SPIN(name, attributes, floats)                                                                                 \
    attributes static float name(void) {                                                                               \
        typedef float vec __attribute__((vector_size(4 * (floats))));                                                  \
        vec sum[CHAINS], a = (vec){ 0 } + 0.999f, b = (vec){ 0 } + 0.001f, total = { 0 };                              \
        _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++) {                                                    \
            sum[i] = (vec){ 0 } + (float)i;                                                                            \
        }                                                                                                              \
        for (int round = 0; round < ROUNDS; round++) {                                                                 \
            _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++) {                                                \
                sum[i] = sum[i] * a + b;                                                                               \
                __asm__ volatile("" : REGISTER(sum[i]));                                                           \
            }                                                                                                          \
        }                                                                                                              \
        _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++) {                                                    \
            total += sum[i];                                                                                           \
        }                                                                                                              \
        return total[0];                                                                                               \
    }

#if defined(__x86_64__)
#define REGISTER(x) "+v"(x)
SPIN(spin_v4, __attribute__((target("arch=x86-64-v4"))), 16)
SPIN(spin_v3, __attribute__((target("arch=x86-64-v3"))), 8)
SPIN(spin_generic, , 4)
#elif defined(__aarch64__)
#define REGISTER(x) "+w"(x)
SPIN(spin_generic, , 4)
#endif

static double spin(void) {
    volatile float sink;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("x86-64-v4")) {
        sink = spin_v4();
        return 16.0;
    }
    if (__builtin_cpu_supports("x86-64-v3")) {
        sink = spin_v3();
        return 8.0;
    }
#endif
    sink = spin_generic();
    (void)sink;
    return 4.0;
}

static void *spin_thread(void *floats) {
    *(double *)floats = spin();
    return NULL;
}

double peak_measure(uint32_t threads) {
    pthread_t handles[THREADS_MAX];
    double floats[THREADS_MAX], best = 0.0;
    threads = threads < THREADS_MAX ? threads : THREADS_MAX;
    for (int attempt = 0; attempt < 3; attempt++) {
        double start = seconds_now(), flops = 0.0;
        for (uint32_t i = 0; i < threads; i++) {
            pthread_create(&handles[i], NULL, spin_thread, &floats[i]);
        }
        for (uint32_t i = 0; i < threads; i++) {
            pthread_join(handles[i], NULL);
            flops += 2.0 * floats[i] * CHAINS * ROUNDS;
        }
        double rate = flops / (seconds_now() - start) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}
