/*
 * spec.c - a job as a value: fields from texts, canonical bytes (RFC 8785), key. See spec.h.
 */
#include "proto/spec.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/json.h"
#include "base/quantity.h"
#include "proto/spec_parts.h"

static const struct decimal REFINER_SWITCH = {8, 1}; /* the table's default and neutral value */

void spec_init(struct spec *spec)
{
    *spec = (struct spec){
        .prompt = text_copy(""), .negative = text_copy(""),
        .width = 512, .height = 512, .steps = 20, .clip_skip = 1, .cfg = {7, 0}, .strength = {1, 0},
        .refiner_switch = REFINER_SWITCH, .sampler = SAMPLER_EULER, .schedule = SCHEDULE_AUTOMATIC,
        .rng = RNG_CPU, .syntax = SYNTAX_PLAIN, .numerics = NUMERICS_FP32,
    };
}

/* Every late field there is has its neutral value as its default. */
void spec_init_neutral(struct spec *spec)
{
    spec_init(spec);
}

void spec_release(struct spec *spec)
{
    free(spec->lora);
    free(spec->embedding);
    free(spec->prompt);
    free(spec->negative);
    memset(spec, 0, sizeof *spec);
}

void spec_copy(struct spec *to, const struct spec *from)
{
    struct spec copy = *from;
    copy.prompt = text_copy(from->prompt);
    copy.negative = text_copy(from->negative);
    copy.lora = from->lora ? text_copy(from->lora) : NULL;
    copy.embedding = from->embedding ? text_copy(from->embedding) : NULL;
    spec_release(to);
    *to = copy;
}

void spec_take(struct spec *to, struct spec *from)
{
    *to = *from;
    memset(from, 0, sizeof *from);
}

/* error_prefix for an error that nobody may want to read. */
static enum err within(struct error *error, enum err code, const char *what)
{
    if (error)
        error_prefix(error, "%s", what);
    return code;
}

/* ---- fields from texts -------------------------------------------------------------------------------------------- */

static enum err u64_parse(uint64_t *value, const char *text, const struct field_info *info, struct error *error)
{
    uint64_t minimum = strtoull(info->minimum, NULL, 10), maximum = strtoull(info->maximum, NULL, 10);
    uint64_t read = 0;
    bool fits = *text != '\0', number = *text != '\0';

    for (const char *at = text + (*text == '-'); *at; at++) {
        if (!isdigit((unsigned char)*at)) {
            number = false;
            break;
        }
        fits = fits && !__builtin_mul_overflow(read, 10, &read) && !__builtin_add_overflow(read, *at - '0', &read);
    }
    if (!number || strcmp(text, "-") == 0)
        return error_set(error, ERR_INVALID, "%s: want a whole number %s..%s, have \"%.80s\"", info->name, info->minimum,
                         info->maximum, text);
    if (*text == '-' || !fits || read < minimum || read > maximum)
        return error_set(error, ERR_INVALID, "%s: want %s..%s, have %.80s", info->name, info->minimum, info->maximum, text);
    *value = read;
    return ERR_OK;
}

static enum err u32_parse(uint32_t *value, const char *text, const struct field_info *info, struct error *error)
{
    uint64_t wide;
    enum err code = u64_parse(&wide, text, info, error);
    if (code == ERR_OK)
        *value = (uint32_t)wide;
    return code;
}

static enum err seed_parse(uint64_t *seed, const char *text, struct error *error)
{
    if (strcmp(text, "random") != 0 && strcmp(text, "-1") != 0)
        return u64_parse(seed, text, catalog_field(FIELD_SEED), error);
    uint32_t drawn; /* 32 bits: rng `cpu` looks at no more, and every program reads such a seed back */
    if (getrandom(&drawn, sizeof drawn, 0) != sizeof drawn)
        return error_errno(error, "seed: the system gave no random number");
    *seed = drawn;
    return ERR_OK;
}

/* One side of "WxH", 1..LIMIT_SIDE in at most six digits; *end behind it. 0: not a side. */
static uint32_t side_parse(const char *text, const char **end)
{
    uint32_t side = 0;
    const char *at = text;
    for (; isdigit((unsigned char)*at) && at - text < 6; at++)
        side = side * 10 + (uint32_t)(*at - '0');
    *end = at;
    return side;
}

