/*
 * vendor_convolution.c - convolution with bias and residual as one graph of cuDNN's, channels last.
 */
#include <stdio.h>
#include <string.h>

#include "pipeline/backend/cuda/dnn_graph.h"

enum { X = 1, WEIGHT, BIAS, RESIDUAL, OUT };

/* Its numbers without its pointers; padding bytes are zero. */
static struct vendor_convolution key_of(const struct vendor_convolution *c) {
    struct vendor_convolution key;
    memset(&key, 0, sizeof key);
    key.dtype = c->dtype;
    key.n = c->n, key.h = c->h, key.w = c->w, key.cin = c->cin, key.cout = c->cout, key.kh = c->kh, key.kw = c->kw;
    key.stride = c->stride;
    key.pad_top = c->pad_top, key.pad_left = c->pad_left, key.pad_bottom = c->pad_bottom, key.pad_right = c->pad_right;
    key.out_h = c->out_h, key.out_w = c->out_w;
    key.bias_each = c->bias_each, key.has_bias = c->has_bias, key.has_residual = c->has_residual;
    return key;
}

/* [n,h,w,c] in memory, named [n,c,h,w]. */
static struct dnn_tensor picture(int64_t uid, cudnnDataType_t type, int64_t n, int64_t h, int64_t w, int64_t c) {
    return (struct dnn_tensor){ .uid = uid, .type = type, .dims = { n, c, h, w }, .strides = { h * w * c, 1, w * c, c } };
}

static void record(struct library_plan *plan, cudnnHandle_t handle, const struct vendor_convolution *c) {
    struct dnn_graph graph;
    cudnnDataType_t type = dnn_type(c->dtype);
    struct dnn_convolution shape = { c->stride, { c->pad_top, c->pad_left }, { c->pad_bottom, c->pad_right } };
    int adds = c->has_bias + c->has_residual;
    dnn_graph_begin(&graph, handle);
    struct dnn_tensor x = picture(X, type, c->n, c->h, c->w, c->cin), w = picture(WEIGHT, type, c->cout, c->kh, c->kw, c->cin);
    struct dnn_tensor out = picture(OUT, type, c->n, c->out_h, c->out_w, c->cout);
    struct dnn_tensor between = picture(0, CUDNN_DATA_FLOAT, c->n, c->out_h, c->out_w, c->cout);
    cudnnBackendDescriptor_t y = dnn_tensor(&graph, adds == 0 ? &out : &between);
    dnn_convolution(&graph, &shape, dnn_tensor(&graph, &x), dnn_tensor(&graph, &w), y);
    if (c->has_bias) {
        struct dnn_tensor bias = picture(BIAS, type, c->bias_each ? c->n : 1, 1, 1, c->cout);
        cudnnBackendDescriptor_t sum = dnn_tensor(&graph, --adds == 0 ? &out : &between);
        dnn_pointwise(&graph, CUDNN_POINTWISE_ADD, y, dnn_tensor(&graph, &bias), sum);
        y = sum;
    }
    if (c->has_residual) {
        struct dnn_tensor residual = picture(RESIDUAL, type, c->n, c->out_h, c->out_w, c->cout);
        dnn_pointwise(&graph, CUDNN_POINTWISE_ADD, y, dnn_tensor(&graph, &residual), dnn_tensor(&graph, &out));
    }
    dnn_graph_plan(plan, &graph);
    dnn_graph_release(&graph);
}

static struct library_plan *plan_of(struct vendor *vendor, const struct vendor_convolution *c) {
    struct vendor_convolution key = key_of(c);
    struct library_plan *plan = plan_find(&vendor->convolutions, &key, sizeof key);
    if (plan == NULL) {
        plan = plan_add(&vendor->convolutions, &key, sizeof key);
        record(plan, vendor->dnn, c);
    }
    return plan;
}

size_t vendor_convolution_notes(struct vendor *vendor, const struct vendor_convolution *convolution) {
    return (size_t)plan_of(vendor, convolution)->notes;
}

const char *vendor_convolution_run(struct vendor *vendor, cudaStream_t stream, const struct vendor_convolution *c, void *notes) {
    struct library_plan *plan = plan_of(vendor, c);
    int64_t uids[5], count = 0;
    void *pointers[5];
    const struct { int64_t uid; const void *pointer; bool there; } all[] = { { X, c->x, true },
                                                                             { WEIGHT, c->weight, true },
                                                                             { BIAS, c->bias, c->has_bias },
                                                                             { RESIDUAL, c->residual, c->has_residual },
                                                                             { OUT, c->out, true } };
    if (plan->plan == NULL) {
        return plan->trouble;
    }
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].there) {
            uids[count] = all[i].uid;
            pointers[count++] = (void *)all[i].pointer;
        }
    }
    cudnnStatus_t status = dnn_execute(vendor->dnn, stream, plan, count, uids, pointers, notes);
    if (status == CUDNN_STATUS_SUCCESS) {
        return NULL;
    }
    snprintf(vendor->trouble, sizeof vendor->trouble, "cuDNN: %s", cudnnGetErrorString(status));
    return vendor->trouble;
}
