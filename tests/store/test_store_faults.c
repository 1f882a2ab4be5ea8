/*
 * test_store_faults.c - every call by which a store changes its disk fails once, in every place; and one really full disk.
 *
 * After each failure: the sentence names the store and the cause, nothing half-written is visible, no temp file stays, what
 * was there before still is, and the same put works on the same handle.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/fs.h"
#include "tests/store/sample.h"

enum { OLD = 3, GROUP = 6 };

/* ---- a disk that fails ------------------------------------------------------------------------------------------------ */

enum call { CALL_OPEN, CALL_WRITE, CALL_CLOSE, CALL_SYNC, CALL_RENAME, CALL_MKDIR, CALL_UNLINK, CALL_TOUCH };

static struct {
    unsigned calls;   /* so far */
    unsigned fail_at; /* 0: never */
    bool on_and_on;   /* from there on all but unlink and close, as on a disk that is full */
    bool unlink_too;
    int cause;
    bool failed;
    enum call last;
    char order[4096]; /* a letter a call */
    size_t order_size;
} plan;

static void plan_make(unsigned fail_at, int cause) {
    memset(&plan, 0, sizeof plan);
    plan.fail_at = fail_at;
    plan.cause = cause;
}

static bool fails(enum call call) {
    bool cleaning = call == CALL_UNLINK || call == CALL_CLOSE;
    if (plan.order_size < sizeof plan.order - 1)
        plan.order[plan.order_size++] = "owcsrmut"[call];
    plan.calls++;
    bool now = plan.calls == plan.fail_at || (plan.on_and_on && plan.failed && !cleaning) ||
               (plan.unlink_too && plan.failed && call == CALL_UNLINK);
    if (!now)
        return false;
    plan.failed = true;
    plan.last = call;
    errno = plan.cause;
    return true;
}

static int bad_open(int folder, const char *path, int flags, mode_t mode) {
    return fails(CALL_OPEN) ? -1 : disk_real.open(folder, path, flags, mode);
}

/* Writes come in halves, so that the store must go on. */
static ssize_t bad_write(int fd, const void *data, size_t size) {
    return fails(CALL_WRITE) ? -1 : disk_real.write(fd, data, size > 20000 ? size / 2 : size);
}

static int bad_close(int fd) {
    bool failing = fails(CALL_CLOSE);
    int result = disk_real.close(fd);
    errno = failing ? plan.cause : errno;
    return failing ? -1 : result;
}

static int bad_sync(int fd) {
    (void)fd;
    return fails(CALL_SYNC) ? -1 : 0; /* the real one would only make this slow */
}

static int bad_rename(int from_folder, const char *from, int to_folder, const char *to) {
    return fails(CALL_RENAME) ? -1 : disk_real.rename(from_folder, from, to_folder, to);
}

static int bad_mkdir(int folder, const char *path, mode_t mode) {
    return fails(CALL_MKDIR) ? -1 : disk_real.mkdir(folder, path, mode);
}

static int bad_unlink(int folder, const char *path) {
    return fails(CALL_UNLINK) ? -1 : disk_real.unlink(folder, path);
}

static int bad_touch(int folder, const char *path) {
    return fails(CALL_TOUCH) ? -1 : disk_real.touch(folder, path);
}

static const struct disk disk_bad = { bad_open, bad_write, bad_close, bad_sync, bad_rename, bad_mkdir, bad_unlink, bad_touch };

/* ---- one failure ------------------------------------------------------------------------------------------------------ */

static struct store *open_bad(const char *folder) {
    struct store *store;
    struct store_item old[OLD];
    struct error error;
    plan_make(0, 0);
    assert_ok(fs_open(&store, folder, &disk_bad, &error));
    for (uint64_t i = 0; i < OLD; i++)
        old[i] = sample_item(i);
    assert_ok(store_put(store, old, OLD, &error));
    sample_release(old, OLD);
    return store;
}

/* The group's last item is an old one. */
static enum err put_group(struct store *store, struct error *error) {
    struct store_item items[GROUP + 1];
    for (uint64_t i = 0; i < GROUP; i++)
        items[i] = sample_item(OLD + i);
    items[GROUP] = sample_item(1);
    enum err err = store_put(store, items, GROUP + 1, error);
    sample_release(items, GROUP + 1);
    return err;
}

