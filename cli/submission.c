/* submission.c - what goes ahead of a sweep, and the sweep. */
#include "cli/submission.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "cli/combinations.h"
#include "cli/output.h"
#include "cli/tiling.h"
#include "proto/model.h"
#include "worker/render.h"

enum { ASK_AT_ONCE = 1000, MODELS_CHECKED = 256, STARTS_CHECKED = 10000 };

/* One object that the farm may lack, and where its bytes are. */
struct offer {
    struct digest digest;
    char *path;         /* a file, or NULL */
    struct bytes bytes; /* else these */
};

struct offers {
    struct offer *list;
    size_t count;
};

static void offers_release(struct offers *offers) {
    for (size_t i = 0; i < offers->count; i++) {
        free(offers->list[i].path);
        bytes_release(&offers->list[i].bytes);
    }
    free(offers->list);
}

static struct offer *offers_add(struct offers *offers) {
    offers->list = memory_grow(offers->list, offers->count + 1, sizeof *offers->list);
    struct offer *offer = &offers->list[offers->count++];
    *offer = (struct offer){ .bytes = BYTES_INIT };
    return offer;
}

static enum err offer_model(struct offers *offers, const char *folder, struct error *error) {
    struct manifest manifest;
    if (!folder_exists(folder)) {
        struct offer *offer = offers_add(offers);
        offer->path = text_copy(folder);
        return file_digest(&offer->digest, folder, error);
    }
    enum err err = manifest_of_folder(&manifest, folder, error);
    if (err)
        return err;
    for (size_t i = 0; i < manifest.count; i++) {
        struct offer *offer = offers_add(offers);
        offer->digest = manifest.files[i].digest;
        offer->path = path_join(folder, manifest.files[i].path);
    }
    struct offer *offer = offers_add(offers);
    manifest_text(&offer->bytes, &manifest);
    offer->digest = manifest.digest;
    manifest_release(&manifest);
    return ERR_OK;
}

static enum err put(struct farm *farm, const struct offer *offer, uint64_t offset, uint64_t total, uint8_t *data, size_t size,
                    struct error *error) {
    struct message answer;
    struct message question = { .type = MESSAGE_PUT,
                                .put = { .digest = offer->digest, .offset = offset, .total = total, .data = data,
                                         .size = size } };
    enum err err = farm_ask(&answer, farm, &question, MESSAGE_DONE, error);
    if (!err)
        message_release(&answer);
    return err;
}

static enum err put_file(struct farm *farm, const struct offer *offer, struct error *error) {
    enum err err = ERR_OK;
    uint64_t offset = 0;
    uint8_t *buffer = memory_get(LIMIT_CHUNK);
    FILE *file = fopen(offer->path, "rb");
    if (!file) {
        err = error_errno(error, "%s", offer->path);
        goto done;
    }
    if (fseeko(file, 0, SEEK_END) != 0) {
        err = error_errno(error, "%s", offer->path);
        goto done;
    }
    uint64_t total = (uint64_t)ftello(file);
    rewind(file);
    do {
        size_t got = fread(buffer, 1, LIMIT_CHUNK, file);
        if (got == 0 && offset < total) {
            err = error_set(error, ERR_IO, "%s: want %" PRIu64 " bytes, it ended after %" PRIu64, offer->path, total, offset);
            goto done;
        }
        if ((err = put(farm, offer, offset, total, buffer, got, error)))
            goto done;
        offset += got;
    } while (offset < total);
done:
    if (file)
        fclose(file);
    free(buffer);
    return err;
}

static const struct offer *offer_find(const struct offer *list, size_t count, const struct digest *digest) {
    for (size_t i = 0; i < count; i++)
        if (digest_equal(&list[i].digest, digest))
            return &list[i];
    return NULL;
}

/* Ask which of offers[first..first+count) the farm lacks, and send those. */
static enum err send_missing(struct farm *farm, const struct offers *offers, size_t first, size_t count,
                             struct error *error) {
    struct digest *digests = memory_get_array(count, sizeof *digests);
    for (size_t i = 0; i < count; i++)
        digests[i] = offers->list[first + i].digest;
    struct message answer = { 0 };
    struct message question = { .type = MESSAGE_MISSING, .keys = { .keys = digests, .count = count } };
    enum err err = farm_ask(&answer, farm, &question, MESSAGE_MISSING, error);
    free(digests);
    if (err)
        return err;
    for (size_t i = 0; i < answer.keys.count && !err; i++) {
        const struct offer *offer = offer_find(offers->list + first, count, &answer.keys.keys[i]);
        if (!offer)
            err = error_set(error, ERR_CORRUPT, "the coordinator asks for an object that was never offered");
        else if (offer->path)
            err = put_file(farm, offer, error);
        else
            err = put(farm, offer, 0, offer->bytes.size, offer->bytes.data, offer->bytes.size, error);
    }
    message_release(&answer);
    return err;
}

static void warn_of_equal_seeds(const struct sweep *sweep) {
    for (uint32_t a = 0; a < sweep->axis_count; a++) {
        const struct axis *axis = &sweep->axes[a];
        struct spec last = sweep->fixed;
        if (axis->kind != AXIS_RANGE || axis->fields[0] != FIELD_SEED || axis->count < 2)
            continue;
        last.seed = axis->seed_from + (axis->count - 1) * axis->seed_step;
        if (spec_seed_folds(&last))
            output_warn("seeds above 4294967295: the cpu generator knows only the low 32 bits, so seeds that agree there draw "
                        "the same noise");
    }
}

