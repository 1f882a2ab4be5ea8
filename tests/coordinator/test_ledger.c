/* test_ledger.c - the ledger with a real SQLite file: round trips, reopening, kill -9 in mid-commit, other layouts. */
#include "tests/coordinator/kit.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "coordinator/ledger.h"
#include "coordinator/sql.h"

enum { GROUP = 40, KILLS = 25 };

static struct ledger *open_ledger(const char *folder) {
    struct ledger *ledger;
    struct error error;
    bool fresh;
    char *path = path_join(folder, "ledger.sqlite");
    assert_ok(ledger_open(&ledger, &fresh, path, &error), error);
    free(path);
    return ledger;
}

static struct ledger_result result_at(uint32_t i) {
    uint32_t seeds[] = { i, 1 }, pictures[] = { i, 2 }, pixels[] = { i, 3 };
    return (struct ledger_result){ digest_of(seeds, sizeof seeds), digest_of(pictures, sizeof pictures),
                                   digest_of(pixels, sizeof pixels), i };
}

static uint64_t add_sweep(struct ledger *ledger, const char *name, uint64_t places) {
    struct error error;
    uint64_t number;
    struct ledger_sweep sweep = { .id = digest_of(name, strlen(name)), .name = name, .user = "tester", .touched = 4,
                                  .places = places, .jobs = places, .state = SWEEP_ACTIVE, .submitted_unix_ms = 77 };
    assert_ok(ledger_add_sweep(&number, ledger, &sweep, &error), error);
    return number;
}

/* Places first..first+GROUP-1 of sweep 1 become done, with their results; `done` counts all so far. */
static enum err commit_group(struct ledger *ledger, uint32_t first, struct error *error) {
    struct ledger_result results[GROUP];
    struct ledger_bits bits = { .sweep = 1, .chunk = 0, .done = BYTES_INIT, .failed = BYTES_INIT };
    struct ledger_change change = { .sweep = 1, .state = SWEEP_ACTIVE, .rendered = first + GROUP };
    for (uint32_t i = 0; i < GROUP; i++)
        results[i] = result_at(first + i);
    bytes_add_format(&bits.done, "%u", first + GROUP); /* the ledger does not look into bitmaps */
    struct ledger_commit commit = { .unix_ms = 5, .results = results, .result_count = GROUP, .bits = &bits, .bits_count = 1,
                                    .changes = &change, .change_count = 1 };
    enum err err = ledger_commit(ledger, &commit, error);
    bytes_release(&bits.done);
    return err;
}

struct seen {
    uint64_t rendered, bits;
};

static enum err see_sweep(void *context, const struct ledger_sweep *sweep, struct error *error) {
    (void)error;
    ((struct seen *)context)->rendered = sweep->rendered;
    return ERR_OK;
}

static enum err see_bits(void *context, const struct ledger_bits *bits, struct error *error) {
    (void)error;
    ((struct seen *)context)->bits = strtoull(bytes_text(&bits->done), NULL, 10);
    return ERR_OK;
}

/* Rows, bits and index say the same: `return` many results, all of them found. */
static uint32_t check_whole(struct ledger *ledger) {
    struct seen seen = { 0, 0 };
    struct error error;
    assert_ok(ledger_each_sweep(ledger, see_sweep, &seen, &error), error);
    assert_ok(ledger_each_chunk(ledger, 1, see_bits, &seen, &error), error);
    assert_int_equal(seen.rendered, seen.bits);
    assert_int_equal(ledger_key_count(ledger), seen.rendered);
    for (uint32_t i = 0; i < seen.rendered + 3; i++) {
        struct ledger_result want = result_at(i);
        struct ledger_found found;
        assert_ok(ledger_find(&found, ledger, &want.key, 1, &error), error);
        assert_int_equal(found.found, i < seen.rendered);
        if (found.found)
            assert_memory_equal(&found.result, &want, sizeof want);
    }
    return (uint32_t)seen.rendered;
}

static void test_round_trip(void **state) {
    char *folder = kit_folder();
    struct ledger *ledger = open_ledger(folder);
    struct error error;
    struct bytes text = BYTES_INIT;
    (void)state;
    assert_int_equal(ledger_generation(ledger), 1);
    assert_int_equal(add_sweep(ledger, "one", 1000), 1);
    assert_int_equal(add_sweep(ledger, "two", 1000), 2);
    assert_int_equal(add_sweep(ledger, "one", 1000), 1); /* the same id keeps its number */
    assert_ok(commit_group(ledger, 0, &error), error);
    struct ledger_failure failure = { 2, 17, ERR_NUMERIC, "NaN in step 3" };
    struct ledger_commit commit = { .failures = &failure, .failure_count = 1 };
    assert_ok(ledger_commit(ledger, &commit, &error), error);
    ledger_close(ledger);
    ledger = open_ledger(folder);
    assert_int_equal(ledger_generation(ledger), 2);
    assert_ok(ledger_failure_text(&text, ledger, 2, 17, &error), error);
    assert_string_equal(bytes_text(&text), "NaN in step 3");
    bytes_clear(&text);
    assert_ok(ledger_reopen_sweep(ledger, 2, "deux", 9, SWEEP_ACTIVE, 5, &error), error);
    assert_ok(ledger_failure_text(&text, ledger, 2, 17, &error), error);
    assert_int_equal(text.size, 0);
    bytes_release(&text);
    ledger_close(ledger);
    kit_remove(folder);
}

