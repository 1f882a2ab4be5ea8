/* fuzz_embedding.c - embeddings: which tensors, their shapes, their numbers. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "pipeline/weights/embedding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct error error;
    struct embedding embedding;
    if (embedding_read_memory(&embedding, data, size, "fuzz", &error) != ERR_OK)
        return 0;
    for (size_t part = 0; part < EMBEDDING_PARTS; part++)
        for (size_t i = 0; i < (size_t)embedding.count * embedding.widths[part]; i++)
            if (!isfinite(embedding.vectors[part][i]))
                __builtin_trap();
    if (embedding.count < 1 || embedding.count > EMBEDDING_VECTORS_LIMIT || embedding.paired != (embedding.widths[EMBEDDING_SECOND] > 0))
        __builtin_trap();
    embedding_release(&embedding);
    return 0;
}
