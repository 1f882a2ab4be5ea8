/*
 * codec_encode.c - our structs to protobuf. What is borrowed stays borrowed: a picture is copied once, by the packing.
 *
 * Counts and sizes are our own values and asserted; prose (sentences of errors) may quote foreign bytes and is cleaned.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "proto/farm.pb-c.h"
#include "proto/message.h"

enum { SCRATCH_BLOCKS = 3 };

/* What lives until the envelope is packed. */
struct scratch {
    void *blocks[SCRATCH_BLOCKS];
    size_t used;
    struct bytes prose; /* a message has one sentence, or one an item: see prose_put */
};

static void *scratch_get(struct scratch *scratch, size_t count, size_t size)
{
    assert(scratch->used < SCRATCH_BLOCKS);
    return scratch->blocks[scratch->used++] = memory_get_array(count ? count : 1, size);
}

/* BODY(assign, Assign): declares `body`, initialised, as the envelope's. */
#define BODY(member, Type)                                              \
    Farm__##Type *body = scratch_get(scratch, 1, sizeof *body);         \
    *body = (Farm__##Type)INIT_##Type;                                  \
    envelope->member = body
#define INIT_Refused FARM__REFUSED__INIT
#define INIT_Empty FARM__EMPTY__INIT
#define INIT_WorkerHello FARM__WORKER_HELLO__INIT
#define INIT_Welcome FARM__WELCOME__INIT
#define INIT_LeaseRequest FARM__LEASE_REQUEST__INIT
#define INIT_Assign FARM__ASSIGN__INIT
#define INIT_Progress FARM__PROGRESS__INIT
#define INIT_Results FARM__RESULTS__INIT
#define INIT_Failure FARM__FAILURE__INIT
#define INIT_Keys FARM__KEYS__INIT
#define INIT_Revoke FARM__REVOKE__INIT
#define INIT_Submit FARM__SUBMIT__INIT
#define INIT_Submitted FARM__SUBMITTED__INIT
#define INIT_Piece FARM__PIECE__INIT
#define INIT_Fetch FARM__FETCH__INIT
#define INIT_SweepRef FARM__SWEEP_REF__INIT
#define INIT_StatusReport FARM__STATUS_REPORT__INIT
#define INIT_List FARM__LIST__INIT
#define INIT_Jobs FARM__JOBS__INIT
#define INIT_Explain FARM__EXPLAIN__INIT
#define INIT_Explanation FARM__EXPLANATION__INIT
#define INIT_WorkersReport FARM__WORKERS_REPORT__INIT
#define INIT_Priority FARM__PRIORITY__INIT
#define INIT_DrainWorker FARM__DRAIN_WORKER__INIT
#define INIT_UsageReport FARM__USAGE_REPORT__INIT
#define INIT_Preview FARM__PREVIEW__INIT
#define INIT_Show FARM__SHOW__INIT
#define INIT_Previewed FARM__PREVIEWED__INIT

/* ITEMS(rows, Assign__Job, FARM__ASSIGN__JOB__INIT, jobs, count): declares `rows`, count of them, listed in body->jobs. */
#define ITEMS(rows, Type, INIT, member, count)                                  \
    Farm__##Type *rows = scratch_get(scratch, (count), sizeof *rows);           \
    body->member = scratch_get(scratch, (count), sizeof *body->member);         \
    body->n_##member = (count);                                                 \
    for (size_t row_ = 0; row_ < (count); row_++) {                             \
        rows[row_] = (Farm__##Type)INIT;                                        \
        body->member[row_] = &rows[row_];                                       \
    }

static ProtobufCBinaryData data_of(const void *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)data};
}

static ProtobufCBinaryData text_of(const char *text, size_t limit)
{
    size_t size = text ? strlen(text) : 0;
    assert(size <= limit);
    return data_of(text, size);
}

static ProtobufCBinaryData digest_bytes(const struct digest *digest)
{
    return data_of(digest->bytes, DIGEST_SIZE);
}

static ProtobufCBinaryData digest_or_nothing(const struct digest *digest)
{
    return digest_is_zero(digest) ? data_of(NULL, 0) : digest_bytes(digest);
}

/* A sentence as it may travel: UTF-8 with every bad byte a question mark, cut to the limit between two characters. Good
 * ones, nearly all, are not copied; the others go into one buffer, reserved whole so that it never moves. */
