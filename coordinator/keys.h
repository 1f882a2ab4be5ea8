/*
 * keys.h - the ledger's index: key -> where its result lies. A log-structured merge tree in SQLite.
 *
 * New keys gather in a tail in memory (their batches are in the ledger already). A full tail is written as a sorted run:
 * pages of 256 entries under their first key. Four runs of one level are merged into one of the next, a slice at a time, so
 * that nobody waits for a merge. Random single-row inserts would halve SQLite's rate by 300,000 rows (measured).
 */
#ifndef COORDINATOR_KEYS_H
#define COORDINATOR_KEYS_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

enum { KEYS_TAIL = 16384, KEYS_PAGE = 256, KEYS_FANOUT = 4, KEYS_SLICE_PAGES = 64 };

extern const char keys_schema[]; /* CREATE TABLE IF NOT EXISTS ... */

struct keys;
/* Borrows the connection. Merges that a crash interrupted are undone. `tail` and `slice` are KEYS_TAIL and KEYS_SLICE_PAGES
 * but in tests. */
MUST_USE enum err keys_open(struct keys **keys, sqlite3 *db, uint32_t tail, uint32_t slice, struct error *error);
void keys_close(struct keys *keys);

/* Every batch up to this one is in a run; the caller adds those behind it again after opening. */
uint64_t keys_covered(const struct keys *keys);
uint64_t keys_count(const struct keys *keys); /* in runs and tail */

/* Inside the caller's transaction, and once per key. keys_settle, at the end of it, may write a run; `batch`: all up to it
 * are added. After the transaction: keys_keep, or keys_undo, which forgets what was added since the last keep. */
void keys_add(struct keys *keys, const struct digest *key, uint64_t place);
MUST_USE enum err keys_settle(struct keys *keys, uint64_t batch, struct error *error);
void keys_keep(struct keys *keys);
void keys_undo(struct keys *keys);

MUST_USE enum err keys_find(bool *found, uint64_t *place, struct keys *keys, const struct digest *key, struct error *error);
/* One slice of merging, in a transaction of its own. *more: there is more to do. */
MUST_USE enum err keys_tidy(bool *more, struct keys *keys, struct error *error);
/* Every key of the runs, in no order. */
MUST_USE enum err keys_each(struct keys *keys, void (*each)(void *context, const struct digest *key), void *context,
                            struct error *error);

#endif
