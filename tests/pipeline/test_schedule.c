/* test_schedule.c - noise levels against known values, traps of docs/PIPELINE.md, and every sampler's rows. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "pipeline/denoise/curves.h"
#include "pipeline/denoise/schedule.h"

static const char SD1[] = "{\"beta_start\":0.00085,\"beta_end\":0.012,\"beta_schedule\":\"scaled_linear\","
                          "\"num_train_timesteps\":1000,\"steps_offset\":1,\"set_alpha_to_one\":false%s}";

static struct process process_of(const char *extra) {
    struct process process;
    struct error error;
    char text[512];
    snprintf(text, sizeof text, SD1, extra);
    json_t *json = json_loads(text, 0, NULL);
    assert_non_null(json);
    if (process_read(&process, json, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
    json_decref(json);
    return process;
}

static struct plan plan_of(const struct process *process, const char *sampler, const char *schedule, uint32_t steps) {
    struct plan plan;
    struct error error;
    struct plan_request request = { .sampler = sampler, .schedule = schedule, .steps = steps };
    if (plan_make(&plan, process, &request, &error) != ERR_OK) {
        fail_msg("%s", error.message);
    }
    return plan;
}

static void assert_near(double value, double wanted, double tolerance) {
    if (!(fabs(value - wanted) <= tolerance)) {
        fail_msg("want %.9g, is %.9g", wanted, value);
    }
}

/* rows, first and last timestep, initial scale and first sigma of a plan */
static void check_plan(const char *sampler, const char *schedule, uint32_t steps, uint32_t rows, double first, double last,
                       double scale, double sigma) {
    struct process process = process_of("");
    struct plan plan = plan_of(&process, sampler, schedule, steps);
    assert_int_equal(plan.rows, rows);
    assert_near(plan.timesteps[0], first, 1e-3);
    assert_near(plan.timesteps[rows - 1], last, 1e-3);
    assert_near(plan.initial_scale, scale, 1e-4);
    assert_near(plan.sigmas[0], sigma, 1e-4);
    plan_release(&plan);
    process_release(&process);
}

static void test_table(void **state) {
    (void)state;
    struct process process = process_of("");
    double first = process.alphas_cumprod[0], last = process.alphas_cumprod[999];
    assert_near(sqrt((1 - first) / first), 0.0291672, 1e-6);
    assert_near(sqrt((1 - last) / last), 14.6146412, 1e-5);
    assert_near(first, 0.99914997816085815, 1e-12); /* torch's f32, exactly */
    assert_near(last, 0.00466009508818388, 1e-12);
    process_release(&process);
}

static void test_known_starts(void **state) {
    (void)state;
    check_plan("Euler", "leading", 20, 20, 951, 1, 11.073581, 11.028336);
    check_plan("Euler a", "leading", 50, 50, 981, 1, 13.158469, 13.120416);
    check_plan("DDIM", "leading", 20, 20, 951, 1, 1.0, 11.028336);
    check_plan("DPM++ 2M", "leading", 20, 20, 941, 48, 1.0, 10.425045); /* T / (steps + 1) */
    check_plan("Euler", "trailing", 20, 20, 999, 49, 14.61464, 14.61464);
    check_plan("DPM++ 2M", "trailing", 20, 20, 999, 49, 1.0, 14.61464);
    check_plan("Euler", "linspace", 20, 20, 999, 0, 14.61464, 14.61464);
    check_plan("DDIM", "linspace", 20, 20, 999, 0, 1.0, 14.61464);
    check_plan("DPM++ 2M", "linspace", 20, 20, 999, 50, 1.0, 14.61464); /* steps + 1 points, the last left out */
    check_plan("Euler", "uniform", 20, 20, 999, 0, 14.61464, 14.61464);
    check_plan("Euler", "karras", 20, 20, 999, 0, 14.61464, 14.61464);
    check_plan("DPM++ 2M", "karras", 20, 20, 999, 0, 14.61464 / sqrt(1 + 14.61464 * 14.61464), 14.61464);
}

