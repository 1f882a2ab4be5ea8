/* cmd_fetch.c - `seedfarm fetch`: a sweep's pictures into a folder. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/gallery.h"
#include "cli/output.h"

static enum err fetch(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct farm_flags where = { 0 };
    const char *out = NULL;
    bool json = false;
    const struct flag table[] = {
        FARM_FLAGS(where),
        { "out", 'o', "DIR", "the folder, made if missing", &out, NULL, NULL },
        { "json", 0, NULL, "the summary as JSON", NULL, NULL, &json },
    };
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    struct gallery_result result;
    struct farm farm = { 0 };
    char *sweep = NULL;
    size_t count;
    bool help;
    enum err err = arguments_parse(&help, words, &count, 1, 1, table, sizeof table / sizeof *table, argc, argv, self, error);
    (void)status;
    if (err || help)
        return err;
    if (!out)
        return error_set(error, ERR_INVALID, "fetch: want --out DIR");
    if ((err = farm_sweep_word(&sweep, words[0], error)))
        return err;
    if (!(err = farm_open(&farm, &where, error)))
        err = gallery_fetch(&result, &farm, sweep, out, error);
    farm_close(&farm);
    free(sweep);
    if (err)
        return err;
    if (json)
        return output_json(json_pack("{s:s, s:I, s:I}", "out", out, "pictures", (json_int_t)result.pictures, "written",
                                     (json_int_t)result.written),
                           error);
    printf("%llu pictures in %s (%llu new)\n", (unsigned long long)result.pictures, out, (unsigned long long)result.written);
    return output_flush(error);
}

const struct command command_fetch = {
    "fetch", "SWEEP", "put a sweep's pictures and one metadata.jsonl into a folder; again: only what is missing",
    "  seedfarm fetch frog --out pictures/frog\n  seedfarm fetch frog.yaml --store seedfarm-store --out pictures/frog\n",
    fetch
};
