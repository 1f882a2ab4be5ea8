/*
 * sweep.h - a sweep is a spec with axes: never expanded. Index <-> job is arithmetic.
 *
 * The resolved sweep is a canonical JSON document; its SHA-256 is the sweep's id, and it is itself an object of the
 * store. Both the command line (from YAML) and the coordinator (from SUBMIT) build a struct sweep through the same
 * checks.
 *
 * Resolved JSON:
 *   {"axes":[{"fields":["prompt"],"values":[["a frog"],["an owl"]]},
 *            {"fields":["prompt","seed"],"table":"<sha256>","count":1000000,"size":123456},
 *            {"fields":["seed"],"from":"0","to":"63","step":"1"}],
 *    "exclude":[{"cfg":["7","8"],"sampler":["DDIM"]}],
 *    "fixed":{"model":"<sha256>","size":"64x64","steps":"20", ... every field not on an axis, as text (late ones at their neutral value are left out)},
 *    "sweep":1}
 * Axes stand in order of nesting (outermost first; an axis of several fields stands at its outermost field's place).
 *
 * A table is an object: one line a row, each line a JSON array of texts, one per field (RFC 8259, LF at each end).
 * Prompt files (txt, csv, jsonl) and `rows:` files become tables before submission.
 */
#ifndef PROTO_SWEEP_H
#define PROTO_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "proto/catalog.h"
#include "proto/file_names.h"
#include "proto/model.h"
#include "proto/spec.h"

enum { AXIS_FIELDS_LIMIT = FIELD_COUNT, SWEEP_AXES_LIMIT = FIELD_COUNT };

enum axis_kind { AXIS_VALUES, AXIS_RANGE, AXIS_TABLE };

struct axis {
    enum axis_kind kind;
    enum field fields[AXIS_FIELDS_LIMIT];
    uint32_t field_count;
    uint64_t count;              /* positions */
    char **values;               /* AXIS_VALUES: [count * field_count], owned */
    struct decimal from, step;   /* AXIS_RANGE of decimals or integers below 2^63 */
    uint64_t seed_from, seed_step; /* AXIS_RANGE of seeds */
    struct digest table;         /* AXIS_TABLE */
    uint64_t table_size;
    struct table *rows;          /* AXIS_TABLE: opened by sweep_attach, closed by sweep_release */
    /* Which excludes (a bit each) agree with a position, as far as this axis has a say; made by sweep_check. */
    uint32_t mask;               /* where nothing below says otherwise */
    uint32_t *masks;             /* AXIS_VALUES: [count], or NULL */
    struct axis_point *points;   /* AXIS_RANGE: positions named by an exclude, in order */
    uint32_t point_count;
};

struct axis_point {
    uint64_t position;
    uint32_t mask;
};

struct exclude {
    /* for each field: the texts that match (NULL: any). A job is excluded if all given fields match. */
    char **texts[FIELD_COUNT];
    uint32_t counts[FIELD_COUNT];
};

struct sweep {
    struct spec fixed;
    struct axis axes[SWEEP_AXES_LIMIT];
    uint32_t axis_count;
    struct exclude *excludes;
    uint32_t exclude_count;
    uint32_t fixed_mask;         /* excludes that agree with the fixed values; made by sweep_check */
    uint64_t jobs;               /* places less excluded ones; made by sweep_check */
};

void sweep_release(struct sweep *sweep);

/* Grid positions, excluded ones included: an index is 0..places-1. ERR_LIMIT beyond LIMIT_SWEEP_JOBS, both values said. */
MUST_USE enum err sweep_places(uint64_t *places, const struct sweep *sweep, struct error *error);
/* What single values cannot say: order and fields of the axes, places, combinations of sampler and schedule, excludes (none on a
 * field that comes from a table; at least one job left). Counts the jobs without walking over them. sweep_parse and
 * sweep_file_read have done it; call it after filling a struct sweep by hand. */
