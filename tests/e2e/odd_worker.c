/*
 * odd_worker.c - a worker of the real worker library whose painter draws plain pictures at once, or misbehaves as told. What it
 * delivers is valid. For tests of a farm's bad days; every batch it begins and leaves is in its log.
 */
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tests/worker/plain.h"
#include "worker/agent.h"

static const char help[] =
    "usage: odd_worker --coordinator ADDR --name NAME --cache DIR --models DIR [options]\n"
    "\n"
    "  --batch N        pictures drawn at once, at most\n"
    "  --memory BYTES   what it says it has\n"
    "  --step-ms N      a step takes so long\n"
    "  --bad-all        every job comes out as NaN\n"
    "  --bad-seed N     the jobs of this seed do\n"
    "  --most N         more pictures at once do not fit into memory; 0: not even one\n"
    "  --stuck-step N   at this step it goes on living and gets no further, until it is told to stop\n"
    "  --hold FILE      while there is such a file it gets no further than it is\n";

struct oddness {
    uint32_t step_ms, stuck_step;
    size_t most;
    bool bad_all, has_bad_seed;
    uint64_t bad_seed;
    const char *hold;
};

/* ---- the painter ---------------------------------------------------------------------------------------------------- */

static enum err load(void *context, const struct spec *spec, const struct file_places *places, struct error *error) {
    (void)context;
    (void)spec;
    (void)places;
    (void)error;
    return ERR_OK;
}

static bool is_held(const struct oddness *odd) {
    return odd->hold && access(odd->hold, F_OK) == 0;
}

/* While it is held it looks often: whoever lets it go waits for it. */
static bool take_step(const struct oddness *odd, const struct render_watch *watch, uint32_t step, uint32_t steps) {
    bool goes_on;
    do {
        if (odd->step_ms || is_held(odd))
            clock_sleep_ms(odd->step_ms ? odd->step_ms : 5);
        goes_on = watch->progress(watch->context, RENDER_STEP, step, steps);
    } while (goes_on && (step == odd->stuck_step || is_held(odd)));
    return goes_on;
}

/* A line for tests to count: which seed a batch begins with, how many jobs, and at which step it was left. */
static void log_batch(const char *event, const struct spec *first, size_t count, uint32_t step) {
    char seed[24], jobs[24], at[16];
    snprintf(seed, sizeof seed, "%" PRIu64, first->seed);
    snprintf(jobs, sizeof jobs, "%zu", count);
    snprintf(at, sizeof at, "%" PRIu32, step);
    log_event(LOG_INFO, event, "seed", seed, "jobs", jobs, "step", at, NULL);
}

static enum err draw(void *context, struct rendered *out, const struct spec *const *specs, size_t count,
                     const struct file_places *places, const struct render_watch *watch, struct error *error) {
    const struct oddness *odd = context;
    (void)places;
    uint32_t steps = specs[0]->steps, step = 0;
    uint64_t begin_ms = clock_monotonic_ms();
    if (count > odd->most)
        return error_set(error, ERR_MEMORY, "%zu pictures at once: there is room for %zu", count, odd->most);
    log_batch("draw", specs[0], count, 0);
    bool goes_on = watch->progress(watch->context, RENDER_TEXT, 0, steps);
    while (goes_on && step < steps)
        goes_on = take_step(odd, watch, ++step, steps);
    if (!goes_on || !watch->progress(watch->context, RENDER_DECODE, steps, steps)) {
        log_batch("left", specs[0], count, step);
        return error_set(error, ERR_CANCELLED, "told to stop");
    }
    for (size_t i = 0; i < count; i++) {
        if (odd->bad_all || (odd->has_bad_seed && specs[i]->seed == odd->bad_seed)) {
            out[i] = (struct rendered){ .png = BYTES_INIT };
            error_set(&out[i].error, ERR_NUMERIC, "seed %" PRIu64 ": NaN", specs[i]->seed);
        } else {
            plain_draw(&out[i], specs[i]);
        }
        out[i].render_ms = (uint32_t)((clock_monotonic_ms() - begin_ms) / count);
    }
    return ERR_OK;
}

/* ---- the process ---------------------------------------------------------------------------------------------------- */

static struct agent *running;

static void stop_running(int number) {
    (void)number;
    agent_stop(running);
}

static uint64_t number_of(const char *text) {
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    if (end == text || *end) {
        fprintf(stderr, "odd_worker: \"%s\" is no number\n", text);
        exit(2);
    }
    return value;
}

static void read_options(struct agent_options *options, struct oddness *odd, int argc, char **argv) {
    static const struct option table[] = {
        { "coordinator", required_argument, NULL, 'c' }, { "name", required_argument, NULL, 'n' },
        { "cache", required_argument, NULL, 'k' },       { "models", required_argument, NULL, 'm' },
        { "batch", required_argument, NULL, 'b' },       { "memory", required_argument, NULL, 'y' },
        { "step-ms", required_argument, NULL, 't' },     { "bad-all", no_argument, NULL, 'a' },
        { "bad-seed", required_argument, NULL, 's' },    { "most", required_argument, NULL, 'o' },
        { "stuck-step", required_argument, NULL, 'u' },  { "hold", required_argument, NULL, 'h' },
        { NULL, 0, NULL, 0 },
    };
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;)
        switch (option) {
        case 'c': options->coordinator = optarg; break;
        case 'n': options->name = optarg; break;
        case 'k': options->cache = optarg; break;
        case 'm': options->models = optarg; break;
        case 'b': options->batch = (uint32_t)number_of(optarg); break;
        case 'y': options->memory_bytes = number_of(optarg); break;
        case 't': odd->step_ms = (uint32_t)number_of(optarg); break;
        case 'a': odd->bad_all = true; break;
        case 's': odd->has_bad_seed = true, odd->bad_seed = number_of(optarg); break;
        case 'o': odd->most = number_of(optarg); break;
        case 'u': odd->stuck_step = (uint32_t)number_of(optarg); break;
        case 'h': odd->hold = optarg; break;
        default: fputs(help, stderr); exit(2);
        }
    if (!options->coordinator || !options->name || !options->cache || !options->models) {
        fputs(help, stderr);
        exit(2);
    }
}

int main(int argc, char **argv) {
    struct oddness odd = { .most = SIZE_MAX };
    struct agent_options options = { .host = "here", .device = "cpu", .threads = 1,
                                     .painter = { .context = &odd, .device_class = "odd", .load = load, .draw = draw } };
    struct sigaction action = { .sa_handler = stop_running };
    struct error error;
    read_options(&options, &odd, argc, argv);
    log_open(2, LOG_INFO, "worker");
    signal(SIGPIPE, SIG_IGN);
    enum err err = agent_create(&running, &options, &error);
    if (!err) {
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
        err = agent_run(running, &error);
        sigaction(SIGTERM, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
        sigaction(SIGINT, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
    }
    agent_destroy(running);
    if (err)
        fprintf(stderr, "odd_worker: %s\n", error.message);
    return err == ERR_UNSUPPORTED ? 2 : err_exit_status(err);
}
