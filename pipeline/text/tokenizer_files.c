/*
 * tokenizer_files.c - vocabulary, merges, added tokens and special names, out of either form of a tokenizer's folder.
 *
 * Which file wins follows transformers 5: tokenizer.json before vocab.json and merges.txt (only its vocabulary, merges
 * and added tokens count: the class itself fixes the normaliser and the pattern); added_tokens_decoder of
 * tokenizer_config.json, where there is one, before special_tokens_map.json, added_tokens.json and tokenizer.json's list.
 */
#include "pipeline/text/tokenizer_files.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

enum special { START, END, UNKNOWN, SEPARATOR, PADDING, CLASS, MASK, SPECIAL_COUNT };

/* in the order in which transformers adds them */
static const char *const SPECIAL_KEYS[SPECIAL_COUNT] = { "bos_token", "eos_token", "unk_token", "sep_token",
                                                         "pad_token", "cls_token", "mask_token" };

struct name {
    const char *content; /* borrowed; NULL: none */
    bool normalized;
    int32_t id; /* as its file says; -1: it does not */
};

/* Everything while the files are read. */
struct reader {
    const char *folder;
    json_t *vocabulary, *merges, *tokenizer, *config, *special, *added;
    const char *vocabulary_file, *merges_file;
    struct name names[SPECIAL_COUNT];
    size_t declared; /* so many added tokens come from a list with ids, and stay as they are */
    struct tokenizer *out;
};

static enum err parse_file(json_t **out, const struct bytes *bytes, const struct reader *reader, const char *file,
                           struct error *error) {
    if (!bytes->data)
        return ERR_OK;
    char *what = text_format("%s/%s", reader->folder, file);
    json_t *value = NULL;
    enum err err = json_parse(&value, bytes->data, bytes->size, what, error);
    if (err == ERR_OK && !json_is_object(value)) {
        err = error_set(error, ERR_CORRUPT, "%s: want a JSON object, file has another kind of value", what);
        json_decref(value);
    } else if (err == ERR_OK) {
        *out = value;
    }
    free(what);
    return err;
}

/* ---- vocabulary and merges -------------------------------------------------------------------------------------- */

static enum err find_model(struct reader *reader, const struct tokenizer_files *files, struct error *error) {
    if (!reader->tokenizer) {
        if (!files->vocab.data || !files->merges.data)
            return error_set(error, ERR_NOT_FOUND, "%s: want vocab.json and merges.txt, or tokenizer.json; folder has no %s",
                             reader->folder, files->vocab.data ? "merges.txt" : "vocab.json");
        reader->vocabulary_file = "vocab.json";
        reader->merges_file = "merges.txt";
        return parse_file(&reader->vocabulary, &files->vocab, reader, "vocab.json", error);
    }
    const json_t *model = json_object_get(reader->tokenizer, "model");
    const json_t *type = json_object_get(model, "type");
    if (type && (!json_is_string(type) || strcmp(json_string_value(type), "BPE") != 0))
        return error_set(error, ERR_UNSUPPORTED, "%s/tokenizer.json: want a model of type BPE, file has %.64s", reader->folder,
                         json_is_string(type) ? json_string_value(type) : "another kind of value");
    reader->vocabulary_file = reader->merges_file = "tokenizer.json";
    reader->vocabulary = json_incref(json_object_get(model, "vocab"));
    reader->merges = json_incref(json_object_get(model, "merges"));
    if (!json_is_object(reader->vocabulary) || !json_is_array(reader->merges))
        return error_set(error, ERR_CORRUPT, "%s/tokenizer.json: want an object model.vocab and a list model.merges, file has"
                         " none or another kind of value", reader->folder);
    return ERR_OK;
}

