/*
 * tiling.h - vae_tiling chosen by memory, before any work: what a job's pictures look like must not hang on who draws it, so the
 * choice is made here, once, and is part of the job from then on.
 *
 * It hangs on the job's files, its size and the bound alone: predicted for no device in particular, in fp32, so that it is the same
 * wherever it is made. Two-byte numerics need less; a device needs a few megabytes beside.
 */
#ifndef CLI_TILING_H
#define CLI_TILING_H

#include "proto/sweep.h"
#include "worker/places.h"

/* The largest tiling with which one picture of this job, weights and all, is within so many bytes; 0: it is in one piece. ERR_MEMORY:
 * it is not even with the smallest. */
MUST_USE enum err tiling_find(uint32_t *tile, const struct spec *spec, const struct file_places *places, uint64_t bytes,
                              struct error *error);
/* Sets the sweep's vae_tiling to the largest that will do for each of its jobs. ERR_LIMIT: they differ in too many ways. */
MUST_USE enum err tiling_fix(struct sweep *sweep, const struct file_places *places, uint64_t bytes, struct error *error);

#endif
