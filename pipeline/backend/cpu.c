/*
 * cpu.c - the fast device of the host: picks the kernels of this machine's instruction set, cuts each op into tasks
 * and hands them to the pool.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/machine.h"
#include "pipeline/backend/cpu_kernels.h"
#include "pipeline/backend/cpu_pool.h"
#include "pipeline/backend/op.h"

enum {
    VECTOR_PADDING = 16, /* floats behind a bias, so that kernels may read whole vectors */
    ROWS_SPLIT = 48,      /* tasks of fewer rows are not cut further */
    TASKS_PER_THREAD = 6, /* so that the last ones end at about the same time */
};

struct cpu {
    struct backend backend;
    const struct cpu_kernels *kernels;
    struct pool *pool;
    char *scratch; /* of all threads */
    size_t scratch_step;
    atomic_bool running; /* one program at a time: threads and scratch are shared */
};

static const struct cpu *cpu_of(const struct backend *backend) {
    return (const struct cpu *)backend;
}

static size_t align_up(size_t size) {
    return (size + 63) / 64 * 64;
}

static uint32_t ceil_div(uint32_t a, uint32_t b) {
    return (a + b - 1) / b;
}

static const void *input_data(const struct program *program, struct tensor tensor) {
    return tensor_exists(tensor) ? program_data(program, tensor) : NULL;
}

/* ---- linear and convolution ------------------------------------------------------------------------------------- */

struct gemm_run {
    const struct cpu *cpu;
    struct gemm gemm;
    uint32_t rows, columns;     /* of a task */
    uint32_t row_tasks;
};

/* Rows inside, columns outside: the weights of one run of columns stay in cache while all rows pass by. */
static void gemm_task(void *context, uint32_t task, uint32_t thread) {
    const struct gemm_run *run = context;
    uint32_t row = task % run->row_tasks * run->rows, column = task / run->row_tasks * run->columns;
    uint32_t rows_left = run->gemm.rows - row, columns_left = run->gemm.columns - column;
    struct gemm_task rectangle = {
        .first_row = row,
        .rows = rows_left < run->rows ? rows_left : run->rows,
        .first_column = column,
        .columns = columns_left < run->columns ? columns_left : run->columns,
    };
    if (run->gemm.stride == 1 && run->gemm.resize_h == 0) {
        size_t next = row + (size_t)run->rows * run->cpu->backend.threads, end = next + run->rows;
        next = next < run->gemm.rows ? next : run->gemm.rows;
        end = end < run->gemm.rows ? end : run->gemm.rows;
        rectangle.ahead = run->gemm.x + next * run->gemm.channels;
        rectangle.ahead_end = run->gemm.x + end * run->gemm.channels;
    }
    run->cpu->kernels->gemm(&run->gemm, &rectangle, run->cpu->scratch + thread * run->cpu->scratch_step);
}

/* The largest tasks that still give every thread several. No bit of the result hangs on this. */
static void gemm_cut(struct gemm_run *run) {
    uint32_t panel = run->cpu->kernels->panel, threads = run->cpu->backend.threads;
    uint32_t want = threads == 1 ? 1 : threads * TASKS_PER_THREAD;
    uint32_t columns_max = run->gemm.activation == ACTIVATION_GEGLU ? GEMM_COLUMNS_MAX / 2 : GEMM_COLUMNS_MAX;
    uint32_t row_tasks = ceil_div(run->gemm.rows, GEMM_ROWS_MAX);
    uint32_t column_tasks = ceil_div(run->gemm.columns, columns_max);
    uint32_t panels = ceil_div(run->gemm.columns, panel);
    while (row_tasks * column_tasks < want) {
        uint32_t rows = run->gemm.rows / row_tasks, columns = run->gemm.columns / column_tasks;
        bool rows_split = rows >= ROWS_SPLIT, columns_split = column_tasks * 2 <= panels;
        if (rows_split && (rows >= columns || !columns_split)) {
            row_tasks *= 2;
        } else if (columns_split) {
            column_tasks *= 2;
        } else {
            break;
        }
    }
    run->rows = ceil_div(run->gemm.rows, row_tasks);
    run->row_tasks = ceil_div(run->gemm.rows, run->rows);
    run->columns = ceil_div(panels, column_tasks) * panel;
}

