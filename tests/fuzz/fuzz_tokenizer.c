/*
 * fuzz_tokenizer.c - any bytes as a tokenizer's files, and then a text: refused with a sentence, or ids that exist.
 *
 * The input is cut at the bytes 0xff: tokenizer.json, vocab.json, merges.txt, tokenizer_config.json,
 * special_tokens_map.json, added_tokens.json, text. An empty piece is a file that is not there.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/text/tokenizer_files.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void take(struct bytes *out, const uint8_t **data, size_t *size) {
    const uint8_t *stop = *size ? memchr(*data, 0xff, *size) : NULL;
    size_t length = stop ? (size_t)(stop - *data) : *size;
    if (length)
        bytes_add(out, *data, length);
    *data += length + (stop != NULL);
    *size -= length + (stop != NULL);
}

static void encode(const struct tokenizer *tokenizer, const char *text) {
    struct error error = { 0 };
    uint32_t length = tokenizer_length(tokenizer);
    int32_t *ids = memory_get_array(length, sizeof *ids);
    enum err err = tokenizer_encode(ids, NULL, tokenizer, text, &error);
    for (uint32_t i = 0; err == ERR_OK && i < length; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= tokenizer_vocabulary(tokenizer))
            abort();
    if (err != ERR_OK && !error.message[0])
        abort();
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tokenizer_files files = { 0 };
    struct tokenizer *tokenizer = NULL;
    struct error error = { 0 };
    struct bytes text = BYTES_INIT;
    struct bytes *const pieces[] = { &files.tokenizer, &files.vocab, &files.merges, &files.config, &files.special,
                                     &files.added, &text };
    enum { COUNT = sizeof pieces / sizeof *pieces };
    for (size_t i = 0; i < COUNT; i++)
        take(pieces[i], &data, &size);
    enum err err = tokenizer_open_memory(&tokenizer, &files, "fuzz", &error);
    if (err == ERR_OK)
        encode(tokenizer, bytes_text(&text));
    else if (tokenizer || error.code != err || !error.message[0])
        abort();
    tokenizer_close(tokenizer);
    for (size_t i = 0; i < COUNT; i++)
        bytes_release(pieces[i]);
    return 0;
}
