/* ledger.c - tables, commits, lookups. */
#include "coordinator/ledger.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/file.h"
#include "coordinator/keys.h"
#include "coordinator/sql.h"

enum { RESULT_SIZE = 3 * DIGEST_SIZE + 4, SLOT_BITS = 12, WAIT_MS = 5000 };
_Static_assert(LEDGER_GROUP <= 1 << SLOT_BITS, "a slot's number fits its bits");

static const char schema[] =
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS sweeps (number INTEGER PRIMARY KEY, touched INTEGER NOT NULL, id BLOB NOT NULL UNIQUE,"
    " name TEXT NOT NULL, user TEXT NOT NULL, places INTEGER NOT NULL, jobs INTEGER NOT NULL, rendered INTEGER NOT NULL,"
    " state INTEGER NOT NULL, submitted_ms INTEGER NOT NULL, finished_ms INTEGER NOT NULL, last_error TEXT NOT NULL,"
    " priority INTEGER NOT NULL DEFAULT 0, device_ms INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE IF NOT EXISTS chunks (sweep INTEGER NOT NULL, chunk INTEGER NOT NULL, done BLOB NOT NULL,"
    " failed BLOB NOT NULL, PRIMARY KEY (sweep, chunk)) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS batches (batch INTEGER PRIMARY KEY, committed_ms INTEGER NOT NULL, results BLOB NOT NULL);"
    "CREATE TABLE IF NOT EXISTS failures (sweep INTEGER NOT NULL, job INTEGER NOT NULL, code TEXT NOT NULL,"
    " text TEXT NOT NULL, PRIMARY KEY (sweep, job)) WITHOUT ROWID;";

struct ledger {
    sqlite3 *db;
    struct keys *keys;
    uint64_t generation, last_batch;
    sqlite3_stmt *add_sweep, *reopen_sweep, *touch_sweep, *clear_failures, *clear_failed_bits, *set_state, *set_priority;
    sqlite3_stmt *add_batch, *set_bits, *add_failure, *set_sweep, *get_batch, *get_failure;
};

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static enum err get_meta(uint64_t *value, struct ledger *ledger, const char *name, struct error *error) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum err err = sql_prepare(&statement, ledger->db, "SELECT value FROM meta WHERE name = ?", error);
    if (err)
        return err;
    sql_bind_text(statement, 1, name);
    err = sql_step(&row, statement, error);
    *value = !err && row ? sql_u64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return err;
}

static enum err set_meta(struct ledger *ledger, const char *name, uint64_t value, const char *text, struct error *error) {
    sqlite3_stmt *statement = NULL;
    enum err err = sql_prepare(&statement, ledger->db, "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", error);
    if (err)
        return err;
    sql_bind_text(statement, 1, name);
    if (text)
        sql_bind_text(statement, 2, text);
    else
        sql_bind_u64(statement, 2, value);
    err = sql_step_done(statement, error);
    sqlite3_finalize(statement);
    return err;
}

static enum err settle_meta(bool *fresh, struct ledger *ledger, const char *path, struct error *error) {
    struct utsname system;
    uint64_t layout;
    enum err err = get_meta(&layout, ledger, "layout", error);
    if (!err && layout == 1)
        err = sql_run(ledger->db, "ALTER TABLE sweeps ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;"
                                  "ALTER TABLE sweeps ADD COLUMN device_ms INTEGER NOT NULL DEFAULT 0", error);
    else if (!err && layout && layout != LEDGER_LAYOUT)
        err = error_set(error, ERR_UNSUPPORTED, "ledger %s: want layout %d, it has %" PRIu64, path, LEDGER_LAYOUT, layout);
    if (!err)
        err = get_meta(&ledger->generation, ledger, "generation", error);
    ledger->generation++;
    if (!err)
        err = set_meta(ledger, "layout", LEDGER_LAYOUT, NULL, error);
    if (!err)
        err = set_meta(ledger, "generation", ledger->generation, NULL, error);
    if (!err && uname(&system) == 0)
        err = set_meta(ledger, "host", 0, system.nodename, error);
    *fresh = layout == 0;
    return err;
}

