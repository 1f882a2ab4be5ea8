/*
 * client.c - an operator, who does what the script says and asks again until there is an answer, and an observer, who asks how
 * things are.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "proto/link.h"
#include "tests/sim/sim.h"

enum { OPERATOR, OBSERVER, WHAT_DRAIN = 100, LIST_LIMIT = 1000 };
#define ANSWER_US (5 * SECOND)

struct client {
    struct link *link;
    bool waiting;
    uint64_t request, requests; /* the one that is waited for; how many there were */
    uint64_t answer_by_us, next_us;
    uint32_t listed;            /* OBSERVER: the sweep it asked for; NO_SWEEP: how all are */
};
static const uint32_t NO_SWEEP = UINT32_MAX;

static struct client clients[CLIENT_COUNT];
static uint32_t script_at;
static int to_drain;       /* a worker; -1: none */
static bool seen_since;    /* the observer has asked since the operator's last answer, and it is the latest state that it knows */
static uint64_t answered_us, looked_us;

/* ---- asking ---------------------------------------------------------------------------------------------------------------- */

static void ask(struct client *client, struct message *message, uint64_t topic) {
    struct error error;
    message->request = ++client->requests << (QUESTION_SWEEP_BITS + QUESTION_WHAT_BITS) | topic;
    if (link_send(client->link, NULL, message, &error) != ERR_OK) {
        client->next_us = world.now_us + SECOND / 5;
        return;
    }
    client->waiting = true;
    client->request = message->request;
    client->answer_by_us = world.now_us + ANSWER_US;
}

static void ask_step(struct client *client, const struct script_step *step) {
    static const enum message_type types[] = { MESSAGE_SUBMIT, MESSAGE_CANCEL, MESSAGE_PAUSE, MESSAGE_RESUME, MESSAGE_RETRY,
                                               MESSAGE_PRIORITY };
    static const char *const users[USERS] = { "ann", "bob", "cat" };
    const struct pool_sweep *sweep = &pool.sweeps[step->sweep];
    char hex[DIGEST_HEX_SIZE];
    struct message message = { .type = types[step->what] };
    digest_hex(&sweep->id, hex);
    if (step->what == DO_SUBMIT)
        message.submit = (struct message_submit){ (char *)sweep->name, (char *)users[step->user], (char *)sweep->json.data,
                                                  sweep->json.size, step->priority };
    else if (step->what == DO_PRIORITY)
        message.priority = (struct message_priority){ hex, step->priority };
    else
        message.sweep_ref.sweep = hex;
    tracks[step->sweep].user = step->user;
    ask(client, &message, (uint64_t)step->what << QUESTION_SWEEP_BITS | step->sweep);
}

static void ask_drain(struct client *client) {
    struct message message = { .type = MESSAGE_DRAIN_WORKER, .drain_worker = { (char *)world.workers[to_drain].name, chance(300) } };
    ask(client, &message, (uint64_t)WHAT_DRAIN << QUESTION_SWEEP_BITS);
}

/* What is paused in the end is resumed. */
static struct script_step *resume_step(void) {
    static struct script_step step;
    for (uint32_t i = 0; i < pool.sweep_count; i++)
        if (world.healed && tracks[i].state == SWEEP_PAUSED) {
            step = (struct script_step){ .what = DO_RESUME, .sweep = i };
            return &step;
        }
    return NULL;
}

static const struct script_step *next_step(void) {
    if (script_at < world.plan.script_count)
        return &world.plan.script[script_at];
    return resume_step();
}

static bool is_transient(enum err code) {
    return code == ERR_IO || code == ERR_NO_SPACE || code == ERR_LIMIT || code == ERR_UNREACHABLE;
}

static void take_operator_answer(struct client *client, const struct message *message) {
    bool refused = message->type == MESSAGE_REFUSED;
    client->next_us = world.now_us + SECOND / 10;
    if (refused)
        trace("the operator is refused: %s", message->refused.text);
    if (refused && is_transient(message->refused.code))
        return;
    answered_us = world.now_us;
    if (to_drain >= 0)
        to_drain = -1;
    else if (script_at < world.plan.script_count)
        script_at++;
    else
        tracks[message->request & 0xff].state = SWEEP_ACTIVE;
}

