/*
 * graph.c - running a program: op by op the first time, as one CUDA graph from the second time on.
 *
 * The first run waits after each op, so that the library's plans are made outside of a capture and a failure has an op and
 * a shape to its name. A program that runs once (a prompt) is never captured.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/backend/cuda/cuda.h"

/* What the device keeps of a program. */
struct captured {
    cudaGraphExec_t graph; /* NULL: it ran once */
    char text[280];
};

void cuda_program_forget(struct program *program) {
    struct captured *captured = program->device_notes;
    if (captured != NULL && captured->graph != NULL) {
        (void)cudaGraphExecDestroy(captured->graph);
    }
    free(captured);
    program->device_notes = NULL;
}

static struct captured *captured_make(const struct program *program) {
    struct captured *captured = memory_get(sizeof *captured);
    char first[100], last[100];
    op_describe(first, sizeof first, &program->ops[0]);
    op_describe(last, sizeof last, &program->ops[program->op_count - 1]);
    snprintf(captured->text, sizeof captured->text, "a program of %zu ops, from %s to %s", program->op_count, first, last);
    return captured;
}

static void run_one_by_one(struct cuda *cuda, const struct program *program) {
    for (size_t i = 0; i < program->op_count && !cuda_failed(cuda); i++) {
        cuda_op_run(cuda, program, &program->ops[i]);
        cudaError_t error = cudaGetLastError();
        error = error == cudaSuccess ? cudaStreamSynchronize(cuda->stream) : error;
        if (error != cudaSuccess) {
            char text[160];
            op_describe(text, sizeof text, &program->ops[i]);
            cuda_fail(cuda, error, text);
        }
    }
}

static void capture(struct cuda *cuda, const struct program *program, struct captured *captured) {
    cudaGraph_t graph = NULL;
    cuda_fail(cuda, cudaStreamBeginCapture(cuda->stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    for (size_t i = 0; i < program->op_count && !cuda_failed(cuda); i++) {
        cuda_op_run(cuda, program, &program->ops[i]);
    }
    cuda_fail(cuda, cudaStreamEndCapture(cuda->stream, &graph), "cudaStreamEndCapture");
    if (!cuda_failed(cuda)) {
        cuda_fail(cuda, cudaGraphInstantiate(&captured->graph, graph, 0), "cudaGraphInstantiate");
    }
    if (graph != NULL) {
        (void)cudaGraphDestroy(graph);
    }
}

/* The host stays two replays ahead: the card never waits for it, and it knows how far the card is (progress, cancelling). */
static void replay(struct cuda *cuda, const struct captured *captured) {
    cudaEvent_t mark = cuda->marks[cuda->replayed++ % CUDA_AHEAD];
    cuda_fail(cuda, cudaEventSynchronize(mark), captured->text);
    if (!cuda_failed(cuda)) {
        cuda_fail(cuda, cudaGraphLaunch(captured->graph, cuda->stream), captured->text);
    }
    if (!cuda_failed(cuda)) {
        cuda_fail(cuda, cudaEventRecord(mark, cuda->stream), captured->text);
    }
}

void cuda_program_run(struct program *program) {
    struct cuda *cuda = cuda_of(program->backend);
    struct captured *captured = program->device_notes;
    if (cuda_failed(cuda)) {
        return;
    }
    cuda_fail(cuda, cudaSetDevice(cuda->index), "cudaSetDevice");
    if (captured == NULL) {
        run_one_by_one(cuda, program);
        program->device_notes = captured_make(program);
        return;
    }
    if (captured->graph == NULL) {
        capture(cuda, program, captured);
    }
    if (!cuda_failed(cuda)) {
        memcpy(cuda->replays, captured->text, sizeof cuda->replays);
        replay(cuda, captured);
    }
}
