/* preview.c - PREVIEW: whom to ask, who waits for the answer, and what is said where there is nothing to see. */
#include "coordinator/preview.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/control.h"
#include "coordinator/farm.h"

enum {
    VIEWINGS_LIMIT = 1024,   /* questions that wait at once */
    VIEWING_MS = 300000      /* a step of the slowest worker, and then some */
};

/* A client that waits for a worker. */
struct viewing {
    struct route route;
    uint64_t request;      /* the client's */
    const struct order *order;
    uint64_t index;
    struct digest key;
    uint64_t worker;       /* number */
    uint64_t show;         /* the SHOW that it waits for; 0: for another one to be answered first */
    uint64_t until_ms;
};

void previews_release(struct previews *previews) {
    free(previews->list);
    *previews = (struct previews){ 0 };
}

static enum err no_preview(struct error *error, enum err code, const struct order *order, uint64_t index, const char *why) {
    return error_set(error, code, "job %" PRIu64 " of sweep \"%s\": %s", index, order->name, why);
}

/* ---- asking workers ------------------------------------------------------------------------------------------------- */

static bool same_show(const struct viewing *a, const struct viewing *b) {
    return a->worker == b->worker && digest_equal(&a->key, &b->key);
}

static void refuse_viewing(struct coordinator *farm, const struct viewing *viewing, enum err code, const char *why) {
    struct error error;
    no_preview(&error, code, viewing->order, viewing->index, why);
    farm_refuse(farm, &viewing->route, viewing->request, &error);
}

/* Ask the worker of `first`, which nobody is asking, for all who wait for the same. False: it cannot be asked now. */
static bool ask_worker(struct coordinator *farm, struct viewing *first) {
    struct previews *previews = &farm->previews;
    const struct session *session = session_find_worker(&farm->sessions, first->worker);
    struct message show = { .type = MESSAGE_SHOW, .request = ++previews->asked, .show = { first->key } };
    if (!session || farm_send(farm, &session->route, &show) != ERR_OK)
        return false;
    for (size_t i = 0; i < previews->count; i++)
        if (same_show(&previews->list[i], first))
            previews->list[i].show = show.request;
    return true;
}

/* The next question for a worker that has answered the last one. */
static void ask_next(struct coordinator *farm, uint64_t worker) {
    struct previews *previews = &farm->previews;
    for (size_t i = 0; i < previews->count; ) {
        struct viewing *viewing = &previews->list[i];
        if (viewing->worker != worker) {
            i++;
        } else if (ask_worker(farm, viewing)) {
            return;
        } else {
            refuse_viewing(farm, viewing, ERR_UNREACHABLE, "its worker cannot be asked now; ask again");
            memmove(viewing, viewing + 1, (--previews->count - i) * sizeof *viewing);
        }
    }
}

static void add_viewing(struct coordinator *farm, const struct viewing *viewing) {
    struct previews *previews = &farm->previews;
    struct viewing added = *viewing;
    bool busy = false;
    for (size_t i = 0; i < previews->count; i++) {
        busy = busy || previews->list[i].worker == viewing->worker;
        if (same_show(&previews->list[i], viewing))
            added.show = previews->list[i].show;
    }
    previews->list = memory_grow(previews->list, previews->count + 1, sizeof *previews->list);
    previews->list[previews->count++] = added;
    if (!busy)
        ask_next(farm, viewing->worker);
}

/* ---- answers -------------------------------------------------------------------------------------------------------- */

static void answer_viewing(struct coordinator *farm, const struct viewing *viewing, const struct session *session,
                           const struct message *message) {
    struct message answer = { .type = MESSAGE_PREVIEWED, .request = viewing->request, .previewed = message->previewed };
    if (message->type == MESSAGE_PREVIEWED) {
        answer.previewed.worker = session->worker->name;
        farm_send(farm, &viewing->route, &answer);
        return;
    }
    char *why = text_format("worker \"%s\" has it, and nothing to show: %s", session->worker->name, message->refused.text);
    refuse_viewing(farm, viewing, message->refused.code, why);
    free(why);
}

