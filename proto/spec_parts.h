/*
 * spec_parts.h - what the files of the spec share among themselves; nobody outside proto/ includes it.
 */
#ifndef PROTO_SPEC_PARTS_H
#define PROTO_SPEC_PARTS_H

#include "proto/spec.h"

/* A list of files from its text: "digest[:weight]+...", "digest:word+...". *list (owned) becomes the normal text, or NULL. */
MUST_USE enum err loras_set(char **list, const char *text, struct error *error);
MUST_USE enum err embeddings_set(char **list, const char *text, struct error *error);

#endif
