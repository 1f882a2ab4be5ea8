/*
 * sweep_reading.h - one sweep file on its way to a sweep: shared by sweep_file.c (the whole) and sweep_fields.c (what a
 * field's value may look like), and nobody else.
 */
#ifndef PROTO_SWEEP_READING_H
#define PROTO_SWEEP_READING_H

#include "proto/sweep_parts.h"

enum { READING_MODELS_LIMIT = 64 };

struct named_model {
    char *text;    /* as written */
    char *folder;
    struct model_facts facts;
    bool used;     /* by a job; an exclude's model need not be */
    bool first;    /* as a job's model; not as its refiner alone */
};

struct reading {
    const char *name;               /* stands in sentences */
    const char *folder;             /* relative files lie beside it */
    struct sweep_file *file;
    struct spec scratch;
    uint32_t lines[FIELD_COUNT];    /* where a field was given; 0: not */
    uint32_t implied_line;          /* where a sampler's name gave the schedule too; 0: nowhere */
    struct named_model models[READING_MODELS_LIMIT];
    uint32_t model_count;
    bool excluding;
    struct error *error;
};

/* Put "file:line: " before the sentence and return `code`. */
enum err reading_at(struct reading *reading, uint32_t line, enum err code);
/* Note that `field` is given here; a second time is refused. */
MUST_USE enum err reading_claim(struct reading *reading, enum field field, uint32_t line);
/* The field of a key, or the sentence that names line and nearest word. */
MUST_USE enum err reading_field(enum field *field, struct reading *reading, const struct yaml_node *key);

/* The model that `text` names, found once. */
MUST_USE enum err reading_model(const struct named_model **model, struct reading *reading, const char *text,
                                bool first);
/* The normal text of a value; *implied is set where a sampler's name holds a schedule. Sentences without a line. */
MUST_USE enum err value_normal(struct bytes *out, struct reading *reading, enum field field, const char *text,
                               bool *implies, enum schedule *implied);

/* field: value, whatever the value is. */
MUST_USE enum err field_read(struct reading *reading, enum field field, const struct yaml_node *key,
                             const struct yaml_node *value);
MUST_USE enum err zip_read(struct reading *reading, const struct yaml_node *value);
MUST_USE enum err rows_read(struct reading *reading, const struct yaml_node *value);
MUST_USE enum err excludes_read(struct reading *reading, const struct yaml_node *value);

#endif
