/*
 * keys.c - tail, runs, merges.
 *
 * An entry is 40 bytes: the key, then the place as 8 bytes, big-endian. A run is LIVE, being BUILT by a merge, or DEAD and
 * being removed; only live ones are looked into.
 */
#include "coordinator/keys.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "coordinator/sql.h"

enum { ENTRY_SIZE = DIGEST_SIZE + 8, RUN_LIVE = 1, RUN_BUILT = 2, RUN_DEAD = 3, RUNS_LIMIT = 256 };

const char keys_schema[] =
    "CREATE TABLE IF NOT EXISTS runs (run INTEGER PRIMARY KEY, level INTEGER NOT NULL, state INTEGER NOT NULL,"
    " entries INTEGER NOT NULL, covered INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS pages (run INTEGER NOT NULL, first BLOB NOT NULL, entries BLOB NOT NULL,"
    " PRIMARY KEY (run, first)) WITHOUT ROWID;";

struct entry {
    struct digest key;
    uint64_t place;
};

struct run {
    uint64_t run, level, state, entries;
};

/* One input of a merge: the page at hand. */
struct input {
    uint64_t run;
    struct bytes page;
    size_t at; /* entry within the page */
    bool ended;
};

struct merge {
    bool active;
    uint64_t to, level, written;
    struct input inputs[KEYS_FANOUT];
};

struct keys {
    sqlite3 *db;
    uint32_t tail_limit, slice_pages;
    struct entry *tail; /* [tail_count], in order of adding */
    size_t tail_count, tail_kept, tail_room;
    uint32_t *slots;    /* [slot_count]: tail place + 1 by key, open addressing */
    size_t slot_count;
    bool flushed;       /* this transaction wrote the tail as a run */
    struct run runs[RUNS_LIMIT];
    size_t run_count, run_kept;
    uint64_t next_run, covered, covered_kept;
    struct merge merge;
    sqlite3_stmt *find, *next_page, *add_page, *add_run, *set_run, *drop_pages, *drop_run;
};

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static enum err load_runs(struct keys *keys, struct error *error) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum err err = sql_run(keys->db, "UPDATE runs SET state = 3 WHERE state = 2", error);
    if (!err)
        err = sql_prepare(&statement, keys->db, "SELECT run, level, state, entries, covered FROM runs ORDER BY run", error);
    while (!err && !(err = sql_step(&row, statement, error)) && row) {
        struct run run = { sql_u64(statement, 0), sql_u64(statement, 1), sql_u64(statement, 2), sql_u64(statement, 3) };
        uint64_t covered = sql_u64(statement, 4);
        if (keys->run_count == RUNS_LIMIT) {
            err = error_set(error, ERR_CORRUPT, "ledger: want at most %d runs of keys, there are more", RUNS_LIMIT);
            break;
        }
        keys->runs[keys->run_count++] = run;
        if (covered > keys->covered)
            keys->covered = covered;
        keys->next_run = run.run + 1;
    }
    sqlite3_finalize(statement);
    return err;
}

static enum err prepare(struct keys *keys, struct error *error) {
    const struct {
        sqlite3_stmt **statement;
        const char *sql;
    } list[] = {
        { &keys->find, "SELECT entries FROM pages WHERE run = ? AND first <= ? ORDER BY first DESC LIMIT 1" },
        { &keys->next_page, "SELECT entries FROM pages WHERE run = ? AND first > ? ORDER BY first LIMIT 1" },
        { &keys->add_page, "INSERT INTO pages (run, first, entries) VALUES (?, ?, ?)" },
        { &keys->add_run, "INSERT INTO runs (run, level, state, entries, covered) VALUES (?, ?, ?, ?, ?)" },
        { &keys->set_run, "UPDATE runs SET state = ?, entries = ? WHERE run = ?" },
        { &keys->drop_pages, "DELETE FROM pages WHERE run = ?1 AND first <= (SELECT max(first) FROM "
                             "(SELECT first FROM pages WHERE run = ?1 ORDER BY first LIMIT ?2))" },
        { &keys->drop_run, "DELETE FROM runs WHERE run = ?" },
    };
    enum err err = ERR_OK;
    for (size_t i = 0; i < sizeof list / sizeof *list && !err; i++)
        err = sql_prepare(list[i].statement, keys->db, list[i].sql, error);
    return err;
}

