/* test_store_layout.c - the folder of a store: whose it is, who holds it, what is damaged in it. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/store/sample.h"

static char *below(const char *folder, const char *name) {
    return path_join(folder, name);
}

static void write_below(const char *folder, const char *name, const char *text) {
    struct error error;
    char *path = below(folder, name);
    assert_ok(file_write(path, text, strlen(text), &error));
    free(path);
}

static struct store *open_with(const char *folder, uint64_t samples) {
    struct store *store;
    struct error error;
    assert_ok(store_open(&store, folder, &error));
    for (uint64_t i = 0; i < samples; i++) {
        struct store_item item = sample_item(i);
        assert_ok(store_put(store, &item, 1, &error));
        sample_release(&item, 1);
    }
    return store;
}

/* Change one byte of object `n`, or cut it. */
static void spoil(struct store *store, uint64_t n, bool cut) {
    struct store_item item = sample_item(n);
    char *path = store_path(store, &item.digest);
    assert_int_equal(chmod(path, 0644), 0);
    if (cut) {
        assert_int_equal(truncate(path, (off_t)item.size / 2), 0);
    } else {
        int fd = open(path, O_WRONLY);
        uint8_t byte = (uint8_t)~((const uint8_t *)item.data)[3];
        assert_int_equal(pwrite(fd, &byte, 1, 3), 1);
        close(fd);
    }
    free(path);
    sample_release(&item, 1);
}

static void objects_are_plain_files(void **state) {
    char *folder = folder_make();
    struct store *store = open_with(folder, 1);
    struct store_item item = sample_item(0);
    char hex[DIGEST_HEX_SIZE];
    struct digest digest;
    struct stat info;
    struct error error;
    (void)state;
    digest_hex(&item.digest, hex);
    char *want = text_format("%s/objects/sha256/%.2s/%s", folder, hex, hex);
    char *path = store_path(store, &item.digest);
    assert_string_equal(path, want);
    assert_ok(digest_of_file(&digest, NULL, path, &error));
    assert_true(digest_equal(&digest, &item.digest));
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0222, 0);
    assert_int_equal(folder_count(folder, "tmp"), 0);
    free(want);
    free(path);
    sample_release(&item, 1);
    store_close(store);
    folder_remove(folder);
}

static void a_store_opens_again(void **state) {
    char *folder = folder_make();
    (void)state;
    store_close(open_with(folder, 20));
    struct store *store = open_with(folder, 0);
    for (uint64_t i = 0; i < 20; i++)
        assert_sample(store, i);
    store_close(store);
    folder_remove(folder);
}

