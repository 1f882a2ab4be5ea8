/*
 * op_kit.h - a program of a few ops, run once on some device. What should not happen fails the test that is running.
 */
#ifndef TESTS_PIPELINE_OP_KIT_H
#define TESTS_PIPELINE_OP_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "pipeline/backend/op.h"

#ifndef DEVICE
#define DEVICE "cpu" /* the tests are built for others too */
#endif

struct backend *make(const char *device); /* in fp32, with two threads */
struct buffer *hold(struct backend *backend, const void *data, size_t size); /* with these bytes in it */
void run_to_end(struct program *program, struct backend *backend); /* finish, run, wait */
float wave(int seed, int i); /* value i of a row of numbers that look like nothing */

#endif
