/*
 * cpu_gemm.c - linear layers and convolutions: one matrix product that gathers its left side from the picture.
 *
 * A task copies a block of rows of A, BLOCK_K at a time, into its scratch, where row r of the block starts at
 * r * A_ROW: padding, strides and resizing end there, and the innermost loop sees plain memory. Weights were packed at
 * load: [panel][K][PANEL], K in the order kernel row, kernel column, channel, in which a window's row is one run of
 * memory; 16-bit ones are widened a block at a time, once for all rows of the task. Sums: a chain over each block of K, blocks added in order.
 */
#include "pipeline/backend/cpu_kernels.h"
#include "pipeline/backend/cpu_math.h"
#include "pipeline/backend/cpu_product.h"

/* ---- scratch ---------------------------------------------------------------------------------------------------- */

/* The second run of a GEGLU's columns starts in mid-panel at worst; LANES more keep rows off one cache set. */
enum { SUM_ROW_MAX = GEMM_COLUMNS_MAX + 3 * PANEL + LANES };

struct gemm_scratch {
    float a[GEMM_ROWS_MAX * A_ROW] __attribute__((aligned(64)));
    float sums[GEMM_ROWS_MAX * SUM_ROW_MAX] __attribute__((aligned(64)));
    float panel[BLOCK_K * PANEL] __attribute__((aligned(64))); /* of weights that are kept narrower */
    const char *ahead, *ahead_end; /* what the next task will gather, still to be asked for */
};

size_t KERNEL(gemm_scratch_size)(void);
size_t KERNEL(gemm_scratch_size)(void) {
    return sizeof(struct gemm_scratch);
}

/* ---- weights ---------------------------------------------------------------------------------------------------- */

/* `count` rows of a panel as f32: where they lie, or widened into `to`. */
static const float *panel_rows(float *to, const struct gemm *g, size_t first, size_t count) {
    if (g->weight_dtype == DTYPE_F32) {
        return (const float *)g->weight + first * PANEL;
    }
    const uint16_t *from = (const uint16_t *)g->weight + first * PANEL;
    if (g->weight_dtype == DTYPE_F16) {
        for (size_t i = 0; i < count * PANEL; i += LANES) {
            vec_store(to + i, vec_widen_half(from + i));
        }
    } else {
        for (size_t i = 0; i < count * PANEL; i += LANES) {
            vec_store(to + i, vec_widen_bfloat(from + i));
        }
    }
    return to;
}

/* ---- gathering A ------------------------------------------------------------------------------------------------ */

/* Elements first..end of one window row (kw * channels of them); `y` is the row of the unpadded picture. */
static void gather_run(float *to, const struct gemm *g, const float *image, int64_t y, int64_t x, uint32_t first,
                       uint32_t end) {
    if (y < 0 || y >= g->h) {
        floats_zero(to, end - first);
        return;
    }
    int64_t offset = x * g->channels, width = (int64_t)g->w * g->channels;
    int64_t from = -offset > first ? -offset : first, upto = width - offset < end ? width - offset : end;
    from = from < end ? from : end;
    upto = upto > from ? upto : from;
    floats_zero(to, (size_t)(from - first));
    floats_copy(to + (from - first), image + y * width + offset + from, (size_t)(upto - from));
    floats_zero(to + (upto - first), (size_t)(end - upto));
}

/* The same on a resized picture, where neighbours in the window are not neighbours in memory. */
static void gather_run_resized(float *to, const struct gemm *g, const float *image, int64_t y, int64_t x,
                               uint32_t first, uint32_t end) {
    while (first < end) {
        uint32_t tap = first / g->channels, c = first % g->channels;
        uint32_t stop = (tap + 1) * g->channels < end ? (tap + 1) * g->channels : end;
        int64_t column = x + tap;
        if (y < 0 || y >= g->resize_h || column < 0 || column >= g->resize_w) {
            floats_zero(to, stop - first);
        } else {
            int64_t place = y * g->h / g->resize_h * g->w + column * g->w / g->resize_w;
            floats_copy(to, image + place * g->channels + c, stop - first);
        }
        to += stop - first;
        first = stop;
    }
}

