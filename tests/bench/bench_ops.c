/*
 * bench_ops - how fast the cpu backend's ops are on the shapes that decide, as a share of this machine's peak, beside
 * OpenBLAS's matrix product of the same sizes (its time leaves out what a convolution must gather first).
 *
 *   bench_ops [threads] [part of a name] [f32|f16|bf16]    the last: how weights are kept
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline/backend/backend.h"
#include "tests/bench/peak.h"

#ifdef HAVE_OPENBLAS
#include <cblas.h>
#endif

enum shape_kind { LINEAR, CONV, GEGLU, ATTENTION, GROUP_NORM, LAYER_NORM };

struct shape {
    const char *name;
    enum shape_kind kind;
    uint32_t n, h, w, c; /* tokens: h = T, w = 1 */
    uint32_t cout;       /* ATTENTION: heads */
    uint32_t kernel;     /* ATTENTION: keys, 0: self; CONV: 1 or 3 */
    uint32_t resize;     /* CONV: to this height and width first */
};

static const struct shape shapes[] = {
    { "demo conv 16x16 64", CONV, 32, 16, 16, 64, 64, 3, 0 },
    { "demo conv 16x16 128>64", CONV, 32, 16, 16, 128, 64, 3, 0 },
    { "demo conv 8x8 128", CONV, 32, 8, 8, 128, 128, 3, 0 },
    { "demo conv 8x8 320>128", CONV, 32, 8, 8, 320, 128, 3, 0 },
    { "demo conv 4x4 192", CONV, 32, 4, 4, 192, 192, 3, 0 },
    { "demo conv 4x4 384>192", CONV, 32, 4, 4, 384, 192, 3, 0 },
    { "demo conv 4x4 192 n2", CONV, 2, 4, 4, 192, 192, 3, 0 },
    { "demo conv 16x16 64 n2", CONV, 2, 16, 16, 64, 64, 3, 0 },
    { "demo conv_in 4>64", CONV, 32, 16, 16, 4, 64, 3, 0 },
    { "demo conv_out 64>4", CONV, 32, 16, 16, 64, 4, 3, 0 },
    { "demo up 8>16 128", CONV, 32, 8, 8, 128, 128, 3, 16 },
    { "demo linear 64>192", LINEAR, 32, 256, 1, 64, 192, 1, 0 },
    { "demo linear 64>64", LINEAR, 32, 256, 1, 64, 64, 1, 0 },
    { "demo geglu 64>256", GEGLU, 32, 256, 1, 64, 512, 1, 0 },
    { "demo geglu 192>768", GEGLU, 32, 16, 1, 192, 1536, 1, 0 },
    { "demo self 256 d16", ATTENTION, 32, 256, 1, 64, 4, 0, 0 },
    { "demo self 64 d32", ATTENTION, 32, 64, 1, 128, 4, 0, 0 },
    { "demo self 16 d48", ATTENTION, 32, 16, 1, 192, 4, 0, 0 },
    { "demo cross 256 d16", ATTENTION, 32, 256, 1, 64, 4, 77, 0 },
    { "demo cross 16 d48", ATTENTION, 32, 16, 1, 192, 4, 77, 0 },
    { "demo group norm 16x16 64", GROUP_NORM, 32, 16, 16, 64, 32, 0, 0 },
    { "demo layer norm 256 64", LAYER_NORM, 32, 256, 1, 64, 0, 0, 0 },
    { "demo vae conv 16x16 96", CONV, 16, 16, 16, 96, 96, 3, 0 },
    { "demo vae conv 32x32 64", CONV, 16, 32, 32, 64, 64, 3, 0 },
    { "demo vae conv 64x64 32", CONV, 16, 64, 64, 32, 32, 3, 0 },
    { "demo vae up 32>64 64", CONV, 16, 32, 32, 64, 64, 3, 64 },
    { "demo vae conv_out 32>3", CONV, 16, 64, 64, 32, 3, 3, 0 },
    { "demo vae group norm 64x64 32", GROUP_NORM, 16, 64, 64, 32, 16, 0, 0 },
    { "sd conv 64x64 320", CONV, 2, 64, 64, 320, 320, 3, 0 },
    { "sd conv 32x32 640", CONV, 2, 32, 32, 640, 640, 3, 0 },
    { "sd conv 16x16 1280", CONV, 2, 16, 16, 1280, 1280, 3, 0 },
    { "sd conv 8x8 1280", CONV, 2, 8, 8, 1280, 1280, 3, 0 },
    { "sd conv 8x8 2560>1280", CONV, 2, 8, 8, 2560, 1280, 3, 0 },
    { "sd conv 4x4 1280", CONV, 2, 4, 4, 1280, 1280, 3, 0 },
    { "sd conv 4x4 2560>1280", CONV, 2, 4, 4, 2560, 1280, 3, 0 },
    { "sd conv1 64x64 960>320", CONV, 2, 64, 64, 960, 320, 1, 0 },
    { "sd linear 4096 320", LINEAR, 2, 4096, 1, 320, 320, 1, 0 },
    { "sd linear 256 1280", LINEAR, 2, 256, 1, 1280, 1280, 1, 0 },
    { "sd geglu 4096 320>1280", GEGLU, 2, 4096, 1, 320, 2560, 1, 0 },
    { "sd geglu 256 1280>5120", GEGLU, 2, 256, 1, 1280, 10240, 1, 0 },
    { "sd time 1 1280", LINEAR, 1, 1, 1, 1280, 1280, 1, 0 },
    { "sd self 4096 d40", ATTENTION, 2, 4096, 1, 320, 8, 0, 0 },
    { "sd self 1024 d80", ATTENTION, 2, 1024, 1, 640, 8, 0, 0 },
    { "sd self 256 d160", ATTENTION, 2, 256, 1, 1280, 8, 0, 0 },
    { "sd cross 4096 d40", ATTENTION, 2, 4096, 1, 320, 8, 77, 0 },
    { "sd group norm 64x64 320", GROUP_NORM, 2, 64, 64, 320, 32, 0, 0 },
    { "sd layer norm 4096 320", LAYER_NORM, 2, 4096, 1, 320, 0, 0, 0 },
    { "sd vae self 4096 d512", ATTENTION, 1, 4096, 1, 512, 1, 0, 0 },
    { "sd vae conv 64x64 512", CONV, 1, 64, 64, 512, 512, 3, 0 },
    { "sd vae conv 256x256 256", CONV, 1, 256, 256, 256, 256, 3, 0 },
    { "sd vae up 128>256 512", CONV, 1, 128, 128, 512, 512, 3, 256 },
    { "sd vae conv 512x512 128", CONV, 1, 512, 512, 128, 128, 3, 0 },
    { "sd vae conv_out 512x512 128>3", CONV, 1, 512, 512, 128, 3, 3, 0 },
    { "sd vae group norm 512x512 128", GROUP_NORM, 1, 512, 512, 128, 32, 0, 0 },
};

