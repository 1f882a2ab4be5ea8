/*
 * elementwise.cu - what is left of a product once the library has made it (activation, GEGLU, an image's vector,
 * residual), embeddings, concatenation, conversion. A thread a pack of 16 bytes, or an element where rows are odd.
 */
#include "pipeline/backend/cuda/elements.cuh"

template <class T> __device__ static inline float activated(float x, enum activation activation) {
    switch (activation) {
    case ACTIVATION_SILU:
        return silu(x);
    case ACTIVATION_GELU:
        return gelu(x);
    case ACTIVATION_GELU_QUICK:
        return x / (1.0f + expf(x < -47.0f ? 80.0f : -1.702f * x));
    default:
        return x;
    }
}

/* Vector `i` of this step, or NULL: the step is past them. */
template <class T> __device__ static inline const T *vector_of(const struct step_vectors &v, size_t i) {
    uint32_t step = v.step == nullptr ? 0 : (uint32_t)*v.step;
    return v.step != nullptr && step >= v.steps ? nullptr : (const T *)v.data + ((size_t)step * v.count + i) * v.n;
}

template <class T, int V> __global__ void finish_kernel(struct finish f) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    uint32_t packs_in_row = f.n / V;
    if (item >= f.rows * packs_in_row) {
        return;
    }
    size_t row = item / packs_in_row, place = item * V;
    uint32_t column = (uint32_t)(item % packs_in_row) * V;
    float y[V], more[V];
    if (f.activation == ACTIVATION_GEGLU) {
        const T *x = (const T *)f.x + row * 2 * f.n + column;
        load<T, V>(y, x);
        load<T, V>(more, x + f.n);
        for (int i = 0; i < V; i++) {
            y[i] *= gelu(more[i]);
        }
    } else {
        load<T, V>(y, (const T *)f.x + place);
        for (int i = 0; i < V; i++) {
            y[i] = activated<T>(y[i], f.activation);
        }
    }
    if (f.vector.data != nullptr) {
        const T *vector = vector_of<T>(f.vector, row / (f.rows / f.vector.count));
        if (vector != nullptr) {
            load<T, V>(more, vector + column);
        }
        for (int i = 0; i < V; i++) {
            y[i] += vector == nullptr ? nanf("") : more[i];
        }
    }
    if (f.residual != nullptr) {
        load<T, V>(more, (const T *)f.residual + place);
        for (int i = 0; i < V; i++) {
            y[i] += more[i];
        }
    }
    store<T, V>((T *)f.y + place, y);
}

template <class T> static void finish_as(cudaStream_t stream, const struct finish *f) {
    constexpr int V = 16 / sizeof(T);
    if (packs<T>(f->n)) {
        launch(finish_kernel<T, V>, blocks_for(f->rows * (f->n / V)), BLOCK, stream, *f);
    } else {
        launch(finish_kernel<T, 1>, blocks_for(f->rows * f->n), BLOCK, stream, *f);
    }
}

void kernel_finish(cudaStream_t stream, enum dtype dtype, const struct finish *f) {
    by_dtype(dtype, [&](auto *type) { finish_as<std::decay_t<decltype(*type)>>(stream, f); });
}

/* ---- embeddings --------------------------------------------------------------------------------------------------- */

template <class T> __global__ void embed_kernel(struct embed e) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    if (item >= e.rows * e.width) {
        return;
    }
    size_t row = item / e.width, column = item % e.width;
    uint32_t id = (uint32_t)e.ids[row];
    float value = nanf("");
    if (id < e.vocabulary) {
        value = widen(((const T *)e.tokens)[id * (size_t)e.width + column]);
    } else if (id - e.vocabulary < e.added_count) {
        value = widen(((const T *)e.added)[(id - e.vocabulary) * (size_t)e.width + column]);
    }
    if (e.positions != nullptr) {
        value += widen(((const T *)e.positions)[row % e.length * e.width + column]);
    }
    narrow(&((T *)e.out)[item], value);
}

