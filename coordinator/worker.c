/* worker.c - facts, speed, memory limits, the row of failures and the bench. */
#include "coordinator/worker.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define SPEED_WEIGHT 0.25  /* of the newest measurement */
#define LEAST_MS 0.01      /* of a picture: a render that took no time at all would be infinitely fast */

double spec_cost(const struct spec *spec) {
    double pixels = (double)spec->width * spec->height;
    double steps = spec->steps ? spec->steps : 1;
    return pixels ? steps * pixels * (spec_is_guided(spec) ? 2 : 1) : 1;
}

struct worker *worker_create(uint64_t number, const char *name) {
    struct worker *worker = memory_get(sizeof *worker);
    worker->number = number;
    worker->name = text_copy(name);
    worker->batch = 1;
    return worker;
}

void worker_destroy(struct worker *worker) {
    free(worker->name);
    free(worker->models);
    free(worker->speeds);
    free(worker->limits);
    free(worker->ready);
    free(worker->bench_reason);
    free(worker->said);
    free(worker);
}

/* It is at hand from now on. */
static void worker_add_model(struct worker *worker, const struct digest *model) {
    if (worker_has_model(worker, model))
        return;
    if (worker->model_count == LIMIT_MODELS_AT_HAND) { /* the one heard of longest ago is the likeliest to be gone */
        memmove(worker->models, worker->models + 1, (LIMIT_MODELS_AT_HAND - 1) * sizeof *worker->models);
        worker->models[LIMIT_MODELS_AT_HAND - 1] = *model;
        return;
    }
    worker->models = memory_grow(worker->models, worker->model_count + 1, sizeof *worker->models);
    worker->models[worker->model_count++] = *model;
}

void worker_set_facts(struct worker *worker, const struct worker_facts *facts) {
    worker->batch = facts->batch ? facts->batch : 1;
    worker->batch_pixels = 0;
    worker->ready_count = 0;
    worker->memory_bytes = facts->memory_bytes;
    worker->numerics = facts->numerics ? facts->numerics : 1u << NUMERICS_FP32;
    worker->model_count = 0;
    for (size_t i = 0; i < facts->model_count; i++)
        worker_add_model(worker, &facts->models[i]);
}

void worker_set_report(struct worker *worker, const struct worker_report *report) {
    worker->batch = report->batch;
    worker->batch_pixels = (uint64_t)report->width * report->height;
    worker->ready = memory_grow(worker->ready, report->model_count, sizeof *worker->ready);
    worker->ready_count = report->model_count;
    if (report->model_count)
        memcpy(worker->ready, report->models, report->model_count * sizeof *worker->ready);
}

static bool is_ready(const struct worker *worker, const struct digest *prepared) {
    for (size_t i = 0; i < worker->ready_count; i++)
        if (digest_equal(&worker->ready[i], prepared))
            return true;
    return false;
}

bool worker_has_model(const struct worker *worker, const struct digest *model) {
    for (size_t i = 0; i < worker->model_count; i++)
        if (digest_equal(&worker->models[i], model))
            return true;
    return false;
}

void worker_loads(struct worker *worker, const struct spec *spec) {
    worker->loaded = spec_model_key(spec);
    worker->loaded_model = spec->model;
    worker_add_model(worker, &spec->model);
    if (!digest_is_zero(&spec->refiner))
        worker_add_model(worker, &spec->refiner);
}

int worker_affinity(const struct worker *worker, const struct spec *spec, const struct digest *prepared) {
    if (digest_equal(&worker->loaded, prepared) || is_ready(worker, prepared))
        return 2;
    return worker_has_model(worker, &spec->model) &&
           (digest_is_zero(&spec->refiner) || worker_has_model(worker, &spec->refiner));
}

bool worker_can_numerics(const struct worker *worker, enum numerics numerics) {
    return worker->numerics >> numerics & 1;
}

/* ---- speed ------------------------------------------------------------------------------------------------------------ */

static struct speed *find_speed(const struct worker *worker, const struct digest *model) {
    for (size_t i = 0; i < worker->speed_count; i++)
        if (digest_equal(&worker->speeds[i].model, model))
            return &worker->speeds[i];
    return NULL;
}

static void blend(double *mean, double value) {
    *mean = *mean > 0 ? *mean + SPEED_WEIGHT * (value - *mean) : value;
}

void worker_learn(struct worker *worker, const struct digest *model, double cost, uint32_t render_ms) {
    double unit_ms = (render_ms ? render_ms : LEAST_MS) / cost;
    struct speed *speed = find_speed(worker, model);
    if (!speed) {
        worker->speeds = memory_grow(worker->speeds, worker->speed_count + 1, sizeof *worker->speeds);
        speed = &worker->speeds[worker->speed_count++];
        *speed = (struct speed){ .model = *model };
    }
    blend(&speed->unit_ms, unit_ms);
    blend(&worker->unit_ms, unit_ms);
    worker->device_ms += render_ms;
}

