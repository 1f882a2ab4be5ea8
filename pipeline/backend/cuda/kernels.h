/*
 * kernels.h - our own kernels, as C functions that enqueue one launch on a stream.
 *
 * Each is plain CUDA C++ in the .cu files beside this one, without inline assembly: nvcc compiles them for the card, a
 * C++ compiler with tests/emulation's header for the CPU. Pointers are the device's; "own" elements are of `dtype` (F32,
 * F16 or BF16). Sums are f32 at least, in an order given by shapes alone. A launch that fails shows in cudaGetLastError.
 */
#ifndef PIPELINE_BACKEND_CUDA_KERNELS_H
#define PIPELINE_BACKEND_CUDA_KERNELS_H

#include <cuda_runtime_api.h>

#include "pipeline/backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- elementwise.cu --------------------------------------------------------------------------------------------- */

/* [count,n] to add, each to as many rows as the others; with steps [steps,count,n], and those of the step that `step` counts. */
struct step_vectors {
    const void *data;    /* NULL: nothing is added */
    const int32_t *step; /* NULL: there are no steps; a step past them makes NaN */
    uint32_t steps, count, n;
};

/* y [rows,n] = activation(y or x) + vector + residual. */
struct finish {
    const void *x; /* [rows,n], of GEGLU [rows,2n]; may be y */
    void *y;       /* [rows,n] */
    struct step_vectors vector;
    const void *residual; /* [rows,n], or NULL */
    size_t rows;
    uint32_t n;
    enum activation activation;
};
void kernel_finish(cudaStream_t stream, enum dtype dtype, const struct finish *finish);

struct embed {
    void *out;          /* [rows,width] */
    const int32_t *ids; /* [rows] */
    const void *tokens, *added, *positions; /* [vocabulary,width], [added_count,width], [length,width]; the last two may be NULL */
    size_t rows;
    uint32_t length, width, vocabulary, added_count;
};
/* tokens[id] + positions[place]; ids from `vocabulary` on are those of `added`, and one past these makes NaN. */
void kernel_embed(cudaStream_t stream, enum dtype dtype, const struct embed *embed);
void kernel_concat(cudaStream_t stream, enum dtype dtype, void *out, const void *a, const void *b, size_t rows, uint32_t a_width,
                   uint32_t b_width);
/* out = factor * x, from one dtype to another. */
void kernel_convert(cudaStream_t stream, void *out, enum dtype to, const void *x, enum dtype from, size_t count, float factor);
/* out = a + b, a's `a_count` elements over and over; then SiLU if asked. */
void kernel_sum(cudaStream_t stream, enum dtype dtype, void *out, const void *a, const void *b, size_t a_count, size_t count,
                bool silu);
/* out [count,n] = bias [n] (or NULL) + vectors */
void kernel_add_vectors(cudaStream_t stream, enum dtype dtype, void *out, const void *bias, const struct step_vectors *vectors);

/* ---- move.cu: what only moves ------------------------------------------------------------------------------------- */

/* x [n,h,w,c] -> [n,to_h,to_w,c], nearest: floor(i * h / to_h). */
void kernel_resize(cudaStream_t stream, enum dtype dtype, void *out, const void *x, uint32_t n, uint32_t h, uint32_t w,
                   uint32_t c, uint32_t to_h, uint32_t to_w);

/* The windows of a convolution as rows: out [rows,kh*kw*c], rows first_row.. of [n,out_h,out_w]. */
struct windows {
    const void *x; /* [n,h,w,c] */
    void *out;
    uint32_t h, w, c, kh, kw, stride, pad_top, pad_left, out_h, out_w;
    uint32_t resized_h, resized_w; /* as if x had this size; h, w where it is not resized */
    size_t first_row, rows;
};
void kernel_windows(cudaStream_t stream, enum dtype dtype, const struct windows *windows);

/* x: image i at row index[i] (or i) of [m,length,row], heads of `depth` side by side -> out [n,heads,length,depth]. An index
 * past m makes NaN. */
void kernel_heads_split(cudaStream_t stream, enum dtype dtype, void *out, const void *x, size_t row, const int32_t *index,
                        uint32_t n, uint32_t m, uint32_t length, uint32_t heads, uint32_t depth);
/* x [n,heads,length,depth] -> out [n,length,heads*depth] */
void kernel_heads_merge(cudaStream_t stream, enum dtype dtype, void *out, const void *x, uint32_t n, uint32_t length,
                        uint32_t heads, uint32_t depth);

/* ---- norm.cu ----------------------------------------------------------------------------------------------------- */

struct cuda_norm {
    const void *x;
    void *out;
    const void *gamma, *beta; /* own */
    uint32_t images, rows, channels, groups; /* a layer norm: images 1, groups 1 */
    float epsilon;
    bool silu;
    float *notes; /* kernel_group_norm_notes bytes */
};
size_t kernel_group_norm_notes(uint32_t images, uint32_t rows, uint32_t channels);
void kernel_group_norm(cudaStream_t stream, enum dtype dtype, const struct cuda_norm *norm);
void kernel_layer_norm(cudaStream_t stream, enum dtype dtype, const struct cuda_norm *norm);

/* ---- softmax.cu -------------------------------------------------------------------------------------------------- */

/* out [matrices,rows,keys] = softmax(scale * scores) per row; row r of a matrix sees keys 0..first_row+r where causal. */
void kernel_softmax(cudaStream_t stream, enum dtype dtype, void *out, const float *scores, uint32_t matrices, uint32_t rows,
                    uint32_t keys, float scale, bool causal, uint32_t first_row);

/* ---- noise.cu ---------------------------------------------------------------------------------------------------- */

/* out [count,area,channels]: each row as its noise_row says. */
void kernel_noise(cudaStream_t stream, float *out, const struct noise_row *rows, uint32_t count, size_t area, uint32_t channels);

/* ---- step.cu: a step's beginning and end --------------------------------------------------------------------------- */

/* out [rows,dim]: of the table's first rows, each `copies` times. */
void kernel_timestep(cudaStream_t stream, enum dtype dtype, void *out, const struct step_row *table, uint32_t rows,
                     uint32_t copies, uint32_t dim, bool flip_sin_to_cos, float frequency_shift);
/* `steps` rows in the table; a counter past them makes NaN. */
void kernel_latent_input(cudaStream_t stream, enum dtype dtype, void *out, const float *latent, const struct step_row *table,
                         const int32_t *counter, uint32_t steps, size_t count, uint32_t copies);

struct cuda_update {
    float *latent;
    float *history;         /* or NULL */
    float *belief;          /* or NULL */
    int32_t *counter;
    const void *prediction; /* own, [images or 2*images,...] */
    const float *guidance;  /* [images,2]: cfg and rescale; NULL: unguided */
    const float *noise;     /* or NULL */
    const float *kept;      /* or NULL */
    const struct step_row *table;
    uint32_t steps, images, channels;
    size_t image; /* elements */
};
void kernel_update(cudaStream_t stream, enum dtype dtype, const struct cuda_update *update);

/* image [n,size] -> pixels, unit (or NULL), bad [n], which must be zero before. */
void kernel_pixels(cudaStream_t stream, enum dtype dtype, uint8_t *pixels, float *unit, int32_t *bad, const void *image,
                   uint32_t n, size_t size);

#ifdef __cplusplus
}
#endif
#endif