enum err keys_open(struct keys **out, sqlite3 *db, uint32_t tail, uint32_t slice, struct error *error) {
    struct keys *keys = memory_get(sizeof *keys);
    keys->db = db;
    keys->tail_limit = tail;
    keys->slice_pages = slice;
    keys->next_run = 1;
    keys->slot_count = 1024;
    keys->slots = memory_get_array(keys->slot_count, sizeof *keys->slots);
    enum err err = load_runs(keys, error);
    if (!err)
        err = prepare(keys, error);
    keys->run_kept = keys->run_count;
    keys->covered_kept = keys->covered;
    if (err)
        keys_close(keys);
    else
        *out = keys;
    return err;
}

void keys_close(struct keys *keys) {
    if (!keys)
        return;
    sqlite3_finalize(keys->find);
    sqlite3_finalize(keys->next_page);
    sqlite3_finalize(keys->add_page);
    sqlite3_finalize(keys->add_run);
    sqlite3_finalize(keys->set_run);
    sqlite3_finalize(keys->drop_pages);
    sqlite3_finalize(keys->drop_run);
    for (int i = 0; i < KEYS_FANOUT; i++)
        bytes_release(&keys->merge.inputs[i].page);
    free(keys->tail);
    free(keys->slots);
    free(keys);
}

uint64_t keys_covered(const struct keys *keys) {
    return keys->covered;
}

uint64_t keys_count(const struct keys *keys) {
    uint64_t count = keys->tail_count;
    for (size_t i = 0; i < keys->run_count; i++)
        if (keys->runs[i].state == RUN_LIVE)
            count += keys->runs[i].entries;
    return count;
}

/* ---- the tail ------------------------------------------------------------------------------------------------------- */

/* The slot that holds the key, or the free one where it would stand. */
static uint32_t *slot_of(const struct keys *keys, const struct digest *key) {
    uint64_t word;
    memcpy(&word, key->bytes, sizeof word);
    for (size_t i = word & (keys->slot_count - 1);; i = (i + 1) & (keys->slot_count - 1)) {
        uint32_t at = keys->slots[i];
        if (!at || digest_equal(&keys->tail[at - 1].key, key))
            return &keys->slots[i];
    }
}

static void slots_fill(struct keys *keys, size_t slot_count) {
    if (slot_count != keys->slot_count) {
        free(keys->slots);
        keys->slots = memory_get_array(slot_count, sizeof *keys->slots);
        keys->slot_count = slot_count;
    } else {
        memset(keys->slots, 0, slot_count * sizeof *keys->slots);
    }
    for (size_t i = 0; i < keys->tail_count; i++)
        *slot_of(keys, &keys->tail[i].key) = (uint32_t)i + 1;
}

void keys_add(struct keys *keys, const struct digest *key, uint64_t place) {
    if (keys->tail_count == keys->tail_room) {
        keys->tail_room = keys->tail_room ? 2 * keys->tail_room : 1024;
        keys->tail = memory_grow(keys->tail, keys->tail_room, sizeof *keys->tail);
    }
    keys->tail[keys->tail_count++] = (struct entry){ *key, place };
    if (2 * keys->tail_count > keys->slot_count)
        slots_fill(keys, 2 * keys->slot_count);
    else
        *slot_of(keys, key) = (uint32_t)keys->tail_count;
}

void keys_keep(struct keys *keys) {
    if (keys->flushed) {
        keys->tail_count = 0;
        slots_fill(keys, 1024);
    }
    keys->flushed = false;
    keys->tail_kept = keys->tail_count;
    keys->run_kept = keys->run_count;
    keys->covered_kept = keys->covered;
}

void keys_undo(struct keys *keys) {
    keys->flushed = false;
    keys->tail_count = keys->tail_kept;
    keys->run_count = keys->run_kept;
    keys->covered = keys->covered_kept;
    slots_fill(keys, keys->slot_count);
}

/* ---- runs ----------------------------------------------------------------------------------------------------------- */

