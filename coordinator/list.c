/*
 * list.c - LIST: a page of a sweep's jobs. States come from the bitmaps, specs and keys from the plan desk, pictures and
 * sentences from the ledger.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/control.h"
#include "coordinator/farm.h"

enum { LOOK_LIMIT = 1 << 17 /* places looked at for one answer; `next` goes on from there */, JOB_ROOM = 256 };

struct listing {
    struct task task; /* first */
    struct coordinator *farm;
    struct route route;
    uint64_t request, sweep_number;
    const struct sweep *sweep; /* never closed once open */
    struct message_jobs jobs;  /* owned */
    struct ledger_found *found;
    enum err err;
    struct error error;
};

static void listing_free(struct listing *listing) {
    for (size_t i = 0; i < listing->jobs.count; i++) {
        free(listing->jobs.jobs[i].spec);
        free(listing->jobs.jobs[i].error);
    }
    free(listing->jobs.jobs);
    free(listing->found);
    free(listing);
}

/* The answer ends before job `count`. */
static void cut(struct listing *listing, size_t count) {
    listing->jobs.next = listing->jobs.jobs[count].index;
    for (size_t i = count; i < listing->jobs.count; i++) {
        free(listing->jobs.jobs[i].spec);
        free(listing->jobs.jobs[i].error);
    }
    listing->jobs.count = count;
}

static void spec_work(struct task *task) {
    struct listing *listing = (struct listing *)task;
    size_t bytes = 0;
    for (size_t i = 0; i < listing->jobs.count; i++) {
        struct listed_job *job = &listing->jobs.jobs[i];
        struct spec spec;
        struct bytes text = BYTES_INIT;
        struct error error;
        if (sweep_job(&spec, listing->sweep, job->index, &error) != ERR_OK) {
            job->spec = text_copy(""); /* a table's row that is no job: it failed for that */
            job->error = text_copy(error.message);
            continue;
        }
        spec_canonical(&text, &spec);
        spec_release(&spec);
        job->key = digest_of(text.data, text.size);
        job->spec = text_copy(bytes_text(&text));
        bytes += text.size + JOB_ROOM;
        bytes_release(&text);
        if (bytes > MESSAGE_ROOM && i + 1 < listing->jobs.count) {
            cut(listing, i + 1);
            break;
        }
    }
}

static enum err find_pictures(struct listing *listing, struct error *error) {
    size_t count = listing->jobs.count, done = 0;
    struct digest *keys = memory_get_array(count + 1, sizeof *keys);
    size_t *places = memory_get_array(count + 1, sizeof *places);
    char hex[DIGEST_HEX_SIZE];
    for (size_t i = 0; i < count; i++)
        if (listing->jobs.jobs[i].state == JOB_DONE) {
            places[done] = i;
            keys[done++] = listing->jobs.jobs[i].key;
        }
    listing->found = memory_get_array(count + 1, sizeof *listing->found);
    enum err err = ledger_find(listing->found, listing->farm->ledger, keys, done, error);
    for (size_t i = 0; i < done && !err; i++) {
        struct listed_job *job = &listing->jobs.jobs[places[i]];
        digest_hex(&job->key, hex);
        if (!listing->found[i].found)
            err = error_set(error, ERR_CORRUPT, "ledger: job %" PRIu64 " (key %s) is marked done, its result is not there",
                            job->index, hex);
        job->picture = listing->found[i].result.picture;
        job->pixels = listing->found[i].result.pixels;
    }
    free(keys);
    free(places);
    return err;
}

static void ledger_work(struct task *task) {
    struct listing *listing = (struct listing *)task;
    listing->err = find_pictures(listing, &listing->error);
    for (size_t i = 0; i < listing->jobs.count && !listing->err; i++) {
        struct listed_job *job = &listing->jobs.jobs[i];
        struct bytes text = BYTES_INIT;
        if (job->state != JOB_FAILED)
            continue;
        listing->err = ledger_failure_text(&text, listing->farm->ledger, listing->sweep_number, (uint32_t)job->index,
                                           &listing->error);
        free(job->error);
        job->error = text_copy(bytes_text(&text));
        bytes_release(&text);
    }
}

static void ledger_finish(struct task *task) {
    struct listing *listing = (struct listing *)task;
    struct message answer = { .type = MESSAGE_JOBS, .request = listing->request, .jobs = listing->jobs };
    if (listing->err)
        farm_refuse(listing->farm, &listing->route, listing->request, &listing->error);
    else
        farm_send(listing->farm, &listing->route, &answer);
    listing_free(listing);
}

static void spec_finish(struct task *task) {
    struct listing *listing = (struct listing *)task;
    listing->task = (struct task){ .work = ledger_work, .finish = ledger_finish };
    desk_post(listing->farm->ledger_desk, task);
}

/* Which indexes, and their states; `next` is where the following answer begins. */
static void choose(struct listing *listing, const struct order *order, const struct message_list *list) {
    uint32_t budget = LOOK_LIMIT;
    uint64_t index = list->from;
    size_t room = list->limit < order->places ? list->limit : (size_t)order->places;
    listing->jobs.jobs = memory_get_array(room + 1, sizeof *listing->jobs.jobs);
    while (listing->jobs.count < room) {
        index = order_find_state(order, index, (enum job_state)list->state, &budget);
        if (index >= order->places || !budget)
            break;
        listing->jobs.jobs[listing->jobs.count++] =
            (struct listed_job){ .index = index, .state = order_job_state(order, index) };
        index++;
    }
    listing->jobs.next = index < order->places ? index : 0;
}

void list_take(struct coordinator *farm, const struct route *route, struct message *message) {
    struct order *order;
    struct error error;
    if (queue_find_word(&order, &farm->queue, message->list.sweep, &error) != ERR_OK) {
        farm_refuse(farm, route, message->request, &error);
        return;
    }
    if (!control_sweep_is_open(farm, order, route, message))
        return;
    struct listing *listing = memory_get(sizeof *listing);
    listing->task = (struct task){ .work = spec_work, .finish = spec_finish };
    listing->farm = farm;
    listing->route = *route;
    listing->request = message->request;
    listing->sweep_number = order->number;
    listing->sweep = order->sweep;
    choose(listing, order, &message->list);
    desk_post(farm->plan_desk, &listing->task);
}
