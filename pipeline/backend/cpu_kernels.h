/*
 * cpu_kernels.h - what the kernel files of one instruction-set class give to cpu.c.
 *
 * A kernel computes one task of an op: a rectangle of its output. How an op is cut into tasks never changes a bit:
 * each output element is summed in an order that only its op's shape decides.
 */
#ifndef PIPELINE_BACKEND_CPU_KERNELS_H
#define PIPELINE_BACKEND_CPU_KERNELS_H

#include "pipeline/backend/backend.h"

/* A matrix product and its epilogue: out[r,c] = activation(sum_k A[r,k] W[c,k] + bias[c]) + vector + residual.
 * Row r of A is the window under output place r of x [n,h,w,channels], seen resized and padded: K in order kh, kw,
 * channel. A linear layer is the window 1x1 over one long line. */
struct gemm {
    const float *x;
    uint32_t h, w, channels;
    uint32_t resize_h, resize_w; /* 0: as it is */
    uint32_t kh, kw, stride, pad_top, pad_left;
    uint32_t out_h, out_w;
    uint32_t rows, k, columns; /* columns of out */
    const void *weight;        /* panels [ceil(N/PANEL)][K][PANEL] of weight_dtype */
    enum dtype weight_dtype;   /* F32, F16 or BF16 */
    uint32_t weight_rows;      /* N: columns, twice as many for GEGLU */
    const float *bias;         /* [N], readable up to a whole vector beyond, or NULL */
    enum activation activation;
    const float *vector; /* [1|n,columns] or NULL */
    size_t vector_step;  /* 0 or columns */
    const float *residual;
    float *out;
};

/* One task: rows first_row.. and columns of out first_column.. (a multiple of the panel). */
struct gemm_task {
    uint32_t first_row, rows;
    uint32_t first_column, columns;
    const float *ahead, *ahead_end; /* part of x that this thread will probably want next */
};
enum { GEMM_ROWS_MAX = 96, GEMM_COLUMNS_MAX = 512 };

/* Row r of q for head i begins at q + r * q_row + i * depth. */
struct attention {
    const float *q, *k, *v;
    size_t q_row, k_row, v_row;
    const int32_t *kv_index; /* or NULL */
    uint32_t images, queries, keys, heads, depth, images_kv;
    bool causal;
    float *out;
    size_t out_row;
};

enum { ATTENTION_TILES = 2 }; /* panels of queries that a task takes */

struct norm {
    const float *x;
    float *out;
    const float *gamma, *beta; /* [channels] */
    uint32_t images, rows, channels, groups; /* rows: places of an image */
    float epsilon;
    bool silu;
    double *sums;   /* group norm: [images][chunks][2][channels] */
    float *factors; /* group norm: [images][2][channels]: out = x * factor + offset */
};
/* A partial sum covers a chunk of places, piece by piece: pieces fit into the L1 cache, chunks are few. */
enum { NORM_PIECE = 64, NORM_CHUNKS_MAX = 128 };

static inline uint32_t norm_chunk_rows(uint32_t rows) {
    uint32_t pieces = (rows + NORM_PIECE - 1) / NORM_PIECE;
    return (pieces + NORM_CHUNKS_MAX - 1) / NORM_CHUNKS_MAX * NORM_PIECE;
}

static inline uint32_t norm_chunks(uint32_t rows) {
    return (rows + norm_chunk_rows(rows) - 1) / norm_chunk_rows(rows);
}

struct cpu_kernels {
    const char *class_name;
    uint32_t panel;
    size_t (*gemm_scratch_size)(void); /* bytes of each thread, 64-byte aligned */
    size_t (*attention_scratch_size)(uint32_t depth);
    void (*gemm)(const struct gemm *gemm, const struct gemm_task *task, void *scratch);
    void (*attention)(const struct attention *attention, uint32_t image, uint32_t head, uint32_t first_query,
                      void *scratch);
    void (*norm_sum)(const struct norm *norm, uint32_t image, uint32_t chunk);
    void (*norm_factors)(const struct norm *norm, uint32_t image);
    void (*norm_apply)(const struct norm *norm, uint32_t image, uint32_t first_row, uint32_t rows);
    void (*layer_norm)(const struct norm *norm, uint32_t first_row, uint32_t rows);
};

/* Panels `width` columns wide from a weight in the file's order, of its dtype (cpu_pack.c; the same for all classes). */
void cpu_pack(void *panels, const void *plain, const struct weight *weight, uint32_t width);

extern const struct cpu_kernels cpu_kernels_v4;
extern const struct cpu_kernels cpu_kernels_v3;
extern const struct cpu_kernels cpu_kernels_generic;

#endif