static void gemm_run(struct cpu *cpu, struct gemm gemm) {
    struct gemm_run run = { .cpu = cpu, .gemm = gemm };
    gemm_cut(&run);
    pool_run(cpu->pool, gemm_task, &run, run.row_tasks * ceil_div(gemm.columns, run.columns));
}

static void linear(struct cpu *cpu, const struct program *program, const struct op *op) {
    size_t rows = tensor_rows(op->in[0]);
    assert(rows <= UINT32_MAX / 2);
    gemm_run(cpu, (struct gemm){
                      .x = program_data(program, op->in[0]),
                      .h = 1,
                      .w = (uint32_t)rows,
                      .channels = op->in[0].c,
                      .kh = 1,
                      .kw = 1,
                      .stride = 1,
                      .out_h = 1,
                      .out_w = (uint32_t)rows,
                      .rows = (uint32_t)rows,
                      .k = op->in[0].c,
                      .columns = op->out[0].c,
                      .weight = op->weight->data,
                      .weight_dtype = op->weight->dtype,
                      .weight_rows = op->weight->rows,
                      .bias = op->bias == NULL ? NULL : op->bias->data,
                      .activation = op->activation,
                      .residual = input_data(program, op->in[1]),
                      .out = program_data(program, op->out[0]),
                  });
}

static void conv(struct cpu *cpu, const struct program *program, const struct op *op) {
    struct tensor x = op->in[0], out = op->out[0];
    size_t rows = tensor_rows(out);
    assert(rows <= UINT32_MAX / 2);
    gemm_run(cpu, (struct gemm){
                      .x = program_data(program, x),
                      .h = x.h,
                      .w = x.w,
                      .channels = x.c,
                      .resize_h = op->conv.resize_h,
                      .resize_w = op->conv.resize_w,
                      .kh = op->weight->kh,
                      .kw = op->weight->kw,
                      .stride = op->conv.stride,
                      .pad_top = op->conv.pad_top,
                      .pad_left = op->conv.pad_left,
                      .out_h = out.h,
                      .out_w = out.w,
                      .rows = (uint32_t)rows,
                      .k = op->weight->columns,
                      .columns = out.c,
                      .weight = op->weight->data,
                      .weight_dtype = op->weight->dtype,
                      .weight_rows = op->weight->rows,
                      .bias = op->bias == NULL ? NULL : op->bias->data,
                      .vector = host_conv_vector(program, op),
                      .vector_step = conv_vectors(op) == 1 ? 0 : out.c,
                      .residual = input_data(program, op->in[1]),
                      .out = program_data(program, out),
                  });
}

/* ---- norms ------------------------------------------------------------------------------------------------------ */

struct norm_run {
    const struct cpu *cpu;
    struct norm norm;
    uint32_t parts; /* tasks an image, or of all rows */
    uint32_t rows;  /* of a task */
};

static void norm_sum_task(void *context, uint32_t task, uint32_t thread) {
    const struct norm_run *run = context;
    (void)thread;
    run->cpu->kernels->norm_sum(&run->norm, task / run->parts, task % run->parts);
}

static void norm_factors_task(void *context, uint32_t task, uint32_t thread) {
    const struct norm_run *run = context;
    (void)thread;
    run->cpu->kernels->norm_factors(&run->norm, task);
}

static void norm_apply_task(void *context, uint32_t task, uint32_t thread) {
    const struct norm_run *run = context;
    (void)thread;
    uint32_t row = task % run->parts * run->rows, left = run->norm.rows - row;
    run->cpu->kernels->norm_apply(&run->norm, task / run->parts, row, left < run->rows ? left : run->rows);
}

