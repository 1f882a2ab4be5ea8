/* golden.h - recorded cases of one model, and comparing a render with them. */
#ifndef TESTS_GOLDEN_GOLDEN_H
#define TESTS_GOLDEN_GOLDEN_H

#include <jansson.h>

#include "pipeline/pipeline.h"
#include "pipeline/weights/weights.h"

struct golden {
    const char *name; /* of its model; borrowed */
    json_t *cases;
    json_t *numerics; /* by numerics: what it costs torch (record_numerics.py) */
    struct safetensors *tensors;
};
void golden_open(struct golden *golden, const char *name);
void golden_close(struct golden *golden);

/* How far a render in some numerics may be from what is recorded, in fp32. */
struct tolerance {
    double condition, latents /* of the largest value */, image, encode;
    bool pixels; /* within 1 level at 99.99 % of places; else nothing of pixels is asked: the image says it */
};
struct tolerance golden_tolerance(const struct golden *golden, size_t place, const char *numerics);
struct render_job golden_job(const struct golden *golden, size_t place); /* borrows from `golden` */

/* Compare the trace at `path` with case `place`, whose pixels are compared where the tolerance says so; fails the running test with a sentence. Returns the worst share of a
 * tolerance that was used, and says it under `title`. */
double golden_compare(const struct golden *golden, size_t place, const char *path, const struct tolerance *tolerance,
                      const char *title);

#endif
