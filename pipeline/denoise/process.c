/*
 * process.c - from scheduler_config.json to a table of alphas, as torch computes it, and what else a schedule must know.
 */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "pipeline/denoise/process.h"
#include "pipeline/weights/config.h"

enum { PROCESS_FILE_LIMIT = 4 << 20 };

/* ---- betas, in f32 as torch has them ------------------------------------------------------------------------------- */

/* torch.linspace in f32: its step is rounded, its products are fused, its second half counts from the end. */
static float torch_linspace(float start, float end, uint32_t place, uint32_t count) {
    float step = (end - start) / (float)(count - 1);
    return place < count / 2 ? (float)((double)start + (double)step * place)
                             : (float)((double)end - (double)step * (count - 1 - place));
}

static void fill_linear(float *betas, uint32_t count, double start, double end) {
    for (uint32_t i = 0; i < count; i++) {
        betas[i] = torch_linspace((float)start, (float)end, i, count);
    }
}

static void fill_scaled_linear(float *betas, uint32_t count, double start, double end) {
    fill_linear(betas, count, sqrt(start), sqrt(end));
    for (uint32_t i = 0; i < count; i++) {
        betas[i] *= betas[i];
    }
}

/* Nichol 2021: alphas along a squared cosine, no beta beyond 0.999. */
static void fill_cosine(float *betas, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        double now = cos(((double)i / count + 0.008) / 1.008 * M_PI / 2);
        double next = cos(((double)(i + 1) / count + 0.008) / 1.008 * M_PI / 2);
        betas[i] = (float)fmin(1.0 - next * next / (now * now), 0.999);
    }
}

/* alphas[i] = product of 1 - betas[0..i]. At the small end 1 - alpha is rounded to 3.5e-5 of itself, and everybody's
 * pictures are drawn with these values. cumprod accumulates in double and stores f32. */
static void multiply(float *alphas, const float *betas, uint32_t count) {
    double product = 1.0;
    for (uint32_t i = 0; i < count; i++) {
        product *= (double)(1.0f - betas[i]);
        alphas[i] = (float)product;
    }
}

/* Lin 2023, algorithm 1: sqrt(alpha) shifted so that it ends at 0, and scaled so that it begins as before. */
static void rescale_to_zero_snr(float *betas, uint32_t count) {
    float *roots = memory_get_array(count, sizeof *roots);
    multiply(roots, betas, count);
    for (uint32_t i = 0; i < count; i++) {
        roots[i] = sqrtf(roots[i]);
    }
    float last = roots[count - 1], scale = roots[0] / (roots[0] - last);
    for (uint32_t i = 0; i < count; i++) {
        float root = (roots[i] - last) * scale;
        roots[i] = root * root;
    }
    betas[0] = 1.0f - roots[0];
    for (uint32_t i = 1; i < count; i++) {
        betas[i] = 1.0f - roots[i] / roots[i - 1];
    }
    free(roots);
}

/* Every level must be a different one, none of them without noise, and none without picture but the last of zero SNR. */
static enum err check_alphas(const struct process *process, struct error *error) {
    for (uint32_t i = 0; i < process->train_steps; i++) {
        double alpha = process->alphas_cumprod[i], before = i == 0 ? 1.0 : process->alphas_cumprod[i - 1];
        bool end = process->zero_snr && i + 1 == process->train_steps;
        if (!(alpha < before && (alpha > 0.0 || (end && alpha == 0.0)))) {
            return error_set(error, ERR_INVALID, "scheduler: betas: want alphas that fall from below 1 to above 0, at timestep"
                             " %u they give %g after %g", i, alpha, before);
        }
    }
    return ERR_OK;
}

/* Takes what `betas` hold into the process. */
static enum err finish_alphas(struct process *process, float *betas, struct error *error) {
    uint32_t count = process->train_steps;
    float *alphas = memory_get_array(count, sizeof *alphas);
    if (process->zero_snr) {
        rescale_to_zero_snr(betas, count);
    }
    multiply(alphas, betas, count);
    process->alphas_cumprod = memory_get_array(count, sizeof *process->alphas_cumprod);
    for (uint32_t i = 0; i < count; i++) {
        process->alphas_cumprod[i] = alphas[i];
    }
    free(alphas);
    return check_alphas(process, error);
}

/* ---- fields -------------------------------------------------------------------------------------------------------- */

static void read_betas(struct config *config, struct process *process, float *betas) {
    static const char *const KINDS[] = { "linear", "scaled_linear", "squaredcos_cap_v2", NULL };
    double start = config_real(config, "beta_start", 0.0001, 1e-9, 0.999);
    double end = config_real(config, "beta_end", 0.02, 1e-9, 0.999);
    uint32_t kind = config_word(config, "beta_schedule", KINDS), count = process->train_steps;
    process->cosine = kind == 2;
    if (config_reals(config, "trained_betas", betas, count, 0.0, 1.0)) {
        return;
    }
    switch (kind) {
    case 0: fill_linear(betas, count, start, end); break;
    case 1: fill_scaled_linear(betas, count, start, end); break;
    default: fill_cosine(betas, count); break;
    }
}

static enum prediction read_prediction(struct config *config) {
    static const char *const KINDS[] = { "epsilon", "v_prediction", "sample", "original_sample", NULL };
    static const enum prediction PREDICTIONS[] = { PREDICTION_EPSILON, PREDICTION_V, PREDICTION_SAMPLE, PREDICTION_SAMPLE };
    return PREDICTIONS[config_word(config, "prediction_type", KINDS)];
}

