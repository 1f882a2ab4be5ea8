/*
 * plain.h - a valid picture of a job, drawn at once: one colour, made from the job's key, with the job in it. Jobs differ, and the
 * same job is the same bytes wherever it is drawn. For tests and benches that need results a coordinator takes.
 */
#ifndef TESTS_WORKER_PLAIN_H
#define TESTS_WORKER_PLAIN_H

#include "worker/render.h"

/* out->error says what went wrong, if anything did; render_ms is the caller's to set. */
void plain_draw(struct rendered *out, const struct spec *spec);

#endif
