/*
 * clip_words.h - CLIP's own vocabulary, which single-file checkpoints leave out: clip_merges.txt, part of the program.
 */
#ifndef PIPELINE_TEXT_CLIP_WORDS_H
#define PIPELINE_TEXT_CLIP_WORDS_H

#include <jansson.h>

#include "pipeline/text/tokenizer.h"

extern const char clip_merges[], clip_merges_end[];

/* The 49,408 words with `config` as their tokenizer_config.json. */
MUST_USE enum err tokenizer_open_clip(struct tokenizer **tokenizer, const json_t *config, struct error *error);

#endif
