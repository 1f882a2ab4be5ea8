/* error.c - codes, sentences, exit statuses. */
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const names[ERR_COUNT] = {
    [ERR_OK] = "ok",
    [ERR_INVALID] = "invalid",
    [ERR_LIMIT] = "limit",
    [ERR_NOT_FOUND] = "not-found",
    [ERR_UNSUPPORTED] = "unsupported",
    [ERR_CORRUPT] = "corrupt",
    [ERR_IO] = "io",
    [ERR_NO_SPACE] = "no-space",
    [ERR_MEMORY] = "memory",
    [ERR_NUMERIC] = "numeric",
    [ERR_STALE] = "stale",
    [ERR_UNREACHABLE] = "unreachable",
    [ERR_CANCELLED] = "cancelled",
    [ERR_INTERNAL] = "internal",
    [ERR_DEVICE] = "device",
};

static void fill(struct error *error, enum err code, const char *format, va_list arguments) {
    error->code = code;
    vsnprintf(error->message, sizeof error->message, format, arguments);
}

enum err error_set(struct error *error, enum err code, const char *format, ...) {
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        fill(error, code, format, arguments);
        va_end(arguments);
    }
    return code;
}

enum err error_errno(struct error *error, const char *format, ...) {
    int cause = errno;
    enum err code = cause == ENOSPC || cause == EDQUOT ? ERR_NO_SPACE : cause == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    if (error) {
        va_list arguments;
        va_start(arguments, format);
        fill(error, code, format, arguments);
        va_end(arguments);
        size_t length = strlen(error->message);
        snprintf(error->message + length, sizeof error->message - length, ": %s", strerror(cause));
    }
    return code;
}

enum err error_prefix(struct error *error, const char *format, ...) {
    char before[sizeof error->message];
    char whole[2 * sizeof before + 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(before, sizeof before, format, arguments);
    va_end(arguments);
    snprintf(whole, sizeof whole, "%s: %s", before, error->message);
    memcpy(error->message, whole, sizeof error->message - 1);
    error->message[sizeof error->message - 1] = '\0';
    return error->code;
}

const char *err_name(enum err code) {
    return (unsigned)code < ERR_COUNT ? names[code] : "unknown";
}

int err_exit_status(enum err code) {
    switch (code) {
    case ERR_OK:
        return 0;
    case ERR_INVALID:
    case ERR_LIMIT:
    case ERR_NOT_FOUND:
    case ERR_UNSUPPORTED:
    case ERR_CORRUPT:
        return 2;
    case ERR_UNREACHABLE:
        return 3;
    default:
        return 1;
    }
}
