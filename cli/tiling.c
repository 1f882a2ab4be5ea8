/* tiling.c - vae_tiling chosen by memory. */
#include "cli/tiling.h"

#include "cli/combinations.h"
#include "pipeline/pipeline.h"
#include "worker/render.h"

enum { WALK_LIMIT = 4 << 20, KINDS_LIMIT = 256 };

/* What of a job decides how much memory it takes. */
struct memory_kind {
    struct digest model;
    uint32_t width, height;
    bool guided, started;
};

struct search {
    const struct file_places *places;
    uint64_t bytes;
    uint32_t tile; /* that all jobs so far are within with; 0: none needs any */
    struct memory_kind kinds[KINDS_LIMIT];
    size_t kind_count;
};

static bool kind_equal(const struct memory_kind *a, const struct memory_kind *b) {
    return a->width == b->width && a->height == b->height && a->guided == b->guided && a->started == b->started &&
           digest_equal(&a->model, &b->model);
}

/* Is it of a kind that was looked at already? If not it is one now. */
static enum err meet(bool *known, struct search *search, const struct spec *spec, struct error *error) {
    const struct memory_kind kind = { spec_model_key(spec), spec->width, spec->height, spec_is_guided(spec), !digest_is_zero(&spec->init) };
    *known = true;
    for (size_t i = 0; i < search->kind_count; i++)
        if (kind_equal(&search->kinds[i], &kind))
            return ERR_OK;
    if (search->kind_count == KINDS_LIMIT)
        return error_set(error, ERR_LIMIT, "want at most %d kinds of jobs by model, size, guidance and init to find it for, there are more: give"
                         " pixels a side", KINDS_LIMIT);
    *known = false;
    search->kinds[search->kind_count++] = kind;
    return ERR_OK;
}

/* From what earlier jobs need on, smaller and smaller. */
static enum err search_one(void *context, const struct spec *spec, struct error *error) {
    struct search *search = context;
    struct spec tiled = *spec; /* shares the texts */
    struct memory_need need;
    bool known;
    enum err err = meet(&known, search, spec, error);
    if (err || known)
        return err;
    for (tiled.vae_tiling = search->tile;; tiled.vae_tiling = tiled.vae_tiling ? tiled.vae_tiling / 2 : TILING_MOST) {
        err = spec_memory_check(&need, NULL, &tiled, search->places, 1, search->bytes, error);
        if (err != ERR_MEMORY || tiled.vae_tiling == TILING_LEAST)
            break;
    }
    search->tile = tiled.vae_tiling;
    return err;
}

enum err tiling_find(uint32_t *tile, const struct spec *spec, const struct file_places *places, uint64_t bytes,
                     struct error *error) {
    struct search search = { .places = places, .bytes = bytes };
    enum err err = search_one(&search, spec, error);
    if (err)
        error_prefix(error, "vae_tiling");
    *tile = search.tile;
    return err;
}

enum err tiling_fix(struct sweep *sweep, const struct file_places *places, uint64_t bytes, struct error *error) {
    static const enum field fields[] = { FIELD_MODEL, FIELD_VAE, FIELD_LORA, FIELD_EMBEDDING, FIELD_REFINER, FIELD_SIZE, FIELD_CFG, FIELD_INIT };
    struct search search = { .places = places, .bytes = bytes };
    bool all;
    enum err err = combinations_each(&all, sweep, fields, sizeof fields / sizeof *fields, WALK_LIMIT, search_one, &search, error);
    if (!err && !all)
        err = error_set(error, ERR_LIMIT, "want at most %d combinations of models, sizes, cfg and init to find it for, there are more: give"
                        " pixels a side", WALK_LIMIT);
    if (err) {
        error_prefix(error, "vae_tiling");
        return err;
    }
    sweep->fixed.vae_tiling = search.tile;
    return sweep_check(sweep, error);
}