static ProtobufCBinaryData prose_of(const char *text, struct scratch *scratch, size_t most_calls)
{
    size_t size = text ? strlen(text) : 0, place;
    if (size <= LIMIT_SENTENCE && utf8_valid(text, size, &place))
        return data_of(text, size);
    if (size > LIMIT_SENTENCE)
        size = LIMIT_SENTENCE;
    if (!scratch->prose.capacity)
        bytes_reserve(&scratch->prose, most_calls * LIMIT_SENTENCE);
    uint8_t *copy = scratch->prose.data + scratch->prose.size;
    bytes_add(&scratch->prose, text, size);
    while (size && !utf8_valid(copy, size, &place)) {
        if (text[size] && size - place < 4 && copy[place] >= 0xc0) {
            size = place; /* cut inside a character */
            break;
        }
        copy[place] = '?';
    }
    return data_of(copy, size);
}

/* ---- workers ------------------------------------------------------------------------------------------------------ */

static void encode_refused(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(refused, Refused);
    body->code = (Farm__Code)message->refused.code;
    body->text = prose_of(message->refused.text, scratch, 1);
}

static void encode_empty(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    (void)message;
    BODY(done, Empty); /* the union's members of this type are one pointer */
}

static void encode_worker_hello(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_worker_hello *from = &message->worker_hello;
    BODY(worker_hello, WorkerHello);
    body->protocol = from->protocol;
    body->name = text_of(from->name, LIMIT_NAME);
    body->host = text_of(from->host, LIMIT_NAME);
    body->pid = from->pid;
    body->device = text_of(from->device, LIMIT_NAME);
    body->device_class = text_of(from->device_class, LIMIT_NAME);
    body->version = text_of(from->version, LIMIT_NAME);
    body->threads = from->threads;
    body->batch = from->batch;
    body->memory_bytes = from->memory_bytes;
    assert(from->model_count <= LIMIT_MODELS_AT_HAND);
    body->protocol_least = from->protocol_least;
    body->numerics = from->numerics;
    body->models = data_of(from->models, from->model_count * DIGEST_SIZE);
}

static void encode_welcome(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_welcome *from = &message->welcome;
    BODY(welcome, Welcome);
    body->protocol = from->protocol;
    body->worker = from->worker;
    body->heartbeat_ms = from->heartbeat_ms;
    body->liveness_ms = from->liveness_ms;
    body->credit_bytes = from->credit_bytes;
}

static void encode_lease_request(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(lease_request, LeaseRequest);
    body->jobs = message->lease_request.jobs;
    body->batch = message->lease_request.batch;
    body->width = message->lease_request.width;
    body->height = message->lease_request.height;
    body->models = data_of(message->lease_request.models, message->lease_request.model_count * DIGEST_SIZE);
}

static void encode_assign(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_assign *from = &message->assign;
    assert(from->count >= 1 && from->count <= LIMIT_BATCH);
    BODY(assign, Assign); /* `hold` is the same pointer */
    body->lease = from->lease;
    body->epoch = from->epoch;
    body->deadline_ms = from->deadline_ms;
    ITEMS(jobs, Assign__Job, FARM__ASSIGN__JOB__INIT, jobs, from->count);
    for (size_t i = 0; i < from->count; i++) {
        jobs[i].key = digest_bytes(&from->jobs[i].key);
        jobs[i].spec = text_of(from->jobs[i].spec, LIMIT_SPEC_BYTES);
    }
}

static void encode_progress(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_progress *from = &message->progress;
    assert(from->count <= LIMIT_LEASES);
    BODY(progress, Progress);
    ITEMS(leases, Progress__Lease, FARM__PROGRESS__LEASE__INIT, leases, from->count);
    for (size_t i = 0; i < from->count; i++) {
        leases[i].lease = from->leases[i].lease;
        leases[i].epoch = from->leases[i].epoch;
        leases[i].phase = (Farm__Phase)from->leases[i].phase;
        leases[i].step = from->leases[i].step;
        leases[i].steps = from->leases[i].steps;
    }
}

static void encode_results(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_results *from = &message->results;
    assert(from->count >= 1 && from->count <= LIMIT_BATCH);
    BODY(results, Results);
    body->lease = from->lease;
    body->epoch = from->epoch;
    ITEMS(items, Results__Item, FARM__RESULTS__ITEM__INIT, items, from->count);
    for (size_t i = 0; i < from->count; i++) {
        const struct result_item *item = &from->items[i];
        assert(item->png_size >= 1 && item->png_size <= LIMIT_PICTURE);
        items[i].key = digest_bytes(&item->key);
        items[i].picture = digest_bytes(&item->picture);
        items[i].pixels = digest_bytes(&item->pixels);
        items[i].render_ms = item->render_ms;
        items[i].png = data_of(item->png, item->png_size);
    }
}

