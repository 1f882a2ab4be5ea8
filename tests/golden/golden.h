/* golden.h - recorded cases of one model, and comparing a render with them. */
#ifndef TESTS_GOLDEN_GOLDEN_H
#define TESTS_GOLDEN_GOLDEN_H

#include <jansson.h>

#include "pipeline/pipeline.h"
#include "pipeline/weights/weights.h"

struct golden {
    json_t *cases;
    struct safetensors *tensors;
};
void golden_open(struct golden *golden, const char *name);
void golden_close(struct golden *golden);

/* How far a render may be from what is recorded. */
struct tolerance {
    double condition, latents /* of the largest value */, image;
};
struct tolerance golden_tolerance(const json_t *item);
struct render_job golden_job(const struct golden *golden, size_t place); /* borrows from `golden` */

/* Compare the trace at `path` with case `place`; fails the running test with a sentence. Returns the worst share of a
 * tolerance that was used, and says it under `title`. */
double golden_compare(const struct golden *golden, size_t place, const char *path, const char *title);

#endif
