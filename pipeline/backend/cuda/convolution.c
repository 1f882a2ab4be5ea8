/*
 * convolution.c - a convolution as the library's, or as windows and a product.
 *
 * F16 and BF16 with channels in eights go to the library, after a resize kernel of ours where x is resized, and with the
 * image's vector added to the bias. Everything else (f32; the first and last layers, with 3, 4 or 9 channels) writes the
 * windows of as many rows as WINDOWS_BYTES hold, and multiplies them. The rule is of shape and numerics alone.
 */
#include "pipeline/backend/cuda/cuda.h"
#include "pipeline/backend/cuda/kernels.h"

enum { WINDOWS_BYTES = 64 << 20, NOTES_ALIGNMENT = 256 };

static size_t aligned(size_t size) {
    return (size + NOTES_ALIGNMENT - 1) / NOTES_ALIGNMENT * NOTES_ALIGNMENT;
}

static bool is_resized(const struct op *op) {
    return op->conv.resize_h != 0 && (op->conv.resize_h != op->in[0].h || op->conv.resize_w != op->in[0].w);
}

static bool by_library(const struct op *op) {
    return op->out[0].dtype != DTYPE_F32 && op->in[0].c % 8 == 0 && op->out[0].c % 8 == 0;
}

/* ---- the library's ------------------------------------------------------------------------------------------------- */

/* Shapes alone. */
static struct vendor_convolution describe(const struct op *op) {
    struct tensor x = op->in[0], out = op->out[0], vector = op->in[2];
    return (struct vendor_convolution){
        .dtype = out.dtype,
        .n = x.n,
        .h = is_resized(op) ? op->conv.resize_h : x.h,
        .w = is_resized(op) ? op->conv.resize_w : x.w,
        .cin = x.c,
        .cout = out.c,
        .kh = op->weight->kh,
        .kw = op->weight->kw,
        .stride = op->conv.stride,
        .pad_top = op->conv.pad_top,
        .pad_left = op->conv.pad_left,
        .pad_bottom = op->conv.pad_bottom,
        .pad_right = op->conv.pad_right,
        .out_h = out.h,
        .out_w = out.w,
        .bias_each = tensor_exists(vector) && conv_vectors(op) > 1,
        .has_bias = op->bias != NULL || tensor_exists(vector),
        .has_residual = tensor_exists(op->in[1]),
    };
}

static struct step_vectors vectors_of(const struct program *program, const struct op *op) {
    struct tensor vector = op->in[2];
    return (struct step_vectors){ .data = program_data(program, vector),
                                  .step = cuda_input(program, op->in[3]),
                                  .steps = op->conv.steps,
                                  .count = conv_vectors(op),
                                  .n = vector.c };
}

/* Where its notes lie: [resized x] [bias with vector] [the library's]. */
struct places {
    size_t resized, bias, library, size;
};

static struct places places_of(const struct op *op, size_t library) {
    struct tensor x = op->in[0], vector = op->in[2];
    size_t element = dtype_size(op->out[0].dtype);
    struct places places = { 0 };
    places.bias = is_resized(op) ? aligned((size_t)x.n * op->conv.resize_h * op->conv.resize_w * x.c * element) : 0;
    places.library = places.bias + (tensor_exists(vector) ? aligned((size_t)conv_vectors(op) * vector.c * element) : 0);
    places.size = places.library + library;
    return places;
}

static void run_library(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct vendor_convolution c = describe(op);
    struct tensor x = op->in[0], vector = op->in[2];
    struct places places = places_of(op, 0);
    char *notes = program_workspace(program, op);
    c.x = program_data(program, x);
    c.weight = op->weight->data;
    c.bias = op->bias == NULL ? NULL : op->bias->data;
    c.residual = cuda_input(program, op->in[1]);
    c.out = program_data(program, op->out[0]);
    if (is_resized(op)) {
        kernel_resize(cuda->stream, x.dtype, notes + places.resized, c.x, x.n, x.h, x.w, x.c, c.h, c.w);
        c.x = notes + places.resized;
    }
    if (tensor_exists(vector)) {
        const struct step_vectors vectors = vectors_of(program, op);
        kernel_add_vectors(cuda->stream, x.dtype, notes + places.bias, c.bias, &vectors);
        c.bias = notes + places.bias;
    }
    (void)cuda_op_went(cuda, op, vendor_convolution_run(cuda->vendor, cuda->stream, &c, notes + places.library));
}

/* ---- windows and a product ------------------------------------------------------------------------------------------- */

static size_t window_rows(const struct op *op) {
    size_t row = op->weight->columns * dtype_size(op->out[0].dtype), rows = tensor_rows(op->out[0]);
    size_t most = WINDOWS_BYTES / row == 0 ? 1 : WINDOWS_BYTES / row;
    return rows < most ? rows : most;
}

static void run_windows(struct cuda *cuda, const struct program *program, const struct op *op) {
    struct tensor x = op->in[0], out = op->out[0], vector = op->in[2];
    size_t rows = tensor_rows(out), step = window_rows(op), row_bytes = out.c * dtype_size(out.dtype);
    struct windows windows = {
        .x = program_data(program, x),
        .out = program_workspace(program, op),
        .h = x.h,
        .w = x.w,
        .c = x.c,
        .kh = op->weight->kh,
        .kw = op->weight->kw,
        .stride = op->conv.stride,
        .pad_top = op->conv.pad_top,
        .pad_left = op->conv.pad_left,
        .out_h = out.h,
        .out_w = out.w,
        .resized_h = is_resized(op) ? op->conv.resize_h : x.h,
        .resized_w = is_resized(op) ? op->conv.resize_w : x.w,
    };
    char *y = program_data(program, out);
    const char *residual = cuda_input(program, op->in[1]);
    for (size_t first = 0; first < rows; first += step) {
        windows.first_row = first;
        windows.rows = rows - first < step ? rows - first : step;
        kernel_windows(cuda->stream, x.dtype, &windows);
        struct vendor_product product = { .dtype = x.dtype,
                                          .rows = windows.rows,
                                          .n = out.c,
                                          .k = op->weight->columns,
                                          .batch = 1,
                                          .x = windows.out,
                                          .w = op->weight->data,
                                          .bias = op->bias == NULL ? NULL : op->bias->data,
                                          .residual = residual == NULL ? NULL : residual + first * row_bytes,
                                          .out = y + first * row_bytes,
                                          .scale = 1.0f };
        if (!cuda_op_went(cuda, op, vendor_product_run(cuda->vendor, cuda->stream, &product))) {
            return;
        }
    }
    if (tensor_exists(vector)) {
        struct finish finish = { .x = y, .y = y, .vector = vectors_of(program, op), .rows = rows, .n = out.c };
        kernel_finish(cuda->stream, out.dtype, &finish);
    }
}

/* ---- either ------------------------------------------------------------------------------------------------------- */

size_t convolution_workspace(const struct cuda *cuda, const struct op *op) {
    if (by_library(op)) {
        struct vendor_convolution c = describe(op);
        return places_of(op, vendor_convolution_notes(cuda->vendor, &c)).size;
    }
    return window_rows(op) * op->weight->columns * dtype_size(op->out[0].dtype);
}

void convolution_run(struct cuda *cuda, const struct program *program, const struct op *op) {
    if (by_library(op)) {
        run_library(cuda, program, op);
    } else {
        run_windows(cuda, program, op);
    }
}
