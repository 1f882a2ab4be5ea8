/*
 * weights.c - parameters onto the card beside whatever it draws: on a stream of their own, through pinned memory of their own,
 * and into memory that this stream orders. cudaMalloc and cudaFree would have all of the card's streams wait for each other.
 *
 * Parameters go up as the file has them, a piece at a time; the card reorders and converts them. Convolutions become
 * [Cout,kh,kw,Cin]. From any thread; the lock lets one in at a time, for one parameter.
 */
#include <string.h>

#include "pipeline/backend/cuda/cuda.h"
#include "pipeline/backend/cuda/kernels.h"

static enum err check(const struct cuda *cuda, struct error *error) {
    return cuda->backend.ops->check(&cuda->backend, error);
}

/* ---- what they are loaded with ------------------------------------------------------------------------------------ */

static cudaError_t begin(struct loading *loading) {
    cudaError_t result = cudaStreamCreateWithFlags(&loading->stream, cudaStreamNonBlocking);
    for (int i = 0; i < LOADING_AHEAD && result == cudaSuccess; i++) {
        result = cudaMallocHost(&loading->staging[i], LOADING_PIECE);
        if (result == cudaSuccess) {
            result = cudaEventCreateWithFlags(&loading->sent[i], cudaEventDisableTiming);
        }
    }
    if (result == cudaSuccess) {
        result = cudaMalloc(&loading->file, LOADING_PIECE);
    }
    return result == cudaSuccess ? cudaMalloc(&loading->ordered, LOADING_PIECE) : result;
}

static void end(struct loading *loading) {
    if (loading->stream != NULL) {
        (void)cudaStreamDestroy(loading->stream);
    }
    for (int i = 0; i < LOADING_AHEAD; i++) {
        if (loading->sent[i] != NULL) {
            (void)cudaEventDestroy(loading->sent[i]);
        }
        (void)cudaFreeHost(loading->staging[i]);
        loading->sent[i] = NULL;
        loading->staging[i] = NULL;
    }
    (void)cudaFree(loading->file);
    (void)cudaFree(loading->ordered);
    loading->stream = NULL;
    loading->file = loading->ordered = NULL;
}

void loading_init(struct loading *loading) {
    pthread_mutex_init(&loading->lock, NULL);
}

void loading_release(struct loading *loading) {
    end(loading);
    pthread_mutex_destroy(&loading->lock);
}

/* A card that is too full for it is no failure of the card's. */
static enum err have_loading(struct cuda *cuda, struct error *error) {
    struct loading *loading = &cuda->loading;
    if (loading->ordered != NULL) {
        return ERR_OK;
    }
    cudaError_t result = begin(loading);
    if (result == cudaSuccess) {
        return ERR_OK;
    }
    end(loading);
    if (result != cudaErrorMemoryAllocation) {
        cuda_fail(cuda, result, "what weights are loaded with");
        return check(cuda, error);
    }
    (void)cudaGetLastError(); /* not one that stays */
    return error_set(error, ERR_MEMORY, "%d bytes on %s, as many pinned ones of the host, to load weights with: there is no room",
                     2 * LOADING_PIECE, cuda->card);
}

/* ---- memory ------------------------------------------------------------------------------------------------------- */

static enum err take_memory(struct weight *weight, struct cuda *cuda, struct error *error) {
    cudaError_t result = cudaMallocAsync(&weight->data, weight->bytes, cuda->loading.stream);
    return result == cudaSuccess ? ERR_OK : cuda_memory_error(cuda, result, weight->bytes, "cudaMallocAsync", error);
}

/* Waits until it is really free: who frees a model wants its room. */
static void give_memory(struct weight *weight, struct cuda *cuda) {
    (void)cudaFreeAsync(weight->data, cuda->loading.stream); /* fails where the card has: known by then */
    (void)cudaStreamSynchronize(cuda->loading.stream);
}

/* ---- parameters --------------------------------------------------------------------------------------------------- */

size_t cuda_weight_measure(const struct backend *backend, const struct weight *weight) {
    (void)backend;
    return (size_t)weight->rows * weight->columns * dtype_size(weight->numerics);
}

