/*
 * schedule.c - from a job's words to the rows of the step table: which sampler and schedule they are, whether the levels fall,
 * and the part of them that is walked.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/denoise/levels.h"
#include "pipeline/denoise/schedule.h"

static double initial_scale(const struct draft *draft) {
    double sigma = draft->levels[0].sigma;
    if (method_explodes(draft->method)) {
        return draft->spacing == SPACING_LEADING ? sqrt(sigma * sigma + 1.0) : sigma;
    }
    /* A1111 begins DPM++ 2M at sigma * noise, as a variance-exploding sampler; DDIM begins at the noise everywhere. */
    return draft_as_diffusers(draft) || draft->method == METHOD_DDIM ? 1.0 : sigma / sqrt(1.0 + sigma * sigma);
}

/* ---- plans ------------------------------------------------------------------------------------------------------ */

/* The place of `word` in `words`, which are `count`; count where it is none of them. */
static uint32_t find_word(const char *word, const char *const *words, uint32_t count) {
    uint32_t i = 0;
    while (i < count && strcmp(words[i], word) != 0) {
        i++;
    }
    return i;
}

static enum err find_method(enum method *method, const char *sampler, struct error *error) {
    static const char *const NAMES[] = { "Euler", "Euler a", "DDIM", "DPM++ 2M", "LCM" }; /* in the order of enum method */
    uint32_t count = sizeof NAMES / sizeof *NAMES, place = find_word(sampler, NAMES, count);
    if (place == count) {
        return error_set(error, ERR_UNSUPPORTED, "sampler: want Euler, Euler a, DDIM, DPM++ 2M or LCM, job has %.100s", sampler);
    }
    *method = (enum method)place;
    return ERR_OK;
}

enum {
    OF_EULER = 1 << METHOD_EULER,
    OF_DDIM = 1 << METHOD_DDIM,
    OF_LCM = 1 << METHOD_LCM,
    OF_CURVED = OF_EULER | 1 << METHOD_DPMPP_2M, /* whose schedulers in diffusers have use_karras_sigmas and its like */
    OF_EXPLODING = OF_CURVED | 1 << METHOD_EULER_A, /* k-diffusion's */
    OF_SPACED = OF_EXPLODING | OF_DDIM
};

static const struct known_schedule {
    const char *name;
    enum spacing spacing;
    enum curve curve;
    unsigned methods; /* that know it: a bit each */
} SCHEDULES[] = {
    { "uniform", SPACING_UNIFORM, CURVE_NONE, OF_EXPLODING },
    { "karras", SPACING_TABLE, CURVE_KARRAS, OF_EXPLODING },
    { "exponential", SPACING_TABLE, CURVE_EXPONENTIAL, OF_EXPLODING },
    { "sgm_uniform", SPACING_SGM_UNIFORM, CURVE_NONE, OF_EXPLODING },
    { "simple", SPACING_SIMPLE, CURVE_NONE, OF_EXPLODING },
    { "kl_optimal", SPACING_TABLE, CURVE_KL_OPTIMAL, OF_EXPLODING },
    { "align_your_steps", SPACING_ALIGNED, CURVE_NONE, OF_EXPLODING },
    { "beta", SPACING_TABLE, CURVE_BETA, OF_EXPLODING },
    { "ddim", SPACING_DDIM, CURVE_NONE, OF_SPACED },
    { "leading", SPACING_LEADING, CURVE_NONE, OF_SPACED },
    { "leading-karras", SPACING_LEADING, CURVE_KARRAS, OF_CURVED },
    { "leading-exponential", SPACING_LEADING, CURVE_EXPONENTIAL, OF_CURVED },
    { "leading-beta", SPACING_LEADING, CURVE_BETA, OF_CURVED },
    { "trailing", SPACING_TRAILING, CURVE_NONE, OF_SPACED },
    { "trailing-karras", SPACING_TRAILING, CURVE_KARRAS, OF_CURVED },
    { "trailing-exponential", SPACING_TRAILING, CURVE_EXPONENTIAL, OF_CURVED },
    { "trailing-beta", SPACING_TRAILING, CURVE_BETA, OF_CURVED },
    { "linspace", SPACING_LINSPACE, CURVE_NONE, OF_SPACED },
    { "linspace-karras", SPACING_LINSPACE, CURVE_KARRAS, OF_CURVED },
    { "linspace-exponential", SPACING_LINSPACE, CURVE_EXPONENTIAL, OF_CURVED },
    { "linspace-beta", SPACING_LINSPACE, CURVE_BETA, OF_CURVED },
    { "lcm", SPACING_LCM, CURVE_NONE, OF_LCM },
};
enum { SCHEDULE_COUNT = sizeof SCHEDULES / sizeof *SCHEDULES };