static void test_fractions_and_halves(void **state) {
    (void)state;
    struct process process = process_of("");
    struct plan plan = plan_of(&process, "Euler", "linspace", 5);
    assert_near(plan.timesteps[1], 749.25, 0.0);
    plan_release(&plan);
    plan = plan_of(&process, "Euler", "trailing", 16); /* 812.5 and 937.5: half to even */
    assert_near(plan.timesteps[1], 937.0, 0.0);
    assert_near(plan.timesteps[3], 811.0, 0.0);
    plan_release(&plan);
    plan = plan_of(&process, "Euler", "trailing", 61); /* numpy.arange makes 62 points of this */
    assert_int_equal(plan.rows, 61);
    assert_near(plan.timesteps[60], 15.0, 0.0);
    plan_release(&plan);
    process_release(&process);
}

/* scipy.stats.beta.ppf(1 - place / (count - 1), 0.6, 0.6) */
static void test_beta_quantiles(void **state) {
    (void)state;
    static const struct {
        uint32_t place, count;
        double quantile;
    } CASES[] = {
        { 0, 5, 1 },
        { 1, 1000, 0.99998141028910348 },
        { 1, 20, 0.98632891843553072 },
        { 3, 20, 0.91622456064849001 },
        { 7, 20, 0.67928048884449854 },
        { 10, 21, 0.50000000000000011 },
        { 1, 3, 0.50000000000000011 },
        { 13, 20, 0.25340409369127354 },
        { 998, 1000, 1.8589710896476391e-05 },
        { 19, 20, 0 },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        assert_near(curve_sigma(CURVE_BETA, 1.0, 0.0, CASES[i].place, CASES[i].count), CASES[i].quantile, 1e-12);
    }
}

/* Whole timesteps of DPM++ 2M on a curve: karras' are rounded, the others cut off, and the f32 logarithm of Stable Diffusion's
 * largest sigma is just above the true one. */
static void test_curve_beginnings(void **state) {
    (void)state;
    check_plan("DPM++ 2M", "leading-karras", 20, 20, 999, 0, 1.0, 14.61464);
    check_plan("DPM++ 2M", "leading-exponential", 20, 20, 998, 0, 1.0, 14.61464);
    check_plan("DPM++ 2M", "trailing-beta", 20, 20, 998, 0, 1.0, 14.61464);
    check_plan("Euler", "leading-karras", 20, 20, 951, 1, 11.073581, 11.028336); /* between its spaced timesteps' sigmas */
    check_plan("Euler", "trailing-exponential", 20, 20, 999, 49, 14.61464, 14.61464);
    check_plan("DPM++ 2M", "beta", 20, 20, 999, 0, 14.61464 / sqrt(1 + 14.61464 * 14.61464), 14.61464);
    check_plan("Euler", "sgm_uniform", 20, 20, 999, 49.95, 14.61464, 14.61464);
    check_plan("Euler", "simple", 30, 30, 999, 33, 14.61464, 14.61464);
}

/* Eleven levels as they were published, of two models; others between them; of one alone the last. */
static void test_aligned(void **state) {
    (void)state;
    struct process process = process_of("");
    struct plan_request request = { .sampler = "Euler", .schedule = "align_your_steps", .steps = 11 };
    struct plan plan;
    struct error error;
    for (int xl = 0; xl < 2; xl++) {
        request.xl = xl;
        assert_int_equal(plan_make(&plan, &process, &request, &error), ERR_OK);
        assert_int_equal(plan.rows, 11);
        assert_near(plan.sigmas[0], 14.615, 0.0);
        assert_near(plan.timesteps[0], 999.0, 0.0); /* beyond the table */
        assert_near(plan.sigmas[3], xl ? 2.181 : 2.697, 0.0);
        assert_near(plan.sigmas[10], 0.029, 0.0);
        assert_near(plan.sigmas[11], 0.0, 0.0);
        plan_release(&plan);
    }
    plan = plan_of(&process, "DPM++ 2M", "align_your_steps", 21);
    assert_near(plan.sigmas[1], sqrt(14.615 * 6.475), 1e-9);
    plan_release(&plan);
    plan = plan_of(&process, "Euler", "align_your_steps", 1);
    assert_near(plan.sigmas[0], 0.029, 0.0);
    plan_release(&plan);
    process_release(&process);
}

