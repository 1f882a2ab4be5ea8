/* cmd_list.c - `seedfarm list`: the jobs of a sweep. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/call.h"
#include "cli/commands.h"
#include "cli/gallery.h"
#include "cli/output.h"

struct listing {
    bool json;
    uint64_t left;
};

static enum err print_job(void *context, const struct listed_job *job, struct error *error) {
    struct listing *listing = context;
    char key[DIGEST_HEX_SIZE], picture[DIGEST_HEX_SIZE] = "", pixels[DIGEST_HEX_SIZE] = "";
    if (listing->left == 0)
        return ERR_CANCELLED;
    listing->left--;
    digest_hex(&job->key, key);
    if (job->state == JOB_DONE) {
        digest_hex(&job->picture, picture);
        digest_hex(&job->pixels, pixels);
    }
    if (listing->json)
        return output_json(json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "index", (json_int_t)job->index, "state",
                                     job_state_name(job->state), "key", key, "picture", picture, "pixel_digest", pixels,
                                     "error", job->error, "spec", job->spec),
                           error);
    printf("%10" PRIu64 " %-9s %.16s %.16s %s%s%s\n", job->index, job_state_name(job->state), key, *picture ? picture : "-",
           output_safe(job->spec), *job->error ? " error: " : "", output_safe(job->error));
    return ERR_OK;
}

static enum err parse_state(enum job_state *state, const char *text, struct error *error) {
    *state = 0;
    if (!text)
        return ERR_OK;
    for (enum job_state s = JOB_WAITING; s <= JOB_EXCLUDED; s++)
        if (!strcmp(text, job_state_name(s)))
            *state = s;
    if (!*state)
        return error_set(error, ERR_INVALID, "--state: want waiting, running, done, failed, cancelled or excluded, got \"%s\"",
                         text);
    return ERR_OK;
}

static enum err list(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct listing listing = { 0 };
    const char *state_word = NULL;
    uint32_t from = 0, limit = UINT32_MAX;
    const struct flag own[] = {
        { "state", 0, "STATE", "only waiting, running, done, failed, cancelled or excluded ones", &state_word, NULL, NULL },
        { "from", 0, "INDEX", "the first index (0)", NULL, &from, NULL },
        { "limit", 'n', "N", "at most so many", NULL, &limit, NULL },
    };
    enum job_state state;
    struct call call;
    enum err err = call_parse(&call, 1, 1, own, sizeof own / sizeof *own, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if ((err = parse_state(&state, state_word, error)))
        return err;
    listing.left = limit;
    listing.json = call.json;
    if (!(err = call_open(&call, error))) {
        err = gallery_each(&call.farm, call.sweep, from, state, print_job, &listing, error);
        if (err == ERR_CANCELLED) /* the limit was reached */
            err = ERR_OK;
        if (!err)
            err = output_flush(error);
    }
    call_end(&call);
    return err;
}

const struct command command_list = {
    "list", "SWEEP", "the jobs of a sweep: index, state, key, picture, job",
    "  seedfarm list frog --state failed\n  seedfarm list frog --json --limit 100\n", list
};
