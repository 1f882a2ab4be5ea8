/*
 * submission.h - from a sweep file to an accepted sweep: objects the farm lacks go ahead, then the sweep itself.
 */
#ifndef CLI_SUBMISSION_H
#define CLI_SUBMISSION_H

#include "base/error.h"
#include "base/hash.h"
#include "cli/farm.h"
#include "proto/sweep.h"

struct submission {
    struct digest sweep;
    uint64_t jobs, places;
    bool known; /* the very same sweep was there already */
    enum numerics automatic; /* what numerics auto became; NUMERICS_AUTO: no job left it to the farm */
};

/* A sweep file as the sweep that will be submitted: with the tiling that memory chooses, where it leaves that to memory. */
MUST_USE enum err submission_resolve(struct sweep_file *file, const char *path, struct error *error);

/* The same, and everything that can be wrong with it is said before anything is stored: models found, their files whole and of the
 * right shapes (by the pipeline itself, which is what would refuse them later), sizes that fit, those of starting pictures too, job
 * count within limits. Also warns on stderr of seeds that torch's CPU generator cannot tell apart. */
MUST_USE enum err submission_read(struct sweep_file *file, const char *path, struct error *error);

/* Uploads tables, manifests and model files that are missing, then submits. */
MUST_USE enum err submission_send(struct submission *submission, struct farm *farm, const struct sweep_file *file,
                                  int32_t priority, struct error *error);

/* Uploads a model's files that are missing, and nothing else. */
MUST_USE enum err submission_send_model(struct farm *farm, const char *path, struct error *error);

#endif
