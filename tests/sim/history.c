/* history.c - what everybody has told everybody, and what must hold of it. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"
#include "worker/delivery.h"

struct track *tracks;
struct record *records;
static uint64_t effects;
static bool fairness_judged;

enum { QUESTION_BITS = QUESTION_SWEEP_BITS + QUESTION_WHAT_BITS };

void history_begin(void) {
    tracks = memory_get_array(pool.sweep_count, sizeof *tracks);
    records = memory_get_array(pool.job_count, sizeof *records);
    effects = 0;
    fairness_judged = false;
}

void history_end(void) {
    free(tracks);
    free(records);
}

uint64_t history_effects(void) {
    return effects;
}

void history_effect(void) {
    effects++;
}

static struct record *record_of(const struct digest *key) {
    const struct pool_job *job = pool_find(key);
    return job ? &records[job - pool.jobs] : NULL;
}

bool is_poison(const struct digest *key) {
    return world.plan.poison && (key->bytes[9] ^ (world.seed & 0xff)) % world.plan.poison == 0;
}

/* What nobody has answered will not be answered: the questions died with the coordinator. */
void history_new_life(void) {
    for (uint32_t i = 0; i < pool.sweep_count; i++)
        tracks[i].reopening = 0;
}

/* ---- what is said, in words ------------------------------------------------------------------------------------------------ */

static const char *short_key(const struct digest *key) {
    static char texts[4][DIGEST_HEX_SIZE];
    static int at;
    at = (at + 1) % 4;
    digest_hex(key, texts[at]);
    texts[at][8] = 0;
    return texts[at];
}

static void add_keys(struct bytes *text, const struct digest *keys, size_t count) {
    for (size_t i = 0; i < count; i++)
        bytes_add_format(text, " %s", short_key(&keys[i]));
}

static void add_lease(struct bytes *text, uint64_t lease, uint32_t epoch) {
    bytes_add_format(text, " lease %" PRIu64 ".%" PRIu64 " epoch %u", lease >> 40, lease & 0xffffffffff, epoch);
}

static void add_progress(struct bytes *text, const struct message_progress *progress) {
    for (size_t i = 0; i < progress->count; i++) {
        const struct lease_progress *told = &progress->leases[i];
        add_lease(text, told->lease, told->epoch);
        bytes_add_format(text, " %s %u/%u", work_phase_name(told->phase), told->step, told->steps);
    }
}

static void add_status(struct bytes *text, const struct message_status_report *report) {
    for (size_t i = 0; i < report->count; i++) {
        const struct sweep_status *status = &report->sweeps[i];
        bytes_add_format(text, " [%s %s: %" PRIu64 " done, %" PRIu64 " failed, %" PRIu64 " running of %" PRIu64 "]", status->name,
                         sweep_state_name(status->state), status->done, status->failed, status->running, status->jobs);
    }
}

static void add_message(struct bytes *text, const struct message *message) {
    switch (message->type) {
    case MESSAGE_ASSIGN:
    case MESSAGE_HOLD:
        add_lease(text, message->assign.lease, message->assign.epoch);
        for (size_t i = 0; i < message->assign.count; i++)
            bytes_add_format(text, " %s", short_key(&message->assign.jobs[i].key));
        break;
    case MESSAGE_REVOKE: add_lease(text, message->revoke.lease, message->revoke.epoch); break;
    case MESSAGE_PROGRESS: add_progress(text, &message->progress); break;
    case MESSAGE_RESULTS:
        add_lease(text, message->results.lease, message->results.epoch);
        for (size_t i = 0; i < message->results.count; i++)
            bytes_add_format(text, " %s", short_key(&message->results.items[i].key));
        break;
    case MESSAGE_FAILURE:
        add_lease(text, message->failure.lease, message->failure.epoch);
        add_keys(text, message->failure.keys, message->failure.count);
        bytes_add_format(text, ": %s", message->failure.text);
        break;
    case MESSAGE_ACKNOWLEDGED:
    case MESSAGE_WANTED: add_keys(text, message->keys.keys, message->keys.count); break;
    case MESSAGE_REFUSED: bytes_add_format(text, " %s: %s", err_name(message->refused.code), message->refused.text); break;
    case MESSAGE_SUBMIT: bytes_add_format(text, " %s of %s", message->submit.name, message->submit.user); break;
    case MESSAGE_CANCEL:
    case MESSAGE_PAUSE:
    case MESSAGE_RESUME:
    case MESSAGE_RETRY: bytes_add_format(text, " %s", pool.sweeps[message->request & 0xff].name); break;
    case MESSAGE_DRAIN_WORKER: bytes_add_format(text, " %s%s", message->drain_worker.worker, message->drain_worker.stop ? " no more" : ""); break;
    case MESSAGE_LEASE_REQUEST: bytes_add_format(text, " %u", message->lease_request.jobs); break;
    case MESSAGE_STATUS_REPORT: add_status(text, &message->status_report); break;
    default: break;
    }
}

