/*
 * spec.h - a job as a value: every field decided, the model named by digest. Its key is the SHA-256 of its canonical
 * bytes; the same work has the same key, whoever asked for it and whenever.
 */
#ifndef PROTO_SPEC_H
#define PROTO_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "proto/catalog.h"

enum { RENDER_RULES = 1 }; /* `render` of canonical bytes for numerics fp32; worker/render asserts it is the pipeline's */

/* units / 10^places, reduced: no trailing zeros. Decimal arithmetic, never binary. */
struct decimal {
    int64_t units;
    uint32_t places;
};
MUST_USE enum err decimal_parse(struct decimal *decimal, const char *text, struct error *error); /* "7", "4.50", "-.5" */
void decimal_format(char out[32], struct decimal decimal);                                         /* shortest */
struct decimal decimal_reduce(struct decimal decimal);                                             /* trailing zeros off */
double decimal_value(struct decimal decimal);
int decimal_compare(struct decimal a, struct decimal b);

struct spec {
    struct digest model;
    struct digest vae, init, mask; /* of files; zero: none */
    struct digest refiner;         /* a second model; zero: none */
    char *lora;      /* owned, "digest:weight+...", in the order they are applied; NULL: none */
    char *embedding; /* owned, "digest:word+..."; NULL: none */
    char *prompt;   /* owned, UTF-8, never NULL */
    char *negative; /* owned, UTF-8, never NULL */
    uint64_t seed;
    uint32_t width, height;
    uint32_t vae_tiling; /* pixels, 0: none */
    uint32_t steps;
    uint32_t clip_skip; /* A1111's: 1 is the last layer */
    struct decimal cfg, cfg_rescale;
    struct decimal strength; /* of init */
    struct decimal refiner_switch;
    enum predicts prediction;
    enum sampler sampler;
    enum schedule schedule; /* never AUTOMATIC in a checked spec */
    enum rng rng;
    enum syntax syntax;
    enum numerics numerics;
    bool deterministic; /* the same bytes whatever shares its batch: worker/render draws it alone where batches change bytes */
};

void spec_init(struct spec *spec); /* every default of the catalog; prompt "", model zero */
void spec_init_neutral(struct spec *spec); /* the same, but late fields at their neutral values: what a job that lacks them means */
void spec_release(struct spec *spec);
void spec_copy(struct spec *to, const struct spec *from); /* `to` is initialised or released before */
void spec_take(struct spec *to, struct spec *from);       /* moves; `from` is as released */

/* One field from its text, checked against type and limits; the sentence begins with the field's name. A sampler that
 * names a schedule too ("DPM++ 2M Karras") sets both. Models and files want 64 hex digits here: names and paths are
 * the command line's business (file_names.h). seed "random" or "-1" draws one now. */
MUST_USE enum err spec_set(struct spec *spec, enum field field, const char *text, struct error *error);
/* The text that spec_set would read back. */
void spec_get(struct bytes *text, const struct spec *spec, enum field field);
/* What single fields cannot say: model given, schedule resolved (AUTOMATIC becomes the sampler's choice), and
 * combinations that have no meaning. */
MUST_USE enum err spec_check(struct spec *spec, struct error *error);

void spec_canonical(struct bytes *out, const struct spec *spec); /* DESIGN section 4 */
struct digest spec_key(const struct spec *spec);
/* Does rng `cpu` fold this seed onto another one? It looks at the low 32 bits only (seed 2^32 draws what seed 0 draws), so a
 * command line may want to warn. */
bool spec_seed_folds(const struct spec *spec);
/* From canonical bytes; anything else, unsorted or unknown keys included, is refused. *spec is an output: what it held before
 * is not released. */
MUST_USE enum err spec_parse(struct spec *spec, const void *data, size_t size, struct error *error);

/* ---- files ---------------------------------------------------------------------------------------------------------- */

struct lora_use {
    struct digest file;
    struct decimal weight;
};
struct embedding_use {
    struct digest file;
    char word[LIMIT_TOKEN + 1]; /* what stands for it in a prompt */
};
/* What a checked spec holds; returns how many. */
size_t spec_loras(struct lora_use out[LIMIT_LORAS], const struct spec *spec);
size_t spec_embeddings(struct embedding_use out[LIMIT_EMBEDDINGS], const struct spec *spec);

enum { SPEC_FILES_LIMIT = LIMIT_LORAS + LIMIT_EMBEDDINGS + 3 };
/* Every file that the job needs beside its model. Returns how many. */
size_t spec_files(struct digest out[SPEC_FILES_LIMIT], const struct spec *spec);

/* What of a job decides which prepared models draw it: its model, VAE, LoRAs, embeddings, refiner and numerics. */
struct digest spec_model_key(const struct spec *spec);
/* Are the keys of these two the same? */
bool spec_same_model(const struct spec *a, const struct spec *b);
bool spec_is_guided(const struct spec *spec); /* cfg above 1: the U-Net is evaluated twice a step */
/* Of a vae_tiling that is left to memory ("within 12G"): the bytes; 0 where it is a number of pixels, or nothing. Such a bound is
 * no job's: whoever reads one finds the tiling and sets that. ERR_INVALID: a word, or no such bound. */
MUST_USE enum err vae_tiling_bound(uint64_t *bytes, const char *text, struct error *error);

/* May these two share a batch? (same model, VAE, LoRAs, embeddings, refiner and its switch, size, steps, sampler, schedule,
 * clip skip, prediction, numerics, strength; deterministic or not; guided or not; from a picture or not; masked or not)
 * Deterministic ones may: who draws them knows whether mates would show. */
bool spec_batches_with(const struct spec *a, const struct spec *b);

#endif
