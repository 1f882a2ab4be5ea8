/* output.c - terminal and JSON output. */
#include "cli/output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

enum { BAR_WIDTH = 30, BAR_INTERVAL_MS = 100, LINE_INTERVAL_MS = 10000, SAFE_BUFFERS = 4, SAFE_SIZE = 4096 };

enum err output_flush(struct error *error) {
    if (fflush(stdout) != 0 || ferror(stdout))
        return error_errno(error, "standard output cannot be written");
    return ERR_OK;
}

enum err output_json(json_t *value, struct error *error) {
    char *text = json_dumps(value, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_ENCODE_ANY);
    json_decref(value);
    if (!text)
        return error_set(error, ERR_INTERNAL, "a JSON answer could not be written out");
    puts(text);
    free(text);
    return output_flush(error);
}

const char *output_safe(const char *text) {
    static char buffers[SAFE_BUFFERS][SAFE_SIZE];
    static unsigned next;
    char *out = buffers[next++ % SAFE_BUFFERS];
    size_t n = 0;
    for (; *text && n + 1 < SAFE_SIZE; text++, n++)
        out[n] = (unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text;
    out[n] = '\0';
    return out;
}

void output_warn(const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "seedfarm: warning: %s\n", output_safe(text));
}

void output_duration(char out[32], uint64_t ms) {
    uint64_t s = (ms + 500) / 1000;
    if (s >= 3600)
        snprintf(out, 32, "%" PRIu64 "h %02" PRIu64 "m", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, 32, "%" PRIu64 "m %02" PRIu64 "s", s / 60, s % 60);
    else
        snprintf(out, 32, "%" PRIu64 " s", s);
}

void output_count(char out[32], uint64_t count) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, count);
    int n = 0;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0)
            out[n++] = ',';
        out[n++] = digits[i];
    }
    out[n] = '\0';
}

void bar_init(struct bar *bar) {
    const char *term = getenv("TERM");
    *bar = (struct bar){ .terminal = isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb") != 0) };
}

void bar_draw(struct bar *bar, const char *label, uint64_t done, uint64_t total, const char *right, bool last) {
    static const char full[BAR_WIDTH + 1] = "##############################";
    static const char rest[BAR_WIDTH + 1] = "..............................";
    uint64_t now_ms = clock_monotonic_ms();
    uint64_t interval = bar->terminal ? BAR_INTERVAL_MS : LINE_INTERVAL_MS;
    if (!last && bar->last_ms && now_ms - bar->last_ms < interval)
        return;
    bool first = !bar->last_ms;
    bar->last_ms = now_ms;
    if (!bar->terminal) {
        if (!first || last) /* a line for every interval that passed, none for the start */
            fprintf(stderr, "%s: %" PRIu64 " of %" PRIu64 "%s%s\n", label, done, total, *right ? ", " : "", right);
        return;
    }
    int filled = total ? (int)((double)BAR_WIDTH * (double)done / (double)total) : BAR_WIDTH;
    fprintf(stderr, "\r\033[K%s [%.*s%.*s] %" PRIu64 "/%" PRIu64 "  %s", label, filled, full, BAR_WIDTH - filled, rest, done,
            total, right);
    fflush(stderr);
    bar->drawn = true;
}

void bar_finish(struct bar *bar) {
    if (bar->terminal && bar->drawn)
        fputc('\n', stderr);
    bar->drawn = false;
}
