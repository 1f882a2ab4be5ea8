/* planner.c - what would this farm do? forecast.h on the command line. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/catalog.h"
#include "tests/sim/forecast.h"

static const char help[] =
    "plan: what would this farm do? The real scheduler, workers in virtual time. See docs/SIMULATION.md.\n"
    "\n"
    "  --worker COUNT:MS[,batch=N]    so many workers that draw a job of 20 steps in MS milliseconds; again for others\n"
    "  --sweep USER:JOBS[,KEY=N...]   a user's sweep; again for others. Keys, and what they are where not given:\n"
    "                                 at (0, seconds), steps (20), model (1), priority (0), times (1: so many such sweeps)\n"
    "  --user USER=WEIGHT             a weight that is not 1\n"
    "  --load-s N                     to load another model (0)\n"
    "  --latency-ms N                 from asking for jobs to having them (5)\n"
    "\n"
    "  plan --worker 1:100 --worker 3:1000 --sweep ann:400\n"
    "  plan --worker 900:800,batch=8 --worker 100:300,batch=16 --load-s 20 --user ann=3 \\\n"
    "       --sweep ann:200000,model=1 --sweep bob:50000,model=2,at=60\n";

static struct forecast_farm farm = { .latency_ms = 5 };
static struct forecast forecast;

/* ---- the command line --------------------------------------------------------------------------------------------------- */

/* Digits from *text on, which moves behind them; within limits. */
static bool read_number(int64_t *value, char **text, int64_t least, int64_t most) {
    char *end;
    *value = strtoll(*text, &end, 10);
    bool good = end != *text && *value >= least && *value <= most;
    if (!good)
        fprintf(stderr, "plan: \"%s\": want a number %" PRId64 "..%" PRId64 "\n", *text, least, most);
    *text = end;
    return good;
}

/* Up to `sign`, which is taken too. */
static bool read_name(char name[32], char **text, char sign) {
    const char *end = strchr(*text, sign);
    if (!end || end == *text || end - *text >= 32) {
        fprintf(stderr, "plan: \"%s\": want a name of 1 to 31 letters and %c\n", *text, sign);
        return false;
    }
    memcpy(name, *text, (size_t)(end - *text));
    name[end - *text] = 0;
    *text = (char *)end + 1;
    return true;
}

struct key {
    const char *name;
    int64_t least, most, value; /* value: what it is where not given */
};

/* ",KEY=N" as often as there are. */
static bool read_keys(struct key *keys, size_t count, char *text) {
    while (*text == ',') {
        char name[32];
        struct key *key = NULL;
        text++;
        if (!read_name(name, &text, '='))
            return false;
        for (size_t i = 0; i < count; i++)
            if (strcmp(keys[i].name, name) == 0)
                key = &keys[i];
        if (!key) {
            fprintf(stderr, "plan: there is no \"%s\"\n", name);
            return false;
        }
        if (!read_number(&key->value, &text, key->least, key->most))
            return false;
    }
    if (*text)
        fprintf(stderr, "plan: \"%s\" is too much\n", text);
    return !*text;
}

static bool has_room(uint32_t count, const char *what) {
    if (count == FORECAST_LIMIT)
        fprintf(stderr, "plan: want at most %d of %s\n", FORECAST_LIMIT, what);
    return count < FORECAST_LIMIT;
}

static bool add_workers(char *text) {
    struct key keys[] = { { "batch", 1, LIMIT_BATCH, 1 } };
    int64_t count, job_ms;
    if (!has_room(farm.class_count, "--worker") || !read_number(&count, &text, 1, 100000))
        return false;
    if (*text++ != ':' || !read_number(&job_ms, &text, 1, 100000000) || !read_keys(keys, 1, text))
        return false;
    farm.classes[farm.class_count++] = (struct forecast_class){ (uint32_t)count, (uint32_t)job_ms, (uint32_t)keys[0].value };
    return true;
}

static bool add_sweep(char *text) {
    enum { AT, STEPS, MODEL, PRIORITY, TIMES, KEYS };
    struct key keys[KEYS] = {
        { "at", 0, 100000000, 0 }, { "steps", 1, 1000, FORECAST_STEPS }, { "model", 1, FORECAST_MODELS, 1 },
        { "priority", -LIMIT_PRIORITY, LIMIT_PRIORITY, 0 }, { "times", 1, FORECAST_LIMIT, 1 },
    };
    struct forecast_sweep sweep = { .jobs = 0 };
    int64_t jobs;
    if (!read_name(sweep.user, &text, ':') || !read_number(&jobs, &text, 1, 1000000000) || !read_keys(keys, KEYS, text))
        return false;
    sweep.jobs = (uint64_t)jobs;
    sweep.at_ms = (uint64_t)keys[AT].value * 1000;
    sweep.steps = (uint32_t)keys[STEPS].value;
    sweep.model = (uint32_t)keys[MODEL].value;
    sweep.priority = (int32_t)keys[PRIORITY].value;
    for (int64_t i = 0; i < keys[TIMES].value; i++) {
        if (!has_room(farm.sweep_count, "--sweep"))
            return false;
        farm.sweeps[farm.sweep_count++] = sweep;
    }
    return true;
}

static bool add_user(char *text) {
    struct forecast_user *user = &farm.users[farm.user_count];
    int64_t weight;
    if (!has_room(farm.user_count, "--user") || !read_name(user->name, &text, '=') ||
        !read_number(&weight, &text, 1, LIMIT_WEIGHT) || !read_keys(NULL, 0, text))
        return false;
    user->weight = (uint32_t)weight;
    farm.user_count++;
    return true;
}