static void entry_pack(uint8_t *out, const struct entry *entry) {
    memcpy(out, entry->key.bytes, DIGEST_SIZE);
    for (int i = 0; i < 8; i++)
        out[DIGEST_SIZE + i] = (uint8_t)(entry->place >> 8 * (7 - i));
}

static uint64_t entry_place(const uint8_t *entry) {
    uint64_t place = 0;
    for (int i = 0; i < 8; i++)
        place = place << 8 | entry[DIGEST_SIZE + i];
    return place;
}

static enum err write_page(struct keys *keys, uint64_t run, const uint8_t *entries, size_t count, struct error *error) {
    sql_bind_u64(keys->add_page, 1, run);
    sql_bind_blob(keys->add_page, 2, entries, DIGEST_SIZE);
    sql_bind_blob(keys->add_page, 3, entries, count * ENTRY_SIZE);
    return sql_step_done(keys->add_page, error);
}

static int entry_order(const void *a, const void *b) {
    return memcmp(((const struct entry *)a)->key.bytes, ((const struct entry *)b)->key.bytes, DIGEST_SIZE);
}

static enum err write_run_row(struct keys *keys, const struct run *run, struct error *error) {
    sql_bind_u64(keys->add_run, 1, run->run);
    sql_bind_u64(keys->add_run, 2, run->level);
    sql_bind_u64(keys->add_run, 3, run->state);
    sql_bind_u64(keys->add_run, 4, run->entries);
    sql_bind_u64(keys->add_run, 5, keys->covered);
    return sql_step_done(keys->add_run, error);
}

enum err keys_settle(struct keys *keys, uint64_t batch, struct error *error) {
    uint8_t page[KEYS_PAGE * ENTRY_SIZE];
    if (keys->tail_count < keys->tail_limit || keys->run_count == RUNS_LIMIT)
        return ERR_OK; /* too many runs: merging catches up first */
    struct entry *sorted = memory_get_array(keys->tail_count, sizeof *sorted);
    memcpy(sorted, keys->tail, keys->tail_count * sizeof *sorted);
    qsort(sorted, keys->tail_count, sizeof *sorted, entry_order);
    struct run run = { keys->next_run, 0, RUN_LIVE, keys->tail_count };
    enum err err = ERR_OK;
    for (size_t i = 0; i < keys->tail_count && !err;) {
        size_t count = 0;
        for (; count < KEYS_PAGE && i < keys->tail_count; count++, i++)
            entry_pack(page + count * ENTRY_SIZE, &sorted[i]);
        err = write_page(keys, run.run, page, count, error);
    }
    free(sorted);
    if (err)
        return err;
    keys->covered = batch;
    if ((err = write_run_row(keys, &run, error)))
        return err;
    keys->runs[keys->run_count++] = run;
    keys->next_run++; /* numbers of undone transactions are not used again, which is harmless */
    keys->flushed = true;
    return ERR_OK;
}

