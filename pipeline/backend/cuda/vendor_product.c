/*
 * vendor_product.c - matrix products by cuBLASLt, bias and residual fused.
 *
 * cuBLASLt thinks in columns: our out [rows,n] is its [n,rows], W stands left and x right. The algorithm is the library's own
 * first choice for the shape and alignment; nothing is timed. F32 is COMPUTE_32F: without TF32.
 */
#include <stdio.h>
#include <string.h>

#include "pipeline/backend/cuda/libraries.h"

/* Everything the choice depends on. */
struct key {
    uint64_t rows;
    uint32_t dtype, plain, out_f32, n, k, batch, bias, residual;
    uint32_t w_aligned, x_aligned, c_aligned, out_aligned; /* bytes */
};

static uint32_t alignment_of(const void *data) {
    uint32_t alignment = 256;
    while (alignment > 1 && (uintptr_t)data % alignment != 0) {
        alignment /= 2;
    }
    return alignment;
}

static struct key key_of(const struct vendor_product *p) {
    struct key key;
    memset(&key, 0, sizeof key); /* compared byte by byte */
    key.rows = p->rows;
    key.dtype = p->dtype;
    key.plain = p->plain;
    key.out_f32 = p->out_f32;
    key.n = p->n;
    key.k = p->k;
    key.batch = p->batch;
    key.bias = p->bias != NULL;
    key.residual = p->residual != NULL;
    key.w_aligned = alignment_of(p->w);
    key.x_aligned = alignment_of(p->x);
    key.c_aligned = p->residual == NULL ? alignment_of(p->out) : alignment_of(p->residual);
    key.out_aligned = alignment_of(p->out);
    return key;
}

/* The library's descriptions of one product. */
struct description {
    cublasLtMatmulDesc_t matmul;
    cublasLtMatrixLayout_t w, x, out;
};

static void description_release(struct description *d) {
    if (d->matmul != NULL) {
        (void)cublasLtMatmulDescDestroy(d->matmul);
    }
    if (d->w != NULL) {
        (void)cublasLtMatrixLayoutDestroy(d->w);
    }
    if (d->x != NULL) {
        (void)cublasLtMatrixLayoutDestroy(d->x);
    }
    if (d->out != NULL) {
        (void)cublasLtMatrixLayoutDestroy(d->out);
    }
}

static cudaDataType_t type_of(enum dtype dtype) {
    return dtype == DTYPE_F16 ? CUDA_R_16F : dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasStatus_t layout(cublasLtMatrixLayout_t *made, cudaDataType_t type, uint64_t rows, uint64_t columns, uint32_t batch) {
    int32_t count = (int32_t)batch;
    int64_t step = (int64_t)(rows * columns);
    cublasStatus_t status = cublasLtMatrixLayoutCreate(made, type, rows, columns, (int64_t)rows);
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = cublasLtMatrixLayoutSetAttribute(*made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = cublasLtMatrixLayoutSetAttribute(*made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
    }
    return status;
}

static cublasStatus_t describe(struct description *d, const struct vendor_product *p) {
    cublasOperation_t w_turned = p->plain ? CUBLAS_OP_N : CUBLAS_OP_T;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    cudaDataType_t type = type_of(p->dtype), out_type = p->out_f32 ? CUDA_R_32F : type;
    memset(d, 0, sizeof *d);
    cublasStatus_t status = cublasLtMatmulDescCreate(&d->matmul, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = cublasLtMatmulDescSetAttribute(d->matmul, CUBLASLT_MATMUL_DESC_TRANSA, &w_turned, sizeof w_turned);
    }
    if (status == CUBLAS_STATUS_SUCCESS && p->bias != NULL) {
        status = cublasLtMatmulDescSetAttribute(d->matmul, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue, sizeof epilogue);
    }
    if (status == CUBLAS_STATUS_SUCCESS && p->bias != NULL) {
        status = cublasLtMatmulDescSetAttribute(d->matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p->bias, sizeof p->bias);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = layout(&d->w, type, p->plain ? p->n : p->k, p->plain ? p->k : p->n, p->batch);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = layout(&d->x, type, p->k, p->rows, p->batch);
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = layout(&d->out, out_type, p->n, p->rows, p->batch);
    }
    return status;
}

static cublasStatus_t choose(struct library_plan *plan, struct vendor *vendor, const struct description *d, const struct key *key) {
    const struct { cublasLtMatmulPreferenceAttributes_t attribute; const uint32_t *value; } aligned[] = {
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &key->w_aligned },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &key->x_aligned },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &key->c_aligned },
        { CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &key->out_aligned },
    };
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t found;
    size_t notes = VENDOR_PRODUCT_NOTES;
    int count = 0;
    cublasStatus_t status = cublasLtMatmulPreferenceCreate(&preference);
    if (status != CUBLAS_STATUS_SUCCESS) {
        return status;
    }
    status = cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &notes, sizeof notes);
    for (size_t i = 0; status == CUBLAS_STATUS_SUCCESS && i < sizeof aligned / sizeof *aligned; i++) {
        status = cublasLtMatmulPreferenceSetAttribute(preference, aligned[i].attribute, aligned[i].value, sizeof(uint32_t));
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = cublasLtMatmulAlgoGetHeuristic(vendor->blas, d->matmul, d->w, d->x, d->out, d->out, preference, 1, &found, &count);
    }
    if (status == CUBLAS_STATUS_SUCCESS && count == 0) {
        status = CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        plan->algorithm = found.algo;
    }
    (void)cublasLtMatmulPreferenceDestroy(preference);
    return status;
}

const char *vendor_product_run(struct vendor *vendor, cudaStream_t stream, const struct vendor_product *p) {
    struct key key = key_of(p);
    struct description d;
    float beta = p->residual == NULL ? 0.0f : 1.0f;
    cublasStatus_t status = describe(&d, p);
    struct library_plan *plan = plan_find(&vendor->products, &key, sizeof key), chosen;
    if (status == CUBLAS_STATUS_SUCCESS && plan == NULL) {
        status = choose(&chosen, vendor, &d, &key);
        if (status == CUBLAS_STATUS_SUCCESS) {
            plan = plan_add(&vendor->products, &key, sizeof key);
            plan->algorithm = chosen.algorithm;
        }
    }
    if (status == CUBLAS_STATUS_SUCCESS) {
        status = cublasLtMatmul(vendor->blas, d.matmul, &p->scale, p->w, d.w, p->x, d.x, &beta,
                                p->residual == NULL ? p->out : p->residual, d.out, p->out, d.out, &plan->algorithm,
                                vendor->blas_notes, VENDOR_PRODUCT_NOTES, stream);
    }
    description_release(&d);
    if (status == CUBLAS_STATUS_SUCCESS) {
        return NULL;
    }
    snprintf(vendor->trouble, sizeof vendor->trouble, "cuBLASLt, %zu x %u x %u, %u at once: %s", p->rows, p->n, p->k, p->batch,
             cublasLtGetStatusString(status));
    return vendor->trouble;
}
