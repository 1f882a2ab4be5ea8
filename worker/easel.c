/* easel.c - a device, its models in the order of their use, their renderers, and who gives way for whom. */
#include "worker/easel.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "proto/catalog.h"

enum { MODELS_MOST = LIMIT_MODELS_AT_HAND };

/* A model ready to draw with. */
struct place {
    struct digest key;     /* spec_model_key */
    struct device *device;
    struct model *model;
    struct model *refiner; /* or NULL */
    struct renderer *renderer; /* NULL: others needed its memory. The current place's is the drawing thread's alone */
    struct place *older;
};

struct easel {
    const char *name;
    uint32_t threads;
    uint64_t memory_bytes;
    struct device *devices[NUMERICS_COUNT]; /* the device, opened with each numerics when it is first wanted by who loads; fp32 always */
    pthread_mutex_t mutex; /* of all that follows */
    pthread_cond_t changed;
    struct place *newest;  /* the current one, then what is to come next, then the others in the order of their use */
    size_t count;
    struct place *current; /* what was asked for last: drawn with, never taken; NULL: it is not here */
    uint64_t run_bytes;    /* that the current renderer holds */
    bool growing;          /* and it may take all that is left */
    uint64_t moving;       /* bytes of what is being loaded, or taken away */
    bool loading;          /* somebody loads: one at a time */
    bool asking;           /* who loads ahead waits to know what room there is: the next batch waits for that */
    bool freeing;          /* somebody frees memory: one at a time */
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
    pthread_mutex_init(&easel->mutex, NULL);
    pthread_cond_init(&easel->changed, NULL);
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
    pthread_cond_destroy(&easel->changed);
    pthread_mutex_destroy(&easel->mutex);
    free((char *)easel->name);
    free(easel);
}

/* ---- places: under the mutex ---------------------------------------------------------------------------------------- */

static struct place *find_place(const struct easel *easel, const struct digest *key) {
    struct place *place = easel->newest;
    while (place && !digest_equal(&place->key, key))
        place = place->older;
    return place;
}

static void unlink_place(struct easel *easel, struct place *gone) {
    struct place **link = &easel->newest;
    while (*link && *link != gone)
        link = &(*link)->older;
    if (!*link)
        return;
    *link = gone->older;
    easel->count--;
}

static void put_behind(struct easel *easel, struct place **link, struct place *place) {
    place->older = *link;
    *link = place;
    easel->count++;
}

static void put_first(struct easel *easel, struct place *place) {
    unlink_place(easel, place);
    put_behind(easel, &easel->newest, place);
}

/* What comes next is needed sooner than anything but what is drawn with. */
static void put_next(struct easel *easel, struct place *place) {
    unlink_place(easel, place);
    bool drawn_with = easel->current && easel->current == easel->newest;
    put_behind(easel, drawn_with ? &easel->current->older : &easel->newest, place);
}

/* ---- memory: under the mutex ---------------------------------------------------------------------------------------- */

static uint64_t place_weights(const struct place *place) {
    return model_shape(place->model)->weight_bytes + (place->refiner ? model_shape(place->refiner)->weight_bytes : 0);
}

/* What is held, but for the current renderer. */
static uint64_t held(const struct easel *easel) {
    uint64_t bytes = easel->moving;
    for (const struct place *place = easel->newest; place; place = place->older)
        bytes += place_weights(place) + (place != easel->current && place->renderer ? renderer_held(place->renderer) : 0);
    return bytes;
}

/* What the current renderer may take. */
static uint64_t run_budget(const struct easel *easel) {
    uint64_t others = held(easel);
    return others < easel->memory_bytes ? easel->memory_bytes - others : 1; /* 0 would be no bound */
}

static void await_freed(struct easel *easel) {
    while (easel->freeing)
        pthread_cond_wait(&easel->changed, &easel->mutex);
}

/* Take memory from what was used longest ago, never from the current place; without the mutex while it is freed. False: there is
 * nothing to take. */
