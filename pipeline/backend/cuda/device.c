/*
 * device.c - opening a card by index or UUID; its memory, and the first thing that went wrong on it.
 *
 * Uploads and downloads pass through one pinned buffer and wait; a snapshot has a buffer of its own, and an event behind its
 * copy. After a failure nothing is enqueued any more: CUDA keeps an error for the life of the process, so the process reports it and
 * ends (worker/supervisor.c starts another).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/backend/cuda/cuda.h"

enum { STAGING = 8 << 20, UUID_TEXT = 41 /* "GPU-" and 36 letters */ };

/* ---- failures ----------------------------------------------------------------------------------------------------- */

void cuda_fail_text(struct cuda *cuda, const char *what, const char *text) {
    pthread_mutex_lock(&cuda->failing);
    if (!cuda_failed(cuda)) {
        (void)error_set(&cuda->failure, ERR_DEVICE, "%s: %s: %s", cuda->card, what, text);
        atomic_store(&cuda->failed, true);
    }
    pthread_mutex_unlock(&cuda->failing);
}

void cuda_fail(struct cuda *cuda, cudaError_t error, const char *what) {
    char text[160];
    if (error != cudaSuccess) {
        snprintf(text, sizeof text, "%s (%s)", cudaGetErrorName(error), cudaGetErrorString(error));
        cuda_fail_text(cuda, what, text);
    }
}

static enum err check(const struct backend *backend, struct error *error) {
    const struct cuda *cuda = cuda_of(backend);
    return !cuda_failed(cuda) ? ERR_OK : error_set(error, cuda->failure.code, "%s", cuda->failure.message);
}