static void trace_message(const char *from, const char *to, const struct message *message) {
    struct bytes text = BYTES_INIT;
    if (!world.tracing)
        return;
    add_message(&text, message);
    trace("%s -> %s: %s%s", from, to, message_type_name(message->type), bytes_text(&text));
    bytes_release(&text);
}

/* ---- leases and acknowledgements ---------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct pool_job *job) {
    for (uint32_t i = 0; i < pool.sweep_count; i++)
        if ((job->sweeps >> i & 1) && tracks[i].asked && !tracks[i].cancelled && !tracks[i].paused)
            return true;
    return false;
}

/* When the first user has got all that it asked for: every user has had its share, but for what one lease more may be. */
static void judge_fairness(void) {
    bool over = false;
    double least = 1e9, most = 0, slack = 0;
    for (uint32_t i = 0; i < pool.sweep_count; i++)
        if (tracks[i].asked) {
            double share = (double)tracks[i].assigned / world.plan.weights[tracks[i].user];
            least = share < least ? share : least;
            most = share > most ? share : most;
            over = over || tracks[i].assigned >= pool.sweeps[i].count;
            slack += 2.0 * world.plan.max_batch / world.plan.weights[tracks[i].user];
        }
    if (!over)
        return;
    fairness_judged = true;
    if (most - least > slack + world.plan.max_batch)
        broken("unfair: a unit of weight has got between %.1f and %.1f jobs", least, most);
}

static void note_assign(int to, const struct message_assign *assign) {
    effects++;
    for (size_t i = 0; i < assign->count; i++) {
        const struct pool_job *job = pool_find(&assign->jobs[i].key);
        if (!is_wanted(job))
            broken("job %s is leased to %s, though every sweep that wants it is cancelled or paused", short_key(&job->key),
                   node_name(to));
        if (records[job - pool.jobs].acknowledged)
            broken("job %s is leased to %s, though its picture was acknowledged", short_key(&job->key), node_name(to));
        for (uint32_t s = 0; s < pool.sweep_count; s++)
            tracks[s].assigned += (job->sweeps >> s & 1) && tracks[s].asked;
    }
    if (world.plan.fair && !fairness_judged)
        judge_fairness();
}

static void note_acknowledged(const struct message *message) {
    enum request_kind kind = (enum request_kind)(message->request >> REQUEST_KIND_SHIFT);
    if (kind == REQUEST_FAILURE)
        return;
    for (size_t i = 0; i < message->keys.count; i++) {
        struct pool_job *job = pool_find(&message->keys.keys[i]);
        record_of(&job->key)->acknowledged = true;
        if (!objects_has(&job->picture))
            broken("job %s is acknowledged before its picture is durable", short_key(&job->key));
    }
}

/* Liars lie about pictures; the bytes that they send are whole all the same. */
static void note_results(int from, const struct message_results *results) {
    for (size_t i = 0; i < results->count; i++) {
        const struct result_item *item = &results->items[i];
        struct pool_job *job = pool_find(&item->key);
        pool_draw(job);
        if (item->png_size != job->png.size || memcmp(item->png, job->png.data, item->png_size) != 0)
            broken("%s delivers a torn picture of job %s", node_name(from), short_key(&job->key));
    }
}

/* ---- what clients are told ------------------------------------------------------------------------------------------------------ */

