/*
 * arguments.h - a command's flags from one table, so that parsing and help cannot drift apart.
 */
#ifndef CLI_ARGUMENTS_H
#define CLI_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { ARGUMENTS_POSITIONALS_LIMIT = 8 };

/* One flag. Exactly one of `text`, `number`, `on` says where its value goes; the caller sets the default there. */
struct flag {
    const char *name;   /* without the dashes */
    char letter;        /* 0: long form only */
    const char *value;  /* "DIR", "N" in the help; NULL for an `on` flag */
    const char *help;
    const char **text;
    uint32_t *number;
    bool *on;
};

/* A command of seedfarm: its one-line purpose, its positionals ("SWEEP"), and examples for --help. */
struct command {
    const char *name;
    const char *usage;    /* positionals: "SWEEP", "SWEEP[/INDEX]" or "" */
    const char *purpose;
    const char *examples; /* lines, each beginning with two spaces */
    /* *status is the exit status of a run that ended without an error. */
    enum err (*run)(int argc, char **argv, const struct command *self, int *status, struct error *error);
};

/* Fill flags and positionals (minimum..maximum of them) from argv[1..]. *help true: --help was given and printed on stdout,
 * the command has nothing more to do. Errors name the flag and what it wants. */
MUST_USE enum err arguments_parse(bool *help, const char *positionals[ARGUMENTS_POSITIONALS_LIMIT], size_t *count,
                                  size_t minimum, size_t maximum, const struct flag *flags, size_t flag_count, int argc,
                                  char **argv, const struct command *command, struct error *error);

/* The flags that name a farm, shared by every command that talks to one. */
struct farm_flags {
    const char *coordinator;
    const char *store;
};

#endif