static enum dtype weight_dtype = DTYPE_F32;

static void must(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fprintf(stderr, "bench_ops: %s\n", error->message);
        exit(1);
    }
}

static struct weight *make_weight(struct backend *backend, enum weight_use use, uint64_t rows, uint64_t cin,
                                  uint64_t kernel) {
    size_t count = rows * cin * kernel * kernel;
    void *numbers = malloc(count * dtype_size(weight_dtype));
    for (size_t i = 0; i < count; i++) {
        if (weight_dtype == DTYPE_F32) {
            ((float *)numbers)[i] = (float)(i * 2654435761u % 2048) / 1024.0f - 1.0f;
        } else { /* between 1 and 2 as f16, 0.008 and 2 as bf16 */
            ((uint16_t *)numbers)[i] = (uint16_t)(0x3c00 + i * 2654435761u % 1024);
        }
    }
    struct weight_view view = { .data = numbers, .dtype = weight_dtype, .shape = { rows, cin, kernel, kernel } };
    view.dims = use == WEIGHT_VECTOR ? 1 : use == WEIGHT_CONV ? 4 : 2;
    struct weight *weight = NULL;
    struct error error;
    must(weight_create(&weight, backend, use, &view, 1, &error), &error);
    free(numbers);
    return weight;
}

/* Room of `floats` numbers between -1 and 1. */
static struct buffer *make_buffer(struct backend *backend, size_t size) {
    struct buffer *buffer = NULL;
    struct error error;
    must(buffer_create(&buffer, backend, size, &error), &error);
    float *numbers = malloc(size + sizeof *numbers);
    for (size_t i = 0; i < size / sizeof *numbers + 1; i++) {
        numbers[i] = (float)(i * 2654435761u % 2048) / 1024.0f - 1.0f;
    }
    buffer_upload(buffer, 0, numbers, size);
    free(numbers);
    return buffer;
}