static enum err size_parse(uint32_t *width, uint32_t *height, const char *text, struct error *error)
{
    const char *cross, *end;
    uint32_t w = side_parse(text, &cross);
    uint32_t h = *cross == 'x' || *cross == 'X' ? side_parse(cross + 1, &end) : 0;

    if (cross == text || (*cross != 'x' && *cross != 'X') || end == cross + 1 || *end)
        return error_set(error, ERR_INVALID, "size: want WIDTHxHEIGHT such as 512x512, have \"%.80s\"", text);
    if (w < 1 || h < 1 || w > LIMIT_SIDE || h > LIMIT_SIDE)
        return error_set(error, ERR_INVALID, "size: want sides of 1..%d pixels, have %.80s", LIMIT_SIDE, text);
    *width = w;
    *height = h;
    return ERR_OK;
}

static enum err decimal_field(struct decimal *decimal, const char *text, const struct field_info *info,
                              struct error *error)
{
    struct decimal read, minimum, maximum;
    enum err code = decimal_parse(&read, text, error);
    if (code != ERR_OK)
        return within(error, code, info->name);
    bool known = decimal_parse(&minimum, info->minimum, NULL) == ERR_OK && decimal_parse(&maximum, info->maximum, NULL) == ERR_OK;
    assert(known);
    if (decimal_compare(read, minimum) < 0 || decimal_compare(read, maximum) > 0)
        return error_set(error, ERR_INVALID, "%s: want %s..%s, have %.40s", info->name, info->minimum, info->maximum, text);
    *decimal = read;
    return ERR_OK;
}

static enum err text_set(char **to, const char *text, const struct field_info *info, struct error *error)
{
    size_t size = strlen(text), place;
    if (size > LIMIT_PROMPT_BYTES)
        return error_set(error, ERR_LIMIT, "%s: want at most %d bytes, have %zu", info->name, LIMIT_PROMPT_BYTES, size);
    if (!utf8_valid(text, size, &place))
        return error_set(error, ERR_INVALID, "%s: want UTF-8, byte %zu is 0x%02x", info->name, place,
                         (unsigned)(uint8_t)text[place]);
    char *copy = text_copy_size(text, size);
    free(*to);
    *to = copy;
    return ERR_OK;
}

/* rng, syntax, prediction, numerics, deterministic, schedule: words that stand for numbers, by way of the table. */
static enum err name_set(struct spec *spec, enum field field, const char *text, struct error *error)
{
    unsigned value;
    enum err code = catalog_name_parse(&value, field, text, error);
    if (code != ERR_OK)
        return code;
    switch (field) {
    case FIELD_SCHEDULE: spec->schedule = (enum schedule)value; break;
    case FIELD_RNG: spec->rng = (enum rng)value; break;
    case FIELD_PREDICTION: spec->prediction = (enum predicts)value; break;
    case FIELD_SYNTAX: spec->syntax = (enum syntax)value; break;
    case FIELD_DETERMINISTIC: spec->deterministic = value != 0; break;
    default: spec->numerics = (enum numerics)value; break;
    }
    return ERR_OK;
}

static enum err file_set(struct digest *digest, const char *text, const struct field_info *info, struct error *error)
{
    if (*text == '\0')
        *digest = (struct digest){{0}};
    else if (!digest_parse(digest, text))
        return error_set(error, ERR_INVALID, "%s: want a digest of 64 lower-case hex digits, have \"%.80s\"", info->name, text);
    return ERR_OK;
}

enum err vae_tiling_bound(uint64_t *bytes, const char *text, struct error *error)
{
    static const char within[] = "within ";
    *bytes = 0;
    if (*text == '\0' || (*text >= '0' && *text <= '9'))
        return ERR_OK;
    if (strncmp(text, within, sizeof within - 1) != 0 || !quantity_parse(bytes, text + sizeof within - 1, true) || *bytes == 0)
        return error_set(error, ERR_INVALID, "vae_tiling: want pixels a side, or \"within 12G\" (K, M or G may follow) for the largest"
                         " tiles that keep one picture in so much memory, have \"%.80s\"", text);
    return ERR_OK;
}

enum err spec_set(struct spec *spec, enum field field, const char *text, struct error *error)
{
    const struct field_info *info = catalog_field(field);

