/*
 * vendor_attention.c - softmax(q k^T / sqrt(depth)) v as the graph in which cuDNN knows its fused attention: two products, a
 * scale, and a softmax spelled out between them. No score ever reaches memory.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/backend/cuda/dnn_graph.h"

enum { Q = 1, K, V, SCALE, OUT, DEPTH_AMPERE = 128, DEPTH_HOPPER = 256 };

uint32_t vendor_attention_depth(const struct vendor *vendor) {
    return vendor->sm == 90 ? DEPTH_HOPPER : DEPTH_AMPERE;
}

static struct vendor_attention key_of(const struct vendor_attention *a) {
    struct vendor_attention key;
    memset(&key, 0, sizeof key); /* compared byte by byte */
    key.dtype = a->dtype;
    key.n = a->n, key.heads = a->heads, key.depth = a->depth, key.queries = a->queries, key.keys = a->keys;
    key.q_row = a->q_row, key.q_head = a->q_head, key.q_image = a->q_image;
    key.k_row = a->k_row, key.k_head = a->k_head, key.k_image = a->k_image;
    return key;
}

/* [n,heads,rows,columns] */
static struct dnn_tensor between(int64_t n, int64_t heads, int64_t rows, int64_t columns) {
    return (struct dnn_tensor){ .type = CUDNN_DATA_FLOAT, .dims = { n, heads, rows, columns },
                                .strides = { heads * rows * columns, rows * columns, columns, 1 } };
}

static void record(struct library_plan *plan, cudnnHandle_t handle, const struct vendor_attention *a) {
    struct dnn_graph graph;
    cudnnDataType_t type = dnn_type(a->dtype);
    int64_t n = a->n, heads = a->heads, depth = a->depth, queries = a->queries, keys = a->keys, width = heads * depth;
    int64_t k_image = (int64_t)a->k_image, k_head = (int64_t)a->k_head, k_row = (int64_t)a->k_row;
    struct dnn_tensor q = { .uid = Q, .type = type, .dims = { n, heads, queries, depth },
                            .strides = { (int64_t)a->q_image, (int64_t)a->q_head, (int64_t)a->q_row, 1 } };
    struct dnn_tensor k = { .uid = K, .type = type, .dims = { n, heads, depth, keys }, .strides = { k_image, k_head, 1, k_row } };
    struct dnn_tensor v = { .uid = V, .type = type, .dims = { n, heads, keys, depth }, .strides = { k_image, k_head, k_row, 1 } };
    struct dnn_tensor out = { .uid = OUT, .type = type, .dims = { n, heads, queries, depth },
                              .strides = { queries * width, depth, width, 1 } };
    struct dnn_tensor scale = { .uid = SCALE, .type = CUDNN_DATA_FLOAT, .dims = { 1, 1, 1, 1 }, .strides = { 1, 1, 1, 1 },
                                .by_value = true };
    struct dnn_tensor scores = between(n, heads, queries, keys), row = between(n, heads, queries, 1), weights = scores;
    weights.type = type; /* the second product takes what it would read from memory */
    dnn_graph_begin(&graph, handle);
    cudnnBackendDescriptor_t products = dnn_tensor(&graph, &scores), scaled = dnn_tensor(&graph, &scores);
    cudnnBackendDescriptor_t most = dnn_tensor(&graph, &row), away = dnn_tensor(&graph, &scores);
    cudnnBackendDescriptor_t powers = dnn_tensor(&graph, &scores), sum = dnn_tensor(&graph, &row);
    cudnnBackendDescriptor_t shares = dnn_tensor(&graph, &weights);
    dnn_matmul(&graph, dnn_tensor(&graph, &q), dnn_tensor(&graph, &k), products);
    dnn_pointwise(&graph, CUDNN_POINTWISE_MUL, products, dnn_tensor(&graph, &scale), scaled);
    dnn_reduction(&graph, CUDNN_REDUCE_TENSOR_MAX, scaled, most);
    dnn_pointwise(&graph, CUDNN_POINTWISE_SUB, scaled, most, away);
    dnn_pointwise(&graph, CUDNN_POINTWISE_EXP, away, NULL, powers);
    dnn_reduction(&graph, CUDNN_REDUCE_TENSOR_ADD, powers, sum);
    dnn_pointwise(&graph, CUDNN_POINTWISE_DIV, powers, sum, shares);
    dnn_matmul(&graph, shares, dnn_tensor(&graph, &v), dnn_tensor(&graph, &out));
    dnn_graph_plan(plan, &graph);
    dnn_graph_release(&graph);
}

static struct library_plan *plan_of(struct vendor *vendor, const struct vendor_attention *a) {
    struct vendor_attention key = key_of(a);
    struct library_plan *plan = plan_find(&vendor->attentions, &key, sizeof key);
    if (plan == NULL) {
        plan = plan_add(&vendor->attentions, &key, sizeof key);
        record(plan, vendor->dnn, a);
    }
    return plan;
}

size_t vendor_attention_notes(struct vendor *vendor, const struct vendor_attention *attention) {
    return (size_t)plan_of(vendor, attention)->notes;
}

const char *vendor_attention_run(struct vendor *vendor, cudaStream_t stream, const struct vendor_attention *a, void *notes) {
    struct library_plan *plan = plan_of(vendor, a);
    float scale = 1.0f / sqrtf((float)a->depth);
    const int64_t uids[] = { Q, K, V, SCALE, OUT };
    void *const pointers[] = { (void *)a->q, (void *)a->k, (void *)a->v, &scale, a->out };
    if (plan->plan == NULL) {
        return plan->trouble;
    }
    cudnnStatus_t status = dnn_execute(vendor->dnn, stream, plan, 5, uids, pointers, notes);
    if (status == CUDNN_STATUS_SUCCESS) {
        return NULL;
    }
    snprintf(vendor->trouble, sizeof vendor->trouble, "cuDNN: %s", cudnnGetErrorString(status));
    return vendor->trouble;
}
