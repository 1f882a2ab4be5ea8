/*
 * catalog.h - the one table of what a job can say: fields, samplers, schedules, their names, limits and neutral values.
 *
 * Everything that reads, prints, checks or documents a field goes through this table: YAML, flags, JSON, help texts,
 * canonical bytes, axis order. A field at its neutral value is absent from canonical bytes; the neutral value of a
 * field never changes once released (a default may).
 */
#ifndef PROTO_CATALOG_H
#define PROTO_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* In the order of nesting of a sweep's axes: outermost first, seed innermost. */
enum field {
    FIELD_MODEL,
    FIELD_VAE,
    FIELD_LORA,
    FIELD_EMBEDDING,
    FIELD_REFINER,
    FIELD_SIZE,
    FIELD_VAE_TILING,
    FIELD_NUMERICS,
    FIELD_DETERMINISTIC,
    FIELD_RNG,
    FIELD_SYNTAX,
    FIELD_CLIP_SKIP,
    FIELD_PREDICTION,
    FIELD_SAMPLER,
    FIELD_SCHEDULE,
    FIELD_STEPS,
    FIELD_CFG,
    FIELD_CFG_RESCALE,
    FIELD_INIT,
    FIELD_MASK,
    FIELD_STRENGTH,
    FIELD_REFINER_SWITCH,
    FIELD_NEGATIVE,
    FIELD_PROMPT,
    FIELD_SEED,
    FIELD_COUNT
};

enum field_type {
    TYPE_TEXT, TYPE_U32, TYPE_U64, TYPE_DECIMAL, TYPE_NAME /* one of a list */, TYPE_SIZE, TYPE_MODEL,
    TYPE_FILE,  /* a file's digest, or "" */
    TYPE_FILES  /* files' digests, each with something of its own: "digest:0.8+digest:1", or "" (spec.h) */
};

struct field_info {
    enum field field;
    const char *name;          /* the word in YAML, flags and JSON */
    enum field_type type;
    const char *fallback;      /* the default, as text; NULL: must be given */
    const char *neutral;       /* absent from canonical bytes at this value; NULL: always present */
    const char *minimum, *maximum; /* as text, for numbers; NULL otherwise */
    const char *const *names;  /* TYPE_NAME: NULL-ended list of canonical names */
    const char *help;          /* one line */
    bool late;                 /* younger than the first sweeps: absent from a resolved sweep too while it is fixed and neutral */
};

const struct field_info *catalog_field(enum field field);
bool field_is_file(enum field field); /* its values name files: TYPE_FILE, TYPE_FILES */
/* By name; ERR_INVALID names the nearest known one; ERR_UNSUPPORTED for fields of DESIGN that this version lacks. */
MUST_USE enum err catalog_find(enum field *field, const char *name, struct error *error);

enum sampler { SAMPLER_EULER, SAMPLER_EULER_A, SAMPLER_DDIM, SAMPLER_DPMPP_2M, SAMPLER_LCM, SAMPLER_COUNT };
/* AUTOMATIC is resolved to the sampler's own choice at submission and never in a job. */
enum schedule {
    SCHEDULE_AUTOMATIC,
    /* A1111's */
    SCHEDULE_UNIFORM, SCHEDULE_KARRAS, SCHEDULE_EXPONENTIAL, SCHEDULE_SGM_UNIFORM, SCHEDULE_SIMPLE, SCHEDULE_KL_OPTIMAL,
    SCHEDULE_ALIGN_YOUR_STEPS, SCHEDULE_BETA, SCHEDULE_DDIM,
    /* diffusers' */
    SCHEDULE_LEADING, SCHEDULE_LEADING_KARRAS, SCHEDULE_LEADING_EXPONENTIAL, SCHEDULE_LEADING_BETA,
    SCHEDULE_TRAILING, SCHEDULE_TRAILING_KARRAS, SCHEDULE_TRAILING_EXPONENTIAL, SCHEDULE_TRAILING_BETA,
    SCHEDULE_LINSPACE, SCHEDULE_LINSPACE_KARRAS, SCHEDULE_LINSPACE_EXPONENTIAL, SCHEDULE_LINSPACE_BETA,
    SCHEDULE_LCM,
    SCHEDULE_COUNT
};
enum rng { RNG_CPU, RNG_NV, RNG_COUNT };
enum syntax { SYNTAX_PLAIN, SYNTAX_COUNT };
enum predicts { PREDICTS_MODEL /* what its config says */, PREDICTS_EPSILON, PREDICTS_V, PREDICTS_SAMPLE, PREDICTS_COUNT };
/* AUTO: what the coordinator's configuration says, fixed when a sweep is submitted; never in a job. Devices count to COUNT. */
enum numerics { NUMERICS_FP32, NUMERICS_BF16, NUMERICS_FP16, NUMERICS_COUNT, NUMERICS_AUTO = NUMERICS_COUNT };

