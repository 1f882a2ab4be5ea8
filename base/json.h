/*
 * json.h - jansson, with our limits, and the canonical form of RFC 8785 (JCS).
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"
#include "base/error.h"

/* Parse exactly one JSON value: duplicates refused, nothing behind it, depth as jansson bounds it (2048).
 * `what` names the source in the sentence. The caller owns *out (json_decref). */
MUST_USE enum err json_parse(json_t **out, const void *data, size_t size, const char *what, struct error *error);

/* One JSON file of at most `limit` bytes. */
MUST_USE enum err json_read_file(json_t **out, const char *path, size_t limit, struct error *error);

/* Canonical bytes (RFC 8785): keys sorted by UTF-16 code units, no spaces, minimal escapes. Numbers must be integers
 * within +-(2^53 - 1): anything else travels as a string in this project. */
MUST_USE enum err json_canonical(struct bytes *out, const json_t *value, struct error *error);

/* Typed reads of an object's member; `what` names the object in the sentence. A missing member is ERR_NOT_FOUND with
 * a sentence, unless `fallback` forms are used. */
MUST_USE enum err json_get_u32(uint32_t *out, const json_t *object, const char *key, const char *what, struct error *error);
MUST_USE enum err json_get_double(double *out, const json_t *object, const char *key, const char *what, struct error *error);
MUST_USE enum err json_get_text(const char **out, const json_t *object, const char *key, const char *what, struct error *error);
MUST_USE enum err json_get_bool(bool *out, const json_t *object, const char *key, bool fallback, const char *what, struct error *error);

#endif
