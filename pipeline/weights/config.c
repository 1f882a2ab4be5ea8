/*
 * config.c - fields of a config.json, held against types and limits.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/weights/config.h"

void config_init(struct config *config, const json_t *object, const char *what) {
    *config = (struct config){ .object = object, .what = what, .known = json_object() };
}

static const json_t *field(struct config *config, const char *key) {
    json_object_set_new(config->known, key, json_true());
    const json_t *value = json_object_get(config->object, key);
    return json_is_null(value) ? NULL : value;
}

/* "unet: KEY: want WANT, config.json has VALUE", once. */
static void refuse(struct config *config, enum err code, const char *key, const char *want, const json_t *value) {
    if (config->error.code != ERR_OK) {
        return;
    }
    char *text = value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    (void)error_set(&config->error, code, "%s: %s: want %s, config.json has %.120s", config->what, key, want,
                    text != NULL ? text : "no such field");
    free(text);
}

static bool number_fits(const json_t *value, uint32_t minimum, uint32_t maximum) {
    return json_is_integer(value) && json_integer_value(value) >= minimum && json_integer_value(value) <= maximum;
}

uint32_t config_u32(struct config *config, const char *key, uint32_t fallback, uint32_t minimum, uint32_t maximum) {
    const json_t *value = field(config, key);
    if (value == NULL) {
        return fallback;
    }
    if (!number_fits(value, minimum, maximum)) {
        char want[80];
        snprintf(want, sizeof want, "a whole number %" PRIu32 "..%" PRIu32, minimum, maximum);
        refuse(config, ERR_INVALID, key, want, value);
        return fallback;
    }
    return (uint32_t)json_integer_value(value);
}

double config_real(struct config *config, const char *key, double fallback, double minimum, double maximum) {
    const json_t *value = field(config, key);
    if (value == NULL) {
        return fallback;
    }
    double number = json_number_value(value);
    if (!json_is_number(value) || !(number >= minimum && number <= maximum)) {
        char want[80];
        snprintf(want, sizeof want, "a number %g..%g", minimum, maximum);
        refuse(config, ERR_INVALID, key, want, value);
        return fallback;
    }
    return number;
}

bool config_flag(struct config *config, const char *key, bool fallback) {
    const json_t *value = field(config, key);
    if (value != NULL && !json_is_boolean(value)) {
        refuse(config, ERR_INVALID, key, "true or false", value);
    }
    return value == NULL ? fallback : json_is_true(value);
}

const char *config_text(struct config *config, const char *key, const char *fallback) {
    const json_t *value = field(config, key);
    if (value != NULL && !json_is_string(value)) {
        refuse(config, ERR_INVALID, key, "a text", value);
    }
    return json_is_string(value) ? json_string_value(value) : fallback;
}

uint32_t config_list(struct config *config, const char *key, uint32_t *out, uint32_t limit, uint32_t minimum,
                     uint32_t maximum) {
    const json_t *value = field(config, key);
    size_t count = json_array_size(value);
    bool good = count >= 1 && count <= limit;
    for (size_t i = 0; good && i < count; i++) {
        good = number_fits(json_array_get(value, i), minimum, maximum);
    }
    if (!good) {
        char want[120];
        snprintf(want, sizeof want, "a list of 1..%" PRIu32 " whole numbers %" PRIu32 "..%" PRIu32, limit, minimum, maximum);
        refuse(config, ERR_INVALID, key, want, value);
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        out[i] = (uint32_t)json_integer_value(json_array_get(value, i));
    }
    return (uint32_t)count;
}

void config_each(struct config *config, const char *key, uint32_t *out, uint32_t count, uint32_t fallback,
                 uint32_t minimum, uint32_t maximum) {
    if (json_is_array(json_object_get(config->object, key))) {
        uint32_t found = config_list(config, key, out, count, minimum, maximum);
        if (found != 0 && found != count) {
            char want[80];
            snprintf(want, sizeof want, "one number for each of %" PRIu32 " levels", count);
            refuse(config, ERR_INVALID, key, want, field(config, key));
        }
        return;
    }
    uint32_t number = config_u32(config, key, fallback, minimum, maximum);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = number;
    }
}

