/*
 * backend.c - the doors of backend.h that lead to a device: creation by name, weights, buffers.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "pipeline/backend/op.h"

/* ---- devices ---------------------------------------------------------------------------------------------------- */

enum { THREADS_MAX = 1024 };

enum err backend_create(struct backend **backend, const char *device, enum dtype numerics, uint32_t threads,
                        struct error *error) {
    bool cpu = strcmp(device, "cpu") == 0;
    if (threads > THREADS_MAX) {
        return error_set(error, ERR_LIMIT, "threads: want at most %d, have %u", THREADS_MAX, threads);
    }
    if (cpu || strcmp(device, "reference") == 0) {
        if (numerics != DTYPE_F32) {
            return error_set(error, ERR_UNSUPPORTED, "device \"%s\": want numerics fp32, have %s", device,
                             numerics == DTYPE_F16 ? "fp16" : "bf16");
        }
        return cpu ? cpu_create(backend, threads, error) : reference_create(backend, error);
    }
    if (cuda_claims(device)) {
        return cuda_create(backend, device, numerics, error);
    }
    return error_set(error, ERR_UNSUPPORTED, "device \"%s\": there is \"cpu\", \"cuda:N\" and \"reference\"", device);
}

const char *backend_build(void) {
    return cuda_build();
}

void backend_list(struct device_name names[DEVICES_LIMIT], size_t *count) {
    if (cuda_list(names, count, NULL) != ERR_OK || *count == 0) {
        names[0] = (struct device_name){ "cpu" };
        *count = 1;
    }
}

void backend_destroy(struct backend *backend) {
    if (backend != NULL) {
        backend->ops->destroy(backend);
    }
}

const char *backend_class(const struct backend *backend) {
    return backend->class_name;
}

enum dtype backend_numerics(const struct backend *backend) {
    return backend->numerics;
}

uint64_t backend_memory(const struct backend *backend) {
    return backend->memory_bytes;
}

bool backend_can(const struct backend *backend, enum dtype numerics) {
    return numerics == DTYPE_F32 || (backend->any_numerics && (numerics == DTYPE_F16 || numerics == DTYPE_BF16));
}

bool backend_batch_invariant(const struct backend *backend) {
    return backend->batch_invariant;
}

uint32_t backend_threads(const struct backend *backend) {
    return backend->threads;
}

void backend_wait(struct backend *backend) {
    backend->ops->wait(backend);
}

enum err backend_check(const struct backend *backend, struct error *error) {
    return backend->ops->check == NULL ? ERR_OK : backend->ops->check(backend, error);
}

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

enum err buffer_create(struct buffer **buffer, struct backend *backend, size_t size, struct error *error) {
    void *data = NULL;
    enum err err = backend->ops->memory_create(&data, backend, size, error);
    if (err != ERR_OK) {
        return err;
    }
    struct buffer *made = memory_get(sizeof *made);
    *made = (struct buffer){ .backend = backend, .size = size, .data = data };
    *buffer = made;
    return ERR_OK;
}

void buffer_destroy(struct buffer *buffer) {
    if (buffer != NULL) {
        buffer->backend->ops->memory_destroy(buffer->backend, buffer->data, buffer->size);
        free(buffer);
    }
}

size_t buffer_size(const struct buffer *buffer) {
    return buffer->size;
}

void buffer_upload(struct buffer *buffer, size_t offset, const void *host, size_t size) {
    assert(offset <= buffer->size && size <= buffer->size - offset);
    buffer->backend->ops->upload(buffer->backend, (char *)buffer->data + offset, host, size);
}

void buffer_download(const struct buffer *buffer, size_t offset, void *host, size_t size) {
    assert(offset <= buffer->size && size <= buffer->size - offset);
    buffer->backend->ops->download(buffer->backend, host, (char *)buffer->data + offset, size);
}

/* ---- snapshots -------------------------------------------------------------------------------------------------- */

enum err snapshot_create(struct snapshot **snapshot, struct backend *backend, size_t size, struct error *error) {
    struct snapshot *made = memory_get(sizeof *made);
    *made = (struct snapshot){ .backend = backend, .size = size };
    enum err err = backend_plans(backend) ? ERR_OK : backend->ops->snapshot_prepare(made, error);
    if (err != ERR_OK) {
        free(made);
        return err;
    }
    *snapshot = made;
    return ERR_OK;
}

void snapshot_destroy(struct snapshot *snapshot) {
    if (snapshot != NULL && !backend_plans(snapshot->backend)) {
        snapshot->backend->ops->snapshot_release(snapshot);
    }
    free(snapshot);
}

