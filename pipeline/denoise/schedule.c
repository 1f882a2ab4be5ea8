/*
 * schedule.c - the noise levels of A1111's schedules and of diffusers' spacings.
 *
 * Traps, each with its case in tests/pipeline/test_schedule.c and told in docs/PIPELINE.md: f32 tables as torch makes
 * them, numpy's arange and half-to-even rounding, DPM++'s own first timestep, DDIM's previous timestep, A1111's counts.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/denoise/samplers.h"
#include "pipeline/denoise/schedule.h"
#include "pipeline/weights/config.h"

/* ---- the process ------------------------------------------------------------------------------------------------ */

/* torch.linspace in f32: its step is rounded, its products are fused, its second half counts from the end. */
static float torch_linspace(float start, float end, uint32_t place, uint32_t count) {
    float step = (end - start) / (float)(count - 1);
    return place < count / 2 ? (float)((double)start + (double)step * place)
                             : (float)((double)end - (double)step * (count - 1 - place));
}

/* As torch computes them in f32: at the small end 1 - alpha is rounded to 3.5e-5 of itself, and everybody's pictures
 * are drawn with these values. */
static void fill_alphas(double *alphas, uint32_t count, double beta_start, double beta_end, bool scaled) {
    double product = 1.0;
    for (uint32_t i = 0; i < count; i++) {
        float beta = scaled ? torch_linspace((float)sqrt(beta_start), (float)sqrt(beta_end), i, count)
                            : torch_linspace((float)beta_start, (float)beta_end, i, count);
        beta = scaled ? beta * beta : beta;
        product *= (double)(1.0f - beta); /* cumprod accumulates in double and stores f32 */
        alphas[i] = (double)(float)product;
    }
}

/* Every level must be a different one, none of them without noise or without picture. */
static enum err check_alphas(const double *alphas, uint32_t count, struct error *error) {
    for (uint32_t i = 0; i < count; i++) {
        double before = i == 0 ? 1.0 : alphas[i - 1];
        if (!(alphas[i] > 0.0 && alphas[i] < before)) {
            return error_set(error, ERR_INVALID, "scheduler: beta_start and beta_end: want alphas that fall from below 1 to"
                             " above 0, at timestep %u they give %g after %g", i, alphas[i], before);
        }
    }
    return ERR_OK;
}

static enum prediction read_prediction(struct config *config) {
    const char *name = config_text(config, "prediction_type", "epsilon");
    if (strcmp(name, "v_prediction") == 0) {
        return PREDICTION_V;
    }
    if (strcmp(name, "sample") == 0) {
        return PREDICTION_SAMPLE;
    }
    config_want(config, "prediction_type", "\"epsilon\"");
    return PREDICTION_EPSILON;
}

enum err process_read(struct process *process, const json_t *scheduler_config, struct error *error) {
    /* A scheduler_config also says how its own sampler would step; here the job says that. */
    static const char *const SKIPPED[] = {
        "algorithm_type", "clip_sample_range", "dynamic_thresholding_ratio", "euler_at_final", "final_sigmas_type",
        "flow_shift", "interpolation_type", "lambda_min_clipped", "lower_order_final", "sample_max_value", "sigma_max",
        "sigma_min", "skip_prk_steps", "solver_order", "solver_type", "time_shift_type", "timestep_spacing",
        "use_beta_sigmas", "use_exponential_sigmas", "use_karras_sigmas", "use_lu_lambdas", "variance_type", NULL
    };
    struct config config;
    config_init(&config, scheduler_config, "scheduler");
    struct process read = {
        .train_steps = config_u32(&config, "num_train_timesteps", 1000, 2, SCHEDULE_TRAIN_STEPS_LIMIT),
        .prediction = read_prediction(&config),
        .set_alpha_to_one = config_flag(&config, "set_alpha_to_one", false),
        .clip_sample = config_flag(&config, "clip_sample", false),
    };
    read.steps_offset = config_u32(&config, "steps_offset", 0, 0, read.train_steps - 1);
    double beta_start = config_real(&config, "beta_start", 0.0001, 1e-9, 0.999);
    double beta_end = config_real(&config, "beta_end", 0.02, 1e-9, 0.999);
    bool scaled = strcmp(config_text(&config, "beta_schedule", "linear"), "scaled_linear") == 0;
    if (!scaled) {
        config_want(&config, "beta_schedule", "\"linear\"");
    }
    config_want(&config, "trained_betas", "null");
    config_want(&config, "rescale_betas_zero_snr", "false");
    config_want(&config, "thresholding", "false");
    config_want(&config, "timestep_type", "\"discrete\"");
    config_skip(&config, SKIPPED);
    enum err err = config_finish(&config, error);
    if (err != ERR_OK) {
        return err;
    }
    read.alphas_cumprod = memory_get_array(read.train_steps, sizeof *read.alphas_cumprod);
    fill_alphas(read.alphas_cumprod, read.train_steps, beta_start, beta_end, scaled);
    err = check_alphas(read.alphas_cumprod, read.train_steps, error);
    if (err != ERR_OK) {
        process_release(&read);
        return err;
    }
    *process = read;
    return ERR_OK;
}

