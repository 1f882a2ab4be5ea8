/*
 * vendor.c - opening the libraries, and their plans by shape.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/backend/cuda/libraries.h"

#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

const char *vendor_build(void) {
    return "with CUDA for sm_" CUDA_ARCHITECTURES ", cuDNN " TEXT(CUDNN_MAJOR) "." TEXT(CUDNN_MINOR);
}

const char *vendor_device(void) {
    return "cuda";
}

enum err vendor_create(struct vendor **vendor, int sm, struct error *error) {
    struct vendor *made = memory_get(sizeof *made);
    made->sm = sm;
    cublasStatus_t blas = cublasLtCreate(&made->blas);
    cudnnStatus_t dnn = blas == CUBLAS_STATUS_SUCCESS ? cudnnCreate(&made->dnn) : CUDNN_STATUS_SUCCESS;
    cudaError_t memory = cudaMalloc(&made->blas_notes, VENDOR_PRODUCT_NOTES);
    if (blas == CUBLAS_STATUS_SUCCESS && dnn == CUDNN_STATUS_SUCCESS && memory == cudaSuccess) {
        *vendor = made;
        return ERR_OK;
    }
    enum err err;
    if (blas != CUBLAS_STATUS_SUCCESS) {
        err = error_set(error, ERR_DEVICE, "cuBLASLt does not start: %s", cublasLtGetStatusString(blas));
    } else if (dnn != CUDNN_STATUS_SUCCESS) {
        err = error_set(error, ERR_DEVICE, "cuDNN does not start: %s", cudnnGetErrorString(dnn));
    } else {
        err = error_set(error, memory == cudaErrorMemoryAllocation ? ERR_MEMORY : ERR_DEVICE,
                        "%d bytes for cuBLASLt's notes: %s", VENDOR_PRODUCT_NOTES, cudaGetErrorName(memory));
    }
    vendor_destroy(made);
    return err;
}

static void plans_release(struct library_plans *plans) {
    for (size_t i = 0; i < plans->count; i++) {
        if (plans->all[i].plan != NULL) {
            (void)cudnnBackendDestroyDescriptor(plans->all[i].plan);
        }
    }
    free(plans->all);
}

void vendor_destroy(struct vendor *vendor) {
    if (vendor == NULL) {
        return;
    }
    plans_release(&vendor->products);
    plans_release(&vendor->convolutions);
    plans_release(&vendor->attentions);
    if (vendor->dnn != NULL) {
        (void)cudnnDestroy(vendor->dnn);
    }
    if (vendor->blas != NULL) {
        (void)cublasLtDestroy(vendor->blas);
    }
    (void)cudaFree(vendor->blas_notes);
    free(vendor);
}

struct library_plan *plan_find(struct library_plans *plans, const void *key, size_t size) {
    for (size_t i = 0; i < plans->count; i++) {
        if (memcmp(plans->all[i].key, key, size) == 0) {
            return &plans->all[i];
        }
    }
    return NULL;
}

struct library_plan *plan_add(struct library_plans *plans, const void *key, size_t size) {
    assert(size <= PLAN_KEY);
    plans->all = memory_grow(plans->all, plans->count + 1, sizeof *plans->all);
    struct library_plan *plan = &plans->all[plans->count++];
    memset(plan, 0, sizeof *plan);
    memcpy(plan->key, key, size);
    return plan;
}
