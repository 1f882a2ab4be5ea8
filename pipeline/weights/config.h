/*
 * config.h - reading a component's config.json so that nothing in it is ignored silently.
 *
 * Every field is read, held against the one value this version does, or named as one that cannot matter. config_finish
 * refuses what is left, unless it is null or false: a feature not in use. The first trouble sticks; later reads return
 * their fallback, so that a reader is a straight list of fields with one check at its end.
 */
#ifndef PIPELINE_WEIGHTS_CONFIG_H
#define PIPELINE_WEIGHTS_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct config {
    const json_t *object; /* borrowed */
    const char *what;     /* "unet" */
    json_t *known;        /* owned: the fields asked for */
    struct error error;   /* the first trouble */
};

void config_init(struct config *config, const json_t *object, const char *what);
/* Releases `config`. ERR_INVALID: a value of a wrong type or out of its limits; ERR_UNSUPPORTED: one that this version
 * does not do. The sentence names component, field and both values. */
MUST_USE enum err config_finish(struct config *config, struct error *error);

/* A missing or null field is its fallback. */
uint32_t config_u32(struct config *config, const char *key, uint32_t fallback, uint32_t minimum, uint32_t maximum);
double config_real(struct config *config, const char *key, double fallback, double minimum, double maximum);
bool config_flag(struct config *config, const char *key, bool fallback);
const char *config_text(struct config *config, const char *key, const char *fallback);
/* The place of one of `words` (ended by NULL); the first is the fallback. */
uint32_t config_word(struct config *config, const char *key, const char *const *words);

/* A list of 1..limit numbers, each within its limits, must be there; returns how many. */
uint32_t config_list(struct config *config, const char *key, uint32_t *out, uint32_t limit, uint32_t minimum,
                     uint32_t maximum);
/* A number for all of `count` places, or a list with one for each. */
void config_each(struct config *config, const char *key, uint32_t *out, uint32_t count, uint32_t fallback,
                 uint32_t minimum, uint32_t maximum);
/* A list of exactly `count` numbers; false where there is none. */
bool config_reals(struct config *config, const char *key, float *out, uint32_t count, double minimum, double maximum);
/* A list of exactly `count` texts must be there; each is an index into `names` (ended by NULL). */
void config_names(struct config *config, const char *key, uint32_t *out, uint32_t count, const char *const *names);

/* Where there, the field must have this value (JSON: "\"silu\"", "null", "1"). */
void config_want(struct config *config, const char *key, const char *json);
/* Fields that cannot change a picture here (dropout, training's initial values). Ended by NULL. */
void config_skip(struct config *config, const char *const *keys);

#endif
