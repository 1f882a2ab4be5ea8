/* test_file.c - whole files: old or new, never half; limits; folders. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/base/test.h"

static char *scratch;

static int make_scratch(void **state) {
    (void)state;
    scratch = text_copy("/tmp/seedfarm-file-XXXXXX");
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *where) {
    (void)info, (void)type, (void)where;
    return remove(path);
}

static int remove_scratch(void **state) {
    (void)state;
    int status = nftw(scratch, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(scratch);
    return status;
}

static void written_is_read(void **state) {
    struct bytes out = BYTES_INIT;
    struct error error = { 0 };
    char *path = path_join(scratch, "frog");
    (void)state;
    assert_int_equal(file_write(path, "old", 3, &error), ERR_OK);
    assert_int_equal(file_write_durable(path, "ne\0w", 4, &error), ERR_OK);
    assert_int_equal(file_read(&out, path, 4, &error), ERR_OK);
    assert_int_equal(out.size, 4);
    assert_memory_equal(out.data, "ne\0w", 5);
    assert_int_equal(file_write(path, "", 0, &error), ERR_OK);
    assert_int_equal(file_read(&out, path, 0, &error), ERR_OK);
    assert_int_equal(out.size, 4); /* added nothing to what was there */
    bytes_release(&out);
    free(path);
}

static void limit_is_said(void **state) {
    struct bytes out = BYTES_INIT;
    struct error error = { 0 };
    char *path = path_join(scratch, "large");
    (void)state;
    assert_int_equal(file_write(path, "12345", 5, &error), ERR_OK);
    assert_int_equal(file_read(&out, path, 4, &error), ERR_LIMIT);
    assert_non_null(strstr(error.message, path));
    assert_non_null(strstr(error.message, "at most 4 bytes"));
    assert_null(out.data);
    free(path);
}

static void absent_is_not_found(void **state) {
    struct bytes out = BYTES_INIT;
    struct error error = { 0 };
    char *path = path_join(scratch, "absent");
    (void)state;
    assert_int_equal(file_read(&out, path, 100, &error), ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, path));
    assert_false(file_exists(path));
    free(path);
}

static void a_failed_write_leaves_the_old_file(void **state) {
    struct bytes out = BYTES_INIT;
    struct error error = { 0 };
    char *folder = path_join(scratch, "taken"), *inside = path_join(folder, "inside");
    (void)state;
    assert_int_equal(folder_create(folder, &error), ERR_OK);
    assert_int_equal(file_write(inside, "kept", 4, &error), ERR_OK);
    assert_int_not_equal(file_write(folder, "new", 3, &error), ERR_OK); /* a folder is not written over */
    assert_int_equal(file_read(&out, inside, 100, &error), ERR_OK);
    assert_string_equal(bytes_text(&out), "kept");
    free(inside);
    inside = path_join(scratch, "nowhere/inside");
    assert_int_equal(file_write(inside, "new", 3, &error), ERR_NOT_FOUND);
    bytes_release(&out);
    free(folder);
    free(inside);
}

/* The draft of a process that was killed, whose process id is ours now. */
static void a_dead_draft_is_passed_over(void **state) {
    struct bytes out = BYTES_INIT;
    struct error error = { 0 };
    char *path = path_join(scratch, "haunted");
    (void)state;
    for (int i = 0; i < 100; i++) {
        char *draft = text_format("%s.%ld.%d.new", path, (long)getpid(), i);
        int fd = open(draft, O_WRONLY | O_CREAT, 0666);
        assert_true(fd >= 0);
        close(fd);
        free(draft);
    }
    assert_int_equal(file_write(path, "alive", 5, &error), ERR_OK);
    assert_int_equal(file_read(&out, path, 100, &error), ERR_OK);
    assert_string_equal(bytes_text(&out), "alive");
    bytes_release(&out);
    free(path);
}

static void disk_full_has_its_code(void **state) {
    struct error error = { 0 };
    int fd = open("/dev/full", O_WRONLY);
    (void)state;
    if (fd < 0)
        skip();
    assert_int_equal(write(fd, "x", 1), -1);
    assert_int_equal(error_errno(&error, "frog.png"), ERR_NO_SPACE);
    close(fd);
}

static void folders_come_with_their_parents(void **state) {
    struct error error = { 0 };
    char *deep = path_join(scratch, "a/b//c/"), *file = path_join(scratch, "file"), *below = path_join(file, "below");
    (void)state;
    assert_int_equal(folder_create(deep, &error), ERR_OK);
    assert_int_equal(folder_create(deep, &error), ERR_OK);
    assert_true(folder_exists(deep));
    assert_false(file_exists(deep));
    assert_int_equal(folder_sync(deep, &error), ERR_OK);
    assert_int_equal(file_write(file, "", 0, &error), ERR_OK);
    assert_true(file_exists(file));
    assert_false(folder_exists(file));
    assert_int_equal(folder_create(file, &error), ERR_IO);
    assert_non_null(strstr(error.message, file));
    assert_int_equal(folder_create(below, &error), ERR_IO);
    assert_int_not_equal(folder_sync(below, &error), ERR_OK);
    free(deep);
    free(file);
    free(below);
}

static void paths_are_joined_and_named(void **state) {
    char *plain = path_join("out", "frog.png"), *slash = path_join("/", "frog.png"), *empty = path_join("", "frog.png");
    (void)state;
    assert_string_equal(plain, "out/frog.png");
    assert_string_equal(slash, "/frog.png");
    assert_string_equal(empty, "/frog.png");
    assert_string_equal(path_name("out/a/frog.png"), "frog.png");
    assert_string_equal(path_name("frog.png"), "frog.png");
    assert_string_equal(path_name("out/"), "");
    free(plain);
    free(slash);
    free(empty);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_is_read),       cmocka_unit_test(limit_is_said),
        cmocka_unit_test(absent_is_not_found),   cmocka_unit_test(a_failed_write_leaves_the_old_file),
        cmocka_unit_test(a_dead_draft_is_passed_over), cmocka_unit_test(disk_full_has_its_code),
        cmocka_unit_test(folders_come_with_their_parents), cmocka_unit_test(paths_are_joined_and_named),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
