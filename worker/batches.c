/* batches.c - a ladder of batch sizes for each kind of work, and the file of those that came to an end. */
#include "worker/batches.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "proto/catalog.h"

enum {
    FILE_VERSION = 2, /* 1 knew models alone, not what is merged into them */
    SEEN_ENOUGH = 2   /* the first batch of a size also plans and captures */
};

#define GAIN 0.05

struct rung {
    struct batch_kind kind;
    uint32_t batch;     /* drawn now */
    bool settled;       /* more gains nothing: what the file keeps */
    uint32_t known_fit; /* memory has room for so many */
    uint32_t most;      /* and for no more; 0: no bound met */
    uint32_t steps, seen;
    double best_ms;     /* a picture in a batch of this size, at least; 0: none was seen */
    double smaller_ms;  /* in one of half the size; 0: not measured */
};

struct batches {
    char *path; /* NULL: none */
    struct rung *rungs; /* the one found last behind the others */
    size_t count;
};

struct batch_kind batch_kind_of(const struct spec *spec, const char *device_class) {
    struct batch_kind kind = { .models = spec_model_key(spec), .refiner_switch = spec->refiner_switch, .width = spec->width,
                               .height = spec->height, .vae_tiling = spec->vae_tiling, .guided = spec_is_guided(spec),
                               .deterministic = spec->deterministic };
    snprintf(kind.device_class, sizeof kind.device_class, "%s", device_class);
    return kind;
}

static bool kind_equal(const struct batch_kind *a, const struct batch_kind *b) {
    return strcmp(a->device_class, b->device_class) == 0 && digest_equal(&a->models, &b->models) &&
           decimal_compare(a->refiner_switch, b->refiner_switch) == 0 && a->width == b->width && a->height == b->height &&
           a->vae_tiling == b->vae_tiling && a->guided == b->guided && a->deterministic == b->deterministic;
}

static struct rung *find(const struct batches *batches, const struct batch_kind *kind) {
    for (size_t i = 0; i < batches->count; i++)
        if (kind_equal(&batches->rungs[i].kind, kind))
            return &batches->rungs[i];
    return NULL;
}

static struct rung *add(struct batches *batches, const struct rung *rung) {
    if (batches->count == BATCHES_KINDS)
        memmove(batches->rungs, batches->rungs + 1, --batches->count * sizeof *batches->rungs);
    batches->rungs = memory_grow(batches->rungs, batches->count + 1, sizeof *batches->rungs);
    batches->rungs[batches->count] = *rung;
    return &batches->rungs[batches->count++];
}

/* ---- the file ------------------------------------------------------------------------------------------------------- */

static json_t *rung_json(const struct rung *rung) {
    char models[DIGEST_HEX_SIZE], refiner_switch[32];
    digest_hex(&rung->kind.models, models);
    decimal_format(refiner_switch, rung->kind.refiner_switch);
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:b, s:b, s:I}", "device_class", rung->kind.device_class, "models", models,
                     "refiner_switch", refiner_switch, "width", (json_int_t)rung->kind.width, "height",
                     (json_int_t)rung->kind.height, "vae_tiling", (json_int_t)rung->kind.vae_tiling, "guided", rung->kind.guided,
                     "deterministic", rung->kind.deterministic, "batch", (json_int_t)rung->batch);
}

/* A lost file costs a few smaller batches: it is no reason to stop. */
static void save(const struct batches *batches) {
    struct error error;
    json_t *list = json_array();
    if (!batches->path) {
        json_decref(list);
        return;
    }
    for (size_t i = 0; i < batches->count; i++)
        if (batches->rungs[i].settled)
            json_array_append_new(list, rung_json(&batches->rungs[i]));
    json_t *file = json_pack("{s:i, s:o}", "version", FILE_VERSION, "batches", list);
    char *text = json_dumps(file, JSON_INDENT(1) | JSON_PRESERVE_ORDER);
    if (file_write(batches->path, text, strlen(text), &error) != ERR_OK)
        log_event(LOG_WARN, "batches-not-saved", "why", error.message, NULL);
    free(text);
    json_decref(file);
}

static enum err read_texts(struct batch_kind *kind, const json_t *item, const char *path, struct error *error) {
    const char *class_name, *models, *refiner_switch;
    enum err err = json_get_text(&class_name, item, "device_class", path, error);
    if (!err)
        err = json_get_text(&models, item, "models", path, error);
    if (!err)
        err = json_get_text(&refiner_switch, item, "refiner_switch", path, error);
    if (err)
        return err;
    if (strlen(class_name) >= sizeof kind->device_class)
        return error_set(error, ERR_CORRUPT, "%s: device_class: want less than %zu bytes, have %zu", path,
                         sizeof kind->device_class, strlen(class_name));
    if (!digest_parse(&kind->models, models))
        return error_set(error, ERR_CORRUPT, "%s: models: want 64 hex digits, have \"%.80s\"", path, models);
    memcpy(kind->device_class, class_name, strlen(class_name) + 1);
    err = decimal_parse(&kind->refiner_switch, refiner_switch, error);
    return err ? error_prefix(error, "%s: refiner_switch", path) : ERR_OK;
}