    switch (field) {
    case FIELD_MODEL:
        if (!digest_parse(&spec->model, text))
            return error_set(error, ERR_INVALID, "model: want a digest of 64 lower-case hex digits, have \"%.80s\"", text);
        return ERR_OK;
    case FIELD_VAE: return file_set(&spec->vae, text, info, error);
    case FIELD_REFINER: return file_set(&spec->refiner, text, info, error);
    case FIELD_INIT: return file_set(&spec->init, text, info, error);
    case FIELD_MASK: return file_set(&spec->mask, text, info, error);
    case FIELD_LORA: return loras_set(&spec->lora, text, error);
    case FIELD_EMBEDDING: return embeddings_set(&spec->embedding, text, error);
    case FIELD_SIZE: return size_parse(&spec->width, &spec->height, text, error);
    case FIELD_SAMPLER: return sampler_parse(&spec->sampler, &spec->schedule, text, error);
    case FIELD_SCHEDULE:
    case FIELD_NUMERICS:
    case FIELD_DETERMINISTIC:
    case FIELD_RNG:
    case FIELD_SYNTAX:
    case FIELD_PREDICTION: return name_set(spec, field, text, error);
    case FIELD_VAE_TILING: return u32_parse(&spec->vae_tiling, text, info, error);
    case FIELD_CLIP_SKIP: return u32_parse(&spec->clip_skip, text, info, error);
    case FIELD_STEPS: return u32_parse(&spec->steps, text, info, error);
    case FIELD_CFG: return decimal_field(&spec->cfg, text, info, error);
    case FIELD_CFG_RESCALE: return decimal_field(&spec->cfg_rescale, text, info, error);
    case FIELD_STRENGTH: return decimal_field(&spec->strength, text, info, error);
    case FIELD_REFINER_SWITCH: return decimal_field(&spec->refiner_switch, text, info, error);
    case FIELD_NEGATIVE: return text_set(&spec->negative, text, info, error);
    case FIELD_PROMPT: return text_set(&spec->prompt, text, info, error);
    case FIELD_SEED: return seed_parse(&spec->seed, text, error);
    case FIELD_COUNT: break;
    }
    return error_set(error, ERR_INTERNAL, "field %d is not in the catalog", (int)field);
}

static void u64_add(struct bytes *text, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = (char)('0' + value % 10);
    while (value /= 10);
    bytes_add(text, digits + at, sizeof digits - at);
}

static void digest_add(struct bytes *text, const struct digest *digest)
{
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    bytes_add(text, hex, DIGEST_HEX_SIZE - 1);
}

/* A file's digest, or nothing. */
static void file_add(struct bytes *text, const struct digest *digest)
{
    if (!digest_is_zero(digest))
        digest_add(text, digest);
}

static void decimal_add(struct bytes *text, struct decimal decimal)
{
    char buffer[32];
    decimal_format(buffer, decimal);
    bytes_add_text(text, buffer);
}

void spec_get(struct bytes *text, const struct spec *spec, enum field field)
{
    switch (field) {
    case FIELD_MODEL: digest_add(text, &spec->model); return;
    case FIELD_VAE: file_add(text, &spec->vae); return;
    case FIELD_REFINER: file_add(text, &spec->refiner); return;
    case FIELD_INIT: file_add(text, &spec->init); return;
    case FIELD_MASK: file_add(text, &spec->mask); return;
    case FIELD_LORA: bytes_add_text(text, spec->lora ? spec->lora : ""); return;
    case FIELD_EMBEDDING: bytes_add_text(text, spec->embedding ? spec->embedding : ""); return;
    case FIELD_SIZE:
        u64_add(text, spec->width);
        bytes_add(text, "x", 1);
        u64_add(text, spec->height);
        return;
    case FIELD_NUMERICS: bytes_add_text(text, numerics_name(spec->numerics)); return;
    case FIELD_DETERMINISTIC: bytes_add_text(text, spec->deterministic ? "true" : "false"); return;
    case FIELD_RNG: bytes_add_text(text, rng_name(spec->rng)); return;
    case FIELD_SYNTAX: bytes_add_text(text, syntax_name(spec->syntax)); return;
    case FIELD_VAE_TILING: u64_add(text, spec->vae_tiling); return;
    case FIELD_CLIP_SKIP: u64_add(text, spec->clip_skip); return;
    case FIELD_SAMPLER: bytes_add_text(text, sampler_name(spec->sampler)); return;
    case FIELD_SCHEDULE: bytes_add_text(text, schedule_name(spec->schedule)); return;
    case FIELD_STEPS: u64_add(text, spec->steps); return;
    case FIELD_PREDICTION: bytes_add_text(text, predicts_name(spec->prediction)); return;
    case FIELD_CFG: decimal_add(text, spec->cfg); return;
    case FIELD_CFG_RESCALE: decimal_add(text, spec->cfg_rescale); return;
    case FIELD_STRENGTH: decimal_add(text, spec->strength); return;
    case FIELD_REFINER_SWITCH: decimal_add(text, spec->refiner_switch); return;
    case FIELD_NEGATIVE: bytes_add_text(text, spec->negative); return;
    case FIELD_PROMPT: bytes_add_text(text, spec->prompt); return;
    case FIELD_SEED: u64_add(text, spec->seed); return;
    case FIELD_COUNT: break;
    }
    assert(!"a field of the catalog");
}

