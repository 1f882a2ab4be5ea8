/*
 * manifest.c - the files of a model folder and their digests. See model.h.
 *
 * Hashing gigabytes again for every sweep would cost seconds: digests of large files are remembered in
 * $XDG_CACHE_HOME/seedfarm/hashes, a line a file, under what changes when a file does (device, inode, size, both times).
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "proto/model.h"

enum {
    FOLDER_DEPTH_LIMIT = 8,
    CACHE_LIMIT = 1 << 20 /* bytes; a fuller cache starts anew */
};
#define CACHE_FILE_MINIMUM (INT64_C(64) << 20)

void manifest_release(struct manifest *manifest)
{
    for (size_t i = 0; i < manifest->count; i++)
        free(manifest->files[i].path);
    free(manifest->files);
    memset(manifest, 0, sizeof *manifest);
}

void manifest_text(struct bytes *text, const struct manifest *manifest)
{
    char hex[DIGEST_HEX_SIZE];
    for (size_t i = 0; i < manifest->count; i++) {
        digest_hex(&manifest->files[i].digest, hex);
        bytes_add_format(text, "%s %s\n", manifest->files[i].path, hex);
    }
}

static struct digest manifest_digest(const struct manifest *manifest)
{
    struct bytes text = BYTES_INIT;
    manifest_text(&text, manifest);
    struct digest digest = digest_of(text.data, text.size);
    bytes_release(&text);
    return digest;
}

/* Components of [A-Za-z0-9._-], none of them "." or "..", none empty. */
static bool path_is_plain(const char *path, size_t size)
{
    size_t start = 0;
    for (size_t i = 0; i <= size; i++) {
        if (i == size || path[i] == '/') {
            size_t length = i - start;
            if (length == 0 || (path[start] == '.' && (length == 1 || (length == 2 && path[start + 1] == '.'))))
                return false;
            start = i + 1;
        } else if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", path[i]) || !path[i]) {
            return false;
        }
    }
    return true;
}

enum err manifest_parse(struct manifest *manifest, const void *data, size_t size, struct error *error)
{
    struct manifest read = {0};
    const char *at = data, *end = at + size;
    enum err code = ERR_OK;

    if (size == 0 || size > MODEL_MANIFEST_LIMIT)
        return error_set(error, ERR_LIMIT, "manifest: want 1..%d bytes, have %zu", MODEL_MANIFEST_LIMIT, size);
    read.files = memory_get_array(MODEL_FILES_LIMIT, sizeof *read.files);
    for (size_t line = 1; at < end; line++) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const char *space = stop ? memchr(at, ' ', (size_t)(stop - at)) : NULL;
        char hex[DIGEST_HEX_SIZE] = "";
        if (space && stop - space - 1 == DIGEST_HEX_SIZE - 1)
            memcpy(hex, space + 1, DIGEST_HEX_SIZE - 1);
        struct model_file file;
        if (!space || !path_is_plain(at, (size_t)(space - at)) || !digest_parse(&file.digest, hex)) {
            code = error_set(error, ERR_CORRUPT, "manifest: line %zu: want a plain path, a space and 64 hex digits", line);
            goto done;
        }
        if (read.count == MODEL_FILES_LIMIT) {
            code = error_set(error, ERR_LIMIT, "manifest: want at most %d files, have more", MODEL_FILES_LIMIT);
            goto done;
        }
        file.path = text_copy_size(at, (size_t)(space - at));
        read.files[read.count++] = file;
        if (read.count > 1 && strcmp(read.files[read.count - 2].path, file.path) >= 0) {
            code = error_set(error, ERR_CORRUPT, "manifest: line %zu: \"%.100s\" is not behind \"%.100s\"", line, file.path,
                             read.files[read.count - 2].path);
            goto done;
        }
        at = stop + 1;
    }
    read.digest = digest_of(data, size);
    *manifest = read;
    read = (struct manifest){0};
done:
    manifest_release(&read);
    return code;
}

/* ---- remembered digests ------------------------------------------------------------------------------------------- */

/* Owned; NULL where there is no home. */
static char *cache_path(void)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache)
        return text_format("%s/seedfarm/hashes", cache);
    return home && *home ? text_format("%s/.cache/seedfarm/hashes", home) : NULL;
}

static void cache_line(char line[160], const struct stat *stat)
{
    snprintf(line, 160, "%ju %ju %jd %jd.%09ld %jd.%09ld ", (uintmax_t)stat->st_dev, (uintmax_t)stat->st_ino,
             (intmax_t)stat->st_size, (intmax_t)stat->st_mtim.tv_sec, stat->st_mtim.tv_nsec, (intmax_t)stat->st_ctim.tv_sec,
             stat->st_ctim.tv_nsec);
}

static bool cache_find(struct digest *digest, const struct stat *stat)
{
    char line[160], hex[DIGEST_HEX_SIZE] = "";
    char *path = cache_path();
    struct bytes text = BYTES_INIT;
    bool found = false;

    if (path && file_read(&text, path, CACHE_LIMIT, NULL) == ERR_OK) {
        cache_line(line, stat);
        const char *at = strstr(bytes_text(&text), line);
        if (at && (at == bytes_text(&text) || at[-1] == '\n') && strlen(at) > strlen(line) + DIGEST_HEX_SIZE - 1) {
            memcpy(hex, at + strlen(line), DIGEST_HEX_SIZE - 1);
            found = digest_parse(digest, hex);
        }
    }
    bytes_release(&text);
    free(path);
    return found;
}