static enum err upload_one(struct store *store, struct error *error) {
    struct store_item item = sample_item(OLD);
    struct store_upload *upload;
    enum err err = store_upload_begin(&upload, store, &item.digest, item.size, error);
    if (err)
        goto done;
    for (size_t half = 0; half < 2 && !err; half++)
        err = store_upload_add(upload, (const uint8_t *)item.data + half * (item.size / 2),
                               half ? item.size - item.size / 2 : item.size / 2, error);
    if (err)
        store_upload_abort(upload);
    else
        err = store_upload_commit(upload, error);
done:
    sample_release(&item, 1);
    return err;
}

static void count_bad(void *context, const struct digest *digest, const char *why) {
    (void)digest;
    print_error("%s\n", why);
    ++*(size_t *)context;
}

static void assert_only_old(struct store *store, const char *folder) {
    struct error error;
    uint64_t checked;
    size_t bad = 0;
    assert_ok(store_verify(&checked, store, count_bad, &bad, &error));
    assert_int_equal(bad, 0);
    assert_int_equal(checked, OLD);
    for (uint64_t i = 0; i < OLD; i++)
        assert_sample(store, i);
    assert_int_equal(folder_count(folder, "tmp"), 0);
}

/* Fail call 1, call 2, ... until the write succeeds because no call is left to fail. Returns how many there were. */
static unsigned fail_everywhere(enum err (*act)(struct store *store, struct error *error), uint64_t made, int cause,
                                bool on_and_on) {
    enum err want = cause == ENOSPC ? ERR_NO_SPACE : ERR_IO;
    for (unsigned place = 1;; place++) {
        char *folder = folder_make_in_memory();
        struct store *store = open_bad(folder);
        struct error error;
        plan_make(place, cause);
        plan.on_and_on = on_and_on;
        enum err err = act(store, &error);
        bool failed = plan.failed;
        /* the descriptor that is only synced has nothing to lose when it is closed */
        bool harmless = failed && plan.last == CALL_CLOSE && err == ERR_OK;
        plan_make(0, 0);
        if (failed && !harmless) {
            assert_error(err, want, folder, strerror(cause));
            assert_only_old(store, folder);
        } else {
            assert_ok(err);
        }
        assert_ok(act(store, &error));
        for (uint64_t i = 0; i < OLD + made; i++)
            assert_sample(store, i);
        assert_int_equal(folder_count(folder, "tmp"), 0);
        store_close(store);
        folder_remove(folder);
        if (!failed)
            return place - 1;
    }
}

static void any_call_may_fail(void **state) {
    (void)state;
    unsigned group = fail_everywhere(put_group, GROUP, EIO, false);
    unsigned upload = fail_everywhere(upload_one, 1, EIO, false);
    print_message("%u places in a group, %u in an upload\n", group, upload);
    assert_true(group > 5 * GROUP);
    assert_true(upload >= 8);
}

static void the_disk_may_be_full_from_any_call_on(void **state) {
    (void)state;
    assert_true(fail_everywhere(put_group, GROUP, ENOSPC, true) > 5 * GROUP);
    assert_true(fail_everywhere(upload_one, 1, ENOSPC, true) >= 8);
}

static void an_interrupted_write_goes_on(void **state) {
    char *folder = folder_make_in_memory();
    struct store *store = open_bad(folder);
    struct error error;
    (void)state;
    plan_make(3, EINTR); /* open the folder, open the first draft, write */
    assert_ok(put_group(store, &error));
    assert_true(plan.failed && plan.last == CALL_WRITE);
    for (uint64_t i = 0; i < OLD + GROUP; i++)
        assert_sample(store, i);
    store_close(store);
    folder_remove(folder);
}

