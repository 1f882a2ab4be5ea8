/* log.c - events as JSON lines, each one write. */
#include "base/log.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

static atomic_int log_fd = -1;
static atomic_int log_from = LOG_INFO;
static _Atomic(const char *) log_service = "";

static const char *const level_names[] = { "debug", "info", "warn", "error" };

void log_open(int fd, enum log_level from, const char *service) {
    log_from = (int)from;
    log_service = service;
    log_fd = fd;
}

static void add_time(struct bytes *line) {
    uint64_t now_ms = clock_unix_ms();
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm parts;
    char text[32];
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    bytes_add_format(line, "{\"time\":\"%s.%03uZ\"", text, (unsigned)(now_ms % 1000));
}

/* A value that is not UTF-8 is logged as what it is: unreadable, with its length. */
static void add_pair(struct bytes *line, const char *key, const char *value) {
    json_t *text = json_string(value ? value : "");
    char *escaped = text ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    if (escaped)
        bytes_add_format(line, ",\"%s\":%s", key, escaped);
    else
        bytes_add_format(line, ",\"%s\":\"(%zu bytes that are not UTF-8)\"", key, strlen(value));
    free(escaped);
    json_decref(text);
}

void log_event(enum log_level level, const char *event, ...) {
    struct bytes line = BYTES_INIT;
    int fd = log_fd;
    if (fd < 0 || (int)level < log_from)
        return;
    add_time(&line);
    add_pair(&line, "level", level_names[level]);
    add_pair(&line, "service", log_service);
    add_pair(&line, "event", event);
    va_list arguments;
    va_start(arguments, event);
    for (const char *key = va_arg(arguments, const char *); key; key = va_arg(arguments, const char *))
        add_pair(&line, key, va_arg(arguments, const char *));
    va_end(arguments);
    bytes_add_text(&line, "}\n");
    /* A log that cannot be written has nobody left to tell. */
    ssize_t written = write(fd, line.data, line.size);
    (void)written;
    bytes_release(&line);
}
