/*
 * codec_decode.c - protobuf to our structs: the one place where bytes of the network are held against limits.
 *
 * Memory is bounded before it is taken: unpacking works on a budget that grows with the message's own size, so that a
 * small message of many empty parts cannot cost gigabytes. Pictures and chunks are moved, not copied.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/farm.pb-c.h"
#include "proto/message.h"

/* The first failure of a message sticks; what comes behind it is not looked at. */
struct reader {
    const char *what; /* the message's name */
    enum err code;
    struct error *error;
};

static void reader_refuse(struct reader *reader, const char *member, const char *want, uint64_t have)
{
    if (reader->code == ERR_OK)
        reader->code = error_set(reader->error, ERR_CORRUPT, "message %s: %s: want %s, have %llu", reader->what, member, want,
                                 (unsigned long long)have);
}

static void want_range(struct reader *reader, uint64_t value, uint64_t minimum, uint64_t maximum, const char *member)
{
    if (reader->code == ERR_OK && (value < minimum || value > maximum))
        reader->code = error_set(reader->error, ERR_CORRUPT, "message %s: %s: want %llu..%llu, have %llu", reader->what, member,
                                 (unsigned long long)minimum, (unsigned long long)maximum, (unsigned long long)value);
}

/* A text of minimum..limit bytes. NULL only after a failure. */
static char *take_text(struct reader *reader, const ProtobufCBinaryData *from, size_t minimum, size_t limit,
                       const char *member)
{
    size_t place;
    want_range(reader, from->len, minimum, limit, member);
    if (reader->code != ERR_OK)
        return NULL;
    if (from->len && memchr(from->data, 0, from->len))
        reader_refuse(reader, member, "a text without NUL", 0);
    else if (from->len && !utf8_valid(from->data, from->len, &place))
        reader_refuse(reader, member, "UTF-8, not a bad byte at", place);
    return reader->code == ERR_OK ? text_copy_size(from->len ? (const char *)from->data : "", from->len) : NULL;
}

/* A name: short, and without control characters, for it is shown on terminals. */
static char *take_name(struct reader *reader, const ProtobufCBinaryData *from, size_t minimum, const char *member)
{
    for (size_t i = 0; i < from->len && i <= LIMIT_NAME; i++)
        if (from->data[i] < 0x20 || from->data[i] == 0x7f)
            reader_refuse(reader, member, "a name without control characters, not byte", from->data[i]);
    return take_text(reader, from, minimum, LIMIT_NAME, member);
}

static void take_digest(struct reader *reader, struct digest *to, const ProtobufCBinaryData *from, const char *member)
{
    if (from->len != DIGEST_SIZE)
        reader_refuse(reader, member, "a digest of 32 bytes", from->len);
    else
        memcpy(to->bytes, from->data, DIGEST_SIZE);
}

/* Absent is zero. */
static void take_digest_or_nothing(struct reader *reader, struct digest *to, const ProtobufCBinaryData *from,
                                   const char *member)
{
    if (from->len)
        take_digest(reader, to, from, member);
}

static struct digest *take_digests(struct reader *reader, size_t *count, const ProtobufCBinaryData *from, size_t limit,
                                   const char *member)
{
    if (from->len % DIGEST_SIZE)
        reader_refuse(reader, member, "whole digests of 32 bytes", from->len);
    want_range(reader, from->len / DIGEST_SIZE, 0, limit, member);
    if (reader->code != ERR_OK || from->len == 0)
        return NULL;
    struct digest *digests = memory_get_array(from->len / DIGEST_SIZE, sizeof *digests);
    memcpy(digests, from->data, from->len);
    *count = from->len / DIGEST_SIZE;
    return digests;
}

/* Moves the bytes out of the unpacked message (its allocator is malloc). */
static uint8_t *take_data(struct reader *reader, size_t *size, ProtobufCBinaryData *from, size_t minimum, size_t limit,
                          const char *member)
{
    want_range(reader, from->len, minimum, limit, member);
    if (reader->code != ERR_OK || from->len == 0)
        return NULL;
    uint8_t *data = from->data;
    *size = from->len;
    *from = (ProtobufCBinaryData){0, NULL};
    return data;
}