static bool read_setting(uint32_t *setting, char *text, int64_t most, uint32_t unit) {
    int64_t value;
    if (!read_number(&value, &text, 0, most) || !read_keys(NULL, 0, text))
        return false;
    *setting = (uint32_t)value * unit;
    return true;
}

static bool read_option(int option) {
    switch (option) {
    case 'w': return add_workers(optarg);
    case 's': return add_sweep(optarg);
    case 'u': return add_user(optarg);
    case 'o': return read_setting(&farm.load_ms, optarg, 3600, 1000);
    case 'l': return read_setting(&farm.latency_ms, optarg, 60000, 1);
    case 'h': fputs(help, stdout); exit(0);
    default: fputs(help, stderr); return false;
    }
}

static int by_time(const void *a, const void *b) {
    const struct forecast_sweep *left = a, *right = b;
    return (left->at_ms > right->at_ms) - (left->at_ms < right->at_ms);
}

/* ---- what it does ----------------------------------------------------------------------------------------------------------- */

static double seconds(uint64_t ms) {
    return (double)ms / 1000;
}

static uint32_t weight_of(const char *user) {
    for (uint32_t i = 0; i < farm.user_count; i++)
        if (strcmp(farm.users[i].name, user) == 0)
            return farm.users[i].weight;
    return 1;
}

static void print_farm(void) {
    printf("%" PRIu64 " jobs in %.1f s; the ideal is %.1f s, this is %.3f of it; workers are %.1f %% busy\n", forecast.jobs,
           seconds(forecast.end_ms), forecast.ideal_ms / 1000, (double)forecast.end_ms / forecast.ideal_ms,
           100 * forecast_busy(&forecast));
    printf("%" PRIu64 " leases were copied, %.1f s drawn for nothing\n\n", forecast.copies, seconds(forecast.wasted_ms));
    printf("%8s %10s %6s %12s %7s %10s\n", "WORKERS", "MS/JOB", "BATCH", "JOBS", "BUSY %", "LOADING S");
    for (uint32_t i = 0; i < farm.class_count; i++) {
        const struct forecast_class *class = &farm.classes[i];
        const struct forecast_class_result *result = &forecast.classes[i];
        printf("%8u %10u %6u %12" PRIu64 " %7.1f %10.1f\n", class->count, class->job_ms, class->batch, result->jobs,
               100 * (double)result->busy_ms / ((double)forecast.end_ms * class->count), seconds(result->load_ms));
    }
}

/* A user's sweeps, in one line. */
static void print_user(uint32_t first, uint64_t contended_ms) {
    uint64_t jobs = 0, device_ms = 0, own_ms = 0, wait_ms = UINT64_MAX, end_ms = 0;
    for (uint32_t i = first; i < farm.sweep_count; i++) {
        if (strcmp(farm.sweeps[i].user, farm.sweeps[first].user) != 0)
            continue;
        const struct forecast_sweep_result *result = &forecast.sweeps[i];
        jobs += farm.sweeps[i].jobs;
        device_ms += result->device_ms;
        own_ms += result->contended_ms;
        wait_ms = result->first_ms - farm.sweeps[i].at_ms < wait_ms ? result->first_ms - farm.sweeps[i].at_ms : wait_ms;
        end_ms = result->last_ms > end_ms ? result->last_ms : end_ms;
    }
    printf("%-20s %6u %12" PRIu64 " %12.0f %8.1f %10.1f %10.1f\n", farm.sweeps[first].user, weight_of(farm.sweeps[first].user), jobs,
           seconds(device_ms), contended_ms ? 100 * (double)own_ms / (double)contended_ms : 0, seconds(wait_ms), seconds(end_ms));
}

static void print_users(void) {
    uint64_t contended_ms = 0;
    for (uint32_t i = 0; i < farm.sweep_count; i++)
        contended_ms += forecast.sweeps[i].contended_ms;
    printf("\n%-20s %6s %12s %12s %8s %10s %10s\n", "USER", "WEIGHT", "JOBS", "DEVICE S", "SHARE %", "WAIT S", "END S");
    for (uint32_t i = 0; i < farm.sweep_count; i++) {
        bool seen = false;
        for (uint32_t k = 0; k < i && !seen; k++)
            seen = strcmp(farm.sweeps[k].user, farm.sweeps[i].user) == 0;
        if (!seen)
            print_user(i, contended_ms);
    }
    printf("\nSHARE: of the device time while all users had work. WAIT: for a user's first picture. Both in virtual time.\n");
}

int main(int count, char **texts) {
    static const struct option options[] = { { "worker", required_argument, NULL, 'w' }, { "sweep", required_argument, NULL, 's' },
                                             { "user", required_argument, NULL, 'u' },   { "load-s", required_argument, NULL, 'o' },
                                             { "latency-ms", required_argument, NULL, 'l' }, { "help", no_argument, NULL, 'h' },
                                             { NULL, 0, NULL, 0 } };
    for (int option; (option = getopt_long(count, texts, "", options, NULL)) != -1;)
        if (!read_option(option))
            return 2;
    if (optind < count || !farm.class_count || !farm.sweep_count) {
        fputs(help, stderr);
        return 2;
    }
    qsort(farm.sweeps, farm.sweep_count, sizeof *farm.sweeps, by_time);
    forecast_run(&forecast, &farm);
    print_farm();
    print_users();
    return 0;
}
