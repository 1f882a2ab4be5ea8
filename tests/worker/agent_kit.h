/*
 * agent_kit.h - a whole agent against a scripted coordinator, over real sockets on ipc. Only what draws is a double.
 */
#ifndef TESTS_WORKER_AGENT_KIT_H
#define TESTS_WORKER_AGENT_KIT_H

#include <pthread.h>

#include "tests/worker/double.h"

struct bench {
    char *place, *address, *cache, *outbox, *model_folder;
    struct digest model;
    struct double_painter painter;
    struct double_coordinator coordinator;
    struct agent_options options;
    struct agent *agent;
    pthread_t thread;
    struct error error;
    enum err result;
    bool running;
};

int agent_set_up(void **state);    /* *state is a struct bench: a coordinator listens, the agent does not run yet */
int agent_tear_down(void **state);
#define AGENT_TEST(name) cmocka_unit_test_setup_teardown(name, agent_set_up, agent_tear_down)

void start_agent(struct bench *bench);
void join_agent(struct bench *bench); /* it ends by itself: bench->result says how */
void stop_agent(struct bench *bench);

void expect(struct bench *bench, enum message_type type);
/* Results of lease `lease` until `count` came, in one message or in several, as they became ready. Others are passed over. */
void take_results(struct bench *bench, uint64_t lease, size_t count, bool acknowledge);
size_t outbox_pictures(const struct bench *bench); /* whole ones, in the files of its outbox */
void wait_for_outbox(struct bench *bench, size_t count); /* until it has so many pictures */

#endif
