/*
 * file_names.h - from what a person writes for a file to its digest: found beside the sweep file, here, or in a models
 * folder; hashed once.
 */
#ifndef PROTO_FILE_NAMES_H
#define PROTO_FILE_NAMES_H

#include "base/bytes.h"
#include "base/hash.h"
#include "proto/catalog.h"

/* The file that `text` names as a value of `field` (a TYPE_FILE or TYPE_FILES field): a path, relative to `beside` first
 * (which may be NULL), then to the working directory; for weights also a name with or without ".safetensors" in a models
 * folder (model.h) or in its folder for that kind (lora, loras, vae, embeddings, ...); or 64 hex digits, looked for among the
 * files of those folders. Pickles are refused for what they are. *path is owned by the caller. */
MUST_USE enum err file_find(char **path, enum field field, const char *text, const char *beside, struct error *error);

struct named_file {
    enum field field;
    char *text; /* as written */
    char *path;
    struct digest digest;
};

/* The files that one submission names, each found and hashed once. Zeroed: empty. */
struct file_book {
    struct named_file *files;
    size_t count, room;
    size_t *index; /* [index_room] by text: 1 + its place, 0: free */
    size_t index_room;
};
void file_book_release(struct file_book *book);
/* *file is borrowed until the next call. ERR_LIMIT beyond LIMIT_SWEEP_FILES. */
MUST_USE enum err file_book_find(const struct named_file **file, struct file_book *book, enum field field, const char *text,
                                 const char *beside, struct error *error);

/* Append one item of a list to `out`, which holds nothing else: NAME and its weight or word (NULL: what the field says then). */
MUST_USE enum err file_item(struct bytes *out, struct file_book *book, enum field field, const char *name, const char *rest,
                            const char *beside, struct error *error);
/* The value of a file field with digests in place of names: what spec_set reads. Lists are NAME[:REST] joined by "+"; where a
 * name holds one of these itself a mapping says it. */
MUST_USE enum err file_value(struct bytes *out, struct file_book *book, enum field field, const char *text, const char *beside,
                             struct error *error);

#endif
