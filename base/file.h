/*
 * file.h - whole files and folders, with errors as sentences.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/error.h"

/* The whole file, at most `limit` bytes (ERR_LIMIT names both). */
MUST_USE enum err file_read(struct bytes *out, const char *path, size_t limit, struct error *error);

/* Its first bytes: `most` of them, or all. */
MUST_USE enum err file_read_start(struct bytes *out, const char *path, size_t most, struct error *error);

/* Write beside `path`, then rename over it: a reader sees the old file or the new, whole. Not synced. */
MUST_USE enum err file_write(const char *path, const void *data, size_t size, struct error *error);

/* As file_write, and durable when it returns (fsync of the file and of its folder). */
MUST_USE enum err file_write_durable(const char *path, const void *data, size_t size, struct error *error);

MUST_USE enum err folder_create(const char *path, struct error *error); /* with its parents; existing is fine */
MUST_USE enum err folder_sync(const char *path, struct error *error);
bool file_exists(const char *path);
bool folder_exists(const char *path);
char *path_join(const char *folder, const char *name); /* owned by the caller */
const char *path_name(const char *path);               /* behind the last slash */

#endif
