/*
 * tokenizer_files.h - what the files of a tokenizer say, checked, for tokenizer.c. Seen by this folder and its tests only.
 */
#ifndef PIPELINE_TEXT_TOKENIZER_FILES_H
#define PIPELINE_TEXT_TOKENIZER_FILES_H

#include "base/bytes.h"
#include "pipeline/text/added.h"
#include "pipeline/text/bpe.h"
#include "pipeline/text/tokenizer.h"

enum { TOKENIZER_LENGTH_LIMIT = 4096 };

struct tokenizer {
    struct bpe *bpe;
    struct added added;
    int32_t start, end, padding;
    uint32_t length;     /* positions */
    uint32_t vocabulary; /* largest id + 1 */
};

/* The bytes of the files; data NULL: that file is not there. */
struct tokenizer_files {
    struct bytes vocab, merges; /* vocab.json, merges.txt */
    struct bytes tokenizer;     /* tokenizer.json: wins over those two, as in transformers */
    struct bytes config;        /* tokenizer_config.json */
    struct bytes special;       /* special_tokens_map.json */
    struct bytes added;         /* added_tokens.json */
};

/* tokenizer_open on bytes in memory; `folder` names their source in sentences. The bytes stay the caller's. */
MUST_USE enum err tokenizer_open_memory(struct tokenizer **tokenizer, const struct tokenizer_files *files,
                                        const char *folder, struct error *error);

#endif