/* Where A1111's kl_optimal ends, DPM++ 2M is still of second order there, however few steps and whatever the model's config. */
static void test_kl_optimal_end(void **state) {
    (void)state;
    struct process process = process_of(",\"euler_at_final\":true");
    struct plan plan = plan_of(&process, "DPM++ 2M", "kl_optimal", 4);
    assert_near(plan.sigmas[4], 0.0291672, 1e-6);
    assert_true(plan.table[3].history != 0.0f);
    plan_release(&plan);
    process_release(&process);
}

static void test_a1111_ddim(void **state) {
    (void)state;
    struct process process = process_of("");
    struct plan plan = plan_of(&process, "DDIM", "ddim", 20);
    assert_int_equal(plan.rows, 19); /* one evaluation less */
    assert_near(plan.timesteps[0], 951, 0.0);
    assert_near(plan.timesteps[18], 51, 0.0);
    assert_near(plan.sigmas[19], sqrt((1 - process.alphas_cumprod[1]) / process.alphas_cumprod[1]), 1e-12);
    plan_release(&plan);
    plan = plan_of(&process, "Euler", "ddim", 30); /* every 33rd of 1000: 31 */
    assert_int_equal(plan.rows, 31);
    assert_near(plan.timesteps[0], 991, 0.0);
    assert_near(plan.sigmas[31], 0.0, 0.0);
    plan_release(&plan);
    process_release(&process);
}

/* diffusers' DDIM looks T / steps back, and where that is before the start ends at the first alpha or at one. */
static void test_ddim_ends(void **state) {
    (void)state;
    struct process process = process_of("");
    struct plan plan = plan_of(&process, "DDIM", "leading", 20);
    assert_near(plan.sigmas[20], 0.0291672, 1e-6);
    plan_release(&plan);
    process.set_alpha_to_one = true;
    plan = plan_of(&process, "DDIM", "leading", 20);
    assert_near(plan.sigmas[20], 0.0, 0.0);
    plan_release(&plan);
    process_release(&process);
}

static void assert_same_plan(const struct process *process, const char *sampler, const char *one, const char *other) {
    struct plan a = plan_of(process, sampler, one, 12), b = plan_of(process, sampler, other, 12);
    assert_int_equal(a.rows, b.rows);
    assert_memory_equal(a.table, b.table, a.rows * sizeof *a.table);
    plan_release(&a);
    plan_release(&b);
}

static void test_automatic(void **state) {
    (void)state;
    struct process process = process_of("");
    assert_same_plan(&process, "Euler", "automatic", "uniform");
    assert_same_plan(&process, "Euler a", "automatic", "uniform");
    assert_same_plan(&process, "DPM++ 2M", "automatic", "karras");
    assert_same_plan(&process, "DDIM", "automatic", "ddim");
    process_release(&process);
}

/* A model that is always right about one picture z: what it says of x at sigma. x is variance-exploding. */
static double oracle(double x, double z, double sigma, enum prediction prediction) {
    double noise = (x - z) / sigma, alpha = 1.0 / sqrt(1.0 + sigma * sigma);
    switch (prediction) {
    case PREDICTION_EPSILON: return noise;
    case PREDICTION_V: return alpha * noise - sigma * alpha * z;
    case PREDICTION_SAMPLE: break;
    }
    return z;
}

/* Whatever the sampler, schedule and kind of prediction: with such a model every run ends at z, noisy as the plan's end. */
static void check_arrival(const struct process *process, const char *sampler, const char *schedule, uint32_t steps) {
    const double z = 0.7;
    struct plan plan = plan_of(process, sampler, schedule, steps);
    bool explodes = strncmp(sampler, "Euler", 5) == 0;
    double sigma = plan.sigmas[0], history = 0.0, draw = 0.3;
    double x = z + sigma * -1.3;
    x = explodes ? x : x / sqrt(1.0 + sigma * sigma);
    for (uint32_t i = 0; i < plan.rows; i++) {
        const struct step_row *row = &plan.table[i];
        sigma = plan.sigmas[i];
        double seen = row->input_scale * x, exploding = seen * sqrt(1.0 + sigma * sigma);
        double e = oracle(exploding, z, sigma, process->prediction), before = history;
        assert_near(row->belief_x * x + row->belief_model * e, z, 1e-6 * (1.0 + fabs(row->belief_model * e))); /* what previews show */
        history = row->history_x * x + row->history_model * e + row->history_keep * history;
        assert_near(row->belief, 0.0, 0.0); /* nothing is limited here */
        x = row->x_scale * x + row->model * e + row->history * before + row->noise * draw;
        draw = -draw;
        assert_near(row->timestep, plan.timesteps[i], 1e-3);
    }
    double end = plan.sigmas[plan.rows];
    x = explodes ? x : x * sqrt(1.0 + end * end);
    if (!(fabs(x - z) <= 2.0 * end + 2e-5)) {
        fail_msg("%s, %s, %u steps: want %g, is %g", sampler, schedule, steps, z, x);
    }
    plan_release(&plan);
}