void process_release(struct process *process) {
    free(process->alphas_cumprod);
    *process = (struct process){ 0 };
}

static double sigma_at(const struct process *process, uint32_t timestep) {
    double alpha = process->alphas_cumprod[timestep];
    return sqrt((1.0 - alpha) / alpha);
}

/* numpy.interp over whole timesteps: linear in sigma. */
static double sigma_linear(const struct process *process, double timestep) {
    uint32_t low = (uint32_t)timestep;
    double share = timestep - low;
    return share == 0.0 ? sigma_at(process, low)
                        : (1.0 - share) * sigma_at(process, low) + share * sigma_at(process, low + 1);
}

/* k-diffusion's t_to_sigma: linear in log sigma. */
static double sigma_log_linear(const struct process *process, double timestep) {
    uint32_t low = (uint32_t)timestep;
    double share = timestep - low;
    return share == 0.0 ? sigma_at(process, low)
                        : exp((1.0 - share) * log(sigma_at(process, low)) + share * log(sigma_at(process, low + 1)));
}

/* Its inverse, clamped to the table. */
static double timestep_of(const struct process *process, double sigma) {
    uint32_t low = 0, high = process->train_steps - 1;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (sigma_at(process, middle) <= sigma) {
            low = middle;
        } else {
            high = middle;
        }
    }
    double from = log(sigma_at(process, low)), to = log(sigma_at(process, low + 1));
    double share = (log(sigma) - from) / (to - from);
    return low + (share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share);
}

/* ---- schedules -------------------------------------------------------------------------------------------------- */

enum spacing { SPACING_UNIFORM, SPACING_KARRAS, SPACING_DDIM, SPACING_LEADING, SPACING_TRAILING, SPACING_LINSPACE };

/* What is being planned. */
struct draft {
    const struct process *process;
    enum method method;
    enum spacing spacing;
    uint32_t steps;             /* asked for */
    struct noise_level *levels; /* [count] */
    uint32_t count;
};

static void draft_add(struct draft *draft, double timestep, double sigma) {
    draft->levels[draft->count++] = (struct noise_level){ .timestep = timestep, .sigma = sigma };
}

/* Each level leads to the next one, the last to `end`. */
static void draft_chain(struct draft *draft, double end) {
    for (uint32_t i = 0; i < draft->count; i++) {
        draft->levels[i].next = i + 1 < draft->count ? draft->levels[i + 1].sigma : end;
    }
}

static void plan_uniform(struct draft *draft) {
    double last = draft->process->train_steps - 1.0;
    for (uint32_t i = 0; i < draft->steps; i++) {
        double timestep = i == 0 ? last : last * (draft->steps - 1 - i) / (draft->steps - 1);
        draft_add(draft, timestep, sigma_log_linear(draft->process, timestep));
    }
    draft_chain(draft, 0.0);
}

static void plan_karras(struct draft *draft) {
    const double rho = 7.0; /* Karras 2022, equation 5 */
    double high = pow(sigma_at(draft->process, draft->process->train_steps - 1), 1.0 / rho);
    double low = pow(sigma_at(draft->process, 0), 1.0 / rho);
    for (uint32_t i = 0; i < draft->steps; i++) {
        double ramp = i == 0 ? 0.0 : (double)i / (draft->steps - 1);
        double sigma = pow(high + ramp * (low - high), rho);
        draft_add(draft, timestep_of(draft->process, sigma), sigma);
    }
    draft_chain(draft, 0.0);
}

/* A1111: every (T / steps)th timestep from 1 on. Where T is no multiple of steps these are more than asked for. Its DDIM
 * stops at the first of them and so makes one evaluation less; its k-diffusion samplers go on to 0. */
