/*
 * dnn_graph.h - a graph of cuDNN's backend API while it is put together: tensors and operations owned by it, the first trouble
 * kept, and at its end an execution plan.
 */
#ifndef PIPELINE_BACKEND_CUDA_DNN_GRAPH_H
#define PIPELINE_BACKEND_CUDA_DNN_GRAPH_H

#include "pipeline/backend/cuda/libraries.h"

enum { DNN_DESCRIPTORS = 64, DNN_OPERATIONS = 12 };

struct dnn_graph {
    cudnnHandle_t handle;
    cudnnBackendDescriptor_t owned[DNN_DESCRIPTORS];
    size_t owned_count;
    cudnnBackendDescriptor_t operations[DNN_OPERATIONS];
    int64_t operation_count;
    int64_t next_virtual; /* uid */
    cudnnStatus_t status; /* the first that is no success */
    const char *where;    /* what was being made then */
};

void dnn_graph_begin(struct dnn_graph *graph, cudnnHandle_t handle);
void dnn_graph_release(struct dnn_graph *graph);

cudnnDataType_t dnn_type(enum dtype dtype);

struct dnn_tensor {
    int64_t uid; /* from 1 of real ones; 0: a virtual one */
    cudnnDataType_t type;
    int64_t dims[4], strides[4];
    bool by_value; /* one f32 from the host */
};
cudnnBackendDescriptor_t dnn_tensor(struct dnn_graph *graph, const struct dnn_tensor *tensor);

/* y = mode(x, b); b NULL: of x alone. */
void dnn_pointwise(struct dnn_graph *graph, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b,
                   cudnnBackendDescriptor_t y);
void dnn_reduction(struct dnn_graph *graph, cudnnReduceTensorOp_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y);
void dnn_matmul(struct dnn_graph *graph, cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t c);
struct dnn_convolution {
    int64_t stride, before[2], after[2]; /* pads of rows and columns */
};
void dnn_convolution(struct dnn_graph *graph, const struct dnn_convolution *convolution, cudnnBackendDescriptor_t x,
                     cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y);

/* The first engine that the library proposes and that can be built. Fills plan->plan and notes, or trouble. */
void dnn_graph_plan(struct library_plan *plan, struct dnn_graph *graph);

/* Runs a plan on pointers by uid. */
cudnnStatus_t dnn_execute(cudnnHandle_t handle, cudaStream_t stream, const struct library_plan *plan, int64_t count,
                          const int64_t *uids, void *const *pointers, void *notes);

#endif
