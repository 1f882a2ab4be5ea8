/* cmd_fetch.c - `seedfarm fetch`: a sweep's pictures into a folder. */
#include <stdio.h>

#include "cli/call.h"
#include "cli/commands.h"
#include "cli/gallery.h"
#include "cli/output.h"

static enum err fetch(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    const char *out = NULL;
    const struct flag own[] = { { "out", 'o', "DIR", "the folder, made if missing", &out, NULL, NULL } };
    struct gallery_result result;
    struct call call;
    enum err err = call_parse(&call, 1, 1, own, 1, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if (!out)
        return error_set(error, ERR_INVALID, "fetch: want --out DIR");
    if (!(err = call_open(&call, error)))
        err = gallery_fetch(&result, &call.farm, call.sweep, out, error);
    call_end(&call);
    if (err)
        return err;
    if (call.json)
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
