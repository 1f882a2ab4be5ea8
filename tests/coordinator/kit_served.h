/*
 * kit_served.h - the coordinator's real loop in a thread, over ipc, with a scripted client and scripted workers.
 *
 * What should not happen fails the test that is running.
 */
#ifndef TESTS_COORDINATOR_KIT_SERVED_H
#define TESTS_COORDINATOR_KIT_SERVED_H

#include <pthread.h>

#include "coordinator/coordinator.h"
#include "proto/link.h"
#include "tests/coordinator/kit.h"

struct served {
    char *folder, *store, *address;
    const char *addresses[1];
    struct coordinator *coordinator;
    pthread_t thread;
    struct link *client;
    struct digest model;
    struct coordinator_options options;
};

enum { LONG_MS = 60000 /* the scripted workers have no heartbeat */, SHORT_MS = 2000 };

void served_setup(struct served *farm);
void served_setup_liveness(struct served *farm, uint32_t liveness_ms);
void served_teardown(struct served *farm);
/* The loop alone: the folder stays. */
void served_start(struct served *farm);
void served_stop(struct served *farm);

/* The answer is of the type that is wanted. */
void served_ask(struct message *answer, struct served *farm, struct message *question, enum message_type want);
/* What is answered to a question that is to be refused. */
enum err served_refusal(struct error *error, struct served *farm, struct message *question);
/* An object, in two pieces. */
struct digest served_put(struct served *farm, const char *text);
/* Seeds from..from+count-1 of one prompt. */
void served_submit(struct message_submitted *submitted, struct served *farm, const char *name, uint64_t from, uint64_t count);
/* Without its texts. */
struct sweep_status served_status(struct served *farm, const char *name);
void served_wait_state(struct served *farm, const char *sweep, enum sweep_state state);
/* Until every worker has been silent for too long. */
void served_wait_silence(struct served *farm);
/* `explain` names this rule; index -1: of the sweep. */
void served_assert_rule(struct served *farm, const char *sweep, int64_t index, const char *rule);

struct worker {
    struct link *link;
    uint64_t lease;
    uint32_t epoch;
    struct message assign; /* the last one */
};

/* Connected and welcome. */
void worker_open(struct worker *worker, struct served *farm, const char *name, uint32_t pid);
void worker_hello(struct worker *worker, const char *name, uint32_t pid, uint32_t protocol);
void worker_close(struct worker *worker);
void worker_send(struct worker *worker, const struct message *message);
/* The next message of this type; heartbeats' answers and probes in between are passed over. */
void worker_expect(struct message *message, struct worker *worker, enum message_type type);
void worker_ask(struct worker *worker, uint32_t jobs);
/* How many jobs the next lease has. */
size_t worker_take(struct worker *worker);
void worker_progress(struct worker *worker, enum work_phase phase, uint32_t step);
void worker_deliver(struct worker *worker, size_t first, size_t count, uint8_t shade);
void worker_acknowledged(struct worker *worker, size_t count);
/* Draw until the sweep is done; how many jobs that took. */
size_t worker_work_off(struct worker *worker, struct served *farm, const char *sweep);

#endif
