/*
 * launch.cuh - the one place where a kernel is launched. tests/emulation defines EMULATED_CUDA and its own `launch`.
 */
#ifndef PIPELINE_BACKEND_CUDA_LAUNCH_CUH
#define PIPELINE_BACKEND_CUDA_LAUNCH_CUH

#ifndef EMULATED_CUDA
template <class... P, class... A>
static inline void launch(void (*kernel)(P...), dim3 grid, unsigned block, cudaStream_t stream, A... arguments) {
    kernel<<<grid, block, 0, stream>>>(static_cast<P>(arguments)...);
}
#endif

#endif
