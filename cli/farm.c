/* farm.c - questions to a coordinator. */
#include "cli/farm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/local_farm.h"
#include "cli/submission.h"
#include "proto/sweep.h"

enum err farm_open(struct farm *farm, const struct farm_flags *flags, struct error *error) {
    const char *address = flags->coordinator ? flags->coordinator : getenv("SEEDFARM_COORDINATOR");
    *farm = (struct farm){ 0 };
    if (flags->store && flags->coordinator)
        return error_set(error, ERR_INVALID, "--store %s and --coordinator %s name two farms: give one", flags->store,
                         flags->coordinator);
    if (flags->store) {
        if (!folder_exists(flags->store))
            return error_set(error, ERR_INVALID, "--store %s: there is no such folder", flags->store);
        struct local_farm_options options = { .store = flags->store };
        enum err err = local_farm_start(&farm->local, &options, error);
        if (err)
            return err;
        address = local_farm_address(farm->local);
    }
    if (!address || !*address)
        return error_set(error, ERR_INVALID,
                         "no farm is named: give --coordinator ADDR, set SEEDFARM_COORDINATOR, or give --store DIR");
    enum err err = link_connect(&farm->link, address, error);
    if (err)
        farm_close(farm);
    return err;
}

void farm_close(struct farm *farm) {
    if (farm->link)
        link_destroy(farm->link);
    local_farm_stop(farm->local);
    *farm = (struct farm){ 0 };
}

enum err farm_ask(struct message *answer, struct farm *farm, struct message *question, enum message_type want,
                  struct error *error) {
    bool syncs = question->type == MESSAGE_SUBMIT || question->type == MESSAGE_PUT;
    uint32_t timeout_ms = syncs ? FARM_SYNC_MS : question->type == MESSAGE_PREVIEW ? FARM_PREVIEW_MS : FARM_ANSWER_MS;
    enum err err = link_ask(answer, farm->link, question, timeout_ms, error);
    if (err)
        return err;
    if (answer->type != want) {
        err = error_set(error, ERR_CORRUPT, "the coordinator answered %s with %s, want %s", message_type_name(question->type),
                        message_type_name(answer->type), message_type_name(want));
        message_release(answer);
    }
    return err;
}

enum err farm_sweep_word(char **word, const char *text, struct error *error) {
    if (!file_exists(text)) {
        *word = text_copy(text);
        return ERR_OK;
    }
    struct sweep_file file;
    struct bytes json = BYTES_INIT;
    enum err err = submission_resolve(&file, text, error);
    if (err)
        return err;
    if (sweep_leaves_numerics(&file.sweep)) { /* its id is the coordinator's to know; its name is the newest one's */
        *word = text_copy(file.name);
        sweep_file_release(&file);
        return ERR_OK;
    }
    err = sweep_resolved(&json, &file.sweep, error);
    if (!err) {
        struct digest id = digest_of(json.data, json.size);
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&id, hex);
        *word = text_copy(hex);
    }
    bytes_release(&json);
    sweep_file_release(&file);
    return err;
}

enum err farm_status(struct message *answer, struct farm *farm, const char *sweep, struct error *error) {
    char *word = text_copy(sweep);
    struct message question = { .type = MESSAGE_STATUS, .sweep_ref = { .sweep = word } };
    enum err err = farm_ask(answer, farm, &question, MESSAGE_STATUS_REPORT, error);
    free(word);
    if (!err && answer->status_report.count != 1) {
        err = error_set(error, ERR_NOT_FOUND, "sweep \"%s\": want one, the farm has %zu", sweep,
                        answer->status_report.count);
        message_release(answer);
    }
    return err;
}

/* Add the piece that begins where `object` ends; *total becomes the object's size. */
static enum err fetch_piece(struct bytes *object, uint64_t *total, struct farm *farm, const struct digest *digest,
                            size_t limit, struct error *error) {
    struct message answer;
    struct message question = { .type = MESSAGE_FETCH,
                                .fetch = { .digest = *digest, .offset = object->size, .size = LIMIT_CHUNK } };
    enum err err = farm_ask(&answer, farm, &question, MESSAGE_CHUNK, error);
    if (err)
        return err;
    *total = answer.chunk.total;
    if (*total > limit)
        err = error_set(error, ERR_LIMIT, "an object of %" PRIu64 " bytes: at most %zu are taken here", *total, limit);
    else if (answer.chunk.size == 0 && object->size < *total)
        err = error_set(error, ERR_CORRUPT, "an object of %" PRIu64 " bytes ends after %zu", *total, object->size);
    else
        bytes_add(object, answer.chunk.data, answer.chunk.size);
    message_release(&answer);
    return err;
}

enum err farm_fetch(struct bytes *out, struct farm *farm, const struct digest *digest, size_t limit, struct error *error) {
    struct bytes object = BYTES_INIT;
    enum err err = ERR_OK;
    uint64_t total = 1;
    while (!err && object.size < total)
        err = fetch_piece(&object, &total, farm, digest, limit, error);
    struct digest found = digest_of(object.data, object.size);
    if (!err && !digest_equal(&found, digest)) {
        char want[DIGEST_HEX_SIZE], got[DIGEST_HEX_SIZE];
        digest_hex(digest, want);
        digest_hex(&found, got);
        err = error_set(error, ERR_CORRUPT, "object %.16s...: its bytes hash to %.16s...", want, got);
    }
    if (!err)
        bytes_add(out, object.data, object.size);
    bytes_release(&object);
    return err;
}
