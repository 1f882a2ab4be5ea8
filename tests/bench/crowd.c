/*
 * crowd.c - many workers in one process, for crowd.py and the tests of older and newer protocols. They speak the protocol and
 * nothing more: a job takes a given time, in which nothing is computed, and what they deliver is valid (tests/worker/plain.h).
 *
 * A worker asks for its next lease when it has delivered the last, so the wait for one is all there. Waits are counted while there
 * are jobs that nobody has: at the end idle workers wait for work that may never come. When --jobs are acknowledged one line of
 * JSON is printed; then they go on living, with heartbeats alone, until stdin ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zmq.h>

#include "base/clock.h"
#include "proto/message.h"
#include "tests/worker/plain.h"

static const char help[] =
    "usage: crowd --coordinator ADDR --jobs N [options]\n"
    "\n"
    "  --workers N     how many (1000)\n"
    "  --name PREFIX   they are PREFIX-0, PREFIX-1, ... (crowd)\n"
    "  --job-ms N      a batch takes so long, half of it to one and a half times it (1000)\n"
    "  --batch N       jobs drawn at once, jobs asked for (4)\n"
    "  --protocol N    the protocol they speak, and no other (the newest)\n";

enum { TICK_MS = 2, RAMP_A_TICK = 1, STEPS = 10 };

struct options {
    const char *coordinator, *name;
    uint32_t workers, jobs, job_ms, batch, protocol;
};

/* One lease at a time. */
struct member {
    void *socket;
    bool greeted, welcome;
    uint64_t asked_ns;             /* 0: no LEASE_REQUEST is open */
    struct message assign;         /* type 0: none */
    uint64_t begin_ms, end_ms;
    uint64_t heartbeat_ms;         /* the last one */
};

struct crowd {
    struct options options;
    void *context;
    struct member *members;        /* [options.workers] */
    int epoll;
    uint32_t started;
    uint32_t period_ms;            /* of heartbeats */
    uint64_t acknowledged, assigned, requests, revoked;
    uint64_t random;
    uint32_t *lease_us;            /* [lease_count] */
    size_t lease_count, lease_room;
    uint64_t begin_ms;
};

static void die(const char *what, const char *why) {
    fprintf(stderr, "crowd: %s: %s\n", what, why);
    exit(1);
}

static void say(struct member *member, const struct message *message) {
    struct bytes frame = BYTES_INIT;
    message_encode(&frame, message);
    if (zmq_send(member->socket, frame.data, frame.size, ZMQ_DONTWAIT) < 0)
        die(message_type_name(message->type), zmq_strerror(errno));
    bytes_release(&frame);
}