/* The place of `item` in `names`; one that is not there is refused and 0. */
static uint32_t find_name(struct config *config, const char *key, const char *const *names, const json_t *item) {
    uint32_t n = 0;
    while (names[n] != NULL && !(json_is_string(item) && strcmp(names[n], json_string_value(item)) == 0)) {
        n++;
    }
    if (names[n] != NULL) {
        return n;
    }
    char want[160] = "";
    for (uint32_t k = 0; names[k] != NULL; k++) {
        size_t size = strlen(want);
        snprintf(want + size, sizeof want - size, "%s%s", k == 0 ? "" : " or ", names[k]);
    }
    refuse(config, ERR_UNSUPPORTED, key, want, item);
    return 0;
}

void config_names(struct config *config, const char *key, uint32_t *out, uint32_t count, const char *const *names) {
    const json_t *value = field(config, key);
    if (!json_is_array(value) || json_array_size(value) != count) {
        char want[80];
        snprintf(want, sizeof want, "a list of %" PRIu32 " names, one a level", count);
        refuse(config, ERR_INVALID, key, want, value);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        out[i] = find_name(config, key, names, json_array_get(value, i));
    }
}

uint32_t config_word(struct config *config, const char *key, const char *const *words) {
    const json_t *value = field(config, key);
    return value == NULL ? 0 : find_name(config, key, words, value);
}

bool config_reals(struct config *config, const char *key, float *out, uint32_t count, double minimum, double maximum) {
    const json_t *value = field(config, key);
    if (value == NULL) {
        return false;
    }
    bool good = json_array_size(value) == count;
    for (uint32_t i = 0; good && i < count; i++) {
        double number = json_number_value(json_array_get(value, i));
        good = json_is_number(json_array_get(value, i)) && number >= minimum && number <= maximum;
        out[i] = (float)number;
    }
    if (!good) {
        char want[80];
        snprintf(want, sizeof want, "a list of %" PRIu32 " numbers %g..%g", count, minimum, maximum);
        refuse(config, ERR_INVALID, key, want, value);
    }
    return good;
}

void config_want(struct config *config, const char *key, const char *json) {
    json_object_set_new(config->known, key, json_true());
    const json_t *value = json_object_get(config->object, key);
    if (value == NULL) {
        return;
    }
    json_t *wanted = json_loads(json, JSON_DECODE_ANY, NULL);
    bool same = json_is_number(wanted) ? json_is_number(value) && json_number_value(value) == json_number_value(wanted)
                                       : json_equal(value, wanted);
    if (!same) {
        refuse(config, ERR_UNSUPPORTED, key, json, value);
    }
    json_decref(wanted);
}

void config_skip(struct config *config, const char *const *keys) {
    for (; *keys != NULL; keys++) {
        json_object_set_new(config->known, *keys, json_true());
    }
}

enum err config_finish(struct config *config, struct error *error) {
    const char *key;
    json_t *value;
    if (!json_is_object(config->object)) {
        json_decref(config->known);
        return error_set(error, ERR_INVALID, "%s: want a JSON object as config, file has another kind of value",
                         config->what);
    }
    json_object_foreach((json_t *)config->object, key, value) {
        bool in_use = !json_is_null(value) && !json_is_false(value);
        if (key[0] != '_' && in_use && json_object_get(config->known, key) == NULL) {
            refuse(config, ERR_UNSUPPORTED, key, "null or no such field (this version does not know it)", value);
        }
    }
    json_decref(config->known);
    return config->error.code == ERR_OK ? ERR_OK : error_set(error, config->error.code, "%s", config->error.message);
}
