/* offer.c - one question to the ledger, two answers to the worker. */
#include "coordinator/offer.h"

#include <stdlib.h>

#include "coordinator/farm.h"

struct offering {
    struct task task; /* first */
    struct coordinator *farm;
    uint64_t worker, request;
    struct digest keys[LIMIT_BATCH];
    bool known[LIMIT_BATCH];
    size_t count;
    enum err err;
    struct error error;
};

static void offer_work(struct task *task) {
    struct offering *offering = (struct offering *)task;
    offering->err = ledger_has(offering->known, offering->farm->ledger, offering->keys, offering->count, &offering->error);
}

/* An answer that would be about nothing is not sent. */
static void answer(const struct offering *offering, const struct session *session, enum message_type type, bool known) {
    struct digest keys[LIMIT_BATCH];
    struct message message = { .type = type, .request = offering->request, .keys = { keys, 0 } };
    for (size_t i = 0; i < offering->count; i++)
        if (offering->known[i] == known)
            keys[message.keys.count++] = offering->keys[i];
    if (message.keys.count)
        farm_send(offering->farm, &session->route, &message);
}

static void offer_finish(struct task *task) {
    struct offering *offering = (struct offering *)task;
    const struct session *session = session_find_worker(&offering->farm->sessions, offering->worker);
    if (session && offering->err) {
        farm_refuse(offering->farm, &session->route, offering->request, &offering->error);
    } else if (session) {
        answer(offering, session, MESSAGE_ACKNOWLEDGED, true);
        answer(offering, session, MESSAGE_WANTED, false);
    }
    free(offering);
}

void offer_take(struct coordinator *farm, struct session *session, struct message *message) {
    struct offering *offering = memory_get(sizeof *offering);
    offering->task = (struct task){ .work = offer_work, .finish = offer_finish };
    offering->farm = farm;
    offering->worker = session->worker->number;
    offering->request = message->request;
    offering->count = message->offer.count;
    for (size_t i = 0; i < offering->count; i++)
        offering->keys[i] = message->offer.items[i].key;
    desk_post(farm->ledger_desk, &offering->task);
}