/* One image from first to last, while it is in cache. */
static void norm_image_task(void *context, uint32_t image, uint32_t thread) {
    const struct norm_run *run = context;
    (void)thread;
    for (uint32_t chunk = 0; chunk < norm_chunks(run->norm.rows); chunk++) {
        run->cpu->kernels->norm_sum(&run->norm, image, chunk);
    }
    run->cpu->kernels->norm_factors(&run->norm, image);
    run->cpu->kernels->norm_apply(&run->norm, image, 0, run->norm.rows);
}

static size_t norm_sums_size(struct tensor x) {
    return align_up((size_t)x.n * norm_chunks(x.h * x.w) * 2 * x.c * sizeof(double));
}

static size_t norm_workspace(struct tensor x) {
    return norm_sums_size(x) + (size_t)x.n * 2 * x.c * sizeof(float);
}

static void group_norm(struct cpu *cpu, const struct program *program, const struct op *op) {
    struct tensor x = op->in[0];
    char *workspace = program_workspace(program, op);
    struct norm_run run = {
        .cpu = cpu,
        .norm = {
            .x = program_data(program, x),
            .out = program_data(program, op->out[0]),
            .gamma = op->weight->data,
            .beta = op->bias->data,
            .images = x.n,
            .rows = x.h * x.w,
            .channels = x.c,
            .groups = op->groups,
            .epsilon = op->number,
            .silu = op->flag,
            .sums = (double *)workspace,
            .factors = (float *)(workspace + norm_sums_size(x)),
        },
    };
    if (cpu->backend.threads == 1 || x.n >= cpu->backend.threads * TASKS_PER_THREAD) {
        pool_run(cpu->pool, norm_image_task, &run, x.n);
        return;
    }
    run.parts = norm_chunks(run.norm.rows);
    pool_run(cpu->pool, norm_sum_task, &run, x.n * run.parts);
    pool_run(cpu->pool, norm_factors_task, &run, x.n);
    run.rows = norm_chunk_rows(run.norm.rows);
    pool_run(cpu->pool, norm_apply_task, &run, x.n * run.parts);
}

static void layer_norm_task(void *context, uint32_t task, uint32_t thread) {
    const struct norm_run *run = context;
    (void)thread;
    uint32_t row = task * run->rows, left = run->norm.rows - row;
    run->cpu->kernels->layer_norm(&run->norm, row, left < run->rows ? left : run->rows);
}

static void layer_norm(struct cpu *cpu, const struct program *program, const struct op *op) {
    struct norm_run run = {
        .cpu = cpu,
        .norm = {
            .x = program_data(program, op->in[0]),
            .out = program_data(program, op->out[0]),
            .gamma = op->weight->data,
            .beta = op->bias->data,
            .rows = (uint32_t)tensor_rows(op->in[0]),
            .channels = op->in[0].c,
            .epsilon = op->number,
        },
        .rows = NORM_PIECE,
    };
    pool_run(cpu->pool, layer_norm_task, &run, ceil_div(run.norm.rows, run.rows));
}

/* ---- attention -------------------------------------------------------------------------------------------------- */

struct attention_run {
    const struct cpu *cpu;
    struct attention attention;
    uint32_t parts; /* of an image's queries */
    char *scratch;
    size_t scratch_step;
};

static void attention_task(void *context, uint32_t task, uint32_t thread) {
    const struct attention_run *run = context;
    uint32_t part = task % run->parts, head = task / run->parts % run->attention.heads;
    run->cpu->kernels->attention(&run->attention, task / run->parts / run->attention.heads, head,
                                 part * ATTENTION_TILES * run->cpu->kernels->panel,
                                 run->scratch + thread * run->scratch_step);
}

static size_t attention_step(const struct cpu *cpu, const struct op *op) {
    return align_up(cpu->kernels->attention_scratch_size(op->in[0].c / op->heads));
}

