/*
 * peak.h - the most multiply-adds this machine does: what the kernels' figures are a share of.
 */
#ifndef TESTS_BENCH_PEAK_H
#define TESTS_BENCH_PEAK_H

#include <stdint.h>

double seconds_now(void);
/* GFLOP/s of `threads` threads together, f32, operands in registers. */
double peak_measure(uint32_t threads);

#endif