/* Best effort: a digest that could not be remembered is computed again next time. */
static void cache_add(const struct digest *digest, const struct stat *stat)
{
    char line[160], hex[DIGEST_HEX_SIZE];
    char *path = cache_path();
    if (!path)
        return;
    char *folder = text_copy_size(path, (size_t)(path_name(path) - path - 1));
    struct stat now;
    if (folder_create(folder, NULL) == ERR_OK) {
        cache_line(line, stat);
        digest_hex(digest, hex);
        char *entry = text_format("%s%s\n", line, hex);
        bool full = lstat(path, &now) == 0 && now.st_size > CACHE_LIMIT - 4096;
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (full ? O_TRUNC : 0), 0600);
        if (fd >= 0) {
            ssize_t written = write(fd, entry, strlen(entry)); /* one write: appending processes do not mix lines */
            (void)written;
            close(fd);
        }
        free(entry);
    }
    free(folder);
    free(path);
}

enum err file_digest(struct digest *digest, const char *path, struct error *error)
{
    struct stat stat_before;
    uint64_t size;

    if (stat(path, &stat_before) != 0)
        return error_errno(error, "%s", path);
    bool large = stat_before.st_size >= CACHE_FILE_MINIMUM;
    if (large && cache_find(digest, &stat_before))
        return ERR_OK;
    enum err code = digest_of_file(digest, &size, path, error);
    if (code == ERR_OK && large)
        cache_add(digest, &stat_before);
    return code;
}

/* ---- walking a folder --------------------------------------------------------------------------------------------- */

static bool name_is_model_file(const char *name)
{
    static const char *const endings[] = {".json", ".txt", ".safetensors"};
    size_t size = strlen(name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t ending = strlen(endings[i]);
        if (size > ending && strcmp(name + size - ending, endings[i]) == 0)
            return true;
    }
    return false;
}

/* Adds the files below root/relative. Hidden names are not part of a model; files may be links (as in a hub's cache), folders
 * may not. */
static enum err folder_walk(struct manifest *manifest, const char *root, const char *relative, int depth,
                            struct error *error)
{
    enum err code = ERR_OK;
    char *folder = *relative ? path_join(root, relative) : text_copy(root);
    DIR *dir = opendir(folder);
    struct dirent *entry;

    if (!dir) {
        code = error_errno(error, "%s", folder);
        free(folder);
        return code;
    }
    while (code == ERR_OK && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        char *path = *relative ? path_join(relative, entry->d_name) : text_copy(entry->d_name);
        char *full = path_join(root, path);
        struct stat here, there;
        if (lstat(full, &here) != 0 || stat(full, &there) != 0) {
            if (name_is_model_file(entry->d_name))
                code = error_errno(error, "%s", full);
        } else if (S_ISDIR(here.st_mode)) {
            code = depth < FOLDER_DEPTH_LIMIT ? folder_walk(manifest, root, path, depth + 1, error)
                                              : error_set(error, ERR_LIMIT, "%s: want at most %d folders in each other, have more",
                                                          full, FOLDER_DEPTH_LIMIT);
        } else if (S_ISREG(there.st_mode) && name_is_model_file(entry->d_name)) {
            if (!path_is_plain(path, strlen(path)))
                code = error_set(error, ERR_INVALID, "%s: a model's file names want letters, digits and . _ - only", full);
            else if (manifest->count == MODEL_FILES_LIMIT)
                code = error_set(error, ERR_LIMIT, "%s: want at most %d files, have more", root, MODEL_FILES_LIMIT);
            else
                manifest->files[manifest->count++].path = text_copy(path);
        }
        free(full);
        free(path);
    }
    closedir(dir);
    free(folder);
    return code;
}

static int file_order(const void *a, const void *b)
{
    return strcmp(((const struct model_file *)a)->path, ((const struct model_file *)b)->path);
}

enum err manifest_of_folder(struct manifest *manifest, const char *folder, struct error *error)
{
    struct manifest read = {0};
    read.files = memory_get_array(MODEL_FILES_LIMIT, sizeof *read.files);
    enum err code = folder_walk(&read, folder, "", 1, error);
    if (code != ERR_OK)
        goto done;
    if (read.count == 0) {
        code = error_set(error, ERR_INVALID, "%s: no model files in it (*.json, *.txt, *.safetensors)", folder);
        goto done;
    }
    qsort(read.files, read.count, sizeof *read.files, file_order);
    for (size_t i = 0; i < read.count && code == ERR_OK; i++) {
        char *path = path_join(folder, read.files[i].path);
        code = file_digest(&read.files[i].digest, path, error);
        free(path);
    }
    if (code != ERR_OK)
        goto done;
    read.digest = manifest_digest(&read);
    *manifest = read;
    read = (struct manifest){0};
done:
    manifest_release(&read);
    return code;
}