static enum err prepare(struct ledger *ledger, struct error *error) {
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } list[] = {
        { &ledger->add_sweep, "INSERT INTO sweeps (touched, id, name, user, places, jobs, rendered, state, submitted_ms,"
                              " finished_ms, last_error, priority) VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, 0, '', ?)"
                              " ON CONFLICT (id) DO UPDATE SET touched = excluded.touched, name = excluded.name,"
                              " priority = excluded.priority RETURNING number" },
        { &ledger->reopen_sweep, "UPDATE sweeps SET name = ?, touched = ?, state = ?, priority = ?, last_error = '' WHERE number = ?" },
        { &ledger->touch_sweep, "UPDATE sweeps SET name = ?, touched = ?, priority = ? WHERE number = ?" },
        { &ledger->clear_failures, "DELETE FROM failures WHERE sweep = ?" },
        { &ledger->clear_failed_bits, "UPDATE chunks SET failed = x'' WHERE sweep = ? AND length(failed) > 0" },
        { &ledger->set_state, "UPDATE sweeps SET state = ?1, finished_ms = ?2 WHERE number = ?3 AND (state != ?4 OR ?1 = ?5)" },
        { &ledger->set_priority, "UPDATE sweeps SET priority = ? WHERE number = ?" },
        { &ledger->add_batch, "INSERT INTO batches (batch, committed_ms, results) VALUES (?, ?, ?)" },
        { &ledger->set_bits, "INSERT OR REPLACE INTO chunks (sweep, chunk, done, failed) VALUES (?, ?, ?, ?)" },
        { &ledger->add_failure, "INSERT OR REPLACE INTO failures (sweep, job, code, text) VALUES (?, ?, ?, ?)" },
        { &ledger->set_sweep, "UPDATE sweeps SET state = ?, rendered = ?, device_ms = ?, finished_ms = ?,"
                              " last_error = coalesce(?, last_error) WHERE number = ?" },
        { &ledger->get_batch, "SELECT results FROM batches WHERE batch = ?" },
        { &ledger->get_failure, "SELECT text FROM failures WHERE sweep = ? AND job = ?" },
    };
    enum err err = ERR_OK;
    for (size_t i = 0; i < sizeof list / sizeof *list && !err; i++)
        err = sql_prepare(list[i].statement, ledger->db, list[i].sql, error);
    return err;
}

/* Batches behind the last run: their keys are the index's tail. */
static enum err load_tail(struct ledger *ledger, struct error *error) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum err err = sql_prepare(&statement, ledger->db, "SELECT batch, results FROM batches WHERE batch > ? ORDER BY batch", error);
    if (!err)
        sql_bind_u64(statement, 1, keys_covered(ledger->keys));
    while (!err && !(err = sql_step(&row, statement, error)) && row) {
        uint64_t batch = sql_u64(statement, 0);
        const uint8_t *results = sqlite3_column_blob(statement, 1);
        size_t count = (size_t)sqlite3_column_bytes(statement, 1) / RESULT_SIZE;
        for (size_t i = 0; i < count; i++) {
            struct digest key;
            memcpy(key.bytes, results + i * RESULT_SIZE, DIGEST_SIZE);
            keys_add(ledger->keys, &key, batch << SLOT_BITS | i);
        }
    }
    sqlite3_finalize(statement);
    keys_keep(ledger->keys);
    return err;
}

static enum err load_last_batch(struct ledger *ledger, struct error *error) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum err err = sql_prepare(&statement, ledger->db, "SELECT max(batch) FROM batches", error);
    if (!err && !(err = sql_step(&row, statement, error)) && row)
        ledger->last_batch = sql_u64(statement, 0);
    sqlite3_finalize(statement);
    return err;
}

static enum err setup(bool *fresh, struct ledger *ledger, const char *path, struct error *error) {
    enum err err = sql_run(ledger->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA mmap_size = 0;"
                                       "PRAGMA cache_size = -8192; PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE", error);
    if (err)
        return err;
    err = sql_run(ledger->db, schema, error);
    if (!err)
        err = sql_run(ledger->db, keys_schema, error);
    if (!err)
        err = settle_meta(fresh, ledger, path, error);
    if (!err)
        err = sql_run(ledger->db, "COMMIT", error);
    if (!err)
        err = keys_open(&ledger->keys, ledger->db, KEYS_TAIL, KEYS_SLICE_PAGES, error);
    if (!err)
        err = prepare(ledger, error);
    if (!err)
        err = load_last_batch(ledger, error);
    return err ? err : load_tail(ledger, error);
}