void preview_answered(struct coordinator *farm, const struct session *session, const struct message *message) {
    struct previews *previews = &farm->previews;
    size_t kept = 0;
    bool answered = false;
    for (size_t i = 0; i < previews->count; i++) {
        const struct viewing *viewing = &previews->list[i];
        bool mine = viewing->worker == session->worker->number && viewing->show && viewing->show == message->request &&
                    (message->type != MESSAGE_PREVIEWED || digest_equal(&viewing->key, &message->previewed.key));
        if (mine)
            answer_viewing(farm, viewing, session, message);
        else
            previews->list[kept++] = *viewing;
        answered = answered || mine;
    }
    previews->count = kept;
    if (answered)
        ask_next(farm, session->worker->number);
}

void previews_drop_worker(struct coordinator *farm, const struct session *session, const char *why) {
    struct previews *previews = &farm->previews;
    size_t kept = 0;
    char *said = text_format("worker \"%s\" had it: %s", session->worker->name, why);
    for (size_t i = 0; i < previews->count; i++) {
        if (previews->list[i].worker == session->worker->number)
            refuse_viewing(farm, &previews->list[i], ERR_UNREACHABLE, said);
        else
            previews->list[kept++] = previews->list[i];
    }
    previews->count = kept;
    free(said);
}

void previews_close(struct coordinator *farm) {
    struct previews *previews = &farm->previews;
    for (size_t i = 0; i < previews->count; i++)
        refuse_viewing(farm, &previews->list[i], ERR_UNREACHABLE, "the coordinator ends; ask again when it is back");
    previews->count = 0;
}

void previews_expire(struct coordinator *farm) {
    struct previews *previews = &farm->previews;
    while (previews->count && farm->now_ms >= previews->list[0].until_ms) {
        struct viewing late = previews->list[0];
        memmove(previews->list, previews->list + 1, --previews->count * sizeof *previews->list);
        refuse_viewing(farm, &late, ERR_UNREACHABLE, "its worker has shown nothing in 5 minutes");
        if (late.show)
            ask_next(farm, late.worker);
    }
}

/* ---- questions ------------------------------------------------------------------------------------------------------ */

struct previewing {
    struct task task; /* first */
    struct coordinator *farm;
    struct viewing viewing;
    const struct sweep *sweep;
    struct ledger_found found; /* of a job that is done */
    enum err err;
    struct error error;
};

static void picture_work(struct task *task) {
    struct previewing *previewing = (struct previewing *)task;
    previewing->err = ledger_find(&previewing->found, previewing->farm->ledger, &previewing->viewing.key, 1, &previewing->error);
}

/* It is done: there is something better than a preview. */
static void picture_finish(struct task *task) {
    struct previewing *previewing = (struct previewing *)task;
    const struct viewing *viewing = &previewing->viewing;
    char hex[DIGEST_HEX_SIZE];
    if (!previewing->err && previewing->found.found) {
        digest_hex(&previewing->found.result.picture, hex);
        char *why = text_format("it is done, its picture is object %s; `seedfarm fetch %s --out DIR` brings it", hex,
                                viewing->order->name);
        no_preview(&previewing->error, ERR_NOT_FOUND, viewing->order, viewing->index, why);
        free(why);
    } else if (!previewing->err) {
        no_preview(&previewing->error, ERR_CORRUPT, viewing->order, viewing->index, "it is marked done, its result is not there");
    }
    farm_refuse(previewing->farm, &viewing->route, viewing->request, &previewing->error);
    free(previewing);
}

