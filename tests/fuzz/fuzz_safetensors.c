/* fuzz_safetensors.c - any bytes as a model file: refused with a sentence, or every view lies within them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/weights/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t view_bytes(const struct weight_view *view) {
    static const size_t WIDTH[] = { [DTYPE_F32] = 4, [DTYPE_F16] = 2, [DTYPE_BF16] = 2, [DTYPE_I32] = 4, [DTYPE_U8] = 1 };
    size_t bytes = WIDTH[view->dtype];
    for (uint32_t i = 0; i < view->dims; i++)
        bytes *= view->shape[i];
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct safetensors *file = NULL;
    struct error error = { 0 };
    enum err err = safetensors_open_memory(&file, data, size, "fuzz", &error);
    if (err != ERR_OK) {
        if (file || error.code != err || !error.message[0])
            abort();
        return 0;
    }
    for (size_t i = 0; i < safetensors_count(file); i++) {
        struct weight_view view;
        volatile uint8_t sum = 0;
        if (safetensors_view(&view, file, safetensors_name(file, i), &error) != ERR_OK)
            continue;
        for (size_t j = 0; j < view_bytes(&view); j++)
            sum = (uint8_t)(sum + ((const uint8_t *)view.data)[j]);
    }
    safetensors_close(file);
    return 0;
}