static void test_arrival(void **state) {
    (void)state;
    static const char *const SAMPLERS[] = { "Euler", "Euler a", "DPM++ 2M", "DDIM" };
    static const char *const SCHEDULES[] = { "ddim", "leading", "trailing", "linspace", "uniform", "karras", "exponential",
                                             "sgm_uniform", "simple", "kl_optimal", "align_your_steps", "beta", "leading-karras",
                                             "trailing-exponential", "linspace-beta" };
    static const size_t COUNTS[] = { 15, 12, 15, 2 }; /* DDIM ends a stride early with other spacings, Euler a has no curves */
    static const uint32_t STEPS[] = { 2, 3, 7, 20, 50, 333 };
    for (int prediction = PREDICTION_EPSILON; prediction <= PREDICTION_SAMPLE; prediction++) {
        struct process process = process_of("");
        process.prediction = (enum prediction)prediction;
        for (size_t i = 0; i < 4; i++) {
            for (size_t k = 0; k < COUNTS[i]; k++) {
                for (size_t n = 0; n < sizeof STEPS / sizeof *STEPS; n++) {
                    check_arrival(&process, SAMPLERS[i], SCHEDULES[k], STEPS[n]);
                }
            }
        }
        process_release(&process);
    }
}

static void refuse_plan(const struct process *process, const char *sampler, const char *schedule, uint32_t steps,
                        enum err code, const char *sentence) {
    struct plan plan;
    struct error error = { 0 };
    struct plan_request request = { .sampler = sampler, .schedule = schedule, .steps = steps };
    assert_int_equal(plan_make(&plan, process, &request, &error), code);
    assert_string_equal(error.message, sentence);
}

static void test_refusals(void **state) {
    (void)state;
    struct process process = process_of("");
    refuse_plan(&process, "Heun", "karras", 20, ERR_UNSUPPORTED,
                "sampler: want Euler, Euler a, DDIM, DPM++ 2M or LCM, job has Heun");
    refuse_plan(&process, "Euler a", "turbo", 20, ERR_UNSUPPORTED,
                "schedule: want one that Euler a has (automatic, uniform, karras, exponential, sgm_uniform, simple, kl_optimal,"
                " align_your_steps, beta, ddim, leading, trailing, linspace), job has turbo");
    refuse_plan(&process, "DDIM", "leading-karras", 20, ERR_UNSUPPORTED,
                "schedule: want one that DDIM has (automatic, ddim, leading, trailing, linspace), job has leading-karras");
    refuse_plan(&process, "LCM", "karras", 4, ERR_UNSUPPORTED,
                "schedule: want one that LCM has (automatic, lcm), job has karras");
    refuse_plan(&process, "Euler", "karras", 0, ERR_INVALID, "steps: want 1..1000, job has 0");
    refuse_plan(&process, "Euler", "karras", 1001, ERR_INVALID, "steps: want 1..1000, job has 1001");
    refuse_plan(&process, "DDIM", "ddim", 1, ERR_INVALID,
                "steps: want at least 2 for DDIM with schedule ddim, which makes one evaluation less, job has 1");
    refuse_plan(&process, "Euler", "leading", 1000, ERR_INVALID,
                "steps: want timesteps up to 999, leading with 1000 steps and steps_offset 1 begins at 1000");
    refuse_plan(&process, "DPM++ 2M", "leading", 1000, ERR_INVALID,
                "steps: want fewer: with 1000, evaluations 1 and 2 fall on the same noise level 0.0413145");
    process_release(&process);
    process = process_of(",\"sigma_min\":2,\"sigma_max\":1.5");
    refuse_plan(&process, "Euler", "leading-karras", 20, ERR_INVALID,
                "scheduler: sigma_min: want 0..1.5, between where sampling ends and sigma_max, is 2");
    process_release(&process);
    process = process_of(",\"trained_betas\":[0.9,0.999999,0.999999,0.999999,0.999999,0.999999,0.999999,0.999999],"
                         "\"num_train_timesteps\":8");
    refuse_plan(&process, "DPM++ 2M", "leading-exponential", 2, ERR_INVALID,
                "scheduler: betas: want alphas whose sigmas f32 can hold, the smallest is 1.09301e-43");
    process_release(&process);
    process = process_of(",\"sigma_min\":0.01,\"sigma_max\":9,\"final_sigmas_type\":\"sigma_min\"");
    refuse_plan(&process, "DPM++ 2M", "trailing-beta", 20, ERR_INVALID,
                "scheduler: sigma_min: want 0.0291675..9, between where sampling ends and sigma_max, is 0.01");
    process_release(&process);
    process = process_of(",\"rescale_betas_zero_snr\":true");
    refuse_plan(&process, "DDIM", "trailing", 20, ERR_INVALID, "prediction: want v or sample where sampling begins at nothing but"
                " noise (zero terminal SNR), which noise says nothing about; the model predicts epsilon");
    process_release(&process);
}

