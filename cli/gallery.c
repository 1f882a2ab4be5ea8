/* gallery.c - listing and fetching a sweep's pictures. */
#include "cli/gallery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "cli/names.h"
#include "cli/output.h"

enum { PAGE_JOBS = 1000 };

enum err gallery_each(struct farm *farm, const char *sweep, uint64_t from, enum job_state state, gallery_visit *each,
                      void *context, struct error *error) {
    char *word = text_copy(sweep);
    enum err err = ERR_OK;
    do {
        struct message answer;
        struct message question = { .type = MESSAGE_LIST,
                                    .list = { .sweep = word, .from = from, .limit = PAGE_JOBS, .state = state } };
        if ((err = farm_ask(&answer, farm, &question, MESSAGE_JOBS, error)))
            break;
        for (size_t i = 0; i < answer.jobs.count && !err; i++)
            err = each(context, &answer.jobs.jobs[i], error);
        from = answer.jobs.next;
        message_release(&answer);
    } while (!err && from != 0);
    free(word);
    return err;
}

enum err gallery_sweep(struct sweep *sweep, struct farm *farm, const struct digest *id, struct error *error) {
    struct bytes json = BYTES_INIT;
    enum err err = farm_fetch(&json, farm, id, LIMIT_SWEEP_BYTES, error);
    if (!err)
        err = sweep_parse(sweep, json.data, json.size, error);
    bytes_release(&json);
    return err;
}

enum err gallery_check_folder(const char *out, struct error *error) {
    enum err err = folder_create(out, error);
    if (!err && access(out, W_OK | X_OK) != 0)
        err = error_errno(error, "the folder cannot be written to");
    if (err && err != ERR_NO_SPACE) /* a place that the user chose badly is bad input, before any work */
        err = error->code = ERR_INVALID;
    return err ? error_prefix(error, "--out %s", out) : ERR_OK;
}

struct fetching {
    struct farm *farm;
    const char *out;
    FILE *metadata;
    bool on_axis[FIELD_COUNT];
    struct digest previous; /* key of the job before: duplicates that follow one another are skipped cheaply */
    struct bar bar;
    uint64_t total;
    struct gallery_result result;
};

/* Is the file there with these very bytes? */
static bool have_file(const char *path, const struct digest *digest) {
    struct digest found;
    uint64_t size;
    struct error absent; /* an unreadable file is fetched anew */
    return file_exists(path) && digest_of_file(&found, &size, path, &absent) == ERR_OK && digest_equal(&found, digest);
}

static enum err write_metadata(FILE *file, const char *name, const struct listed_job *job, const struct spec *spec,
                               struct error *error) {
    char key[DIGEST_HEX_SIZE], picture[DIGEST_HEX_SIZE], pixels[DIGEST_HEX_SIZE];
    digest_hex(&job->key, key);
    digest_hex(&job->picture, picture);
    digest_hex(&job->pixels, pixels);
    json_t *line = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}", "file_name", name, "text", spec->prompt, "index",
                             (json_int_t)job->index, "key", key, "sha256", picture, "pixel_digest", pixels);
    if (!line)
        return error_set(error, ERR_INTERNAL, "%s: its metadata cannot be put together", name);
    for (int field = 0; field < FIELD_COUNT; field++) {
        struct bytes text = BYTES_INIT;
        spec_get(&text, spec, (enum field)field);
        json_object_set_new(line, catalog_field((enum field)field)->name, json_string(bytes_text(&text)));
        bytes_release(&text);
    }
    char *text = json_dumps(line, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(line);
    int written = fprintf(file, "%s\n", text);
    free(text);
    if (written < 0)
        return error_errno(error, "metadata.jsonl");
    return ERR_OK;
}

static enum err fetch_picture(struct fetching *fetching, const char *path, const struct digest *picture,
                              struct error *error) {
    struct bytes png = BYTES_INIT;
    enum err err = farm_fetch(&png, fetching->farm, picture, LIMIT_PICTURE, error);
    if (!err)
        err = file_write(path, png.data, png.size, error);
    if (!err)
        fetching->result.written++;
    bytes_release(&png);
    return err;
}

static enum err fetch_job(void *context, const struct listed_job *job, struct error *error) {
    struct fetching *fetching = context;
    struct spec spec = { 0 };
    struct bytes name = BYTES_INIT;
    char *path = NULL;
    if (digest_equal(&job->key, &fetching->previous))
        return ERR_OK;
    fetching->previous = job->key;
    enum err err = spec_parse(&spec, job->spec, strlen(job->spec), error);
    if (err)
        goto done;
    name_picture(&name, &spec, &job->key, fetching->on_axis);
    path = path_join(fetching->out, bytes_text(&name));
    if (!have_file(path, &job->picture))
        err = fetch_picture(fetching, path, &job->picture, error);
    if (!err)
        err = write_metadata(fetching->metadata, bytes_text(&name), job, &spec, error);
    fetching->result.pictures++;
    bar_draw(&fetching->bar, "fetching", fetching->result.pictures, fetching->total, "", false);
done:
    free(path);
    bytes_release(&name);
    spec_release(&spec);
    return err;
}

static void mark_axes(bool on_axis[FIELD_COUNT], const struct sweep *sweep) {
    for (uint32_t a = 0; a < sweep->axis_count; a++)
        for (uint32_t f = 0; f < sweep->axes[a].field_count; f++)
            on_axis[sweep->axes[a].fields[f]] = true;
}

enum err gallery_fetch(struct gallery_result *result, struct farm *farm, const char *sweep_word, const char *out,
                       struct error *error) {
    struct fetching fetching = { .farm = farm, .out = out };
    struct message status = { 0 };
    struct sweep sweep = { 0 };
    char *draft = path_join(out, ".metadata.jsonl.new");
    char *final = path_join(out, "metadata.jsonl");
    enum err err = gallery_check_folder(out, error);
    if (err)
        goto done;
    if ((err = farm_status(&status, farm, sweep_word, error)))
        goto done;
    fetching.total = status.status_report.sweeps[0].done;
    if ((err = gallery_sweep(&sweep, farm, &status.status_report.sweeps[0].id, error)))
        goto done;
    mark_axes(fetching.on_axis, &sweep);
    bar_init(&fetching.bar);
    fetching.metadata = fopen(draft, "wb");
    if (!fetching.metadata) {
        err = error_errno(error, "%s", draft);
        goto done;
    }
    err = gallery_each(farm, sweep_word, 0, JOB_DONE, fetch_job, &fetching, error);
    if (fclose(fetching.metadata) != 0 && !err)
        err = error_errno(error, "%s", draft);
    bar_finish(&fetching.bar);
    if (!err && rename(draft, final) != 0)
        err = error_errno(error, "%s", final);
    if (err)
        unlink(draft);
    else
        *result = fetching.result;
done:
    if (status.type)
        message_release(&status);
    sweep_release(&sweep);
    free(draft);
    free(final);
    return err;
}
