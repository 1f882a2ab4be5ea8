/* clock.c - the system's clocks. */
#include "base/clock.h"

#include <errno.h>
#include <time.h>

static uint64_t read_ns(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_monotonic_ns(void) {
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_monotonic_ms(void) {
    return read_ns(CLOCK_MONOTONIC) / 1000000u;
}

uint64_t clock_unix_ms(void) {
    return read_ns(CLOCK_REALTIME) / 1000000u;
}

void clock_sleep_ms(uint64_t ms) {
    struct timespec left = { .tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000 };
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}
