/*
 * step.cu - where a step begins and ends: the timestep's sinusoids, the latents as the U-Net sees them, guidance and the
 * sampler's update, pixels.
 *
 * The same double arithmetic as host_ops.c. The row of the step table is named by a counter on the device.
 */
#include "pipeline/backend/cuda/elements.cuh"

enum { UPDATE = 512 /* threads of an image's update */ };

/* As diffusers: exponent, frequency and angle are rounded to f32 (host_ops.c). */
template <class T> __global__ void timestep_kernel(T *out, const struct step_row *table, uint32_t rows, uint32_t copies,
                                                   uint32_t dim, bool flip, float shift) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    if (item >= (size_t)rows * dim) {
        return;
    }
    uint32_t half = dim / 2, row = (uint32_t)(item / dim), column = (uint32_t)(item % dim);
    bool sine = (column < half) != flip;
    float exponent = (float)-9.210340371976184 * (float)(column % half) / ((float)half - shift);
    float angle = table[row / copies].timestep * (float)exp((double)exponent);
    narrow(&out[item], column == 2 * half ? 0.0f : (float)(sine ? sin((double)angle) : cos((double)angle)));
}

void kernel_timestep(cudaStream_t stream, enum dtype dtype, void *out, const struct step_row *table, uint32_t rows,
                     uint32_t copies, uint32_t dim, bool flip_sin_to_cos, float frequency_shift) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        launch(timestep_kernel<T>, blocks_for((size_t)rows * dim), BLOCK, stream, (T *)out, table, rows, copies, dim,
               flip_sin_to_cos, frequency_shift);
    });
}

template <class T> __global__ void latent_input_kernel(T *out, const float *latent, const struct step_row *table,
                                                       const int32_t *counter, uint32_t steps, size_t count, uint32_t copies) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    uint32_t step = (uint32_t)*counter;
    if (item >= count) {
        return;
    }
    float value = (step < steps ? table[step].input_scale : nanf("")) * latent[item];
    for (uint32_t i = 0; i < copies; i++) {
        narrow(&out[i * count + item], value);
    }
}

void kernel_latent_input(cudaStream_t stream, enum dtype dtype, void *out, const float *latent, const struct step_row *table,
                         const int32_t *counter, uint32_t steps, size_t count, uint32_t copies) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        launch(latent_input_kernel<T>, blocks_for(count), BLOCK, stream, (T *)out, latent, table, counter, steps, count,
               copies);
    });
}

/* ---- update --------------------------------------------------------------------------------------------------------- */

/* One image of an update; the formulas are backend.h's, the order of sums that of the block's threads. */
template <class T> struct image {
    const T *model, *prompted; /* prompted: NULL where unguided */
    const float *x;
    size_t count;
    double cfg, factor;
    double belief_x, belief_model;

    __device__ double guided(size_t i) const {
        double e = (double)widen(model[i]);
        return prompted == nullptr ? e : factor * (e + cfg * ((double)widen(prompted[i]) - e));
    }
    __device__ double belief(double now, double e) const {
        return belief_x * now + belief_model * e;
    }
    __device__ double believed(size_t i) const {
        return belief((double)x[i], guided(i));
    }
};

/* Of all threads, in every one. */
__device__ static double sum_of_block(double value, double *shared) {
    value = warp_sum(value);
    if (threadIdx.x % WARP == 0) {
        shared[threadIdx.x / WARP] = value;
    }
    __syncthreads();
    double sum = 0.0;
    for (unsigned i = 0; i < UPDATE / WARP; i++) {
        sum += shared[i];
    }
    __syncthreads();
    return sum;
}

/* Root of the sum of squares about the mean, of the prompted or the guided prediction. */
template <class T> __device__ static double deviation(const image<T> &im, bool guided, double *shared) {
    double sum = 0.0, squares = 0.0;
    for (size_t i = threadIdx.x; i < im.count; i += UPDATE) {
        sum += guided ? im.guided(i) : (double)widen(im.prompted[i]);
    }
    double mean = sum_of_block(sum, shared) / (double)im.count;
    for (size_t i = threadIdx.x; i < im.count; i += UPDATE) {
        double off = (guided ? im.guided(i) : (double)widen(im.prompted[i])) - mean;
        squares += off * off;
    }
    return sqrt(sum_of_block(squares, shared));
}

/* The k-th smallest |z| of the image, bit by bit from the highest (host_ops.c). */
template <class T> __device__ static float kth_magnitude(const image<T> &im, size_t k, double *shared) {
    uint32_t found = 0;
    for (uint32_t bit = 1u << 30; bit != 0; bit >>= 1) {
        double below = 0.0;
        for (size_t i = threadIdx.x; i < im.count; i += UPDATE) {
            below += __float_as_uint(fabsf((float)im.believed(i))) < (found | bit) ? 1.0 : 0.0;
        }
        found |= sum_of_block(below, shared) <= (double)k ? bit : 0;
    }
    return __uint_as_float(found);
}

