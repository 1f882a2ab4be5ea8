/* rate.c - sum of events, each forgotten with a time constant of 20 s. */
#include "coordinator/rate.h"

#include <math.h>

#define MEMORY_S 20.0
#define LEAST_S 0.5 /* a rate over less time than this says nothing */

static double decay(const struct rate *rate, uint64_t now_ms) {
    return exp(-(double)(now_ms - rate->last_ms) / 1000.0 / MEMORY_S);
}

void rate_add(struct rate *rate, uint32_t events, uint64_t now_ms) {
    if (!rate->since_ms) {
        /* What the first events took to make is not known: the clock starts with them, they do not count. */
        rate->since_ms = rate->last_ms = now_ms ? now_ms : 1;
        return;
    }
    if (now_ms < rate->last_ms)
        now_ms = rate->last_ms;
    rate->weight = rate->weight * decay(rate, now_ms) + events;
    rate->last_ms = now_ms;
}

double rate_per_second(const struct rate *rate, uint64_t now_ms) {
    if (!rate->since_ms || now_ms <= rate->since_ms || now_ms < rate->last_ms)
        return 0;
    double age_s = (double)(now_ms - rate->since_ms) / 1000.0;
    if (age_s < LEAST_S)
        return 0;
    double window_s = MEMORY_S * (1.0 - exp(-age_s / MEMORY_S)); /* the weight that one event a second would have */
    double rate_s = rate->weight * decay(rate, now_ms) / window_s;
    return rate_s < 1e-6 ? 0 : rate_s;
}