/* Elements of a piece: whole rows, where rows are reordered. */
static size_t piece_of(const struct weight *weight, uint32_t taps) {
    size_t most = LOADING_PIECE / dtype_size(weight->dtype);
    return taps > 1 ? most / weight->columns * weight->columns : most;
}

/* `count` elements from `first` on: what waits in staging[slot] goes up and into their place. */
static void enqueue_piece(struct cuda *cuda, const struct weight *weight, uint32_t taps, int slot, size_t first, size_t count) {
    struct loading *loading = &cuda->loading;
    size_t element = dtype_size(weight->numerics);
    cuda_fail(cuda, cudaMemcpyAsync(loading->file, loading->staging[slot], count * dtype_size(weight->dtype),
                                    cudaMemcpyHostToDevice, loading->stream), "upload of a weight");
    cuda_fail(cuda, cudaEventRecord(loading->sent[slot], loading->stream), "upload of a weight");
    if (taps > 1) {
        kernel_heads_merge(loading->stream, weight->dtype, loading->ordered, loading->file, (uint32_t)(count / weight->columns),
                           taps, weight->cin, 1);
    }
    kernel_convert(loading->stream, (char *)weight->data + first * element, weight->numerics,
                   taps > 1 ? loading->ordered : loading->file, weight->dtype, count, 1.0f);
}

static void fill(struct cuda *cuda, const struct weight *weight, const char *plain) {
    struct loading *loading = &cuda->loading;
    uint32_t taps = weight->use == WEIGHT_CONV ? weight->kh * weight->kw : 1;
    size_t count = (size_t)weight->rows * weight->columns, element = dtype_size(weight->dtype), most = piece_of(weight, taps);
    int slot = 0;
    for (size_t first = 0; first < count && !cuda_failed(cuda); first += most, slot = (slot + 1) % LOADING_AHEAD) {
        size_t piece = count - first < most ? count - first : most;
        cuda_fail(cuda, cudaEventSynchronize(loading->sent[slot]), "upload of a weight"); /* what was staged there has gone */
        memcpy(loading->staging[slot], plain + first * element, piece * element);
        enqueue_piece(cuda, weight, taps, slot, first, piece);
    }
    cuda_fail(cuda, cudaGetLastError(), "loading a weight");
    cuda_fail(cuda, cudaStreamSynchronize(loading->stream), "loading a weight");
}

static enum err prepare(struct weight *weight, struct cuda *cuda, const void *plain, struct error *error) {
    enum err err = have_loading(cuda, error);
    if (err != ERR_OK || (err = take_memory(weight, cuda, error)) != ERR_OK) {
        return err;
    }
    fill(cuda, weight, plain);
    err = check(cuda, error);
    if (err != ERR_OK) {
        give_memory(weight, cuda);
    }
    return err;
}

enum err cuda_weight_prepare(struct weight *weight, const void *plain, struct error *error) {
    struct cuda *cuda = cuda_of(weight->backend);
    size_t row = (size_t)weight->columns * dtype_size(weight->dtype);
    if (weight->use == WEIGHT_CONV && row > LOADING_PIECE) {
        return error_set(error, ERR_LIMIT, "convolution: want at most %d bytes an output channel, it has %zu", LOADING_PIECE, row);
    }
    cuda_fail(cuda, cudaSetDevice(cuda->index), "cudaSetDevice"); /* threads come and go */
    if (cuda_failed(cuda)) {
        return check(cuda, error);
    }
    weight->bytes = cuda_weight_measure(weight->backend, weight);
    pthread_mutex_lock(&cuda->loading.lock);
    enum err err = prepare(weight, cuda, plain, error);
    pthread_mutex_unlock(&cuda->loading.lock);
    weight->dtype = weight->numerics;
    return err;
}

void cuda_weight_release(struct weight *weight) {
    struct cuda *cuda = cuda_of(weight->backend);
    (void)cudaSetDevice(cuda->index); /* fails where the card has */
    pthread_mutex_lock(&cuda->loading.lock);
    give_memory(weight, cuda);
    pthread_mutex_unlock(&cuda->loading.lock);
}
