/* cmd_preview.c - `seedfarm preview`: a job as it looks by now, while a worker draws it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "cli/call.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "picture/picture.h"

static enum err write_preview(const char *path, const struct message_previewed *preview, struct error *error) {
    struct picture picture = { preview->width, preview->height, preview->rgb };
    struct bytes png = BYTES_INIT;
    enum err err = png_encode(&png, &picture, NULL, 0, error);
    if (!err)
        err = file_write(path, png.data, png.size, error);
    bytes_release(&png);
    return err;
}

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

static enum err preview(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct message answer, question = { .type = MESSAGE_PREVIEW };
    const char *out = NULL;
    char *named = NULL;
    const struct flag own[] = { { "output", 'o', "FILE.png", "the preview's file (preview-INDEX.png)", &out, NULL, NULL } };
    struct call call;
    bool has_index = false;
    enum err err = call_parse(&call, 1, 1, own, sizeof own / sizeof *own, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    err = call_split_index(&call, &has_index, &question.preview.index, error);
    if (!err && !has_index)
        err = error_set(error, ERR_INVALID, "preview: want SWEEP/INDEX, have \"%s\"; `seedfarm list SWEEP --state running` lists jobs that"
                        " are being drawn", call.words[0]);
    if (err || (err = call_open(&call, error)))
        goto done;
    question.preview.sweep = call.sweep;
    if ((err = farm_ask(&answer, &call.farm, &question, MESSAGE_PREVIEWED, error)))
        goto done;
    named = text_format("preview-%" PRIu64 ".png", question.preview.index);
    if (!(err = write_preview(out ? out : named, &answer.previewed, error)))
        err = report(out ? out : named, &answer.previewed, call.json, error);
    message_release(&answer);
done:
    call_end(&call);
    free(named);
    return err;
}

const struct command command_preview = {
    "preview", "SWEEP/INDEX", "a job as it looks by now, while a worker draws it\n\n"
    "What its model believes the picture to become, a pixel for each latent: 64x64 for a picture of 512x512 by Stable Diffusion. It comes\n"
    "behind the worker's next step.",
    "  seedfarm preview frog/12 -o frog.png\n  seedfarm list frog --state running\n", preview
};