static enum err check_vocabulary(struct reader *reader, struct error *error) {
    const char *token;
    json_t *value;
    enum err err = ERR_OK;
    if (json_object_size(reader->vocabulary) > TOKENIZER_VOCABULARY_LIMIT)
        return error_set(error, ERR_LIMIT, "%s/%s: want at most %d tokens, file has %zu", reader->folder,
                         reader->vocabulary_file, TOKENIZER_VOCABULARY_LIMIT, json_object_size(reader->vocabulary));
    bool *seen = memory_get_array(TOKENIZER_VOCABULARY_LIMIT, sizeof *seen);
    json_object_foreach(reader->vocabulary, token, value) {
        json_int_t id = json_integer_value(value);
        if (!json_is_integer(value) || id < 0 || id >= TOKENIZER_VOCABULARY_LIMIT)
            err = error_set(error, ERR_CORRUPT, "%s/%s: \"%.64s\": want an id in 0..%d, file has %s", reader->folder,
                            reader->vocabulary_file, token, TOKENIZER_VOCABULARY_LIMIT - 1,
                            json_is_integer(value) ? "another number" : "another kind of value");
        else if (seen[id])
            err = error_set(error, ERR_CORRUPT, "%s/%s: \"%.64s\": want an id of its own, file has %" JSON_INTEGER_FORMAT
                            " twice", reader->folder, reader->vocabulary_file, token, id);
        if (err != ERR_OK)
            break;
        seen[id] = true;
        if (id >= reader->out->vocabulary)
            reader->out->vocabulary = (uint32_t)id + 1;
    }
    free(seen);
    return err;
}

/* "left right", exactly one space. */
static enum err add_merge_text(struct reader *reader, const char *line, size_t size, struct error *error) {
    const char *space = memchr(line, ' ', size);
    if (!space || memchr(space + 1, ' ', size - (size_t)(space + 1 - line)))
        return error_set(error, ERR_CORRUPT, "want two tokens and one space, it is \"%.*s\"", size < 64 ? (int)size : 64, line);
    return bpe_add_merge(reader->out->bpe, reader->vocabulary, line, (size_t)(space - line), space + 1,
                         size - (size_t)(space + 1 - line), error);
}

static size_t line_size(const char *at, const char *end) {
    const char *stop = memchr(at, '\n', (size_t)(end - at));
    return (size_t)((stop ? stop : end) - at);
}

/* merges.txt: a pair a line; lines that begin with #version are comments. */
static enum err read_merges_text(struct reader *reader, const struct bytes *file, int32_t unknown, struct error *error) {
    const char *text = bytes_text(file), *end = text + file->size;
    size_t lines = 0, number = 0;
    for (const char *at = text; at < end; at += line_size(at, end) + 1)
        lines++;
    if (lines > TOKENIZER_VOCABULARY_LIMIT)
        return error_set(error, ERR_LIMIT, "%s/merges.txt: want at most %d lines, file has %zu", reader->folder,
                         TOKENIZER_VOCABULARY_LIMIT, lines);
    reader->out->bpe = bpe_create(reader->vocabulary, lines, unknown);
    for (const char *at = text; at < end; at += line_size(at, end) + 1) {
        size_t size = line_size(at, end);
        number++;
        if (size > 0 && at[size - 1] == '\r')
            size--;
        if (size >= 8 && memcmp(at, "#version", 8) == 0)
            continue;
        if (add_merge_text(reader, at, size, error) != ERR_OK)
            return error_prefix(error, "%s/merges.txt: line %zu", reader->folder, number);
    }
    return ERR_OK;
}

/* tokenizer.json: ["left right", ...] or [["left", "right"], ...]. */
static enum err read_merges_list(struct reader *reader, int32_t unknown, struct error *error) {
    size_t count = json_array_size(reader->merges);
    if (count > TOKENIZER_VOCABULARY_LIMIT)
        return error_set(error, ERR_LIMIT, "%s/tokenizer.json: want at most %d merges, file has %zu", reader->folder,
                         TOKENIZER_VOCABULARY_LIMIT, count);
    reader->out->bpe = bpe_create(reader->vocabulary, count, unknown);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(reader->merges, i);
        const json_t *left = json_array_get(item, 0), *right = json_array_get(item, 1);
        enum err err;
        if (json_is_string(item))
            err = add_merge_text(reader, json_string_value(item), json_string_length(item), error);
        else if (json_array_size(item) == 2 && json_is_string(left) && json_is_string(right))
            err = bpe_add_merge(reader->out->bpe, reader->vocabulary, json_string_value(left), json_string_length(left),
                                json_string_value(right), json_string_length(right), error);
        else
            err = error_set(error, ERR_CORRUPT, "want two tokens, it is another kind of value");
        if (err != ERR_OK)
            return error_prefix(error, "%s/tokenizer.json: merge %zu", reader->folder, i);
    }
    return ERR_OK;
}

/* ---- special and added tokens ----------------------------------------------------------------------------------- */

