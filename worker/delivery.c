/* delivery.c - messages on their way, and what they carried. */
#include "worker/delivery.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

enum { MESSAGE_BYTES = 4 << 20, AGAIN_MS = 100, REFUSED_MS = 1000, REFUSED_MOST_MS = 32000 };

/* A RESULTS message that waits for its acknowledgement. */
struct parcel {
    uint64_t request;
    uint64_t sent_ms;
    struct digest *keys;
    size_t count;
    struct parcel *next;
};

struct failure {
    uint64_t request; /* 0: not sent */
    uint64_t sent_ms;
    struct message_failure message; /* keys and text owned */
    struct failure *next;
};

struct delivery {
    struct outbox *outbox;
    struct parcel *parcels;
    struct failure *failures;
    uint64_t requests;
    bool offers;            /* the coordinator takes offers */
    uint64_t offered_ms;    /* the oldest offer that may be unanswered */
    uint64_t not_before_ms; /* after a refusal, or a full queue */
    uint64_t refused_ms;    /* how long the next refusal keeps us waiting */
};

struct delivery *delivery_create(struct outbox *outbox) {
    struct delivery *delivery = memory_get(sizeof *delivery);
    delivery->outbox = outbox;
    delivery->refused_ms = REFUSED_MS;
    return delivery;
}

static void remove_parcel(struct parcel **place) {
    struct parcel *parcel = *place;
    *place = parcel->next;
    free(parcel->keys);
    free(parcel);
}

static void remove_failure(struct failure **place) {
    struct failure *failure = *place;
    *place = failure->next;
    free(failure->message.keys);
    free(failure->message.text);
    free(failure);
}

void delivery_destroy(struct delivery *delivery) {
    if (!delivery)
        return;
    while (delivery->parcels)
        remove_parcel(&delivery->parcels);
    while (delivery->failures)
        remove_failure(&delivery->failures);
    free(delivery);
}

static struct digest *copy_keys(const struct digest *keys, size_t count) {
    struct digest *copy = memory_get_array(count ? count : 1, sizeof *copy);
    if (count)
        memcpy(copy, keys, count * sizeof *copy);
    return copy;
}

void delivery_add_failure(struct delivery *delivery, uint64_t lease, uint32_t epoch, const struct digest *keys, size_t count,
                          const struct error *error) {
    struct failure *failure = memory_get(sizeof *failure);
    failure->message = (struct message_failure){
        .lease = lease,
        .epoch = epoch,
        .keys = copy_keys(keys, count),
        .count = count,
        .code = error->code,
        .text = text_copy(error->message),
    };
    struct failure **last = &delivery->failures;
    while (*last)
        last = &(*last)->next;
    *last = failure;
}

static uint64_t next_request(struct delivery *delivery, enum request_kind kind) {
    return (uint64_t)kind << REQUEST_KIND_SHIFT | ++delivery->requests;
}

/* A full queue is no trouble, only a reason to wait a little. */
static enum err after_send(struct delivery *delivery, enum err err, uint64_t now_ms) {
    if (err == ERR_LIMIT)
        delivery->not_before_ms = now_ms + AGAIN_MS;
    return err;
}

static enum err send_failures(struct delivery *delivery, struct link *link, uint64_t now_ms, struct error *error) {
    for (struct failure *failure = delivery->failures; failure; failure = failure->next) {
        if (failure->request)
            continue;
        struct message message = { .type = MESSAGE_FAILURE, .request = next_request(delivery, REQUEST_FAILURE),
                                   .failure = failure->message };
        enum err err = after_send(delivery, link_send(link, NULL, &message, error), now_ms);
        if (err)
            return err;
        failure->request = message.request;
        failure->sent_ms = now_ms;
    }
    return ERR_OK;
}

static void add_parcel(struct delivery *delivery, uint64_t request, const struct message_results *results, uint64_t now_ms) {
    struct parcel *parcel = memory_get(sizeof *parcel);
    parcel->request = request;
    parcel->sent_ms = now_ms;
    parcel->count = results->count;
    parcel->keys = memory_get_array(results->count, sizeof *parcel->keys);
    for (size_t i = 0; i < results->count; i++)
        parcel->keys[i] = results->items[i].key;
    struct parcel **last = &delivery->parcels;
    while (*last)
        last = &(*last)->next;
    *last = parcel;
}

static enum err send_offers(struct delivery *delivery, struct link *link, uint64_t now_ms, struct error *error) {
    struct digest keys[OUTBOX_OFFER];
    struct message message = { .type = MESSAGE_OFFER, .keys = { .keys = keys } };
    if (!outbox_has_offered(delivery->outbox))
        delivery->offered_ms = now_ms;
    while ((message.keys.count = outbox_next_offer(keys, delivery->outbox)) > 0) {
        message.request = next_request(delivery, REQUEST_OFFER);
        enum err err = after_send(delivery, link_send(link, NULL, &message, error), now_ms);
        if (err) {
            outbox_offer_again(delivery->outbox, keys, message.keys.count);
            return err;
        }
    }
    return ERR_OK;
}