static void operator_act(struct client *client) {
    const struct script_step *step = next_step();
    if (to_drain >= 0)
        ask_drain(client);
    else if (step && (world.healed || world.now_us >= step->at_us))
        ask_step(client, step);
    else
        client->next_us = step ? step->at_us : world.healed ? world.now_us + SECOND : NEVER;
}

/* ---- observing ------------------------------------------------------------------------------------------------------------ */

static struct track *track_of(const struct digest *id) {
    for (uint32_t i = 0; i < pool.sweep_count; i++)
        if (digest_equal(&pool.sweeps[i].id, id))
            return &tracks[i];
    return NULL;
}

static void take_observer_answer(struct client *client, const struct message *message) {
    client->next_us = world.now_us + (world.healed ? 2 * SECOND : spread(SECOND / 2, 20 * SECOND));
    if (message->type == MESSAGE_JOBS)
        history_list(client->listed, &message->jobs);
    if (message->type != MESSAGE_STATUS_REPORT)
        return;
    for (size_t i = 0; i < message->status_report.count; i++) {
        const struct sweep_status *status = &message->status_report.sweeps[i];
        track_of(&status->id)->state = status->state;
    }
    seen_since = looked_us > answered_us;
}

static void observer_act(struct client *client) {
    struct message message = { .type = MESSAGE_STATUS, .sweep_ref = { (char *)"" } };
    char hex[DIGEST_HEX_SIZE];
    client->listed = NO_SWEEP;
    uint32_t sweep = (uint32_t)dice(pool.sweep_count);
    if (chance(300) && tracks[sweep].accepted) {
        digest_hex(&pool.sweeps[sweep].id, hex);
        message.type = MESSAGE_LIST;
        message.list = (struct message_list){ .sweep = hex, .limit = LIST_LIMIT };
        client->listed = sweep;
    }
    looked_us = world.now_us;
    ask(client, &message, 0);
}

/* ---- both ------------------------------------------------------------------------------------------------------------------ */

static void receive(struct client *client, bool is_operator) {
    struct message message;
    struct error error;
    bool got = true;
    while (link_receive(&got, NULL, &message, client->link, &error) == ERR_OK && got) {
        if (client->waiting && message.request == client->request) {
            client->waiting = false;
            if (is_operator)
                take_operator_answer(client, &message);
            else
                take_observer_answer(client, &message);
        }
        message_release(&message);
    }
}

uint64_t client_next_us(int index) {
    const struct client *client = &clients[index];
    return client->waiting ? client->answer_by_us : client->next_us;
}

void client_turn(int index) {
    struct client *client = &clients[index];
    receive(client, index == OPERATOR);
    if (client->waiting && world.now_us >= client->answer_by_us)
        client->waiting = false;
    if (client->waiting || world.now_us < client->next_us)
        return;
    if (index == OPERATOR)
        operator_act(client);
    else
        observer_act(client);
}

void clients_begin(void) {
    struct error error;
    script_at = 0;
    to_drain = -1;
    seen_since = false;
    answered_us = looked_us = 0;
    for (int i = 0; i < CLIENT_COUNT; i++) {
        clients[i] = (struct client){ .next_us = 0 };
        world.current = FIRST_CLIENT + i;
        if (link_connect(&clients[i].link, "sim", &error) != ERR_OK)
            broken("a client does not connect");
    }
}

void clients_end(void) {
    for (int i = 0; i < CLIENT_COUNT; i++)
        link_destroy(clients[i].link);
}

void clients_heal(void) {
    for (int i = 0; i < CLIENT_COUNT; i++)
        if (!clients[i].waiting)
            clients[i].next_us = world.now_us;
}

void client_drain_worker(int worker) {
    to_drain = worker;
    if (!clients[OPERATOR].waiting)
        clients[OPERATOR].next_us = world.now_us;
}

bool clients_are_content(void) {
    if (clients[OPERATOR].waiting || to_drain >= 0 || next_step() || !seen_since)
        return false;
    for (uint32_t i = 0; i < pool.sweep_count; i++)
        if (tracks[i].accepted && tracks[i].state != SWEEP_DONE && tracks[i].state != SWEEP_CANCELLED)
            return false;
    return true;
}