/* Bytes, syncfs, names, syncfs: in this order and no other. */
static void the_order_makes_it_durable(void **state) {
    char *folder = folder_make_in_memory();
    struct store *store = open_bad(folder);
    struct error error;
    (void)state;
    plan_make(0, 0);
    assert_ok(put_group(store, &error));
    plan.order[plan.order_size] = '\0';
    char *first = strchr(plan.order, 's'), *second = first ? strchr(first + 1, 's') : NULL;
    assert_non_null(second);
    assert_null(strchr(second + 1, 's'));
    assert_true(strspn(plan.order, "owct") == (size_t)(first - plan.order));
    assert_true(strspn(first + 1, "rm") == (size_t)(second - first - 1));
    assert_string_equal(second + 1, "c");
    plan_make(0, 0);
    assert_ok(put_group(store, &error)); /* all there: only touched */
    assert_null(strchr(plan.order, 's'));
    assert_null(strchr(plan.order, 'w'));
    store_close(store);
    folder_remove(folder);
}

/* The second syncfs fails, and what was renamed cannot be taken back: nothing is promised on top of that. */
static void what_cannot_be_taken_back_stops_the_store(void **state) {
    char *folder = folder_make_in_memory();
    struct store *store = open_bad(folder);
    struct error error;
    (void)state;
    plan_make(0, 0);
    assert_ok(put_group(store, &error));
    unsigned second_sync = (unsigned)(strrchr(plan.order, 's') - plan.order) + 1;
    store_close(store);
    folder_remove(folder);

    folder = folder_make_in_memory();
    store = open_bad(folder);
    plan_make(second_sync, EIO);
    plan.unlink_too = true;
    assert_error(put_group(store, &error), ERR_IO, folder, "syncfs", strerror(EIO));
    plan_make(0, 0);
    assert_error(put_group(store, &error), ERR_IO, folder, "could not be taken back");
    assert_error(upload_one(store, &error), ERR_IO, "could not be taken back");
    assert_sample(store, 0);
    store_close(store);
    store = open_bad(folder);
    assert_ok(put_group(store, &error));
    store_close(store);
    folder_remove(folder);
}

/* ---- a disk that is really full --------------------------------------------------------------------------------------- */

enum { CHILD_RIGHT = 0, CHILD_SKIPPED = 77 };

/* In a process and a mount name space of its own. */
static int fill_a_disk(const char *folder) {
    struct store *store;
    struct error error;
    uint64_t n = 0, kept, checked;
    enum err err = ERR_OK;
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", folder, "tmpfs", 0, "size=1m") != 0)
        return CHILD_SKIPPED;
    if (store_open(&store, folder, &error))
        return 1;
    for (; !err; n += 4) {
        struct store_item items[4];
        for (uint64_t i = 0; i < 4; i++)
            items[i] = sample_item(n + i);
        err = store_put(store, items, 4, &error);
        sample_release(items, 4);
    }
    kept = n - 4;
    if (err != ERR_NO_SPACE || !strstr(error.message, strerror(ENOSPC)) || !strstr(error.message, folder))
        return 2;
    if (store_verify(&checked, store, NULL, NULL, &error) || checked != kept || folder_count(folder, "tmp") != 0)
        return 3;
    if (store_free_bytes(store) > 4 * 40000 + 65536)
        return 4;
    for (uint64_t i = 0; i < kept / 2; i++) { /* room again */
        struct store_item item = sample_item(i);
        char *path = store_path(store, &item.digest);
        unlink(path);
        free(path);
        sample_release(&item, 1);
    }
    struct store_item item = sample_item(kept);
    err = store_put(store, &item, 1, &error);
    sample_release(&item, 1);
    store_close(store);
    return err ? 5 : CHILD_RIGHT;
}

static void a_really_full_disk(void **state) {
    char *folder = folder_make_in_memory();
    int status;
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(fill_a_disk(folder));
    assert_int_equal(waitpid(child, &status, 0), child);
    folder_remove(folder);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_SKIPPED) {
        print_message("no right to mount a small disk here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), CHILD_RIGHT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_call_may_fail),
        cmocka_unit_test(the_disk_may_be_full_from_any_call_on),
        cmocka_unit_test(an_interrupted_write_goes_on),
        cmocka_unit_test(the_order_makes_it_durable),
        cmocka_unit_test(what_cannot_be_taken_back_stops_the_store),
        cmocka_unit_test(a_really_full_disk),
    };
    return cmocka_run_group_tests_name("store faults", tests, NULL, NULL);
}
