/* enqueue.h - work in C for an emulated stream: `call` runs with a copy of the context. */
#ifndef TESTS_EMULATION_ENQUEUE_H
#define TESTS_EMULATION_ENQUEUE_H

#include "cuda_runtime_api.h"

#ifdef __cplusplus
extern "C"
#endif
void emulation_enqueue_call(cudaStream_t stream, void (*call)(void *context), const void *context, size_t size);

#endif
