/*
 * component_parts.h - what the files of the component share among themselves; nobody outside weights/ includes it.
 */
#ifndef PIPELINE_WEIGHTS_COMPONENT_PARTS_H
#define PIPELINE_WEIGHTS_COMPONENT_PARTS_H

#include "pipeline/weights/lora.h"
#include "pipeline/weights/weights.h"

/* How a tensor lies in its file. */
enum slot_form {
    SLOT_PLAIN,
    SLOT_FIRST_THIRD, /* rows of a fused projection [3n, ...] */
    SLOT_SECOND_THIRD,
    SLOT_LAST_THIRD,
    SLOT_TRANSPOSED,  /* [columns, rows] */
    SLOT_SQUEEZED     /* [rows, columns, 1, 1], wanted as [rows, columns] */
};

struct slot {
    char *name;                     /* owned: as diffusers names it */
    const struct safetensors *file;
    const char *source;             /* its name in the file, borrowed */
    enum slot_form form;
    bool used;
    struct lora_part *parts;        /* chained, to be merged in this order; or NULL */
};

struct component {
    char *name;
    json_t *config;
    struct safetensors **files;
    size_t file_count;
    struct slot *slots; /* sorted by name */
    size_t slot_count;
    float **made;       /* views that are no file's bytes: [made_count] until component_settle */
    size_t made_count;
    bool measured;      /* component_measure */
};

/* The tensor of a slot in the form that is asked for, without LoRAs; of a measured component without data. */
MUST_USE enum err slot_view(struct weight_view *view, struct component *component, const struct slot *slot, struct error *error);
void component_add_slot(struct component *component, const char *name, const struct safetensors *file, const char *source,
                        enum slot_form form);
void component_add_file(struct component *component, struct safetensors *file); /* takes it */
/* After the last slot. ERR_CORRUPT: two of one name. */
MUST_USE enum err component_sort(struct component *component, struct error *error);

#endif
