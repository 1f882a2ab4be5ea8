/*
 * vendor.h - the three operations that libraries do better than we would: matrix product (cuBLASLt), convolution and
 * attention (cuDNN). The seam between the backend and them; tests/emulation puts the reference backend behind it.
 *
 * Calls enqueue on the stream and allocate nothing on the card: notes come from the caller. The first call of a shape may take
 * long (a plan is made and kept); it must not happen inside of a graph capture.
 */
#ifndef PIPELINE_BACKEND_CUDA_VENDOR_H
#define PIPELINE_BACKEND_CUDA_VENDOR_H

#include <cuda_runtime_api.h>

#include "pipeline/backend/backend.h"

struct vendor;

const char *vendor_build(void);  /* for `--version` */
const char *vendor_device(void); /* the word before ":0" in a device's name: "cuda"; of the emulation: "emulated" */

/* `sm`: 90 for compute capability 9.0. */
MUST_USE enum err vendor_create(struct vendor **vendor, int sm, struct error *error);
void vendor_destroy(struct vendor *vendor);

/* For each of `batch` matrices: out [rows,n] = scale * x [rows,k] times w, + bias [n], + residual [rows,n]. w is [n,k], or [k,n]
 * where `plain`. Elements of x, w, bias and residual are of `dtype`, out is too unless out_f32. Sums are f32, without TF32. */
struct vendor_product {
    enum dtype dtype;
    bool plain, out_f32;
    size_t rows;
    uint32_t n, k, batch;
    const void *x, *w, *bias, *residual; /* bias, residual: or NULL */
    void *out;
    float scale;
};
enum { VENDOR_PRODUCT_NOTES = 32 << 20 }; /* the library's own, held by it */
/* NULL, or what went wrong; valid until the next call. */
const char *vendor_product_run(struct vendor *vendor, cudaStream_t stream, const struct vendor_product *product);

/* F16 or BF16; channels multiples of 8. Weight [cout,kh,kw,cin]; bias [1 or n,cout] or NULL; residual as out or NULL. */
struct vendor_convolution {
    enum dtype dtype;
    uint32_t n, h, w, cin, cout, kh, kw, stride, pad_top, pad_left, pad_bottom, pad_right, out_h, out_w;
    bool bias_each; /* bias is [n,cout] */
    bool has_bias, has_residual;
    const void *x, *weight, *bias, *residual;
    void *out;
};
/* Bytes of notes that vendor_convolution_run wants; makes the plan. 0 where no plan can be made: running says why. */
size_t vendor_convolution_notes(struct vendor *vendor, const struct vendor_convolution *convolution);
const char *vendor_convolution_run(struct vendor *vendor, cudaStream_t stream, const struct vendor_convolution *convolution,
                                   void *notes);

/* softmax(q k^T / sqrt(depth)) v, every place seeing all keys. F16 or BF16; depth a multiple of 8, at most vendor_attention_depth. Rows of q, k, v are *_row
 * elements apart, heads *_head, images *_image. out [n,queries,heads*depth]. */
struct vendor_attention {
    enum dtype dtype;
    uint32_t n, heads, depth, queries, keys;
    size_t q_row, q_head, q_image, k_row, k_head, k_image; /* v as k */
    const void *q, *k, *v;
    void *out;
};
uint32_t vendor_attention_depth(const struct vendor *vendor);
size_t vendor_attention_notes(struct vendor *vendor, const struct vendor_attention *attention);
const char *vendor_attention_run(struct vendor *vendor, cudaStream_t stream, const struct vendor_attention *attention,
                                 void *notes);

#endif