static void wait(struct backend *backend) {
    struct cuda *cuda = cuda_of(backend);
    cuda_fail(cuda, cudaStreamSynchronize(cuda->stream), cuda->replays[0] != '\0' ? cuda->replays : "waiting");
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

enum err cuda_memory_error(struct cuda *cuda, cudaError_t result, size_t size, const char *call, struct error *error) {
    size_t free_bytes = 0, total = 0;
    if (result != cudaErrorMemoryAllocation) {
        cuda_fail(cuda, result, call);
        return check(&cuda->backend, error);
    }
    (void)cudaGetLastError(); /* not one that stays */
    (void)cudaMemGetInfo(&free_bytes, &total);
    return error_set(error, ERR_MEMORY, "memory of %zu bytes on %s: %zu of its %zu are free, %zu too few", size, cuda->card,
                     free_bytes, total, size > free_bytes ? size - free_bytes : 0);
}

static enum err memory_create(void **data, struct backend *backend, size_t size, struct error *error) {
    struct cuda *cuda = cuda_of(backend);
    cuda_fail(cuda, cudaSetDevice(cuda->index), "cudaSetDevice"); /* threads come and go */
    if (cuda_failed(cuda)) {
        return check(backend, error);
    }
    cudaError_t result = cudaMalloc(data, size == 0 ? 1 : size);
    return result == cudaSuccess ? ERR_OK : cuda_memory_error(cuda, result, size, "cudaMalloc", error);
}

static void memory_destroy(struct backend *backend, void *data, size_t size) {
    (void)backend;
    (void)size;
    (void)cudaFree(data); /* fails where the card has: known by then */
}

static void upload(struct backend *backend, void *data, const void *host, size_t size) {
    struct cuda *cuda = cuda_of(backend);
    for (size_t done = 0; done < size && !cuda_failed(cuda);) {
        size_t piece = size - done < STAGING ? size - done : STAGING;
        wait(backend); /* what was staged before has gone */
        memcpy(cuda->staging, (const char *)host + done, piece);
        cuda_fail(cuda, cudaMemcpyAsync((char *)data + done, cuda->staging, piece, cudaMemcpyHostToDevice, cuda->stream),
                  "upload");
        done += piece;
    }
    wait(backend);
}

static void download(struct backend *backend, void *host, const void *data, size_t size) {
    struct cuda *cuda = cuda_of(backend);
    for (size_t done = 0; done < size && !cuda_failed(cuda);) {
        size_t piece = size - done < STAGING ? size - done : STAGING;
        cuda_fail(cuda, cudaMemcpyAsync(cuda->staging, (const char *)data + done, piece, cudaMemcpyDeviceToHost, cuda->stream),
                  "download");
        wait(backend);
        memcpy((char *)host + done, cuda->staging, piece);
        done += piece;
    }
    if (cuda_failed(cuda)) {
        memset(host, 0, size);
    }
}

/* ---- snapshots ---------------------------------------------------------------------------------------------------- */

static void copy_release(struct snapshot *snapshot) {
    if (snapshot->mark != NULL) {
        (void)cudaEventSynchronize(snapshot->mark); /* the last copy may still be on its way */
        (void)cudaEventDestroy(snapshot->mark);
    }
    (void)cudaFreeHost(snapshot->data);
}

static enum err copy_prepare(struct snapshot *snapshot, struct error *error) {
    struct cuda *cuda = cuda_of(snapshot->backend);
    cudaEvent_t mark = NULL;
    cuda_fail(cuda, cudaSetDevice(cuda->index), "cudaSetDevice");
    if (cuda_failed(cuda)) {
        return check(snapshot->backend, error);
    }
    if (cudaMallocHost(&snapshot->data, snapshot->size) != cudaSuccess) {
        (void)cudaGetLastError(); /* not one that stays */
        return error_set(error, ERR_MEMORY, "pinned memory of %zu bytes for %s: the machine has less", snapshot->size, cuda->card);
    }
    cuda_fail(cuda, cudaEventCreateWithFlags(&mark, cudaEventDisableTiming), "cudaEventCreate");
    snapshot->mark = mark;
    if (cuda_failed(cuda)) {
        copy_release(snapshot);
    }
    return check(snapshot->backend, error);
}

static void copy_take(struct snapshot *snapshot, const void *data) {
    struct cuda *cuda = cuda_of(snapshot->backend);
    if (!cuda_failed(cuda)) {
        cuda_fail(cuda, cudaMemcpyAsync(snapshot->data, data, snapshot->size, cudaMemcpyDeviceToHost, cuda->stream), "snapshot");
    }
    if (!cuda_failed(cuda)) {
        cuda_fail(cuda, cudaEventRecord(snapshot->mark, cuda->stream), "snapshot");
    }
}

static bool copy_done(const struct snapshot *snapshot) {
    struct cuda *cuda = cuda_of(snapshot->backend);
    cudaError_t state = cuda_failed(cuda) ? cudaErrorNotReady : cudaEventQuery(snapshot->mark);
    if (state == cudaErrorNotReady) {
        (void)cudaGetLastError(); /* CUDA keeps it there like an error */
    } else {
        cuda_fail(cuda, state, cuda->replays);
    }
    return state == cudaSuccess;
}

/* ---- opening ------------------------------------------------------------------------------------------------------ */

static void uuid_text(char text[UUID_TEXT], const cudaUUID_t *uuid) {
    char *end = text + sprintf(text, "GPU-");
    for (int i = 0; i < 16; i++) {
        end += sprintf(end, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", (unsigned char)uuid->bytes[i]);
    }
}

/* How many cards there are, or why none can be used. */
static enum err count_cards(int *count, const char *device, struct error *error) {
    int driver = 0, runtime = 0, found = 0;
    if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) {
        return error_set(error, ERR_UNSUPPORTED, "device \"%s\": this machine has no NVIDIA driver", device);
    }
    (void)cudaRuntimeGetVersion(&runtime);
    if (driver / 1000 < runtime / 1000) {
        return error_set(error, ERR_UNSUPPORTED, "device \"%s\": this seedfarm was built for CUDA %d.%d, the driver knows CUDA up "
                         "to %d.%d: update the driver", device, runtime / 1000, runtime % 1000 / 10, driver / 1000,
                         driver % 1000 / 10);
    }
    cudaError_t result = cudaGetDeviceCount(&found);
    if (result != cudaSuccess || found == 0) {
        return error_set(error, ERR_NOT_FOUND, "device \"%s\": this machine has no card that CUDA sees (%s)", device,
                         cudaGetErrorName(result == cudaSuccess ? cudaErrorNoDevice : result));
    }
    *count = found;
    return ERR_OK;
}

enum err cuda_list(struct device_name names[DEVICES_LIMIT], size_t *count, struct error *error) {
    int found = 0;
    char pattern[32];
    snprintf(pattern, sizeof pattern, "%s:0", vendor_device());
    enum err err = count_cards(&found, pattern, error);
    *count = 0;
    for (int i = 0; err == ERR_OK && i < found && *count < DEVICES_LIMIT; i++) {
        struct cudaDeviceProp properties;
        if (cudaGetDeviceProperties(&properties, i) == cudaSuccess) {
            char uuid[UUID_TEXT];
            uuid_text(uuid, &properties.uuid);
            snprintf(names[(*count)++].text, sizeof names->text, "%s:%s", vendor_device(), uuid);
        }
    }
    return err;
}

/* "0", "1" ... or a UUID. */
static enum err find_card(int *index, const char *device, struct error *error) {
    const char *which = device + strlen(vendor_device()) + 1;
    int count = 0;
    enum err err = count_cards(&count, device, error);
    if (err != ERR_OK) {
        return err;
    }
    if (strncmp(which, "GPU-", 4) == 0) {
        for (int i = 0; i < count; i++) {
            struct cudaDeviceProp properties;
            char uuid[UUID_TEXT];
            if (cudaGetDeviceProperties(&properties, i) == cudaSuccess) {
                uuid_text(uuid, &properties.uuid);
                if (strcmp(uuid, which) == 0) {
                    *index = i;
                    return ERR_OK;
                }
            }
        }
        return error_set(error, ERR_NOT_FOUND, "device \"%s\": none of this machine's %d cards has that UUID", device, count);
    }
    char *end;
    long number = strtol(which, &end, 10);
    if (*which < '0' || *which > '9' || *end != '\0' || number >= count) {
        return error_set(error, ERR_NOT_FOUND, "device \"%s\": want %s:0 to %s:%d", device, vendor_device(), vendor_device(),
                         count - 1);
    }
    *index = (int)number;
    return ERR_OK;
}

static void destroy(struct backend *backend) {
    struct cuda *cuda = cuda_of(backend);
    vendor_destroy(cuda->vendor);
    loading_release(&cuda->loading);
    if (cuda->stream != NULL) {
        (void)cudaStreamDestroy(cuda->stream);
    }
    for (int i = 0; i < CUDA_AHEAD; i++) {
        if (cuda->marks[i] != NULL) {
            (void)cudaEventDestroy(cuda->marks[i]);
        }
    }
    (void)cudaFreeHost(cuda->staging);
    pthread_mutex_destroy(&cuda->planning);
    pthread_mutex_destroy(&cuda->failing);
    free(cuda);
}

static const char *numerics_word(enum dtype numerics) {
    return numerics == DTYPE_F16 ? " fp16" : numerics == DTYPE_BF16 ? " bf16" : "";
}

static enum err open_card(struct cuda *cuda, int index, const char *device, struct error *error) {
    struct cudaDeviceProp properties;
    cudaError_t result = cudaSetDevice(index);
    if (result == cudaSuccess) {
        result = cudaGetDeviceProperties(&properties, index);
    }
    if (result == cudaSuccess) {
        result = cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking);
    }
    for (int i = 0; i < CUDA_AHEAD && result == cudaSuccess; i++) {
        result = cudaEventCreateWithFlags(&cuda->marks[i], cudaEventDisableTiming);
    }
    if (result == cudaSuccess) {
        result = cudaMallocHost(&cuda->staging, STAGING);
    }
    if (result != cudaSuccess) {
        return error_set(error, ERR_DEVICE, "device \"%s\": %s (%s)", device, cudaGetErrorName(result),
                         cudaGetErrorString(result));
    }
    cuda->index = index;
    cuda->major = properties.major;
    cuda->minor = properties.minor;
    snprintf(cuda->card, sizeof cuda->card, "%s:%d (%.120s)", vendor_device(), index, properties.name);
    snprintf(cuda->class_name, sizeof cuda->class_name, "%s sm_%d%d%s", vendor_device(), properties.major, properties.minor,
             numerics_word(cuda->backend.numerics));
    enum err err = vendor_create(&cuda->vendor, properties.major * 10 + properties.minor, error);
    size_t free_bytes = 0, total = 0;
    (void)cudaMemGetInfo(&free_bytes, &total); /* beside the libraries' own */
    cuda->backend.memory_bytes = free_bytes;
    return err;
}