/* One row of A, columns first_k..end_k: the window at (y,x) of one image, cut into its rows. `row` is the window row
 * of first_k. */
static void gather_window(float *to, const struct gemm *g, const float *image, int64_t y, int64_t x, uint32_t row,
                          uint32_t first_k, uint32_t end_k) {
    uint32_t run = g->kw * g->channels;
    int64_t line = (int64_t)g->w * g->channels;
    bool inside = g->resize_h == 0 && y >= 0 && x >= 0 && y + g->kh <= g->h && x + g->kw <= g->w;
    const float *corner = image + y * line + x * g->channels;
    for (uint32_t k = first_k; k < end_k; row++) {
        uint32_t start = k - row * run, end = (row + 1) * run < end_k ? run : end_k - row * run;
        if (inside) {
            floats_copy(to, corner + row * line + start, end - start);
        } else if (g->resize_h == 0) {
            gather_run(to, g, image, y + row, x, start, end);
        } else {
            gather_run_resized(to, g, image, y + row, x, start, end);
        }
        to += end - start;
        k += end - start;
    }
}

/* Columns first_k..end_k of rows first..first+rows of A. */
static void gather(float *a, const struct gemm *g, uint32_t first, uint32_t rows, uint32_t first_k, uint32_t end_k) {
    uint32_t places = g->out_h * g->out_w, n = first / places, i = first % places / g->out_w, j = first % g->out_w;
    uint32_t row = first_k / (g->kw * g->channels);
    for (uint32_t r = 0; r < rows; r++, a += A_ROW) {
        gather_window(a, g, g->x + (size_t)n * g->h * g->w * g->channels, (int64_t)i * g->stride - g->pad_top,
                      (int64_t)j * g->stride - g->pad_left, row, first_k, end_k);
        if (++j == g->out_w) {
            j = 0;
            if (++i == g->out_h) {
                i = 0;
                n++;
            }
        }
    }
}

/* ---- epilogue --------------------------------------------------------------------------------------------------- */

struct epilogue_row {
    const float *sums; /* of this row; the task's first column */
    const float *gate; /* GEGLU: sums of the second half */
    const float *vector, *residual;
    float *out;
};

static void epilogue_row(const struct gemm *g, const struct gemm_task *task, struct epilogue_row row) {
    const float *bias = g->bias == NULL ? NULL : g->bias + task->first_column;
    for (uint32_t c = 0; c < task->columns; c += LANES) {
        size_t count = task->columns - c;
        vec value = vec_load(row.sums + c);
        if (bias != NULL) {
            value += vec_load(bias + c);
        }
        if (g->activation == ACTIVATION_GEGLU) {
            vec gate = vec_load(row.gate + c);
            if (bias != NULL) {
                gate += vec_load(bias + g->columns + c);
            }
            value *= vec_gelu(gate);
        } else if (g->activation != ACTIVATION_NONE) {
            value = vec_activate(value, g->activation);
        }
        if (row.vector != NULL) {
            value += vec_load_upto(row.vector + c, count);
        }
        if (row.residual != NULL) {
            value += vec_load_upto(row.residual + c, count);
        }
        vec_store_upto(row.out + c, value, count);
    }
}

static void epilogue(const struct gemm *g, const struct gemm_task *task, const float *sums, size_t sum_row,
                     size_t gate) {
    uint32_t places = g->out_h * g->out_w;
    for (uint32_t r = 0; r < task->rows; r++, sums += sum_row) {
        size_t row = task->first_row + r, place = row * g->columns + task->first_column;
        epilogue_row(g, task,
                     (struct epilogue_row){
                         .sums = sums,
                         .gate = sums + gate,
                         .vector = g->vector == NULL ? NULL
                                                     : g->vector + row / places * g->vector_step + task->first_column,
                         .residual = g->residual == NULL ? NULL : g->residual + place,
                         .out = g->out + place,
                     });
    }
}

/* ---- the product ------------------------------------------------------------------------------------------------ */

