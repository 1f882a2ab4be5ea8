/*
 * submit.c - SUBMIT: everything is checked again here, then the sweep's JSON becomes an object, then the ledger knows of it,
 * then the client. A sweep that is refused leaves nothing behind.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "coordinator/control.h"
#include "coordinator/farm.h"

enum { MODELS_LIMIT = 64 };

struct submission {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    uint64_t request;
    struct message_submit submit; /* owned */
    struct digest id;
    struct sweep *sweep;
    uint64_t places, jobs;
    bool known;
    bool again; /* known, and what was cancelled, paused or failed of it is asked for once more */
    enum numerics automatic; /* as message_submitted has it */
    struct ledger_sweep row;
    enum err err;
    struct error error;
};

static void submission_free(struct submission *submission) {
    if (submission->sweep)
        sweep_release(submission->sweep);
    free(submission->sweep);
    free(submission->submit.name);
    free(submission->submit.user);
    free(submission->submit.sweep);
    free(submission);
}

static void refuse(struct submission *submission) {
    if (submission->err == ERR_NO_SPACE)
        farm_set_full(submission->farm, true, submission->error.message);
    log_event(LOG_INFO, "submit-refused", "name", submission->submit.name, "code", err_name(submission->err), "why",
              submission->error.message, NULL);
    farm_refuse(submission->farm, &submission->route, submission->request, &submission->error);
    submission_free(submission);
}

/* ---- checks (file desk) --------------------------------------------------------------------------------------------- */

static enum err add_model(struct digest models[MODELS_LIMIT], size_t *count, const struct digest *model,
                          struct error *error) {
    for (size_t i = 0; i < *count; i++)
        if (digest_equal(&models[i], model))
            return ERR_OK;
    if (*count == MODELS_LIMIT)
        return error_set(error, ERR_LIMIT, "model: want at most %d different ones in a sweep, there are more", MODELS_LIMIT);
    models[(*count)++] = *model;
    return ERR_OK;
}

/* The axis that says the field, or NULL: it is fixed. */
static const struct axis *axis_of(const struct sweep *sweep, enum field field) {
    for (uint32_t a = 0; a < sweep->axis_count; a++)
        for (uint32_t f = 0; f < sweep->axes[a].field_count; f++)
            if (sweep->axes[a].fields[f] == field)
                return &sweep->axes[a];
    return NULL;
}

static enum err axis_models(struct digest models[MODELS_LIMIT], size_t *count, const struct axis *axis, enum field field,
                            struct error *error) {
    struct bytes text = BYTES_INIT;
    struct digest model;
    enum err err = ERR_OK;
    for (uint64_t position = 0; position < axis->count && !err; position++) {
        bytes_clear(&text);
        err = axis_text(&text, axis, position, field, error);
        if (!err && field == FIELD_REFINER && text.size == 0)
            continue;
        if (!err && !digest_parse(&model, bytes_text(&text)))
            err = error_set(error, ERR_INVALID, "%s: want 64 hex digits, position %" PRIu64 " has \"%.80s\"",
                            catalog_field(field)->name, position, bytes_text(&text));
        if (!err)
            err = add_model(models, count, &model, error);
    }
    bytes_release(&text);
    return err;
}

/* Is every file of this value here? *last is the value before, for runs of equal ones. */
static enum err check_value(const struct submission *submission, enum field field, const char *text, struct bytes *last,
                            struct error *error) {
    struct digest files[SPEC_FILES_LIMIT];
    struct spec alone;
    if (last->size && strcmp(bytes_text(last), text) == 0)
        return ERR_OK;
    spec_init_neutral(&alone);
    enum err err = spec_set(&alone, field, text, error);
    size_t count = err ? 0 : spec_files(files, &alone);
    for (size_t i = 0; i < count && !err; i++) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&files[i], hex);
        if (!library_has(submission->farm->library, &files[i]) && !store_has(submission->farm->store, &files[i]))
            err = error_set(error, ERR_NOT_FOUND, "%s: its file (object %s) is not here", catalog_field(field)->name, hex);
    }
    spec_release(&alone);
    bytes_clear(last);
    bytes_add_text(last, text);
    return err;
}

