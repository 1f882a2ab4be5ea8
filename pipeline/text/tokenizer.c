/*
 * tokenizer.c - a text to ids: added tokens out, normalise, cut into words, byte-pair encode, frame and pad.
 *
 * The steps and their order are those that transformers 5 builds for CLIPTokenizer out of the tokenizers library.
 */
#include "pipeline/text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/text/tokenizer_files.h"
#include "pipeline/text/unicode.h"

void tokenizer_close(struct tokenizer *tokenizer) {
    if (!tokenizer)
        return;
    bpe_destroy(tokenizer->bpe);
    added_release(&tokenizer->added);
    free(tokenizer);
}

uint32_t tokenizer_length(const struct tokenizer *tokenizer) {
    return tokenizer->length;
}

uint32_t tokenizer_vocabulary(const struct tokenizer *tokenizer) {
    return tokenizer->vocabulary;
}

static size_t prefix_size(const uint8_t *text, size_t size, const char *prefix) {
    size_t length = strlen(prefix);
    return size >= length && memcmp(text, prefix, length) == 0 ? length : 0;
}

/* How many bytes at text[0..size) belong to the word that begins there, by CLIP's pattern; first alternative first:
 *   <\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ */
static size_t word_size(enum text_class class, const uint8_t *text, size_t size) {
    static const char *const LITERALS[] = { "<|startoftext|>", "<|endoftext|>", "'s", "'t", "'re", "'ve", "'m", "'ll", "'d" };
    int32_t codepoint;
    for (size_t i = 0; i < sizeof LITERALS / sizeof *LITERALS; i++) {
        size_t length = prefix_size(text, size, LITERALS[i]);
        if (length)
            return length;
    }
    size_t end = text_next(&codepoint, text, size);
    if (class == TEXT_NUMBER)
        return end;
    while (end < size) {
        size_t step = text_next(&codepoint, text + end, size - end);
        if (text_class_of(codepoint) != class)
            break;
        end += step;
    }
    return end;
}

/*
 * One match of CLIP's pattern. The byte-level step that follows cuts it once more, by GPT-2's pattern. Of CLIP's matches
 * only the two literal marks are more than one GPT-2 word ("<|", "startoftext", "|>"); they come here only where they
 * are no added tokens: in other letter case, or put together by normalisation.
 */
static void encode_match(struct ids *ids, const struct bpe *bpe, const uint8_t *text, size_t size) {
    if (size > 4 && text[0] == '<' && text[1] == '|' && text[2] >= 'a' && text[2] <= 'z') {
        bpe_encode(ids, bpe, text, 2);
        bpe_encode(ids, bpe, text + 2, size - 4);
        bpe_encode(ids, bpe, text + size - 2, 2);
    } else {
        bpe_encode(ids, bpe, text, size);
    }
}

/* Normalised text without added tokens. */
static void encode_words(struct ids *ids, const struct bpe *bpe, const uint8_t *text, size_t size) {
    for (size_t at = 0; at < size;) {
        int32_t codepoint;
        size_t step = text_next(&codepoint, text + at, size - at);
        enum text_class class = text_class_of(codepoint);
        if (class != TEXT_SPACE) {
            step = word_size(class, text + at, size - at);
            encode_match(ids, bpe, text + at, step);
        }
        at += step;
    }
}

static void add_token(struct ids *ids, const struct added_token *token) {
    for (uint32_t i = 0; i < token->count; i++)
        ids_add(ids, token->id + (int32_t)i);
}

/* A run of the text as written, without plain added tokens. */
static enum err encode_run(struct ids *ids, const struct tokenizer *tokenizer, const uint8_t *text, size_t size,
                           struct error *error) {
    struct bytes normal = BYTES_INIT;
    const struct added_token *token;
    size_t from = 0, place;
    enum err err = text_normalize(&normal, text, size, error);
    if (err == ERR_OK) {
        while ((token = added_next(&place, &tokenizer->added, true, normal.data, from, normal.size)) != NULL) {
            encode_words(ids, tokenizer->bpe, normal.data + from, place - from);
            add_token(ids, token);
            from = place + token->size;
        }
        if (from < normal.size)
            encode_words(ids, tokenizer->bpe, normal.data + from, normal.size - from);
    }
    bytes_release(&normal);
    return err;
}

static enum err encode_text(struct ids *ids, const struct tokenizer *tokenizer, const uint8_t *text, size_t size,
                            struct error *error) {
    const struct added_token *token;
    size_t from = 0, place;
    while ((token = added_next(&place, &tokenizer->added, false, text, from, size)) != NULL) {
        enum err err = encode_run(ids, tokenizer, text + from, place - from, error);
        if (err != ERR_OK)
            return err;
        add_token(ids, token);
        from = place + token->size;
    }
    return encode_run(ids, tokenizer, text + from, size - from, error);
}

static enum err check_word(const struct tokenizer *tokenizer, const char *word, struct error *error) {
    struct bytes normal = BYTES_INIT;
    size_t place;
    if (!utf8_valid(word, strlen(word), &place))
        return error_set(error, ERR_INVALID, "want a word in UTF-8, byte 0x%02x at place %zu is none", (uint8_t)word[place], place);
    enum err err = text_normalize(&normal, (const uint8_t *)word, strlen(word), error);
    if (err == ERR_OK && (normal.size == 0 || (normal.size == 1 && normal.data[0] == ' ')))
        err = error_set(error, ERR_INVALID, "want a word, have nothing but spaces");
    for (size_t i = 0; i < tokenizer->added.count && err == ERR_OK; i++) {
        const struct added_token *token = &tokenizer->added.tokens[i];
        if (token->size == normal.size && memcmp(token->text, normal.data, normal.size) == 0)
            err = error_set(error, ERR_INVALID, "want a word that stands for nothing yet, have \"%s\" (letter case does not matter)",
                            token->content);
    }
    bytes_release(&normal);
    return err;
}

enum err tokenizer_add_word(struct tokenizer *tokenizer, const char *word, int32_t first, uint32_t count, struct error *error) {
    enum err err = check_word(tokenizer, word, error);
    if (err == ERR_OK)
        err = added_put(&tokenizer->added, word, first, true, error);
    if (err == ERR_OK) {
        ((struct added_token *)added_find(&tokenizer->added, word))->count = count;
        added_finish(&tokenizer->added);
    }
    return err;
}

enum err tokenizer_encode(int32_t *out, uint32_t *cut, const struct tokenizer *tokenizer, const char *text,
                          struct error *error) {
    struct ids ids = IDS_INIT;
    size_t size = strlen(text), place;
    if (size > TOKENIZER_PROMPT_LIMIT)
        return error_set(error, ERR_LIMIT, "prompt: want at most %d bytes, it has %zu", TOKENIZER_PROMPT_LIMIT, size);
    if (!utf8_valid(text, size, &place))
        return error_set(error, ERR_INVALID, "prompt: want UTF-8, byte 0x%02x at place %zu is none", (uint8_t)text[place],
                         place);
    enum err err = encode_text(&ids, tokenizer, (const uint8_t *)text, size, error);
    if (err == ERR_OK) {
        size_t room = tokenizer->length - 2, kept = ids.count < room ? ids.count : room;
        out[0] = tokenizer->start;
        for (size_t i = 0; i < kept; i++)
            out[1 + i] = ids.items[i];
        out[1 + kept] = tokenizer->end;
        for (size_t i = kept + 2; i < tokenizer->length; i++)
            out[i] = tokenizer->padding;
        if (cut)
            *cut = (uint32_t)(ids.count - kept);
    }
    ids_release(&ids);
    return err;
}
