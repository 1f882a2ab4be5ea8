/*
 * tokenizer.h - CLIP's byte-pair encoding, exactly as transformers' CLIPTokenizer (Sennrich 2016; OpenAI CLIP).
 *
 * Text is NFC-normalised, white space collapsed, lower-cased; split by CLIP's pattern (utf8proc's categories for
 * \p{L} and \p{N}); each word is bytes -> merges by rank, the last symbol carrying "</w>". Immutable once open.
 */
#ifndef PIPELINE_TEXT_TOKENIZER_H
#define PIPELINE_TEXT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { TOKENIZER_VOCABULARY_LIMIT = 1000000, TOKENIZER_FILE_LIMIT = 64 << 20, TOKENIZER_PROMPT_LIMIT = 65536 };

struct tokenizer;

/* `folder` holds vocab.json + merges.txt (+ tokenizer_config.json, special_tokens_map.json), or tokenizer.json. */
MUST_USE enum err tokenizer_open(struct tokenizer **tokenizer, const char *folder, struct error *error);
void tokenizer_close(struct tokenizer *tokenizer);
uint32_t tokenizer_length(const struct tokenizer *tokenizer);     /* positions: 77 */
uint32_t tokenizer_vocabulary(const struct tokenizer *tokenizer); /* number of ids */

/* ids[length]: start, text, end, padding; too long a text is cut as transformers does (truncation=True), and
 * *cut (may be NULL) says how many tokens were lost. ERR_INVALID: not UTF-8. */
MUST_USE enum err tokenizer_encode(int32_t *ids, uint32_t *cut, const struct tokenizer *tokenizer, const char *text,
                                   struct error *error);

/*
 * From here on `word` stands for the `count` ids from `first` on wherever it occurs in a text, in the middle of other words, too:
 * what diffusers' load_textual_inversion adds to a tokenizer. It is normalised as texts are, so its letter case does not matter.
 * Before the first text is encoded. ERR_INVALID: not UTF-8, nothing but spaces, or a token's text already.
 */
MUST_USE enum err tokenizer_add_word(struct tokenizer *tokenizer, const char *word, int32_t first, uint32_t count,
                                     struct error *error);

#endif
