/*
 * cpu_class.c - the table of one instruction-set class; compiled once a class like the kernels it names.
 */
#include "pipeline/backend/cpu_kernels.h"
#include "pipeline/backend/cpu_vector.h"

size_t KERNEL(gemm_scratch_size)(void);
size_t KERNEL(attention_scratch)(uint32_t depth);
void KERNEL(gemm)(const struct gemm *gemm, const struct gemm_task *task, void *scratch);
void KERNEL(attention)(const struct attention *attention, uint32_t image, uint32_t head, uint32_t first_query,
                       void *scratch);
void KERNEL(norm_sum)(const struct norm *norm, uint32_t image, uint32_t chunk);
void KERNEL(norm_factors)(const struct norm *norm, uint32_t image);
void KERNEL(norm_apply)(const struct norm *norm, uint32_t image, uint32_t first_row, uint32_t rows);
void KERNEL(layer_norm)(const struct norm *norm, uint32_t first_row, uint32_t rows);

#if defined(__AVX512F__)
#define CLASS_NAME "cpu x86-64-v4"
#elif defined(__AVX2__) && defined(__FMA__)
#define CLASS_NAME "cpu x86-64-v3"
#else
#define CLASS_NAME "cpu generic"
#endif

const struct cpu_kernels KERNEL(cpu_kernels) = {
    .class_name = CLASS_NAME,
    .panel = PANEL,
    .gemm_scratch_size = KERNEL(gemm_scratch_size),
    .attention_scratch_size = KERNEL(attention_scratch),
    .gemm = KERNEL(gemm),
    .attention = KERNEL(attention),
    .norm_sum = KERNEL(norm_sum),
    .norm_factors = KERNEL(norm_factors),
    .norm_apply = KERNEL(norm_apply),
    .layer_norm = KERNEL(layer_norm),
};
