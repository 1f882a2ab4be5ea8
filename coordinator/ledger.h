/*
 * ledger.h - what must survive: which sweeps there are, which of their places are done or failed, and where results lie.
 *
 * SQLite, one connection, write-ahead log, synchronous=FULL: when a function that writes returns ERR_OK, it is durable. Used
 * from one thread at a time. A row a committed group, a blob a chunk of 65,536 places, a sorted index on the side (keys.h):
 * docs/COORDINATOR.md has the layout. Sweeps' JSON are objects of the store, not here.
 */
#ifndef COORDINATOR_LEDGER_H
#define COORDINATOR_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "proto/message.h"

enum { LEDGER_LAYOUT = 2, /* 2: priorities, device time */ LEDGER_GROUP = 4096 /* results of one commit at most */ };

struct ledger;
/* Creates the file if missing (*fresh). A file of layout 1 is brought up to date, one of any other is refused by both numbers. ":memory:" for tests. Every
 * opening raises the generation. */
MUST_USE enum err ledger_open(struct ledger **ledger, bool *fresh, const char *path, struct error *error);
void ledger_close(struct ledger *ledger);
uint64_t ledger_generation(const struct ledger *ledger);
uint64_t ledger_key_count(const struct ledger *ledger);

/* ---- sweeps --------------------------------------------------------------------------------------------------------- */

struct ledger_sweep {
    uint64_t number; /* 0 in ledger_add_sweep */
    uint64_t touched;
    struct digest id;
    const char *name, *user, *last_error; /* borrowed */
    uint64_t places, jobs, rendered;
    enum sweep_state state;
    uint64_t submitted_unix_ms, finished_unix_ms;
    int32_t priority;
    uint64_t device_ms; /* spent on drawing it */
};
/* One of the same id that was added a moment ago keeps its number, and takes this name and priority. */
MUST_USE enum err ledger_add_sweep(uint64_t *number, struct ledger *ledger, const struct ledger_sweep *sweep,
                                   struct error *error);
/* Submitted once more while it is active: another name and priority. Its state is the commits', one of which may have ended it a
 * moment ago. */
MUST_USE enum err ledger_touch_sweep(struct ledger *ledger, uint64_t number, const char *name, uint64_t touched,
                                     int32_t priority, struct error *error);
/* Submitted once more: active again, under this name, its failures forgotten. */
MUST_USE enum err ledger_reopen_sweep(struct ledger *ledger, uint64_t number, const char *name, uint64_t touched,
                                      enum sweep_state state, int32_t priority, struct error *error);
/* Cancelled (with the time of its end), paused, active again (0). One that a commit has ended meanwhile is not paused any more. */
MUST_USE enum err ledger_set_state(struct ledger *ledger, uint64_t number, enum sweep_state state, uint64_t finished_unix_ms,
                                   struct error *error);
MUST_USE enum err ledger_set_priority(struct ledger *ledger, uint64_t number, int32_t priority, struct error *error);

/* In order of number; a callback's error ends the walk. */
MUST_USE enum err ledger_each_sweep(struct ledger *ledger,
                                    enum err (*each)(void *context, const struct ledger_sweep *sweep, struct error *error),
                                    void *context, struct error *error);
struct ledger_bits {
    uint64_t sweep;
    uint32_t chunk;
    struct bytes done, failed; /* queue.h's order_chunk */
};
MUST_USE enum err ledger_each_chunk(struct ledger *ledger, uint64_t sweep,
                                    enum err (*each)(void *context, const struct ledger_bits *bits, struct error *error),
                                    void *context, struct error *error);
MUST_USE enum err ledger_each_key(struct ledger *ledger, void (*each)(void *context, const struct digest *key),
                                  void *context, struct error *error);

/* ---- results -------------------------------------------------------------------------------------------------------- */

struct ledger_result {
    struct digest key, picture, pixels;
    uint32_t render_ms;
};
struct ledger_failure {
    uint64_t sweep;
    uint32_t index;
    enum err code;
    char *text;
};
/* What changed of a sweep. */
struct ledger_change {
    uint64_t sweep;
    enum sweep_state state;
    uint64_t rendered, device_ms, finished_unix_ms;
    const char *last_error; /* NULL: as it was */
};
struct ledger_commit {
    uint64_t unix_ms;
    const struct ledger_result *results; /* distinct keys, none of them in the ledger */
    size_t result_count;
    const struct ledger_bits *bits;
    size_t bits_count;
    const struct ledger_failure *failures;
    size_t failure_count;
    const struct ledger_change *changes;
    size_t change_count;
};
/* All of it or nothing. */
MUST_USE enum err ledger_commit(struct ledger *ledger, const struct ledger_commit *commit, struct error *error);

struct ledger_found {
    bool found;
    struct ledger_result result; /* key: the one asked about */
};
/* found[count] for keys[count]; a batch row is read once for all of its results. */
MUST_USE enum err ledger_find(struct ledger_found *found, struct ledger *ledger, const struct digest *keys, size_t count,
                              struct error *error);
/* Only whether they are there. */
MUST_USE enum err ledger_has(bool *has, struct ledger *ledger, const struct digest *keys, size_t count, struct error *error);
/* The sentence of a place's failure is appended; nothing if it has none. */
MUST_USE enum err ledger_failure_text(struct bytes *text, struct ledger *ledger, uint64_t sweep, uint32_t index,
                                      struct error *error);

/* One slice of upkeep; *more: call again when there is nothing better to do. */
MUST_USE enum err ledger_tidy(bool *more, struct ledger *ledger, struct error *error);

#endif
