/* cmd_model.c - `seedfarm model`: what a model is, which ones are known here, and putting one into a farm. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/call.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/submission.h"
#include "pipeline/pipeline.h"
#include "proto/model.h"
#include "proto/spec.h"

enum { AUTOV2_LETTERS = 10 };

struct model_flags {
    const char *size;
    uint32_t batch;
    bool json;
};

/* ---- info ------------------------------------------------------------------------------------------------------------- */

/* What is known of one model; texts are the sentence that says why something is not. */
struct model_card {
    char *path;
    struct model_facts facts;
    struct weights_stats stats;
    struct error kind;     /* no model: what it is instead */
    struct error complete; /* a model with something missing or left over */
    struct memory_need need;
    uint32_t width, height, batch;
};

static enum err card_size(struct model_card *card, const struct model_flags *flags, struct error *error) {
    struct spec spec;
    card->width = card->facts.default_width;
    card->height = card->facts.default_height;
    card->batch = flags->batch ? flags->batch : 1;
    if (!flags->size)
        return ERR_OK;
    spec_init(&spec);
    enum err err = spec_set(&spec, FIELD_SIZE, flags->size, error);
    card->width = spec.width;
    card->height = spec.height;
    spec_release(&spec);
    return err;
}

static enum err card_make(struct model_card *card, const char *text, const struct model_flags *flags, struct error *error) {
    struct device *device;
    enum err err = model_find(&card->path, text, NULL, error);
    if (err || (err = weights_stats_read(&card->stats, card->path, error)))
        return err;
    if ((err = model_facts_read(&card->facts, card->path, &card->kind))) {
        return model_digest_read(&card->facts.digest, card->path, error);
    }
    if ((err = card_size(card, flags, error)) || (err = device_open(&device, "cpu", "fp32", 1, error)))
        return err;
    const struct model_files files = { .model = card->path };
    const struct render_size size = { .width = card->width, .height = card->height, .batch = card->batch, .guided = true };
    (void)!model_memory(&card->need, device, &files, NULL, &size, &card->complete); /* the sentence is part of the answer */
    device_close(device);
    return ERR_OK;
}

static const char *mebibytes(char out[32], uint64_t bytes) {
    snprintf(out, 32, "%.1f MiB", (double)bytes / (1 << 20));
    return out;
}

static enum err print_card(const struct model_card *card, const char *hex, struct error *error) {
    char count[32], weights[32], run[32], process[32];
    output_count(count, card->stats.parameters);
    printf("%s\n", card->path);
    printf("  %-11s %s\n", "family", card->kind.code ? "none" : card->facts.family);
    if (card->kind.code)
        printf("  %-11s %s\n", "but", output_safe(card->kind.message));
    printf("  %-11s %s\n", folder_exists(card->path) ? "digest" : "sha256", hex);
    if (!folder_exists(card->path))
        printf("  %-11s %.*s\n", "AutoV2", AUTOV2_LETTERS, hex);
    printf("  %-11s %s in %" PRIu64 " tensors, %s\n", "parameters", count, card->stats.tensors, card->stats.precision);
    if (!card->kind.code && card->complete.code)
        printf("  %-11s %s\n", "not whole", output_safe(card->complete.message));
    if (!card->kind.code && !card->complete.code) {
        printf("  %-11s yes\n", "whole");
        printf("  %-11s %ux%u, batch of %u: weights %s, work %s, process %s\n", "memory", card->width, card->height, card->batch,
               mebibytes(weights, card->need.weights), mebibytes(run, card->need.run), mebibytes(process, card->need.process));
    }
    return output_flush(error);
}

static enum err json_card(const struct model_card *card, const char *hex, struct error *error) {
    bool whole = !card->kind.code && !card->complete.code;
    json_t *json = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:s}", "path", card->path, "family",
                             card->kind.code ? "" : card->facts.family, "digest", hex, "precision", card->stats.precision, "tensors",
                             (json_int_t)card->stats.tensors, "parameters", (json_int_t)card->stats.parameters, "whole", whole, "why",
                             card->kind.code ? card->kind.message : card->complete.message);
    if (!folder_exists(card->path))
        json_object_set_new(json, "autov2", json_stringn(hex, AUTOV2_LETTERS));
    if (whole)
        json_object_set_new(json, "memory",
                            json_pack("{s:i, s:i, s:i, s:I, s:I, s:I}", "width", card->width, "height", card->height, "batch", card->batch,
                                      "weights", (json_int_t)card->need.weights, "run", (json_int_t)card->need.run, "process",
                                      (json_int_t)card->need.process));
    return output_json(json, error);
}

