/*
 * message.c - names of messages and their states, and what a decoded message owns.
 */
#include "proto/message.h"

#include <stdlib.h>
#include <string.h>

const char *message_type_name(enum message_type type)
{
    static const char *const names[MESSAGE_TYPE_COUNT] = {
        [MESSAGE_REFUSED] = "refused", [MESSAGE_DONE] = "done", [MESSAGE_WORKER_HELLO] = "worker-hello",
        [MESSAGE_LEASE_REQUEST] = "lease-request", [MESSAGE_PROGRESS] = "progress", [MESSAGE_RESULTS] = "results",
        [MESSAGE_FAILURE] = "failure", [MESSAGE_GOODBYE] = "goodbye", [MESSAGE_WELCOME] = "welcome",
        [MESSAGE_ASSIGN] = "assign", [MESSAGE_ACKNOWLEDGED] = "acknowledged", [MESSAGE_REVOKE] = "revoke",
        [MESSAGE_SUBMIT] = "submit", [MESSAGE_MISSING] = "missing", [MESSAGE_PUT] = "put", [MESSAGE_FETCH] = "fetch",
        [MESSAGE_STATUS] = "status", [MESSAGE_LIST] = "list", [MESSAGE_CANCEL] = "cancel",
        [MESSAGE_EXPLAIN] = "explain", [MESSAGE_WORKERS] = "workers", [MESSAGE_SUBMITTED] = "submitted",
        [MESSAGE_CHUNK] = "chunk", [MESSAGE_STATUS_REPORT] = "status-report", [MESSAGE_JOBS] = "jobs",
        [MESSAGE_EXPLANATION] = "explanation", [MESSAGE_WORKERS_REPORT] = "workers-report",
        [MESSAGE_HOLD] = "hold", [MESSAGE_OFFER] = "offer", [MESSAGE_WANTED] = "wanted", [MESSAGE_DRAIN] = "drain",
        [MESSAGE_PAUSE] = "pause", [MESSAGE_RESUME] = "resume", [MESSAGE_RETRY] = "retry", [MESSAGE_PRIORITY] = "priority",
        [MESSAGE_DRAIN_WORKER] = "drain-worker", [MESSAGE_USAGE] = "usage", [MESSAGE_USAGE_REPORT] = "usage-report",
        [MESSAGE_PREVIEW] = "preview", [MESSAGE_SHOW] = "show", [MESSAGE_PREVIEWED] = "previewed",
    };
    return type > 0 && type < MESSAGE_TYPE_COUNT ? names[type] : "unknown";
}

const char *job_state_name(enum job_state state)
{
    static const char *const names[] = {"any", "waiting", "running", "done", "failed", "cancelled", "excluded"};
    return (unsigned)state <= JOB_EXCLUDED ? names[state] : "unknown";
}

const char *sweep_state_name(enum sweep_state state)
{
    static const char *const names[] = {"none", "active", "done", "cancelled", "paused"};
    return (unsigned)state <= SWEEP_PAUSED ? names[state] : "unknown";
}

const char *work_phase_name(enum work_phase phase)
{
    static const char *const names[] = {"idle", "fetch", "load", "text", "step", "decode", "deliver"};
    return (unsigned)phase <= PHASE_DELIVER ? names[phase] : "unknown";
}

static void worker_hello_release(struct message_worker_hello *hello)
{
    free(hello->name);
    free(hello->host);
    free(hello->device);
    free(hello->device_class);
    free(hello->version);
    free(hello->models);
}

static void assign_release(struct message_assign *assign)
{
    for (size_t i = 0; i < assign->count; i++)
        free(assign->jobs[i].spec);
    free(assign->jobs);
}

static void results_release(struct message_results *results)
{
    for (size_t i = 0; i < results->count; i++)
        free(results->items[i].png);
    free(results->items);
}

static void status_report_release(struct message_status_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        free(report->sweeps[i].name);
        free(report->sweeps[i].user);
        free(report->sweeps[i].last_error);
    }
    free(report->sweeps);
}

static void jobs_release(struct message_jobs *jobs)
{
    for (size_t i = 0; i < jobs->count; i++) {
        free(jobs->jobs[i].spec);
        free(jobs->jobs[i].error);
    }
    free(jobs->jobs);
}

static void workers_report_release(struct message_workers_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        free(report->workers[i].name);
        free(report->workers[i].host);
        free(report->workers[i].device);
        free(report->workers[i].device_class);
        free(report->workers[i].version);
        free(report->workers[i].bench_reason);
    }
    free(report->workers);
}

static void usage_report_release(struct message_usage_report *report)
{
    for (size_t i = 0; i < report->count; i++)
        free(report->users[i].user);
    free(report->users);
}

void message_release(struct message *message)
{
    switch (message->type) {
    case MESSAGE_REFUSED: free(message->refused.text); break;
    case MESSAGE_LEASE_REQUEST: free(message->lease_request.models); break;
    case MESSAGE_WORKER_HELLO: worker_hello_release(&message->worker_hello); break;
    case MESSAGE_HOLD:
    case MESSAGE_ASSIGN: assign_release(&message->assign); break;
    case MESSAGE_PROGRESS: free(message->progress.leases); break;
    case MESSAGE_RESULTS: results_release(&message->results); break;
    case MESSAGE_FAILURE:
        free(message->failure.keys);
        free(message->failure.text);
        break;
    case MESSAGE_ACKNOWLEDGED:
    case MESSAGE_OFFER:
    case MESSAGE_WANTED:
    case MESSAGE_MISSING: free(message->keys.keys); break;
    case MESSAGE_SUBMIT:
        free(message->submit.name);
        free(message->submit.user);
        free(message->submit.sweep);
        break;
    case MESSAGE_PUT: free(message->put.data); break;
    case MESSAGE_CHUNK: free(message->chunk.data); break;
    case MESSAGE_STATUS:
    case MESSAGE_PAUSE:
    case MESSAGE_RESUME:
    case MESSAGE_RETRY:
    case MESSAGE_CANCEL: free(message->sweep_ref.sweep); break;
    case MESSAGE_LIST: free(message->list.sweep); break;
    case MESSAGE_EXPLAIN: free(message->explain.sweep); break;
    case MESSAGE_STATUS_REPORT: status_report_release(&message->status_report); break;
    case MESSAGE_JOBS: jobs_release(&message->jobs); break;
    case MESSAGE_EXPLANATION:
        free(message->explanation.rule);
        free(message->explanation.text);
        break;
    case MESSAGE_PRIORITY: free(message->priority.sweep); break;
    case MESSAGE_DRAIN_WORKER: free(message->drain_worker.worker); break;
    case MESSAGE_USAGE_REPORT: usage_report_release(&message->usage_report); break;
    case MESSAGE_PREVIEW: free(message->preview.sweep); break;
    case MESSAGE_PREVIEWED:
        free(message->previewed.rgb);
        free(message->previewed.worker);
        break;
    case MESSAGE_WORKERS_REPORT: workers_report_release(&message->workers_report); break;
    default: break; /* the others own nothing */
    }
    memset(message, 0, sizeof *message);
}