static bool give_way(struct easel *easel) {
    struct place *idle = NULL, *oldest = NULL;
    if (easel->freeing) {
        await_freed(easel);
        return true;
    }
    for (struct place *place = easel->newest; place; place = place->older) {
        if (place == easel->current)
            continue;
        oldest = place;
        idle = place->renderer ? place : idle;
    }
    if (!oldest)
        return false;
    struct renderer *renderer = idle ? idle->renderer : NULL;
    uint64_t bytes = idle ? renderer_held(renderer) : place_weights(oldest);
    if (idle)
        idle->renderer = NULL;
    else
        unlink_place(easel, oldest);
    easel->moving += bytes;
    easel->freeing = true;
    pthread_mutex_unlock(&easel->mutex);
    if (idle)
        renderer_destroy(renderer);
    else
        place_destroy(oldest);
    pthread_mutex_lock(&easel->mutex);
    easel->moving -= bytes;
    easel->freeing = false;
    pthread_cond_broadcast(&easel->changed);
    return true;
}

/* The same for the drawing thread: what is being loaded ahead gives way, too, once it is there. Who still asks for room has none. */
static bool make_room(struct easel *easel) {
    bool waited = false;
    if (give_way(easel))
        return true;
    for (; easel->loading && !easel->asking; waited = true)
        pthread_cond_wait(&easel->changed, &easel->mutex);
    return waited;
}

/* From here on the current renderer holds what it holds. */
static void end_growing(struct easel *easel) {
    easel->growing = false;
    easel->run_bytes = easel->current && easel->current->renderer ? renderer_held(easel->current->renderer) : 0;
    pthread_cond_broadcast(&easel->changed);
}

static void set_current(struct easel *easel, struct place *place) {
    easel->current = place;
    end_growing(easel);
}

/* ---- loading -------------------------------------------------------------------------------------------------------- */

static enum err load_models(struct place *place, const struct spec *spec, const struct file_places *places, struct error *error) {
    enum err err = spec_model_load(&place->model, place->device, spec, places, error);
    if (!err && (err = spec_refiner_load(&place->refiner, place->device, spec, places, error)) != ERR_OK) {
        model_destroy(place->model);
        place->model = NULL;
    }
    return err;
}

/* A device for the job's numerics, and what its models and one picture will need there. By who loads, without the mutex. */
static enum err measure(struct memory_need *need, struct easel *easel, struct place *place, const struct spec *spec,
                        const struct file_places *places, struct error *error) {
    struct device **device = &easel->devices[spec->numerics];
    enum err err = ERR_OK;
    if (!*device)
        err = device_open(device, easel->name, numerics_name(spec->numerics), easel->threads, error);
    place->device = *device;
    return err ? err : spec_memory_check(need, place->device, spec, places, 1, easel->memory_bytes, error);
}

/* Weights and a run of one picture are known to fit before anything goes for them. */
static enum err load_place(struct easel *easel, struct place *place, const struct spec *spec, const struct file_places *places,
                           struct error *error) {
    struct memory_need need;
    bool again;
    enum err err = measure(&need, easel, place, spec, places, error);
    if (err)
        return err;
    pthread_mutex_lock(&easel->mutex);
    while (easel->count == MODELS_MOST || held(easel) + need.weights + need.run > easel->memory_bytes)
        if (!give_way(easel))
            break;
    do { /* a card has other users, too */
        pthread_mutex_unlock(&easel->mutex);
        err = load_models(place, spec, places, error);
        pthread_mutex_lock(&easel->mutex);
        again = err == ERR_MEMORY && give_way(easel);
    } while (again);
    pthread_mutex_unlock(&easel->mutex);
    return err;
}

static struct place *place_create(const struct digest *key) {
    struct place *place = memory_get(sizeof *place);
    place->key = *key;
    return place;
}

/* The models of `key`, loaded now if they are neither here nor on their way. Under the mutex. */
static enum err have_place(struct place **out, struct easel *easel, const struct digest *key, const struct spec *spec,
                           const struct file_places *places, struct error *error) {
    struct place *place = find_place(easel, key);
    while (!place && easel->loading) {
        pthread_cond_wait(&easel->changed, &easel->mutex);
        place = find_place(easel, key);
    }
    if (place) {
        *out = place;
        return ERR_OK;
    }
    place = place_create(key);
    easel->loading = true;
    pthread_mutex_unlock(&easel->mutex);
    enum err err = load_place(easel, place, spec, places, error);
    pthread_mutex_lock(&easel->mutex);
    easel->loading = false;
    pthread_cond_broadcast(&easel->changed);
    if (err)
        place_destroy(place);
    else
        *out = place;
    return err;
}