static void note_status(const struct message_status_report *report) {
    for (size_t i = 0; i < report->count; i++) {
        const struct sweep_status *status = &report->sweeps[i];
        for (uint32_t s = 0; s < pool.sweep_count; s++) {
            struct track *track = &tracks[s];
            if (!digest_equal(&pool.sweeps[s].id, &status->id))
                continue;
            if (status->done < track->told_done)
                broken("%s had %" PRIu64 " done, now it has %" PRIu64, pool.sweeps[s].name, track->told_done, status->done);
            if (status->done + status->failed > status->jobs)
                broken("%s has more done and failed than jobs", pool.sweeps[s].name);
            if (status->rendered > status->done)
                broken("%s has %" PRIu64 " rendered and %" PRIu64 " done", pool.sweeps[s].name, status->rendered, status->done);
            track->told_done = status->done;
            /* Asked again and not answered: what is said may be of before. */
            track->told_failed = track->reopening ? 0 : status->failed;
            track->told_over = !track->reopening && status->state == SWEEP_DONE;
        }
    }
}

static struct track *asked_about(uint64_t request, enum script_what *what) {
    *what = (enum script_what)(request >> QUESTION_SWEEP_BITS & 0xff);
    return *what <= DO_PRIORITY ? &tracks[request & 0xff] : NULL;
}

static void note_answer(const struct message *message) {
    enum script_what what;
    struct track *track = asked_about(message->request, &what);
    bool yes = message->type != MESSAGE_REFUSED;
    if (!track)
        return;
    if (what == DO_SUBMIT || what == DO_RETRY) {
        track->reopening -= track->reopening > 0;
        track->cancelled = track->paused = false;
        track->accepted = track->accepted || (what == DO_SUBMIT && yes);
    } else if (yes && track->last_question == message->request && !track->reopening) {
        track->cancelled = track->cancelled || what == DO_CANCEL;
        track->paused = track->paused || what == DO_PAUSE;
    }
}

static void note_question(const struct message *message) {
    enum script_what what;
    struct track *track = asked_about(message->request, &what);
    if (!track || what == DO_PRIORITY)
        return;
    track->last_question = message->request;
    if (what == DO_SUBMIT || what == DO_RETRY) {
        track->asked = track->asked || what == DO_SUBMIT;
        track->reopening++;
        track->cancelled = track->paused = track->told_over = false;
        track->told_failed = 0;
    } else {
        track->paused = false;
    }
}

void history_sent(int to, const struct message *message) {
    trace_message("coordinator", node_name(to), message);
    if (message->type == MESSAGE_ASSIGN)
        note_assign(to, &message->assign);
    else if (message->type == MESSAGE_REVOKE)
        effects++;
    else if (message->type == MESSAGE_ACKNOWLEDGED)
        note_acknowledged(message);
    else if (message->type == MESSAGE_STATUS_REPORT)
        note_status(&message->status_report);
    if (to == FIRST_CLIENT)
        note_answer(message);
}

void history_heard(int from, const struct message *message) {
    trace_message(node_name(from), "coordinator", message);
    if (message->type == MESSAGE_RESULTS)
        note_results(from, &message->results);
    if (from == FIRST_CLIENT)
        note_question(message);
}

/* ---- drawing ---------------------------------------------------------------------------------------------------------------------- */

void history_render(int worker, const struct digest *key) {
    (void)worker;
    record_of(key)->renders++;
}

void history_failure(int worker, const struct digest *key) {
    record_of(key)->failures++;
    record_of(key)->failed_by |= 1u << worker;
}

void history_list(uint32_t sweep, const struct message_jobs *jobs) {
    const struct pool_sweep *of = &pool.sweeps[sweep];
    for (size_t i = 0; i < jobs->count; i++) {
        const struct listed_job *listed = &jobs->jobs[i];
        const struct pool_job *job = &pool.jobs[of->jobs[listed->index]];
        if (!digest_equal(&listed->key, &job->key))
            broken("%s lists job %" PRIu64 " with another key", of->name, listed->index);
        if (listed->state == JOB_DONE && (!digest_equal(&listed->picture, &job->picture) || !objects_has(&job->picture)))
            broken("%s lists job %" PRIu64 " as done, and its picture is not there", of->name, listed->index);
    }
}
