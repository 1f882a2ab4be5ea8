/* offer.c - one question to the ledger, two answers to the worker. */
#include "coordinator/offer.h"

#include <stdlib.h>

#include "coordinator/farm.h"

struct offering {
    struct task task; /* first */
    struct coordinator *farm;
    uint64_t worker, request;
    struct message_keys keys; /* owned */
    bool *known;              /* [keys.count] */
    enum err err;
    struct error error;
};

static void offer_work(struct task *task) {
    struct offering *offering = (struct offering *)task;
    offering->err = ledger_has(offering->known, offering->farm->ledger, offering->keys.keys, offering->keys.count, &offering->error);
}

/* An answer that would be about nothing is not sent. */
static void answer(const struct offering *offering, const struct session *session, enum message_type type, bool known) {
    struct message message = { .type = type, .request = offering->request };
    message.keys.keys = memory_get_array(offering->keys.count, sizeof *message.keys.keys);
    for (size_t i = 0; i < offering->keys.count; i++)
        if (offering->known[i] == known)
            message.keys.keys[message.keys.count++] = offering->keys.keys[i];
    if (message.keys.count)
        farm_send(offering->farm, &session->route, &message);
    message_release(&message);
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
    free(offering->keys.keys);
    free(offering->known);
    free(offering);
}

void offer_take(struct coordinator *farm, struct session *session, struct message *message) {
    struct offering *offering = memory_get(sizeof *offering);
    offering->task = (struct task){ .work = offer_work, .finish = offer_finish };
    offering->farm = farm;
    offering->worker = session->worker->number;
    offering->request = message->request;
    offering->keys = message->keys;
    offering->known = memory_get_array(message->keys.count, sizeof *offering->known);
    message->keys = (struct message_keys){ NULL, 0 };
    desk_post(farm->ledger_desk, &offering->task);
}
