/* fuzz_lora.c - LoRA files: keys, metadata, shapes. */
#include <stddef.h>
#include <stdint.h>

#include "pipeline/weights/lora.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error error;
    struct loras *loras;
    if (loras_open_memory(&loras, data, size, "fuzz", &error) != ERR_OK)
        return 0;
    if (loras_check_used(loras, &error) == ERR_OK) /* no component was attached: nothing can be used */
        __builtin_trap();
    loras_close(loras);
    return 0;
}
