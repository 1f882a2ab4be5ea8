/*
 * dnn_graph.c - cuDNN's backend API in the few forms that vendor_convolution.c and vendor_attention.c need.
 */
#include <stdio.h>
#include <string.h>

#include "pipeline/backend/cuda/dnn_graph.h"

enum { VIRTUAL_UID = 1000, ENGINES_TRIED = 16, ALIGNMENT = 16 };

void dnn_graph_begin(struct dnn_graph *graph, cudnnHandle_t handle) {
    memset(graph, 0, sizeof *graph);
    graph->handle = handle;
    graph->next_virtual = VIRTUAL_UID;
    graph->status = CUDNN_STATUS_SUCCESS;
}

void dnn_graph_release(struct dnn_graph *graph) {
    for (size_t i = graph->owned_count; i-- > 0;) {
        (void)cudnnBackendDestroyDescriptor(graph->owned[i]);
    }
    graph->owned_count = 0;
}

/* ---- descriptors: made, filled, finished; the first trouble sticks ---------------------------------------------------- */

static bool note(struct dnn_graph *graph, cudnnStatus_t status, const char *where) {
    if (graph->status == CUDNN_STATUS_SUCCESS && status != CUDNN_STATUS_SUCCESS) {
        graph->status = status;
        graph->where = where;
    }
    return graph->status == CUDNN_STATUS_SUCCESS;
}

static cudnnBackendDescriptor_t make(struct dnn_graph *graph, cudnnBackendDescriptorType_t kind, const char *where) {
    cudnnBackendDescriptor_t made = NULL;
    if (graph->owned_count == DNN_DESCRIPTORS) {
        (void)note(graph, CUDNN_STATUS_NOT_SUPPORTED, where);
    }
    if (graph->status == CUDNN_STATUS_SUCCESS && note(graph, cudnnBackendCreateDescriptor(kind, &made), where)) {
        graph->owned[graph->owned_count++] = made;
    }
    return made;
}

static void set(struct dnn_graph *graph, cudnnBackendDescriptor_t to, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values, const char *where) {
    if (graph->status == CUDNN_STATUS_SUCCESS) {
        (void)note(graph, cudnnBackendSetAttribute(to, name, type, count, values), where);
    }
}

static void finish(struct dnn_graph *graph, cudnnBackendDescriptor_t made, const char *where) {
    if (graph->status == CUDNN_STATUS_SUCCESS) {
        (void)note(graph, cudnnBackendFinalize(made), where);
    }
}

static void add_operation(struct dnn_graph *graph, cudnnBackendDescriptor_t made, const char *where) {
    finish(graph, made, where);
    if (graph->operation_count == DNN_OPERATIONS) {
        (void)note(graph, CUDNN_STATUS_NOT_SUPPORTED, where);
    } else {
        graph->operations[graph->operation_count++] = made;
    }
}

/* ---- tensors ------------------------------------------------------------------------------------------------------ */

cudnnDataType_t dnn_type(enum dtype dtype) {
    return dtype == DTYPE_F16 ? CUDNN_DATA_HALF : dtype == DTYPE_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
}

cudnnBackendDescriptor_t dnn_tensor(struct dnn_graph *graph, const struct dnn_tensor *tensor) {
    static const char where[] = "a tensor";
    bool is_virtual = tensor->uid == 0, by_value = tensor->by_value;
    int64_t uid = is_virtual ? graph->next_virtual++ : tensor->uid, alignment = by_value ? 4 : ALIGNMENT;
    cudnnBackendDescriptor_t made = make(graph, CUDNN_BACKEND_TENSOR_DESCRIPTOR, where);
    set(graph, made, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &tensor->type, where);
    set(graph, made, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, tensor->dims, where);
    set(graph, made, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, tensor->strides, where);
    set(graph, made, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid, where);
    set(graph, made, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment, where);
    set(graph, made, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &is_virtual, where);
    set(graph, made, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &by_value, where);
    finish(graph, made, where);
    return made;
}

/* ---- operations --------------------------------------------------------------------------------------------------- */

static const cudnnDataType_t F32 = CUDNN_DATA_FLOAT;

