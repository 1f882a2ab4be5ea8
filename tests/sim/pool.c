/* pool.c - the sweeps that seeds choose from, their jobs and their pictures: made once, for all seeds of a process. */
#include <assert.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "picture/picture.h"
#include "proto/sweep.h"
#include "tests/sim/sim.h"

enum { BUCKETS = 4096 };

struct pool pool;
static uint32_t buckets[BUCKETS]; /* job + 1 */

/* Some of them overlap: the same job is wanted by several. */
static const struct recipe {
    const char *prompt, *size, *steps;
    uint64_t from, count;
} recipes[] = {
    { "a frog", "8x8", "3", 0, 12 },  { "a frog", "8x8", "3", 6, 12 },   { "a frog", "8x8", "3", 0, 24 },
    { "an owl", "8x8", "3", 0, 5 },   { "an owl", "16x8", "2", 0, 9 },   { "an owl", "8x8", "3", 3, 30 },
    { "a fox", "8x8", "6", 0, 1 },    { "a fox", "8x8", "6", 0, 16 },    { "a fox", "16x16", "4", 0, 8 },
    { "a newt", "8x8", "3", 0, 60 },  { "a newt", "8x8", "3", 100, 60 }, { "a newt", "8x8", "3", 200, 60 },
};

static uint32_t hash(const struct digest *key) {
    uint32_t word;
    memcpy(&word, key->bytes, sizeof word);
    return word;
}

struct pool_job *pool_find(const struct digest *key) {
    for (uint32_t at = hash(key) % BUCKETS; buckets[at]; at = (at + 1) % BUCKETS)
        if (digest_equal(&pool.jobs[buckets[at] - 1].key, key))
            return &pool.jobs[buckets[at] - 1];
    return NULL;
}

static uint32_t add_job(const struct spec *spec) {
    struct digest key = spec_key(spec);
    const struct pool_job *known = pool_find(&key);
    if (known)
        return (uint32_t)(known - pool.jobs);
    struct bytes canonical = BYTES_INIT;
    uint32_t at = hash(&key) % BUCKETS;
    while (buckets[at])
        at = (at + 1) % BUCKETS;
    spec_canonical(&canonical, spec);
    pool.jobs = memory_grow(pool.jobs, pool.job_count + 1, sizeof *pool.jobs);
    pool.jobs[pool.job_count] = (struct pool_job){ .key = key, .canonical = (char *)bytes_take(&canonical).data, .png = BYTES_INIT };
    buckets[at] = ++pool.job_count;
    return pool.job_count - 1;
}

static void must(enum err err, const struct error *error) {
    if (err)
        broken("the pool: %s", error->message);
    assert(!err);
}

static void add_sweep(const struct recipe *recipe) {
    struct sweep sweep = { .axis_count = 1 };
    struct pool_sweep *to = &pool.sweeps[pool.sweep_count];
    struct error error;
    spec_init(&sweep.fixed);
    sweep.fixed.model = pool.model;
    must(spec_set(&sweep.fixed, FIELD_PROMPT, recipe->prompt, &error), &error);
    must(spec_set(&sweep.fixed, FIELD_SIZE, recipe->size, &error), &error);
    must(spec_set(&sweep.fixed, FIELD_STEPS, recipe->steps, &error), &error);
    must(spec_check(&sweep.fixed, &error), &error);
    sweep.axes[0] = (struct axis){ .kind = AXIS_RANGE, .fields = { FIELD_SEED }, .field_count = 1, .count = recipe->count,
                                   .seed_from = recipe->from, .seed_step = 1 };
    must(sweep_check(&sweep, &error), &error);
    *to = (struct pool_sweep){ .json = BYTES_INIT, .count = (uint32_t)recipe->count };
    char *name = text_format("sweep%u", pool.sweep_count++);
    strncpy(to->name, name, sizeof to->name - 1);
    free(name);
    must(sweep_resolved(&to->json, &sweep, &error), &error);
    to->id = digest_of(to->json.data, to->json.size);
    to->jobs = memory_get_array(to->count, sizeof *to->jobs);
    for (uint32_t i = 0; i < to->count; i++) {
        struct spec spec;
        must(sweep_job(&spec, &sweep, i, &error), &error);
        to->jobs[i] = add_job(&spec);
        pool.jobs[to->jobs[i]].sweeps |= 1u << (pool.sweep_count - 1);
        spec_release(&spec);
    }
    sweep_release(&sweep);
}

void pool_make(void) {
    pool.model = digest_of("the model", 9);
    pool.sweeps = memory_get_array(sizeof recipes / sizeof *recipes, sizeof *pool.sweeps);
    for (size_t i = 0; i < sizeof recipes / sizeof *recipes; i++)
        add_sweep(&recipes[i]);
}

void pool_release(void) {
    for (uint32_t i = 0; i < pool.sweep_count; i++) {
        bytes_release(&pool.sweeps[i].json);
        free(pool.sweeps[i].jobs);
    }
    for (uint32_t i = 0; i < pool.job_count; i++) {
        free(pool.jobs[i].canonical);
        bytes_release(&pool.jobs[i].png);
    }
    free(pool.sweeps);
    free(pool.jobs);
}

void pool_draw(struct pool_job *job) {
    struct picture_job facts = { .canonical = job->canonical, .device_class = "sim", .prompt = "", .negative = "",
                                 .sampler = "Euler", .schedule = "uniform", .cfg = "1", .model_name_or_digest = "sim",
                                 .steps = 1, .clip_skip = 1 };
    struct picture picture = { .rgb = NULL };
    struct spec spec;
    struct error error;
    if (job->png.size)
        return;
    must(spec_parse(&spec, job->canonical, strlen(job->canonical), &error), &error);
    facts.width = picture.width = spec.width;
    facts.height = picture.height = spec.height;
    size_t size = (size_t)3 * spec.width * spec.height;
    picture.rgb = memory_get(size);
    for (size_t i = 0; i < size; i++)
        picture.rgb[i] = job->key.bytes[i % DIGEST_SIZE];
    must(png_encode_job(&job->png, &picture, &facts, &error), &error);
    job->picture = digest_of(job->png.data, job->png.size);
    job->pixels = picture_pixel_digest(&picture);
    picture_release(&picture);
    spec_release(&spec);
}