struct bench {
    struct program *program;
    struct weight *weight, *bias;
    struct buffer *x, *keys, *scratch;
};

static void record(struct bench *b, struct backend *backend, const struct shape *s) {
    uint32_t width = s->kind == ATTENTION && s->kernel == 0 ? 3 * s->c : s->c;
    b->program = program_create(backend);
    b->x = make_buffer(backend, (size_t)s->n * s->h * s->w * width * sizeof(float));
    struct tensor x = program_bind(b->program, b->x, 0, s->n, s->h, s->w, width);
    struct conv_options conv = { .stride = 1, .resize_h = s->resize, .resize_w = s->resize, .vector = TENSOR_NONE,
                                 .residual = TENSOR_NONE };
    conv.pad_top = conv.pad_left = conv.pad_bottom = conv.pad_right = s->kernel / 2;
    switch (s->kind) {
    case CONV:
        b->weight = make_weight(backend, WEIGHT_CONV, s->cout, s->c, s->kernel);
        b->bias = make_weight(backend, WEIGHT_VECTOR, s->cout, 1, 1);
        op_conv(b->program, x, b->weight, b->bias, &conv);
        break;
    case LINEAR:
    case GEGLU:
        b->weight = make_weight(backend, WEIGHT_LINEAR, s->cout, s->c, 1);
        b->bias = make_weight(backend, WEIGHT_VECTOR, s->cout, 1, 1);
        op_linear(b->program, x, b->weight, b->bias, s->kind == GEGLU ? ACTIVATION_GEGLU : ACTIVATION_NONE,
                  TENSOR_NONE);
        break;
    case ATTENTION:
        if (s->kernel == 0) {
            op_attention(b->program, tensor_slice(x, 0, s->c), tensor_slice(x, s->c, s->c),
                         tensor_slice(x, 2 * s->c, s->c), TENSOR_NONE, s->cout, false);
            break;
        }
        b->keys = make_buffer(backend, (size_t)s->n * s->kernel * s->c * 2 * sizeof(float));
        struct tensor keys = program_bind(b->program, b->keys, 0, s->n, s->kernel, 1, 2 * s->c);
        op_attention(b->program, x, tensor_slice(keys, 0, s->c), tensor_slice(keys, s->c, s->c), TENSOR_NONE, s->cout,
                     false);
        break;
    case GROUP_NORM:
    case LAYER_NORM:
        b->weight = make_weight(backend, WEIGHT_VECTOR, s->c, 1, 1);
        b->bias = make_weight(backend, WEIGHT_VECTOR, s->c, 1, 1);
        if (s->kind == GROUP_NORM) {
            op_group_norm(b->program, x, b->weight, b->bias, s->cout, 1e-5f, true);
        } else {
            op_layer_norm(b->program, x, b->weight, b->bias, 1e-5f);
        }
        break;
    }
    program_finish(b->program);
    b->scratch = make_buffer(backend, program_memory(b->program));
    program_attach(b->program, b->scratch);
}

static void release(struct bench *b) {
    program_destroy(b->program);
    weight_destroy(b->weight);
    weight_destroy(b->bias);
    buffer_destroy(b->x);
    buffer_destroy(b->keys);
    buffer_destroy(b->scratch);
}