void snapshot_take(struct snapshot *snapshot, const struct buffer *buffer, size_t offset) {
    assert(offset <= buffer->size && snapshot->size <= buffer->size - offset);
    snapshot->backend->ops->snapshot_take(snapshot, (const char *)buffer->data + offset);
}

const void *snapshot_data(const struct snapshot *snapshot) {
    return snapshot->backend->ops->snapshot_done(snapshot) ? snapshot->data : NULL;
}

/* On the host programs are done when program_run returns, and a copy when it is taken. */
enum err host_snapshot_prepare(struct snapshot *snapshot, struct error *error) {
    return host_memory_create(&snapshot->data, snapshot->backend, snapshot->size, error);
}

void host_snapshot_release(struct snapshot *snapshot) {
    free(snapshot->data);
}

void host_snapshot_take(struct snapshot *snapshot, const void *data) {
    memcpy(snapshot->data, data, snapshot->size);
}

bool host_snapshot_done(const struct snapshot *snapshot) {
    (void)snapshot;
    return true;
}

/* ---- memory of the host ----------------------------------------------------------------------------------------- */

enum { HOST_ALIGNMENT = 64, HUGE_PAGE = 2 << 20 };

/* The bytes asked for and no more, so that an address sanitizer sees every step over the end. */
enum err host_memory_create(void **data, struct backend *backend, size_t size, struct error *error) {
    (void)backend;
    size_t alignment = size >= HUGE_PAGE ? HUGE_PAGE : HOST_ALIGNMENT;
    void *made = NULL;
    if (posix_memalign(&made, alignment, size == 0 ? 1 : size) != 0) {
        return error_set(error, ERR_MEMORY, "memory of %zu bytes: the machine has less", size);
    }
    if (size >= HUGE_PAGE) {
        /* Fewer TLB misses. Only a hint: a kernel without huge pages says no, and nothing is lost. */
        (void)madvise(made, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE);
    }
    *data = made;
    return ERR_OK;
}

void host_memory_destroy(struct backend *backend, void *data, size_t size) {
    (void)backend;
    (void)size;
    free(data);
}

void host_weight_release(struct weight *weight) {
    free(weight->data);
}

void host_upload(struct backend *backend, void *data, const void *host, size_t size) {
    (void)backend;
    if (size > 0) {
        memcpy(data, host, size);
    }
}

void host_download(struct backend *backend, void *host, const void *data, size_t size) {
    (void)backend;
    if (size > 0) {
        memcpy(host, data, size);
    }
}

/* ---- weights ---------------------------------------------------------------------------------------------------- */

size_t dtype_size(enum dtype dtype) {
    switch (dtype) {
    case DTYPE_F32:
    case DTYPE_I32:
        return 4;
    case DTYPE_F16:
    case DTYPE_BF16:
        return 2;
    case DTYPE_U8:
        return 1;
    }
    assert(!"a dtype that is none");
    return 0;
}

static float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* IEEE 754 binary16, subnormals included. */
static float float_from_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
    if (exponent == 31) {
        return float_from_bits(sign | 0x7f800000 | fraction << 13);
    }
    if (exponent == 0) {
        float small = (float)fraction * 0x1p-24f;
        return sign ? -small : small;
    }
    return float_from_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

void floats_widen(float *to, const void *from, enum dtype dtype, size_t count) {
    if (dtype == DTYPE_F32) {
        memcpy(to, from, count * sizeof *to);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        uint16_t bits;
        memcpy(&bits, (const char *)from + 2 * i, sizeof bits);
        to[i] = dtype == DTYPE_F16 ? float_from_half(bits) : float_from_bits((uint32_t)bits << 16);
    }
}

static const char *const use_names[] = { "linear", "convolution", "vector", "table" };

/* Rows and columns of one view in its use; false where the shape does not suit. */
static bool view_shape(struct weight *shape, enum weight_use use, const struct weight_view *view) {
    const uint64_t *s = view->shape;
    uint64_t sizes[4] = { 1, 1, 1, 1 };
    for (uint32_t i = 0; i < view->dims && i < 4; i++) {
        sizes[i] = s[i];
        if (s[i] == 0 || s[i] > UINT32_MAX) {
            return false;
        }
    }
    bool fits = (use == WEIGHT_CONV && view->dims == 4) || (use == WEIGHT_VECTOR && view->dims == 1) ||
                (use == WEIGHT_TABLE && view->dims == 2) ||
                (use == WEIGHT_LINEAR && (view->dims == 2 || (view->dims == 4 && s[2] == 1 && s[3] == 1)));
    if (!fits || (view->dtype != DTYPE_F32 && view->dtype != DTYPE_F16 && view->dtype != DTYPE_BF16)) {
        return false;
    }
    if (sizes[1] * sizes[2] > UINT32_MAX || sizes[1] * sizes[2] * sizes[3] > UINT32_MAX) {
        return false;
    }
    *shape = (struct weight){ .use = use,
                              .rows = (uint32_t)sizes[0],
                              .columns = (uint32_t)(sizes[1] * sizes[2] * sizes[3]),
                              .cin = (uint32_t)sizes[1],
                              .kh = (uint32_t)sizes[2],
                              .kw = (uint32_t)sizes[3] };
    return true;
}

