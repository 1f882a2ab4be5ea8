/*
 * clip_words.c - the vocabulary that follows from CLIP's merges: 256 bytes, the same at a word's end, the merges in order, two
 * marks.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/text/clip_words.h"
#include "pipeline/text/tokenizer_files.h"

__asm__(".section .rodata\n"
        ".global clip_merges, clip_merges_end\n"
        "clip_merges: .incbin \"" CLIP_MERGES "\"\n"
        "clip_merges_end: .byte 0\n"
        ".previous\n");

static void put_utf8(char out[4], uint32_t codepoint) {
    if (codepoint < 0x80) {
        out[0] = (char)codepoint;
        out[1] = '\0';
    } else {
        out[0] = (char)(0xc0 | codepoint >> 6);
        out[1] = (char)(0x80 | (codepoint & 0x3f));
        out[2] = '\0';
    }
}

/* Bytes that are letters of their own, in CLIP's order; the others follow, as code points from 256 on. */
static bool is_plain_byte(uint32_t byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

static void add_word(json_t *vocabulary, const char *word) {
    json_object_set_new(vocabulary, word, json_integer((json_int_t)json_object_size(vocabulary)));
}

static void add_letters(json_t *vocabulary, const char *tail) {
    uint32_t next = 256;
    char word[16];
    for (int plain = 1; plain >= 0; plain--)
        for (uint32_t byte = 0; byte < 256; byte++) {
            if (is_plain_byte(byte) != (plain == 1))
                continue;
            put_utf8(word, plain ? byte : next++);
            strcat(word, tail);
            add_word(vocabulary, word);
        }
}

static json_t *vocabulary_make(void) {
    json_t *vocabulary = json_object();
    add_letters(vocabulary, "");
    add_letters(vocabulary, "</w>");
    const char *line = strchr(clip_merges, '\n') + 1; /* behind "#version: ..." */
    while (line < clip_merges_end) {
        const char *end = strchr(line, '\n'), *space = strchr(line, ' ');
        char *word = text_format("%.*s%.*s", (int)(space - line), line, (int)(end - space - 1), space + 1);
        add_word(vocabulary, word);
        free(word);
        line = end + 1;
    }
    add_word(vocabulary, "<|startoftext|>");
    add_word(vocabulary, "<|endoftext|>");
    return vocabulary;
}

static struct bytes bytes_of(char *text) { /* takes it */
    size_t size = strlen(text);
    return (struct bytes){ (uint8_t *)text, size, size };
}

enum err tokenizer_open_clip(struct tokenizer **tokenizer, const json_t *config, struct error *error) {
    json_t *vocabulary = vocabulary_make();
    struct tokenizer_files files = {
        .vocab = bytes_of(json_dumps(vocabulary, JSON_COMPACT)),
        .merges = { (uint8_t *)clip_merges, (size_t)(clip_merges_end - clip_merges), 0 },
        .config = bytes_of(json_dumps(config, JSON_COMPACT)),
    };
    enum err err = tokenizer_open_memory(tokenizer, &files, "CLIP's vocabulary", error);
    free(files.vocab.data);
    free(files.config.data);
    json_decref(vocabulary);
    return err;
}