template <class T>
__device__ static double threshold(const image<T> &im, const struct step_row &row, double *shared) {
    double place = (double)row.quantile * (double)(im.count - 1), whole = floor(place);
    double low = kth_magnitude(im, (size_t)whole, shared);
    double high = place > whole ? kth_magnitude(im, (size_t)whole + 1, shared) : low;
    return fmin(fmax(low + (place - whole) * (high - low), 1.0), (double)row.limit);
}

/* As host_ops.c: what is kept at value i of the image, or `drawn`. */
__device__ static double keep(const struct cuda_update &u, const struct step_row &row, size_t i, double drawn) {
    size_t place = (blockIdx.x * u.image + i) / u.channels, channel = i % u.channels;
    const float *picture = u.kept + place * (2 * u.channels + 1), *noise = picture + u.channels;
    double kept = (double)row.kept_picture * (double)picture[channel] + (double)row.kept_noise * (double)noise[channel];
    return noise[u.channels] == 0.0f ? kept : drawn;
}

/* A block an image. */
template <class T> __global__ void update_kernel(struct cuda_update u) {
    __shared__ double shared[UPDATE / WARP];
    uint32_t step = (uint32_t)*u.counter;
    size_t first = blockIdx.x * u.image;
    float *x = u.latent + first;
    if (step >= u.steps) { /* every thread */
        for (size_t i = threadIdx.x; i < u.image; i += UPDATE) {
            x[i] = nanf("");
        }
        return;
    }
    const struct step_row row = u.table[step];
    const float *guidance = u.guidance == nullptr ? nullptr : u.guidance + 2 * blockIdx.x;
    image<T> im = { (const T *)u.prediction + first, nullptr, x, u.image, 1.0, 1.0, row.belief_x, row.belief_model };
    if (guidance != nullptr) { /* unconditioned first */
        im.prompted = im.model + u.images * u.image;
        im.cfg = guidance[0];
        if (guidance[1] != 0.0f) {
            double prompted = deviation(im, false, shared), guided = deviation(im, true, shared);
            im.factor = 1.0 + (double)guidance[1] * (prompted / guided - 1.0);
        }
    }
    double limit = row.limit == 0.0f ? INFINITY : row.limit, scale = 1.0;
    if (row.quantile != 0.0f) {
        limit = scale = threshold(im, row, shared);
    }
    float *history = u.history == nullptr ? nullptr : u.history + first;
    float *belief = u.belief == nullptr ? nullptr : u.belief + first;
    const float *noise = u.noise == nullptr ? nullptr : u.noise + (size_t)step * u.images * u.image + first;
    for (size_t i = threadIdx.x; i < u.image; i += UPDATE) {
        double e = im.guided(i), now = x[i], z = im.belief(now, e);
        z = (z < -limit ? -limit : z > limit ? limit : z) / scale;
        double next = (double)row.x_scale * now + (double)row.model * e + (double)row.belief * z;
        if (history != nullptr) {
            double before = history[i];
            next += (double)row.history * before;
            history[i] = (float)((double)row.history_x * now + (double)row.history_model * e +
                                 (double)row.history_belief * z + (double)row.history_keep * before);
        }
        if (noise != nullptr) {
            next += (double)row.noise * (double)noise[i];
        }
        if (belief != nullptr) {
            belief[i] = (float)z;
        }
        if (u.kept != nullptr) {
            next = keep(u, row, i, next);
        }
        x[i] = (float)next;
    }
}

/* After the last thread of the update has read it. */
__global__ void advance_kernel(int32_t *counter) {
    (*counter)++;
}

void kernel_update(cudaStream_t stream, enum dtype dtype, const struct cuda_update *update) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        launch(update_kernel<T>, update->images, UPDATE, stream, *update);
    });
    launch(advance_kernel, 1, 1, stream, update->counter);
}

/* ---- pixels --------------------------------------------------------------------------------------------------------- */

/* Blocks (part of an image, image). */
template <class T> __global__ void pixels_kernel(uint8_t *pixels, float *unit, int32_t *bad, const T *image, size_t size) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x, place = blockIdx.y * size + item;
    if (item >= size) {
        return;
    }
    float x = widen(image[place]), value = x / 2.0f + 0.5f;
    if (!isfinite(x)) {
        atomicAdd(&bad[blockIdx.y], 1);
    }
    value = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
    if (unit != nullptr) {
        unit[place] = value;
    }
    pixels[place] = value != value ? 0 : (uint8_t)rintf(255.0f * value); /* half to even */
}

void kernel_pixels(cudaStream_t stream, enum dtype dtype, uint8_t *pixels, float *unit, int32_t *bad, const void *image,
                   uint32_t n, size_t size) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        launch(pixels_kernel<T>, dim3(blocks_for(size), n), BLOCK, stream, pixels, unit, bad, (const T *)image, size);
    });
}