static void connect_member(struct crowd *crowd, uint32_t at) {
    struct member *member = &crowd->members[at];
    int fd, unbounded = 0, linger_ms = 100, ping_ms = 5000, silence_ms = 10000; /* as link.c's */
    size_t size = sizeof fd;
    member->socket = zmq_socket(crowd->context, ZMQ_DEALER);
    if (!member->socket)
        die("a socket", zmq_strerror(errno));
    zmq_setsockopt(member->socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    zmq_setsockopt(member->socket, ZMQ_RCVHWM, &unbounded, sizeof unbounded);
    zmq_setsockopt(member->socket, ZMQ_HEARTBEAT_IVL, &ping_ms, sizeof ping_ms);
    zmq_setsockopt(member->socket, ZMQ_HEARTBEAT_TIMEOUT, &silence_ms, sizeof silence_ms);
    zmq_setsockopt(member->socket, ZMQ_HEARTBEAT_TTL, &silence_ms, sizeof silence_ms);
    if (zmq_connect(member->socket, crowd->options.coordinator) != 0)
        die(crowd->options.coordinator, zmq_strerror(errno));
    zmq_getsockopt(member->socket, ZMQ_FD, &fd, &size);
    struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u32 = at };
    if (epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        die("epoll", strerror(errno));
}

static void greet(struct crowd *crowd, uint32_t at) {
    struct member *member = &crowd->members[at];
    char name[80];
    snprintf(name, sizeof name, "%s-%" PRIu32, crowd->options.name, at);
    struct message hello = {
        .type = MESSAGE_WORKER_HELLO, .request = ++crowd->requests,
        .worker_hello = { .protocol = crowd->options.protocol, .name = name, .host = "here", .pid = (uint32_t)getpid() + at,
                          .device = "cpu", .device_class = "plain", .version = "crowd", .threads = 1,
                          .batch = crowd->options.batch },
    };
    member->greeted = true;
    say(member, &hello);
}

static void ask_lease(struct crowd *crowd, struct member *member) {
    struct message request = { .type = MESSAGE_LEASE_REQUEST, .request = ++crowd->requests,
                               .lease_request = { crowd->options.batch } };
    if (member->asked_ns || member->assign.type || crowd->acknowledged >= crowd->options.jobs)
        return;
    member->asked_ns = clock_monotonic_ns();
    say(member, &request);
}

/* ---- what comes ------------------------------------------------------------------------------------------------------- */

static void take_assign(struct crowd *crowd, struct member *member, struct message *message) {
    uint64_t now_ns = clock_monotonic_ns(), now_ms = now_ns / 1000000;
    if (crowd->lease_count == crowd->lease_room) {
        crowd->lease_room = crowd->lease_room ? 2 * crowd->lease_room : 4096;
        crowd->lease_us = memory_grow(crowd->lease_us, crowd->lease_room, sizeof *crowd->lease_us);
    }
    if (crowd->assigned < crowd->options.jobs)
        crowd->lease_us[crowd->lease_count++] = (uint32_t)((now_ns - member->asked_ns) / 1000);
    crowd->assigned += message->assign.count;
    member->asked_ns = 0;
    message_release(&member->assign);
    member->assign = *message;
    message->type = 0;
    size_t rounds = (member->assign.assign.count + crowd->options.batch - 1) / crowd->options.batch;
    member->begin_ms = now_ms;
    crowd->random = crowd->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407); /* Knuth's MMIX */
    member->end_ms = now_ms + rounds * crowd->options.job_ms * (50 + (crowd->random >> 33) % 101) / 100;
}

static void drop_assign(struct member *member) {
    message_release(&member->assign);
    member->assign = (struct message){ 0 };
}

/* Nothing is drawn here. */
static void refuse_show(struct member *member, uint64_t request) {
    struct message answer = { .type = MESSAGE_REFUSED, .request = request,
                              .refused = { ERR_NOT_FOUND, (char *)"there is nothing to see" } };
    say(member, &answer);
}

static void take(struct crowd *crowd, struct member *member, struct message *message) {
    switch (message->type) {
    case MESSAGE_WELCOME:
        member->welcome = true;
        crowd->period_ms = message->welcome.heartbeat_ms;
        if (message->welcome.protocol != crowd->options.protocol)
            die("WELCOME", "of another protocol");
        ask_lease(crowd, member);
        break;
    case MESSAGE_ASSIGN: take_assign(crowd, member, message); break;
    case MESSAGE_ACKNOWLEDGED:
        crowd->acknowledged += message->keys.count;
        break;
    case MESSAGE_REVOKE:
        if (member->assign.type && member->assign.assign.lease == message->revoke.lease) {
            crowd->revoked++;
            drop_assign(member);
            ask_lease(crowd, member);
        }
        break;
    case MESSAGE_REFUSED:
        if (!member->welcome) {
            fprintf(stderr, "crowd: refused (%s): %s\n", err_name(message->refused.code), message->refused.text);
            exit(2);
        }
        die("REFUSED", message->refused.text);
        break;
    case MESSAGE_DONE: break; /* a probe */
    case MESSAGE_SHOW: refuse_show(member, message->request); break;
    default: die(message_type_name(message->type), "no worker of this protocol can take it");
    }
}