static bool field_neutral(const struct spec *spec, enum field field);

enum err spec_check(struct spec *spec, struct error *error)
{
    if (digest_is_zero(&spec->model))
        return error_set(error, ERR_INVALID, "model: want a model, none is given");
    enum schedule schedule = spec->schedule == SCHEDULE_AUTOMATIC ? schedule_automatic(spec->sampler) : spec->schedule;
    enum err code = schedule_check(schedule, spec->sampler, error);
    if (code != ERR_OK)
        return code;
    if (digest_is_zero(&spec->init) && !digest_is_zero(&spec->mask))
        return error_set(error, ERR_INVALID, "mask: want init, the picture it is laid on, beside it");
    if (digest_is_zero(&spec->init) && !field_neutral(spec, FIELD_STRENGTH))
        return error_set(error, ERR_INVALID, "strength: want init, the picture that is started from, beside it");
    if (digest_is_zero(&spec->refiner) && !field_neutral(spec, FIELD_REFINER_SWITCH))
        return error_set(error, ERR_INVALID, "refiner_switch: want refiner, the model that takes over, beside it");
    spec->schedule = schedule;
    return ERR_OK;
}

bool spec_seed_folds(const struct spec *spec)
{
    return spec->rng == RNG_CPU && spec->seed > UINT32_MAX;
}

/* ---- canonical bytes ---------------------------------------------------------------------------------------------- */

static void escaped_add(struct bytes *out, const char *text)
{
    static const char short_escapes[] = "btn\0fr"; /* of 0x08..0x0d; 0x0b has none */
    const char *run = text, *at = text;

    for (; *at; at++) {
        uint8_t byte = (uint8_t)*at;
        if (byte >= 0x20 && byte != '"' && byte != '\\')
            continue;
        bytes_add(out, run, (size_t)(at - run));
        run = at + 1;
        if (byte == '"' || byte == '\\')
            bytes_add(out, (char[]){'\\', (char)byte}, 2);
        else if (byte >= 0x08 && byte <= 0x0d && short_escapes[byte - 0x08])
            bytes_add(out, (char[]){'\\', short_escapes[byte - 0x08]}, 2);
        else
            bytes_add(out, (char[]){'\\', 'u', '0', '0', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]}, 6);
    }
    bytes_add(out, run, (size_t)(at - run));
}

static bool field_neutral(const struct spec *spec, enum field field)
{
    switch (field) {
    case FIELD_VAE: return digest_is_zero(&spec->vae);
    case FIELD_REFINER: return digest_is_zero(&spec->refiner);
    case FIELD_INIT: return digest_is_zero(&spec->init);
    case FIELD_MASK: return digest_is_zero(&spec->mask);
    case FIELD_LORA: return !spec->lora;
    case FIELD_EMBEDDING: return !spec->embedding;
    case FIELD_PREDICTION: return spec->prediction == PREDICTS_MODEL;
    case FIELD_CFG_RESCALE: return spec->cfg_rescale.units == 0;
    case FIELD_STRENGTH: return decimal_compare(spec->strength, (struct decimal){1, 0}) == 0;
    case FIELD_REFINER_SWITCH: return decimal_compare(spec->refiner_switch, REFINER_SWITCH) == 0;
    case FIELD_NEGATIVE: return spec->negative[0] == '\0';
    case FIELD_VAE_TILING: return spec->vae_tiling == 0;
    case FIELD_CLIP_SKIP: return spec->clip_skip == 1;
    case FIELD_RNG: return spec->rng == RNG_CPU;
    case FIELD_SYNTAX: return spec->syntax == SYNTAX_PLAIN;
    case FIELD_NUMERICS: return spec->numerics == NUMERICS_FP32;
    case FIELD_DETERMINISTIC: return !spec->deterministic;
    default: return false;
    }
}

