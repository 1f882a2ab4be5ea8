/* op_kit.c - a program of a few ops, run once on some device. */
#include <math.h>

#include "tests/pipeline/op_kit.h"

struct backend *make(const char *device) {
    struct backend *backend = NULL;
    struct error error;
    assert_int_equal(backend_create(&backend, device, DTYPE_F32, 2, &error), ERR_OK);
    return backend;
}

struct buffer *hold(struct backend *backend, const void *data, size_t size) {
    struct buffer *buffer = NULL;
    struct error error;
    assert_int_equal(buffer_create(&buffer, backend, size, &error), ERR_OK);
    assert_int_equal(buffer_size(buffer), size);
    buffer_upload(buffer, 0, data, size);
    return buffer;
}

void run_to_end(struct program *program, struct backend *backend) {
    struct buffer *scratch = NULL;
    struct error error;
    program_finish(program);
    assert_int_equal(buffer_create(&scratch, backend, program_memory(program), &error), ERR_OK);
    program_attach(program, scratch);
    program_run(program);
    backend_wait(backend);
    buffer_destroy(scratch);
}

float wave(int seed, int i) {
    return (float)sin(seed * 1.7 + i * 0.37);
}