/* A text, or an object with "content" and flags. null leaves *name without content. */
static enum err read_name(struct name *name, const json_t *value, bool special, const char *key, const struct reader *reader,
                          struct error *error) {
    static const char *const FLAGS[] = { "single_word", "lstrip", "rstrip" };
    *name = (struct name){ .id = -1 };
    if (json_is_null(value))
        return ERR_OK;
    const json_t *content = json_is_object(value) ? json_object_get(value, "content") : value;
    if (!json_is_string(content))
        return error_set(error, ERR_CORRUPT, "%s: %.64s: want a text or an object with its content, file has another kind of value",
                         reader->folder, key);
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++)
        if (json_is_true(json_object_get(value, FLAGS[i])))
            return error_set(error, ERR_UNSUPPORTED, "%s: token \"%.64s\": want %s false, file has true", reader->folder,
                             json_string_value(content), FLAGS[i]);
    const json_t *normalized = json_object_get(value, "normalized");
    name->content = json_string_value(content);
    if (json_is_boolean(normalized))
        name->normalized = json_is_true(normalized);
    else
        name->normalized = json_is_object(value) && !special && !json_is_true(json_object_get(value, "special"));
    return ERR_OK;
}

static enum err read_special_names(struct reader *reader, struct error *error) {
    bool has_decoder = json_object_get(reader->config, "added_tokens_decoder") != NULL;
    for (int i = 0; i < SPECIAL_COUNT; i++) {
        const json_t *value = json_object_get(reader->config, SPECIAL_KEYS[i]);
        const json_t *mapped = has_decoder ? NULL : json_object_get(reader->special, SPECIAL_KEYS[i]);
        enum err err = ERR_OK;
        /* the defaults of the class */
        reader->names[i] = (struct name){ .content = i == START                                  ? "<|startoftext|>"
                                                     : i == END || i == UNKNOWN || i == PADDING ? "<|endoftext|>"
                                                                                                 : NULL,
                                          .id = -1 };
        if (mapped)
            err = read_name(&reader->names[i], mapped, true, SPECIAL_KEYS[i], reader, error);
        else if (value)
            err = read_name(&reader->names[i], value, false, SPECIAL_KEYS[i], reader, error);
        if (err != ERR_OK)
            return err;
        const char *content = reader->names[i].content;
        if ((!content || !content[0]) && (i == START || i == END || i == UNKNOWN || i == PADDING))
            return error_set(error, ERR_UNSUPPORTED, "%s: want a %s, file has %s", reader->folder, SPECIAL_KEYS[i],
                             content ? "an empty text" : "null");
    }
    return ERR_OK;
}

/* Its id: of the vocabulary, else the next free one behind all others. What added_tokens_decoder or its like declares
 * stays; of special names that agree in content the last one's flags count. */
static enum err put_name(struct reader *reader, const struct name *name, struct error *error) {
    struct tokenizer *out = reader->out;
    int32_t id = (int32_t)json_object_size(reader->vocabulary);
    if (!name->content || !name->content[0])
        return ERR_OK;
    const struct added_token *there = added_find(&out->added, name->content);
    if (there && (size_t)(there - out->added.tokens) < reader->declared)
        return ERR_OK;
    const json_t *known = json_object_get(reader->vocabulary, name->content);
    for (size_t i = 0; i < out->added.count; i++)
        if (out->added.tokens[i].id >= id)
            id = out->added.tokens[i].id + 1;
    if (known)
        id = (int32_t)json_integer_value(known);
    if (there)
        id = there->id;
    if (name->id >= 0 && name->id != id)
        return error_set(error, ERR_CORRUPT, "%s: added token \"%.64s\": want id %d, the next free one, file has %d",
                         reader->folder, name->content, id, name->id);
    if (added_put(&out->added, name->content, id, name->normalized, error) != ERR_OK)
        return error_prefix(error, "%s", reader->folder);
    if ((uint32_t)id >= out->vocabulary)
        out->vocabulary = (uint32_t)id + 1;
    return ERR_OK;
}

static int compare_id(const void *a, const void *b) {
    const struct name *left = a, *right = b;
    return (left->id > right->id) - (left->id < right->id);
}

static enum err check_id(struct name *name, json_int_t id, const struct reader *reader, struct error *error) {
    if (!name->content || id < 0 || id >= TOKENIZER_VOCABULARY_LIMIT + ADDED_LIMIT)
        return error_set(error, ERR_CORRUPT, "%s: added token \"%.64s\": want a content and an id in 0..%d, file has id %"
                         JSON_INTEGER_FORMAT, reader->folder, name->content ? name->content : "",
                         TOKENIZER_VOCABULARY_LIMIT + ADDED_LIMIT - 1, id);
    name->id = (int32_t)id;
    return ERR_OK;
}