/* An array of `count` zeroed elements, once the count is within limits; its count is for the caller to store. */
static void *take_array(struct reader *reader, size_t *to, size_t count, size_t minimum, size_t limit, size_t size,
                        const char *member)
{
    want_range(reader, count, minimum, limit, member);
    if (reader->code != ERR_OK || count == 0)
        return NULL;
    *to = count;
    return memory_get_array(count, size);
}

static int32_t take_priority(struct reader *reader, int32_t priority)
{
    if (reader->code == ERR_OK && (priority < -LIMIT_PRIORITY || priority > LIMIT_PRIORITY))
        reader->code = error_set(reader->error, ERR_CORRUPT, "message %s: priority: want %d..%d, have %d", reader->what,
                                 -LIMIT_PRIORITY, LIMIT_PRIORITY, priority);
    return priority;
}

static double take_rate(struct reader *reader, double rate, const char *member)
{
    if (!isfinite(rate) || rate < 0)
        reader_refuse(reader, member, "a rate of 0 or more", 0);
    return rate;
}

/* ---- workers ------------------------------------------------------------------------------------------------------ */

static void decode_refused(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Refused *body = envelope->refused;
    want_range(reader, (uint64_t)body->code, 1, ERR_COUNT - 1, "code");
    message->refused.code = (enum err)body->code;
    message->refused.text = take_text(reader, &body->text, 0, LIMIT_SENTENCE, "text");
}

static void decode_empty(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    (void)reader;
    (void)message;
    (void)envelope;
}

static void decode_worker_hello(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__WorkerHello *body = envelope->worker_hello;
    struct message_worker_hello *to = &message->worker_hello;
    to->protocol = body->protocol;
    to->name = take_name(reader, &body->name, 1, "name");
    to->host = take_name(reader, &body->host, 0, "host");
    to->pid = body->pid;
    to->device = take_name(reader, &body->device, 1, "device");
    to->device_class = take_name(reader, &body->device_class, 1, "device_class");
    to->version = take_name(reader, &body->version, 0, "version");
    to->threads = body->threads;
    to->batch = body->batch;
    want_range(reader, to->batch, 1, LIMIT_BATCH, "batch");
    to->memory_bytes = body->memory_bytes;
    to->protocol_least = body->protocol_least ? body->protocol_least : body->protocol;
    want_range(reader, to->protocol_least, 0, to->protocol, "protocol_least");
    to->numerics = body->numerics ? body->numerics : 1u << NUMERICS_FP32;
    to->models = take_digests(reader, &to->model_count, &body->models, LIMIT_MODELS_AT_HAND, "models");
}

static void decode_welcome(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Welcome *body = envelope->welcome;
    (void)reader;
    message->welcome = (struct message_welcome){
        .protocol = body->protocol, .worker = body->worker, .heartbeat_ms = body->heartbeat_ms,
        .liveness_ms = body->liveness_ms, .credit_bytes = body->credit_bytes,
    };
}

static void decode_lease_request(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__LeaseRequest *body = envelope->lease_request;
    struct message_lease_request *to = &message->lease_request;
    *to = (struct message_lease_request){ .jobs = body->jobs, .batch = body->batch, .width = body->width, .height = body->height };
    want_range(reader, to->jobs, 1, UINT32_MAX, "jobs");
    want_range(reader, to->batch, 0, LIMIT_BATCH, "batch");
    want_range(reader, to->width, 0, LIMIT_SIDE, "width");
    want_range(reader, to->height, 0, LIMIT_SIDE, "height");
    to->models = take_digests(reader, &to->model_count, &body->models, LIMIT_MODELS_AT_HAND, "models");
}

static void decode_assign(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Assign *body = message->type == MESSAGE_HOLD ? envelope->hold : envelope->assign;
    struct message_assign *to = &message->assign;
    to->lease = body->lease;
    to->epoch = body->epoch;
    to->deadline_ms = body->deadline_ms;
    to->jobs = take_array(reader, &to->count, body->n_jobs, 1, LIMIT_BATCH, sizeof *to->jobs, "jobs");
    for (size_t i = 0; i < to->count; i++) {
        take_digest(reader, &to->jobs[i].key, &body->jobs[i]->key, "key");
        to->jobs[i].spec = take_text(reader, &body->jobs[i]->spec, 1, LIMIT_SPEC_BYTES, "spec");
    }
}

