/*
 * gallery.h - the pictures of a sweep as the farm lists them, page by page; and a folder of them on disk.
 */
#ifndef CLI_GALLERY_H
#define CLI_GALLERY_H

#include <stdbool.h>

#include "cli/farm.h"
#include "proto/message.h"
#include "proto/sweep.h"

/* Every job of the sweep in order of index, in state `state` (0: any). `each` returns an error to stop. */
typedef enum err gallery_visit(void *context, const struct listed_job *job, struct error *error);
MUST_USE enum err gallery_each(struct farm *farm, const char *sweep, uint64_t from, enum job_state state,
                               gallery_visit *each, void *context, struct error *error);

/* The sweep itself, by its id, without its tables' rows. */
MUST_USE enum err gallery_sweep(struct sweep *sweep, struct farm *farm, const struct digest *id, struct error *error);

struct gallery_result {
    uint64_t pictures, written; /* in the folder; of those new in this run */
};
/* Bring folder `out` up to date: exactly one file a distinct job that is done, and metadata.jsonl. Files that are there with
 * the right bytes are kept. The folder is tried before anything is fetched. */
MUST_USE enum err gallery_fetch(struct gallery_result *result, struct farm *farm, const char *sweep, const char *out,
                                struct error *error);
/* Can pictures be written to `out`? Makes the folder. */
MUST_USE enum err gallery_check_folder(const char *out, struct error *error);

#endif