/* Every file that a value of the sweep names is an object here, so that no job waits for one in vain. */
static enum err check_files(const struct submission *submission, struct error *error) {
    struct bytes text = BYTES_INIT, last = BYTES_INIT;
    enum err err = ERR_OK;
    for (int f = 0; f < FIELD_COUNT && !err; f++) {
        enum field field = (enum field)f;
        const struct axis *axis = axis_of(submission->sweep, field);
        if (!field_is_file(field))
            continue;
        bytes_clear(&last);
        for (uint64_t position = 0; position < (axis ? axis->count : 1) && !err; position++) {
            bytes_clear(&text);
            if (axis)
                err = axis_text(&text, axis, position, field, error);
            else
                spec_get(&text, &submission->sweep->fixed, field);
            if (!err)
                err = check_value(submission, field, bytes_text(&text), &last, error);
        }
    }
    bytes_release(&text);
    bytes_release(&last);
    return err;
}

static enum err check_models(const struct submission *submission, struct error *error) {
    const struct sweep *sweep = submission->sweep;
    struct digest models[MODELS_LIMIT];
    size_t count = 0;
    const struct axis *axis = axis_of(sweep, FIELD_MODEL), *refiners = axis_of(sweep, FIELD_REFINER);
    enum err err = axis ? axis_models(models, &count, axis, FIELD_MODEL, error)
                        : add_model(models, &count, &sweep->fixed.model, error);
    if (!err && refiners)
        err = axis_models(models, &count, refiners, FIELD_REFINER, error);
    else if (!err && !digest_is_zero(&sweep->fixed.refiner))
        err = add_model(models, &count, &sweep->fixed.refiner, error);
    for (size_t i = 0; i < count && !err; i++) {
        struct model_facts facts;
        err = library_facts(&facts, submission->farm->library, submission->farm->store, &models[i], error);
        if (!err)
            err = sweep_check_model(sweep, &facts, error);
    }
    return err;
}

/* Where jobs leave their numerics to the farm, the sweep becomes the one that says them, and is read again. */
static enum err fix_numerics(struct submission *submission, struct sweep *sweep, struct error *error) {
    struct message_submit *submit = &submission->submit;
    struct bytes json = BYTES_INIT;
    submission->automatic = NUMERICS_AUTO;
    if (!sweep_leaves_numerics(sweep))
        return ERR_OK;
    submission->automatic = submission->farm->options.numerics;
    sweep_fix_numerics(sweep, submission->automatic);
    enum err err = sweep_resolved(&json, sweep, error);
    sweep_release(sweep);
    if (err) {
        bytes_release(&json);
        return err;
    }
    free(submit->sweep);
    submit->sweep_size = json.size;
    submit->sweep = (char *)bytes_take(&json).data;
    return sweep_parse(sweep, submit->sweep, submit->sweep_size, error);
}

static enum err check_sweep(struct submission *submission, struct error *error) {
    const struct message_submit *submit = &submission->submit;
    struct sweep *sweep = memory_get(sizeof *sweep);
    enum err err = sweep_parse(sweep, submit->sweep, submit->sweep_size, error);
    if (!err)
        err = fix_numerics(submission, sweep, error);
    if (err) {
        free(sweep);
        return err;
    }
    submission->sweep = sweep;
    submission->id = digest_of(submit->sweep, submit->sweep_size);
    err = sweep_attach(sweep, farm_object_path, submission->farm, error);
    if (!err)
        err = sweep_places(&submission->places, sweep, error);
    if (!err)
        err = check_models(submission, error);
    if (!err)
        err = check_files(submission, error);
    submission->jobs = err ? 0 : sweep_jobs(sweep);
    return err;
}

static void check_work(struct task *task) {
    struct submission *submission = (struct submission *)task;
    submission->err = check_sweep(submission, &submission->error);
    if (submission->err)
        return;
    struct store_item object = { submission->id, submission->submit.sweep, submission->submit.sweep_size };
    submission->err = store_put(submission->farm->store, &object, 1, &submission->error);
}

/* ---- the ledger ------------------------------------------------------------------------------------------------------ */