enum { OPERANDS = 3 };

/* An operation is a kind of its own (what is done, in which precision) and tensors of its operands. */
struct form {
    const char *where;
    cudnnBackendDescriptorType_t kind, operation;
    cudnnBackendAttributeName_t mode, precision; /* of the kind */
    cudnnBackendAttributeType_t mode_type;
    cudnnBackendAttributeName_t takes_kind, takes[OPERANDS]; /* of the operation */
};

static const struct form POINTWISE = {
    "an operation of points", CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
    CUDNN_ATTR_POINTWISE_MODE, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_POINTWISE_MODE,
    CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR,
    { CUDNN_ATTR_OPERATION_POINTWISE_XDESC, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, CUDNN_ATTR_OPERATION_POINTWISE_YDESC } };
static const struct form REDUCTION = {
    "a reduction", CUDNN_BACKEND_REDUCTION_DESCRIPTOR, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
    CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE,
    CUDNN_ATTR_OPERATION_REDUCTION_DESC,
    { CUDNN_ATTR_OPERATION_REDUCTION_XDESC, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, CUDNN_ATTR_OPERATION_REDUCTION_YDESC } };
static const struct form MATMUL = { /* it has no mode: `mode` is not set */
    "a matrix product", CUDNN_BACKEND_MATMUL_DESCRIPTOR, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
    CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_ATTR_OPERATION_MATMUL_DESC,
    { CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC, CUDNN_ATTR_OPERATION_MATMUL_CDESC } };

/* mode and operands that are NULL are not set. */
static void add_form(struct dnn_graph *graph, const struct form *form, const void *mode, cudnnBackendDescriptor_t a,
                     cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t c) {
    const cudnnBackendDescriptor_t operands[OPERANDS] = { a, b, c };
    cudnnBackendDescriptor_t kind = make(graph, form->kind, form->where);
    if (mode != NULL) {
        set(graph, kind, form->mode, form->mode_type, 1, mode, form->where);
    }
    set(graph, kind, form->precision, CUDNN_TYPE_DATA_TYPE, 1, &F32, form->where);
    finish(graph, kind, form->where);
    cudnnBackendDescriptor_t made = make(graph, form->operation, form->where);
    set(graph, made, form->takes_kind, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &kind, form->where);
    for (int i = 0; i < OPERANDS; i++) {
        if (operands[i] != NULL) {
            set(graph, made, form->takes[i], CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &operands[i], form->where);
        }
    }
    add_operation(graph, made, form->where);
}

void dnn_pointwise(struct dnn_graph *graph, cudnnPointwiseMode_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t b,
                   cudnnBackendDescriptor_t y) {
    add_form(graph, &POINTWISE, &mode, x, b, y);
}

void dnn_reduction(struct dnn_graph *graph, cudnnReduceTensorOp_t mode, cudnnBackendDescriptor_t x, cudnnBackendDescriptor_t y) {
    add_form(graph, &REDUCTION, &mode, x, NULL, y);
}

void dnn_matmul(struct dnn_graph *graph, cudnnBackendDescriptor_t a, cudnnBackendDescriptor_t b, cudnnBackendDescriptor_t c) {
    add_form(graph, &MATMUL, NULL, a, b, c);
}

void dnn_convolution(struct dnn_graph *graph, const struct dnn_convolution *convolution, cudnnBackendDescriptor_t x,
                     cudnnBackendDescriptor_t w, cudnnBackendDescriptor_t y) {
    static const char where[] = "a convolution";
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t spatial = 2, ones[2] = { 1, 1 }, strides[2] = { convolution->stride, convolution->stride };
    float alpha = 1.0f, beta = 0.0f;
    cudnnBackendDescriptor_t kind = make(graph, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, where);
    set(graph, kind, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial, where);
    set(graph, kind, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &F32, where);
    set(graph, kind, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode, where);
    set(graph, kind, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, ones, where);
    set(graph, kind, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides, where);
    set(graph, kind, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, convolution->before, where);
    set(graph, kind, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, convolution->after, where);
    finish(graph, kind, where);
    cudnnBackendDescriptor_t made = make(graph, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, where);
    set(graph, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &kind, where);
    set(graph, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x, where);
    set(graph, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w, where);
    set(graph, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y, where);
    set(graph, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &alpha, where);
    set(graph, made, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &beta, where);
    add_operation(graph, made, where);
}