static double flops_of(const struct shape *s) {
    double rows = (double)s->n * (s->resize ? s->resize * s->resize : s->h * s->w);
    switch (s->kind) {
    case CONV:
        return 2.0 * rows * s->c * s->kernel * s->kernel * s->cout;
    case LINEAR:
    case GEGLU:
        return 2.0 * rows * s->c * s->cout;
    case ATTENTION:
        return 4.0 * rows * s->c * (s->kernel ? s->kernel : s->h);
    default:
        return 0.0;
    }
}

/* Best of many runs over about half a second. */
static double seconds_of(struct backend *backend, struct program *program) {
    double best = 1e9, end = seconds_now() + 0.4;
    for (int run = 0; run < 3 || seconds_now() < end; run++) {
        double start = seconds_now();
        program_run(program);
        backend_wait(backend);
        double took = seconds_now() - start;
        best = took < best ? took : best;
    }
    return best;
}

#ifdef HAVE_OPENBLAS
static double seconds_of_blas(const struct shape *s) {
    int m = (int)(s->n * (s->resize ? s->resize * s->resize : s->h * s->w)), n = (int)s->cout;
    int k = (int)(s->c * s->kernel * s->kernel);
    float *a = malloc((size_t)m * (size_t)k * sizeof *a), *b = malloc((size_t)n * (size_t)k * sizeof *b);
    float *c = malloc((size_t)m * (size_t)n * sizeof *c);
    for (size_t i = 0; i < (size_t)m * (size_t)k; i++) {
        a[i] = (float)(i % 7) - 3.0f;
    }
    for (size_t i = 0; i < (size_t)n * (size_t)k; i++) {
        b[i] = (float)(i % 5) - 2.0f;
    }
    double best = 1e9, end = seconds_now() + 0.3;
    for (int run = 0; run < 3 || seconds_now() < end; run++) {
        double start = seconds_now();
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1.0f, a, k, b, k, 0.0f, c, n);
        double took = seconds_now() - start;
        best = took < best ? took : best;
    }
    free(a);
    free(b);
    free(c);
    return best;
}
#endif

static void print_shape(struct backend *backend, const struct shape *s, double peak) {
    struct bench b = { 0 };
    record(&b, backend, s);
    double seconds = seconds_of(backend, b.program), flops = flops_of(s);
    release(&b);
    printf("%-32s %10.1f us", s->name, seconds * 1e6);
    if (flops == 0.0) {
        printf(" %9.1f GB/s\n", 8.0 * s->n * s->h * s->w * s->c / seconds * 1e-9);
        return;
    }
    printf(" %8.1f GFLOP/s  %3.0f %%", flops / seconds * 1e-9, 100.0 * flops / seconds * 1e-9 / peak);
#ifdef HAVE_OPENBLAS
    if (s->kind != ATTENTION && flops < 1e11) {
        printf("   OpenBLAS %8.1f", flops / seconds_of_blas(s) * 1e-9);
    }
#endif
    printf("\n");
    fflush(stdout);
}

int main(int argc, char **argv) {
    uint32_t threads = argc > 1 ? (uint32_t)atoi(argv[1]) : 0;
    if (argc > 3) {
        weight_dtype = strcmp(argv[3], "f16") == 0 ? DTYPE_F16 : strcmp(argv[3], "bf16") == 0 ? DTYPE_BF16 : DTYPE_F32;
    }
    struct backend *backend = NULL;
    struct error error;
    must(backend_create(&backend, "cpu", DTYPE_F32, threads, &error), &error);
    double peak = peak_measure(backend_threads(backend));
    printf("%s, %u threads, peak %.0f GFLOP/s\n", backend_class(backend), backend_threads(backend), peak);
#ifdef HAVE_OPENBLAS
    openblas_set_num_threads((int)backend_threads(backend));
    printf("OpenBLAS kernels: %s, %s\n", openblas_get_corename(),
           openblas_get_parallel() == OPENBLAS_SEQUENTIAL ? "one thread" : "as many threads");
#endif
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (argc < 3 || strstr(shapes[i].name, argv[2]) != NULL) {
            print_shape(backend, &shapes[i], peak);
        }
    }
    backend_destroy(backend);
    return 0;
}
