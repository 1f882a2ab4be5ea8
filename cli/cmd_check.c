/* cmd_check.c - `seedfarm check`: what a sweep would be; submits nothing. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "cli/submission.h"

/* A sweep's tables are still files here. */
static char *local_table(void *context, const struct digest *digest) {
    const struct sweep_file *file = context;
    for (uint32_t i = 0; i < file->table_count; i++)
        if (digest_equal(&file->tables[i].digest, digest))
            return text_copy(file->tables[i].path);
    return NULL;
}

/* U-Net evaluations over all jobs, where no axis changes how many a job takes; else 0. */
static uint64_t evaluations(const struct sweep *sweep, uint64_t jobs) {
    for (uint32_t a = 0; a < sweep->axis_count; a++)
        for (uint32_t f = 0; f < sweep->axes[a].field_count; f++)
            if (sweep->axes[a].fields[f] == FIELD_STEPS || sweep->axes[a].fields[f] == FIELD_CFG)
                return 0;
    return jobs * sweep->fixed.steps * (decimal_value(sweep->fixed.cfg) > 1 ? 2 : 1);
}

/* The first (or last) place that is a job, and its canonical bytes. */
static enum err edge_job(struct bytes *canonical, uint64_t *index, const struct sweep *sweep, uint64_t places, bool last,
                         struct error *error) {
    struct spec spec = { 0 };
    uint64_t at = last ? places - 1 : 0;
    while (sweep_excluded(sweep, at) && (last ? at > 0 : at + 1 < places))
        at += last ? UINT64_MAX : 1;
    enum err err = sweep_job(&spec, sweep, at, error);
    if (!err) {
        spec_canonical(canonical, &spec);
        *index = at;
    }
    spec_release(&spec);
    return err;
}

static enum err print(const struct sweep_file *file, uint64_t places, bool as_json, struct error *error) {
    struct bytes first = BYTES_INIT, last = BYTES_INIT;
    uint64_t first_index, last_index, jobs = sweep_jobs(&file->sweep);
    uint64_t cost = evaluations(&file->sweep, jobs);
    enum err err = ERR_OK;
    if (jobs == 0) {
        err = error_set(error, ERR_INVALID, "%s: of %" PRIu64 " combinations `exclude` leaves 0", file->name, places);
        goto done;
    }
    if ((err = edge_job(&first, &first_index, &file->sweep, places, false, error)))
        goto done;
    if ((err = edge_job(&last, &last_index, &file->sweep, places, true, error)))
        goto done;
    if (as_json) {
        err = output_json(json_pack("{s:s, s:I, s:I, s:I, s:s, s:I, s:s, s:I}", "name", file->name, "jobs", (json_int_t)jobs,
                                    "places", (json_int_t)places, "evaluations", (json_int_t)cost, "first", bytes_text(&first),
                                    "first_index", (json_int_t)first_index, "last", bytes_text(&last), "last_index",
                                    (json_int_t)last_index),
                          error);
        goto done;
    }
    char count[32], evaluation_count[32];
    output_count(count, jobs);
    output_count(evaluation_count, cost);
    printf("%s: %s jobs", output_safe(file->name), count);
    if (places != jobs)
        printf(" (%" PRIu64 " combinations are excluded)", places - jobs);
    if (cost)
        printf(", %s U-Net evaluations", evaluation_count);
    if (sweep_leaves_numerics(&file->sweep))
        printf(", numerics auto: fixed at submission, by the coordinator's configuration");
    if (file->tiling_within)
        printf(", vae_tiling is %u", file->sweep.fixed.vae_tiling);
    printf("\nfirst %" PRIu64 ": %s\n", first_index, output_safe(bytes_text(&first)));
    printf("last  %" PRIu64 ": %s\n", last_index, output_safe(bytes_text(&last)));
    err = output_flush(error);
done:
    bytes_release(&first);
    bytes_release(&last);
    return err;
}

static enum err check(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    bool json = false;
    const struct flag table[] = { { "json", 0, NULL, "the answer as JSON", NULL, NULL, &json } };
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    struct sweep_file file;
    uint64_t places = 0;
    size_t count;
    bool help;
    enum err err = arguments_parse(&help, words, &count, 1, 1, table, 1, argc, argv, self, error);
    (void)status;
    if (err || help)
        return err;
    if ((err = submission_read(&file, words[0], error)))
        return err;
    if (!(err = sweep_attach(&file.sweep, local_table, &file, error)))
        err = sweep_places(&places, &file.sweep, error);
    if (!err)
        err = print(&file, places, json, error);
    sweep_file_release(&file);
    return err;
}

const struct command command_check = {
    "check", "SWEEP.yaml", "say what a sweep would be: how many jobs, what they cost, the first and the last; submits nothing",
    "  seedfarm check examples/frog.yaml\n", check
};
