/*
 * memory.c - how much memory a model and a run of it will take, before anything is loaded: the model is opened for a device
 * that only counts, and the run is recorded there.
 */
#include <inttypes.h>
#include <stdio.h>

#include "pipeline/model.h"

enum { PROCESS_BYTES = 16 << 20 }; /* code, scratch of threads, a tokenizer of 49408 tokens */

enum err model_memory(struct memory_need *need, struct device *device, const struct model_files *files,
                      const struct render_size *size, struct error *error) {
    struct device planner = { .backend = backend_create_planner(device->backend) };
    struct model *model = NULL;
    uint64_t run = 0;
    enum err err = model_load_files(&model, &planner, files, error);
    if (err == ERR_OK) {
        err = render_memory(&run, model, size, error);
    }
    if (err == ERR_OK) {
        *need = (struct memory_need){ model_shape(model)->weight_bytes, run, PROCESS_BYTES };
    }
    model_destroy(model);
    backend_destroy(planner.backend);
    return err;
}

/* The largest tiling with which it would fit, 0: none. */
static uint32_t tiling_that_fits(struct device *device, const struct model_files *files, const struct render_size *size,
                                 uint64_t budget_bytes) {
    struct memory_need need;
    struct error error;
    for (uint32_t tile = 1024; size->vae_tiling == 0 && tile >= 256; tile /= 2) {
        struct render_size tiled = *size;
        tiled.vae_tiling = tile;
        if (model_memory(&need, device, files, &tiled, &error) == ERR_OK && need.weights + need.run <= budget_bytes) {
            return tile;
        }
    }
    return 0;
}

enum err model_memory_check(struct memory_need *out, struct device *device, const struct model_files *files,
                            const struct render_size *size, uint64_t budget_bytes, struct error *error) {
    struct memory_need need;
    enum err err = model_memory(&need, device, files, size, error);
    if (err != ERR_OK) {
        return err;
    }
    if (budget_bytes == 0 || need.weights + need.run <= budget_bytes) {
        *out = need;
        return ERR_OK;
    }
    char advice[64] = "";
    uint32_t tile = tiling_that_fits(device, files, size, budget_bytes);
    if (tile != 0) {
        snprintf(advice, sizeof advice, "; with vae_tiling: %u it would fit", tile);
    }
    return error_set(error, ERR_MEMORY, "memory: want at most the budget of %" PRIu64 " bytes, the model's weights need %" PRIu64
                     " and a batch of %u at %ux%u %" PRIu64 "%s", budget_bytes, need.weights, size->batch, size->width,
                     size->height, need.run, advice);
}
