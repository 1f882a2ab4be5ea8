/* main.c - the commands' table, and the only place that prints errors and exits. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "pipeline/pipeline.h"

static const struct command *const commands[] = {
    &command_run,    &command_render, &command_submit,  &command_status, &command_watch,   &command_list,    &command_fetch,
    &command_grid,   &command_cancel, &command_pause,   &command_resume, &command_retry,   &command_priority, &command_explain,
    &command_preview, &command_check,  &command_workers, &command_drain,  &command_usage,  &command_reproduce,
    &command_model,
};
enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void print_usage(FILE *out) {
    fprintf(out, "seedfarm " SEEDFARM_VERSION " - a render farm for latent diffusion\n\nusage: seedfarm COMMAND [ARGUMENTS]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *purpose = commands[i]->purpose;
        fprintf(out, "  %-10s %.*s\n", commands[i]->name, (int)strcspn(purpose, "\n"), purpose);
    }
    fprintf(out, "\n`seedfarm COMMAND --help` says more of each.\n"
                 "Exit status: 0 done, 1 some jobs failed for good, 2 usage or bad input, 3 coordinator not reachable.\n\n"
                 "examples:\n"
                 "  seedfarm render --prompt \"a van gogh painting of a frog\" -o frog.png\n"
                 "  seedfarm run examples/frog.yaml --out out/frog\n");
}

int main(int argc, char **argv) {
    struct error error = { 0 };
    int status = 0;
    signal(SIGPIPE, SIG_IGN); /* a closed pipe is an error of the write, said like any other */
    if (argc < 2) {
        print_usage(stderr);
        return 2;
    }
    if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
        print_usage(stdout);
        return 0;
    }
    if (!strcmp(argv[1], "--version")) {
        printf("seedfarm " SEEDFARM_VERSION " (devices: cpu, reference; %s)\n", device_build());
        return 0;
    }
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i]->name))
            continue;
        enum err err = commands[i]->run(argc - 1, argv + 1, commands[i], &status, &error);
        if (!err)
            return status;
        fprintf(stderr, "seedfarm: %s\n", output_safe(error.message));
        return err_exit_status(err);
    }
    fprintf(stderr, "seedfarm: unknown command \"%s\" (seedfarm --help lists them)\n", output_safe(argv[1]));
    return 2;
}
