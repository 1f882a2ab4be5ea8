/*
 * odd_worker.c - a worker of the real worker library whose painter draws plain pictures at once, or misbehaves as told.
 *
 * What it delivers is valid: a picture of one colour (the key's), with the job in it. For tests of a farm's bad days.
 */
#include <getopt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "picture/picture.h"
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
    "  --stuck-step N   at this step it goes on living and gets no further, until it is told to stop\n";

struct oddness {
    uint32_t step_ms, stuck_step;
    size_t most;
    bool bad_all, has_bad_seed;
    uint64_t bad_seed;
};

/* ---- the painter ---------------------------------------------------------------------------------------------------- */

static enum err load(void *context, const struct digest *model, const char *folder, struct error *error) {
    (void)context;
    (void)model;
    (void)folder;
    (void)error;
    return ERR_OK;
}

static bool take_step(const struct oddness *odd, const struct render_watch *watch, uint32_t step, uint32_t steps) {
    bool goes_on;
    do {
        if (odd->step_ms)
            clock_sleep_ms(odd->step_ms);
        goes_on = watch->progress(watch->context, RENDER_STEP, step, steps);
    } while (goes_on && step == odd->stuck_step);
    return goes_on;
}

/* One colour, made from the key: jobs differ, the same job is the same bytes wherever it is drawn. */
static enum err draw_one(struct rendered *out, const struct spec *spec) {
    struct bytes canonical = BYTES_INIT, png = BYTES_INIT, cfg = BYTES_INIT;
    struct picture picture = { .width = spec->width, .height = spec->height };
    size_t size = (size_t)3 * spec->width * spec->height;
    spec_canonical(&canonical, spec);
    spec_get(&cfg, spec, FIELD_CFG);
    struct digest key = digest_of(canonical.data, canonical.size);
    picture.rgb = memory_get(size);
    for (size_t i = 0; i < size; i++)
        picture.rgb[i] = key.bytes[i % 3];
    struct picture_job job = {
        .canonical = bytes_text(&canonical), .device_class = "odd", .prompt = spec->prompt, .negative = spec->negative,
        .sampler = sampler_name(spec->sampler), .schedule = schedule_name(spec->schedule), .cfg = bytes_text(&cfg),
        .model_name_or_digest = "odd", .seed = spec->seed, .steps = spec->steps, .width = spec->width,
        .height = spec->height, .clip_skip = spec->clip_skip,
    };
    enum err err = png_encode_job(&png, &picture, &job, &out->error);
    if (!err) {
        out->picture = digest_of(png.data, png.size);
        out->pixels = picture_pixel_digest(&picture);
        out->png = bytes_take(&png);
        out->render_ms = 1;
    }
    picture_release(&picture);
    bytes_release(&canonical);
    bytes_release(&png);
    bytes_release(&cfg);
    return err;
}

static enum err draw(void *context, struct rendered *out, const struct spec *const *specs, size_t count,
                     const struct render_watch *watch, struct error *error) {
    const struct oddness *odd = context;
    uint32_t steps = specs[0]->steps;
    if (count > odd->most)
        return error_set(error, ERR_MEMORY, "%zu pictures at once: there is room for %zu", count, odd->most);
    bool goes_on = watch->progress(watch->context, RENDER_TEXT, 0, steps);
    for (uint32_t step = 1; step <= steps && goes_on; step++)
        goes_on = take_step(odd, watch, step, steps);
    if (!goes_on || !watch->progress(watch->context, RENDER_DECODE, steps, steps))
        return error_set(error, ERR_CANCELLED, "told to stop");
    for (size_t i = 0; i < count; i++) {
        out[i] = (struct rendered){ .png = BYTES_INIT };
        if (odd->bad_all || (odd->has_bad_seed && specs[i]->seed == odd->bad_seed))
            error_set(&out[i].error, ERR_NUMERIC, "seed %llu: NaN", (unsigned long long)specs[i]->seed);
        else if (draw_one(&out[i], specs[i]) != ERR_OK)
            continue; /* its sentence is in out[i].error */
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
        { "stuck-step", required_argument, NULL, 'u' },  { NULL, 0, NULL, 0 },
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
                                     .painter = { &odd, "odd", load, draw } };
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