static void ledger_work(struct task *task) {
    struct submission *submission = (struct submission *)task;
    struct ledger *ledger = submission->farm->ledger;
    const struct ledger_sweep *row = &submission->row;
    if (submission->known && !submission->again)
        submission->err = ledger_touch_sweep(ledger, row->number, row->name, row->touched, row->priority, &submission->error);
    else if (submission->known)
        submission->err = ledger_reopen_sweep(ledger, row->number, row->name, row->touched, row->state, row->priority,
                                              &submission->error);
    else
        submission->err = ledger_add_sweep(&submission->row.number, ledger, row, &submission->error);
}

static void answer(struct submission *submission) {
    char jobs[24], hex[DIGEST_HEX_SIZE];
    struct message message = {
        .type = MESSAGE_SUBMITTED,
        .request = submission->request,
        .submitted = { .sweep = submission->id, .jobs = submission->jobs, .places = submission->places,
                       .known = submission->known, .automatic = submission->automatic },
    };
    snprintf(jobs, sizeof jobs, "%" PRIu64, submission->jobs);
    digest_hex(&submission->id, hex);
    log_event(LOG_INFO, "submit", "sweep", hex, "name", submission->submit.name, "user", submission->submit.user, "jobs", jobs,
              "known", submission->known ? "yes" : "no", NULL);
    farm_send(submission->farm, &submission->route, &message);
}

static void ledger_finish(struct task *task) {
    struct submission *submission = (struct submission *)task;
    if (submission->err) {
        refuse(submission);
        return;
    }
    /* An equal one may have come in between. */
    submission->known = submission->known || queue_find(&submission->farm->queue, &submission->id);
    if (!submission->known) {
        struct order order = {
            .number = submission->row.number, .touched = submission->row.touched, .id = submission->id,
            .name = submission->submit.name, .user = submission->submit.user, .state = SWEEP_ACTIVE,
            .sweep = submission->sweep, .places = submission->places, .jobs = submission->jobs,
            .submitted_unix_ms = submission->row.submitted_unix_ms, .priority = submission->row.priority, .last_error = text_copy(""),
        };
        queue_add(&submission->farm->queue, &order);
        answer(submission);
        submission->sweep = NULL;
        submission->submit.name = submission->submit.user = NULL;
    } else {
        answer(submission);
    }
    submission_free(submission);
}

/* The very same sweep once more: what was cancelled or failed is asked for again. Memory first: what the loop writes into
 * the ledger from now on comes behind this. */
static void reopen(struct submission *submission, struct order *order) {
    submission->known = true;
    submission->again = order->state == SWEEP_CANCELLED || order->state == SWEEP_PAUSED || order->failed;
    free(order->name);
    order->name = text_copy(submission->submit.name);
    order->touched = submission->row.touched;
    if (!order->sweep) {
        order->sweep = submission->sweep;
        submission->sweep = NULL;
    }
    order->priority = submission->row.priority;
    if (submission->again)
        order_ask_again(order);
    schedule_order_changed(&submission->farm->scheduler, order);
}

static void check_finish(struct task *task) {
    struct submission *submission = (struct submission *)task;
    struct coordinator *farm = submission->farm;
    if (submission->err) {
        refuse(submission);
        return;
    }
    struct order *order = queue_find(&farm->queue, &submission->id);
    submission->row = (struct ledger_sweep){
        .touched = ++farm->queue.touches, .id = submission->id, .name = submission->submit.name,
        .user = submission->submit.user, .last_error = "", .places = submission->places, .jobs = submission->jobs,
        .state = SWEEP_ACTIVE, .priority = submission->submit.priority, .submitted_unix_ms = clock_unix_ms(),
    };
    if (order)
        reopen(submission, order);
    if (order) {
        submission->row.number = order->number;
        submission->row.state = order->state;
    }
    submission->task = (struct task){ .work = ledger_work, .finish = ledger_finish };
    desk_post(farm->ledger_desk, task);
}

void submit_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct submission *submission = memory_get(sizeof *submission);
    submission->task = (struct task){ .work = check_work, .finish = check_finish };
    submission->farm = farm;
    submission->route = *route;
    submission->request = message->request;
    submission->submit = message->submit;
    message->submit = (struct message_submit){ 0 };
    desk_post(farm->file_desk, &submission->task);
}