static enum err info(const char *text, const struct model_flags *flags, int *status, struct error *error) {
    struct model_card card = { 0 };
    char hex[DIGEST_HEX_SIZE];
    enum err err = card_make(&card, text, flags, error);
    if (!err) {
        digest_hex(&card.facts.digest, hex);
        err = flags->json ? json_card(&card, hex, error) : print_card(&card, hex, error);
        *status = card.kind.code || card.complete.code ? 1 : 0;
    }
    free(card.path);
    return err;
}

/* ---- list ------------------------------------------------------------------------------------------------------------- */

struct listing {
    json_t *models;
};

static void list_one(void *context, const char *path) {
    struct listing *listing = context;
    struct model_facts facts;
    char hex[DIGEST_HEX_SIZE];
    if (model_facts_read(&facts, path, NULL) != ERR_OK)
        return;
    digest_hex(&facts.digest, hex);
    json_array_append_new(listing->models, json_pack("{s:s, s:s, s:s, s:s}", "name", path_name(path), "family", facts.family, "digest",
                                                     hex, "path", path));
}

static enum err list(bool as_json, struct error *error) {
    struct listing listing = { json_array() };
    models_each(list_one, &listing);
    if (as_json)
        return output_json(listing.models, error);
    for (size_t i = 0; i < json_array_size(listing.models); i++) {
        const json_t *model = json_array_get(listing.models, i);
        printf("%-24s %-12s %.10s  %s\n", json_string_value(json_object_get(model, "name")),
               json_string_value(json_object_get(model, "family")), json_string_value(json_object_get(model, "digest")),
               json_string_value(json_object_get(model, "path")));
    }
    json_decref(listing.models);
    return output_flush(error);
}

/* ---- add -------------------------------------------------------------------------------------------------------------- */

static enum err add(struct call *call, const char *text, struct error *error) {
    struct model_facts facts;
    char *path, hex[DIGEST_HEX_SIZE];
    enum err err = model_find(&path, text, NULL, error);
    if (err)
        return err;
    if (!(err = model_facts_read(&facts, path, error)) && !(err = model_check_files(&(struct model_files){ .model = path }, error)) &&
        !(err = farm_open(&call->farm, &call->where, error)))
        err = submission_send_model(&call->farm, path, error);
    free(path);
    if (err)
        return err;
    digest_hex(&facts.digest, hex);
    printf("%s\n", hex);
    return output_flush(error);
}

static enum err model(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct model_flags flags = { 0 };
    struct call call;
    const struct flag own[] = {
        { "size", 0, "WxH", "info: memory for pictures of this size (the model's own)", &flags.size, NULL, NULL },
        { "batch", 0, "N", "info: memory for so many at once (1)", NULL, &flags.batch, NULL },
    };
    enum err err = call_parse(&call, 1, 2, own, sizeof own / sizeof *own, argc, argv, self, error);
    if (err || call.help)
        return err;
    flags.json = call.json;
    if (!strcmp(call.words[0], "list") && call.count == 1)
        err = list(call.json, error);
    else if (!strcmp(call.words[0], "info") && call.count == 2)
        err = info(call.words[1], &flags, status, error);
    else if (!strcmp(call.words[0], "add") && call.count == 2)
        err = add(&call, call.words[1], error);
    else
        err = error_set(error, ERR_INVALID, "model: want \"list\", \"info MODEL\" or \"add MODEL\", have \"%.80s\" and %zu more",
                        call.words[0], call.count - 1);
    call_end(&call);
    return err;
}

const struct command command_model = {
    "model", "list|info|add [MODEL]", "what a model is and needs; which are known here; put one into a farm",
    "  seedfarm model info v1-5-pruned-emaonly.safetensors --size 512x768 --batch 4\n"
    "  seedfarm model list\n"
    "  seedfarm model add sdxl-base --coordinator ipc:///run/seedfarm.sock\n",
    model
};
