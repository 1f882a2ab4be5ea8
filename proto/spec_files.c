/*
 * spec_files.c - the lists of files that a job may hold, and which files it needs.
 *
 *   lora       digest:weight+digest:weight   applied in this order; a weight left out is 1
 *   embedding  digest:word+digest:word
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "proto/spec_parts.h"

/* One item of a list: a digest, and what stands behind its colon (NULL: no colon). */
struct item {
    struct digest file;
    char *rest;
};

/* Cuts the next item out of *at, which moves behind it. */
static enum err item_next(struct item *item, char **at, const struct field_info *info, struct error *error)
{
    char *start = *at, *end = start + strcspn(start, "+");
    *at = *end ? end + 1 : end;
    if (*end && !end[1])
        return error_set(error, ERR_INVALID, "%s: want a file behind the last \"+\", have none", info->name);
    *end = '\0';
    item->rest = strchr(start, ':');
    if (item->rest)
        *item->rest++ = '\0';
    if (!digest_parse(&item->file, start))
        return error_set(error, ERR_INVALID, "%s: want a digest of 64 lower-case hex digits, have \"%.80s\"", info->name, start);
    return ERR_OK;
}

static void item_add(struct bytes *out, const struct digest *file, const char *rest)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(file, hex);
    bytes_add_format(out, "%s%s:%s", out->size ? "+" : "", hex, rest);
}

static enum err weight_read(struct decimal *weight, const char *text, const struct field_info *info, struct error *error)
{
    struct decimal minimum, maximum;
    enum err code = decimal_parse(weight, text, error);
    if (code == ERR_OK)
        code = decimal_parse(&minimum, info->minimum, error);
    if (code == ERR_OK)
        code = decimal_parse(&maximum, info->maximum, error);
    if (code != ERR_OK) {
        if (error)
            error_prefix(error, "%s: weight", info->name);
        return code;
    }
    if (decimal_compare(*weight, minimum) < 0 || decimal_compare(*weight, maximum) > 0)
        return error_set(error, ERR_INVALID, "%s: want a weight of %s..%s, have %.40s", info->name, info->minimum, info->maximum,
                         text);
    return ERR_OK;
}

/* Letters, digits and what words of embeddings are made of: nothing that lists, JSON or shells give a meaning to. */
static enum err word_check(const char *word, const struct field_info *info, struct error *error)
{
    size_t size = word ? strlen(word) : 0, place;
    if (size < 1 || size > LIMIT_TOKEN)
        return error_set(error, ERR_INVALID, "%s: want a word of 1..%d bytes behind the file (FILE:WORD), have %zu", info->name,
                         LIMIT_TOKEN, size);
    if (!utf8_valid(word, size, &place))
        return error_set(error, ERR_INVALID, "%s: want a word in UTF-8, byte %zu is 0x%02x", info->name, place + 1,
                         (unsigned)(uint8_t)word[place]);
    for (const char *c = word; *c; c++)
        if ((uint8_t)*c <= ' ' || *c == 0x7f || strchr("+:\"\\", *c))
            return error_set(error, ERR_INVALID, "%s: want a word without spaces and + : \" \\, have \"%.64s\"", info->name, word);
    return ERR_OK;
}

static enum err list_set(char **list, const char *text, enum field field, uint32_t limit, struct error *error)
{
    const struct field_info *info = catalog_field(field);
    struct digest files[LIMIT_LORAS > LIMIT_EMBEDDINGS ? LIMIT_LORAS : LIMIT_EMBEDDINGS];
    const char *words[LIMIT_EMBEDDINGS]; /* in `copy` */
    char *copy = text_copy(text), *at = copy, weight_text[32];
    struct bytes normal = BYTES_INIT;
    enum err code = ERR_OK;