static void decode_progress(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Progress *body = envelope->progress;
    struct message_progress *to = &message->progress;
    to->leases = take_array(reader, &to->count, body->n_leases, 0, LIMIT_LEASES, sizeof *to->leases, "leases");
    for (size_t i = 0; i < to->count; i++) {
        const Farm__Progress__Lease *lease = body->leases[i];
        want_range(reader, (uint64_t)lease->phase, PHASE_FETCH, PHASE_DELIVER, "phase");
        to->leases[i] = (struct lease_progress){
            .lease = lease->lease, .epoch = lease->epoch, .phase = (enum work_phase)lease->phase,
            .step = lease->step, .steps = lease->steps,
        };
    }
}

static void decode_results(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Results *body = envelope->results;
    struct message_results *to = &message->results;
    to->lease = body->lease;
    to->epoch = body->epoch;
    to->items = take_array(reader, &to->count, body->n_items, 1, LIMIT_BATCH, sizeof *to->items, "items");
    for (size_t i = 0; i < to->count; i++) {
        Farm__Results__Item *item = body->items[i];
        take_digest(reader, &to->items[i].key, &item->key, "key");
        take_digest(reader, &to->items[i].picture, &item->picture, "picture");
        take_digest(reader, &to->items[i].pixels, &item->pixels, "pixels");
        to->items[i].render_ms = item->render_ms;
        to->items[i].png = take_data(reader, &to->items[i].png_size, &item->png, 1, LIMIT_PICTURE, "png");
    }
}

static void decode_failure(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Failure *body = envelope->failure;
    struct message_failure *to = &message->failure;
    to->lease = body->lease;
    to->epoch = body->epoch;
    to->keys = take_digests(reader, &to->count, &body->keys, LIMIT_BATCH, "keys");
    want_range(reader, (uint64_t)body->code, 1, ERR_COUNT - 1, "code");
    to->code = (enum err)body->code;
    to->text = take_text(reader, &body->text, 0, LIMIT_SENTENCE, "text");
}

static void decode_keys(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Keys *body = message->type == MESSAGE_MISSING  ? envelope->missing
                             : message->type == MESSAGE_WANTED ? envelope->wanted
                             : message->type == MESSAGE_OFFER  ? envelope->offer
                                                               : envelope->acknowledged;
    message->keys.keys = take_digests(reader, &message->keys.count, &body->keys, LIMIT_KEYS, "keys");
}

static void decode_revoke(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    (void)reader;
    message->revoke.lease = envelope->revoke->lease;
    message->revoke.epoch = envelope->revoke->epoch;
}

/* ---- clients ------------------------------------------------------------------------------------------------------ */

static void decode_submit(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Submit *body = envelope->submit;
    struct message_submit *to = &message->submit;
    to->name = take_name(reader, &body->name, 1, "name");
    to->user = take_name(reader, &body->user, 0, "user");
    to->sweep = take_text(reader, &body->sweep, 1, LIMIT_SWEEP_BYTES, "sweep");
    to->sweep_size = body->sweep.len;
    to->priority = take_priority(reader, body->priority);
}

static void decode_submitted(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Submitted *body = envelope->submitted;
    take_digest(reader, &message->submitted.sweep, &body->sweep, "sweep");
    message->submitted.jobs = body->jobs;
    message->submitted.places = body->places;
    message->submitted.known = body->known;
    want_range(reader, body->automatic, 0, NUMERICS_COUNT, "automatic");
    message->submitted.automatic = body->automatic ? (enum numerics)(body->automatic - 1) : NUMERICS_AUTO;
}

static void decode_piece(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    Farm__Piece *body = message->type == MESSAGE_PUT ? envelope->put : envelope->chunk;
    struct message_chunk *to = &message->chunk; /* message_put is the same: codec_encode.c asserts it */
    take_digest(reader, &to->digest, &body->digest, "digest");
    want_range(reader, body->total, 0, LIMIT_OBJECT, "total");
    want_range(reader, body->offset, 0, body->total, "offset");
    want_range(reader, body->data.len, 0, body->total - body->offset, "bytes behind offset");
    to->offset = body->offset;
    to->total = body->total;
    to->data = take_data(reader, &to->size, &body->data, 0, LIMIT_CHUNK, "data");
}

static void decode_fetch(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Fetch *body = envelope->fetch;
    take_digest(reader, &message->fetch.digest, &body->digest, "digest");
    want_range(reader, body->offset, 0, LIMIT_OBJECT, "offset");
    want_range(reader, body->size, 1, LIMIT_CHUNK, "size");
    message->fetch.offset = body->offset;
    message->fetch.size = body->size;
}

