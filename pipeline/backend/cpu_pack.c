/*
 * cpu_pack.c - weights from the file's order into the panels that cpu_gemm.c reads: [panel][K][width], K in the order
 * kernel row, kernel column, channel; columns beyond the last are zero. Numbers are moved, never looked at.
 */
#include <string.h>

#include "pipeline/backend/cpu_kernels.h"
#include "pipeline/backend/op.h"

enum { PACK_CHANNELS = 64 }; /* channels of a panel at a time: what they write stays in the L1 cache */

/* Row `i` of a panel, channels first..end of all taps. `size` is a constant where this is inlined. */
static inline __attribute__((always_inline)) void pack_row(char *to, const char *from, const struct weight *weight,
                                                           uint32_t width, uint32_t first, uint32_t end,
                                                           const size_t size) {
    size_t taps = (size_t)weight->kh * weight->kw, step = width * size;
    if (taps == 1) {
        for (size_t c = first; c < end; c++) {
            memcpy(to + c * step, from + c * size, size);
        }
        return;
    }
    for (size_t c = first; c < end; c++) {
        for (size_t tap = 0; tap < taps; tap++) {
            memcpy(to + (tap * weight->cin + c) * step, from + (c * taps + tap) * size, size);
        }
    }
}

static inline __attribute__((always_inline)) void pack(char *panels, const char *plain, const struct weight *weight,
                                                       uint32_t width, const size_t size) {
    size_t row_size = weight->columns * size;
    for (uint32_t row = 0; row < weight->rows; row += width, panels += width * row_size) {
        uint32_t rows = weight->rows - row < width ? weight->rows - row : width;
        if (rows < width) {
            memset(panels, 0, width * row_size);
        }
        for (uint32_t first = 0; first < weight->cin; first += PACK_CHANNELS) {
            uint32_t end = weight->cin - first < PACK_CHANNELS ? weight->cin : first + PACK_CHANNELS;
            for (uint32_t i = 0; i < rows; i++) {
                pack_row(panels + i * size, plain + (row + i) * row_size, weight, width, first, end, size);
            }
        }
    }
}

void cpu_pack(void *panels, const void *plain, const struct weight *weight, uint32_t width) {
    if (dtype_size(weight->dtype) == sizeof(uint16_t)) {
        pack(panels, plain, weight, width, sizeof(uint16_t));
    } else {
        pack(panels, plain, weight, width, sizeof(float));
    }
}