/* In the order of RFC 8785. FIELD_COUNT stands for `render`. */
static const enum field canonical_order[] = {
    FIELD_CFG, FIELD_CFG_RESCALE, FIELD_CLIP_SKIP, FIELD_DETERMINISTIC, FIELD_EMBEDDING, FIELD_INIT, FIELD_LORA, FIELD_MASK,
    FIELD_MODEL, FIELD_NEGATIVE, FIELD_NUMERICS, FIELD_PREDICTION, FIELD_PROMPT, FIELD_REFINER, FIELD_REFINER_SWITCH,
    FIELD_COUNT, FIELD_RNG, FIELD_SAMPLER, FIELD_SCHEDULE, FIELD_SEED, FIELD_SIZE, FIELD_STEPS, FIELD_STRENGTH, FIELD_SYNTAX,
    FIELD_VAE, FIELD_VAE_TILING};
_Static_assert(sizeof canonical_order / sizeof *canonical_order == FIELD_COUNT + 1, "every field, and render");

void spec_canonical(struct bytes *out, const struct spec *spec)
{
    bytes_reserve(out, 320 + strlen(spec->prompt) + strlen(spec->negative));
    bytes_add(out, "{", 1);
    for (size_t i = 0; i < sizeof canonical_order / sizeof *canonical_order; i++) {
        enum field field = canonical_order[i];
        if (field == FIELD_COUNT) {
            bytes_add_text(out, ",\"render\":");
            u64_add(out, RENDER_RULES);
            continue;
        }
        if (field_neutral(spec, field))
            continue;
        bytes_add_text(out, i ? ",\"" : "\"");
        bytes_add_text(out, catalog_field(field)->name);
        bytes_add(out, "\":\"", 3);
        if (field == FIELD_PROMPT)
            escaped_add(out, spec->prompt);
        else if (field == FIELD_NEGATIVE)
            escaped_add(out, spec->negative);
        else
            spec_get(out, spec, field);
        bytes_add(out, "\"", 1);
    }
    bytes_add(out, "}", 1);
}

struct digest spec_key(const struct spec *spec)
{
    struct bytes text = BYTES_INIT;
    spec_canonical(&text, spec);
    struct digest key = digest_of(text.data, text.size);
    bytes_release(&text);
    return key;
}

static enum err spec_read(struct spec *spec, const json_t *object, struct error *error)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value) {
        enum field field;
        if (strcmp(key, "render") == 0) {
            if (!json_is_integer(value) || json_integer_value(value) != RENDER_RULES)
                return error_set(error, ERR_UNSUPPORTED, "job: this version draws by rules number %d (\"render\"), the job wants %" JSON_INTEGER_FORMAT,
                                 RENDER_RULES, json_integer_value(value));
            continue;
        }
        enum err code = catalog_find(&field, key, error);
        if (code != ERR_OK)
            return within(error, code, "job");
        if (!json_is_string(value))
            return error_set(error, ERR_INVALID, "job: \"%s\" wants a text", key);
        code = spec_set(spec, field, json_string_value(value), error);
        if (code != ERR_OK)
            return within(error, code, "job");
    }
    return spec_check(spec, error);
}

/* Are these the bytes that the spec is written as? */
static bool spec_writes(struct bytes *again, const struct spec *spec, const void *data, size_t size)
{
    spec_canonical(again, spec);
    return again->size == size && memcmp(again->data, data, size) == 0;
}

/* Canonical bytes whose texts have no escapes, which is nearly all there are: cut up in place. false: ask the general reader. */
static bool spec_read_plain(struct spec *spec, char *at)
{
    if (*at++ != '{')
        return false;
    for (;; at++) {
        static const char render[] = "\"render\":1";
        if (strncmp(at, render, sizeof render - 1) == 0) {
            at += sizeof render - 1;
        } else {
            enum field field;
            char *name = at + 1, *name_end = *at == '"' ? strchr(name, '"') : NULL;
            if (!name_end || name_end[1] != ':' || name_end[2] != '"')
                return false;
            char *value = name_end + 3, *value_end = value + strcspn(value, "\"\\");
            if (*value_end != '"')
                return false;
            *name_end = *value_end = '\0';
            if (catalog_find(&field, name, NULL) != ERR_OK || spec_set(spec, field, value, NULL) != ERR_OK)
                return false;
            at = value_end + 1;
        }
        if (*at != ',')
            return *at == '}' && spec_check(spec, NULL) == ERR_OK;
    }
}