static enum err create_renderer(struct place *place, uint64_t budget_bytes, struct error *error) {
    enum err err = renderer_create(&place->renderer, place->model, budget_bytes, error);
    if (!err && place->refiner && (err = renderer_refine(place->renderer, place->refiner, error)) != ERR_OK) {
        renderer_destroy(place->renderer);
        place->renderer = NULL;
    }
    return err;
}

/* The current place's. Under the mutex, not while it works. */
static enum err have_renderer(struct easel *easel, struct error *error) {
    struct place *place = easel->current;
    enum err err = ERR_OK;
    if (place->renderer)
        return ERR_OK;
    easel->growing = true;
    do {
        uint64_t budget = run_budget(easel);
        pthread_mutex_unlock(&easel->mutex);
        err = create_renderer(place, budget, error);
        pthread_mutex_lock(&easel->mutex);
    } while (err == ERR_MEMORY && make_room(easel));
    end_growing(easel);
    return err;
}

static enum err easel_load(void *context, const struct spec *spec, const struct file_places *places, struct error *error) {
    struct easel *easel = context;
    struct digest key = spec_model_key(spec);
    struct place *place = NULL;
    pthread_mutex_lock(&easel->mutex);
    set_current(easel, NULL);
    enum err err = have_place(&place, easel, &key, spec, places, error);
    if (!err) {
        put_first(easel, place);
        set_current(easel, place);
        err = have_renderer(easel, error);
    }
    if (err)
        set_current(easel, NULL);
    if (place && err && err != ERR_MEMORY) { /* a refiner that does not fit its model, say */
        await_freed(easel);
        unlink_place(easel, place);
        place_destroy(place);
    }
    pthread_mutex_unlock(&easel->mutex);
    return err;
}

/* ---- loading ahead -------------------------------------------------------------------------------------------------- */

/* Once the current renderer stays as it is: is there room for so many bytes beside it, or will be when idle places have given way?
 * From here on they are counted. */
static bool reserve(struct easel *easel, uint64_t bytes) {
    easel->asking = true;
    pthread_cond_broadcast(&easel->changed);
    while (easel->growing)
        pthread_cond_wait(&easel->changed, &easel->mutex);
    uint64_t current = easel->run_bytes + (easel->current ? place_weights(easel->current) : 0);
    bool room = current + bytes <= easel->memory_bytes;
    easel->moving += room ? bytes : 0;
    easel->asking = false;
    pthread_cond_broadcast(&easel->changed);
    return room;
}

/* Room for weights beside what is drawn with; nothing goes where it would go in vain. By who has the right to load. */
static bool take_room(struct easel *easel, uint64_t bytes) {
    pthread_mutex_lock(&easel->mutex);
    bool room = reserve(easel, bytes), enough = room;
    while (enough && (easel->count == MODELS_MOST || held(easel) + easel->run_bytes > easel->memory_bytes))
        enough = give_way(easel);
    easel->moving -= room && !enough ? bytes : 0; /* meanwhile another model is drawn with, a larger one */
    pthread_mutex_unlock(&easel->mutex);
    return enough;
}

/* Load them if there is room beside what is drawn with, and how long that took. By who has the right to load, without the mutex. */
static enum err load_beside(uint64_t *ns, struct easel *easel, struct place *place, const struct spec *spec,
                            const struct file_places *places, struct error *error) {
    struct memory_need need;
    enum err err = measure(&need, easel, place, spec, places, error);
    if (err)
        return err;
    if (!take_room(easel, need.weights))
        return error_set(error, ERR_MEMORY, "no room for models of %" PRIu64 " bytes beside what is drawn with", need.weights);
    uint64_t begin_ns = clock_monotonic_ns();
    err = load_models(place, spec, places, error);
    *ns = clock_monotonic_ns() - begin_ns;
    pthread_mutex_lock(&easel->mutex);
    easel->moving -= need.weights;
    if (!err)
        put_next(easel, place);
    pthread_mutex_unlock(&easel->mutex);
    return err;
}

