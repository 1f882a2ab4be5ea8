/* clock.c - base/clock.h over the world's time. */
#include "base/clock.h"

#include "tests/sim/sim.h"

enum { BEGIN_MS = 1000000 };
#define WALL_BEGIN_MS INT64_C(1800000000000)

uint64_t clock_monotonic_ms(void) {
    return BEGIN_MS + world.now_us / 1000;
}

uint64_t clock_monotonic_ns(void) {
    return (BEGIN_MS * UINT64_C(1000) + world.now_us) * 1000;
}

uint64_t clock_unix_ms(void) {
    return (uint64_t)(WALL_BEGIN_MS + world.wall_ms + (int64_t)(world.now_us / 1000));
}

void clock_sleep_ms(uint64_t ms) {
    world.now_us += ms * 1000;
}