static void plan_ddim(struct draft *draft) {
    uint32_t last = draft->process->train_steps - 1, stride = draft->process->train_steps / draft->steps;
    if (draft->method != METHOD_DDIM) {
        for (uint32_t i = (last - 1) / stride + 1; i-- > 0;) {
            draft_add(draft, i * stride + 1, sigma_at(draft->process, i * stride + 1));
        }
        draft_chain(draft, 0.0);
        return;
    }
    for (uint32_t i = last / stride; i > 0; i--) {
        uint32_t timestep = i * stride + 1 < last ? i * stride + 1 : last;
        draft_add(draft, timestep, sigma_at(draft->process, timestep));
    }
    draft_chain(draft, sigma_at(draft->process, 1));
}

/* numpy.linspace(0, T - 1, count)[place] */
static double numpy_linspace(const struct draft *draft, uint32_t place, uint32_t count) {
    double last = draft->process->train_steps - 1.0;
    return place == 0 ? 0.0 : place + 1 == count ? last : place * (last / (count - 1));
}

/* numpy.arange(T, 0, -T / steps)[place]: the stride as numpy rounds it. Where that rounding would give numpy (and so
 * diffusers) one point too many, a timestep of -1, we stop at `steps`. */
static double numpy_arange(const struct draft *draft, uint32_t place) {
    double start = draft->process->train_steps, second = start - start / draft->steps;
    return start + place * (second - start);
}

/* Timestep of evaluation `place`, as the diffusers scheduler of this sampler spaces them. rint() rounds half to even. */
static double spaced_timestep(const struct draft *draft, uint32_t place) {
    uint32_t steps = draft->steps, train_steps = draft->process->train_steps;
    bool multistep = draft->method == METHOD_DPMPP_2M; /* spaces one point more, and leaves out the last */
    switch (draft->spacing) {
    case SPACING_LEADING: {
        uint32_t stride = train_steps / (multistep ? steps + 1 : steps);
        return (double)(steps - (multistep ? 0 : 1) - place) * stride + draft->process->steps_offset;
    }
    case SPACING_TRAILING: return rint(numpy_arange(draft, place)) - 1.0;
    default: break;
    }
    uint32_t points = steps + (multistep ? 1 : 0);
    double timestep = numpy_linspace(draft, points - 1 - place, points);
    return method_explodes(draft->method) ? (double)(float)timestep : rint(timestep);
}

/* diffusers' DDIM always looks T / steps back, wherever the next evaluation is. */
static double ddim_next(const struct draft *draft, double timestep) {
    const struct process *process = draft->process;
    double previous = timestep - (double)(process->train_steps / draft->steps);
    if (previous >= 0.0) {
        return sigma_at(process, (uint32_t)previous);
    }
    return process->set_alpha_to_one ? 0.0 : sigma_at(process, 0);
}

static enum err plan_spaced(struct draft *draft, struct error *error) {
    double last = draft->process->train_steps - 1.0;
    for (uint32_t i = 0; i < draft->steps; i++) {
        double timestep = spaced_timestep(draft, i);
        if (timestep > last) {
            return error_set(error, ERR_INVALID, "steps: want timesteps up to %g, leading with %u steps and steps_offset %u"
                             " begins at %g", last, draft->steps, draft->process->steps_offset, timestep);
        }
        draft_add(draft, timestep, sigma_linear(draft->process, timestep));
    }
    draft_chain(draft, 0.0);
    for (uint32_t i = 0; draft->method == METHOD_DDIM && i < draft->count; i++) {
        draft->levels[i].next = ddim_next(draft, draft->levels[i].timestep);
    }
    return ERR_OK;
}

static double initial_scale(const struct draft *draft) {
    double sigma = draft->levels[0].sigma;
    bool diffusers = draft->spacing >= SPACING_LEADING;
    if (method_explodes(draft->method)) {
        return draft->spacing == SPACING_LEADING ? sqrt(sigma * sigma + 1.0) : sigma;
    }
    /* A1111 begins DPM++ 2M at sigma * noise, as a variance-exploding sampler; DDIM begins at the noise everywhere. */
    return diffusers || draft->method == METHOD_DDIM ? 1.0 : sigma / sqrt(1.0 + sigma * sigma);
}

/* ---- plans ------------------------------------------------------------------------------------------------------ */

static enum err find_method(enum method *method, const char *sampler, struct error *error) {
    static const char *const NAMES[] = { "Euler", "Euler a", "DDIM", "DPM++ 2M" }; /* in the order of enum method */
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strcmp(NAMES[i], sampler) == 0) {
            *method = (enum method)i;
            return ERR_OK;
        }
    }
    return error_set(error, ERR_UNSUPPORTED, "sampler: want Euler, Euler a, DDIM or DPM++ 2M, job has %.100s", sampler);
}

