/* agent_kit.c - an agent on a thread, and what tests ask of it. */
#include "tests/worker/agent_kit.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "proto/model.h"
#include "worker/outbox_file.h"

static void *run_agent(void *context) {
    struct bench *bench = context;
    bench->result = agent_run(bench->agent, &bench->error);
    return NULL;
}

void start_agent(struct bench *bench) {
    struct error error;
    if (agent_create(&bench->agent, &bench->options, &error) != ERR_OK)
        fail_msg("%s", error.message);
    assert_int_equal(pthread_create(&bench->thread, NULL, run_agent, bench), 0);
    bench->running = true;
}

void join_agent(struct bench *bench) {
    pthread_join(bench->thread, NULL);
    agent_destroy(bench->agent);
    bench->agent = NULL;
    bench->running = false;
}

void stop_agent(struct bench *bench) {
    agent_stop(bench->agent);
    join_agent(bench);
}

int agent_set_up(void **state) {
    struct bench *bench = memory_get(sizeof *bench);
    struct manifest manifest;
    bench->place = place_create();
    bench->address = text_format("ipc://%s/farm.sock", bench->place);
    bench->cache = path_join(bench->place, "cache");
    bench->outbox = path_join(bench->cache, "outbox");
    bench->model_folder = path_join(bench->place, "model");
    model_create(bench->model_folder, 3000000);
    assert_int_equal(manifest_of_folder(&manifest, bench->model_folder, NULL), ERR_OK);
    bench->model = manifest.digest;
    manifest_release(&manifest);
    bench->options = (struct agent_options){
        .coordinator = bench->address,
        .name = "w1",
        .host = "here",
        .device = "cpu",
        .threads = 2,
        .batch = 8,
        .cache = bench->cache,
        .models = bench->model_folder,
        .painter = double_painter(&bench->painter),
    };
    coordinator_open(&bench->coordinator, bench->address);
    *state = bench;
    return 0;
}

int agent_tear_down(void **state) {
    struct bench *bench = *state;
    coordinator_close(&bench->coordinator); /* first: else what is not acknowledged is waited for */
    if (bench->running)
        stop_agent(bench);
    place_remove(bench->place);
    free(bench->address);
    free(bench->cache);
    free(bench->outbox);
    free(bench->model_folder);
    free(bench);
    return 0;
}

static void count_record(void *context, const struct record *record) {
    (void)record;
    ++*(size_t *)context;
}

/* A file that is being written, or has just gone, has none. */
size_t outbox_pictures(const struct bench *bench) {
    size_t count = 0;
    DIR *listing = opendir(bench->outbox);
    for (struct dirent *entry = listing ? readdir(listing) : NULL; entry; entry = readdir(listing)) {
        struct error error;
        size_t records = 0;
        char *path = path_join(bench->outbox, entry->d_name);
        if (entry->d_name[0] != '.' && outbox_file_scan(path, count_record, &records, &error) == ERR_OK)
            count += records;
        free(path);
    }
    if (listing)
        closedir(listing);
    return count;
}

void wait_for_outbox(struct bench *bench, size_t count) {
    uint64_t until_ms = clock_monotonic_ms() + 20000;
    while (outbox_pictures(bench) != count) {
        if (clock_monotonic_ms() > until_ms)
            fail_msg("outbox: want %zu pictures, have %zu", count, outbox_pictures(bench));
        clock_sleep_ms(5);
    }
}

void expect(struct bench *bench, enum message_type type) {
    struct message message;
    coordinator_expect(&message, &bench->coordinator, type);
    message_release(&message);
}

void take_results(struct bench *bench, uint64_t lease, size_t count, bool acknowledge) {
    struct message message;
    for (size_t seen = 0; seen < count; message_release(&message)) {
        coordinator_expect(&message, &bench->coordinator, MESSAGE_RESULTS);
        if (message.results.lease != lease)
            continue;
        seen += message.results.count;
        assert_in_range(seen, 1, count);
        if (acknowledge)
            coordinator_acknowledge(&bench->coordinator, &message);
    }
}
