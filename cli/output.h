/*
 * output.h - what a person or a script reads: data on stdout, progress and warnings on stderr.
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* One JSON value and a line end on stdout; takes over the reference. Fails when stdout cannot be written. */
MUST_USE enum err output_json(json_t *value, struct error *error);
/* Flush stdout; a full disk or a closed pipe is an error, never a silent loss. */
MUST_USE enum err output_flush(struct error *error);
void output_warn(const char *format, ...) PRINTF_LIKE(1, 2); /* "seedfarm: warning: ..." on stderr */
/* Text from outside, safe for a terminal: control bytes become '?'. Returns one of a few rotating static buffers. */
const char *output_safe(const char *text);

void output_duration(char out[32], uint64_t ms); /* "1h 02m", "3m 20s", "12 s" */
void output_count(char out[32], uint64_t count); /* "1,234,567" */

/* A bar on a terminal, a line every ten seconds elsewhere. */
struct bar {
    bool terminal;
    bool drawn;
    uint64_t last_ms;
};
void bar_init(struct bar *bar);
/* `right` is free text behind the bar ("3.1/s, 40 s left"). Draws at most ten times a second, or when `last`. */
void bar_draw(struct bar *bar, const char *label, uint64_t done, uint64_t total, const char *right, bool last);
void bar_finish(struct bar *bar); /* leaves the cursor on a line of its own */

#endif
