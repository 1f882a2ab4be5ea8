/*
 * backend.h - what a device must be able to do, and how the pipeline tells it.
 *
 * The pipeline never computes: it records a program, a fixed sequence of ops over tensors of fixed shapes, once per
 * (model, size, batch). Recording plans all memory of the run (program_finish), so that its size is known before any
 * work. Running a program enqueues the whole sequence; nothing inside waits for the host. What changes from step to
 * step (timestep, sampler coefficients) lies in a step table on the device, at the row named by a counter on the
 * device, so that a GPU backend may capture the program once (a CUDA graph) and replay it for every step.
 *
 * Tensors are handles, channels last: [n,h,w,c]. Token sequences are [n,T,1,c]. What ops hand to each other is of the
 * program's numerics, commonly the device's: f32, or f16 or bf16 on a GPU; sums are f32 at least in all of them. What the host reads and writes
 * (latents, conditioning, tables) is f32: an op that wants it narrower takes a copy first, by itself. Weights may be kept in
 * the precision of their file and widened where they are used, which changes no bit.
 *
 * Threads: one at a time draws (records and runs programs, uploads, downloads, waits). Beside it others may make and destroy weights,
 * destroy buffers and programs that are not run any more, use planners of the device (one thread a planner), and ask for the device's
 * constants and backend_check.
 *
 * Same job, same bytes: an op's result for image i depends on image i alone (and on weights and shapes), never on
 * the number of threads or on timing, and on n only where backend_batch_invariant says no. Every sum has a fixed order, given
 * by its length alone.
 */
#ifndef PIPELINE_BACKEND_BACKEND_H
#define PIPELINE_BACKEND_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct backend; /* one device with its threads; holds no model */
struct buffer;  /* device memory that outlives programs: latents, conditioning, step table */
struct weight;  /* one prepared (packed) parameter of a model, as wide as its file has it */
struct program;

/* ---- devices ---------------------------------------------------------------------------------------------------- */

enum dtype { DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I32, DTYPE_U8 };
size_t dtype_size(enum dtype dtype);

/* `device`: "cpu" (own kernels, fast), "reference" (plain C, the oracle), or a card: "cuda:N" or "cuda:" and its UUID.
 * numerics: F32, F16 or BF16; the first two know F32 alone. threads 0: one a core. What this build, this machine or this
 * driver does not have is ERR_UNSUPPORTED or ERR_NOT_FOUND and names what there is. */
MUST_USE enum err backend_create(struct backend **backend, const char *device, enum dtype numerics, uint32_t threads,
                                 struct error *error);
void backend_destroy(struct backend *backend);
enum dtype backend_numerics(const struct backend *backend);
uint64_t backend_memory(const struct backend *backend); /* bytes that were free on the card when it was opened; 0: the host's */
bool backend_can(const struct backend *backend, enum dtype numerics); /* may its device be opened with these, too? */
enum { DEVICES_LIMIT = 64 };
struct device_name {
    char text[64];
};
/* The machine's cards ("cuda:GPU-..."), or "cpu" where there is none. */
void backend_list(struct device_name names[DEVICES_LIMIT], size_t *count);
const char *backend_build(void); /* what was built in beside the CPU: "without CUDA" */
/* A device on which models are only checked and runs only planned: weights are accepted by shape, buffers have a size and
 * no memory, programs can be recorded and not run. All sizes are those on `device` (borrowed; NULL: none in particular, in fp32:
 * weights as large as their values are in the file, and no op needs notes of its own). */
struct backend *backend_create_planner(const struct backend *device);
bool backend_plans(const struct backend *backend); /* is it a planner? The data of weights' views is not read then, and may be NULL */

/* The class within which bytes agree: "cpu x86-64-v4", "cpu x86-64-v3", "cpu generic", "reference", "cuda sm_90 fp16". */
const char *backend_class(const struct backend *backend);
/* Does an op's result for an image not depend on n? Of cards nobody knows: their libraries choose by the size of the whole. */
bool backend_batch_invariant(const struct backend *backend);
uint32_t backend_threads(const struct backend *backend);

/* ---- weights ---------------------------------------------------------------------------------------------------- */

/* A tensor in a model file, row-major as the file holds it. Little-endian. */
struct weight_view {
    const void *data; /* not owned; unaligned is fine */
    enum dtype dtype; /* F32, F16 or BF16 */
    uint32_t dims;
    uint64_t shape[4];
};

