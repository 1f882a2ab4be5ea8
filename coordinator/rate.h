/* rate.h - how many a second, of late: an exponentially forgetting count. Pure: callers pass `now_ms`. */
#ifndef COORDINATOR_RATE_H
#define COORDINATOR_RATE_H

#include <stdint.h>

struct rate {
    double weight;      /* events, the older the less */
    uint64_t since_ms;  /* of the first event; 0: none yet */
    uint64_t last_ms;
};

void rate_add(struct rate *rate, uint32_t events, uint64_t now_ms);
double rate_per_second(const struct rate *rate, uint64_t now_ms); /* 0: nothing of late */

#endif