    for (uint32_t count = 0; *at && code == ERR_OK; count++) {
        struct item item;
        if (count == limit) {
            code = error_set(error, ERR_LIMIT, "%s: want at most %u files, have more", info->name, limit);
            break;
        }
        code = item_next(&item, &at, info, error);
        for (uint32_t i = 0; i < count && code == ERR_OK; i++)
            if (digest_equal(&files[i], &item.file))
                code = error_set(error, ERR_INVALID, "%s: want every file once, the %u. is the %u. again", info->name, count + 1, i + 1);
        if (code == ERR_OK && field == FIELD_LORA) {
            struct decimal weight = {1, 0};
            code = item.rest ? weight_read(&weight, item.rest, info, error) : ERR_OK;
            decimal_format(weight_text, weight);
            item.rest = weight_text;
        } else if (code == ERR_OK) {
            code = word_check(item.rest, info, error);
            for (uint32_t i = 0; i < count && code == ERR_OK; i++)
                if (strcasecmp(words[i], item.rest) == 0)
                    code = error_set(error, ERR_INVALID, "%s: want every word once (letter case does not matter), the %u. and the %u. are"
                                     " \"%.64s\"", info->name, i + 1, count + 1, item.rest);
            words[count] = item.rest;
        }
        if (code == ERR_OK) {
            files[count] = item.file;
            item_add(&normal, &item.file, item.rest);
        }
    }
    if (code == ERR_OK) {
        free(*list);
        *list = normal.size ? text_copy(bytes_text(&normal)) : NULL;
    }
    bytes_release(&normal);
    free(copy);
    return code;
}

enum err loras_set(char **list, const char *text, struct error *error)
{
    return list_set(list, text, FIELD_LORA, LIMIT_LORAS, error);
}

enum err embeddings_set(char **list, const char *text, struct error *error)
{
    return list_set(list, text, FIELD_EMBEDDING, LIMIT_EMBEDDINGS, error);
}

/* ---- what a spec holds -------------------------------------------------------------------------------------------- */

size_t spec_loras(struct lora_use out[LIMIT_LORAS], const struct spec *spec)
{
    char *copy = text_copy(spec->lora ? spec->lora : ""), *at = copy;
    struct item item;
    size_t count = 0;
    while (*at && item_next(&item, &at, catalog_field(FIELD_LORA), NULL) == ERR_OK) {
        out[count].file = item.file;
        if (decimal_parse(&out[count].weight, item.rest, NULL) == ERR_OK)
            count++;
    }
    free(copy);
    return count;
}

size_t spec_embeddings(struct embedding_use out[LIMIT_EMBEDDINGS], const struct spec *spec)
{
    char *copy = text_copy(spec->embedding ? spec->embedding : ""), *at = copy;
    struct item item;
    size_t count = 0;
    while (*at && item_next(&item, &at, catalog_field(FIELD_EMBEDDING), NULL) == ERR_OK) {
        out[count].file = item.file;
        snprintf(out[count++].word, sizeof out->word, "%s", item.rest);
    }
    free(copy);
    return count;
}

static void file_add_once(struct digest *out, size_t *count, const struct digest *file)
{
    for (size_t i = 0; i < *count; i++)
        if (digest_equal(&out[i], file))
            return;
    if (!digest_is_zero(file))
        out[(*count)++] = *file;
}

size_t spec_files(struct digest out[SPEC_FILES_LIMIT], const struct spec *spec)
{
    struct lora_use loras[LIMIT_LORAS];
    struct embedding_use embeddings[LIMIT_EMBEDDINGS];
    size_t count = 0;
    file_add_once(out, &count, &spec->vae);
    file_add_once(out, &count, &spec->init);
    file_add_once(out, &count, &spec->mask);
    for (size_t i = 0, n = spec->lora ? spec_loras(loras, spec) : 0; i < n; i++)
        file_add_once(out, &count, &loras[i].file);
    for (size_t i = 0, n = spec->embedding ? spec_embeddings(embeddings, spec) : 0; i < n; i++)
        file_add_once(out, &count, &embeddings[i].file);
    return count;
}