/* Thresholding goes before clipping, as in diffusers. */
static void read_limits(struct config *config, struct process *process) {
    bool clip = config_flag(config, "clip_sample", false), thresholding = config_flag(config, "thresholding", false);
    double range = config_real(config, "clip_sample_range", 1.0, 1e-6, 1e6);
    double ratio = config_real(config, "dynamic_thresholding_ratio", 0.995, 1e-6, 1.0);
    double most = config_real(config, "sample_max_value", 1.0, 1.0, 1e6);
    process->clips = clip && !thresholding;
    process->limit = thresholding ? most : clip ? range : 0.0;
    process->quantile = thresholding ? ratio : 0.0;
}

static void read_fields(struct config *config, struct process *process) {
    static const char *const ENDS[] = { "zero", "sigma_min", NULL };
    static const char *const INTERPOLATIONS[] = { "linear", "log_linear", NULL };
    static const char *const TIMESTEPS[] = { "discrete", "continuous", NULL };
    /* How a scheduler of its own would step; here the job says that. */
    static const char *const SKIPPED[] = {
        "algorithm_type", "disable_corrector", "flow_shift", "predict_x0", "skip_prk_steps",
        "solver_order", "solver_p", "solver_type", "time_shift_type", "timestep_spacing", "use_beta_sigmas",
        "use_exponential_sigmas", "use_karras_sigmas", "use_lu_lambdas", "variance_type", NULL
    };
    process->prediction = read_prediction(config);
    process->zero_snr = config_flag(config, "rescale_betas_zero_snr", false);
    process->steps_offset = config_u32(config, "steps_offset", 0, 0, process->train_steps - 1);
    process->set_alpha_to_one = config_flag(config, "set_alpha_to_one", false);
    process->end_at_sigma_min = config_word(config, "final_sigmas_type", ENDS) == 1;
    process->log_linear = config_word(config, "interpolation_type", INTERPOLATIONS) == 1;
    process->continuous = config_word(config, "timestep_type", TIMESTEPS) == 1;
    process->lower_order_final = config_flag(config, "lower_order_final", true);
    process->euler_at_final = config_flag(config, "euler_at_final", false);
    process->lambda_min = config_real(config, "lambda_min_clipped", -INFINITY, -1e6, 1e6);
    process->sigma_min = config_real(config, "sigma_min", 0.0, 1e-6, 1e6);
    process->sigma_max = config_real(config, "sigma_max", 0.0, 1e-6, 1e6);
    process->lcm_steps = config_u32(config, "original_inference_steps", 50, 1, PROCESS_STEPS_LIMIT);
    process->lcm_scaling = config_real(config, "timestep_scaling", 10.0, 1e-6, 1e6);
    read_limits(config, process);
    config_skip(config, SKIPPED);
}

enum err process_read(struct process *process, const json_t *scheduler_config, struct error *error) {
    struct config config;
    config_init(&config, scheduler_config, "scheduler");
    struct process read = {
        .train_steps = config_u32(&config, "num_train_timesteps", 1000, 2, PROCESS_STEPS_LIMIT),
    };
    float *betas = memory_get_array(read.train_steps, sizeof *betas);
    read_fields(&config, &read);
    read_betas(&config, &read, betas);
    enum err err = config_finish(&config, error);
    if (err == ERR_OK) {
        err = finish_alphas(&read, betas, error);
    }
    free(betas);
    if (err != ERR_OK) {
        process_release(&read);
        return err;
    }
    *process = read;
    return ERR_OK;
}

/* Python writes "lambda_min_clipped": -Infinity, which is no JSON: it becomes a null, which means the same. */
static void tame_infinity(struct bytes *text) {
    static const char INFINITE[] = "-Infinity", NOTHING[] = "null     ";
    for (char *at = (char *)text->data; at != NULL && (at = strstr(at, INFINITE)) != NULL;) {
        memcpy(at, NOTHING, sizeof NOTHING - 1);
    }
}

enum err process_open(struct process *process, const char *path, struct error *error) {
    struct bytes text = BYTES_INIT;
    json_t *config = NULL;
    enum err err = file_read(&text, path, PROCESS_FILE_LIMIT, error);
    if (err == ERR_OK) {
        tame_infinity(&text);
        err = json_parse(&config, bytes_text(&text), text.size, path, error);
    }
    if (err == ERR_OK) {
        err = process_read(process, config, error);
    }
    json_decref(config);
    bytes_release(&text);
    return err;
}

struct process process_of_checkpoint(bool v_prediction, bool zero_snr) {
    struct process process;
    struct error error;
    json_t *config = json_pack("{s:f, s:f, s:s, s:i, s:s, s:b}", "beta_start", 0.00085, "beta_end", 0.012, "beta_schedule",
                               "scaled_linear", "steps_offset", 1, "prediction_type",
                               v_prediction ? "v_prediction" : "epsilon", "rescale_betas_zero_snr", zero_snr);
    enum err err = process_read(&process, config, &error);
    assert(err == ERR_OK);
    (void)err;
    json_decref(config);
    return process;
}

void process_release(struct process *process) {
    free(process->alphas_cumprod);
    *process = (struct process){ 0 };
}
