/*
 * call.h - one call of a command that talks to a farm: its flags, the sweep it names, the open farm.
 *
 *   call_parse -> (call.help: nothing more to do) -> checks of the command's own, call_split_index -> call_open -> ... -> call_end
 */
#ifndef CLI_CALL_H
#define CLI_CALL_H

#include "cli/arguments.h"
#include "cli/farm.h"

enum { CALL_FLAGS_LIMIT = 12 };

struct call {
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    size_t count;
    bool help, json;
    struct farm_flags where;
    char *before;     /* owned: of words[0] what names the sweep; set by call_split_index */
    char *sweep;      /* owned: the id or name that words[0] stands for, "" without one; set by call_open */
    struct farm farm; /* set by call_open */
};

/* The farm's flags, --json and the command's own; minimum..maximum positionals. */
MUST_USE enum err call_parse(struct call *call, size_t minimum, size_t maximum, const struct flag *own, size_t own_count,
                             int argc, char **argv, const struct command *self, struct error *error);
/* "frog/12" is job 12 of frog; a path that is a file is a sweep file. words[0] becomes the part that names the sweep. */
MUST_USE enum err call_split_index(struct call *call, bool *has_index, uint64_t *index, struct error *error);
MUST_USE enum err call_open(struct call *call, struct error *error);
/* A sweep's priority as a person writes it. ERR_INVALID names both values. */
MUST_USE enum err call_priority(int32_t *priority, const char *text, struct error *error);
/* After call_parse, in every case. */
void call_end(struct call *call);

#endif