static void decode_sweep_ref(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__SweepRef *body = message->type == MESSAGE_STATUS   ? envelope->status
                                 : message->type == MESSAGE_CANCEL ? envelope->cancel
                                 : message->type == MESSAGE_PAUSE  ? envelope->pause
                                 : message->type == MESSAGE_RESUME ? envelope->resume
                                                                   : envelope->retry;
    message->sweep_ref.sweep = take_name(reader, &body->sweep, 0, "sweep");
}

static void decode_status_report(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__StatusReport *body = envelope->status_report;
    struct message_status_report *to = &message->status_report;
    to->store_free_bytes = body->store_free_bytes;
    to->workers = body->workers;
    to->sweeps = take_array(reader, &to->count, body->n_sweeps, 0, LIMIT_SWEEPS, sizeof *to->sweeps, "sweeps");
    for (size_t i = 0; i < to->count && reader->code == ERR_OK; i++) {
        const Farm__StatusReport__Sweep *sweep = body->sweeps[i];
        want_range(reader, (uint64_t)sweep->state, SWEEP_ACTIVE, SWEEP_PAUSED, "state");
        to->sweeps[i] = (struct sweep_status){
            .name = take_name(reader, &sweep->name, 0, "name"),
            .user = take_name(reader, &sweep->user, 0, "user"),
            .state = (enum sweep_state)sweep->state,
            .places = sweep->places, .jobs = sweep->jobs, .done = sweep->done, .failed = sweep->failed,
            .running = sweep->running, .waiting = sweep->waiting, .rendered = sweep->rendered,
            .submitted_unix_ms = sweep->submitted_unix_ms, .finished_unix_ms = sweep->finished_unix_ms,
            .jobs_per_second = take_rate(reader, sweep->jobs_per_second, "jobs_per_second"),
            .eta_ms = sweep->eta_ms,
            .last_error = take_text(reader, &sweep->last_error, 0, LIMIT_SENTENCE, "last_error"),
            .priority = take_priority(reader, sweep->priority),
            .running_done = take_rate(reader, sweep->running_done, "running_done"),
            .device_ms = sweep->device_ms,
        };
        take_digest(reader, &to->sweeps[i].id, &sweep->id, "id");
    }
}

static void decode_list(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__List *body = envelope->list;
    message->list.sweep = take_name(reader, &body->sweep, 1, "sweep");
    want_range(reader, body->limit, 1, LIMIT_LIST, "limit");
    want_range(reader, (uint64_t)body->state, 0, JOB_EXCLUDED, "state");
    message->list.from = body->from;
    message->list.limit = body->limit;
    message->list.state = (uint32_t)body->state;
}

static void decode_jobs(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Jobs *body = envelope->jobs;
    struct message_jobs *to = &message->jobs;
    to->next = body->next;
    to->jobs = take_array(reader, &to->count, body->n_jobs, 0, LIMIT_LIST, sizeof *to->jobs, "jobs");
    for (size_t i = 0; i < to->count && reader->code == ERR_OK; i++) {
        const Farm__Jobs__Job *job = body->jobs[i];
        struct listed_job *listed = &to->jobs[i];
        listed->index = job->index;
        want_range(reader, (uint64_t)job->state, JOB_WAITING, JOB_EXCLUDED, "state");
        listed->state = (enum job_state)job->state;
        take_digest(reader, &listed->key, &job->key, "key");
        take_digest_or_nothing(reader, &listed->picture, &job->picture, "picture");
        take_digest_or_nothing(reader, &listed->pixels, &job->pixels, "pixels");
        listed->spec = take_text(reader, &job->spec, 0, LIMIT_SPEC_BYTES, "spec");
        listed->error = take_text(reader, &job->error, 0, LIMIT_SENTENCE, "error");
    }
}

static void decode_explain(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Explain *body = envelope->explain;
    message->explain.sweep = take_name(reader, &body->sweep, 0, "sweep");
    message->explain.has_index = body->has_index;
    message->explain.index = body->index;
}

static void decode_explanation(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Explanation *body = envelope->explanation;
    message->explanation.rule = take_name(reader, &body->rule, 1, "rule");
    message->explanation.text = take_text(reader, &body->text, 0, LIMIT_SENTENCE, "text");
}