static void encode_failure(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_failure *from = &message->failure;
    assert(from->count <= LIMIT_BATCH);
    BODY(failure, Failure);
    body->lease = from->lease;
    body->epoch = from->epoch;
    body->keys = data_of(from->keys, from->count * DIGEST_SIZE);
    body->code = (Farm__Code)from->code;
    body->text = prose_of(from->text, scratch, 1);
}

static void encode_keys(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    assert(message->keys.count <= LIMIT_KEYS);
    BODY(missing, Keys); /* `acknowledged`, `offer` and `wanted` are the same pointer */
    body->keys = data_of(message->keys.keys, message->keys.count * DIGEST_SIZE);
}

static void encode_revoke(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(revoke, Revoke);
    body->lease = message->revoke.lease;
    body->epoch = message->revoke.epoch;
}

/* ---- clients ------------------------------------------------------------------------------------------------------ */

static void encode_submit(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_submit *from = &message->submit;
    assert(from->sweep_size >= 1 && from->sweep_size <= LIMIT_SWEEP_BYTES);
    BODY(submit, Submit);
    body->name = text_of(from->name, LIMIT_NAME);
    body->user = text_of(from->user, LIMIT_NAME);
    body->sweep = data_of(from->sweep, from->sweep_size);
    body->priority = from->priority;
}

static void encode_submitted(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(submitted, Submitted);
    body->sweep = digest_bytes(&message->submitted.sweep);
    body->jobs = message->submitted.jobs;
    body->places = message->submitted.places;
    body->known = message->submitted.known;
    body->automatic = message->submitted.automatic == NUMERICS_AUTO ? 0 : (uint32_t)message->submitted.automatic + 1;
}

static void encode_piece(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_chunk *from = &message->chunk; /* message_put has the same members in the same order */
    _Static_assert(offsetof(struct message_put, size) == offsetof(struct message_chunk, size), "put and chunk are alike");
    assert(from->size <= LIMIT_CHUNK);
    BODY(chunk, Piece);
    body->digest = digest_bytes(&from->digest);
    body->offset = from->offset;
    body->total = from->total;
    body->data = data_of(from->data, from->size);
}

static void encode_fetch(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(fetch, Fetch);
    body->digest = digest_bytes(&message->fetch.digest);
    body->offset = message->fetch.offset;
    body->size = message->fetch.size;
}

static void encode_sweep_ref(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(status, SweepRef); /* `cancel` and the others are the same pointer */
    body->sweep = text_of(message->sweep_ref.sweep, LIMIT_NAME);
}

static void encode_status_report(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_status_report *from = &message->status_report;
    assert(from->count <= LIMIT_SWEEPS);
    BODY(status_report, StatusReport);
    body->store_free_bytes = from->store_free_bytes;
    body->workers = from->workers;
    ITEMS(rows, StatusReport__Sweep, FARM__STATUS_REPORT__SWEEP__INIT, sweeps, from->count);
    for (size_t i = 0; i < from->count; i++) {
        const struct sweep_status *sweep = &from->sweeps[i];
        rows[i].id = digest_bytes(&sweep->id);
        rows[i].name = text_of(sweep->name, LIMIT_NAME);
        rows[i].user = text_of(sweep->user, LIMIT_NAME);
        rows[i].state = (Farm__SweepState)sweep->state;
        rows[i].places = sweep->places;
        rows[i].jobs = sweep->jobs;
        rows[i].done = sweep->done;
        rows[i].failed = sweep->failed;
        rows[i].running = sweep->running;
        rows[i].waiting = sweep->waiting;
        rows[i].rendered = sweep->rendered;
        rows[i].submitted_unix_ms = sweep->submitted_unix_ms;
        rows[i].finished_unix_ms = sweep->finished_unix_ms;
        rows[i].jobs_per_second = sweep->jobs_per_second;
        rows[i].eta_ms = sweep->eta_ms;
        rows[i].last_error = prose_of(sweep->last_error, scratch, from->count);
        rows[i].priority = sweep->priority;
        rows[i].running_done = sweep->running_done;
        rows[i].device_ms = sweep->device_ms;
    }
}