static void receive_all(struct crowd *crowd, struct member *member) {
    for (;;) {
        struct message message;
        struct error error;
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, member->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            if (errno != EAGAIN)
                die("receiving", zmq_strerror(errno));
            return;
        }
        if (message_decode(&message, zmq_msg_data(&frame), zmq_msg_size(&frame), &error) != ERR_OK)
            die("a message", error.message);
        zmq_msg_close(&frame);
        take(crowd, member, &message);
        if (message.type)
            message_release(&message);
    }
}

/* ---- what goes -------------------------------------------------------------------------------------------------------- */

static void deliver(struct crowd *crowd, struct member *member) {
    const struct message_assign *assign = &member->assign.assign;
    struct rendered *pictures = memory_get_array(assign->count, sizeof *pictures);
    struct result_item *items = memory_get_array(assign->count, sizeof *items);
    struct message results = { .type = MESSAGE_RESULTS, .request = ++crowd->requests,
                               .results = { assign->lease, assign->epoch, items, assign->count } };
    for (size_t i = 0; i < assign->count; i++) {
        struct spec spec;
        struct error error;
        if (spec_parse(&spec, assign->jobs[i].spec, strlen(assign->jobs[i].spec), &error) != ERR_OK)
            die("a job", error.message);
        plain_draw(&pictures[i], &spec);
        spec_release(&spec);
        if (pictures[i].error.code)
            die("a picture", pictures[i].error.message);
        items[i] = (struct result_item){ assign->jobs[i].key, pictures[i].picture, pictures[i].pixels, crowd->options.job_ms,
                                         pictures[i].png.data, pictures[i].png.size };
    }
    say(member, &results);
    for (size_t i = 0; i < assign->count; i++)
        rendered_release(&pictures[i]);
    free(pictures);
    free(items);
    drop_assign(member);
    ask_lease(crowd, member);
}

static void beat(struct member *member, uint64_t now_ms) {
    struct lease_progress lease = { .phase = PHASE_STEP, .steps = STEPS };
    struct message progress = { .type = MESSAGE_PROGRESS, .progress = { &lease, member->assign.type ? 1 : 0 } };
    if (member->assign.type) {
        lease.lease = member->assign.assign.lease;
        lease.epoch = member->assign.assign.epoch;
        lease.step = (uint32_t)(STEPS * (now_ms - member->begin_ms) / (member->end_ms - member->begin_ms + 1));
    }
    member->heartbeat_ms = now_ms;
    say(member, &progress);
}

static void act(struct crowd *crowd, uint64_t now_ms) {
    for (uint32_t i = 0; i < RAMP_A_TICK && crowd->started < crowd->options.workers; i++)
        connect_member(crowd, crowd->started++);
    for (uint32_t at = 0; at < crowd->started; at++) {
        struct member *member = &crowd->members[at];
        if (!member->greeted)
            greet(crowd, at);
        if (!member->heartbeat_ms)
            member->heartbeat_ms = now_ms - (at * 7919u) % (crowd->period_ms ? crowd->period_ms : 1000); /* spread */
        if (member->welcome && now_ms >= member->heartbeat_ms + crowd->period_ms)
            beat(member, now_ms);
        if (member->assign.type && now_ms >= member->end_ms)
            deliver(crowd, member);
        receive_all(crowd, member); /* sending takes the edge that epoll waits for */
    }
}

/* ---- figures ---------------------------------------------------------------------------------------------------------- */

