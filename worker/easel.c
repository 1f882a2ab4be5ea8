/* easel.c - device, models, renderers. */
#include "worker/easel.h"

#include <stdlib.h>

enum { MODELS_KEPT = 2 };

struct place {
    struct digest key;   /* spec_model_key */
    struct device *device;
    struct model *model; /* NULL: the place is free */
    struct model *refiner; /* or NULL */
    struct renderer *renderer;
    uint64_t used; /* a count that grows with every use */
};

struct easel {
    struct device *devices[NUMERICS_COUNT]; /* the device, opened with each numerics when it is first wanted; fp32 always */
    const char *name;
    uint32_t threads;
    uint64_t memory_bytes;
    uint64_t uses;
    struct place places[MODELS_KEPT];
    struct place *current;
};

enum err easel_create(struct easel **out, const char *device, uint32_t threads, uint64_t memory_bytes,
                      struct error *error) {
    struct device *opened;
    enum err err = device_open(&opened, device, numerics_name(NUMERICS_FP32), threads, error);
    if (err)
        return err;
    struct easel *easel = memory_get(sizeof *easel);
    easel->devices[NUMERICS_FP32] = opened;
    easel->name = text_copy(device);
    easel->threads = threads;
    easel->memory_bytes = memory_bytes ? memory_bytes : device_memory(opened);
    *out = easel;
    return ERR_OK;
}

static void clear_place(struct place *place) {
    if (place->renderer)
        renderer_destroy(place->renderer);
    model_destroy(place->model);
    model_destroy(place->refiner);
    *place = (struct place){ .model = NULL };
}

void easel_destroy(struct easel *easel) {
    if (!easel)
        return;
    for (int i = 0; i < MODELS_KEPT; i++)
        clear_place(&easel->places[i]);
    for (int i = 0; i < NUMERICS_COUNT; i++)
        device_close(easel->devices[i]);
    free((char *)easel->name);
    free(easel);
}

static uint64_t place_weights(const struct place *place) {
    return model_shape(place->model)->weight_bytes + (place->refiner ? model_shape(place->refiner)->weight_bytes : 0);
}

/* A free place, or the one whose model was used longest ago. */
static struct place *oldest_place(struct easel *easel) {
    struct place *oldest = &easel->places[0];
    for (int i = 0; i < MODELS_KEPT; i++) {
        if (!easel->places[i].model)
            return &easel->places[i];
        if (easel->places[i].used < oldest->used)
            oldest = &easel->places[i];
    }
    return oldest;
}

/* What the budget leaves for a run beside `own` bytes of weights that are to be loaded into `place`. Where both kept models would
 * take more than half of the budget the other one goes: pictures matter more than a model that may be asked for again. */
static uint64_t run_budget(struct easel *easel, const struct place *place, uint64_t own) {
    uint64_t others = 0;
    for (int i = 0; i < MODELS_KEPT; i++)
        if (&easel->places[i] != place && easel->places[i].model)
            others += place_weights(&easel->places[i]);
    if (own + others > easel->memory_bytes / 2) {
        for (int i = 0; i < MODELS_KEPT; i++)
            if (&easel->places[i] != place)
                clear_place(&easel->places[i]);
        easel->current = NULL;
        others = 0;
    }
    return easel->memory_bytes - own - others;
}

static enum err load_place(struct easel *easel, struct place *place, const struct spec *spec, const struct file_places *places,
                           struct error *error) {
    struct device **device = &easel->devices[spec->numerics];
    struct memory_need need;
    enum err err = ERR_OK;
    if (!*device)
        err = device_open(device, easel->name, numerics_name(spec->numerics), easel->threads, error);
    place->device = *device;
    if (!err)
        err = spec_memory_check(&need, place->device, spec, places, easel->memory_bytes, error);
    if (err)
        return err;
    uint64_t budget = run_budget(easel, place, need.weights);
    err = spec_model_load(&place->model, place->device, spec, places, error);
    if (!err)
        err = spec_refiner_load(&place->refiner, place->device, spec, places, error);
    if (!err)
        err = renderer_create(&place->renderer, place->model, budget, error);
    if (!err && place->refiner)
        err = renderer_refine(place->renderer, place->refiner, error);
    return err;
}

static enum err easel_load(void *context, const struct spec *spec, const struct file_places *places, struct error *error) {
    struct easel *easel = context;
    struct digest key = spec_model_key(spec);
    struct place *place = NULL;
    for (int i = 0; i < MODELS_KEPT; i++)
        if (easel->places[i].model && digest_equal(&easel->places[i].key, &key))
            place = &easel->places[i];
    if (!place) {
        place = oldest_place(easel);
        if (place == easel->current)
            easel->current = NULL;
        clear_place(place);
        enum err err = load_place(easel, place, spec, places, error);
        if (err) {
            clear_place(place);
            return err;
        }
        place->key = key;
    }
    place->used = ++easel->uses;
    easel->current = place;
    return ERR_OK;
}

static enum err easel_draw(void *context, struct rendered *out, const struct spec *const *specs, size_t count,
                           const struct file_places *places, const struct render_watch *watch, struct error *error) {
    struct easel *easel = context;
    if (!easel->current)
        return error_set(error, ERR_INTERNAL, "a batch of %zu before any model was loaded", count);
    return render_draw(out, easel->current->renderer, device_class(easel->current->device), specs, count, places, watch, NULL, error);
}

static void easel_finish(void *context, struct rendered *rendered, const struct spec *spec) {
    (void)context;
    render_finish(rendered, spec);
}

uint64_t easel_memory(const struct easel *easel) {
    return easel->memory_bytes;
}

struct painter easel_painter(struct easel *easel) {
    const struct device *device = easel->devices[NUMERICS_FP32];
    struct painter painter = { easel, device_class(device), easel_load, easel_draw, easel_finish, 0 };
    for (int i = 0; i < NUMERICS_COUNT; i++)
        painter.numerics |= device_can(device, numerics_name((enum numerics)i)) ? 1u << i : 0;
    return painter;
}