static enum err find_spacing(enum spacing *spacing, enum method method, const char *schedule, struct error *error) {
    static const char *const NAMES[] = { "uniform", "karras", "ddim", "leading", "trailing", "linspace" };
    size_t i = 0;
    if (strcmp(schedule, "automatic") == 0) { /* A1111's choice */
        *spacing = method == METHOD_DDIM ? SPACING_DDIM : method == METHOD_DPMPP_2M ? SPACING_KARRAS : SPACING_UNIFORM;
        return ERR_OK;
    }
    while (i < sizeof NAMES / sizeof *NAMES && strcmp(NAMES[i], schedule) != 0) {
        i++;
    }
    if (i == sizeof NAMES / sizeof *NAMES) {
        return error_set(error, ERR_UNSUPPORTED, "schedule: want automatic, uniform, karras, ddim, leading, trailing or"
                         " linspace, job has %.100s", schedule);
    }
    if (method == METHOD_DDIM && i < SPACING_DDIM) {
        return error_set(error, ERR_UNSUPPORTED, "schedule: want automatic, ddim, leading, trailing or linspace for DDIM,"
                         " which places its timesteps itself, job has %s", schedule);
    }
    *spacing = (enum spacing)i;
    return ERR_OK;
}

static enum err check_draft(const struct draft *draft, struct error *error) {
    if (draft->count == 0) {
        return error_set(error, ERR_INVALID, "steps: want at least 2 for DDIM with schedule ddim, which makes one"
                         " evaluation less, job has %u", draft->steps);
    }
    for (uint32_t i = 0; i < draft->count; i++) {
        const struct noise_level *level = &draft->levels[i];
        bool falls = level->next < level->sigma || (draft->method == METHOD_DDIM && level->next == level->sigma);
        if (!falls) {
            return error_set(error, ERR_INVALID, "steps: want fewer: with %u, evaluations %u and %u fall on the same noise"
                             " level %g", draft->steps, i + 1, i + 2, level->sigma);
        }
    }
    return ERR_OK;
}

static struct plan plan_of(const struct draft *draft) {
    struct plan plan = { .rows = draft->count, .initial_scale = initial_scale(draft) };
    plan.table = memory_get_array(plan.rows, sizeof *plan.table);
    plan.timesteps = memory_get_array(plan.rows, sizeof *plan.timesteps);
    plan.sigmas = memory_get_array(plan.rows + 1, sizeof *plan.sigmas);
    plan.needs_history = draft->method == METHOD_DPMPP_2M;
    plan.needs_noise = draft->method == METHOD_EULER_A;
    sampler_rows(plan.table, draft->method, draft->levels, draft->count, draft->process->prediction);
    for (uint32_t i = 0; i < plan.rows; i++) {
        plan.timesteps[i] = draft->levels[i].timestep;
        plan.sigmas[i] = draft->levels[i].sigma;
    }
    plan.sigmas[plan.rows] = draft->levels[plan.rows - 1].next;
    return plan;
}

enum err plan_make(struct plan *plan, const struct process *process, const char *sampler, const char *schedule,
                   uint32_t steps, struct error *error) {
    struct draft draft = { .process = process, .steps = steps };
    enum err err = find_method(&draft.method, sampler, error);
    if (err == ERR_OK) {
        err = find_spacing(&draft.spacing, draft.method, schedule, error);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (steps < 1 || steps > process->train_steps) {
        return error_set(error, ERR_INVALID, "steps: want 1..%u, job has %u", process->train_steps, steps);
    }
    if (draft.method == METHOD_DDIM && process->clip_sample) {
        return error_set(error, ERR_UNSUPPORTED, "sampler: want one without clip_sample, DDIM would clip as the model's"
                         " scheduler_config has it (true)");
    }
    draft.levels = memory_get_array(process->train_steps, sizeof *draft.levels);
    switch (draft.spacing) {
    case SPACING_UNIFORM: plan_uniform(&draft); break;
    case SPACING_KARRAS: plan_karras(&draft); break;
    case SPACING_DDIM: plan_ddim(&draft); break;
    default: err = plan_spaced(&draft, error); break;
    }
    if (err == ERR_OK) {
        err = check_draft(&draft, error);
    }
    if (err == ERR_OK) {
        *plan = plan_of(&draft);
    }
    free(draft.levels);
    return err;
}

void plan_release(struct plan *plan) {
    free(plan->table);
    free(plan->timesteps);
    free(plan->sigmas);
    *plan = (struct plan){ 0 };
}
