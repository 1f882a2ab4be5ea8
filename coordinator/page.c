/* page.c - pages: claimed in fair order, resolved outside, taken up again. */
#include <stdlib.h>

#include "coordinator/schedule_parts.h"

enum {
    LOOK_LIMIT = 1 << 18, /* places looked at in one turn */
    USERS_LIMIT = 32,     /* users looked at, in the order of their turns */
    SWEEPS_LIMIT = 16,    /* a user's sweeps looked at */
    STARVED_LIMIT = 4096  /* the same where nobody can take what is ready */
};

void page_release(struct page *page) {
    for (size_t i = 0; i < page->count; i++) {
        spec_release(&page->jobs[i].spec);
        free(page->jobs[i].canonical);
        free(page->jobs[i].failure);
    }
    free(page->jobs);
    *page = (struct page){ 0 };
}

void page_resolve(struct page *page) {
    for (size_t i = 0; i < page->count; i++) {
        struct page_job *job = &page->jobs[i];
        struct bytes text = BYTES_INIT;
        struct error error;
        job->failed = sweep_job(&job->spec, page->order->sweep, job->index, &error);
        if (job->failed) {
            job->failure = text_copy(error.message);
            continue;
        }
        spec_canonical(&text, &job->spec);
        job->key = digest_of(text.data, text.size);
        job->canonical = text_copy(bytes_text(&text));
        bytes_release(&text);
    }
}

/* ---- whose page -------------------------------------------------------------------------------------------------------- */

/* Jobs of this user that are ready, or soon, and go before those of `docket` or beside them; looked at no further than
 * `enough`. */
static uint64_t ahead_of(const struct docket *docket, uint64_t enough) {
    uint64_t ahead = docket->user->coming_jobs;
    for (const struct docket *ready = docket->user->ready;
         ready && ahead < enough && ready->order->priority >= docket->order->priority; ready = ready->ready_next)
        ahead += ready->ready;
    return ahead;
}

/* Is something of this model ready, or nearer to it? Only then need a younger sweep wait for an older one's jobs. */
static bool model_is_there(const struct docket *docket) {
    const struct spec *own = &docket->order->sweep->fixed;
    uint32_t looked = 0;
    for (const struct docket *ready = docket->user->ready; ready && looked < SWEEPS_LIMIT; ready = ready->ready_next, looked++)
        if (ready->order->sweep && spec_same_model(&ready->order->sweep->fixed, own))
            return true;
    for (const struct docket *claim = docket->user->claim_first; claim != docket; claim = claim->claim_next)
        if (spec_same_model(&claim->order->sweep->fixed, own))
            return true;
    return false;
}

static struct docket *user_claim(const struct scheduler *schedule, const struct user *user, uint64_t wanted) {
    uint32_t looked = 0, limit = schedule->starved ? STARVED_LIMIT : SWEEPS_LIMIT;
    for (struct docket *docket = user->claim_first; docket && looked < limit; docket = docket->claim_next, looked++) {
        if (docket->page_out)
            continue;
        bool none = docket->ready + docket->coming == 0;
        if (ahead_of(docket, wanted) < wanted || (none && (schedule->starved || (looked && !model_is_there(docket)))))
            return docket;
    }
    return NULL;
}

/* How many jobs of one user are kept ready. */
static uint64_t wanted_of_user(const struct scheduler *schedule, uint32_t wanted) {
    uint64_t target = 2 * (uint64_t)wanted < READY_MOST ? 2 * (uint64_t)wanted : READY_MOST;
    uint64_t users = schedule->share.count ? schedule->share.count : 1;
    return target / users > READY_LEAST ? target / users : READY_LEAST;
}

static struct docket *next_claim(struct scheduler *schedule, uint32_t wanted) {
    struct user *stash = NULL, *user;
    struct docket *docket = NULL;
    schedule_notice(schedule);
    if (!schedule->claimable || schedule->ready_count + schedule->coming_count + schedule->asked_count >= READY_LIMIT)
        return NULL;
    uint64_t each = wanted_of_user(schedule, wanted);
    for (uint32_t looked = 0; !docket && looked < USERS_LIMIT && (user = share_pop(&schedule->share, &stash)); looked++)
        docket = user_claim(schedule, user, each);
    share_restore(&schedule->share, stash);
    return docket;
}

bool schedule_wants_page(struct scheduler *schedule, uint32_t wanted) {
    return next_claim(schedule, wanted) != NULL;
}

static void come(struct scheduler *schedule, struct docket *docket, uint64_t jobs) {
    docket->coming += jobs;
    docket->user->coming_jobs += jobs;
    schedule->coming_count += jobs;
}

