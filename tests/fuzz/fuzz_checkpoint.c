/* fuzz_checkpoint.c - single files: which layout, what the shapes say, whose the tensors are. */
#include <stddef.h>
#include <stdint.h>

#include "pipeline/weights/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const PARTS[] = { "unet", "vae", "text_encoder", "text_encoder_2" };
    struct error error;
    struct checkpoint *checkpoint;
    if (checkpoint_open_memory(&checkpoint, data, size, "fuzz", &error) != ERR_OK)
        return 0;
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) {
        struct component *component;
        if (checkpoint_component(&component, checkpoint, PARTS[i], &error) != ERR_OK)
            continue;
        struct weight_view view;
        (void)!component_tensor(&view, component, "conv_in.weight", 0, NULL, &error);
        (void)!component_tensor(&view, component, "text_projection.weight", 0, NULL, &error);
        (void)!component_check_all_used(component, &error);
        component_close(component);
    }
    checkpoint_close(checkpoint);
    return 0;
}
