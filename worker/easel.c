/* easel.c - a device, its models in the order of their use, their renderers, and who gives way for whom. */
#include "worker/easel.h"

#include <stdlib.h>

#include "proto/catalog.h"

enum { MODELS_MOST = LIMIT_MODELS_AT_HAND };

/* A model ready to draw with. */
struct place {
    struct digest key;     /* spec_model_key */
    struct device *device;
    struct model *model;
    struct model *refiner; /* or NULL */
    struct renderer *renderer; /* NULL: others needed its memory */
    struct place *older;
};

struct easel {
    struct device *devices[NUMERICS_COUNT]; /* the device, opened with each numerics when it is first wanted; fp32 always */
    const char *name;
    uint32_t threads;
    uint64_t memory_bytes;
    struct place *newest; /* used last; the others in the order of their use */
    size_t count;
    bool loaded;          /* the newest is what was asked for last */
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

static void place_destroy(struct place *place) {
    renderer_destroy(place->renderer);
    model_destroy(place->model);
    model_destroy(place->refiner);
    free(place);
}

void easel_destroy(struct easel *easel) {
    if (!easel)
        return;
    while (easel->newest) {
        struct place *place = easel->newest;
        easel->newest = place->older;
        place_destroy(place);
    }
    for (int i = 0; i < NUMERICS_COUNT; i++)
        device_close(easel->devices[i]);
    free((char *)easel->name);
    free(easel);
}

/* ---- memory --------------------------------------------------------------------------------------------------------- */

static uint64_t place_weights(const struct place *place) {
    return model_shape(place->model)->weight_bytes + (place->refiner ? model_shape(place->refiner)->weight_bytes : 0);
}

/* What the places but `own` (NULL: all of them) hold. */
static uint64_t others_hold(const struct easel *easel, const struct place *own) {
    uint64_t bytes = 0;
    for (const struct place *place = easel->newest; place; place = place->older)
        if (place != own)
            bytes += place_weights(place) + (place->renderer ? renderer_held(place->renderer) : 0);
    return bytes;
}

static void remove_place(struct easel *easel, struct place *gone) {
    struct place **link = &easel->newest;
    while (*link != gone)
        link = &(*link)->older;
    *link = gone->older;
    easel->count--;
    place_destroy(gone);
}

/* Take memory from what was used longest ago, never from `own`. False: there is nothing more to take. */
static bool make_room(struct easel *easel, const struct place *own) {
    struct place *idle = NULL, *oldest = NULL;
    for (struct place *place = easel->newest; place; place = place->older) {
        if (place == own)
            continue;
        oldest = place;
        idle = place->renderer ? place : idle;
    }
    if (idle) {
        renderer_destroy(idle->renderer);
        idle->renderer = NULL;
    } else if (oldest) {
        remove_place(easel, oldest);
    }
    return oldest != NULL;
}

static uint64_t run_budget(const struct easel *easel, const struct place *own) {
    uint64_t held = others_hold(easel, own) + place_weights(own);
    return held < easel->memory_bytes ? easel->memory_bytes - held : 1; /* 0 would be no bound */
}

/* ---- models --------------------------------------------------------------------------------------------------------- */

static enum err have_renderer(struct easel *easel, struct place *place, struct error *error) {
    enum err err = ERR_OK;
    if (place->renderer)
        return ERR_OK;
    do
        err = renderer_create(&place->renderer, place->model, run_budget(easel, place), error);
    while (err == ERR_MEMORY && make_room(easel, place));
    if (!err && place->refiner && (err = renderer_refine(place->renderer, place->refiner, error)) != ERR_OK) {
        renderer_destroy(place->renderer);
        place->renderer = NULL;
    }
    return err;
}

static enum err load_models(struct place *place, const struct spec *spec, const struct file_places *places, struct error *error) {
    enum err err = spec_model_load(&place->model, place->device, spec, places, error);
    if (!err && (err = spec_refiner_load(&place->refiner, place->device, spec, places, error)) != ERR_OK) {
        model_destroy(place->model);
        place->model = NULL;
    }
    return err;
}

/* Weights and a run of one picture are known to fit before anything else goes for them. */
static enum err load_place(struct easel *easel, struct place *place, const struct spec *spec, const struct file_places *places,
                           struct error *error) {
    struct device **device = &easel->devices[spec->numerics];
    struct memory_need need;
    enum err err = ERR_OK;
    if (!*device)
        err = device_open(device, easel->name, numerics_name(spec->numerics), easel->threads, error);
    if (err)
        return err;
    place->device = *device;
    err = spec_memory_check(&need, place->device, spec, places, 1, easel->memory_bytes, error);
    if (err)
        return err;
    while (easel->count && (easel->count == MODELS_MOST || others_hold(easel, NULL) + need.weights + need.run > easel->memory_bytes))
        make_room(easel, NULL);
    do
        err = load_models(place, spec, places, error);
    while (err == ERR_MEMORY && make_room(easel, NULL)); /* a card has other users, too */
    return err;
}

static struct place *find_place(const struct easel *easel, const struct digest *key) {
    struct place *place = easel->newest;
    while (place && !digest_equal(&place->key, key))
        place = place->older;
    return place;
}

static void put_first(struct easel *easel, struct place *place) {
    struct place **link = &easel->newest;
    while (*link && *link != place)
        link = &(*link)->older;
    if (*link)
        *link = place->older;
    else
        easel->count++;
    place->older = easel->newest;
    easel->newest = place;
}

static enum err easel_load(void *context, const struct spec *spec, const struct file_places *places, struct error *error) {
    struct easel *easel = context;
    struct digest key = spec_model_key(spec);
    struct place *place = find_place(easel, &key);
    enum err err = ERR_OK;
    easel->loaded = false;
    if (!place) {
        place = memory_get(sizeof *place);
        place->key = key;
        err = load_place(easel, place, spec, places, error);
        if (err) {
            place_destroy(place);
            return err;
        }
    }
    put_first(easel, place);
    err = have_renderer(easel, place, error);
    if (err && err != ERR_MEMORY) /* a refiner that does not fit its model, say */
        remove_place(easel, place);
    easel->loaded = !err;
    return err;
}

static bool easel_fits(void *context, const struct spec *spec, const struct file_places *places, uint32_t count) {
    const struct easel *easel = context;
    struct memory_need need;
    struct error error;
    return spec_memory_check(&need, easel->newest->device, spec, places, count, easel->memory_bytes, &error) == ERR_OK;
}

static size_t easel_ready(void *context, struct digest *keys, size_t most) {
    const struct easel *easel = context;
    size_t count = 0;
    for (const struct place *place = easel->newest; place && count < most; place = place->older)
        keys[count++] = place->key;
    return count;
}

/* ---- drawing -------------------------------------------------------------------------------------------------------- */

static enum err easel_draw(void *context, struct rendered *out, const struct spec *const *specs, size_t count,
                           const struct file_places *places, const struct render_watch *watch, struct error *error) {
    struct easel *easel = context;
    struct place *place = easel->newest;
    if (!easel->loaded)
        return error_set(error, ERR_INTERNAL, "a batch of %zu before any model was loaded", count);
    enum err err = have_renderer(easel, place, error);
    if (err)
        return err;
    do { /* a batch that is too large is refused before any work */
        renderer_bound(place->renderer, run_budget(easel, place));
        err = render_draw(out, place->renderer, device_class(place->device), specs, count, places, watch, NULL, error);
    } while (err == ERR_MEMORY && make_room(easel, place));
    if (err == ERR_MEMORY) { /* what it has grown to for so many prompts goes: a smaller batch needs less */
        renderer_destroy(place->renderer);
        place->renderer = NULL;
    }
    return err;
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
    struct painter painter = { easel, device_class(device), easel_load, easel_draw, easel_finish, easel_fits, easel_ready, 0 };
    for (int i = 0; i < NUMERICS_COUNT; i++)
        painter.numerics |= device_can(device, numerics_name((enum numerics)i)) ? 1u << i : 0;
    return painter;
}
