/*
 * emulation.h - what the emulated machine has, and when it fails. For tests; a program takes it from the environment:
 * EMULATED_CUDA="devices=2 memory=1000000 driver=13000 fail_after=200 choosy=1", each part optional.
 */
#ifndef TESTS_EMULATION_EMULATION_H
#define TESTS_EMULATION_EMULATION_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct emulation {
    int devices;
    int driver;           /* 13000; 0: there is none */
    uint64_t memory_bytes; /* of each card */
    uint64_t fail_after;  /* the card vanishes after so many kernels and copies more; 0: never */
    int choosy;           /* 1: libraries choose by size, as real ones do: a product's bytes hang on how many rows it has */
};

struct emulation emulation_default(void);
void emulation_set(const struct emulation *emulation);
uint64_t emulation_memory_held(void); /* bytes not freed, of all cards */
uint64_t emulation_graph_launches(void);
uint64_t emulation_waits(void); /* how often the host waited for a card that had something to do */
int emulation_is_choosy(void);

#ifdef __cplusplus
}

#include <functional>

#include "cuda_runtime_api.h"

/* Append work to a stream or to what it captures. */
void emulation_enqueue(cudaStream_t stream, std::function<void()> work);
struct dim3;
/* Run one block after the other, each with all its threads. */
void emulation_run_grid(dim3 grid, unsigned block, const std::function<void()> &thread);
/* Barriers, from inside of a thread. */
void emulation_block_barrier(void);
void emulation_warp_barrier(void);
extern __thread void *emulation_warp_values; /* [32] of 8 bytes, of the warp that runs */
extern __thread unsigned emulation_lane;
#endif
#endif