static void attention(struct cpu *cpu, const struct program *program, const struct op *op) {
    struct tensor q = op->in[0], k = op->in[1], v = op->in[2];
    struct attention_run run = {
        .cpu = cpu,
        .attention = {
            .q = program_data(program, q),
            .k = program_data(program, k),
            .v = program_data(program, v),
            .q_row = q.c_row,
            .k_row = k.c_row,
            .v_row = v.c_row,
            .kv_index = input_data(program, op->in[3]),
            .images = q.n,
            .queries = q.h,
            .keys = k.h,
            .heads = op->heads,
            .depth = q.c / op->heads,
            .causal = op->flag,
            .out = program_data(program, op->out[0]),
            .out_row = q.c,
        },
        .parts = ceil_div(q.h, ATTENTION_TILES * cpu->kernels->panel),
        .scratch = program_workspace(program, op),
        .scratch_step = attention_step(cpu, op),
    };
    for (uint32_t n = 0; run.attention.kv_index != NULL && n < q.n; n++) {
        assert(run.attention.kv_index[n] >= 0 && (uint32_t)run.attention.kv_index[n] < k.n);
    }
    pool_run(cpu->pool, attention_task, &run, q.n * op->heads * run.parts);
}

/* ---- concatenation ---------------------------------------------------------------------------------------------- */

struct concat_run {
    const struct program *program;
    const struct op *op;
};
enum { CONCAT_ROWS = 128 };

static void concat_task(void *context, uint32_t task, uint32_t thread) {
    const struct concat_run *run = context;
    (void)thread;
    size_t first = (size_t)task * CONCAT_ROWS, left = tensor_rows(run->op->out[0]) - first;
    host_concat(run->program, run->op, first, left < CONCAT_ROWS ? left : CONCAT_ROWS);
}

static void concat(struct cpu *cpu, const struct program *program, const struct op *op) {
    struct concat_run run = { program, op };
    size_t tasks = (tensor_rows(op->out[0]) + CONCAT_ROWS - 1) / CONCAT_ROWS;
    assert(tasks <= UINT32_MAX);
    pool_run(cpu->pool, concat_task, &run, (uint32_t)tasks);
}

/* ---- the device ------------------------------------------------------------------------------------------------- */

static bool is_packed(const struct weight *weight) {
    return weight->use == WEIGHT_LINEAR || weight->use == WEIGHT_CONV;
}

static size_t measure(const struct backend *backend, const struct weight *weight) {
    uint32_t panel = cpu_of(backend)->kernels->panel, rows = weight->rows;
    rows = is_packed(weight) ? ceil_div(rows, panel) * panel : rows;
    size_t padding = weight->use == WEIGHT_VECTOR ? VECTOR_PADDING : 0;
    return ((size_t)rows * weight->columns + padding) * dtype_size(weight->dtype);
}

static enum err prepare(struct weight *weight, const void *plain, struct error *error) {
    weight->bytes = measure(weight->backend, weight);
    enum err err = host_memory_create(&weight->data, weight->backend, weight->bytes, error);
    if (err != ERR_OK) {
        return err;
    }
    if (is_packed(weight)) {
        cpu_pack(weight->data, plain, weight, cpu_of(weight->backend)->kernels->panel);
        return ERR_OK;
    }
    size_t size = (size_t)weight->rows * weight->columns * dtype_size(weight->dtype);
    memcpy(weight->data, plain, size);
    memset((char *)weight->data + size, 0, weight->bytes - size);
    return ERR_OK;
}

static size_t workspace(const struct backend *backend, const struct op *op) {
    if (op->kind == OP_GROUP_NORM) {
        return norm_workspace(op->in[0]);
    }
    return op->kind == OP_ATTENTION ? backend->threads * attention_step(cpu_of(backend), op) : 0;
}

