/*
 * embeddings.h - words of a model's prompts that stand for vectors from files (textual inversion, Gal 2022).
 *
 * As diffusers' load_textual_inversion with maybe_convert_prompt: of n vectors a word is n tokens, which count for the
 * length of a prompt as any others do. Ids are those behind the text encoder's own, in the order of the files.
 */
#ifndef PIPELINE_EMBEDDINGS_H
#define PIPELINE_EMBEDDINGS_H

#include "pipeline/model.h"

/* Once, when the model has its tokenizers and text encoders. Which vectors are for which encoder, their shapes say. ERR_INVALID: for another family of
 * models, a width that is not the encoder's, a word that stands for something already. */
MUST_USE enum err model_add_embeddings(struct model *model, const struct model_embedding *files, size_t count, struct error *error);

#endif