/* Its lease of which most is drawn; NULL: no worker has it. */
static const struct lease *lease_to_ask(const struct coordinator *farm, const struct digest *key) {
    const struct flight *flight = schedule_find(&farm->scheduler, key);
    const struct lease *found = NULL;
    for (uint32_t i = 0; flight && i < flight->lease_count; i++)
        if (!found || flight->leases[i]->phase > found->phase)
            found = flight->leases[i];
    return found;
}

static enum err ask_for(struct coordinator *farm, struct viewing *viewing, struct error *error) {
    const struct lease *lease = lease_to_ask(farm, &viewing->key);
    const struct session *session = lease ? session_find_worker(&farm->sessions, lease->worker->number) : NULL;
    if (!session)
        return no_preview(error, ERR_NOT_FOUND, viewing->order, viewing->index,
                          "no worker has it now; `seedfarm explain` says what holds it");
    if (session->protocol < PROTOCOL_SHOWS)
        return error_set(error, ERR_UNSUPPORTED, "job %" PRIu64 " of sweep \"%s\": worker \"%s\" has it and speaks protocol %" PRIu32
                         ", previews are of %d: upgrade it", viewing->index, viewing->order->name, session->worker->name,
                         session->protocol, PROTOCOL_SHOWS);
    if (farm->previews.count >= VIEWINGS_LIMIT)
        return error_set(error, ERR_LIMIT, "previews: want at most %d questions at once, all are waiting", VIEWINGS_LIMIT);
    viewing->worker = session->worker->number;
    viewing->until_ms = farm->now_ms + VIEWING_MS;
    add_viewing(farm, viewing);
    return ERR_OK;
}

/* The state may have changed since the question was asked: this is the last word. */
static void preview_finish(struct task *task) {
    struct previewing *previewing = (struct previewing *)task;
    struct coordinator *farm = previewing->farm;
    struct viewing *viewing = &previewing->viewing;
    struct error *error = &previewing->error;
    enum job_state state = order_job_state(viewing->order, viewing->index);
    enum err err = previewing->err;
    if (!err && state == JOB_DONE) {
        previewing->task = (struct task){ .work = picture_work, .finish = picture_finish };
        desk_post(farm->ledger_desk, task);
        return;
    }
    if (!err && state == JOB_FAILED)
        err = no_preview(error, ERR_NOT_FOUND, viewing->order, viewing->index, "it has failed; `seedfarm explain` says why");
    else if (!err && (state == JOB_CANCELLED || state == JOB_EXCLUDED))
        err = no_preview(error, ERR_NOT_FOUND, viewing->order, viewing->index,
                         state == JOB_CANCELLED ? "its sweep was cancelled" : "its sweep excludes it");
    else if (!err)
        err = ask_for(farm, viewing, error);
    if (err)
        farm_refuse(farm, &viewing->route, viewing->request, error);
    free(previewing);
}

static void preview_work(struct task *task) {
    struct previewing *previewing = (struct previewing *)task;
    struct spec spec;
    previewing->err = sweep_job(&spec, previewing->sweep, previewing->viewing.index, &previewing->error);
    if (previewing->err)
        return;
    previewing->viewing.key = spec_key(&spec);
    spec_release(&spec);
}

void preview_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct order *order;
    struct error error;
    enum err err = queue_find_word(&order, &farm->queue, message->preview.sweep, &error);
    if (!err && message->preview.index >= order->places)
        err = error_set(&error, ERR_INVALID, "sweep \"%s\": want an index of 0..%" PRIu64 ", have %" PRIu64, order->name,
                        order->places - 1, message->preview.index);
    if (err) {
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    if (!control_sweep_is_open(farm, order, route, message))
        return;
    struct previewing *previewing = memory_get(sizeof *previewing);
    *previewing = (struct previewing){
        .task = { .work = preview_work, .finish = preview_finish }, .farm = farm, .sweep = order->sweep,
        .viewing = { .route = *route, .request = message->request, .order = order, .index = message->preview.index },
    };
    desk_post(farm->plan_desk, &previewing->task);
}
