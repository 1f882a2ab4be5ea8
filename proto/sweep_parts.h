/*
 * sweep_parts.h - what the files of the sweep share among themselves; nobody outside proto/ includes it.
 */
#ifndef PROTO_SWEEP_PARTS_H
#define PROTO_SWEEP_PARTS_H

#include "proto/sweep.h"

/* ---- ranges (sweep_range.c) --------------------------------------------------------------------------------------- */

/* Fill `axis` with from, from + step, ... up to `to`. Texts as written; an empty range is refused. */
MUST_USE enum err axis_range(struct axis *axis, enum field field, const char *from, const char *to, const char *step,
                             struct error *error);
MUST_USE enum err axis_range_check(const struct axis *axis, struct error *error);
struct decimal axis_range_value(const struct axis *axis, uint64_t position);
/* Where on the range a text lies; false: nowhere. */
bool axis_range_position(uint64_t *position, const struct axis *axis, const char *text);

/* ---- variants (variants.c) ---------------------------------------------------------------------------------------- */

struct texts {
    char **items; /* owned */
    size_t count, room;
    size_t bytes; /* of all items together */
};
void texts_release(struct texts *texts);
void texts_add(struct texts *texts, char *text); /* takes it */

/* Append what {a|b} in `text` stands for: every combination, leftmost group slowest. \{ \| \} are themselves. Bounded by
 * LIMIT_AXIS_VALUES and LIMIT_SWEEP_BYTES. `name` begins the sentence. */
MUST_USE enum err variants_expand(struct texts *out, const char *text, const char *name, struct error *error);

/* ---- sweep files as trees (yaml.c) -------------------------------------------------------------------------------- */

enum yaml_kind { YAML_SCALAR, YAML_LIST, YAML_MAP };

struct yaml_node {
    enum yaml_kind kind;
    bool quoted;              /* YAML_SCALAR: written in quotes, or as a block */
    uint32_t line;            /* from 1 */
    char *text;               /* YAML_SCALAR, owned */
    struct yaml_node *items;  /* YAML_LIST: values; YAML_MAP: keys (scalars) and values in turn */
    size_t count;             /* of items; twice the pairs of a map */
};

/* One document. Anchors, aliases, tags, several documents, keys given twice and keys that are no texts are refused. */
MUST_USE enum err yaml_parse(struct yaml_node *root, const void *data, size_t size, const char *name, struct error *error);
void yaml_release(struct yaml_node *node);

/* ---- prompt and rows files (table_make.c) ------------------------------------------------------------------------- */

/* Decides a value that a row has for a field: gives its normal text, appended to `out`. */
typedef enum err table_value(void *context, struct bytes *out, enum field field, const char *text, struct error *error);

struct table_made {
    char *path;               /* the temporary file, owned */
    struct digest digest;
    uint64_t size, count;
    enum field fields[FIELD_COUNT]; /* in order */
    uint32_t field_count;
};

/* A table of one column: of `path` (txt: lines; csv, jsonl: `column`, or the field's own name if NULL). */
MUST_USE enum err table_make_column(struct table_made *made, const char *path, enum field field, const char *column,
                                    table_value *value, void *context, struct error *error);
/* A table of all columns of a csv or jsonl file, each named as a field is. */
MUST_USE enum err table_make_rows(struct table_made *made, const char *path, table_value *value, void *context,
                                  struct error *error);

#endif