/* *sent false: the outbox has nothing that fits into the credit. */
static enum err send_results(bool *sent, struct delivery *delivery, struct link *link, uint64_t credit_bytes, uint64_t now_ms,
                             struct error *error) {
    uint64_t taken = outbox_unacknowledged(delivery->outbox);
    uint64_t room = credit_bytes > taken ? credit_bytes - taken : 0;
    struct message message = { .type = MESSAGE_RESULTS };
    *sent = false;
    outbox_next(&message.results, delivery->outbox, room < MESSAGE_BYTES ? room : MESSAGE_BYTES);
    if (!message.results.count) {
        outbox_results_release(&message.results);
        return ERR_OK;
    }
    message.request = next_request(delivery, REQUEST_RESULTS);
    enum err err = after_send(delivery, link_send(link, NULL, &message, error), now_ms);
    if (err)
        outbox_return(delivery->outbox, &message.results);
    else
        add_parcel(delivery, message.request, &message.results, now_ms);
    *sent = !err;
    outbox_results_release(&message.results);
    return err;
}

enum err delivery_send(struct delivery *delivery, struct link *link, uint64_t credit_bytes, uint64_t now_ms,
                       struct error *error) {
    bool sent = true;
    if (now_ms < delivery->not_before_ms)
        return ERR_OK;
    delivery->not_before_ms = 0;
    enum err err = send_failures(delivery, link, now_ms, error);
    if (!err)
        err = send_offers(delivery, link, now_ms, error);
    while (!err && sent)
        err = send_results(&sent, delivery, link, credit_bytes, now_ms, error);
    return err == ERR_LIMIT ? ERR_OK : err;
}

void delivery_acknowledged(struct delivery *delivery, uint64_t request, const struct digest *keys, size_t count) {
    outbox_forget(delivery->outbox, keys, count);
    delivery->refused_ms = REFUSED_MS;
    for (struct parcel **place = &delivery->parcels; *place; ) {
        if ((*place)->request == request) {
            remove_parcel(place);
            break;
        }
        place = &(*place)->next;
    }
    for (struct failure **place = &delivery->failures; *place; place = &(*place)->next)
        if ((*place)->request && (*place)->request == request) {
            remove_failure(place);
            break;
        }
}

static bool refuses_content(enum err code) {
    return code == ERR_CORRUPT || code == ERR_INVALID || code == ERR_UNSUPPORTED;
}

static void log_refusal(const char *what, enum err code, const char *text, const char *then) {
    log_event(LOG_WARN, "delivery-refused", "what", what, "code", err_name(code), "why", text, "then", then, NULL);
}

static void refuse_parcel(struct delivery *delivery, struct parcel **place, enum err code, const char *text) {
    struct parcel *parcel = *place;
    if (refuses_content(code)) {
        bool dropped = outbox_refused(delivery->outbox, parcel->keys, parcel->count);
        log_refusal("results", code, text, dropped ? "dropped" : "each is sent alone");
    } else {
        outbox_resend(delivery->outbox, delivery->offers);
        log_refusal("results", code, text, "sent again later");
    }
    remove_parcel(place);
}

static void refuse_failure(struct failure **place, enum err code, const char *text) {
    log_refusal("failure", code, text, refuses_content(code) ? "dropped" : "sent again later");
    if (refuses_content(code))
        remove_failure(place);
    else
        (*place)->request = 0;
}

void delivery_refused(struct delivery *delivery, uint64_t request, enum err code, const char *text, uint64_t now_ms) {
    if (!refuses_content(code)) {
        delivery->not_before_ms = now_ms + delivery->refused_ms;
        delivery->refused_ms = delivery->refused_ms * 2 < REFUSED_MOST_MS ? delivery->refused_ms * 2 : REFUSED_MOST_MS;
    }
    if (request >> REQUEST_KIND_SHIFT == REQUEST_OFFER) {
        outbox_resend(delivery->outbox, true);
        log_refusal("offer", code, text, "offered again later");
        return;
    }
    for (struct parcel **place = &delivery->parcels; *place; place = &(*place)->next)
        if ((*place)->request == request) {
            refuse_parcel(delivery, place, code, text);
            return;
        }
    for (struct failure **place = &delivery->failures; *place; place = &(*place)->next)
        if ((*place)->request == request) {
            refuse_failure(place, code, text);
            return;
        }
}

void delivery_wanted(struct delivery *delivery, const struct digest *keys, size_t count) {
    outbox_wanted(delivery->outbox, keys, count);
}

void delivery_restart(struct delivery *delivery, uint32_t protocol) {
    delivery->offers = protocol >= 2;
    while (delivery->parcels)
        remove_parcel(&delivery->parcels);
    for (struct failure *failure = delivery->failures; failure; failure = failure->next)
        failure->request = 0;
    outbox_resend(delivery->outbox, delivery->offers);
    delivery->not_before_ms = 0;
}

bool delivery_is_done(struct delivery *delivery) {
    return !delivery->failures && outbox_count(delivery->outbox) == 0;
}

uint64_t delivery_waits_since_ms(struct delivery *delivery) {
    uint64_t since_ms = delivery->parcels ? delivery->parcels->sent_ms : 0;
    if (outbox_has_offered(delivery->outbox) && (!since_ms || delivery->offered_ms < since_ms))
        since_ms = delivery->offered_ms;
    for (struct failure *failure = delivery->failures; failure; failure = failure->next)
        if (failure->request && (!since_ms || failure->sent_ms < since_ms))
            since_ms = failure->sent_ms;
    return since_ms;
}

uint64_t delivery_wakes_ms(struct delivery *delivery) {
    return delivery->not_before_ms ? delivery->not_before_ms : UINT64_MAX;
}