static bool spec_parse_plain(struct spec *spec, const void *data, size_t size)
{
    struct bytes copy = BYTES_INIT, again = BYTES_INIT;
    struct spec read;

    spec_init_neutral(&read);
    bytes_add(&copy, data, size);
    bool plain = spec_read_plain(&read, (char *)copy.data) && read.numerics != NUMERICS_AUTO &&
                 spec_writes(&again, &read, data, size);
    if (plain)
        *spec = read;
    else
        spec_release(&read);
    bytes_release(&copy);
    bytes_release(&again);
    return plain;
}

/* Any JSON, for the sentence that says what it is instead of a job. */
static enum err spec_parse_general(struct spec *spec, const void *data, size_t size, struct error *error)
{
    json_t *object = NULL;
    struct spec read;
    struct bytes again = BYTES_INIT;

    spec_init_neutral(&read);
    enum err code = json_parse(&object, data, size, "job", error);
    if (code != ERR_OK)
        goto done;
    if (!json_is_object(object)) {
        code = error_set(error, ERR_INVALID, "job: want a JSON object");
        goto done;
    }
    code = spec_read(&read, object, error);
    if (code != ERR_OK)
        goto done;
    if (read.numerics == NUMERICS_AUTO) {
        code = error_set(error, ERR_INVALID, "job: numerics: want fp32, bf16 or fp16, have auto, which is fixed at submission");
        goto done;
    }
    if (!spec_writes(&again, &read, data, size)) {
        code = error_set(error, ERR_INVALID, "job: want canonical bytes (%zu of them: %.200s...), have %zu others", again.size,
                         bytes_text(&again), size);
        goto done;
    }
    *spec = read;
    spec_init(&read);
done:
    json_decref(object);
    bytes_release(&again);
    spec_release(&read);
    return code;
}

enum err spec_parse(struct spec *spec, const void *data, size_t size, struct error *error)
{
    if (size > LIMIT_SPEC_BYTES)
        return error_set(error, ERR_LIMIT, "job: want at most %d bytes, have %zu", LIMIT_SPEC_BYTES, size);
    return spec_parse_plain(spec, data, size) ? ERR_OK : spec_parse_general(spec, data, size, error);
}

static bool texts_equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

struct digest spec_model_key(const struct spec *spec)
{
    static const enum field fields[] = {FIELD_MODEL, FIELD_VAE, FIELD_LORA, FIELD_EMBEDDING, FIELD_REFINER, FIELD_NUMERICS};
    struct bytes text = BYTES_INIT;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        spec_get(&text, spec, fields[i]);
        bytes_add_text(&text, "\n");
    }
    struct digest key = digest_of(text.data, text.size);
    bytes_release(&text);
    return key;
}

bool spec_same_model(const struct spec *a, const struct spec *b)
{
    return digest_equal(&a->model, &b->model) && digest_equal(&a->vae, &b->vae) && texts_equal(a->lora, b->lora) &&
           texts_equal(a->embedding, b->embedding) && digest_equal(&a->refiner, &b->refiner) && a->numerics == b->numerics;
}

bool spec_is_guided(const struct spec *spec)
{
    return decimal_compare(spec->cfg, (struct decimal){1, 0}) > 0;
}

bool spec_batches_with(const struct spec *a, const struct spec *b)
{
    return spec_same_model(a, b) && decimal_compare(a->refiner_switch, b->refiner_switch) == 0 &&
           digest_is_zero(&a->init) == digest_is_zero(&b->init) &&
           digest_is_zero(&a->mask) == digest_is_zero(&b->mask) && a->width == b->width && a->height == b->height && a->steps == b->steps &&
           a->vae_tiling == b->vae_tiling && a->prediction == b->prediction && decimal_compare(a->strength, b->strength) == 0 &&
           a->sampler == b->sampler && a->schedule == b->schedule && a->clip_skip == b->clip_skip &&
           a->deterministic == b->deterministic && a->rng == b->rng &&
           spec_is_guided(a) == spec_is_guided(b);
}
