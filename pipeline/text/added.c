/*
 * added.c - a sorted list with an index by first byte.
 */
#include "pipeline/text/added.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/text/unicode.h"

void added_release(struct added *added) {
    for (size_t i = 0; i < added->count; i++) {
        free(added->tokens[i].content);
        free(added->tokens[i].text);
    }
    free(added->tokens);
    memset(added, 0, sizeof *added);
}

const struct added_token *added_find(const struct added *added, const char *content) {
    for (size_t i = 0; i < added->count; i++)
        if (strcmp(added->tokens[i].content, content) == 0)
            return &added->tokens[i];
    return NULL;
}

enum err added_put(struct added *added, const char *content, int32_t id, bool normalized, struct error *error) {
    struct bytes text = BYTES_INIT;
    struct added_token *token = (struct added_token *)added_find(added, content);
    enum err err = ERR_OK;
    if (!token && added->count == ADDED_LIMIT)
        return error_set(error, ERR_LIMIT, "want at most %d added tokens, there are more", ADDED_LIMIT);
    if (normalized)
        err = text_normalize(&text, (const uint8_t *)content, strlen(content), error);
    else
        bytes_add_text(&text, content);
    if (err != ERR_OK) {
        bytes_release(&text);
        return err;
    }
    if (!token) {
        added->tokens = memory_grow(added->tokens, added->count + 1, sizeof *added->tokens);
        token = &added->tokens[added->count++];
        *token = (struct added_token){ .content = text_copy(content), .id = id, .count = 1 };
    }
    free(token->text);
    struct bytes taken = bytes_take(&text);
    token->text = taken.data;
    token->size = taken.size;
    token->normalized = normalized;
    return ERR_OK;
}

/* By kind, first byte, then the longest first, then by id. No text is empty. */
static int compare_token(const void *a, const void *b) {
    const struct added_token *left = a, *right = b;
    if (left->normalized != right->normalized)
        return left->normalized ? 1 : -1;
    if (left->text[0] != right->text[0])
        return left->text[0] < right->text[0] ? -1 : 1;
    if (left->size != right->size)
        return left->size > right->size ? -1 : 1;
    return (left->id > right->id) - (left->id < right->id);
}

void added_finish(struct added *added) {
    if (added->count > 0)
        qsort(added->tokens, added->count, sizeof *added->tokens, compare_token);
    size_t at = 0;
    for (int kind = 0; kind < 2; kind++) {
        for (int byte = 0; byte < 256; byte++) {
            added->buckets[kind][byte] = at;
            while (at < added->count && added->tokens[at].normalized == (kind == 1) && added->tokens[at].text[0] == byte)
                at++;
        }
        added->buckets[kind][256] = at;
    }
}

const struct added_token *added_next(size_t *place, const struct added *added, bool normalized, const uint8_t *text,
                                     size_t from, size_t size) {
    const size_t *bucket = added->buckets[normalized];
    for (size_t at = from; at < size; at++)
        for (size_t i = bucket[text[at]]; i < bucket[text[at] + 1]; i++) {
            const struct added_token *token = &added->tokens[i];
            if (token->size <= size - at && memcmp(token->text, text + at, token->size) == 0) {
                *place = at;
                return token;
            }
        }
    return NULL;
}