static void decode_workers_report(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__WorkersReport *body = envelope->workers_report;
    struct message_workers_report *to = &message->workers_report;
    to->workers = take_array(reader, &to->count, body->n_workers, 0, LIMIT_WORKERS, sizeof *to->workers, "workers");
    for (size_t i = 0; i < to->count && reader->code == ERR_OK; i++) {
        const Farm__WorkersReport__Worker *worker = body->workers[i];
        want_range(reader, (uint64_t)worker->phase, 0, PHASE_DELIVER, "phase");
        to->workers[i] = (struct worker_status){
            .worker = worker->worker,
            .name = take_name(reader, &worker->name, 1, "name"),
            .host = take_name(reader, &worker->host, 0, "host"),
            .device = take_name(reader, &worker->device, 0, "device"),
            .device_class = take_name(reader, &worker->device_class, 0, "device_class"),
            .version = take_name(reader, &worker->version, 0, "version"),
            .pid = worker->pid, .threads = worker->threads, .batch = worker->batch,
            .connected_unix_ms = worker->connected_unix_ms, .silent_ms = worker->silent_ms,
            .jobs_done = worker->jobs_done, .jobs_failed = worker->jobs_failed, .leased = worker->leased,
            .phase = (enum work_phase)worker->phase, .step = worker->step, .steps = worker->steps,
            .jobs_per_second = take_rate(reader, worker->jobs_per_second, "jobs_per_second"),
            .protocol = worker->protocol, .draining = worker->draining, .benched_ms = worker->benched_ms,
            .bench_reason = take_text(reader, &worker->bench_reason, 0, LIMIT_SENTENCE, "bench_reason"),
            .job_ms = take_rate(reader, worker->job_ms, "job_ms"),
            .memory_bytes = worker->memory_bytes,
        };
        take_digest_or_nothing(reader, &to->workers[i].model, &worker->model, "model");
    }
}

static void decode_priority(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__Priority *body = envelope->priority;
    message->priority.sweep = take_name(reader, &body->sweep, 1, "sweep");
    message->priority.priority = take_priority(reader, body->priority);
}

static void decode_drain_worker(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__DrainWorker *body = envelope->drain_worker;
    message->drain_worker.worker = take_name(reader, &body->worker, 1, "worker");
    message->drain_worker.stop = body->stop;
}

static void decode_usage_report(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    const Farm__UsageReport *body = envelope->usage_report;
    struct message_usage_report *to = &message->usage_report;
    to->users = take_array(reader, &to->count, body->n_users, 0, LIMIT_USERS, sizeof *to->users, "users");
    for (size_t i = 0; i < to->count && reader->code == ERR_OK; i++) {
        const Farm__UsageReport__User *user = body->users[i];
        want_range(reader, user->weight, 1, LIMIT_WEIGHT, "weight");
        to->users[i] = (struct user_usage){
            .user = take_name(reader, &user->user, 0, "user"), .weight = user->weight, .device_ms = user->device_ms,
            .jobs = user->jobs, .waiting = user->waiting, .running = user->running,
        };
    }
}

/* ---- previews ----------------------------------------------------------------------------------------------------- */

static void decode_preview(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    message->preview.sweep = take_name(reader, &envelope->preview->sweep, 1, "sweep");
    message->preview.index = envelope->preview->index;
}

static void decode_show(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    take_digest(reader, &message->show.key, &envelope->show->key, "key");
}

static void decode_previewed(struct reader *reader, struct message *message, Farm__Envelope *envelope)
{
    Farm__Previewed *body = envelope->previewed;
    struct message_previewed *to = &message->previewed;
    *to = (struct message_previewed){.step = body->step, .steps = body->steps, .width = body->width, .height = body->height};
    take_digest(reader, &to->key, &body->key, "key");
    want_range(reader, to->step, 0, to->steps, "step");
    want_range(reader, to->width, 1, LIMIT_PREVIEW_SIDE, "width");
    want_range(reader, to->height, 1, LIMIT_PREVIEW_SIDE, "height");
    if (reader->code == ERR_OK) {
        size_t size = (size_t)to->width * to->height * 3;
        to->rgb = take_data(reader, &size, &body->rgb, size, size, "rgb");
    }
    to->worker = take_name(reader, &body->worker, 0, "worker");
}

/* ---- the envelope ------------------------------------------------------------------------------------------------- */

typedef void decoder(struct reader *reader, struct message *message, Farm__Envelope *envelope);