static enum err read_rung(struct rung *rung, const json_t *item, const char *path, struct error *error) {
    enum err err = read_texts(&rung->kind, item, path, error);
    if (!err)
        err = json_get_u32(&rung->kind.width, item, "width", path, error);
    if (!err)
        err = json_get_u32(&rung->kind.height, item, "height", path, error);
    if (!err)
        err = json_get_u32(&rung->kind.vae_tiling, item, "vae_tiling", path, error);
    if (!err)
        err = json_get_bool(&rung->kind.guided, item, "guided", false, path, error);
    if (!err)
        err = json_get_bool(&rung->kind.deterministic, item, "deterministic", false, path, error);
    if (!err)
        err = json_get_u32(&rung->batch, item, "batch", path, error);
    if (!err && (rung->batch < 1 || rung->batch > LIMIT_BATCH))
        err = error_set(error, ERR_CORRUPT, "%s: batch: want 1..%d, have %" PRIu32, path, LIMIT_BATCH, rung->batch);
    rung->settled = true;
    return err;
}

static enum err load(struct batches *batches, struct error *error) {
    json_t *file = NULL;
    uint32_t version = 0;
    enum err err = json_read_file(&file, batches->path, BATCHES_FILE_LIMIT, error);
    if (!err)
        err = json_get_u32(&version, file, "version", batches->path, error);
    if (!err && version > FILE_VERSION)
        err = error_set(error, ERR_UNSUPPORTED, "%s: version: want at most %d, have %" PRIu32, batches->path, FILE_VERSION, version);
    bool older = !err && version < FILE_VERSION;
    json_t *list = err || older ? NULL : json_object_get(file, "batches");
    if (!err && !older && !json_is_array(list))
        err = error_set(error, ERR_CORRUPT, "%s: batches: want a list", batches->path);
    for (size_t i = 0; i < json_array_size(list) && !err; i++) {
        struct rung rung = { .batch = 0 };
        err = read_rung(&rung, json_array_get(list, i), batches->path, error);
        if (!err && !find(batches, &rung.kind))
            add(batches, &rung);
    }
    json_decref(file);
    return err;
}

struct batches *batches_open(const char *path) {
    struct batches *batches = memory_get(sizeof *batches);
    struct error error;
    batches->path = path ? text_copy(path) : NULL;
    if (path && file_exists(path) && load(batches, &error) != ERR_OK) {
        log_event(LOG_WARN, "batches-begun-anew", "why", error.message, NULL);
        batches->count = 0;
    }
    return batches;
}

void batches_close(struct batches *batches) {
    if (!batches)
        return;
    free(batches->path);
    free(batches->rungs);
    free(batches);
}

/* ---- the ladder ----------------------------------------------------------------------------------------------------- */

static void begin(struct rung *rung, uint32_t batch, double smaller_ms) {
    rung->batch = batch;
    rung->smaller_ms = smaller_ms;
    rung->best_ms = 0;
    rung->seen = 0;
}

static uint32_t settle(struct batches *batches, struct rung *rung, uint32_t batch) {
    char text[16];
    rung->batch = batch;
    rung->settled = true;
    snprintf(text, sizeof text, "%" PRIu32, batch);
    log_event(LOG_INFO, "batch-found", "batch", text, "device_class", rung->kind.device_class, NULL);
    save(batches);
    return batch;
}

uint32_t batches_size(struct batches *batches, const struct batch_kind *kind, uint32_t first,
                      bool (*fits)(void *context, uint32_t count), void *context) {
    struct rung *rung = find(batches, kind);
    if (!rung)
        rung = add(batches, &(struct rung){ .kind = *kind, .batch = first });
    uint32_t size = rung->most && rung->most < rung->batch ? rung->most : rung->batch;
    while (size > 1 && size > rung->known_fit && !fits(context, size)) {
        size /= 2;
        rung->most = size;
    }
    if (size > rung->known_fit)
        rung->known_fit = size;
    return size;
}

void batches_limit(struct batches *batches, const struct batch_kind *kind, uint32_t most) {
    struct rung *rung = find(batches, kind);
    if (rung && (!rung->most || most < rung->most)) {
        rung->most = most;
        rung->known_fit = most;
    }
}

void batches_note(struct batches *batches, const struct batch_kind *kind, uint32_t count, uint32_t steps, double ms) {
    struct rung *rung = find(batches, kind);
    if (!rung || rung->settled)
        return;
    if (rung->most && rung->most < rung->batch) { /* memory ends the search; it is not what the file should keep */
        begin(rung, rung->most, 0);
        return;
    }
    if (count != rung->batch)
        return;
    if (steps != rung->steps) {
        rung->steps = steps;
        begin(rung, rung->smaller_ms > 0 ? rung->batch / 2 : rung->batch, 0);
        if (count != rung->batch)
            return;
    }
    double each_ms = ms / count;
    rung->best_ms = rung->seen == 0 || each_ms < rung->best_ms ? each_ms : rung->best_ms;
    if (++rung->seen < SEEN_ENOUGH)
        return;
    if (rung->smaller_ms > 0 && rung->best_ms * (1 + GAIN) >= rung->smaller_ms)
        settle(batches, rung, rung->batch / 2);
    else if (2 * rung->batch > LIMIT_BATCH)
        settle(batches, rung, rung->batch);
    else if (!rung->most || 2 * rung->batch <= rung->most)
        begin(rung, 2 * rung->batch, rung->best_ms);
}
