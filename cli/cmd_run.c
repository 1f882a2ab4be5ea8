/* cmd_run.c - `seedfarm run`: a whole farm on this machine for one sweep. */
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/farm.h"
#include "cli/gallery.h"
#include "cli/local_farm.h"
#include "cli/output.h"
#include "cli/submission.h"
#include "cli/watching.h"

enum { PATIENCE_MS = 120000 };

struct run_flags {
    const char *store, *out, *device;
    uint32_t workers, threads, batch;
    bool json;
};

static enum err report(const struct run_flags *flags, const struct sweep_status *sweep, uint64_t rendered_before,
                       const struct gallery_result *gallery, struct error *error) {
    uint64_t now = sweep->rendered - rendered_before;
    char id[DIGEST_HEX_SIZE];
    digest_hex(&sweep->id, id);
    if (flags->json)
        return output_json(json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:s}", "sweep", id, "name", sweep->name,
                                     "jobs", (json_int_t)sweep->jobs, "done", (json_int_t)sweep->done, "failed",
                                     (json_int_t)sweep->failed, "rendered", (json_int_t)sweep->rendered, "rendered_now",
                                     (json_int_t)now, "out", flags->out, "pictures", (json_int_t)gallery->pictures, "store",
                                     flags->store),
                           error);
    printf("%s: %llu of %llu jobs done, %llu of them drawn in this run\n", output_safe(sweep->name),
           (unsigned long long)sweep->done, (unsigned long long)sweep->jobs, (unsigned long long)now);
    printf("%llu pictures in %s\n", (unsigned long long)gallery->pictures, flags->out);
    if (sweep->failed)
        printf("%llu failed for good; the last error: %s\n", (unsigned long long)sweep->failed,
               output_safe(sweep->last_error));
    return output_flush(error);
}

static enum err run_sweep(const struct run_flags *flags, const struct sweep_file *file, int *status, struct error *error) {
    struct local_farm *local = NULL;
    struct farm farm = { 0 };
    struct submission submission;
    struct message first = { 0 }, final = { 0 };
    uint64_t rendered_before = 0;
    struct gallery_result gallery = { 0 };
    char id[DIGEST_HEX_SIZE];
    struct local_farm_options options = { .store = flags->store, .models = file->models, .model_count = file->model_count,
                                          .workers = flags->workers, .threads = flags->threads, .batch = flags->batch,
                                          .device = flags->device };
    enum err err = local_farm_start(&local, &options, error);
    if (err)
        return err;
    struct farm_flags address = { .coordinator = local_farm_address(local) };
    if ((err = farm_open(&farm, &address, error)))
        goto done;
    if ((err = submission_send(&submission, &farm, file, 0, error)))
        goto done;
    digest_hex(&submission.sweep, id);
    if ((err = farm_status(&first, &farm, id, error)))
        goto done;
    if (submission.known)
        rendered_before = first.status_report.sweeps[0].rendered;
    message_release(&first);
    if ((err = watch_sweep(&final, &farm, id, local, PATIENCE_MS, error)))
        goto done;
    if ((err = gallery_fetch(&gallery, &farm, id, flags->out, error)))
        goto done;
    err = report(flags, &final.status_report.sweeps[0], rendered_before, &gallery, error);
    *status = final.status_report.sweeps[0].failed ? 1 : 0;
done:
    if (!err || final.type)
        message_release(&final);
    farm_close(&farm);
    local_farm_stop(local);
    return err;
}

static enum err run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct run_flags flags = { .store = "seedfarm-store", .workers = 1 };
    const struct flag table[] = {
        { "workers", 'w', "N", "worker processes (1); the cores are divided among them", NULL, &flags.workers, NULL },
        { "store", 's', "DIR", "where everything is kept (seedfarm-store); run again to go on", &flags.store, NULL, NULL },
        { "out", 'o', "DIR", "folder for the pictures (out/NAME)", &flags.out, NULL, NULL },
        { "threads", 't', "N", "threads a worker (0: the cores divided)", NULL, &flags.threads, NULL },
        { "batch", 'b', "N", "largest batch (0: the worker's choice)", NULL, &flags.batch, NULL },
        { "device", 'd', "D", "cpu (default), reference or cuda:N", &flags.device, NULL, NULL },
        { "json", 0, NULL, "the summary as JSON", NULL, NULL, &flags.json },
    };
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    struct sweep_file file;
    char *own_out = NULL;
    size_t count;
    bool help;
    enum err err = arguments_parse(&help, words, &count, 1, 1, table, sizeof table / sizeof *table, argc, argv, self, error);
    if (err || help)
        return err;
    if (flags.workers == 0)
        return error_set(error, ERR_INVALID, "--workers: want 1 or more, got 0");
    if ((err = submission_read(&file, words[0], error)))
        return err;
    if (!flags.out)
        flags.out = own_out = text_format("out/%s", file.name);
    if (!(err = gallery_check_folder(flags.out, error)))
        err = run_sweep(&flags, &file, status, error);
    sweep_file_release(&file);
    free(own_out);
    return err;
}

const struct command command_run = {
    "run", "SWEEP.yaml", "run a sweep on a whole farm on this machine, and put its pictures into a folder\n\n"
    "Starts a real coordinator and real workers over ipc, and ends them with itself. Stopped or killed at any\n"
    "moment, it goes on where it was when it is run again; what is done is never drawn twice.",
    "  seedfarm run examples/frog.yaml\n"
    "  seedfarm run examples/frog.yaml --workers 2 --out pictures/frog\n",
    run
};
