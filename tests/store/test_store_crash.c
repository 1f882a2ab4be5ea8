/*
 * test_store_crash.c - kill -9 at random moments: what was acknowledged is there, what is there is whole.
 *
 * A child puts groups and uploads and writes the number of each into a pipe once the store has promised it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/store/sample.h"

enum { KILLS = 60, GROUP = 12, GROUPS_LIMIT = 400, LONGEST_MS = 60 };

static uint64_t first_of(int round, uint32_t group) {
    return ((uint64_t)round * GROUPS_LIMIT + group) * GROUP;
}

static enum err put_group(struct store *store, uint64_t first, struct error *error) {
    struct store_item items[GROUP];
    for (uint64_t i = 0; i < GROUP; i++)
        items[i] = sample_item(first + i);
    enum err err = store_put(store, items, GROUP, error);
    sample_release(items, GROUP);
    return err;
}

static enum err upload_group(struct store *store, uint64_t first, struct error *error) {
    enum err err = ERR_OK;
    for (uint64_t i = 0; i < GROUP && !err; i++) {
        struct store_item item = sample_item(first + i);
        struct store_upload *upload;
        if (!(err = store_upload_begin(&upload, store, &item.digest, item.size, error))) {
            if ((err = store_upload_add(upload, item.data, item.size, error)))
                store_upload_abort(upload);
            else
                err = store_upload_commit(upload, error);
        }
        sample_release(&item, 1);
    }
    return err;
}

static _Noreturn void work(const char *folder, int round, int pipe_end) {
    struct store *store;
    struct error error;
    if (store_open(&store, folder, &error))
        _exit(1);
    for (uint32_t group = 0; group < GROUPS_LIMIT; group++) {
        uint64_t first = first_of(round, group);
        if (group % 5 == 4 ? upload_group(store, first, &error) : put_group(store, first, &error))
            _exit(2);
        if (write(pipe_end, &group, sizeof group) != sizeof group)
            _exit(3);
    }
    for (;;)
        pause();
}

/* Groups that the child was promised before it died. */
static uint32_t crash_once(const char *folder, int round, unsigned *random) {
    int ends[2], status;
    uint32_t group, promised = 0;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        work(folder, round, ends[1]);
    close(ends[1]);
    *random = *random * 1103515245 + 12345;
    usleep((*random >> 8) % (LONGEST_MS * 1000));
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status)); /* it never ended by itself: no put failed */
    while (read(ends[0], &group, sizeof group) == sizeof group)
        promised = group + 1;
    close(ends[0]);
    return promised;
}

static void damaged(void *context, const struct digest *digest, const char *why) {
    (void)digest;
    print_error("%s\n", why);
    ++*(size_t *)context;
}

static void killed_at_any_moment(void **state) {
    char *folder = folder_make();
    unsigned random = (unsigned)clock_monotonic_ns();
    uint32_t promised[KILLS];
    size_t bad = 0;
    uint64_t checked = 0, total = 0;
    (void)state;
    print_message("seed %u\n", random);
    for (int round = 0; round < KILLS; round++) {
        struct store *store;
        struct error error;
        promised[round] = crash_once(folder, round, &random);
        assert_ok(store_open(&store, folder, &error));
        assert_int_equal(folder_count(folder, "tmp"), 0);
        for (uint64_t i = 0; i < (uint64_t)promised[round] * GROUP; i++)
            assert_sample(store, first_of(round, 0) + i);
        total += (uint64_t)promised[round] * GROUP;
        if (round == KILLS - 1) {
            assert_ok(store_verify(&checked, store, damaged, &bad, &error));
            for (int past = 0; past < KILLS; past++)
                for (uint64_t i = 0; i < (uint64_t)promised[past] * GROUP; i += GROUP)
                    assert_sample(store, first_of(past, 0) + i);
        }
        store_close(store);
    }
    print_message("%d kills, %llu objects promised, %llu there\n", KILLS, (unsigned long long)total,
                  (unsigned long long)checked);
    assert_int_equal(bad, 0);
    assert_true(checked >= total);
    assert_true(total > 0);
    folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(killed_at_any_moment) };
    return cmocka_run_group_tests_name("store crash", tests, NULL, NULL);
}