double worker_unit_ms(const struct worker *worker, const struct digest *model) {
    const struct speed *speed = find_speed(worker, model);
    return speed ? speed->unit_ms : 0;
}

/* ---- memory ----------------------------------------------------------------------------------------------------------- */

struct memory_kind memory_kind_of(const struct spec *spec) {
    return (struct memory_kind){ .model = spec->model, .vae = spec->vae, .refiner = spec->refiner, .width = spec->width,
                                 .height = spec->height, .vae_tiling = spec->vae_tiling, .numerics = spec->numerics,
                                 .merged = spec->lora != NULL, .guided = spec_is_guided(spec),
                                 .started = !digest_is_zero(&spec->init) };
}

bool memory_kind_is(const struct memory_kind *kind, const struct spec *spec) {
    return kind->width == spec->width && kind->height == spec->height && kind->vae_tiling == spec->vae_tiling &&
           kind->numerics == spec->numerics && kind->merged == (spec->lora != NULL) && kind->guided == spec_is_guided(spec) &&
           kind->started == !digest_is_zero(&spec->init) && digest_equal(&kind->model, &spec->model) && digest_equal(&kind->vae, &spec->vae) &&
           digest_equal(&kind->refiner, &spec->refiner);
}

static struct memory_limit *find_limit(const struct worker *worker, const struct spec *spec) {
    for (size_t i = 0; i < worker->limit_count; i++)
        if (memory_kind_is(&worker->limits[i].kind, spec))
            return &worker->limits[i];
    return NULL;
}

uint32_t worker_batch(const struct worker *worker, const struct spec *spec) {
    const struct memory_limit *limit = find_limit(worker, spec);
    uint64_t pixels = (uint64_t)spec->width * spec->height, batch = worker->batch;
    if (pixels > worker->batch_pixels && worker->batch_pixels) {
        batch = batch * worker->batch_pixels / pixels;
        batch = batch ? batch : 1;
    }
    return limit && limit->jobs < batch ? limit->jobs : (uint32_t)batch;
}

void worker_limit(struct worker *worker, const struct spec *spec, uint32_t jobs) {
    struct memory_limit *limit = find_limit(worker, spec);
    if (!limit) {
        worker->limits = memory_grow(worker->limits, worker->limit_count + 1, sizeof *worker->limits);
        limit = &worker->limits[worker->limit_count++];
        *limit = (struct memory_limit){ memory_kind_of(spec), jobs };
    }
    if (jobs < limit->jobs)
        limit->jobs = jobs;
}

/* ---- failures --------------------------------------------------------------------------------------------------------- */

bool worker_row_add(struct worker *worker, const struct digest *key, uint64_t lease) {
    for (uint32_t i = 0; i < worker->row_count; i++)
        if (worker->row[i].lease == lease && digest_equal(&worker->row[i].key, key))
            return false;
    worker->row[worker->row_count++] = (struct row_entry){ *key, lease };
    return worker->row_count == ROW_LIMIT;
}

bool worker_row_has(const struct worker *worker, const struct digest *key) {
    for (uint32_t i = 0; i < worker->row_count; i++)
        if (digest_equal(&worker->row[i].key, key))
            return true;
    return false;
}

void worker_row_drop(struct worker *worker, const struct digest *key) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < worker->row_count; i++)
        if (!digest_equal(&worker->row[i].key, key))
            worker->row[kept++] = worker->row[i];
    worker->row_count = kept;
}

void worker_bench(struct worker *worker, const char *reason, bool weak, uint64_t now_ms) {
    uint64_t ms = BENCH_FIRST_MS;
    for (uint32_t i = 0; i < worker->benches && ms < BENCH_MOST_MS && !weak; i++)
        ms *= 2;
    worker->benches += !weak;
    worker->benched_until_ms = now_ms + (ms < BENCH_MOST_MS ? ms : BENCH_MOST_MS);
    worker->probation = true;
    worker->row_count = 0;
    free(worker->bench_reason);
    worker->bench_reason = text_copy(reason);
}

bool worker_is_benched(const struct worker *worker, uint64_t now_ms) {
    return now_ms < worker->benched_until_ms;
}

void worker_success(struct worker *worker) {
    worker->row_count = 0;
    worker->benches = 0;
    worker->benched_until_ms = 0;
    worker->probation = false;
    free(worker->bench_reason);
    free(worker->said);
    worker->bench_reason = worker->said = NULL;
}
