/*
 * fuzz_config.c - any JSON as a component's config: refused with a sentence, or numbers within their limits; and plans of
 * whatever process a scheduler_config describes.
 *
 * The first byte picks the reader.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/json.h"
#include "pipeline/denoise/unet.h"
#include "pipeline/denoise/schedule.h"
#include "pipeline/image/vae.h"
#include "pipeline/text/text_encoder.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_plans(const struct process *process) {
    static const char *const SAMPLERS[] = { "Euler", "Euler a", "DDIM", "DPM++ 2M", "LCM" };
    static const char *const SCHEDULES[] = { "uniform", "karras", "exponential", "sgm_uniform", "simple", "kl_optimal", "align_your_steps", "beta",
                                             "ddim", "leading", "leading-karras", "trailing", "trailing-exponential",
                                             "linspace", "linspace-beta", "lcm" };
    static const uint32_t STEPS[] = { 1, 2, 7, 61, 1000 };
    enum { SCHEDULE_COUNT = sizeof SCHEDULES / sizeof *SCHEDULES };
    for (size_t i = 0; i < 5 * SCHEDULE_COUNT * 5; i++) {
        struct plan plan;
        struct error error = { 0 };
        struct plan_request request = { .sampler = SAMPLERS[i % 5], .schedule = SCHEDULES[i / 5 % SCHEDULE_COUNT],
                                        .steps = STEPS[i / (5 * SCHEDULE_COUNT)] };
        if (plan_make(&plan, process, &request, &error) != ERR_OK) {
            if (error.message[0] == '\0') {
                abort();
            }
            continue;
        }
        for (uint32_t k = 0; k < plan.rows; k++) {
            const struct step_row *row = &plan.table[k];
            if (!isfinite(row->x_scale) || !isfinite(row->model) || !isfinite(row->history) || !isfinite(row->noise) ||
                !isfinite(row->belief) || !isfinite(row->belief_x) || !isfinite(row->belief_model)) {
                abort();
            }
        }
        plan_release(&plan);
    }
}

static enum err read_part(uint8_t part, const json_t *json, struct error *error) {
    struct unet_config unet;
    struct vae_config vae;
    struct text_encoder_config text;
    struct process process;
    switch (part % 4) {
    case 0: return unet_config_read(&unet, json, error);
    case 1: return vae_config_read(&vae, json, error);
    case 2: return text_encoder_config_read(&text, json, "text_encoder", error);
    default: break;
    }
    enum err err = process_read(&process, json, error);
    if (err == ERR_OK) {
        check_plans(&process);
        process_release(&process);
    }
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *json = NULL;
    struct error error = { 0 };
    if (size == 0 || json_parse(&json, data + 1, size - 1, "fuzz", &error) != ERR_OK) {
        return 0;
    }
    if (read_part(data[0], json, &error) != ERR_OK && error.message[0] == '\0') {
        abort();
    }
    json_decref(json);
    return 0;
}