static enum err refuse_schedule(enum method method, const struct plan_request *request, struct error *error) {
    struct bytes names = BYTES_INIT;
    for (size_t i = 0; i < SCHEDULE_COUNT; i++) {
        if (SCHEDULES[i].methods & 1u << method) {
            bytes_add_format(&names, ", %s", SCHEDULES[i].name);
        }
    }
    enum err err = error_set(error, ERR_UNSUPPORTED, "schedule: want one that %s has (automatic%s), job has %.100s",
                             request->sampler, bytes_text(&names), request->schedule);
    bytes_release(&names);
    return err;
}

static enum err find_schedule(struct draft *draft, const struct plan_request *request, struct error *error) {
    static const char *const AUTOMATIC[] = { "uniform", "uniform", "ddim", "karras", "lcm" }; /* A1111's, of each method */
    bool automatic = strcmp(request->schedule, "automatic") == 0;
    const char *name = automatic ? AUTOMATIC[draft->method] : request->schedule;
    for (size_t i = 0; i < SCHEDULE_COUNT; i++) {
        if (strcmp(SCHEDULES[i].name, name) == 0 && (SCHEDULES[i].methods & 1u << draft->method)) {
            draft->spacing = SCHEDULES[i].spacing;
            draft->curve = SCHEDULES[i].curve;
            return ERR_OK;
        }
    }
    return refuse_schedule(draft->method, request, error);
}

static enum err find_prediction(enum prediction *prediction, const struct process *process, const char *word,
                                struct error *error) {
    static const char *const NAMES[] = { "epsilon", "v", "sample" }; /* in the order of enum prediction */
    uint32_t count = sizeof NAMES / sizeof *NAMES, place = word == NULL ? 0 : find_word(word, NAMES, count);
    if (place == count) {
        return error_set(error, ERR_UNSUPPORTED, "prediction: want epsilon, v or sample, job has %.100s", word);
    }
    *prediction = word == NULL ? process->prediction : (enum prediction)place;
    return ERR_OK;
}

/* Each evaluation leads to less noise. DDIM may stay where its strides end, and what ends at the table's smallest sigma may have
 * arrived there before. */
static bool level_falls(const struct draft *draft, uint32_t place) {
    const struct noise_level *level = &draft->levels[place];
    bool may_stay = draft->method == METHOD_DDIM || (draft->process->end_at_sigma_min && place + 1 == draft->count);
    return level->next < level->sigma || (may_stay && level->next == level->sigma);
}

static enum err check_draft(const struct draft *draft, struct error *error) {
    if (draft->count == 0) {
        return error_set(error, ERR_INVALID, "steps: want at least 2 for DDIM with schedule ddim, which makes one"
                         " evaluation less, job has %u", draft->steps);
    }
    if (isinf(draft->levels[0].sigma) && draft->prediction == PREDICTION_EPSILON) {
        return error_set(error, ERR_INVALID, "prediction: want v or sample where sampling begins at nothing but noise (zero"
                         " terminal SNR), which noise says nothing about; the model predicts epsilon");
    }
    for (uint32_t i = 0; i < draft->count; i++) {
        if (!level_falls(draft, i)) {
            return error_set(error, ERR_INVALID, "steps: want fewer: with %u, evaluations %u and %u fall on the same noise"
                             " level %g", draft->steps, i + 1, i + 2, draft->levels[i].sigma);
        }
    }
    return ERR_OK;
}

/* Only the end of the way. diffusers walks int(steps * strength) evaluations; A1111 one more, but for its DDIM, which walks one
 * less and begins at the noise of the evaluation before. */
static enum err cut_start(struct draft *draft, double strength, struct error *error) {
    uint32_t keep = (uint32_t)(draft->steps * strength);
    bool a1111_ddim = !draft_as_diffusers(draft) && draft->method == METHOD_DDIM;
    draft->start_sigma = draft->levels[0].sigma;
    if (strength == 0.0 || strength == 1.0) {
        return ERR_OK;
    }
    if (!draft_as_diffusers(draft)) {
        keep = (uint32_t)(draft->steps * fmin(strength, 0.999));
        keep = !a1111_ddim ? keep + 1 : keep == 0 ? 0 : keep - 1;
    }
    uint32_t count = a1111_ddim ? draft->count : draft->steps;
    uint32_t drop = count - (keep < count ? keep : count);
    if (keep == 0 || drop >= draft->count) {
        return error_set(error, ERR_INVALID, "strength: want enough of the %u steps that one is left, job has %g", draft->steps,
                         strength);
    }
    draft->start_sigma = draft->levels[a1111_ddim && drop > 0 ? drop - 1 : drop].sigma;
    draft->count -= drop;
    memmove(draft->levels, draft->levels + drop, draft->count * sizeof *draft->levels);
    return ERR_OK;
}