/* A job's word for what the model predicts goes before the model's own. */
static void test_prediction(void **state) {
    (void)state;
    struct process noise = process_of(""), velocity = process_of(",\"prediction_type\":\"v_prediction\"");
    struct plan_request asked = { .sampler = "DDIM", .schedule = "leading", .prediction = "v", .steps = 9 }, silent = asked;
    struct plan a, b;
    struct error error;
    silent.prediction = NULL;
    assert_int_equal(plan_make(&a, &noise, &asked, &error), ERR_OK);
    assert_int_equal(plan_make(&b, &velocity, &silent, &error), ERR_OK);
    assert_memory_equal(a.table, b.table, a.rows * sizeof *a.table);
    plan_release(&a);
    plan_release(&b);
    asked.prediction = "flow";
    assert_int_equal(plan_make(&a, &noise, &asked, &error), ERR_UNSUPPORTED);
    assert_string_equal(error.message, "prediction: want epsilon, v or sample, job has flow");
    process_release(&noise);
    process_release(&velocity);
}

/* rows, first timestep and noise of the picture where only `strength` of 20 steps is walked */
static void check_part(const char *sampler, const char *schedule, double strength, uint32_t rows, double first, double noisy_at) {
    struct process process = process_of("");
    struct plan_request request = { .sampler = sampler, .schedule = schedule, .steps = 20, .strength = strength };
    struct plan plan;
    struct error error;
    assert_int_equal(plan_make(&plan, &process, &request, &error), ERR_OK);
    double alpha = process.alphas_cumprod[(uint32_t)noisy_at];
    assert_int_equal(plan.rows, rows);
    assert_near(plan.timesteps[0], first, 0.6);
    if (strncmp(sampler, "Euler", 5) != 0) {
        assert_near(plan.picture_scale, sqrt(alpha), 1e-9);
        assert_near(plan.noise_scale, sqrt(1.0 - alpha), 1e-9);
    } else {
        assert_near(plan.picture_scale, 1.0, 0.0);
        assert_near(plan.noise_scale, plan.sigmas[0], 0.0);
    }
    plan_release(&plan);
    process_release(&process);
}

static void test_strength(void **state) {
    (void)state;
    check_part("Euler", "leading", 0.5, 10, 451, 451);
    check_part("DPM++ 2M", "trailing", 0.29, 5, 249, 249); /* int(5.8) */
    check_part("LCM", "lcm", 0.3, 6, 299, 299);
    check_part("Euler", "uniform", 0.5, 11, 525.8, 525); /* A1111: one more */
    check_part("DDIM", "ddim", 0.5, 9, 451, 501);        /* A1111: one less, from the level before */
    struct process process = process_of("");
    struct plan_request request = { .sampler = "Euler", .schedule = "leading", .steps = 20, .strength = 0.04 };
    struct plan plan;
    struct error error;
    assert_int_equal(plan_make(&plan, &process, &request, &error), ERR_INVALID);
    assert_string_equal(error.message, "strength: want enough of the 20 steps that one is left, job has 0.04");
    process_release(&process);
}

