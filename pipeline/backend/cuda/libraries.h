/*
 * libraries.h - inside of the real vendor.h: handles, and plans kept by shape.
 */
#ifndef PIPELINE_BACKEND_CUDA_LIBRARIES_H
#define PIPELINE_BACKEND_CUDA_LIBRARIES_H

#include <cublasLt.h>
#include <cudnn.h>

#include "pipeline/backend/cuda/vendor.h"

enum { PLAN_KEY = 128, TROUBLE = 256 };

/* What was found out for one shape. Kept until the vendor goes; one of the two members is used. */
struct library_plan {
    unsigned char key[PLAN_KEY]; /* the call's numbers, pointers aside */
    cublasLtMatmulAlgo_t algorithm;
    cudnnBackendDescriptor_t plan; /* execution plan, NULL: there is none */
    int64_t notes;                 /* bytes of workspace */
    char trouble[TROUBLE];         /* why there is none */
};

struct library_plans {
    struct library_plan *all;
    size_t count;
};

struct vendor {
    int sm;
    cublasLtHandle_t blas;
    cudnnHandle_t dnn;
    void *blas_notes; /* VENDOR_PRODUCT_NOTES on the card */
    struct library_plans products, convolutions, attentions;
    char trouble[TROUBLE];
};

/* The plan of a key of `size` bytes, or NULL; a new one, zeroed but for its key. Valid until the next is added. */
struct library_plan *plan_find(struct library_plans *plans, const void *key, size_t size);
struct library_plan *plan_add(struct library_plans *plans, const void *key, size_t size);

#endif