static void run(struct program *program) {
    struct cpu *cpu = (struct cpu *)program->backend;
    bool was_running = atomic_exchange(&cpu->running, true);
    assert(!was_running);
    for (size_t i = 0; i < program->op_count; i++) {
        const struct op *op = &program->ops[i];
        if (op->kind == OP_LINEAR) {
            linear(cpu, program, op);
        } else if (op->kind == OP_CONV) {
            conv(cpu, program, op);
        } else if (op->kind == OP_GROUP_NORM) {
            group_norm(cpu, program, op);
        } else if (op->kind == OP_LAYER_NORM) {
            layer_norm(cpu, program, op);
        } else if (op->kind == OP_ATTENTION) {
            attention(cpu, program, op);
        } else if (op->kind == OP_CONCAT) {
            concat(cpu, program, op);
        } else {
            bool done = host_execute(program, op);
            assert(done);
        }
    }
    atomic_store(&cpu->running, false);
}

static void wait_nothing(struct backend *backend) {
    (void)backend; /* run returns when all is done */
}

static void destroy(struct backend *backend) {
    struct cpu *cpu = (struct cpu *)backend;
    pool_destroy(cpu->pool);
    free(cpu->scratch);
    free(cpu);
}

/* Best first; ends with the one that runs everywhere. The levels' parts are asked for one by one: clang 14 does not know
 * "x86-64-v3". The parts that it cannot ask for (LZCNT, MOVBE, F16C) are in every processor that has the others. */
static const struct cpu_kernels *kernels_at(size_t place) {
#if defined(__x86_64__)
    static const struct cpu_kernels *const all[] = { &cpu_kernels_v4, &cpu_kernels_v3, &cpu_kernels_generic };
    __builtin_cpu_init();
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("fma") && __builtin_cpu_supports("popcnt");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                    __builtin_cpu_supports("avx512vl");
    const bool runs[] = { v4, v3, true };
#else
    static const struct cpu_kernels *const all[] = { &cpu_kernels_generic };
    const bool runs[] = { true };
#endif
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (runs[i] && place-- == 0) {
            return all[i];
        }
    }
    return NULL;
}

static enum err create(struct backend **backend, const struct cpu_kernels *kernels, uint32_t threads,
                       struct error *error) {
    static const struct backend_ops ops = {
        .destroy = destroy,
        .memory_create = host_memory_create,
        .memory_destroy = host_memory_destroy,
        .upload = host_upload,
        .download = host_download,
        .snapshot_prepare = host_snapshot_prepare,
        .snapshot_release = host_snapshot_release,
        .snapshot_take = host_snapshot_take,
        .snapshot_done = host_snapshot_done,
        .weight_prepare = prepare,
        .weight_release = host_weight_release,
        .weight_measure = measure,
        .op_workspace = workspace,
        .run = run,
        .wait = wait_nothing,
    };
    threads = threads == 0 ? machine_cores() : threads;
    size_t step = align_up(kernels->gemm_scratch_size());
    void *scratch = NULL;
    struct pool *pool = NULL;
    enum err err = host_memory_create(&scratch, NULL, threads * step, error);
    if (err != ERR_OK) {
        return err;
    }
    err = pool_create(&pool, threads, error);
    if (err != ERR_OK) {
        free(scratch);
        return err;
    }
    struct cpu *cpu = memory_get(sizeof *cpu);
    *cpu = (struct cpu){
        .backend = { .ops = &ops, .class_name = kernels->class_name, .batch_invariant = true, .threads = threads },
        .kernels = kernels,
        .pool = pool,
        .scratch = scratch,
        .scratch_step = step,
    };
    *backend = &cpu->backend;
    return ERR_OK;
}

enum err cpu_create(struct backend **backend, uint32_t threads, struct error *error) {
    return create(backend, kernels_at(0), threads, error);
}

enum err cpu_create_class(struct backend **backend, const char *class_name, uint32_t threads, struct error *error) {
    const struct cpu_kernels *kernels = NULL;
    for (size_t i = 0; (kernels = kernels_at(i)) != NULL; i++) {
        if (strcmp(kernels->class_name, class_name) == 0) {
            return create(backend, kernels, threads, error);
        }
    }
    return error_set(error, ERR_UNSUPPORTED, "class \"%s\": this machine runs \"%s\" at best", class_name,
                     kernels_at(0)->class_name);
}