/* The levels of one of two models. */
static enum err cut_part(struct draft *draft, const struct plan_request *request, struct error *error) {
    draft->part = request->part;
    draft->rows = draft->count;
    if (request->part == PLAN_WHOLE) {
        return ERR_OK;
    }
    double steps = draft->process->train_steps, cut = rint(steps - request->refiner_switch * steps);
    uint32_t mine = 0;
    while (mine < draft->count && draft->levels[mine].timestep >= cut) {
        mine++;
    }
    if (mine == 0 || mine == draft->count) {
        return error_set(error, ERR_INVALID, "refiner_switch: want a share that leaves each model one of the %u evaluations, %g"
                         " leaves the %s none", draft->count, request->refiner_switch, mine == 0 ? "first" : "refiner");
    }
    draft->first = request->part == PLAN_FIRST ? 0 : mine;
    draft->rows = request->part == PLAN_FIRST ? mine : draft->count - mine;
    return ERR_OK;
}

/* A1111's samplers limit no picture; of diffusers' ours, DDIM and LCM do both, DPM++ 2M thresholds. */
static bool limits_apply(const struct draft *draft) {
    return draft_as_diffusers(draft) && !method_explodes(draft->method) &&
           !(draft->method == METHOD_DPMPP_2M && draft->process->clips);
}

static struct sampler_options options_of(const struct draft *draft) {
    const struct process *process = draft->process;
    struct sampler_options options = { .method = draft->method, .prediction = draft->prediction,
                                       .lcm_scaling = process->lcm_scaling };
    options.last_of_first_order = draft_as_diffusers(draft) &&
                                  (process->euler_at_final || (process->lower_order_final && draft->count < 15));
    if (limits_apply(draft)) {
        options.limit = process->limit;
        options.quantile = process->quantile;
    }
    return options;
}

/* What is kept of a picture while the rest is drawn anew: the picture, as noisy as the next evaluation sees it. */
static void keep_picture(struct step_row *rows, const struct draft *draft) {
    for (uint32_t i = 0; i < draft->count; i++) {
        struct mix kept = { 1.0, 0.0 };
        if (i + 1 < draft->count) {
            double sigma = draft->levels[i + 1].sigma;
            kept = method_explodes(draft->method) ? (struct mix){ 1.0, sigma } : mix_at(sigma);
        }
        rows[i].kept_picture = (float)kept.alpha;
        rows[i].kept_noise = (float)kept.spread;
    }
}

static struct plan plan_of(const struct draft *draft) {
    struct plan plan = { .rows = draft->rows, .first = draft->first, .all = draft->count, .initial_scale = initial_scale(draft), .picture_scale = 1.0,
                         .noise_scale = draft->start_sigma };
    struct sampler_options options = options_of(draft);
    plan.table = memory_get_array(plan.rows, sizeof *plan.table);
    plan.timesteps = memory_get_array(plan.rows, sizeof *plan.timesteps);
    plan.sigmas = memory_get_array(plan.rows + 1, sizeof *plan.sigmas);
    plan.needs_history = draft->method == METHOD_DPMPP_2M;
    plan.needs_noise = draft->method == METHOD_EULER_A || draft->method == METHOD_LCM;
    if (!method_explodes(draft->method)) {
        struct mix mix = mix_at(draft->start_sigma);
        plan.picture_scale = mix.alpha;
        plan.noise_scale = mix.spread;
    }
    const struct noise_level *levels = draft->levels + draft->first;
    /* diffusers' second pipeline has no memory of the first; A1111 changes models under one sampler. */
    uint32_t begin = draft->part == PLAN_SECOND && draft_as_diffusers(draft) ? draft->first : 0;
    struct step_row *rows = memory_get_array(draft->count, sizeof *rows);
    sampler_rows(rows + begin, draft->levels + begin, draft->count - begin, &options);
    keep_picture(rows, draft);
    memcpy(plan.table, rows + draft->first, plan.rows * sizeof *rows);
    free(rows);
    for (uint32_t i = 0; i < plan.rows; i++) {
        plan.timesteps[i] = levels[i].timestep;
        plan.sigmas[i] = levels[i].sigma;
    }
    plan.sigmas[plan.rows] = levels[plan.rows - 1].next;
    return plan;
}

enum err plan_make(struct plan *plan, const struct process *process, const struct plan_request *request,
                   struct error *error) {
    struct draft draft = { .process = process, .steps = request->steps, .xl = request->xl };
    enum err err = find_method(&draft.method, request->sampler, error);
    if (err == ERR_OK) {
        err = find_schedule(&draft, request, error);
    }
    if (err == ERR_OK) {
        err = find_prediction(&draft.prediction, process, request->prediction, error);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (draft.steps < 1 || draft.steps > process->train_steps) {
        return error_set(error, ERR_INVALID, "steps: want 1..%u, job has %u", process->train_steps, draft.steps);
    }
    draft.levels = memory_get_array(process->train_steps, sizeof *draft.levels);
    err = draft_levels(&draft, error);
    if (err == ERR_OK) {
        err = check_draft(&draft, error);
    }
    if (err == ERR_OK) {
        err = cut_start(&draft, request->strength, error);
    }
    if (err == ERR_OK) {
        err = cut_part(&draft, request, error);
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