static void encode_list(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(list, List);
    body->sweep = text_of(message->list.sweep, LIMIT_NAME);
    body->from = message->list.from;
    body->limit = message->list.limit;
    body->state = (Farm__JobState)message->list.state;
}

static void encode_jobs(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_jobs *from = &message->jobs;
    assert(from->count <= LIMIT_LIST);
    BODY(jobs, Jobs);
    body->next = from->next;
    ITEMS(rows, Jobs__Job, FARM__JOBS__JOB__INIT, jobs, from->count);
    for (size_t i = 0; i < from->count; i++) {
        const struct listed_job *job = &from->jobs[i];
        rows[i].index = job->index;
        rows[i].state = (Farm__JobState)job->state;
        rows[i].key = digest_bytes(&job->key);
        rows[i].picture = digest_or_nothing(&job->picture);
        rows[i].pixels = digest_or_nothing(&job->pixels);
        rows[i].spec = text_of(job->spec, LIMIT_SPEC_BYTES);
        rows[i].error = prose_of(job->error, scratch, from->count);
    }
}

static void encode_explain(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(explain, Explain);
    body->sweep = text_of(message->explain.sweep, LIMIT_NAME);
    body->has_index = message->explain.has_index;
    body->index = message->explain.index;
}

static void encode_explanation(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(explanation, Explanation);
    body->rule = text_of(message->explanation.rule, LIMIT_NAME);
    body->text = prose_of(message->explanation.text, scratch, 1);
}

static void encode_workers_report(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_workers_report *from = &message->workers_report;
    assert(from->count <= LIMIT_WORKERS);
    BODY(workers_report, WorkersReport);
    ITEMS(rows, WorkersReport__Worker, FARM__WORKERS_REPORT__WORKER__INIT, workers, from->count);
    for (size_t i = 0; i < from->count; i++) {
        const struct worker_status *worker = &from->workers[i];
        rows[i].worker = worker->worker;
        rows[i].name = text_of(worker->name, LIMIT_NAME);
        rows[i].host = text_of(worker->host, LIMIT_NAME);
        rows[i].device = text_of(worker->device, LIMIT_NAME);
        rows[i].device_class = text_of(worker->device_class, LIMIT_NAME);
        rows[i].version = text_of(worker->version, LIMIT_NAME);
        rows[i].pid = worker->pid;
        rows[i].threads = worker->threads;
        rows[i].batch = worker->batch;
        rows[i].connected_unix_ms = worker->connected_unix_ms;
        rows[i].silent_ms = worker->silent_ms;
        rows[i].jobs_done = worker->jobs_done;
        rows[i].jobs_failed = worker->jobs_failed;
        rows[i].leased = worker->leased;
        rows[i].phase = (Farm__Phase)worker->phase;
        rows[i].step = worker->step;
        rows[i].steps = worker->steps;
        rows[i].jobs_per_second = worker->jobs_per_second;
        rows[i].protocol = worker->protocol;
        rows[i].draining = worker->draining;
        rows[i].benched_ms = worker->benched_ms;
        rows[i].bench_reason = prose_of(worker->bench_reason, scratch, from->count);
        rows[i].job_ms = worker->job_ms;
        rows[i].model = digest_or_nothing(&worker->model);
        rows[i].memory_bytes = worker->memory_bytes;
    }
}

static void encode_priority(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(priority, Priority);
    body->sweep = text_of(message->priority.sweep, LIMIT_NAME);
    body->priority = message->priority.priority;
}

static void encode_drain_worker(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(drain_worker, DrainWorker);
    body->worker = text_of(message->drain_worker.worker, LIMIT_NAME);
    body->stop = message->drain_worker.stop;
}

static void encode_usage_report(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_usage_report *from = &message->usage_report;
    assert(from->count <= LIMIT_USERS);
    BODY(usage_report, UsageReport);
    ITEMS(rows, UsageReport__User, FARM__USAGE_REPORT__USER__INIT, users, from->count);
    for (size_t i = 0; i < from->count; i++) {
        const struct user_usage *user = &from->users[i];
        rows[i].user = text_of(user->user, LIMIT_NAME);
        rows[i].weight = user->weight;
        rows[i].device_ms = user->device_ms;
        rows[i].jobs = user->jobs;
        rows[i].waiting = user->waiting;
        rows[i].running = user->running;
    }
}

/* ---- previews ----------------------------------------------------------------------------------------------------- */