/* Python's -Infinity in a file, and files of one piece, which have no scheduler_config. */
static void test_sources(void **state) {
    (void)state;
    static const char PATH[] = BINARY_DIR "/scheduler_config.json";
    static const char TEXT[] = "{\"beta_start\":0.00085,\"beta_end\":0.012,\"beta_schedule\":\"scaled_linear\",\n"
                               " \"lambda_min_clipped\": -Infinity, \"steps_offset\":1}\n";
    struct process read, marked = process_of_checkpoint(true, true), plain = process_of_checkpoint(false, false);
    struct error error;
    assert_int_equal(file_write(PATH, TEXT, sizeof TEXT - 1, &error), ERR_OK);
    assert_int_equal(process_open(&read, PATH, &error), ERR_OK);
    assert_true(isinf(read.lambda_min) && plain.prediction == PREDICTION_EPSILON && marked.prediction == PREDICTION_V);
    assert_memory_equal(read.alphas_cumprod, plain.alphas_cumprod, 1000 * sizeof *read.alphas_cumprod);
    assert_near(marked.alphas_cumprod[999], 0.0, 0.0);
    assert_near(marked.alphas_cumprod[0], plain.alphas_cumprod[0], 1e-7);
    process_release(&read);
    process_release(&marked);
    process_release(&plain);
    unlink(PATH);
}

static void refuse_process(const char *text, enum err code, const char *sentence) {
    struct process process;
    struct error error = { 0 };
    json_t *json = json_loads(text, 0, NULL);
    assert_int_equal(process_read(&process, json, &error), code);
    assert_string_equal(error.message, sentence);
    json_decref(json);
}

static void test_bad_processes(void **state) {
    (void)state;
    refuse_process("{\"beta_schedule\":\"sigmoid\"}", ERR_UNSUPPORTED,
                   "scheduler: beta_schedule: want linear or scaled_linear or squaredcos_cap_v2, config.json has \"sigmoid\"");
    refuse_process("{\"trained_betas\":[0.1,0.2],\"num_train_timesteps\":3}", ERR_INVALID,
                   "scheduler: trained_betas: want a list of 3 numbers 0..1, config.json has [0.1,0.2]");
    refuse_process("[]", ERR_INVALID, "scheduler: want a JSON object as config, file has another kind of value");
    refuse_process("{\"beta_start\":\"x\"}", ERR_INVALID,
                   "scheduler: beta_start: want a number 1e-09..0.999, config.json has \"x\"");
    refuse_process("{\"num_train_timesteps\":1000000}", ERR_INVALID,
                   "scheduler: num_train_timesteps: want a whole number 2..100000, config.json has 1000000");
    refuse_process("{\"rescale_betas_zero_snr\":1}", ERR_INVALID,
                   "scheduler: rescale_betas_zero_snr: want true or false, config.json has 1");
    refuse_process("{\"prediction_type\":\"flow\"}", ERR_UNSUPPORTED,
                   "scheduler: prediction_type: want epsilon or v_prediction or sample or original_sample, config.json has"
                   " \"flow\"");
    refuse_process("{\"beta_start\":1e-9,\"beta_end\":1e-9}", ERR_INVALID, "scheduler: betas: want alphas"
                   " that fall from below 1 to above 0, at timestep 0 they give 1 after 1");
    refuse_process("{\"use_flow_sigmas\":true}", ERR_UNSUPPORTED, "scheduler: use_flow_sigmas: want null or no such field"
                   " (this version does not know it), config.json has true");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),     cmocka_unit_test(test_known_starts), cmocka_unit_test(test_fractions_and_halves),
        cmocka_unit_test(test_beta_quantiles), cmocka_unit_test(test_curve_beginnings), cmocka_unit_test(test_kl_optimal_end),
        cmocka_unit_test(test_aligned),
        cmocka_unit_test(test_a1111_ddim), cmocka_unit_test(test_ddim_ends),   cmocka_unit_test(test_automatic),
        cmocka_unit_test(test_arrival),   cmocka_unit_test(test_refusals),     cmocka_unit_test(test_bad_processes),
        cmocka_unit_test(test_prediction), cmocka_unit_test(test_strength), cmocka_unit_test(test_sources),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