const char *cuda_build(void) {
    return vendor_build();
}

bool cuda_claims(const char *device) {
    size_t length = strlen(vendor_device());
    return strncmp(device, vendor_device(), length) == 0 && device[length] == ':';
}

enum err cuda_create(struct backend **backend, const char *device, enum dtype numerics, struct error *error) {
    static const struct backend_ops ops = {
        .destroy = destroy,
        .memory_create = memory_create,
        .memory_destroy = memory_destroy,
        .upload = upload,
        .download = download,
        .snapshot_prepare = copy_prepare,
        .snapshot_release = copy_release,
        .snapshot_take = copy_take,
        .snapshot_done = copy_done,
        .weight_prepare = cuda_weight_prepare,
        .weight_release = cuda_weight_release,
        .weight_measure = cuda_weight_measure,
        .op_workspace = cuda_op_workspace,
        .run = cuda_program_run,
        .forget = cuda_program_forget,
        .wait = wait,
        .check = check,
    };
    int index = 0;
    enum err err = find_card(&index, device, error);
    if (err != ERR_OK) {
        return err;
    }
    struct cuda *cuda = memory_get(sizeof *cuda);
    cuda->backend = (struct backend){ .ops = &ops, .class_name = cuda->class_name, .numerics = numerics,
                                      .any_numerics = true, .threads = 1 };
    loading_init(&cuda->loading);
    pthread_mutex_init(&cuda->planning, NULL);
    pthread_mutex_init(&cuda->failing, NULL);
    err = open_card(cuda, index, device, error);
    if (err != ERR_OK) {
        destroy(&cuda->backend);
        return err;
    }
    *backend = &cuda->backend;
    return ERR_OK;
}
