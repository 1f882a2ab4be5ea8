/*
 * error.h - how every fallible function says what went wrong.
 *
 * A function returns a code; beside it stands one finished sentence for a person, which names the thing and both
 * values ("seed: want 0..18446744073709551615, line 4 has -7"). On failure the outputs are untouched. Nothing below
 * main.c prints or exits.
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdarg.h>

#define MUST_USE __attribute__((warn_unused_result))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

enum err {
    ERR_OK = 0,
    ERR_INVALID,     /* the user's input is wrong */
    ERR_LIMIT,       /* a named limit would be passed */
    ERR_NOT_FOUND,
    ERR_UNSUPPORTED, /* understood, but this version cannot */
    ERR_CORRUPT,     /* bytes are not what they claim to be */
    ERR_IO,          /* a file or the network failed */
    ERR_NO_SPACE,    /* the disk is full */
    ERR_MEMORY,      /* memory, or a budget of it, ran out */
    ERR_NUMERIC,     /* NaN or Inf where a number is needed */
    ERR_STALE,       /* superseded: an older epoch or version */
    ERR_UNREACHABLE, /* nobody answers at an address */
    ERR_CANCELLED,   /* asked to stop */
    ERR_INTERNAL,    /* our own bug, found before it did harm */
    ERR_DEVICE,      /* a computing device failed for good: its process must end */
    ERR_COUNT
};

struct error {
    enum err code;
    char message[1024];
};

/* Fill `error` (which may be NULL) and return `code`, so that callers write `return error_set(...)`. */
enum err error_set(struct error *error, enum err code, const char *format, ...) PRINTF_LIKE(3, 4);

/* As error_set, with ": " and the text of errno behind; ENOSPC and EDQUOT turn the code into ERR_NO_SPACE. */
enum err error_errno(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* Put "format: " before the sentence already in `error`. Returns error's code. */
enum err error_prefix(struct error *error, const char *format, ...) PRINTF_LIKE(2, 3);

/* "invalid", "limit", ... : the stable word for logs, JSON and messages. */
const char *err_name(enum err code);

/* The command line's exit status for an error (0 done, 1 failed, 2 bad input, 3 not reachable). */
int err_exit_status(enum err code);

#endif