static int order_u32(const void *a, const void *b) {
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static void report(const struct crowd *crowd) {
    size_t n = crowd->lease_count;
    qsort(crowd->lease_us, n, sizeof *crowd->lease_us, order_u32);
    printf("{\"workers\": %" PRIu32 ", \"jobs\": %" PRIu64 ", \"seconds\": %.2f, \"leases\": %zu, \"revoked\": %" PRIu64 ","
           " \"lease_p50_ms\": %.2f, \"lease_p99_ms\": %.2f, \"lease_max_ms\": %.2f}\n",
           crowd->options.workers, crowd->acknowledged, (double)(clock_monotonic_ms() - crowd->begin_ms) / 1000, n,
           crowd->revoked, crowd->lease_us[n / 2] / 1e3, crowd->lease_us[n * 99 / 100] / 1e3, crowd->lease_us[n - 1] / 1e3);
    fflush(stdout);
}

static bool stdin_ended(void) {
    char byte;
    ssize_t got = read(STDIN_FILENO, &byte, 1);
    return got == 0;
}

static void run(struct crowd *crowd) {
    struct epoll_event events[256];
    bool reported = false;
    uint64_t acted_ms = 0;
    crowd->begin_ms = clock_monotonic_ms();
    while (!reported || !stdin_ended()) {
        int ready = epoll_wait(crowd->epoll, events, 256, reported ? 20 : TICK_MS);
        for (int i = 0; i < ready; i++)
            receive_all(crowd, &crowd->members[events[i].data.u32]);
        uint64_t now_ms = clock_monotonic_ms();
        if (now_ms >= acted_ms + TICK_MS) {
            acted_ms = now_ms;
            act(crowd, now_ms);
        }
        if (!reported && crowd->acknowledged >= crowd->options.jobs) {
            report(crowd);
            reported = true;
        }
    }
}

static void leave(struct crowd *crowd) {
    struct message goodbye = { .type = MESSAGE_GOODBYE };
    for (uint32_t at = 0; at < crowd->started; at++) {
        struct member *member = &crowd->members[at];
        if (member->welcome)
            say(member, &goodbye);
        drop_assign(member);
        zmq_close(member->socket);
    }
    zmq_ctx_term(crowd->context);
    free(crowd->members);
    free(crowd->lease_us);
    close(crowd->epoll);
}

static uint32_t number_of(const char *text) {
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (end == text || *end || value > UINT32_MAX)
        die(text, "is no number");
    return (uint32_t)value;
}

static void read_options(struct options *options, int argc, char **argv) {
    static const struct option table[] = {
        { "coordinator", required_argument, NULL, 'c' }, { "workers", required_argument, NULL, 'w' },
        { "jobs", required_argument, NULL, 'j' },        { "job-ms", required_argument, NULL, 't' },
        { "batch", required_argument, NULL, 'b' },       { "name", required_argument, NULL, 'n' },
        { "protocol", required_argument, NULL, 'p' },    { NULL, 0, NULL, 0 },
    };
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;)
        switch (option) {
        case 'c': options->coordinator = optarg; break;
        case 'n': options->name = optarg; break;
        case 'w': options->workers = number_of(optarg); break;
        case 'j': options->jobs = number_of(optarg); break;
        case 't': options->job_ms = number_of(optarg); break;
        case 'b': options->batch = number_of(optarg); break;
        case 'p': options->protocol = number_of(optarg); break;
        default: fputs(help, stderr); exit(2);
        }
    if (!options->coordinator || !options->jobs || !options->workers || !options->batch) {
        fputs(help, stderr);
        exit(2);
    }
}

int main(int argc, char **argv) {
    struct crowd crowd = { .options = { .name = "crowd", .workers = 1000, .job_ms = 1000, .batch = 4,
                                        .protocol = PROTOCOL_VERSION }, .period_ms = 1000 };
    struct rlimit files;
    read_options(&crowd.options, argc, argv);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    fcntl(STDIN_FILENO, F_SETFL, fcntl(STDIN_FILENO, F_GETFL) | O_NONBLOCK);
    crowd.context = zmq_ctx_new();
    zmq_ctx_set(crowd.context, ZMQ_MAX_SOCKETS, (int)crowd.options.workers + 16);
    crowd.members = memory_get_array(crowd.options.workers, sizeof *crowd.members);
    crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (crowd.epoll < 0)
        die("epoll", strerror(errno));
    run(&crowd);
    leave(&crowd);
    return 0;
}