const char *sampler_name(enum sampler sampler);    /* "Euler a": A1111's */
const char *schedule_name(enum schedule schedule); /* "karras" */
const char *rng_name(enum rng rng);
const char *syntax_name(enum syntax syntax);
const char *predicts_name(enum predicts predicts); /* "v" */
const char *numerics_name(enum numerics numerics);
enum schedule schedule_automatic(enum sampler sampler); /* A1111's choice */
/* ERR_INVALID where the sampler does not have the schedule; the sentence lists those that it has. */
MUST_USE enum err schedule_check(enum schedule schedule, enum sampler sampler, struct error *error);
/* One of a field's names or aliases (SCHEDULE, RNG, SYNTAX, NUMERICS, PREDICTION), case-insensitive; the value is that of its enum,
 * or 0 and 1 for "false" and "true" (DETERMINISTIC).
 * ERR_UNSUPPORTED for names that other programs have and this version lacks. */
MUST_USE enum err catalog_name_parse(unsigned *value, enum field field, const char *text, struct error *error);
/* Edits (neighbours swapped count one) between two words, case ignored: for "the nearest known one is". */
size_t word_distance(const char *a, const char *b);
/* Case-insensitive; "DPM++ 2M Karras" gives both, otherwise *schedule is untouched. */
MUST_USE enum err sampler_parse(enum sampler *sampler, enum schedule *schedule, const char *text, struct error *error);

/* Named limits: everything from outside is held against one of these before memory is taken. */
enum {
    LIMIT_PROMPT_BYTES = 16384,
    LIMIT_STEPS = 1000,
    LIMIT_LORAS = 16,               /* of a job */
    LIMIT_EMBEDDINGS = 32,          /* of a job */
    LIMIT_TOKEN = 64,               /* bytes of an embedding's word */
    LIMIT_SWEEP_FILES = 100000,     /* different files that a sweep's values name */
    LIMIT_SIDE = 4096,              /* pixels */
    LIMIT_SWEEP_FILE = 16 << 20,    /* bytes of YAML */
    LIMIT_SWEEP_BYTES = 16 << 20,   /* of a sweep's canonical JSON */
    LIMIT_AXIS_VALUES = 100000,     /* written out in the sweep file; longer ones come from files or ranges */
    LIMIT_SWEEP_VALUES = 400000,    /* texts written in a sweep file, keys included */
    LIMIT_EXCLUDES = 32,
    LIMIT_EXCLUDE_CLASSES = 65536,  /* different sets of excludes that places can match: bounds the counting of jobs */
    LIMIT_EXCLUDE_WORK = 1 << 22,   /* combinations of such sets, axis by axis: bounds its time */
    LIMIT_TABLE_ROW = 2 << 20,      /* bytes of one row of a table, or one record of a prompt file */
    LIMIT_NAME = 120,               /* bytes of a sweep's, worker's or user's name */
    LIMIT_TABLE_COLUMNS = FIELD_COUNT,
    LIMIT_BATCH = 256,              /* jobs of one lease */
    LIMIT_SPEC_BYTES = 200 << 10,   /* a job's canonical bytes: two prompts of control characters, escaped, and the rest */
    LIMIT_LEASES = 4096,            /* leases in one PROGRESS */
    LIMIT_KEYS = 100000,            /* digests in one ACKNOWLEDGED or MISSING */
    LIMIT_LIST = 10000,             /* jobs in one JOBS */
    LIMIT_SWEEPS = 10000,           /* sweeps in one STATUS_REPORT */
    LIMIT_WORKERS = 10000,          /* workers in one WORKERS_REPORT */
    LIMIT_USERS = 10000,            /* users in one USAGE_REPORT */
    LIMIT_MODELS_AT_HAND = 256,     /* models in one WORKER_HELLO */
    LIMIT_PRIORITY = 100,           /* a sweep's is -100..100 */
    LIMIT_WEIGHT = 1000,            /* a user's is 1..1000 */
    LIMIT_SENTENCE = 4096,          /* bytes of an error's or an explanation's text */
    LIMIT_MESSAGE = 32 << 20,       /* bytes of one message */
    LIMIT_PICTURE = 24 << 20,       /* bytes of one PNG in a message */
    LIMIT_PREVIEW_SIDE = 128,       /* pixels of a preview, which travels as it is */
    LIMIT_CHUNK = 1 << 20           /* bytes of an object in one PUT or FETCH */
};
#define LIMIT_SWEEP_JOBS UINT64_C(4294967295)        /* per sweep: job indexes are 32 bits in bitmaps */
#define LIMIT_TABLE_FILE (UINT64_C(64) << 30)        /* bytes of a prompt or rows file */
#define LIMIT_OBJECT (UINT64_C(64) << 30)            /* bytes of any object */

#endif
