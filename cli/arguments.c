/* arguments.c - getopt_long behind a table. */
#include "cli/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { FIRST_LONG = 256 };

static void print_help(const struct flag *flags, size_t flag_count, const struct command *command) {
    printf("usage: seedfarm %s%s%s [FLAGS]\n\n%s\n", command->name, *command->usage ? " " : "", command->usage,
           command->purpose);
    printf("\nflags:\n");
    for (size_t i = 0; i < flag_count; i++) {
        char left[64];
        char letter[8] = "    ";
        if (flags[i].letter)
            snprintf(letter, sizeof letter, "-%c, ", flags[i].letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, flags[i].name, flags[i].value ? " " : "",
                 flags[i].value ? flags[i].value : "");
        printf("  %-28s %s\n", left, flags[i].help);
    }
    printf("  %-28s %s\n", "-h, --help", "this text");
    if (command->examples && *command->examples)
        printf("\nexamples:\n%s", command->examples);
}

static enum err set_flag(const struct flag *flag, const char *value, struct error *error) {
    if (flag->on) {
        *flag->on = true;
    } else if (flag->text) {
        *flag->text = value;
    } else {
        char *end;
        errno = 0;
        unsigned long long number = strtoull(value, &end, 10);
        if (errno || end == value || *end || *value == '-' || number > UINT32_MAX)
            return error_set(error, ERR_INVALID, "--%s: want a whole number 0..%u, got \"%s\"", flag->name, UINT32_MAX,
                             value);
        *flag->number = (uint32_t)number;
    }
    return ERR_OK;
}

/* getopt's tables from ours. */
static void build_tables(struct option *options, struct bytes *letters, const struct flag *flags, size_t flag_count) {
    bytes_add_text(letters, ":h");
    for (size_t i = 0; i < flag_count; i++) {
        options[i] = (struct option){ flags[i].name, flags[i].value ? required_argument : no_argument, NULL,
                                      (int)(FIRST_LONG + i) };
        if (flags[i].letter)
            bytes_add_format(letters, "%c%s", flags[i].letter, flags[i].value ? ":" : "");
    }
    options[flag_count] = (struct option){ "help", no_argument, NULL, 'h' };
}

static const struct flag *flag_of(int code, const struct flag *flags, size_t flag_count) {
    if (code >= FIRST_LONG && (size_t)(code - FIRST_LONG) < flag_count)
        return &flags[code - FIRST_LONG];
    for (size_t i = 0; i < flag_count; i++)
        if (flags[i].letter && flags[i].letter == code)
            return &flags[i];
    return NULL;
}

enum err arguments_parse(bool *help, const char *positionals[ARGUMENTS_POSITIONALS_LIMIT], size_t *count, size_t minimum,
                         size_t maximum, const struct flag *flags, size_t flag_count, int argc, char **argv,
                         const struct command *command, struct error *error) {
    struct option *options = memory_get_array(flag_count + 2, sizeof *options);
    struct bytes letters = BYTES_INIT;
    enum err err = ERR_OK;
    int code;

    *help = false;
    *count = 0;
    build_tables(options, &letters, flags, flag_count);
    optind = 1;
    opterr = 0;
    while ((code = getopt_long(argc, argv, bytes_text(&letters), options, NULL)) != -1) {
        const char *word = argv[optind - 1];
        if (code == 'h') {
            print_help(flags, flag_count, command);
            *help = true;
            goto done;
        }
        const struct flag *flag = flag_of(code, flags, flag_count);
        if (code == ':')
            err = error_set(error, ERR_INVALID, "%s: %s wants a value (seedfarm %s --help)", command->name, word,
                            command->name);
        else if (!flag)
            err = error_set(error, ERR_INVALID, "%s: unknown flag %s (seedfarm %s --help)", command->name, word,
                            command->name);
        else
            err = set_flag(flag, optarg, error);
        if (err)
            goto done;
    }
    size_t given = (size_t)(argc - optind);
    if (given < minimum || given > maximum) {
        err = error_set(error, ERR_INVALID, "%s: want %s, got %zu argument%s (seedfarm %s --help)", command->name,
                        *command->usage ? command->usage : "no argument", given, given == 1 ? "" : "s", command->name);
        goto done;
    }
    for (size_t i = 0; i < given; i++)
        positionals[(*count)++] = argv[optind + (int)i];
done:
    bytes_release(&letters);
    free(options);
    return err;
}
