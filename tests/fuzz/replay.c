/*
 * replay.c - main of a fuzz target in ordinary builds: runs it on every file of a corpus folder.
 *
 * So what a fuzzer once found stays found, with any compiler and under every sanitizer. An empty or missing folder is a
 * failure: a replay of nothing proves nothing.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FILE_LIMIT = 64 << 20 };

static enum err replay_file(const char *path, struct error *error) {
    struct bytes content = BYTES_INIT;
    enum err err = file_read(&content, path, FILE_LIMIT, error);
    if (!err) {
        /* A copy of the exact size, without the NUL that follows a struct bytes: reading past it is caught. */
        uint8_t *exact = memory_get(content.size);
        if (content.size)
            memcpy(exact, content.data, content.size);
        fprintf(stderr, "%s\n", path); /* the last one named is the one that failed */
        LLVMFuzzerTestOneInput(exact, content.size);
        free(exact);
    }
    bytes_release(&content);
    return err;
}

static enum err replay_folder(size_t *count, const char *folder, struct error *error) {
    enum err err = ERR_OK;
    DIR *entries = opendir(folder);
    if (!entries)
        return error_errno(error, "corpus %s", folder);
    for (struct dirent *entry; !err && (entry = readdir(entries));) {
        char *path = path_join(folder, entry->d_name);
        if (file_exists(path)) {
            err = replay_file(path, error);
            ++*count;
        }
        free(path);
    }
    closedir(entries);
    return err;
}

int main(int argc, char **argv) {
    struct error error = { 0 };
    size_t count = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
        return 2;
    }
    enum err err = replay_folder(&count, argv[1], &error);
    if (!err && count == 0)
        err = error_set(&error, ERR_NOT_FOUND, "corpus %s: want one file at least, it has 0", argv[1]);
    if (err) {
        fprintf(stderr, "%s\n", error.message);
        return 1;
    }
    printf("%zu inputs replayed\n", count);
    return 0;
}