void kernel_embed(cudaStream_t stream, enum dtype dtype, const struct embed *embed) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        launch(embed_kernel<T>, blocks_for(embed->rows * embed->width), BLOCK, stream, *embed);
    });
}

/* ---- concatenation ------------------------------------------------------------------------------------------------- */

template <class T, int V>
__global__ void concat_kernel(T *out, const T *a, const T *b, size_t packs_in_all, uint32_t a_width, uint32_t b_width) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    if (item >= packs_in_all) {
        return;
    }
    uint32_t width = a_width + b_width;
    size_t row = item * V / width;
    uint32_t column = (uint32_t)(item * V % width);
    const T *from = column < a_width ? a + row * a_width + column : b + row * b_width + (column - a_width);
    *(pack<T, V> *)(out + item * V) = *(const pack<T, V> *)from;
}

void kernel_concat(cudaStream_t stream, enum dtype dtype, void *out, const void *a, const void *b, size_t rows, uint32_t a_width,
                   uint32_t b_width) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        constexpr int V = 16 / sizeof(T);
        size_t elements = rows * (a_width + b_width);
        if (packs<T>(a_width) && packs<T>(b_width)) {
            launch(concat_kernel<T, V>, blocks_for(elements / V), BLOCK, stream, (T *)out, (const T *)a, (const T *)b,
                   elements / V, a_width, b_width);
        } else {
            launch(concat_kernel<T, 1>, blocks_for(elements), BLOCK, stream, (T *)out, (const T *)a, (const T *)b, elements,
                   a_width, b_width);
        }
    });
}

/* ---- conversion, vectors -------------------------------------------------------------------------------------------- */

template <class To, class From> __global__ void convert_kernel(To *out, const From *x, size_t count, float factor) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    if (item < count) {
        narrow(&out[item], factor * widen(x[item]));
    }
}

void kernel_convert(cudaStream_t stream, void *out, enum dtype to, const void *x, enum dtype from, size_t count, float factor) {
    by_dtype(to, [&](auto *out_type) {
        by_dtype(from, [&](auto *in_type) {
            typedef std::decay_t<decltype(*out_type)> To;
            typedef std::decay_t<decltype(*in_type)> From;
            launch(convert_kernel<To, From>, blocks_for(count), BLOCK, stream, (To *)out, (const From *)x, count, factor);
        });
    });
}

template <class T> __global__ void sum_kernel(T *out, const T *a, const T *b, size_t a_count, size_t count, bool with_silu) {
    size_t item = (size_t)blockIdx.x * BLOCK + threadIdx.x;
    if (item < count) {
        float both = widen(a[item % a_count]) + widen(b[item]);
        narrow(&out[item], with_silu ? silu(both) : both);
    }
}

void kernel_sum(cudaStream_t stream, enum dtype dtype, void *out, const void *a, const void *b, size_t a_count, size_t count,
                bool silu) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        launch(sum_kernel<T>, blocks_for(count), BLOCK, stream, (T *)out, (const T *)a, (const T *)b, a_count, count, silu);
    });
}

template <class T> __global__ void add_vectors_kernel(T *out, const T *bias, struct step_vectors v) {
    uint32_t item = blockIdx.x * BLOCK + threadIdx.x;
    if (item < v.count * v.n) {
        const T *vector = vector_of<T>(v, 0);
        float add = vector == nullptr ? nanf("") : widen(vector[item]);
        narrow(&out[item], add + (bias == nullptr ? 0.0f : widen(bias[item % v.n])));
    }
}

void kernel_add_vectors(cudaStream_t stream, enum dtype dtype, void *out, const void *bias, const struct step_vectors *vectors) {
    by_dtype(dtype, [&](auto *type) {
        typedef std::decay_t<decltype(*type)> T;
        launch(add_vectors_kernel<T>, blocks_for((size_t)vectors->count * vectors->n), BLOCK, stream, (T *)out, (const T *)bias,
               *vectors);
    });
}
