/* sample.c - objects and folders for the store's tests. */
#include "tests/store/sample.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static char *folder_make_in(const char *where) {
    char *folder = path_join(where, "store-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    return folder;
}

char *folder_make(void) {
    return folder_make_in(BINARY_DIR);
}

char *folder_make_in_memory(void) {
    return folder_make_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : BINARY_DIR);
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place) {
    (void)info, (void)type, (void)place;
    return remove(path);
}

void folder_remove(char *folder) {
    assert_int_equal(nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(folder);
}

size_t folder_count(const char *folder, const char *name) {
    char *path = path_join(folder, name);
    DIR *opened = opendir(path);
    size_t count = 0;
    assert_non_null(opened);
    while (readdir(opened))
        count++;
    closedir(opened);
    free(path);
    return count - 2;
}

struct store_item sample_item(uint64_t n) {
    uint64_t x = n * UINT64_C(0x9e3779b97f4a7c15) + 1;
    size_t size = n % 7 == 3 ? 0 : x % 40001;
    uint8_t *data = memory_get(size + 8);
    for (size_t i = 0; i < size; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        data[i] = (uint8_t)(x >> 56);
    }
    if (n % 7 == 3) { /* a few small ones, which still differ */
        size = 8;
        memcpy(data, &n, size);
    }
    return (struct store_item){ digest_of(data, size), data, size };
}

void sample_release(struct store_item *items, size_t count) {
    for (size_t i = 0; i < count; i++)
        free((void *)items[i].data);
}

void assert_sample(struct store *store, uint64_t n) {
    struct store_item item = sample_item(n);
    struct bytes got = BYTES_INIT;
    struct error error;
    assert_ok(store_get(&got, store, &item.digest, 1 << 20, &error));
    assert_int_equal(got.size, item.size);
    assert_memory_equal(got.data, item.data, item.size);
    bytes_release(&got);
    sample_release(&item, 1);
}

void assert_ok_at(enum err err, const struct error *error, const char *call, const char *file, int line) {
    if (err)
        print_error("%s: %s\n", call, error->message);
    _assert_int_equal(err, ERR_OK, file, line);
}

void assert_error_at(enum err err, enum err want, const struct error *error, const char *file, int line,
                     const char *const *words) {
    if (err != want)
        print_error("want %s, it is %s: %s\n", err_name(want), err_name(err), err ? error->message : "");
    _assert_int_equal(err, want, file, line);
    _assert_int_equal(error->code, want, file, line);
    for (; *words; words++) {
        bool said = strstr(error->message, *words) != NULL;
        if (!said)
            print_error("want \"%s\" in: %s\n", *words, error->message);
        _assert_true(said, "the word is said", file, line);
    }
}