enum err ledger_open(struct ledger **out, bool *fresh, const char *path, struct error *error) {
    struct ledger *ledger = memory_get(sizeof *ledger);
    enum err err;
    if (sqlite3_open_v2(path, &ledger->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        err = sql_error(error, ledger->db, path);
    } else {
        sqlite3_busy_timeout(ledger->db, WAIT_MS); /* somebody reads it with the sqlite3 tool, say */
        err = setup(fresh, ledger, path, error);
    }
    if (err)
        ledger_close(ledger);
    else
        *out = ledger;
    return err;
}

void ledger_close(struct ledger *ledger) {
    if (!ledger)
        return;
    keys_close(ledger->keys);
    sqlite3_stmt *statement;
    while ((statement = sqlite3_next_stmt(ledger->db, NULL)))
        sqlite3_finalize(statement);
    sqlite3_close(ledger->db);
    free(ledger);
}

uint64_t ledger_generation(const struct ledger *ledger) {
    return ledger->generation;
}

uint64_t ledger_key_count(const struct ledger *ledger) {
    return keys_count(ledger->keys);
}

/* ---- sweeps --------------------------------------------------------------------------------------------------------- */

enum err ledger_add_sweep(uint64_t *number, struct ledger *ledger, const struct ledger_sweep *sweep, struct error *error) {
    sqlite3_stmt *s = ledger->add_sweep;
    sql_bind_u64(s, 1, sweep->touched);
    sql_bind_blob(s, 2, sweep->id.bytes, DIGEST_SIZE);
    sql_bind_text(s, 3, sweep->name);
    sql_bind_text(s, 4, sweep->user);
    sql_bind_u64(s, 5, sweep->places);
    sql_bind_u64(s, 6, sweep->jobs);
    sql_bind_u64(s, 7, sweep->state);
    sql_bind_u64(s, 8, sweep->submitted_unix_ms);
    sqlite3_bind_int(s, 9, sweep->priority);
    bool row = false;
    enum err err = sql_step(&row, s, error);
    if (err)
        return err;
    uint64_t given = row ? sql_u64(s, 0) : 0;
    err = sql_step_done(s, error); /* with its last step the row is durable */
    if (!err)
        *number = given;
    return err;
}

/* After a failure in a transaction. A ROLLBACK that fails has been done by SQLite itself. */
static enum err roll_back(struct ledger *ledger, enum err err) {
    sqlite3_exec(ledger->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

enum err ledger_reopen_sweep(struct ledger *ledger, uint64_t number, const char *name, uint64_t touched,
                             enum sweep_state state, int32_t priority, struct error *error) {
    enum err err = sql_run(ledger->db, "BEGIN IMMEDIATE", error);
    if (err)
        return err;
    sql_bind_text(ledger->reopen_sweep, 1, name);
    sql_bind_u64(ledger->reopen_sweep, 2, touched);
    sql_bind_u64(ledger->reopen_sweep, 3, state);
    sqlite3_bind_int(ledger->reopen_sweep, 4, priority);
    sql_bind_u64(ledger->reopen_sweep, 5, number);
    err = sql_step_done(ledger->reopen_sweep, error);
    if (!err) {
        sql_bind_u64(ledger->clear_failures, 1, number);
        err = sql_step_done(ledger->clear_failures, error);
    }
    if (!err) {
        sql_bind_u64(ledger->clear_failed_bits, 1, number);
        err = sql_step_done(ledger->clear_failed_bits, error);
    }
    if (!err)
        err = sql_run(ledger->db, "COMMIT", error);
    return err ? roll_back(ledger, err) : ERR_OK;
}

enum err ledger_touch_sweep(struct ledger *ledger, uint64_t number, const char *name, uint64_t touched, int32_t priority,
                            struct error *error) {
    sql_bind_text(ledger->touch_sweep, 1, name);
    sql_bind_u64(ledger->touch_sweep, 2, touched);
    sqlite3_bind_int(ledger->touch_sweep, 3, priority);
    sql_bind_u64(ledger->touch_sweep, 4, number);
    return sql_step_done(ledger->touch_sweep, error);
}

enum err ledger_set_state(struct ledger *ledger, uint64_t number, enum sweep_state state, uint64_t finished_unix_ms,
                          struct error *error) {
    sql_bind_u64(ledger->set_state, 1, state);
    sql_bind_u64(ledger->set_state, 2, finished_unix_ms);
    sql_bind_u64(ledger->set_state, 3, number);
    sql_bind_u64(ledger->set_state, 4, SWEEP_DONE);
    sql_bind_u64(ledger->set_state, 5, SWEEP_CANCELLED);
    return sql_step_done(ledger->set_state, error);
}

enum err ledger_set_priority(struct ledger *ledger, uint64_t number, int32_t priority, struct error *error) {
    sqlite3_bind_int(ledger->set_priority, 1, priority);
    sql_bind_u64(ledger->set_priority, 2, number);
    return sql_step_done(ledger->set_priority, error);
}

enum err ledger_each_sweep(struct ledger *ledger,
                           enum err (*each)(void *context, const struct ledger_sweep *sweep, struct error *error),
                           void *context, struct error *error) {
    sqlite3_stmt *s = NULL;
    bool row = false;
    enum err err = sql_prepare(&s, ledger->db, "SELECT number, touched, id, name, user, places, jobs, rendered, state,"
                                               " submitted_ms, finished_ms, last_error, priority, device_ms FROM sweeps ORDER BY number", error);
    while (!err && !(err = sql_step(&row, s, error)) && row) {
        struct ledger_sweep sweep = {
            .number = sql_u64(s, 0), .touched = sql_u64(s, 1),
            .name = (const char *)sqlite3_column_text(s, 3), .user = (const char *)sqlite3_column_text(s, 4),
            .places = sql_u64(s, 5), .jobs = sql_u64(s, 6), .rendered = sql_u64(s, 7),
            .state = (enum sweep_state)sql_u64(s, 8), .submitted_unix_ms = sql_u64(s, 9),
            .finished_unix_ms = sql_u64(s, 10), .last_error = (const char *)sqlite3_column_text(s, 11),
            .priority = sqlite3_column_int(s, 12), .device_ms = sql_u64(s, 13),
        };
        if (sqlite3_column_bytes(s, 2) != DIGEST_SIZE) {
            err = error_set(error, ERR_CORRUPT, "ledger: sweep %" PRIu64 ": its id has %d bytes, want %d", sweep.number,
                            sqlite3_column_bytes(s, 2), DIGEST_SIZE);
            break;
        }
        memcpy(sweep.id.bytes, sqlite3_column_blob(s, 2), DIGEST_SIZE);
        err = each(context, &sweep, error);
    }
    sqlite3_finalize(s);
    return err;
}

enum err ledger_each_chunk(struct ledger *ledger, uint64_t sweep,
                           enum err (*each)(void *context, const struct ledger_bits *bits, struct error *error),
                           void *context, struct error *error) {
    sqlite3_stmt *s = NULL;
    bool row = false;
    enum err err = sql_prepare(&s, ledger->db, "SELECT chunk, done, failed FROM chunks WHERE sweep = ? ORDER BY chunk", error);
    if (!err)
        sql_bind_u64(s, 1, sweep);
    while (!err && !(err = sql_step(&row, s, error)) && row) {
        struct ledger_bits bits = { .sweep = sweep, .chunk = (uint32_t)sql_u64(s, 0), .done = BYTES_INIT, .failed = BYTES_INIT };
        bytes_add(&bits.done, sqlite3_column_blob(s, 1), (size_t)sqlite3_column_bytes(s, 1));
        bytes_add(&bits.failed, sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2));
        err = each(context, &bits, error);
        bytes_release(&bits.done);
        bytes_release(&bits.failed);
    }
    sqlite3_finalize(s);
    return err;
}

enum err ledger_each_key(struct ledger *ledger, void (*each)(void *context, const struct digest *key), void *context,
                         struct error *error) {
    return keys_each(ledger->keys, each, context, error);
}

/* ---- commits -------------------------------------------------------------------------------------------------------- */

static enum err commit_results(struct ledger *ledger, const struct ledger_commit *commit, struct error *error) {
    uint64_t batch = ledger->last_batch + 1;
    if (!commit->result_count)
        return ERR_OK;
    assert(commit->result_count <= LEDGER_GROUP);
    uint8_t *packed = memory_get_array(commit->result_count, RESULT_SIZE), *at = packed;
    for (size_t i = 0; i < commit->result_count; i++, at += RESULT_SIZE) {
        const struct ledger_result *result = &commit->results[i];
        memcpy(at, result->key.bytes, DIGEST_SIZE);
        memcpy(at + DIGEST_SIZE, result->picture.bytes, DIGEST_SIZE);
        memcpy(at + 2 * DIGEST_SIZE, result->pixels.bytes, DIGEST_SIZE);
        for (int b = 0; b < 4; b++)
            at[3 * DIGEST_SIZE + b] = (uint8_t)(result->render_ms >> 8 * (3 - b));
        keys_add(ledger->keys, &result->key, batch << SLOT_BITS | i);
    }
    sql_bind_u64(ledger->add_batch, 1, batch);
    sql_bind_u64(ledger->add_batch, 2, commit->unix_ms);
    sql_bind_blob(ledger->add_batch, 3, packed, commit->result_count * RESULT_SIZE);
    enum err err = sql_step_done(ledger->add_batch, error);
    free(packed);
    return err ? err : keys_settle(ledger->keys, batch, error);
}

static enum err commit_bits(struct ledger *ledger, const struct ledger_commit *commit, struct error *error) {
    enum err err = ERR_OK;
    for (size_t i = 0; i < commit->bits_count && !err; i++) {
        const struct ledger_bits *bits = &commit->bits[i];
        sql_bind_u64(ledger->set_bits, 1, bits->sweep);
        sql_bind_u64(ledger->set_bits, 2, bits->chunk);
        sql_bind_blob(ledger->set_bits, 3, bits->done.data, bits->done.size);
        sql_bind_blob(ledger->set_bits, 4, bits->failed.data, bits->failed.size);
        err = sql_step_done(ledger->set_bits, error);
    }
    return err;
}

static enum err commit_rest(struct ledger *ledger, const struct ledger_commit *commit, struct error *error) {
    enum err err = ERR_OK;
    for (size_t i = 0; i < commit->failure_count && !err; i++) {
        const struct ledger_failure *failure = &commit->failures[i];
        sql_bind_u64(ledger->add_failure, 1, failure->sweep);
        sql_bind_u64(ledger->add_failure, 2, failure->index);
        sql_bind_text(ledger->add_failure, 3, err_name(failure->code));
        sql_bind_text(ledger->add_failure, 4, failure->text);
        err = sql_step_done(ledger->add_failure, error);
    }
    for (size_t i = 0; i < commit->change_count && !err; i++) {
        const struct ledger_change *change = &commit->changes[i];
        sql_bind_u64(ledger->set_sweep, 1, change->state);
        sql_bind_u64(ledger->set_sweep, 2, change->rendered);
        sql_bind_u64(ledger->set_sweep, 3, change->device_ms);
        sql_bind_u64(ledger->set_sweep, 4, change->finished_unix_ms);
        sql_bind_text(ledger->set_sweep, 5, change->last_error);
        sql_bind_u64(ledger->set_sweep, 6, change->sweep);
        err = sql_step_done(ledger->set_sweep, error);
    }
    return err;
}

enum err ledger_commit(struct ledger *ledger, const struct ledger_commit *commit, struct error *error) {
    enum err err = sql_run(ledger->db, "BEGIN IMMEDIATE", error);
    if (err)
        return err;
    err = commit_results(ledger, commit, error);
    if (!err)
        err = commit_bits(ledger, commit, error);
    if (!err)
        err = commit_rest(ledger, commit, error);
    if (!err)
        err = sql_run(ledger->db, "COMMIT", error);
    if (err) {
        keys_undo(ledger->keys);
        return roll_back(ledger, err);
    }
    ledger->last_batch += commit->result_count > 0;
    keys_keep(ledger->keys);
    return ERR_OK;
}

/* ---- lookups -------------------------------------------------------------------------------------------------------- */

struct asked {
    uint64_t place;
    size_t at; /* in keys[] */
};

static int asked_order(const void *a, const void *b) {
    uint64_t left = ((const struct asked *)a)->place, right = ((const struct asked *)b)->place;
    return left < right ? -1 : left > right;
}

static void result_unpack(struct ledger_result *result, const uint8_t *at) {
    memcpy(result->key.bytes, at, DIGEST_SIZE);
    memcpy(result->picture.bytes, at + DIGEST_SIZE, DIGEST_SIZE);
    memcpy(result->pixels.bytes, at + 2 * DIGEST_SIZE, DIGEST_SIZE);
    result->render_ms = 0;
    for (int b = 0; b < 4; b++)
        result->render_ms = result->render_ms << 8 | at[3 * DIGEST_SIZE + b];
}

/* All results of asked[] that lie in the batch of asked[0]; *used: how many. */
static enum err read_batch(size_t *used, struct ledger_found *found, struct ledger *ledger, const struct asked *asked,
                           size_t count, const struct digest *keys, struct error *error) {
    uint64_t batch = asked->place >> SLOT_BITS;
    bool row;
    sql_bind_u64(ledger->get_batch, 1, batch);
    enum err err = sql_step(&row, ledger->get_batch, error);
    if (err)
        return err;
    const uint8_t *results = row ? sqlite3_column_blob(ledger->get_batch, 0) : NULL;
    size_t size = row ? (size_t)sqlite3_column_bytes(ledger->get_batch, 0) / RESULT_SIZE : 0;
    for (*used = 0; *used < count && asked[*used].place >> SLOT_BITS == batch && !err; (*used)++) {
        size_t slot = asked[*used].place & ((1 << SLOT_BITS) - 1);
        struct ledger_found *to = &found[asked[*used].at];
        if (slot < size) {
            result_unpack(&to->result, results + slot * RESULT_SIZE);
            to->found = digest_equal(&to->result.key, &keys[asked[*used].at]);
        }
        if (!to->found)
            err = error_set(error, ERR_CORRUPT, "ledger: batch %" PRIu64 " has %zu results, its slot %zu is not the one indexed",
                            batch, size, slot);
    }
    sqlite3_reset(ledger->get_batch);
    return err;
}

enum err ledger_find(struct ledger_found *found, struct ledger *ledger, const struct digest *keys, size_t count,
                     struct error *error) {
    struct asked *asked = memory_get_array(count ? count : 1, sizeof *asked);
    size_t there = 0, used = 0;
    enum err err = ERR_OK;
    memset(found, 0, count * sizeof *found);
    for (size_t i = 0; i < count && !err; i++) {
        bool has;
        err = keys_find(&has, &asked[there].place, ledger->keys, &keys[i], error);
        if (!err && has)
            asked[there++].at = i;
    }
    qsort(asked, there, sizeof *asked, asked_order);
    for (size_t i = 0; i < there && !err; i += used)
        err = read_batch(&used, found, ledger, asked + i, there - i, keys, error);
    free(asked);
    return err;
}

enum err ledger_has(bool *has, struct ledger *ledger, const struct digest *keys, size_t count, struct error *error) {
    enum err err = ERR_OK;
    uint64_t place;
    for (size_t i = 0; i < count && !err; i++)
        err = keys_find(&has[i], &place, ledger->keys, &keys[i], error);
    return err;
}

enum err ledger_failure_text(struct bytes *text, struct ledger *ledger, uint64_t sweep, uint32_t index,
                             struct error *error) {
    bool row;
    sql_bind_u64(ledger->get_failure, 1, sweep);
    sql_bind_u64(ledger->get_failure, 2, index);
    enum err err = sql_step(&row, ledger->get_failure, error);
    if (err)
        return err;
    if (row)
        bytes_add(text, sqlite3_column_text(ledger->get_failure, 0), (size_t)sqlite3_column_bytes(ledger->get_failure, 0));
    sqlite3_reset(ledger->get_failure);
    return ERR_OK;
}

enum err ledger_tidy(bool *more, struct ledger *ledger, struct error *error) {
    return keys_tidy(more, ledger->keys, error);
}