static void encode_preview(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(preview, Preview);
    body->sweep = text_of(message->preview.sweep, LIMIT_NAME);
    body->index = message->preview.index;
}

static void encode_show(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    BODY(show, Show);
    body->key = digest_bytes(&message->show.key);
}

static void encode_previewed(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch)
{
    const struct message_previewed *from = &message->previewed;
    assert(from->width >= 1 && from->width <= LIMIT_PREVIEW_SIDE && from->height >= 1 && from->height <= LIMIT_PREVIEW_SIDE);
    BODY(previewed, Previewed);
    body->key = digest_bytes(&from->key);
    body->step = from->step;
    body->steps = from->steps;
    body->width = from->width;
    body->height = from->height;
    body->rgb = data_of(from->rgb, (size_t)from->width * from->height * 3);
    body->worker = text_of(from->worker, LIMIT_NAME);
}

typedef void encoder(Farm__Envelope *envelope, const struct message *message, struct scratch *scratch);

static encoder *const encoders[MESSAGE_TYPE_COUNT] = {
    [MESSAGE_REFUSED] = encode_refused,
    [MESSAGE_DONE] = encode_empty,
    [MESSAGE_WORKER_HELLO] = encode_worker_hello,
    [MESSAGE_LEASE_REQUEST] = encode_lease_request,
    [MESSAGE_PROGRESS] = encode_progress,
    [MESSAGE_RESULTS] = encode_results,
    [MESSAGE_FAILURE] = encode_failure,
    [MESSAGE_GOODBYE] = encode_empty,
    [MESSAGE_WELCOME] = encode_welcome,
    [MESSAGE_ASSIGN] = encode_assign,
    [MESSAGE_ACKNOWLEDGED] = encode_keys,
    [MESSAGE_REVOKE] = encode_revoke,
    [MESSAGE_SUBMIT] = encode_submit,
    [MESSAGE_MISSING] = encode_keys,
    [MESSAGE_PUT] = encode_piece,
    [MESSAGE_FETCH] = encode_fetch,
    [MESSAGE_STATUS] = encode_sweep_ref,
    [MESSAGE_LIST] = encode_list,
    [MESSAGE_CANCEL] = encode_sweep_ref,
    [MESSAGE_EXPLAIN] = encode_explain,
    [MESSAGE_WORKERS] = encode_empty,
    [MESSAGE_SUBMITTED] = encode_submitted,
    [MESSAGE_CHUNK] = encode_piece,
    [MESSAGE_STATUS_REPORT] = encode_status_report,
    [MESSAGE_JOBS] = encode_jobs,
    [MESSAGE_EXPLANATION] = encode_explanation,
    [MESSAGE_WORKERS_REPORT] = encode_workers_report,
    [MESSAGE_HOLD] = encode_assign,
    [MESSAGE_OFFER] = encode_keys,
    [MESSAGE_WANTED] = encode_keys,
    [MESSAGE_DRAIN] = encode_empty,
    [MESSAGE_PAUSE] = encode_sweep_ref,
    [MESSAGE_RESUME] = encode_sweep_ref,
    [MESSAGE_RETRY] = encode_sweep_ref,
    [MESSAGE_PRIORITY] = encode_priority,
    [MESSAGE_DRAIN_WORKER] = encode_drain_worker,
    [MESSAGE_USAGE] = encode_empty,
    [MESSAGE_USAGE_REPORT] = encode_usage_report,
    [MESSAGE_PREVIEW] = encode_preview,
    [MESSAGE_SHOW] = encode_show,
    [MESSAGE_PREVIEWED] = encode_previewed,
};

void message_encode(struct bytes *out, const struct message *message)
{
    struct scratch scratch = {0};
    Farm__Envelope envelope = FARM__ENVELOPE__INIT;

    assert(message->type >= MESSAGE_REFUSED && message->type < MESSAGE_TYPE_COUNT);
    envelope.request = message->request;
    envelope.body_case = (Farm__Envelope__BodyCase)(message->type + 15); /* farm.proto says so */
    encoders[message->type](&envelope, message, &scratch);

    size_t size = farm__envelope__get_packed_size(&envelope);
    bytes_reserve(out, size);
    farm__envelope__pack(&envelope, out->data + out->size);
    out->size += size;
    out->data[out->size] = '\0';
    for (size_t i = 0; i < scratch.used; i++)
        free(scratch.blocks[i]);
    bytes_release(&scratch.prose);
}