static void what_is_there_is_touched(void **state) {
    char *folder = folder_make();
    struct store *store = open_with(folder, 1);
    struct store_item item = sample_item(0);
    char *path = store_path(store, &item.digest);
    struct timespec old[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    struct stat info;
    struct error error;
    (void)state;
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    assert_ok(store_put(store, &item, 1, &error));
    assert_int_equal(stat(path, &info), 0);
    assert_true(info.st_mtime > 1000000);
    free(path);
    sample_release(&item, 1);
    store_close(store);
    folder_remove(folder);
}

static void a_second_writer_is_refused_by_name(void **state) {
    char *folder = folder_make(), host[256] = "";
    struct store *store = open_with(folder, 1), *second;
    char *holder;
    struct error error;
    int status;
    (void)state;
    gethostname(host, sizeof host - 1);
    holder = text_format("process %ld on host %s", (long)getpid(), host);
    assert_error(store_open(&second, folder, &error), ERR_INVALID, folder, holder);
    pid_t child = fork();
    if (child == 0) {
        enum err err = store_open(&second, folder, &error);
        _exit(err == ERR_INVALID && strstr(error.message, holder) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    store_close(store);
    store = open_with(folder, 0);
    assert_sample(store, 0);
    store_close(store);
    free(holder);
    folder_remove(folder);
}

static void a_reader_looks_on(void **state) {
    char *folder = folder_make();
    struct store *store = open_with(folder, 3), *reader;
    struct store_item item = sample_item(9);
    struct store_upload *upload;
    struct bytes out = BYTES_INIT;
    struct error error;
    uint64_t checked;
    (void)state;
    assert_ok(store_open_reader(&reader, folder, &error));
    assert_sample(reader, 2);
    assert_error(store_put(reader, &item, 1, &error), ERR_INVALID, folder, "reading only");
    assert_error(store_upload_begin(&upload, reader, &item.digest, item.size, &error), ERR_INVALID, "reading only");
    assert_ok(store_put(store, &item, 1, &error));
    assert_sample(reader, 9);
    spoil(store, 9, false);
    assert_error(store_get(&out, reader, &item.digest, 1 << 20, &error), ERR_CORRUPT, "left in place");
    assert_true(store_has(reader, &item.digest));
    assert_ok(store_verify(&checked, reader, NULL, NULL, &error));
    assert_int_equal(checked, 4);
    assert_int_equal(folder_count(folder, "damaged"), 0);
    sample_release(&item, 1);
    store_close(reader);
    store_close(store);
    folder_remove(folder);
}

static void a_reader_wants_a_store(void **state) {
    char *folder = folder_make(), *missing = path_join(folder, "missing");
    struct store *reader;
    struct error error;
    (void)state;
    assert_error(store_open_reader(&reader, missing, &error), ERR_NOT_FOUND, missing);
    assert_error(store_open_reader(&reader, folder, &error), ERR_NOT_FOUND, folder, "there is no seedfarm store");
    assert_error(store_open_reader(&reader, "mem:", &error), ERR_INVALID, "mem:");
    assert_int_equal(folder_count(folder, "."), 0);
    free(missing);
    folder_remove(folder);
}

static void other_folders_are_left_alone(void **state) {
    char *folder = folder_make(), *file = path_join(folder, "holiday.jpg");
    struct store *store;
    struct error error;
    (void)state;
    write_below(folder, "holiday.jpg", "sea");
    assert_error(store_open(&store, folder, &error), ERR_INVALID, folder, "holiday.jpg");
    assert_error(store_open_reader(&store, folder, &error), ERR_INVALID, "holiday.jpg");
    assert_error(store_open(&store, file, &error), ERR_IO, file);
    assert_int_equal(folder_count(folder, "."), 1);
    free(file);
    folder_remove(folder);
}

static void other_layouts_are_refused(void **state) {
    char *folder = folder_make();
    struct store *store;
    struct error error;
    (void)state;
    write_below(folder, "seedfarm-store", "seedfarm store 3\n");
    assert_error(store_open(&store, folder, &error), ERR_UNSUPPORTED, folder, "\"seedfarm store 2\"", "\"seedfarm store 3\"");
    assert_error(store_open_reader(&store, folder, &error), ERR_UNSUPPORTED, "\"seedfarm store 3\"");
    assert_int_equal(folder_count(folder, "."), 1);
    folder_remove(folder);
}

static bool count_object(void *context, const struct digest *digest, uint64_t size) {
    (void)digest, (void)size;
    ++*(size_t *)context;
    return true;
}

/* Two levels of folders, as layout 1 had them: read, written and listed where they lie. */
static void layout_1_is_served(void **state) {
    char *folder = folder_make();
    struct store_item item = sample_item(0);
    struct bytes content = BYTES_INIT;
    struct error error;
    char hex[DIGEST_HEX_SIZE];
    size_t listed = 0;
    (void)state;
    write_below(folder, "seedfarm-store", "seedfarm store 1\n");
    struct store *store = open_with(folder, 1);
    digest_hex(&item.digest, hex);
    char *want = text_format("%s/objects/sha256/%.2s/%.2s/%s", folder, hex, hex + 2, hex);
    char *path = store_path(store, &item.digest);
    assert_string_equal(path, want);
    assert_true(file_exists(path));
    store_close(store);
    assert_ok(store_open_reader(&store, folder, &error));
    assert_ok(store_get(&content, store, &item.digest, item.size, &error));
    assert_int_equal(content.size, item.size);
    assert_ok(store_list(store, count_object, &listed, &error));
    assert_int_equal(listed, 1);
    store_close(store);
    free(want);
    free(path);
    bytes_release(&content);
    sample_release(&item, 1);
    folder_remove(folder);
}

static void a_farm_may_be_there_first(void **state) {
    char *folder = folder_make();
    (void)state;
    write_below(folder, "coordinator.log", "");
    write_below(folder, "lock", ""); /* a store that was killed before it marked its folder */
    write_below(folder, "seedfarm-store.1.2.new", "");
    struct store *store = open_with(folder, 1);
    assert_sample(store, 0);
    store_close(store);
    folder_remove(folder);
}

static void stray_drafts_are_removed(void **state) {
    char *folder = folder_make();
    (void)state;
    store_close(open_with(folder, 2));
    write_below(folder, "tmp/17", "half an obj");
    struct store *store = open_with(folder, 0);
    assert_int_equal(folder_count(folder, "tmp"), 0);
    assert_sample(store, 1);
    store_close(store);
    folder_remove(folder);
}

static void damage_is_set_aside(void **state) {
    char *folder = folder_make();
    struct store *store = open_with(folder, 3);
    struct bytes out = BYTES_INIT;
    struct error error;
    (void)state;
    for (int cut = 0; cut < 2; cut++) {
        struct store_item item = sample_item(1);
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&item.digest, hex);
        char *aside = text_format("%s/damaged/%s", folder, hex);
        spoil(store, 1, cut);
        assert_error(store_get(&out, store, &item.digest, 1 << 20, &error), ERR_CORRUPT, hex, "set aside");
        assert_int_equal(out.size, 0);
        assert_false(store_has(store, &item.digest));
        assert_true(file_exists(aside));
        assert_error(store_get(&out, store, &item.digest, 1 << 20, &error), ERR_NOT_FOUND, hex);
        assert_ok(store_put(store, &item, 1, &error));
        assert_sample(store, 1);
        free(aside);
        sample_release(&item, 1);
    }
    store_close(store);
    folder_remove(folder);
}

static void a_put_mends_what_was_cut(void **state) {
    char *folder = folder_make();
    struct store *store = open_with(folder, 2);
    struct store_item item = sample_item(1);
    struct error error;
    (void)state;
    spoil(store, 1, true);
    assert_ok(store_put(store, &item, 1, &error));
    assert_sample(store, 1);
    sample_release(&item, 1);
    store_close(store);
    folder_remove(folder);
}

struct told {
    size_t count;
    struct digest digest;
};

static void tell(void *context, const struct digest *digest, const char *why) {
    struct told *told = context;
    told->count++;
    told->digest = *digest;
    assert_non_null(strstr(why, "damaged"));
}

static void verify_finds_the_damaged(void **state) {
    char *folder = folder_make();
    struct store *store = open_with(folder, 12);
    struct store_item item = sample_item(4);
    struct told told = { 0 };
    struct error error;
    uint64_t checked;
    (void)state;
    spoil(store, 4, false);
    assert_ok(store_verify(&checked, store, tell, &told, &error));
    assert_int_equal(checked, 12);
    assert_int_equal(told.count, 1);
    assert_true(digest_equal(&told.digest, &item.digest));
    assert_false(store_has(store, &item.digest));
    assert_ok(store_verify(&checked, store, tell, &told, &error));
    assert_int_equal(checked, 11);
    assert_int_equal(told.count, 1);
    sample_release(&item, 1);
    store_close(store);
    folder_remove(folder);
}

static bool count_one(void *context, const struct digest *digest, uint64_t size) {
    (void)digest, (void)size;
    ++*(size_t *)context;
    return true;
}

static void strange_names_are_passed_over(void **state) {
    char *folder = folder_make();
    struct store *store = open_with(folder, 5);
    struct error error;
    size_t count = 0;
    (void)state;
    write_below(folder, "objects/sha256/README", "hello");
    write_below(folder, "objects/sha256/ff", "a file where a folder should be");
    assert_ok(store_list(store, count_one, &count, &error));
    assert_int_equal(count, 5);
    store_close(store);
    folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_plain_files),
        cmocka_unit_test(a_store_opens_again),
        cmocka_unit_test(what_is_there_is_touched),
        cmocka_unit_test(a_second_writer_is_refused_by_name),
        cmocka_unit_test(a_reader_looks_on),
        cmocka_unit_test(a_reader_wants_a_store),
        cmocka_unit_test(other_folders_are_left_alone),
        cmocka_unit_test(other_layouts_are_refused),
        cmocka_unit_test(layout_1_is_served),
        cmocka_unit_test(a_farm_may_be_there_first),
        cmocka_unit_test(stray_drafts_are_removed),
        cmocka_unit_test(damage_is_set_aside),
        cmocka_unit_test(a_put_mends_what_was_cut),
        cmocka_unit_test(verify_finds_the_damaged),
        cmocka_unit_test(strange_names_are_passed_over),
    };
    return cmocka_run_group_tests_name("store layout", tests, NULL, NULL);
}