static decoder *const decoders[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_REFUSED] = decode_refused,
    [MESSAGE_DONE] = decode_empty,
    [MESSAGE_WORKER_HELLO] = decode_worker_hello,
    [MESSAGE_LEASE_REQUEST] = decode_lease_request,
    [MESSAGE_PROGRESS] = decode_progress,
    [MESSAGE_RESULTS] = decode_results,
    [MESSAGE_FAILURE] = decode_failure,
    [MESSAGE_GOODBYE] = decode_empty,
    [MESSAGE_WELCOME] = decode_welcome,
    [MESSAGE_ASSIGN] = decode_assign,
    [MESSAGE_ACKNOWLEDGED] = decode_keys,
    [MESSAGE_REVOKE] = decode_revoke,
    [MESSAGE_SUBMIT] = decode_submit,
    [MESSAGE_MISSING] = decode_keys,
    [MESSAGE_PUT] = decode_piece,
    [MESSAGE_FETCH] = decode_fetch,
    [MESSAGE_STATUS] = decode_sweep_ref,
    [MESSAGE_LIST] = decode_list,
    [MESSAGE_CANCEL] = decode_sweep_ref,
    [MESSAGE_EXPLAIN] = decode_explain,
    [MESSAGE_WORKERS] = decode_empty,
    [MESSAGE_SUBMITTED] = decode_submitted,
    [MESSAGE_CHUNK] = decode_piece,
    [MESSAGE_STATUS_REPORT] = decode_status_report,
    [MESSAGE_JOBS] = decode_jobs,
    [MESSAGE_EXPLANATION] = decode_explanation,
    [MESSAGE_WORKERS_REPORT] = decode_workers_report,
    [MESSAGE_HOLD] = decode_assign,
    [MESSAGE_OFFER] = decode_keys,
    [MESSAGE_WANTED] = decode_keys,
    [MESSAGE_DRAIN] = decode_empty,
    [MESSAGE_PAUSE] = decode_sweep_ref,
    [MESSAGE_RESUME] = decode_sweep_ref,
    [MESSAGE_RETRY] = decode_sweep_ref,
    [MESSAGE_PRIORITY] = decode_priority,
    [MESSAGE_DRAIN_WORKER] = decode_drain_worker,
    [MESSAGE_USAGE] = decode_empty,
    [MESSAGE_USAGE_REPORT] = decode_usage_report,
    [MESSAGE_PREVIEW] = decode_preview,
    [MESSAGE_SHOW] = decode_show,
    [MESSAGE_PREVIEWED] = decode_previewed,
};

static void *budget_take(void *context, size_t size)
{
    size_t *left = context;
    if (size > *left)
        return NULL;
    *left -= size;
    return malloc(size);
}

static void budget_give(void *context, void *memory)
{
    (void)context; /* the budget is of everything ever taken */
    free(memory);
}

enum err message_decode(struct message *message, const void *data, size_t size, struct error *error)
{
    /* The structs of the smallest honest items (a key of 32 bytes, a lease's progress) are below eight times their bytes. */
    size_t budget = 8 * size + (64 << 10);
    ProtobufCAllocator allocator = {budget_take, budget_give, &budget};
    struct message read = {0};

    if (size > LIMIT_MESSAGE)
        return error_set(error, ERR_LIMIT, "message: want at most %d bytes, have %zu", LIMIT_MESSAGE, size);
    Farm__Envelope *envelope = farm__envelope__unpack(&allocator, size, data);
    if (!envelope)
        return error_set(error, ERR_CORRUPT, "message: %zu bytes are no message of this protocol", size);

    struct reader reader = {.code = ERR_OK, .error = error};
    if (envelope->body_case < 16 || envelope->body_case >= MESSAGE_TYPE_COUNT + 15) {
        reader.code = error_set(error, ERR_CORRUPT, "message: %zu bytes hold no body that protocol version %d knows", size,
                                PROTOCOL_VERSION);
        goto done;
    }
    read.type = (enum message_type)(envelope->body_case - 15);
    read.request = envelope->request;
    reader.what = message_type_name(read.type);
    decoders[read.type](&reader, &read, envelope);
    if (reader.code == ERR_OK)
        *message = read;
    else
        message_release(&read);
done:
    farm__envelope__free_unpacked(envelope, &allocator);
    return reader.code;
}
