/*
 * memory.c - how much memory a model and a run of it will take, before anything is loaded: the model is opened for a device
 * that only counts, and the run is recorded there.
 */
#include <inttypes.h>
#include <stdio.h>

#include "pipeline/model.h"

enum { PROCESS_BYTES = 16 << 20 }; /* code, scratch of threads, a tokenizer of 49408 tokens */

/* A model on a device that counts, and what weights and runs may take together. */
struct planned {
    struct device planner;
    struct model *model;
    struct model *refiner; /* or NULL */
    uint64_t budget; /* bytes, 0: no bound */
};

static enum err plan(struct planned *planned, struct device *device, const struct model_files *files,
                     const struct model_files *refiner, struct error *error) {
    *planned = (struct planned){ .planner = { backend_create_planner(device == NULL ? NULL : device->backend) } };
    enum err err = model_load_files(&planned->model, &planned->planner, files, error);
    if (err == ERR_OK && refiner != NULL && (err = model_load_files(&planned->refiner, &planned->planner, refiner, error)) != ERR_OK) {
        error_prefix(error, "refiner");
    }
    return err;
}

static void planned_release(struct planned *planned) {
    model_destroy(planned->model);
    model_destroy(planned->refiner);
    backend_destroy(planned->planner.backend);
}

/* Both models' runs are there before the first step. */
static enum err need_of(struct memory_need *need, const struct planned *planned, const struct render_size *size,
                        struct error *error) {
    struct render_size own = *size;
    uint64_t run, second = 0;
    own.refined = planned->refiner != NULL;
    enum err err = render_memory(&run, planned->model, &own, error);
    if (err == ERR_OK && planned->refiner != NULL) {
        err = render_memory(&second, planned->refiner, size, error);
    }
    if (err == ERR_OK) {
        uint64_t weights = model_shape(planned->model)->weight_bytes;
        weights += planned->refiner == NULL ? 0 : model_shape(planned->refiner)->weight_bytes;
        *need = (struct memory_need){ weights, run + second, PROCESS_BYTES };
    }
    return err;
}

static bool fits(const struct planned *planned, struct render_size size) {
    struct memory_need need;
    struct error error;
    return need_of(&need, planned, &size, &error) == ERR_OK && need.weights + need.run <= planned->budget;
}

enum err model_memory(struct memory_need *need, struct device *device, const struct model_files *files,
                      const struct model_files *refiner, const struct render_size *size, struct error *error) {
    struct planned planned;
    enum err err = plan(&planned, device, files, refiner, error);
    if (err == ERR_OK) {
        err = need_of(need, &planned, size, error);
    }
    planned_release(&planned);
    return err;
}

/* ---- what would fit --------------------------------------------------------------------------------------------- */

static struct render_size of_batch(const struct render_size *size, uint32_t parts, uint32_t part) {
    struct render_size smaller = *size;
    (void)parts;
    smaller.batch = part;
    return smaller;
}

static struct render_size of_side(const struct render_size *size, uint32_t parts, uint32_t part) {
    struct render_size smaller = *size;
    smaller.width = size->width / parts * part;
    smaller.height = size->height / parts * part;
    return smaller;
}

/* The largest part of 1..parts-1 that fits, 0: none does. More takes more memory: halved between. */
static uint32_t largest_part(const struct planned *planned, const struct render_size *size, uint32_t parts,
                             struct render_size (*of)(const struct render_size *, uint32_t, uint32_t)) {
    uint32_t good = 0, bad = parts;
    while (bad - good > 1) {
        uint32_t middle = good + (bad - good) / 2;
        *(fits(planned, of(size, parts, middle)) ? &good : &bad) = middle;
    }
    return good;
}

/* How many equal parts both sides have that are whole latents. */
static uint32_t side_parts(const struct model *model, const struct render_size *size) {
    uint32_t a = size->width / model_shape(model)->pixels_per_latent, b = size->height / model_shape(model)->pixels_per_latent;
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The largest tiling with which it would fit, 0: none. */
static uint32_t tiling_that_fits(const struct planned *planned, const struct render_size *size) {
    for (uint32_t tile = TILING_MOST; size->vae_tiling == 0 && tile >= TILING_LEAST; tile /= 2) {
        struct render_size tiled = *size;
        tiled.vae_tiling = tile;
        if (fits(planned, tiled)) {
            return tile;
        }
    }
    return 0;
}

/* A smaller batch where one fits; else what one picture would have to be. */
static void advise(char *text, size_t room, const struct planned *planned, const struct render_size *size) {
    uint32_t batch = largest_part(planned, size, size->batch, of_batch);
    if (batch != 0) {
        snprintf(text, room, "a batch of %u would fit", batch);
        return;
    }
    const struct render_size one = of_batch(size, 1, 1);
    uint32_t tile = tiling_that_fits(planned, &one), parts = side_parts(planned->model, &one);
    uint32_t part = largest_part(planned, &one, parts, of_side);
    struct render_size smaller = of_side(&one, parts, part);
    const char *alone = size->batch > 1 ? " alone" : "";
    if (tile != 0 && part != 0) {
        snprintf(text, room, "with vae_tiling: %u one%s would fit, or one of %ux%u", tile, alone, smaller.width, smaller.height);
    } else if (tile != 0) {
        snprintf(text, room, "with vae_tiling: %u one%s would fit", tile, alone);
    } else if (part != 0) {
        snprintf(text, room, "one%s of %ux%u would fit", alone, smaller.width, smaller.height);
    } else {
        snprintf(text, room, "no smaller size of this shape would fit");
    }
}

enum err model_memory_check(struct memory_need *out, struct device *device, const struct model_files *files,
                            const struct model_files *refiner, const struct render_size *size, uint64_t budget_bytes,
                            struct error *error) {
    struct planned planned;
    struct memory_need need;
    char advice[120];
    enum err err = plan(&planned, device, files, refiner, error);
    planned.budget = budget_bytes;
    if (err == ERR_OK) {
        err = need_of(&need, &planned, size, error);
    }
    if (err == ERR_OK && budget_bytes != 0 && need.weights + need.run > budget_bytes) {
        advise(advice, sizeof advice, &planned, size);
        err = error_set(error, ERR_MEMORY, "memory: want at most the budget of %" PRIu64 " bytes, the weights of %s need %" PRIu64
                        " and a batch of %u at %ux%u %" PRIu64 ", %" PRIu64 " too many; %s", budget_bytes,
                        refiner == NULL ? "the model" : "model and refiner", need.weights, size->batch, size->width, size->height,
                        need.run, need.weights + need.run - budget_bytes, advice);
    }
    planned_release(&planned);
    if (err == ERR_OK) {
        *out = need;
    }
    return err;
}
