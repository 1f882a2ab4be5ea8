/*
 * embedding.c - which tensors of a file are an embedding's, and their numbers.
 */
#include "pipeline/weights/embedding.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/weights/weights.h"

static const char *const PAIR[EMBEDDING_PARTS] = { "clip_l", "clip_g" };

void embedding_release(struct embedding *embedding) {
    for (size_t i = 0; i < EMBEDDING_PARTS; i++)
        free(embedding->vectors[i]);
    *embedding = (struct embedding){ 0 };
}

static bool has(const struct safetensors *file, const char *name) {
    for (size_t i = 0; i < safetensors_count(file); i++)
        if (strcmp(safetensors_name(file, i), name) == 0)
            return true;
    return false;
}

/* Names of the parts in the file; names[EMBEDDING_SECOND] NULL: there is one. */
static enum err find_parts(const char *names[EMBEDDING_PARTS], const struct safetensors *file, const char *path,
                           struct error *error) {
    size_t count = safetensors_count(file);
    bool first = has(file, PAIR[EMBEDDING_FIRST]), second = has(file, PAIR[EMBEDDING_SECOND]);
    names[EMBEDDING_FIRST] = names[EMBEDDING_SECOND] = NULL;
    if (first != second)
        return error_set(error, ERR_CORRUPT, "embedding %s: want clip_l and clip_g, a part for each text encoder of SDXL, file has no %s",
                         path, PAIR[first ? EMBEDDING_SECOND : EMBEDDING_FIRST]);
    if (first && count == 2) {
        memcpy(names, PAIR, sizeof PAIR);
        return ERR_OK;
    }
    if (count != 1)
        return error_set(error, ERR_UNSUPPORTED, "embedding %s: want one tensor (emb_params, or called as its word) or clip_l and clip_g,"
                         " file has %zu tensors%s%.100s", path, count, count ? ", the first is " : "",
                         count ? safetensors_name(file, 0) : "");
    names[EMBEDDING_FIRST] = safetensors_name(file, 0);
    return ERR_OK;
}

static enum err read_part(struct embedding *embedding, enum embedding_part part, const struct safetensors *file, const char *name,
                          const char *path, struct error *error) {
    struct weight_view view;
    enum err err = safetensors_find(&view, file, name, error);
    if (err != ERR_OK) {
        if (error)
            error_prefix(error, "embedding");
        return err;
    }
    if (view.dims < 1 || view.dims > 2)
        return error_set(error, ERR_CORRUPT, "embedding %s: %.100s: want vectors [n,width] or one [width], file has %u dimensions", path,
                         name, view.dims);
    uint64_t count = view.dims == 2 ? view.shape[0] : 1, width = view.shape[view.dims - 1];
    if (count < 1 || width < 1)
        return error_set(error, ERR_CORRUPT, "embedding %s: %.100s: want at least one vector, file has %llu of width %llu", path, name,
                         (unsigned long long)count, (unsigned long long)width);
    if (count > EMBEDDING_VECTORS_LIMIT || width > EMBEDDING_WIDTH_LIMIT)
        return error_set(error, ERR_LIMIT, "embedding %s: %.100s: want at most %d vectors of width %d, file has %llu of width %llu", path,
                         name, EMBEDDING_VECTORS_LIMIT, EMBEDDING_WIDTH_LIMIT, (unsigned long long)count, (unsigned long long)width);
    if (part != EMBEDDING_FIRST && count != embedding->count)
        return error_set(error, ERR_CORRUPT, "embedding %s: want as many vectors in clip_g as in clip_l, file has %llu and %u", path,
                         (unsigned long long)count, embedding->count);
    size_t elements = (size_t)(count * width);
    float *vectors = embedding->vectors[part] = memory_get_array(elements, sizeof *vectors);
    floats_widen(vectors, view.data, view.dtype, elements);
    embedding->count = (uint32_t)count;
    embedding->widths[part] = (uint32_t)width;
    for (size_t i = 0; i < elements; i++)
        if (!isfinite(vectors[i]))
            return error_set(error, ERR_CORRUPT, "embedding %s: %.100s: want finite numbers, file has %g in vector %zu", path, name,
                             (double)vectors[i], i / (size_t)width);
    return ERR_OK;
}

static enum err read_all(struct embedding *out, const struct safetensors *file, const char *path, struct error *error) {
    const char *names[EMBEDDING_PARTS];
    struct embedding read = { 0 };
    enum err err = find_parts(names, file, path, error);
    if (err == ERR_OK)
        err = read_part(&read, EMBEDDING_FIRST, file, names[EMBEDDING_FIRST], path, error);
    if (err == ERR_OK && names[EMBEDDING_SECOND]) {
        read.paired = true;
        err = read_part(&read, EMBEDDING_SECOND, file, names[EMBEDDING_SECOND], path, error);
    }
    if (err == ERR_OK)
        *out = read;
    else
        embedding_release(&read);
    return err;
}

enum err embedding_read(struct embedding *embedding, const char *path, struct error *error) {
    struct safetensors *file = NULL;
    enum err err = safetensors_open(&file, path, error);
    if (err == ERR_OK)
        err = read_all(embedding, file, path, error);
    safetensors_close(file);
    return err;
}

enum err embedding_read_memory(struct embedding *embedding, const void *data, size_t size, const char *name, struct error *error) {
    struct safetensors *file = NULL;
    enum err err = safetensors_open_memory(&file, data, size, name, error);
    if (err == ERR_OK)
        err = read_all(embedding, file, name, error);
    safetensors_close(file);
    return err;
}
