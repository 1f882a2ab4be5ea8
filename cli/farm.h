/*
 * farm.h - the farm a command talks to: a running one by address, or one opened just for this command on a store.
 */
#ifndef CLI_FARM_H
#define CLI_FARM_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "cli/arguments.h"
#include "proto/link.h"

/* How long an answer may take: a question's comes from memory, an upload's or a sweep's after the disk has synced, a preview's after
 * a worker's next step. */
enum { FARM_ANSWER_MS = 10000, FARM_SYNC_MS = 600000, FARM_PREVIEW_MS = 310000 };

struct local_farm;

struct farm {
    struct link *link;
    struct local_farm *local; /* owned; NULL when the farm was running already */
};

/* From --coordinator, --store or SEEDFARM_COORDINATOR. ERR_INVALID when none of them names a farm. */
MUST_USE enum err farm_open(struct farm *farm, const struct farm_flags *flags, struct error *error);
void farm_close(struct farm *farm);

/* Ask and get the answer of the type that is wanted (anything else is an error). Release the answer. */
MUST_USE enum err farm_ask(struct message *answer, struct farm *farm, struct message *question, enum message_type want,
                           struct error *error);

/* What stands for SWEEP on a command line: the id (hex) of a sweep file where there is one (its name, where it has numerics auto),
 * else the word itself.
 * Owned by the caller. */
MUST_USE enum err farm_sweep_word(char **word, const char *text, struct error *error);

/* One sweep's status; the report must hold exactly one. Release with message_release(answer). */
MUST_USE enum err farm_status(struct message *answer, struct farm *farm, const char *sweep, struct error *error);

/* A whole object, piece by piece, its hash verified; at most `limit` bytes. */
MUST_USE enum err farm_fetch(struct bytes *out, struct farm *farm, const struct digest *digest, size_t limit,
                             struct error *error);

#endif
