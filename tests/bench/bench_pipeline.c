/*
 * bench_pipeline.c - how long a model takes: seconds a step and a decode, peak memory, as one line of JSON.
 *
 * usage: bench_pipeline MODEL WIDTH HEIGHT BATCH STEPS [DEVICE [THREADS [NUMERICS]]]
 *
 * Under guidance, with as many prompts as pictures. The first step is a warm-up where there are more; of the others the
 * shortest counts, as elsewhere in tests/bench. decode_s is for the whole batch.
 *
 * On a card all is drawn twice, and the second time counts: plans are made, graphs captured. The host is up to STEPS_AHEAD steps
 * ahead of the card there, so the steps behind those count, by their mean (step_mean_s), and decode_s is what they leave of the whole.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "pipeline/pipeline.h"

enum { STEPS_AHEAD = 2 };

struct times {
    bool on_card;
    uint64_t last_ns;
    double text_s, step_s, steps_s, decode_s;
    uint32_t steps;
};

static double lap(struct times *times) {
    uint64_t now = clock_monotonic_ns();
    double seconds = (double)(now - times->last_ns) * 1e-9;
    times->last_ns = now;
    return seconds;
}

static bool note(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    struct times *times = context;
    double seconds = lap(times);
    switch (phase) {
    case RENDER_TEXT: times->text_s = seconds; break;
    case RENDER_DECODE: times->decode_s += seconds; break;
    case RENDER_STEP:
        if (step > (times->on_card ? STEPS_AHEAD : 1) || steps == 1) {
            times->step_s = times->steps == 0 || seconds < times->step_s ? seconds : times->step_s;
            times->steps_s += seconds;
            times->steps++;
        }
    }
    return true;
}

static struct render_job *make_jobs(uint32_t count, uint32_t width, uint32_t height, uint32_t steps) {
    struct render_job *jobs = memory_get_array(count, sizeof *jobs);
    for (uint32_t i = 0; i < count; i++) {
        jobs[i] = (struct render_job){ .prompt = text_format("a van gogh painting of a frog, number %u", i), .negative = "",
                                       .seed = i, .width = width, .height = height, .steps = steps, .cfg = 4.5,
                                       .sampler = "Euler", .schedule = "automatic", .clip_skip = 1 };
    }
    return jobs;
}

static double peak_mb(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024.0;
}

static enum err bench(struct model *model, const struct memory_need *need, double load_s, struct render_job *jobs,
                      uint32_t count, bool on_card, struct error *error) {
    struct times times = { .on_card = on_card };
    struct render_watch watch = { .progress = note, .context = &times };
    struct renderer *renderer = NULL;
    struct render_output *outputs = memory_get_array(count, sizeof *outputs);
    enum err err = renderer_create(&renderer, model, 0, error);
    double loaded_mb = peak_mb();
    for (int run = on_card ? 0 : 1; run < 2 && err == ERR_OK; run++) {
        for (uint32_t i = 0; i < count; i++) {
            render_output_release(&outputs[i]);
        }
        times = (struct times){ .on_card = on_card, .last_ns = clock_monotonic_ns() };
        uint64_t begin_ns = times.last_ns;
        err = renderer_render(renderer, jobs, count, &watch, NULL, outputs, error);
        if (on_card && times.steps != 0) {
            double whole_s = (double)(clock_monotonic_ns() - begin_ns) * 1e-9;
            times.decode_s = whole_s - times.text_s - jobs[0].steps * times.steps_s / times.steps;
        }
    }
    if (err == ERR_OK) {
        uint64_t predicted = need->weights + need->run + need->process;
        printf("{\"load_s\": %.4f, \"text_s\": %.4f, \"step_s\": %.4f, \"step_mean_s\": %.4f, \"decode_s\": %.4f,"
               " \"weights_mb\": %.1f, \"run_mb\": %.1f, \"predicted_mb\": %.1f, \"loaded_mb\": %.1f, \"peak_mb\": %.1f}\n",
               load_s, times.text_s, times.step_s, times.steps == 0 ? 0.0 : times.steps_s / times.steps, times.decode_s,
               (double)need->weights / 1048576.0, (double)need->run / 1048576.0, (double)predicted / 1048576.0, loaded_mb,
               peak_mb());
    }
    for (uint32_t i = 0; i < count; i++) {
        render_output_release(&outputs[i]);
    }
    free(outputs);
    renderer_destroy(renderer);
    return err;
}

int main(int count, char **arguments) {
    struct error error = { 0 };
    struct device *device = NULL;
    struct model *model = NULL;
    if (count < 6 || count > 9) {
        fprintf(stderr, "usage: bench_pipeline MODEL WIDTH HEIGHT BATCH STEPS [DEVICE [THREADS [NUMERICS]]]\n");
        return 2;
    }
    uint32_t batch = (uint32_t)strtoul(arguments[4], NULL, 10);
    struct render_job *jobs = make_jobs(batch, (uint32_t)strtoul(arguments[2], NULL, 10),
                                        (uint32_t)strtoul(arguments[3], NULL, 10), (uint32_t)strtoul(arguments[5], NULL, 10));
    enum err err = device_open(&device, count > 6 ? arguments[6] : "cpu", count > 8 ? arguments[8] : "fp32",
                               count > 7 ? (uint32_t)strtoul(arguments[7], NULL, 10) : 0, &error);
    const struct model_files files = { .model = arguments[1] };
    const bool on_card = count > 6 && strcmp(arguments[6], "cpu") != 0 && strcmp(arguments[6], "reference") != 0;
    const struct render_size size = { .width = jobs[0].width, .height = jobs[0].height, .batch = batch, .guided = jobs[0].cfg > 1.0 };
    struct memory_need need;
    if (err == ERR_OK) {
        err = model_memory(&need, device, &files, NULL, &size, &error);
    }
    uint64_t begin_ns = clock_monotonic_ns();
    if (err == ERR_OK) {
        err = model_load(&model, device, arguments[1], &error);
    }
    if (err == ERR_OK) {
        err = bench(model, &need, (double)(clock_monotonic_ns() - begin_ns) * 1e-9, jobs, batch, on_card, &error);
    }
    if (err != ERR_OK) {
        fprintf(stderr, "bench_pipeline: %s\n", error.message);
    }
    for (uint32_t i = 0; i < batch; i++) {
        free((char *)jobs[i].prompt);
    }
    free(jobs);
    model_destroy(model);
    device_close(device);
    return err_exit_status(err);
}
