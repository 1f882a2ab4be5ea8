/*
 * embeddings.c - vectors of files into a model's text encoders, and their words into its tokenizers.
 */
#include "pipeline/embeddings.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/weights/embedding.h"

/* The kind of models that published embeddings of this width are for. */
static const char *family_of(const struct embedding *embedding) {
    return embedding->paired                                ? "Stable Diffusion XL"
           : embedding->widths[EMBEDDING_FIRST] == 768  ? "Stable Diffusion 1"
           : embedding->widths[EMBEDDING_FIRST] == 1024 ? "Stable Diffusion 2"
                                                        : "another family of models";
}

/* The part of an SDXL embedding that an encoder reads; a refiner has the second encoder alone. */
static enum embedding_part part_of(const struct family *family, uint32_t text) {
    return strcmp(family->texts[text].encoder, "text_encoder_2") == 0 ? EMBEDDING_SECOND : EMBEDDING_FIRST;
}

static enum err check_fit(const struct model *model, const struct embedding *embedding, const char *path, struct error *error) {
    const struct family *family = model->index.family;
    if (embedding->paired && !family->pooled) {
        return error_set(error, ERR_INVALID, "embedding %s: want one tensor of width %u, that of the model's one text encoder, file has"
                         " clip_l of width %u and clip_g of width %u (an embedding for %s)", path, model->texts[0].encoder.config.width,
                         embedding->widths[EMBEDDING_FIRST], embedding->widths[EMBEDDING_SECOND], family_of(embedding));
    }
    if (!embedding->paired && family->pooled) {
        return error_set(error, ERR_INVALID, "embedding %s: want clip_l and clip_g, a part for each text encoder of Stable Diffusion XL, file"
                         " has one tensor of width %u (an embedding for %s)", path, embedding->widths[EMBEDDING_FIRST],
                         family_of(embedding));
    }
    for (uint32_t i = 0; i < family->text_count; i++) {
        uint32_t want = model->texts[i].encoder.config.width, have = embedding->widths[part_of(family, i)];
        if (want != have) {
            return error_set(error, ERR_INVALID, "embedding %s: want vectors of width %u, that of the model's %s, file has width %u"
                             " (an embedding for %s)", path, want, family->texts[i].encoder, have, family_of(embedding));
        }
    }
    return ERR_OK;
}

/* One file's word stands for the ids from `before` behind the encoders' own on. */
static enum err add_word(struct model *model, const struct model_embedding *file, uint32_t before, uint32_t count,
                         struct error *error) {
    for (uint32_t i = 0; i < model->index.family->text_count; i++) {
        struct text_part *text = &model->texts[i];
        int32_t first = (int32_t)(text->encoder.config.vocabulary + before);
        enum err err = tokenizer_add_word(text->tokenizer, file->word, first, count, error);
        if (err != ERR_OK) {
            if (error != NULL) {
                error_prefix(error, "embedding %s", file->path);
            }
            return err;
        }
    }
    return ERR_OK;
}

/* The rows of all files, one behind the other, for one encoder. */
static enum err add_rows(struct model *model, uint32_t text, const struct embedding *embeddings, size_t count, uint32_t rows,
                         struct error *error) {
    struct text_encoder *encoder = &model->texts[text].encoder;
    enum embedding_part part = part_of(model->index.family, text);
    size_t width = encoder->config.width, at = 0;
    float *table = memory_get_array(rows * width, sizeof *table);
    for (size_t i = 0; i < count; i++) {
        memcpy(table + at, embeddings[i].vectors[part], embeddings[i].count * width * sizeof *table);
        at += embeddings[i].count * width;
    }
    enum err err = text_encoder_add(encoder, table, rows, error);
    free(table);
    return err;
}

enum err model_add_embeddings(struct model *model, const struct model_embedding *files, size_t count, struct error *error) {
    struct embedding *embeddings = memory_get_array(count, sizeof *embeddings);
    uint32_t rows = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        err = embedding_read(&embeddings[i], files[i].path, error);
        if (err == ERR_OK) {
            err = check_fit(model, &embeddings[i], files[i].path, error);
        }
        if (err == ERR_OK) {
            err = add_word(model, &files[i], rows, embeddings[i].count, error);
        }
        rows += embeddings[i].count;
    }
    for (uint32_t i = 0; i < model->index.family->text_count && err == ERR_OK && count > 0; i++) {
        err = add_rows(model, i, embeddings, count, rows, error);
    }
    for (size_t i = 0; i < count; i++) {
        embedding_release(&embeddings[i]);
    }
    free(embeddings);
    return err;
}