static __attribute__((noinline)) void product_wide(uint32_t rows, float *c, size_t c_row, const float *a,
                                                   const float *b, size_t count, const char *ahead,
                                                   enum product_end end) {
    PRODUCT_SWITCH(rows, 2, c, c_row, a, A_ROW, 1, b, count, ahead, end, b)
}

static __attribute__((noinline)) void product_narrow(uint32_t rows, float *c, size_t c_row, const float *a,
                                                     const float *b, size_t count, const char *ahead,
                                                     enum product_end end) {
    PRODUCT_SWITCH(rows, 1, c, c_row, a, A_ROW, 1, b, count, ahead, end, b)
}

/* All rows of the block against `panels` panels of weights, `count` deep from first_k on. The first tiles ask for the
 * next panel's, a cache line at each k, the others for what the next task will gather. */
static void product_block(float *sums, size_t sum_row, struct gemm_scratch *s, uint32_t rows, const struct gemm *g,
                          uint32_t first_panel, uint32_t panels, uint32_t first_k, uint32_t count) {
    size_t width = g->weight_dtype == DTYPE_F32 ? sizeof(float) : sizeof(uint16_t), step = (size_t)g->k * PANEL * width;
    uint32_t weight_tiles = g->weight_dtype == DTYPE_F32 ? 2 : 1;
    const char *next = (const char *)g->weight + (size_t)first_panel * step + (size_t)first_k * PANEL * width;
    for (uint32_t p = 0; p < panels; p++) {
        const float *b = panel_rows(s->panel, g, (size_t)(first_panel + p) * g->k + first_k, count);
        next += p + 1 < panels ? step : 0;
        bool narrow = (first_panel + p) * PANEL + LANES >= g->weight_rows;
        for (uint32_t r = 0, take, tile = 0; r < rows; r += take, tile++) {
            take = tile_rows(rows - r);
            const char *ahead = next + (size_t)(tile % weight_tiles) * count * LINE;
            if (tile >= weight_tiles && s->ahead < s->ahead_end) {
                ahead = s->ahead;
                s->ahead += (size_t)count * LINE;
            }
            (narrow ? product_narrow : product_wide)(take, sums + r * sum_row + p * PANEL, sum_row,
                                                     s->a + (size_t)r * A_ROW, b, count, ahead,
                                                     first_k == 0 ? PRODUCT_STORE : PRODUCT_ADD);
        }
    }
}

void KERNEL(gemm)(const struct gemm *g, const struct gemm_task *task, void *memory);
void KERNEL(gemm)(const struct gemm *g, const struct gemm_task *task, void *memory) {
    struct gemm_scratch *scratch = memory;
    uint32_t first_panel = task->first_column / PANEL, panels = (task->columns + PANEL - 1) / PANEL;
    uint32_t gate_column = g->columns + task->first_column, gate_panel = gate_column / PANEL, gate_panels = 0;
    if (g->activation == ACTIVATION_GEGLU) {
        gate_panels = (gate_column + task->columns - 1) / PANEL + 1 - gate_panel;
    }
    size_t sum_row = (size_t)(panels + gate_panels) * PANEL + LANES;
    scratch->ahead = (const char *)task->ahead;
    scratch->ahead_end = (const char *)task->ahead_end;
    uint32_t blocks = (g->k + BLOCK_K - 1) / BLOCK_K, step = ((g->k + blocks - 1) / blocks + 7) / 8 * 8;
    for (uint32_t k = 0; k < g->k; k += step) {
        uint32_t end = k + step < g->k ? k + step : g->k;
        gather(scratch->a, g, task->first_row, task->rows, k, end);
        product_block(scratch->sums, sum_row, scratch, task->rows, g, first_panel, panels, k, end - k);
        product_block(scratch->sums + panels * PANEL, sum_row, scratch, task->rows, g, gate_panel, gate_panels, k,
                      end - k);
    }
    epilogue(g, task, scratch->sums, sum_row, (size_t)panels * PANEL + gate_column % PANEL);
}
