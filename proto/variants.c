/*
 * variants.c - {a|b} in a prompt: all combinations, counted before memory is taken.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/sweep_parts.h"

enum { NESTING_LIMIT = 16 };

void texts_release(struct texts *texts)
{
    for (size_t i = 0; i < texts->count; i++)
        free(texts->items[i]);
    free(texts->items);
    *texts = (struct texts){0};
}

void texts_add(struct texts *texts, char *text)
{
    if (texts->count == texts->room) {
        texts->room = texts->room ? 2 * texts->room : 8;
        texts->items = memory_grow(texts->items, texts->room, sizeof *texts->items);
    }
    texts->items[texts->count++] = text;
    texts->bytes += strlen(text);
}

struct expansion {
    const char *at;
    const char *name;
    int depth;
    struct error *error;
};

static enum err texts_fit(size_t count, size_t bytes, const struct expansion *expansion)
{
    if (count > LIMIT_AXIS_VALUES)
        return error_set(expansion->error, ERR_LIMIT, "%s: want at most %d variants, have %zu", expansion->name, LIMIT_AXIS_VALUES, count);
    if (bytes > LIMIT_SWEEP_BYTES)
        return error_set(expansion->error, ERR_LIMIT, "%s: want at most %d bytes of variants, have %zu", expansion->name,
                         LIMIT_SWEEP_BYTES, bytes);
    return ERR_OK;
}

/* left = every item of left followed by every item of right. */
static enum err texts_multiply(struct texts *left, const struct texts *right, const struct expansion *expansion)
{
    struct texts product = {0};
    enum err code = texts_fit(left->count * right->count, left->bytes * right->count + right->bytes * left->count, expansion);
    if (code != ERR_OK)
        return code;
    for (size_t i = 0; i < left->count; i++)
        for (size_t j = 0; j < right->count; j++)
            texts_add(&product, text_format("%s%s", left->items[i], right->items[j]));
    texts_release(left);
    *left = product;
    return ERR_OK;
}

static enum err texts_append(struct texts *left, struct texts *right, const struct expansion *expansion)
{
    enum err code = texts_fit(left->count + right->count, left->bytes + right->bytes, expansion);
    for (size_t i = 0; i < right->count && code == ERR_OK; i++) {
        texts_add(left, right->items[i]);
        right->items[i] = NULL;
    }
    return code;
}

/* Characters up to the next brace or, inside a group, bar. */
static void literal_add(struct texts *texts, struct expansion *expansion)
{
    struct bytes literal = BYTES_INIT;
    while (*expansion->at && !strchr("{}", *expansion->at) && !(expansion->depth && *expansion->at == '|')) {
        if (expansion->at[0] == '\\' && expansion->at[1] && strchr("{|}", expansion->at[1]))
            expansion->at++;
        bytes_add(&literal, expansion->at++, 1);
    }
    texts_add(texts, text_copy(bytes_text(&literal)));
    bytes_release(&literal);
}

/* "0.5::a", "2$$a|b": what dynamic prompts mean by them is chance, which a sweep has none of. */
static enum err chance_refuse(const struct expansion *expansion)
{
    const char *at = expansion->at + strspn(expansion->at, "0123456789.-");
    if (at != expansion->at && (strncmp(at, "::", 2) == 0 || strncmp(at, "$$", 2) == 0))
        return error_set(expansion->error, ERR_UNSUPPORTED, "%s: weights and counts (\"%.12s\") in {a|b} are not in this version",
                         expansion->name, expansion->at);
    return ERR_OK;
}

static enum err sequence_expand(struct texts *out, struct expansion *expansion);

/* Behind a "{": alternatives up to the "}". A group without a bar is no choice and stands as it was written. */
static enum err group_expand(struct texts *out, struct expansion *expansion)
{
    struct texts all = {0};
    size_t alternatives = 0;
    enum err code = ERR_OK;

    if (expansion->depth == NESTING_LIMIT)
        return error_set(expansion->error, ERR_LIMIT, "%s: want at most %d braces in each other, have more", expansion->name, NESTING_LIMIT);
    expansion->depth++;
    for (;;) {
        struct texts one = {0};
        code = chance_refuse(expansion);
        if (code == ERR_OK)
            code = sequence_expand(&one, expansion);
        if (code == ERR_OK)
            code = texts_append(&all, &one, expansion);
        texts_release(&one);
        alternatives++;
        if (code != ERR_OK || *expansion->at != '|')
            break;
        expansion->at++;
    }
    expansion->depth--;
    if (code == ERR_OK && *expansion->at != '}')
        code = error_set(expansion->error, ERR_INVALID, "%s: a \"{\" has no \"}\" (write \\{ for the character)", expansion->name);
    if (code == ERR_OK) {
        expansion->at++;
        for (size_t i = 0; i < all.count; i++) {
            texts_add(out, alternatives > 1 ? text_copy(all.items[i]) : text_format("{%s}", all.items[i]));
        }
    }
    texts_release(&all);
    return code;
}

static enum err sequence_expand(struct texts *out, struct expansion *expansion)
{
    enum err code = ERR_OK;
    texts_add(out, text_copy(""));
    while (code == ERR_OK && *expansion->at && *expansion->at != '}' && !(expansion->depth && *expansion->at == '|')) {
        struct texts part = {0};
        if (*expansion->at == '{') {
            expansion->at++;
            code = group_expand(&part, expansion);
        } else {
            literal_add(&part, expansion);
        }
        if (code == ERR_OK)
            code = texts_multiply(out, &part, expansion);
        texts_release(&part);
    }
    return code;
}

enum err variants_expand(struct texts *out, const char *text, const char *name, struct error *error)
{
    struct expansion expansion = {.at = text, .name = name, .error = error};
    struct texts made = {0};
    enum err code = sequence_expand(&made, &expansion);
    if (code == ERR_OK && *expansion.at == '}')
        code = error_set(error, ERR_INVALID, "%s: a \"}\" has no \"{\" (write \\} for the character)", name);
    if (code == ERR_OK)
        code = texts_append(out, &made, &expansion);
    texts_release(&made);
    return code;
}