/* ---- checks --------------------------------------------------------------------------------------------------------- */

static enum err check_model(void *context, const struct spec *spec, struct error *error) {
    return spec_model_check(spec, context, error);
}

static enum err check_starts(void *context, const struct spec *spec, struct error *error) {
    return spec_starts_check(spec, context, error);
}

/* What workers would refuse, as far as a walk of bounded length comes: they see the rest. */
static enum err check_jobs(const struct sweep *sweep, struct file_places *places, struct error *error) {
    static const enum field models[] = { FIELD_MODEL, FIELD_VAE, FIELD_LORA, FIELD_EMBEDDING, FIELD_REFINER };
    static const enum field starts[] = { FIELD_SIZE, FIELD_INIT, FIELD_MASK };
    bool all;
    enum err err = combinations_each(&all, sweep, models, sizeof models / sizeof *models, MODELS_CHECKED, check_model, places, error);
    return err ? err : combinations_each(&all, sweep, starts, sizeof starts / sizeof *starts, STARTS_CHECKED, check_starts, places,
                                         error);
}

static enum err find_places(struct file_places *places, const struct sweep_file *file, struct error *error) {
    enum err err = ERR_OK;
    for (size_t i = 0; i < file->files.count; i++)
        file_places_add(places, &file->files.files[i].digest, text_copy(file->files.files[i].path));
    for (uint32_t i = 0; i < file->model_count && !err; i++) {
        struct digest digest;
        if (!(err = model_digest_read(&digest, file->models[i], error)))
            file_places_add(places, &digest, text_copy(file->models[i]));
    }
    return err;
}

enum err submission_resolve(struct sweep_file *file, const char *path, struct error *error) {
    struct file_places places = { 0 };
    enum err err = sweep_file_read(file, path, error);
    if (err || !file->tiling_within)
        return err;
    if (!(err = find_places(&places, file, error)))
        err = tiling_fix(&file->sweep, &places, file->tiling_within, error);
    file_places_release(&places);
    if (err)
        sweep_file_release(file);
    return err;
}

enum err submission_read(struct sweep_file *file, const char *path, struct error *error) {
    struct file_places places = { 0 };
    enum err err = submission_resolve(file, path, error);
    if (err)
        return err;
    if (!(err = find_places(&places, file, error)))
        err = check_jobs(&file->sweep, &places, error);
    file_places_release(&places);
    if (err)
        sweep_file_release(file);
    else
        warn_of_equal_seeds(&file->sweep);
    return err;
}

/* ---- sending -------------------------------------------------------------------------------------------------------- */

static enum err send_all(struct farm *farm, const struct offers *offers, struct error *error) {
    enum err err = ERR_OK;
    for (size_t first = 0; first < offers->count && !err; first += ASK_AT_ONCE) {
        size_t left = offers->count - first;
        err = send_missing(farm, offers, first, left < ASK_AT_ONCE ? left : ASK_AT_ONCE, error);
    }
    return err;
}

enum err submission_send_model(struct farm *farm, const char *path, struct error *error) {
    struct offers offers = { 0 };
    enum err err = offer_model(&offers, path, error);
    if (!err)
        err = send_all(farm, &offers, error);
    offers_release(&offers);
    return err;
}

static char *user_name(void) {
    const struct passwd *entry = getpwuid(getuid());
    return entry ? text_copy(entry->pw_name) : text_format("%u", (unsigned)getuid());
}

enum err submission_send(struct submission *submission, struct farm *farm, const struct sweep_file *file, int32_t priority,
                         struct error *error) {
    struct offers offers = { 0 };
    struct bytes json = BYTES_INIT;
    char *user = user_name();
    enum err err = sweep_resolved(&json, &file->sweep, error);
    for (uint32_t i = 0; i < file->table_count && !err; i++) {
        struct offer *offer = offers_add(&offers);
        offer->digest = file->tables[i].digest;
        offer->path = text_copy(file->tables[i].path);
    }
    for (uint32_t i = 0; i < file->model_count && !err; i++)
        err = offer_model(&offers, file->models[i], error);
    for (size_t i = 0; i < file->files.count && !err; i++) {
        struct offer *offer = offers_add(&offers);
        offer->digest = file->files.files[i].digest;
        offer->path = text_copy(file->files.files[i].path);
    }
    if (!err)
        err = send_all(farm, &offers, error);
    if (err)
        goto done;
    struct message answer;
    struct message question = { .type = MESSAGE_SUBMIT,
                                .submit = { .name = file->name, .user = user, .sweep = (char *)json.data,
                                            .sweep_size = json.size, .priority = priority } };
    if ((err = farm_ask(&answer, farm, &question, MESSAGE_SUBMITTED, error)))
        goto done;
    *submission = (struct submission){ .sweep = answer.submitted.sweep, .jobs = answer.submitted.jobs,
                                       .places = answer.submitted.places, .known = answer.submitted.known,
                                       .automatic = answer.submitted.automatic };
    message_release(&answer);
done:
    offers_release(&offers);
    bytes_release(&json);
    free(user);
    return err;
}
