/* clock.h - time. Scheduling code takes `now_ms` as an argument; only loops ask here. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

uint64_t clock_monotonic_ms(void);
uint64_t clock_monotonic_ns(void);
uint64_t clock_unix_ms(void);
void clock_sleep_ms(uint64_t ms);

#endif