/* `count` numbers of F32, F16 or BF16, perhaps unaligned, as f32. Exact: subnormals and infinities included. */
void floats_widen(float *to, const void *from, enum dtype dtype, size_t count);

enum weight_use {
    WEIGHT_LINEAR, /* [N,K]: rows of outputs. [N,K,1,1] is accepted too */
    WEIGHT_CONV,   /* [Cout,Cin,kh,kw] */
    WEIGHT_VECTOR, /* [N]: bias, gamma, beta */
    WEIGHT_TABLE   /* [rows,D]: embeddings, looked up by row */
};

/* Prepare a parameter once, at load. Several LINEAR or VECTOR views are stacked along their first dimension (one
 * product for query, key and value). The views may go away when this returns. */
MUST_USE enum err weight_create(struct weight **weight, struct backend *backend, enum weight_use use,
                                const struct weight_view *views, size_t count, struct error *error);
/* The same for programs of these numerics (program_create_as). */
MUST_USE enum err weight_create_as(struct weight **weight, struct backend *backend, enum dtype numerics, enum weight_use use,
                                   const struct weight_view *views, size_t count, struct error *error);
void weight_destroy(struct weight *weight);
size_t weight_bytes(const struct weight *weight);

/* ---- buffers ---------------------------------------------------------------------------------------------------- */

MUST_USE enum err buffer_create(struct buffer **buffer, struct backend *backend, size_t size, struct error *error);
void buffer_destroy(struct buffer *buffer);
size_t buffer_size(const struct buffer *buffer);
/* Both wait for what was enqueued before. Bounds are asserted. */
void buffer_upload(struct buffer *buffer, size_t offset, const void *host, size_t size);
void buffer_download(const struct buffer *buffer, size_t offset, void *host, size_t size);

/* ---- snapshots -------------------------------------------------------------------------------------------------- */

/* A piece of a buffer as it stands between two programs, on its way to the host while the device goes on. Taking one and
 * asking for it wait for nothing. */
struct snapshot;
MUST_USE enum err snapshot_create(struct snapshot **snapshot, struct backend *backend, size_t size, struct error *error);
void snapshot_destroy(struct snapshot *snapshot);
/* `snapshot`'s size from byte `offset` on, as it is when everything enqueued so far is done. Takes the place of what was taken
 * before. Bounds are asserted. */
void snapshot_take(struct snapshot *snapshot, const struct buffer *buffer, size_t offset);
/* What was taken last; NULL: it has not arrived. Valid until the next is taken. Of a device that failed nothing arrives. */
const void *snapshot_data(const struct snapshot *snapshot);

/* ---- programs --------------------------------------------------------------------------------------------------- */

/* A value in a program. c_first and c_row make a slice of the channels of a wider value: row r begins at element
 * r * c_row + c_first. Only op_attention reads slices; everything else wants c_first == 0 and c_row == c. */
struct tensor {
    uint32_t id;
    uint32_t n, h, w, c;
    uint32_t c_first, c_row;
    enum dtype dtype; /* F32 also stands for i32 and u8, where an op says so */
};

struct program *program_create(struct backend *backend); /* in the device's numerics */
/* In others: the device's or F32, for a network that overflows F16. Its weights are of the same (weight_create_as). */
struct program *program_create_as(struct backend *backend, enum dtype numerics);
void program_destroy(struct program *program);
struct backend *program_backend(const struct program *program);

/* A tensor that lives in `buffer` from byte `offset` on (dtype f32, or i32 for ids, indexes and counters). */
struct tensor program_bind(struct program *program, struct buffer *buffer, size_t offset, uint32_t n, uint32_t h,
                           uint32_t w, uint32_t c);
/* The same of the program's numerics, for what never leaves the device: keys and values of prompts. */
struct tensor program_bind_own(struct program *program, struct buffer *buffer, size_t offset, uint32_t n, uint32_t h,
                               uint32_t w, uint32_t c);
struct tensor tensor_slice(struct tensor tensor, uint32_t first, uint32_t count);

/* End of recording: plan the memory of all values in between by their lifetimes. Then the program is immutable. */
void program_finish(struct program *program);
size_t program_memory(const struct program *program); /* bytes of scratch that program_run needs */
/* Give it its scratch (shared by programs that do not run at the same time; at least program_memory bytes). */
void program_attach(struct program *program, struct buffer *scratch);
void program_run(struct program *program);     /* enqueue; the cpu and reference backends run it here */
void backend_wait(struct backend *backend);    /* until all enqueued work is done */
/* A device may fail for good (a GPU that fell off its bus): what is enqueued then does nothing, downloads are zeros, and
 * this says, ever after, what went wrong first, at which op and shape. Ask after the last download and before anything
 * is believed. ERR_DEVICE. The host's devices never fail. */