MUST_USE enum err sweep_check(struct sweep *sweep, struct error *error);
/* How many of them are jobs. */
uint64_t sweep_jobs(const struct sweep *sweep);
bool sweep_excluded(const struct sweep *sweep, uint64_t index);
/* The job at `index`, checked. *spec is an output: what it held before is not released. Fails only on a table that cannot be read or has a bad row (both named). */
MUST_USE enum err sweep_job(struct spec *spec, const struct sweep *sweep, uint64_t index, struct error *error);
/* Position on each axis at `index` (positions[axis_count]). */
void sweep_positions(uint64_t *positions, const struct sweep *sweep, uint64_t index);
/* The text of a field at a position of an axis (for labels and names). */
MUST_USE enum err axis_text(struct bytes *text, const struct axis *axis, uint64_t position, enum field field,
                            struct error *error);

/* Resolved JSON <-> sweep. sweep_parse checks everything again: it reads what came over the network. */
MUST_USE enum err sweep_resolved(struct bytes *json, const struct sweep *sweep, struct error *error);
MUST_USE enum err sweep_parse(struct sweep *sweep, const void *data, size_t size, struct error *error);

/* Does a job of the sweep leave its numerics to the farm (numerics auto)? Tables never do: they are refused when they are made. */
bool sweep_leaves_numerics(const struct sweep *sweep);
/* Fix them, in axes and excludes too. It is another sweep then, with another id: write it (sweep_resolved), and read that. */
void sweep_fix_numerics(struct sweep *sweep, enum numerics numerics);

/* Sizes against the model's factor, for every value of the size axis. Call once facts are known. */
MUST_USE enum err sweep_check_model(const struct sweep *sweep, const struct model_facts *facts, struct error *error);

/* ---- tables --------------------------------------------------------------------------------------------------------- */

/* Random access to the rows of a table file: a sparse index of offsets (a few bytes a row), rows read with pread, so
 * that a million captions cost megabytes and not their size. Thread-safe reads. */
struct table;
MUST_USE enum err table_open(struct table **table, const char *path, uint32_t columns, struct error *error);
void table_close(struct table *table);
uint64_t table_count(const struct table *table);
uint64_t table_size(const struct table *table); /* bytes of the file */
/* Into columns[columns], each of which is cleared first. */
MUST_USE enum err table_row(struct bytes *columns[], const struct table *table, uint64_t row, struct error *error);

/* Where a sweep's tables lie as files: returns an owned path for a digest, or NULL. */
typedef char *sweep_table_path(void *context, const struct digest *digest);
/* Open every table of the sweep that is not open yet; sweep_release closes them. Also checks count and size against the JSON. */
MUST_USE enum err sweep_attach(struct sweep *sweep, sweep_table_path *path, void *context, struct error *error);

/* ---- from a sweep file ---------------------------------------------------------------------------------------------- */

/* What reading a YAML sweep file gives: the sweep, its name, and the tables made on the way. */
struct sweep_file {
    struct sweep sweep;
    char *name;             /* `name:`, else the file's stem */
    struct {
        char *path;         /* a temporary file, removed by sweep_file_release */
        struct digest digest;
        uint64_t size;
    } tables[SWEEP_AXES_LIMIT];
    uint32_t table_count;
    char *models[64];       /* distinct model folders named, in order; their digests are in the sweep */
    uint32_t model_count;
    struct file_book files; /* that its values name; those of excludes too */
    uint64_t tiling_within; /* bytes that vae_tiling is to be found for, and then set in sweep.fixed; 0: none is to be found */
};

/* Reads the file, its prompt and rows files, and its models (model_find, model_facts_read), and checks sizes against each
 * model. The sweep's tables are attached. docs/PROTOCOL.md and the README describe the format. Sentences begin with file and
 * line: "frog.yaml:4: steps: want 1..1000, have 0". */
MUST_USE enum err sweep_file_read(struct sweep_file *file, const char *path, struct error *error);
/* The same from memory; relative files are looked up beside `folder`. `name` stands in sentences ("frog.yaml:4: ..."). */
MUST_USE enum err sweep_file_parse(struct sweep_file *file, const void *data, size_t size, const char *name,
                                   const char *folder, struct error *error);
void sweep_file_release(struct sweep_file *file);

#endif