static bool search_page(uint64_t *place, const uint8_t *entries, size_t size, const struct digest *key) {
    size_t low = 0, high = size / ENTRY_SIZE;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = memcmp(entries + middle * ENTRY_SIZE, key->bytes, DIGEST_SIZE);
        if (order == 0) {
            *place = entry_place(entries + middle * ENTRY_SIZE);
            return true;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

enum err keys_find(bool *found, uint64_t *place, struct keys *keys, const struct digest *key, struct error *error) {
    uint32_t at = *slot_of(keys, key);
    *found = at != 0;
    if (at) {
        *place = keys->tail[at - 1].place;
        return ERR_OK;
    }
    for (size_t i = keys->run_count; i-- > 0 && !*found;) {
        bool row;
        if (keys->runs[i].state != RUN_LIVE)
            continue;
        sql_bind_u64(keys->find, 1, keys->runs[i].run);
        sql_bind_blob(keys->find, 2, key->bytes, DIGEST_SIZE);
        enum err err = sql_step(&row, keys->find, error);
        if (err)
            return err;
        if (row)
            *found = search_page(place, sqlite3_column_blob(keys->find, 0), (size_t)sqlite3_column_bytes(keys->find, 0), key);
        sqlite3_reset(keys->find);
    }
    return ERR_OK;
}

enum err keys_each(struct keys *keys, void (*each)(void *context, const struct digest *key), void *context,
                   struct error *error) {
    sqlite3_stmt *statement = NULL;
    bool row = false;
    enum err err = sql_prepare(&statement, keys->db,
                               "SELECT p.entries FROM pages p JOIN runs r ON r.run = p.run WHERE r.state = 1", error);
    while (!err && !(err = sql_step(&row, statement, error)) && row) {
        const uint8_t *entries = sqlite3_column_blob(statement, 0);
        size_t count = (size_t)sqlite3_column_bytes(statement, 0) / ENTRY_SIZE;
        for (size_t i = 0; i < count; i++) {
            struct digest key;
            memcpy(key.bytes, entries + i * ENTRY_SIZE, DIGEST_SIZE);
            each(context, &key);
        }
    }
    sqlite3_finalize(statement);
    for (size_t i = 0; i < keys->tail_count && !err; i++)
        each(context, &keys->tail[i].key);
    return err;
}

/* ---- merging -------------------------------------------------------------------------------------------------------- */

static struct run *run_of(struct keys *keys, uint64_t number) {
    for (size_t i = 0; i < keys->run_count; i++)
        if (keys->runs[i].run == number)
            return &keys->runs[i];
    return NULL;
}

/* The lowest level that has enough live runs. */
static bool pick_level(uint64_t *level, const struct keys *keys) {
    bool found = false;
    for (size_t i = 0; i < keys->run_count; i++) {
        size_t same = 0;
        for (size_t j = 0; j < keys->run_count; j++)
            same += keys->runs[j].state == RUN_LIVE && keys->runs[j].level == keys->runs[i].level;
        if (keys->runs[i].state == RUN_LIVE && same >= KEYS_FANOUT && (!found || keys->runs[i].level < *level)) {
            *level = keys->runs[i].level;
            found = true;
        }
    }
    return found;
}

static enum err input_advance(struct input *input, struct keys *keys, struct error *error) {
    uint8_t after[DIGEST_SIZE] = { 0 };
    bool row;
    input->at++;
    if (input->at * ENTRY_SIZE < input->page.size)
        return ERR_OK;
    if (input->page.size)
        memcpy(after, input->page.data + input->page.size - ENTRY_SIZE, DIGEST_SIZE);
    sql_bind_u64(keys->next_page, 1, input->run);
    /* Behind every entry of this page; before the first page: behind the empty key. */
    sql_bind_blob(keys->next_page, 2, after, input->page.size ? DIGEST_SIZE : 0);
    enum err err = sql_step(&row, keys->next_page, error);
    if (err)
        return err;
    bytes_clear(&input->page);
    input->at = 0;
    input->ended = !row;
    if (row)
        bytes_add(&input->page, sqlite3_column_blob(keys->next_page, 0), (size_t)sqlite3_column_bytes(keys->next_page, 0));
    sqlite3_reset(keys->next_page);
    return ERR_OK;
}

static enum err merge_begin(struct keys *keys, uint64_t level, struct error *error) {
    struct merge *merge = &keys->merge;
    size_t count = 0;
    enum err err = ERR_OK;
    struct run built = { keys->next_run, level + 1, RUN_BUILT, 0 };
    for (size_t i = 0; i < keys->run_count && count < KEYS_FANOUT && !err; i++) {
        if (keys->runs[i].state != RUN_LIVE || keys->runs[i].level != level)
            continue;
        struct input *input = &merge->inputs[count++];
        input->run = keys->runs[i].run;
        bytes_clear(&input->page);
        err = input_advance(input, keys, error);
    }
    if (!err)
        err = write_run_row(keys, &built, error);
    if (err)
        return err;
    merge->active = true;
    merge->to = built.run;
    merge->level = built.level;
    merge->written = 0;
    keys->next_run++;
    keys->runs[keys->run_count++] = built;
    return ERR_OK;
}

static struct input *smallest_input(struct merge *merge) {
    struct input *smallest = NULL;
    for (int i = 0; i < KEYS_FANOUT; i++) {
        struct input *input = &merge->inputs[i];
        if (!input->ended && (!smallest || memcmp(input->page.data + input->at * ENTRY_SIZE,
                                                  smallest->page.data + smallest->at * ENTRY_SIZE, DIGEST_SIZE) < 0))
            smallest = input;
    }
    return smallest;
}

static enum err set_run(struct keys *keys, uint64_t number, uint64_t state, uint64_t entries, struct error *error) {
    sql_bind_u64(keys->set_run, 1, state);
    sql_bind_u64(keys->set_run, 2, entries);
    sql_bind_u64(keys->set_run, 3, number);
    enum err err = sql_step_done(keys->set_run, error);
    struct run *run = run_of(keys, number);
    if (!err) {
        run->state = state;
        run->entries = entries;
    }
    return err;
}

static enum err merge_end(struct keys *keys, struct error *error) {
    enum err err = set_run(keys, keys->merge.to, RUN_LIVE, keys->merge.written, error);
    for (int i = 0; i < KEYS_FANOUT && !err; i++)
        err = set_run(keys, keys->merge.inputs[i].run, RUN_DEAD, 0, error);
    if (!err)
        keys->merge.active = false;
    return err;
}

static enum err merge_slice(struct keys *keys, struct error *error) {
    uint8_t page[KEYS_PAGE * ENTRY_SIZE];
    struct merge *merge = &keys->merge;
    enum err err = ERR_OK;
    for (uint32_t pages = 0; pages < keys->slice_pages && !err; pages++) {
        size_t count = 0;
        struct input *input;
        while (count < KEYS_PAGE && !err && (input = smallest_input(merge))) {
            memcpy(page + count++ * ENTRY_SIZE, input->page.data + input->at * ENTRY_SIZE, ENTRY_SIZE);
            err = input_advance(input, keys, error);
        }
        if (!err && !count)
            return merge_end(keys, error);
        if (!err)
            err = write_page(keys, merge->to, page, count, error);
        merge->written += count;
    }
    return err;
}

static enum err drop_slice(struct keys *keys, struct run *dead, struct error *error) {
    sql_bind_u64(keys->drop_pages, 1, dead->run);
    sql_bind_u64(keys->drop_pages, 2, keys->slice_pages);
    enum err err = sql_step_done(keys->drop_pages, error);
    if (err || sqlite3_changes(keys->db) > 0)
        return err;
    sql_bind_u64(keys->drop_run, 1, dead->run);
    if ((err = sql_step_done(keys->drop_run, error)))
        return err;
    size_t at = (size_t)(dead - keys->runs);
    memmove(dead, dead + 1, (keys->run_count - at - 1) * sizeof *dead);
    keys->run_count--;
    return ERR_OK;
}

static struct run *dead_run(struct keys *keys) {
    for (size_t i = 0; i < keys->run_count; i++)
        if (keys->runs[i].state == RUN_DEAD)
            return &keys->runs[i];
    return NULL;
}

enum err keys_tidy(bool *more, struct keys *keys, struct error *error) {
    struct run before[RUNS_LIMIT];
    size_t count = keys->run_count;
    uint64_t level = 0;
    struct run *dead = dead_run(keys);
    bool begin = !keys->merge.active && !dead && pick_level(&level, keys) && keys->run_count < RUNS_LIMIT;
    *more = keys->merge.active || dead || begin;
    if (!*more)
        return ERR_OK;
    memcpy(before, keys->runs, sizeof before);
    enum err err = sql_run(keys->db, "BEGIN IMMEDIATE", error);
    if (err)
        return err;
    if (keys->merge.active)
        err = merge_slice(keys, error);
    else if (dead)
        err = drop_slice(keys, dead, error);
    else
        err = merge_begin(keys, level, error);
    if (!err)
        err = sql_run(keys->db, "COMMIT", error);
    if (err) {
        /* A merge that lost a slice cannot go on where it was: its run is removed, another one begins later. */
        sqlite3_exec(keys->db, "ROLLBACK", NULL, NULL, NULL);
        memcpy(keys->runs, before, sizeof before);
        keys->run_count = count;
        struct run *built = keys->merge.active ? run_of(keys, keys->merge.to) : NULL;
        if (built)
            built->state = RUN_DEAD;
        keys->merge.active = false;
    }
    keys_keep(keys);
    return err;
}