MUST_USE enum err backend_check(const struct backend *backend, struct error *error);

/* ---- the step table --------------------------------------------------------------------------------------------- */

/*
 * One evaluation of the U-Net and the update behind it, computed in double, stored as f32, a row a step:
 *     input   = input_scale * x                     what the U-Net sees
 *     e       = u + cfg * (c - u)                   guidance (Ho & Salimans 2022); e = c where unguided
 *     e       = e * (1 + rescale * (|c| / |e| - 1)) guided and rescale not 0 (Lin 2023): |.| is the deviation of an image's
 *                                                   values from their mean, the root of the sum of squares
 *     z       = limited(belief_x * x + belief_model * e)    the clean picture that the model believes in
 *     history'= history_x * x + history_model * e + history_belief * z + history_keep * history
 *     x'      = x_scale * x + model * e + belief * z + history * (history as it was) + noise * noise[step]
 *     x'      = kept_picture * picture + kept_noise * (the picture's noise)    where a picture is kept
 * limited: to -limit..limit; limit 0: not at all. Where quantile is not 0 (dynamic thresholding, Saharia 2022) instead to -s..s and then divided by
 * s, which is that quantile of the |z| of the image (between two values by straight line), at least 1, at most limit.
 * Every sampler of this version is such a row (docs/PIPELINE.md derives each).
 */
struct step_row {
    float timestep;
    float input_scale;
    float x_scale, model, history, noise;
    float history_x, history_model, history_keep;
    float belief_x, belief_model, belief, history_belief;
    float limit, quantile;
    float kept_picture, kept_noise;
};
enum { STEP_ROW_WIDTH = sizeof(struct step_row) / sizeof(float) }; /* tables are bound as [steps,1,1,STEP_ROW_WIDTH] */

/* ---- noise ------------------------------------------------------------------------------------------------------ */

/* What op_noise makes of a row: scale * a draw of Philox 4x32-10 (Salmon 2011), as A1111's "NV" has it. The same bytes on every
 * device. */
struct noise_row {
    uint64_t seed;
    double scale;
    uint32_t offset; /* draws of this seed that came before */
    uint32_t drawn;  /* 0: the row stays as it is */
};

/* ---- ops: each appends to the program and returns its output ------------------------------------------------------ */

enum activation {
    ACTIVATION_NONE,
    ACTIVATION_SILU,
    ACTIVATION_GELU,       /* erf form */
    ACTIVATION_GELU_QUICK, /* x * sigmoid(1.702 x), as CLIP ViT-L */
    ACTIVATION_GEGLU       /* weight has 2N rows: first N (+bias) times gelu(last N (+bias)); output is N wide */
};

#define TENSOR_NONE ((struct tensor){ .id = UINT32_MAX })

/* token ids [n,T,1,1] i32 -> [n,T,1,D]: tokens[id] + positions[place]; ids that `tokens` does not have go on in `added` (rows of
 * the same width). added and positions may be NULL. */
struct tensor op_embed(struct program *p, struct tensor ids, const struct weight *tokens, const struct weight *added,
                       const struct weight *positions);

/* x [n,h,w,K], weight [N,K] -> activation(x W^T + bias) + residual, [n,h,w,N]. bias NULL, residual TENSOR_NONE: none. */
struct tensor op_linear(struct program *p, struct tensor x, const struct weight *weight, const struct weight *bias,
                        enum activation activation, struct tensor residual);
/* The same, into a tensor that exists (a bound one). */
void op_linear_into(struct program *p, struct tensor out, struct tensor x, const struct weight *weight,
                    const struct weight *bias, enum activation activation, struct tensor residual);