/* "49408" -> 49408; -1 where it is no such number. */
static json_int_t decimal_id(const char *text) {
    size_t digits = strspn(text, "0123456789");
    return digits == 0 || digits > 9 || text[digits] ? -1 : strtoll(text, NULL, 10);
}

static bool is_special_name(const struct reader *reader, const char *content) {
    for (int i = 0; i < SPECIAL_COUNT; i++)
        if (reader->names[i].content && strcmp(reader->names[i].content, content) == 0)
            return true;
    return false;
}

/* The declared added tokens of whichever file counts, into names[*count]. */
static enum err list_declared(struct name *names, size_t *count, const struct reader *reader, struct error *error) {
    json_t *decoder = json_object_get(reader->config, "added_tokens_decoder"), *value;
    const json_t *list = decoder ? NULL : json_object_get(reader->tokenizer, "added_tokens");
    const char *key;
    size_t i;
    enum err err = ERR_OK;
    json_object_foreach(decoder, key, value) {
        err = read_name(&names[*count], value, false, "added_tokens_decoder", reader, error);
        if (err != ERR_OK || (err = check_id(&names[(*count)++], decimal_id(key), reader, error)) != ERR_OK)
            return err;
    }
    json_object_foreach(decoder ? NULL : reader->added, key, value) {
        names[*count] = (struct name){ .content = key, .normalized = !is_special_name(reader, key) };
        if ((err = check_id(&names[(*count)++], json_is_integer(value) ? json_integer_value(value) : -1, reader, error)) != ERR_OK)
            return err;
    }
    json_array_foreach(list, i, value) {
        const json_t *id = json_object_get(value, "id");
        err = read_name(&names[*count], value, false, "added_tokens", reader, error);
        if (err != ERR_OK ||
            (err = check_id(&names[(*count)++], json_is_integer(id) ? json_integer_value(id) : -1, reader, error)) != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* The lists of special tokens that play no part: "extra_special_tokens", "additional_special_tokens" before version 5. */
static enum err read_extra(struct reader *reader, struct error *error) {
    static const char *const KEYS[] = { "extra_special_tokens", "additional_special_tokens" };
    const json_t *sources[] = { reader->config, json_object_get(reader->config, "added_tokens_decoder") ? NULL : reader->special };
    for (size_t i = 0; i < 4; i++) {
        const json_t *list = json_object_get(sources[i / 2], KEYS[i % 2]), *value;
        size_t at;
        json_array_foreach(list, at, value) {
            struct name name;
            enum err err = read_name(&name, value, i >= 2, KEYS[i % 2], reader, error);
            if (err != ERR_OK || (err = put_name(reader, &name, error)) != ERR_OK)
                return err;
        }
    }
    return ERR_OK;
}

static enum err read_added(struct reader *reader, struct error *error) {
    const json_t *decoder = json_object_get(reader->config, "added_tokens_decoder");
    size_t most = json_object_size(decoder) + json_object_size(reader->added) +
                  json_array_size(json_object_get(reader->tokenizer, "added_tokens"));
    size_t count = 0;
    if (most > ADDED_LIMIT)
        return error_set(error, ERR_LIMIT, "%s: want at most %d added tokens, files have %zu", reader->folder, ADDED_LIMIT, most);
    struct name *names = memory_get_array(most + 1, sizeof *names);
    enum err err = list_declared(names, &count, reader, error);
    if (err == ERR_OK) {
        qsort(names, count, sizeof *names, compare_id);
        for (size_t i = 0; i < count && err == ERR_OK; i++)
            err = put_name(reader, &names[i], error);
        reader->declared = reader->out->added.count;
    }
    for (int i = 0; i < SPECIAL_COUNT && err == ERR_OK; i++)
        err = put_name(reader, &reader->names[i], error);
    if (err == ERR_OK)
        err = read_extra(reader, error);
    free(names);
    return err;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

static enum err read_config(struct reader *reader, struct error *error) {
    static const char *const SIDES[] = { "padding_side", "truncation_side" };
    const json_t *class = json_object_get(reader->config, "tokenizer_class");
    const json_t *length = json_object_get(reader->config, "model_max_length");
    if (json_is_string(class) && strcmp(json_string_value(class), "CLIPTokenizer") != 0 &&
        strcmp(json_string_value(class), "CLIPTokenizerFast") != 0)
        return error_set(error, ERR_UNSUPPORTED, "%s: want a CLIPTokenizer, its tokenizer_config.json has %.64s", reader->folder,
                         json_string_value(class));
    for (size_t i = 0; i < 2; i++) {
        const json_t *side = json_object_get(reader->config, SIDES[i]);
        if (json_is_string(side) && strcmp(json_string_value(side), "right") != 0)
            return error_set(error, ERR_UNSUPPORTED, "%s: want %s right, its tokenizer_config.json has %.64s", reader->folder,
                             SIDES[i], json_string_value(side));
    }
    reader->out->length = 77; /* CLIP's context: every published model has it, and folders without a config mean it */
    if (!length)
        return ERR_OK;
    if (!json_is_integer(length))
        return error_set(error, ERR_INVALID, "%s: want a whole model_max_length, its tokenizer_config.json has another kind of value",
                         reader->folder);
    if (json_integer_value(length) < 3 || json_integer_value(length) > TOKENIZER_LENGTH_LIMIT)
        return error_set(error, ERR_INVALID, "%s: want a model_max_length in 3..%d, its tokenizer_config.json has %"
                         JSON_INTEGER_FORMAT, reader->folder, TOKENIZER_LENGTH_LIMIT, json_integer_value(length));
    reader->out->length = (uint32_t)json_integer_value(length);
    return ERR_OK;
}

static enum err read_all(struct reader *reader, const struct tokenizer_files *files, struct error *error) {
    struct tokenizer *out = reader->out;
    enum err err;
    if ((err = parse_file(&reader->config, &files->config, reader, "tokenizer_config.json", error)) != ERR_OK ||
        (err = parse_file(&reader->special, &files->special, reader, "special_tokens_map.json", error)) != ERR_OK ||
        (err = parse_file(&reader->added, &files->added, reader, "added_tokens.json", error)) != ERR_OK ||
        (err = parse_file(&reader->tokenizer, &files->tokenizer, reader, "tokenizer.json", error)) != ERR_OK ||
        (err = find_model(reader, files, error)) != ERR_OK || (err = check_vocabulary(reader, error)) != ERR_OK ||
        (err = read_config(reader, error)) != ERR_OK || (err = read_special_names(reader, error)) != ERR_OK ||
        (err = read_added(reader, error)) != ERR_OK)
        return err;
    out->start = added_find(&out->added, reader->names[START].content)->id;
    out->end = added_find(&out->added, reader->names[END].content)->id;
    out->padding = added_find(&out->added, reader->names[PADDING].content)->id;
    int32_t unknown = added_find(&out->added, reader->names[UNKNOWN].content)->id;
    added_finish(&out->added);
    return reader->tokenizer ? read_merges_list(reader, unknown, error)
                             : read_merges_text(reader, &files->merges, unknown, error);
}

enum err tokenizer_open_memory(struct tokenizer **tokenizer, const struct tokenizer_files *files, const char *folder,
                               struct error *error) {
    struct reader reader = { .folder = folder, .out = memory_get(sizeof(struct tokenizer)) };
    enum err err = read_all(&reader, files, error);
    if (err == ERR_OK)
        *tokenizer = reader.out;
    else
        tokenizer_close(reader.out);
    json_decref(reader.vocabulary);
    json_decref(reader.merges);
    json_decref(reader.tokenizer);
    json_decref(reader.config);
    json_decref(reader.special);
    json_decref(reader.added);
    return err;
}

enum err tokenizer_open(struct tokenizer **tokenizer, const char *folder, struct error *error) {
    struct tokenizer_files files = { 0 };
    const struct { const char *name; struct bytes *bytes; } LIST[] = {
        { "tokenizer.json", &files.tokenizer },      { "vocab.json", &files.vocab },
        { "merges.txt", &files.merges },             { "tokenizer_config.json", &files.config },
        { "special_tokens_map.json", &files.special }, { "added_tokens.json", &files.added },
    };
    enum { COUNT = sizeof LIST / sizeof *LIST };
    enum err err = ERR_OK;
    for (size_t i = 0; i < COUNT && err == ERR_OK; i++) {
        char *path = path_join(folder, LIST[i].name);
        if (file_exists(path)) {
            err = file_read(LIST[i].bytes, path, TOKENIZER_FILE_LIMIT, error);
            bytes_add(LIST[i].bytes, "", 0); /* an empty file is there, too: data is not NULL */
        }
        free(path);
    }
    if (err == ERR_OK)
        err = tokenizer_open_memory(tokenizer, &files, folder, error);
    for (size_t i = 0; i < COUNT; i++)
        bytes_release(LIST[i].bytes);
    return err;
}