bool schedule_take_page(struct page *page, struct scheduler *schedule, uint32_t wanted) {
    uint32_t budget = LOOK_LIMIT, index;
    struct docket *docket;
    while (budget && (docket = next_claim(schedule, wanted))) {
        uint64_t size = wanted_of_user(schedule, wanted);
        size = size < docket->page_size ? docket->page_size : size > PAGE_MOST ? PAGE_MOST : size;
        *page = (struct page){ .order = docket->order, .life = docket->order->life };
        page->jobs = memory_get_array(size, sizeof *page->jobs);
        while (page->count < size && order_take(&index, docket->order, &budget))
            page->jobs[page->count++].index = index;
        docket_update(schedule, docket);
        if (page->count) {
            come(schedule, docket, page->count);
            schedule->page_count++;
            schedule->starved = false;
            docket->page_out = true;
            return true;
        }
        page_release(page);
    }
    return false;
}

/* ---- and back ---------------------------------------------------------------------------------------------------------- */

static void page_is_back(struct scheduler *schedule, const struct page *page) {
    struct docket *docket = page->order->docket;
    come(schedule, docket, -(uint64_t)page->count);
    schedule->page_count--;
    docket->page_out = false;
}

static bool page_is_void(const struct page *page) {
    return page->life != page->order->life;
}

void schedule_page_lost(struct scheduler *schedule, struct page *page) {
    page_is_back(schedule, page);
    for (size_t i = page->count; i-- > 0 && !page_is_void(page);)
        order_untake_one(page->order, page->jobs[i].index);
    docket_update(schedule, page->order->docket);
    page_release(page);
}

/* One of the page's jobs; true: the ledger must be asked. */
static bool add_job(struct scheduler *schedule, struct order *order, struct page_job *job) {
    struct flight *flight = schedule_find(schedule, &job->key);
    if (flight) {
        flight_add_place(schedule, flight, order, job->index);
        return false;
    }
    flight = flight_add(schedule, &job->key, &job->spec, &job->canonical);
    flight->state = FLIGHT_COMMITTING; /* in nobody's hands yet */
    flight_add_place(schedule, flight, order, job->index);
    if (bloom_has(schedule->bloom, &flight->key)) {
        flight_ask(schedule, flight);
        return true;
    }
    flight_ready(schedule, flight, false);
    return false;
}

static void learn_cost(struct docket *docket, double cost, size_t jobs) {
    if (!jobs)
        return;
    docket->order->job_cost = docket->job_cost = cost / (double)jobs;
    order_recount(docket->order);
}

void schedule_add_page(struct digest *asked, size_t *asked_count, struct scheduler *schedule, struct page *page) {
    struct docket *docket = page->order->docket;
    size_t before = *asked_count, resolved = 0;
    double cost = 0;
    page_is_back(schedule, page);
    for (size_t i = 0; i < page->count && !page_is_void(page); i++) {
        struct page_job *job = &page->jobs[i];
        if (job->failed) {
            schedule_lose(schedule, (struct place){ page->order, job->index }, job->failed, job->failure);
            continue;
        }
        resolved++;
        cost += spec_cost(&job->spec);
        if (add_job(schedule, page->order, job))
            asked[(*asked_count)++] = job->key;
    }
    learn_cost(docket, cost, resolved);
    /* A sweep that is mostly there already is gone through in large steps. */
    bool mostly_known = 2 * (*asked_count - before) > page->count;
    docket->page_size = !mostly_known ? PAGE_LEAST : docket->page_size < PAGE_MOST ? 2 * docket->page_size : PAGE_MOST;
    docket_update(schedule, docket);
    schedule_bump(schedule);
    page_release(page);
}

void schedule_answer(struct scheduler *schedule, const struct digest *key, bool known) {
    struct flight *flight = schedule_find(schedule, key);
    if (!flight || flight->state != FLIGHT_ASKED)
        return; /* its picture came meanwhile */
    schedule_bump(schedule);
    if (known) {
        for (uint32_t i = 0; i < flight->place_count; i++)
            schedule_mark(schedule, flight->places[i]);
        flight_remove(schedule, flight);
        return;
    }
    flight_take(schedule, flight);
    if (flight->committing)
        flight->state = FLIGHT_COMMITTING;
    else
        flight_ready(schedule, flight, false);
}

/* ---- what is to be made durable ------------------------------------------------------------------------------------------- */

void schedule_mark(struct scheduler *schedule, struct place place) {
    if (schedule->mark_count == schedule->mark_room) {
        schedule->mark_room = schedule->mark_room ? 2 * schedule->mark_room : 64;
        schedule->marks = memory_grow(schedule->marks, schedule->mark_room, sizeof *schedule->marks);
    }
    schedule->marks[schedule->mark_count++] = place;
}

void schedule_lose(struct scheduler *schedule, struct place place, enum err code, const char *text) {
    if (schedule->loss_count == schedule->loss_room) {
        schedule->loss_room = schedule->loss_room ? 2 * schedule->loss_room : 64;
        schedule->losses = memory_grow(schedule->losses, schedule->loss_room, sizeof *schedule->losses);
    }
    schedule->losses[schedule->loss_count++] = (struct loss){ place, code, text_copy(text) };
}
