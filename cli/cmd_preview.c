/* cmd_preview.c - `seedfarm preview`: a job as it looks by now, while a worker draws it; or again and again until it is drawn. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "cli/call.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/preview_file.h"

struct watched {
    struct call call;
    uint64_t index;
    const char *path;
};

static enum err report(const char *path, const struct message_previewed *preview, bool json, struct error *error) {
    char key[DIGEST_HEX_SIZE];
    digest_hex(&preview->key, key);
    if (json)
        return output_json(json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:i}", "file", path, "key", key, "worker", preview->worker, "step",
                                     (int)preview->step, "steps", (int)preview->steps, "width", (int)preview->width, "height",
                                     (int)preview->height),
                           error);
    printf("%s (step %" PRIu32 " of %" PRIu32 ", %" PRIu32 "x%" PRIu32 ", worker \"%s\")\n", path, preview->step, preview->steps,
           preview->width, preview->height, output_safe(preview->worker));
    return output_flush(error);
}

/* What it looks like by now -> the file. */
static enum err look(struct watched *watched, struct error *error) {
    struct message answer, question = { .type = MESSAGE_PREVIEW, .preview = { watched->call.sweep, watched->index } };
    enum err err = farm_ask(&answer, &watched->call.farm, &question, MESSAGE_PREVIEWED, error);
    if (err)
        return err;
    const struct message_previewed *preview = &answer.previewed;
    if (!(err = preview_write(watched->path, preview->width, preview->height, preview->rgb, error)))
        err = report(watched->path, preview, watched->call.json, error);
    message_release(&answer);
    return err;
}

/* ---- following -------------------------------------------------------------------------------------------------------- */

static enum err write_picture(struct watched *watched, const struct listed_job *job, struct error *error) {
    struct bytes png = BYTES_INIT;
    char key[DIGEST_HEX_SIZE], picture[DIGEST_HEX_SIZE];
    digest_hex(&job->key, key);
    digest_hex(&job->picture, picture);
    enum err err = farm_fetch(&png, &watched->call.farm, &job->picture, LIMIT_PICTURE, error);
    if (!err)
        err = file_write(watched->path, png.data, png.size, error);
    bytes_release(&png);
    if (err)
        return err;
    if (watched->call.json)
        return output_json(json_pack("{s:s, s:s, s:s}", "file", watched->path, "key", key, "picture", picture), error);
    printf("%s (done: the picture)\n", watched->path);
    return output_flush(error);
}

/* There was nothing to see: *over, with the picture itself, where the job is done; else it may yet come. `error` holds what was said,
 * and goes back where nothing will come. */
static enum err look_after(bool *over, struct watched *watched, struct error *error) {
    struct message answer, question = { .type = MESSAGE_LIST, .list = { watched->call.sweep, watched->index, 1, 0 } };
    struct error trouble;
    enum err err = farm_ask(&answer, &watched->call.farm, &question, MESSAGE_JOBS, &trouble);
    if (err)
        return error_set(error, err, "%s", trouble.message);
    const struct listed_job *job = answer.jobs.count && answer.jobs.jobs[0].index == watched->index ? answer.jobs.jobs : NULL;
    *over = job && job->state == JOB_DONE;
    if (*over)
        err = write_picture(watched, job, error);
    else if (!job || (job->state != JOB_WAITING && job->state != JOB_RUNNING))
        err = error->code;
    message_release(&answer);
    return err;
}

static enum err follow(struct watched *watched, struct error *error) {
    enum err err = ERR_OK;
    for (bool over = false; !over && !err;) {
        err = look(watched, error);
        if (err == ERR_NOT_FOUND)
            err = look_after(&over, watched, error);
        if (!over && !err)
            clock_sleep_ms(PREVIEW_PAUSE_MS);
    }
    return err;
}

/* ----------------------------------------------------------------------------------------------------------------------- */

static enum err preview_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct watched watched = { .path = NULL };
    char *named = NULL;
    bool follows = false, has_index = false;
    const struct flag own[] = {
        { "output", 'o', "FILE.png", "the preview's file (preview-INDEX.png)", &watched.path, NULL, NULL },
        { "follow", 'f', NULL, "go on until the job is done, and end with its picture in the file", NULL, NULL, &follows },
    };
    struct call *call = &watched.call;
    enum err err = call_parse(call, 1, 1, own, sizeof own / sizeof *own, argc, argv, self, error);
    (void)status;
    if (err || call->help)
        return err;
    err = call_split_index(call, &has_index, &watched.index, error);
    if (!err && !has_index)
        err = error_set(error, ERR_INVALID, "preview: want SWEEP/INDEX, have \"%s\"; `seedfarm list SWEEP --state running` lists jobs that"
                        " are being drawn", call->words[0]);
    if (!err && !watched.path)
        watched.path = named = text_format("preview-%" PRIu64 ".png", watched.index);
    if (!err && !(err = call_open(call, error)))
        err = (follows ? follow : look)(&watched, error);
    call_end(call);
    free(named);
    return err;
}

const struct command command_preview = {
    "preview", "SWEEP/INDEX", "a job as it looks by now, while a worker draws it\n\n"
    "What its model believes the picture to become, a pixel for each latent: 64x64 for a picture of 512x512 by Stable Diffusion. It comes\n"
    "behind the worker's next step.",
    "  seedfarm preview frog/12 -o frog.png\n  seedfarm preview frog/12 -o frog.png --follow\n  seedfarm list frog --state running\n",
    preview_run
};
