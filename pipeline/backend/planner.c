/*
 * planner.c - a device that keeps nothing and runs nothing, but counts: what is loaded and recorded for it has the size
 * that it would have on the device it plans for, or on none in particular. Of a file it wants shapes alone.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "pipeline/backend/op.h"

struct planner {
    struct backend backend;
    const struct backend *device; /* borrowed, or NULL */
};

static const struct backend *device_of(const struct backend *backend) {
    return ((const struct planner *)backend)->device;
}

static void destroy(struct backend *backend) {
    free(backend);
}

static enum err keep_nothing(void **data, struct backend *backend, size_t size, struct error *error) {
    (void)backend, (void)size, (void)error;
    *data = NULL;
    return ERR_OK;
}

static void forget(struct backend *backend, void *data, size_t size) {
    (void)backend, (void)data, (void)size;
}

static size_t measure(const struct backend *backend, const struct weight *weight) {
    const struct backend *device = device_of(backend);
    return device == NULL ? (size_t)weight->rows * weight->columns * dtype_size(weight->dtype)
                          : device->ops->weight_measure(device, weight);
}

static size_t workspace(const struct backend *backend, const struct op *op) {
    const struct backend *device = device_of(backend);
    return device == NULL ? 0 : device->ops->op_workspace(device, op);
}

struct backend *backend_create_planner(const struct backend *device) {
    static const struct backend_ops ops = { .destroy = destroy, .memory_create = keep_nothing, .memory_destroy = forget,
                                            .weight_release = host_weight_release, .weight_measure = measure,
                                            .op_workspace = workspace };
    struct planner *planner = memory_get(sizeof *planner);
    *planner = (struct planner){ .backend = { .ops = &ops, .class_name = "none",
                                                .numerics = device == NULL ? DTYPE_F32 : device->numerics },
                                   .device = device };
    return &planner->backend;
}
