/*
 * test_schedule_golden.c - every field of scheduler_config that diffusers honours, against diffusers: noise levels, and what the
 * scheduler holds after each step, for a model that is a formula (tests/golden/record_schedules.py).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/json.h"
#include "pipeline/denoise/schedule.h"

enum { VALUES = 24 };

/* numpy.quantile of the magnitudes, between 1 and `most`. */
static double threshold(const double *z, double quantile, double most) {
    double sorted[VALUES];
    for (int i = 0; i < VALUES; i++) {
        int k = i;
        for (; k > 0 && sorted[k - 1] > fabs(z[i]); k--) {
            sorted[k] = sorted[k - 1];
        }
        sorted[k] = fabs(z[i]);
    }
    double place = quantile * (VALUES - 1);
    int low = (int)place, high = low + 1 < VALUES ? low + 1 : low;
    return fmin(fmax(sorted[low] + (place - low) * (sorted[high] - sorted[low]), 1.0), most);
}

static double drawn(uint32_t k, int i) {
    return (double)(float)sin(17.0 * k + i);
}

/* What backend.h says a row does. */
static void take_step(double *x, double *history, const struct step_row *row, uint32_t step) {
    double e[VALUES], z[VALUES], limit = row->limit, scale = 1.0;
    for (int i = 0; i < VALUES; i++) {
        e[i] = (float)(0.6 * (float)(row->input_scale * x[i]) + 0.3 * cos(i + row->timestep / 100.0));
        z[i] = row->belief_x * x[i] + row->belief_model * e[i];
    }
    if (row->quantile != 0.0f) {
        limit = scale = threshold(z, row->quantile, row->limit);
    }
    for (int i = 0; i < VALUES; i++) {
        double picture = row->limit == 0.0f ? 0.0 : fmin(fmax(z[i], -limit), limit) / scale, before = history[i];
        history[i] = row->history_x * x[i] + row->history_model * e[i] + row->history_belief * picture +
                     row->history_keep * before;
        x[i] = row->x_scale * x[i] + row->model * e[i] + row->belief * picture + row->history * before +
               row->noise * drawn(step + 1, i);
    }
}

static double number(const json_t *list, size_t place) {
    return json_number_value(json_array_get(list, place));
}

static void near(double value, double wanted, double tolerance, const char *title, const char *what, size_t place) {
    if (!(fabs(value - wanted) <= tolerance)) {
        fail_msg("%s: %s %zu: want %.9g, is %.9g", title, what, place, wanted, value);
    }
}

static void check_levels(const struct plan *plan, const json_t *item, const char *title) {
    const json_t *timesteps = json_object_get(item, "timesteps"), *sigmas = json_object_get(item, "sigmas");
    assert_int_equal(plan->rows, json_array_size(timesteps));
    for (size_t i = 0; i < plan->rows; i++) {
        near(plan->timesteps[i], number(timesteps, i), 1e-4, title, "timestep", i);
    }
    for (size_t i = 0; i <= plan->rows; i++) {
        double wanted = number(sigmas, i);
        if (wanted < 0.0) {
            assert_true(isinf(plan->sigmas[i]));
        } else {
            near(plan->sigmas[i], wanted, 1e-5 * wanted, title, "sigma", i);
        }
    }
}

/* Latents within 1e-4 of the largest. Returns the largest share of that. */
static double check_latents(const struct plan *plan, const json_t *item, const char *title) {
    double x[VALUES], history[VALUES] = { 0 }, worst = 0.0;
    for (int i = 0; i < VALUES; i++) {
        x[i] = plan->initial_scale * drawn(0, i);
    }
    for (uint32_t step = 0; step < plan->rows; step++) {
        const json_t *wanted = json_array_get(json_object_get(item, "latents"), step);
        double largest = 0.0;
        take_step(x, history, &plan->table[step], step);
        for (int i = 0; i < VALUES; i++) {
            largest = fmax(largest, fabs(number(wanted, i)));
        }
        for (int i = 0; i < VALUES; i++) {
            near(x[i], number(wanted, i), 1e-4 * largest, title, "latents of step", step + 1);
            worst = fmax(worst, fabs(x[i] - number(wanted, i)) / (1e-4 * largest));
        }
    }
    return worst;
}

static double check_case(const json_t *item) {
    struct plan_request request = {
        .sampler = json_string_value(json_object_get(item, "sampler")),
        .schedule = json_string_value(json_object_get(item, "schedule")),
        .steps = (uint32_t)json_integer_value(json_object_get(item, "steps")),
    };
    struct process process;
    struct plan plan;
    struct error error;
    char *config = json_dumps(json_object_get(item, "config"), JSON_COMPACT);
    char *title = text_format("%s, %s, %u steps, %.300s", request.sampler, request.schedule, request.steps, config);
    if (process_read(&process, json_object_get(item, "config"), &error) != ERR_OK ||
        plan_make(&plan, &process, &request, &error) != ERR_OK) {
        fail_msg("%s: %s", title, error.message);
    }
    check_levels(&plan, item, title);
    double worst = check_latents(&plan, item, title);
    plan_release(&plan);
    process_release(&process);
    free(title);
    free(config);
    return worst;
}

static void test_all(void **state) {
    (void)state;
    json_t *cases = NULL;
    struct error error;
    double worst = 0.0;
    if (json_read_file(&cases, SOURCE_DIR "/tests/golden/schedules.json", 1 << 20, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
    for (size_t i = 0; i < json_array_size(cases); i++) {
        worst = fmax(worst, check_case(json_array_get(cases, i)));
    }
    print_message("%zu cases: at most %.1f %% of the tolerance\n", json_array_size(cases), 100.0 * worst);
    json_decref(cases);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_all) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