struct conv_options {
    uint32_t stride;                     /* 1 or 2 */
    uint32_t pad_top, pad_left, pad_bottom, pad_right; /* zeros */
    uint32_t resize_h, resize_w;         /* not 0: x is first resized to this, nearest (floor(i * in / out)), never stored */
    struct tensor vector;                /* [1|n,1,1,Cout] added to every place (time embedding), or TENSOR_NONE */
    uint32_t steps;                      /* not 0: vector is [steps*(1|n),1,1,Cout], and those of step `step` are added */
    struct tensor step;                  /* where steps is not 0: the counter, i32 */
    struct tensor residual;              /* same shape as the output, added last, or TENSOR_NONE */
};
/* x [n,h,w,Cin], weight [Cout,Cin,kh,kw] -> [n,h',w',Cout]. */
struct tensor op_conv(struct program *p, struct tensor x, const struct weight *weight, const struct weight *bias,
                      const struct conv_options *options);

/* Group norm (Wu & He 2018) over (h,w,c/groups) of each image; then SiLU if asked. Biased variance, f32 result from
 * sums of at least f32 accuracy in fixed order. */
struct tensor op_group_norm(struct program *p, struct tensor x, const struct weight *gamma, const struct weight *beta,
                            uint32_t groups, float epsilon, bool silu);
struct tensor op_layer_norm(struct program *p, struct tensor x, const struct weight *gamma, const struct weight *beta,
                            float epsilon);

/* softmax(q k^T / sqrt(c/heads)) v per head, the score matrix never stored. q [n,Tq,1,c]; k, v [m,Tk,1,c].
 * kv_index [n,1,1,1] i32: image i attends to k[kv_index[i]]; TENSOR_NONE: to k[i] (m == n). causal: place t sees 0..t. */
struct tensor op_attention(struct program *p, struct tensor q, struct tensor k, struct tensor v, struct tensor kv_index,
                           uint32_t heads, bool causal);

struct tensor op_concat(struct program *p, struct tensor a, struct tensor b); /* along c */
struct tensor op_scale(struct program *p, struct tensor x, float factor);
/* a [m,h,w,c] + b [n,h,w,c] -> [n,h,w,c]; m divides n, and a is added over and over. Then SiLU if asked. */
struct tensor op_sum(struct program *p, struct tensor a, struct tensor b, bool silu);

/* Sinusoids of every row's timestep, each `copies` times (Vaswani 2017, as diffusers get_timestep_embedding) ->
 * [rows*copies,1,1,dim]. */
struct tensor op_timestep(struct program *p, struct tensor table, uint32_t copies, uint32_t dim, bool flip_sin_to_cos,
                          float frequency_shift);
/* The same of one value, on the host: out [dim]. */
void sinusoids(float *out, float value, uint32_t dim, bool flip_sin_to_cos, float frequency_shift);

/* out [rows,h,w,c] f32: row i as rows[i] says, drawn in the order [c,h,w], as torch draws latents. rows: struct noise_row, bound
 * as [rows,1,1,6]. */
void op_noise(struct program *p, struct tensor out, struct tensor rows);

/* latent [b,h,w,4] -> input_scale * latent, `copies` times over: [copies*b,h,w,4] (2 under guidance: uncond first). */
struct tensor op_latent_input(struct program *p, struct tensor latent, struct tensor table, struct tensor counter,
                              uint32_t copies);

/* Guidance and the sampler's update, in place; then the counter goes up by one. prediction [b or 2b,h,w,4];
 * guidance [b,1,1,2]: cfg and rescale; history [b,h,w,4] or TENSOR_NONE; noise [steps*b,h,w,4] (step s, image i at row
 * s*b+i) or TENSOR_NONE; kept [b,h,w,4+4+1] or TENSOR_NONE: of each place a picture's latents, its noise, and 0 where the
 * picture is kept, 1 where it is drawn anew. belief [b,h,w,4] or TENSOR_NONE: takes z, for previews. */
void op_update(struct program *p, struct tensor latent, struct tensor prediction, struct tensor guidance,
               struct tensor history, struct tensor noise, struct tensor kept, struct tensor belief, struct tensor table,
               struct tensor counter);

/* image [n,h,w,3] in -1..1 -> pixels u8 [n,h,w,3] = round_half_even(255 * clamp(x/2 + 1/2, 0, 1)), unit f32 [n,h,w,3]
 * in 0..1 before rounding (or TENSOR_NONE), and bad i32 [n,1,1,1]: how many values of the image are NaN or Inf. */
void op_pixels(struct program *p, struct tensor pixels, struct tensor unit, struct tensor bad, struct tensor image);

/* Copy a value out into a bound tensor of the same shape (to be downloaded), narrowing or widening it. */
void op_copy(struct program *p, struct tensor out, struct tensor x);

#endif