/* Many results in one question, from several batches, in no order, some unknown. */
static void test_find_many(void **state) {
    char *folder = kit_folder();
    struct ledger *ledger = open_ledger(folder);
    struct error error;
    struct digest keys[300];
    struct ledger_found found[300];
    uint32_t numbers[300];
    uint64_t random = 3;
    (void)state;
    add_sweep(ledger, "one", 1000);
    for (uint32_t first = 0; first < 10 * GROUP; first += GROUP)
        assert_ok(commit_group(ledger, first, &error), error);
    for (int i = 0; i < 300; i++) {
        numbers[i] = (uint32_t)kit_random(&random, 12 * GROUP);
        keys[i] = result_at(numbers[i]).key;
    }
    assert_ok(ledger_find(found, ledger, keys, 300, &error), error);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(found[i].found, numbers[i] < 10 * GROUP);
        if (found[i].found)
            assert_int_equal(found[i].result.render_ms, numbers[i]);
    }
    ledger_close(ledger);
    kit_remove(folder);
}

/* A child commits group after group and says so after each; it is killed at a random moment. What it said is there. */
static void run_child(const char *folder, int out) {
    struct ledger *ledger = open_ledger(folder);
    struct error error;
    bool more;
    for (uint32_t first = (uint32_t)ledger_key_count(ledger);; first += GROUP) {
        uint32_t safe = first + GROUP;
        if (commit_group(ledger, first, &error) != ERR_OK || ledger_tidy(&more, ledger, &error) != ERR_OK ||
            write(out, &safe, sizeof safe) != sizeof safe)
            _exit(1);
    }
}

static void test_kill_in_mid_commit(void **state) {
    char *folder = kit_folder();
    uint64_t random = 11;
    uint32_t before = 0;
    (void)state;
    struct ledger *ledger = open_ledger(folder);
    add_sweep(ledger, "one", 1 << 30);
    ledger_close(ledger);
    for (int kill_number = 0; kill_number < KILLS; kill_number++) {
        int ends[2];
        uint32_t said = 0, safe = 0;
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        if (child == 0)
            run_child(folder, ends[1]);
        close(ends[1]);
        assert_int_equal(read(ends[0], &safe, sizeof safe), sizeof safe); /* it is under way */
        clock_sleep_ms(kit_random(&random, 30));
        kill(child, SIGKILL);
        do
            said = safe;
        while (read(ends[0], &safe, sizeof safe) == sizeof safe);
        close(ends[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        ledger = open_ledger(folder);
        uint32_t whole = check_whole(ledger);
        assert_true(whole >= said && whole <= said + GROUP && said >= before);
        assert_int_equal(whole % GROUP, 0);
        before = whole;
        ledger_close(ledger);
    }
    kit_remove(folder);
}

static enum err see_state(void *context, const struct ledger_sweep *sweep, struct error *error) {
    (void)error;
    *(enum sweep_state *)context = sweep->state;
    return ERR_OK;
}

/* A pause that is written behind the commit which ended the sweep. */
static void test_pause_behind_the_end(void **state) {
    char *folder = kit_folder();
    struct ledger *ledger = open_ledger(folder);
    struct error error;
    (void)state;
    uint64_t number = add_sweep(ledger, "frog", 10);
    for (enum sweep_state end = SWEEP_DONE; end <= SWEEP_CANCELLED; end++) {
        struct ledger_change change = { .sweep = number, .state = SWEEP_DONE, .finished_unix_ms = 77 };
        struct ledger_commit rows = { .unix_ms = 77, .changes = &change, .change_count = 1 };
        assert_ok(ledger_commit(ledger, &rows, &error), error);
        assert_ok(ledger_set_state(ledger, number, end == SWEEP_DONE ? SWEEP_PAUSED : SWEEP_CANCELLED, 0, &error), error);
        enum sweep_state now = SWEEP_ACTIVE;
        assert_ok(ledger_each_sweep(ledger, see_state, &now, &error), error);
        assert_int_equal(now, end);
    }
    ledger_close(ledger);
    kit_remove(folder);
}

static void test_other_layout(void **state) {
    char *folder = kit_folder(), *path = path_join(folder, "ledger.sqlite");
    struct ledger *ledger = open_ledger(folder);
    struct error error;
    sqlite3 *db;
    bool fresh;
    (void)state;
    ledger_close(ledger);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_ok(sql_run(db, "UPDATE meta SET value = 9 WHERE name = 'layout'", &error), error);
    sqlite3_close(db);
    assert_int_equal(ledger_open(&ledger, &fresh, path, &error), ERR_UNSUPPORTED);
    assert_non_null(strstr(error.message, "want layout 2, it has 9"));
    assert_ok(file_write(path, "this is no database, though it is long enough to be looked at as one ............", 81, &error), error);
    assert_int_equal(ledger_open(&ledger, &fresh, path, &error), ERR_CORRUPT);
    free(path);
    kit_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_find_many),
        cmocka_unit_test(test_kill_in_mid_commit),
        cmocka_unit_test(test_pause_behind_the_end),
        cmocka_unit_test(test_other_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
