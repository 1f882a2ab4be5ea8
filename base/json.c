/* json.c - jansson with limits, and RFC 8785. */
#include "base/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define EXACT_INTEGER_LIMIT INT64_C(9007199254740991) /* 2^53 - 1: what every JSON reader keeps exactly */

enum err json_parse(json_t **out, const void *data, size_t size, const char *what, struct error *error) {
    json_error_t trouble;
    json_t *value = json_loadb(data, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &trouble);
    if (!value)
        return error_set(error, ERR_INVALID, "%s:%d: not valid JSON: %s", what, trouble.line, trouble.text);
    *out = value;
    return ERR_OK;
}

enum err json_read_file(json_t **out, const char *path, size_t limit, struct error *error) {
    struct bytes content = BYTES_INIT;
    enum err err = file_read(&content, path, limit, error);
    if (!err)
        err = json_parse(out, content.data ? (const void *)content.data : "", content.size, path, error);
    bytes_release(&content);
    return err;
}

static void add_text(struct bytes *out, const char *text, size_t size) {
    static const char digits[] = "0123456789abcdef";
    bytes_add(out, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *shortest = c == '"'    ? "\\\""
                               : c == '\\' ? "\\\\"
                               : c == '\b' ? "\\b"
                               : c == '\t' ? "\\t"
                               : c == '\n' ? "\\n"
                               : c == '\f' ? "\\f"
                               : c == '\r' ? "\\r"
                                           : NULL;
        if (shortest) {
            bytes_add(out, shortest, 2);
        } else if (c < 0x20) {
            char escape[6] = { '\\', 'u', '0', '0', digits[c >> 4], digits[c & 15] };
            bytes_add(out, escape, sizeof escape);
        } else {
            bytes_add(out, &c, 1);
        }
    }
    bytes_add(out, "\"", 1);
}

/* The next UTF-16 code unit's rank of a UTF-8 text: enough to order as RFC 8785 wants. Surrogate pairs (4-byte sequences)
 * order by their high surrogate, which is below U+E000..U+FFFF. */
static int compare_utf16(const char *a, const char *b) {
    const unsigned char *x = (const unsigned char *)a, *y = (const unsigned char *)b;
    while (*x && *x == *y) {
        x++;
        y++;
    }
    bool pair_x = *x >= 0xf0, pair_y = *y >= 0xf0;
    if (pair_x != pair_y && *x >= 0xee && *y >= 0xee)
        return pair_x ? -1 : 1;
    return (int)*x - (int)*y;
}

static int compare_keys(const void *a, const void *b) {
    return compare_utf16(*(const char *const *)a, *(const char *const *)b);
}

static enum err add_value(struct bytes *out, const json_t *value, struct error *error);

static enum err add_object(struct bytes *out, const json_t *object, struct error *error) {
    size_t count = json_object_size(object), n = 0;
    const char **keys = memory_get_array(count, sizeof *keys);
    const char *key;
    json_t *member;
    enum err err = ERR_OK;
    json_object_foreach((json_t *)object, key, member) {
        keys[n++] = key;
    }
    qsort(keys, count, sizeof *keys, compare_keys);
    bytes_add(out, "{", 1);
    for (size_t i = 0; i < count && !err; i++) {
        if (i)
            bytes_add(out, ",", 1);
        add_text(out, keys[i], strlen(keys[i]));
        bytes_add(out, ":", 1);
        err = add_value(out, json_object_get(object, keys[i]), error);
    }
    bytes_add(out, "}", 1);
    free(keys);
    return err;
}

static enum err add_array(struct bytes *out, const json_t *array, struct error *error) {
    enum err err = ERR_OK;
    bytes_add(out, "[", 1);
    for (size_t i = 0; i < json_array_size(array) && !err; i++) {
        if (i)
            bytes_add(out, ",", 1);
        err = add_value(out, json_array_get(array, i), error);
    }
    bytes_add(out, "]", 1);
    return err;
}

static enum err add_value(struct bytes *out, const json_t *value, struct error *error) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return add_object(out, value, error);
    case JSON_ARRAY:
        return add_array(out, value, error);
    case JSON_STRING:
        add_text(out, json_string_value(value), json_string_length(value));
        return ERR_OK;
    case JSON_INTEGER:
        if (json_integer_value(value) > EXACT_INTEGER_LIMIT || json_integer_value(value) < -EXACT_INTEGER_LIMIT)
            return error_set(error, ERR_INVALID, "canonical JSON: the integer %" JSON_INTEGER_FORMAT " passes 2^53 - 1",
                             json_integer_value(value));
        bytes_add_format(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return ERR_OK;
    case JSON_REAL:
        return error_set(error, ERR_INVALID, "canonical JSON: the number %g is no integer", json_real_value(value));
    case JSON_TRUE:
        bytes_add_text(out, "true");
        return ERR_OK;
    case JSON_FALSE:
        bytes_add_text(out, "false");
        return ERR_OK;
    default:
        bytes_add_text(out, "null");
        return ERR_OK;
    }
}

enum err json_canonical(struct bytes *out, const json_t *value, struct error *error) {
    struct bytes draft = BYTES_INIT;
    enum err err = add_value(&draft, value, error);
    if (!err)
        bytes_add(out, draft.data, draft.size);
    bytes_release(&draft);
    return err;
}

static enum err missing(const char *key, const char *what, struct error *error) {
    return error_set(error, ERR_NOT_FOUND, "%s: \"%s\" is missing", what, key);
}

enum err json_get_u32(uint32_t *out, const json_t *object, const char *key, const char *what, struct error *error) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return missing(key, what, error);
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > UINT32_MAX)
        return error_set(error, ERR_INVALID, "%s: \"%s\": want a whole number 0..%" PRIu32, what, key, UINT32_MAX);
    *out = (uint32_t)json_integer_value(value);
    return ERR_OK;
}

enum err json_get_double(double *out, const json_t *object, const char *key, const char *what, struct error *error) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return missing(key, what, error);
    if (!json_is_number(value))
        return error_set(error, ERR_INVALID, "%s: \"%s\": want a number", what, key);
    *out = json_number_value(value);
    return ERR_OK;
}

enum err json_get_text(const char **out, const json_t *object, const char *key, const char *what, struct error *error) {
    const json_t *value = json_object_get(object, key);
    if (!value)
        return missing(key, what, error);
    if (!json_is_string(value))
        return error_set(error, ERR_INVALID, "%s: \"%s\": want a text", what, key);
    *out = json_string_value(value);
    return ERR_OK;
}

enum err json_get_bool(bool *out, const json_t *object, const char *key, bool fallback, const char *what,
                       struct error *error) {
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value)) {
        *out = fallback;
        return ERR_OK;
    }
    if (!json_is_boolean(value))
        return error_set(error, ERR_INVALID, "%s: \"%s\": want true or false", what, key);
    *out = json_is_true(value);
    return ERR_OK;
}
