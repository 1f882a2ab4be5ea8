/*
 * cpu.c - the fast device: own kernels for the instruction set at hand.
 */
#include "pipeline/backend/op.h"

enum err cpu_create(struct backend **backend, uint32_t threads, struct error *error) {
    (void)backend;
    (void)threads;
    return error_set(error, ERR_UNSUPPORTED, "device \"cpu\": its kernels are not built yet");
}
