/*
 * combinations.h - a sweep's jobs as far as a few fields tell them apart.
 */
#ifndef CLI_COMBINATIONS_H
#define CLI_COMBINATIONS_H

#include <stdbool.h>

#include "proto/sweep.h"

/* Calls `each` with one job (borrowed) for every combination of positions of the axes that say one of `fields`, `most` of them at
 * most; *all: were these all? The job is the first with that combination; where that one is excluded it is passed over. Ends with
 * the first error of `each`, or that of a table's bad row. */
MUST_USE enum err combinations_each(bool *all, const struct sweep *sweep, const enum field *fields, size_t field_count, uint32_t most,
                                    enum err (*each)(void *context, const struct spec *spec, struct error *error), void *context,
                                    struct error *error);

#endif
