/* commands.h - every command of seedfarm, one file each. */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/arguments.h"

extern const struct command command_run, command_render, command_submit, command_status, command_watch, command_list,
    command_fetch, command_grid, command_cancel, command_pause, command_resume, command_retry, command_priority, command_drain,
    command_explain, command_preview, command_check, command_workers, command_usage, command_reproduce, command_model;

#endif
