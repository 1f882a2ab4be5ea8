/* sim.c - seeds: one, many, in several processes. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/sim/sim.h"

static const char help[] =
    "sim: whole farms from seeds, in virtual time. See docs/SIMULATION.md.\n"
    "\n"
    "  --from N     the first seed (1)\n"
    "  --count N    how many (1000)\n"
    "  --seed N     this one alone\n"
    "  --trace      tell what happens; with --log the farm's own log too\n"
    "  --jobs N     processes (1)\n"
    "  --keep-on    go on after a seed that failed\n";

struct arguments {
    uint64_t from, count, jobs;
    bool tracing, logging, keep_on;
};

/* The seed is told even where an assertion of the farm's ends us. */
static void tell_seed(int number) {
    char text[80];
    int size = snprintf(text, sizeof text, "sim: seed %" PRIu64 " ends with signal %d\n", world.seed, number);
    ssize_t written = write(STDERR_FILENO, text, (size_t)size);
    (void)written;
    signal(number, SIG_DFL);
    raise(number);
}

static bool make_folder(void) {
    const char *root = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(world.folder, sizeof world.folder, "%s/seedfarm-sim-XXXXXX", root);
    return mkdtemp(world.folder) != NULL;
}

static void remove_folder(void) {
    char path[256];
    for (int i = 1; i <= WORKERS_MOST; i++) {
        static const char *const parts[] = { "/outbox", "/models", "/lock", "" };
        for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
            snprintf(path, sizeof path, "%s/w%d%s", world.folder, i, parts[p]);
            remove(path);
        }
    }
    rmdir(world.folder);
}

/* Seeds from, from + step, ...: how many failed. */
static uint64_t run_seeds(const struct arguments *arguments, uint64_t first, uint64_t step) {
    uint64_t failed = 0;
    if (!make_folder()) {
        fprintf(stderr, "sim: no folder for the workers' files: %s\n", strerror(errno));
        return 1;
    }
    disk_register();
    pool_make();
    for (uint64_t i = first; i < arguments->count && (!failed || arguments->keep_on); i += step) {
        world.tracing = arguments->tracing;
        if (world_run(arguments->from + i))
            continue;
        failed++;
        printf("sim: seed %" PRIu64 ": %s\n", world.seed, world.failure);
        fflush(stdout);
    }
    pool_release();
    remove_folder();
    return failed;
}

static uint64_t run_processes(const struct arguments *arguments) {
    uint64_t failed = 0;
    for (uint64_t i = 0; i < arguments->jobs; i++) {
        pid_t child = fork();
        if (child == 0)
            exit(run_seeds(arguments, i, arguments->jobs) ? 1 : 0);
        failed += child < 0;
    }
    int status;
    while (wait(&status) > 0)
        failed += status != 0;
    return failed;
}

static bool read_arguments(struct arguments *arguments, int count, char **texts) {
    static const struct option options[] = { { "from", required_argument, NULL, 'f' }, { "count", required_argument, NULL, 'c' },
                                             { "seed", required_argument, NULL, 's' }, { "jobs", required_argument, NULL, 'j' },
                                             { "trace", no_argument, NULL, 't' },      { "log", no_argument, NULL, 'l' },
                                             { "keep-on", no_argument, NULL, 'k' },    { NULL, 0, NULL, 0 } };
    *arguments = (struct arguments){ .from = 1, .count = 1000, .jobs = 1 };
    for (int option; (option = getopt_long(count, texts, "", options, NULL)) != -1;) {
        switch (option) {
        case 'f': arguments->from = strtoull(optarg, NULL, 10); break;
        case 'c': arguments->count = strtoull(optarg, NULL, 10); break;
        case 's':
            arguments->from = strtoull(optarg, NULL, 10);
            arguments->count = 1;
            break;
        case 'j': arguments->jobs = strtoull(optarg, NULL, 10); break;
        case 't': arguments->tracing = true; break;
        case 'l': arguments->logging = true; break;
        case 'k': arguments->keep_on = true; break;
        default: return false;
        }
    }
    return arguments->count && arguments->jobs;
}

int main(int count, char **texts) {
    struct arguments arguments;
    if (!read_arguments(&arguments, count, texts)) {
        fputs(help, stderr);
        return 2;
    }
    signal(SIGABRT, tell_seed);
    signal(SIGSEGV, tell_seed);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (arguments.logging)
        log_open(STDOUT_FILENO, LOG_DEBUG, "sim");
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    uint64_t failed = arguments.jobs > 1 ? run_processes(&arguments) : run_seeds(&arguments, 0, 1);
    clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9;
    if (!failed)
        printf("sim: all hold, %.0f seeds a second\n", (double)arguments.count / seconds);
    else
        printf("sim: FAILED, after %.0f s\n", seconds);
    return failed ? 1 : 0;
}