static enum err stack_shape(struct weight *whole, enum weight_use use, const struct weight_view *views, size_t count,
                            struct error *error) {
    assert(count == 1 || (count > 1 && (use == WEIGHT_LINEAR || use == WEIGHT_VECTOR)));
    for (size_t i = 0; i < count; i++) {
        struct weight part;
        if (!view_shape(&part, use, &views[i])) {
            return error_set(error, ERR_INVALID, "weight %zu of %zu: %u dimensions of dtype %d make no %s", i + 1,
                             count, views[i].dims, (int)views[i].dtype, use_names[use]);
        }
        if (i > 0 && part.columns != whole->columns) {
            return error_set(error, ERR_INVALID, "weight %zu of %zu: want rows of %u, has rows of %u", i + 1, count,
                             whole->columns, part.columns);
        }
        if (i > 0 && part.rows > UINT32_MAX - whole->rows) {
            return error_set(error, ERR_INVALID, "weight %zu of %zu: %u rows and %u are too many", i + 1, count,
                             whole->rows, part.rows);
        }
        part.rows += i > 0 ? whole->rows : 0;
        *whole = part;
    }
    return ERR_OK;
}

/* Vectors are small and added to f32 sums. */
static enum dtype kept_dtype(enum weight_use use, const struct weight_view *views, size_t count) {
    for (size_t i = 1; i < count; i++) {
        if (views[i].dtype != views[0].dtype) {
            return DTYPE_F32;
        }
    }
    return use == WEIGHT_VECTOR ? DTYPE_F32 : views[0].dtype;
}

/* Prepare what does not lie in one piece, or not as wide as it is kept. */
static enum err prepare_joined(struct weight *weight, const struct weight_view *views, size_t count,
                               struct error *error) {
    size_t width = dtype_size(weight->dtype), done = 0;
    char *plain = malloc((size_t)weight->rows * weight->columns * width);
    if (plain == NULL) {
        return error_set(error, ERR_MEMORY, "weight of %u x %u: no memory to join its %zu parts", weight->rows,
                         weight->columns, count);
    }
    for (size_t i = 0; i < count; i++) {
        size_t elements = (size_t)views[i].shape[0] * weight->columns;
        if (weight->dtype == DTYPE_F32) {
            floats_widen((float *)(void *)plain + done, views[i].data, views[i].dtype, elements);
        } else {
            memcpy(plain + done * width, views[i].data, elements * width);
        }
        done += elements;
    }
    enum err err = weight->backend->ops->weight_prepare(weight, plain, error);
    free(plain);
    return err;
}

bool backend_plans(const struct backend *backend) {
    return backend->ops->weight_prepare == NULL;
}

enum err weight_create(struct weight **weight, struct backend *backend, enum weight_use use,
                       const struct weight_view *views, size_t count, struct error *error) {
    return weight_create_as(weight, backend, backend->numerics, use, views, count, error);
}

enum err weight_create_as(struct weight **weight, struct backend *backend, enum dtype numerics, enum weight_use use,
                          const struct weight_view *views, size_t count, struct error *error) {
    struct weight whole;
    enum err err = stack_shape(&whole, use, views, count, error);
    if (err != ERR_OK) {
        return err;
    }
    whole.backend = backend;
    whole.numerics = numerics;
    whole.dtype = kept_dtype(use, views, count);
    if (backend_plans(backend)) {
        *weight = memory_get(sizeof **weight);
        **weight = whole;
        (*weight)->bytes = backend->ops->weight_measure(backend, *weight);
        return ERR_OK;
    }
    struct weight *made = memory_get(sizeof *made);
    *made = whole;
    if (count == 1 && views[0].dtype == whole.dtype) {
        err = backend->ops->weight_prepare(made, views[0].data, error);
    } else {
        err = prepare_joined(made, views, count, error);
    }
    if (err != ERR_OK) {
        free(made);
        return err;
    }
    *weight = made;
    return ERR_OK;
}

void weight_destroy(struct weight *weight) {
    if (weight != NULL) {
        weight->backend->ops->weight_release(weight);
        free(weight);
    }
}

size_t weight_bytes(const struct weight *weight) {
    return weight->bytes;
}