/* Whatever goes wrong here goes wrong again when the models are asked for, and is said then. */
static uint64_t easel_prepare(void *context, const struct spec *spec, const struct file_places *places) {
    struct easel *easel = context;
    struct digest key = spec_model_key(spec);
    struct error error;
    uint64_t ns = 0;
    pthread_mutex_lock(&easel->mutex);
    while (easel->loading)
        pthread_cond_wait(&easel->changed, &easel->mutex);
    struct place *place = find_place(easel, &key);
    if (place && place != easel->current)
        put_next(easel, place);
    easel->loading = !place;
    pthread_mutex_unlock(&easel->mutex);
    if (place)
        return 0;
    place = place_create(&key);
    enum err err = load_beside(&ns, easel, place, spec, places, &error);
    if (err)
        place_destroy(place);
    pthread_mutex_lock(&easel->mutex);
    easel->loading = false;
    pthread_cond_broadcast(&easel->changed);
    pthread_mutex_unlock(&easel->mutex);
    return err ? 0 : ns;
}

/* ---- questions ------------------------------------------------------------------------------------------------------ */

static bool easel_fits(void *context, const struct spec *spec, const struct file_places *places, uint32_t count) {
    const struct easel *easel = context;
    struct memory_need need;
    struct error error;
    return spec_memory_check(&need, easel->current->device, spec, places, count, easel->memory_bytes, &error) == ERR_OK;
}

static size_t easel_ready(void *context, struct digest *keys, size_t most) {
    struct easel *easel = context;
    size_t count = 0;
    pthread_mutex_lock(&easel->mutex);
    for (const struct place *place = easel->newest; place && count < most; place = place->older)
        keys[count++] = place->key;
    pthread_mutex_unlock(&easel->mutex);
    return count;
}

/* ---- drawing -------------------------------------------------------------------------------------------------------- */

/* A batch takes its memory before its first step. */
struct first_step {
    struct easel *easel;
    const struct render_watch *watch;
    bool settles; /* and keeps it */
};

static bool note_step(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    struct first_step *first = context;
    if (phase == RENDER_STEP && first->settles) {
        pthread_mutex_lock(&first->easel->mutex);
        end_growing(first->easel);
        pthread_mutex_unlock(&first->easel->mutex);
        first->settles = false;
    }
    return !first->watch->progress || first->watch->progress(first->watch->context, phase, step, steps);
}

/* Under the mutex, without it while it draws. Pictures to start from are encoded before each job's steps where jobs may be drawn one
 * by one: room for it is taken again and again. */
static enum err draw(struct easel *easel, struct rendered *out, const struct spec *const *specs, size_t count,
                     const struct file_places *places, const struct render_watch *watch, struct error *error) {
    struct place *place = easel->current;
    bool settles = digest_is_zero(&specs[0]->init) || count == 1 || renderer_batch_invariant(place->renderer);
    struct first_step first = { easel, watch, settles };
    const struct render_watch noting = { note_step, &first, watch->viewer };
    renderer_bound(place->renderer, run_budget(easel));
    easel->growing = true;
    pthread_mutex_unlock(&easel->mutex);
    enum err err = render_draw(out, place->renderer, device_class(place->device), specs, count, places, &noting, NULL, error);
    pthread_mutex_lock(&easel->mutex);
    end_growing(easel);
    return err;
}

static enum err easel_draw(void *context, struct rendered *out, const struct spec *const *specs, size_t count,
                           const struct file_places *places, const struct render_watch *watch, struct error *error) {
    struct easel *easel = context;
    enum err err = ERR_OK;
    pthread_mutex_lock(&easel->mutex);
    while (easel->asking)
        pthread_cond_wait(&easel->changed, &easel->mutex);
    if (!easel->current)
        err = error_set(error, ERR_INTERNAL, "a batch of %zu before any model was loaded", count);
    if (!err)
        err = have_renderer(easel, error);
    if (!err) {
        do /* a batch that is too large is refused before any work */
            err = draw(easel, out, specs, count, places, watch, error);
        while (err == ERR_MEMORY && make_room(easel));
        if (err == ERR_MEMORY) { /* what it has grown to for so many prompts goes: a smaller batch needs less */
            renderer_destroy(easel->current->renderer);
            easel->current->renderer = NULL;
            easel->run_bytes = 0;
        }
    }
    pthread_mutex_unlock(&easel->mutex);
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
    struct painter painter = { .context = easel, .device_class = device_class(device), .load = easel_load, .prepare = easel_prepare,
                               .draw = easel_draw, .finish = easel_finish, .fits = easel_fits, .ready = easel_ready };
    for (int i = 0; i < NUMERICS_COUNT; i++)
        painter.numerics |= device_can(device, numerics_name((enum numerics)i)) ? 1u << i : 0;
    return painter;
}