/* ---- plans -------------------------------------------------------------------------------------------------------- */

/* An execution plan of one engine configuration; NULL where the engine cannot. Not the graph's: it outlives it. */
static cudnnBackendDescriptor_t build(cudnnHandle_t handle, cudnnBackendDescriptor_t configuration, int64_t *notes) {
    cudnnBackendDescriptor_t plan = NULL;
    int64_t count = 0;
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan) != CUDNN_STATUS_SUCCESS) {
        return NULL;
    }
    if (cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                 &configuration) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendFinalize(plan) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count, notes) ==
            CUDNN_STATUS_SUCCESS) {
        return plan;
    }
    (void)cudnnBackendDestroyDescriptor(plan);
    return NULL;
}

/* Engines that `mode` proposes, best first; the first that can be built. */
static cudnnBackendDescriptor_t try_engines(struct dnn_graph *graph, cudnnBackendDescriptor_t whole, cudnnBackendHeurMode_t mode,
                                            int64_t *notes) {
    static const char where[] = "the choice of an engine";
    cudnnBackendDescriptor_t configurations[ENGINES_TRIED] = { NULL }, plan = NULL;
    int64_t found = 0;
    cudnnBackendDescriptor_t heuristic = make(graph, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, where);
    set(graph, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &whole, where);
    set(graph, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode, where);
    finish(graph, heuristic, where);
    for (int i = 0; i < ENGINES_TRIED; i++) {
        configurations[i] = make(graph, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, where);
    }
    if (graph->status == CUDNN_STATUS_SUCCESS) {
        (void)note(graph, cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                                   ENGINES_TRIED, &found, configurations), where);
    }
    for (int64_t i = 0; graph->status == CUDNN_STATUS_SUCCESS && plan == NULL && i < found && i < ENGINES_TRIED; i++) {
        plan = build(graph->handle, configurations[i], notes);
    }
    return plan;
}

void dnn_graph_plan(struct library_plan *plan, struct dnn_graph *graph) {
    static const char where[] = "the whole graph";
    cudnnBackendDescriptor_t whole = make(graph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, where);
    set(graph, whole, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &graph->handle, where);
    set(graph, whole, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, graph->operation_count, graph->operations,
        where);
    finish(graph, whole, where);
    if (graph->status == CUDNN_STATUS_SUCCESS) {
        plan->plan = try_engines(graph, whole, CUDNN_HEUR_MODE_A, &plan->notes);
    }
    if (graph->status == CUDNN_STATUS_SUCCESS && plan->plan == NULL) {
        plan->plan = try_engines(graph, whole, CUDNN_HEUR_MODE_FALLBACK, &plan->notes);
    }
    if (plan->plan == NULL) {
        snprintf(plan->trouble, sizeof plan->trouble, "cuDNN, %s: %s",
                 graph->status == CUDNN_STATUS_SUCCESS ? "no engine can be built" : graph->where,
                 cudnnGetErrorString(graph->status == CUDNN_STATUS_SUCCESS ? CUDNN_STATUS_NOT_SUPPORTED : graph->status));
    }
}

cudnnStatus_t dnn_execute(cudnnHandle_t handle, cudaStream_t stream, const struct library_plan *plan, int64_t count,
                          const int64_t *uids, void *const *pointers, void *notes) {
    cudnnBackendDescriptor_t pack = NULL;
    cudnnStatus_t status = cudnnSetStream(handle, stream);
    if (status == CUDNN_STATUS_SUCCESS) {
        status = cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        status = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        status = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, pointers);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        status = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &notes);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        status = cudnnBackendFinalize(pack);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        status = cudnnBackendExecute(handle, plan->plan, pack);
    }
    if (pack != NULL) {
        (void)cudnnBackendDestroyDescriptor(pack);
    }
    return status;
}
