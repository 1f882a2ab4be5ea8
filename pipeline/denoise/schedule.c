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

/* ---- what is being planned ------------------------------------------------------------------------------------------ */

enum spacing { SPACING_UNIFORM, SPACING_KARRAS, SPACING_DDIM, SPACING_LEADING, SPACING_TRAILING, SPACING_LINSPACE, SPACING_LCM };

struct draft {
    const struct process *process;
    enum method method;
    enum spacing spacing;
    enum prediction prediction;
    uint32_t steps;             /* asked for */
    struct noise_level *levels; /* [count] */
    uint32_t count;
    double start_sigma;         /* noise of the picture that is started from */
    enum plan_part part;
    uint32_t first, rows;       /* the levels of the part */
};

static bool as_diffusers(const struct draft *draft) {
    return draft->spacing >= SPACING_LEADING;
}

/* Zero terminal SNR: only DDIM and LCM can begin at nothing but noise. The others begin beside it, where diffusers (as dark as
 * fp16 gets) or A1111 have put them. */
static double alpha_at(const struct draft *draft, uint32_t timestep) {
    const struct process *process = draft->process;
    if (!process->zero_snr || timestep + 1 != process->train_steps) {
        return process->alphas_cumprod[timestep];
    }
    if (!as_diffusers(draft)) {
        return 4.8973451890853435e-08;
    }
    return draft->method == METHOD_DDIM || draft->method == METHOD_LCM ? 0.0 : 0x1p-24;
}

static double sigma_at(const struct draft *draft, uint32_t timestep) {
    double alpha = alpha_at(draft, timestep);
    return sqrt((1.0 - alpha) / alpha);
}

/* numpy.interp over whole timesteps: linear in sigma. */
static double sigma_linear(const struct draft *draft, double timestep) {
    uint32_t low = (uint32_t)timestep;
    double share = timestep - low;
    return share == 0.0 ? sigma_at(draft, low)
                        : (1.0 - share) * sigma_at(draft, low) + share * sigma_at(draft, low + 1);
}

/* k-diffusion's t_to_sigma: linear in log sigma. */
static double sigma_log_linear(const struct draft *draft, double timestep) {
    uint32_t low = (uint32_t)timestep;
    double share = timestep - low;
    return share == 0.0 ? sigma_at(draft, low)
                        : exp((1.0 - share) * log(sigma_at(draft, low)) + share * log(sigma_at(draft, low + 1)));
}

/* Its inverse, clamped to the table. */
static double timestep_of(const struct draft *draft, double sigma) {
    uint32_t low = 0, high = draft->process->train_steps - 1;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (sigma_at(draft, middle) <= sigma) {
            low = middle;
        } else {
            high = middle;
        }
    }
    double from = log(sigma_at(draft, low)), to = log(sigma_at(draft, low + 1));
    double share = (log(sigma) - from) / (to - from);
    return low + (share < 0.0 ? 0.0 : share > 1.0 ? 1.0 : share);
}

/* ---- schedules -------------------------------------------------------------------------------------------------- */

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
        draft_add(draft, timestep, sigma_log_linear(draft, timestep));
    }
    draft_chain(draft, 0.0);
}

static void plan_karras(struct draft *draft) {
    const double rho = 7.0; /* Karras 2022, equation 5 */
    double high = pow(sigma_at(draft, draft->process->train_steps - 1), 1.0 / rho);
    double low = pow(sigma_at(draft, 0), 1.0 / rho);
    for (uint32_t i = 0; i < draft->steps; i++) {
        double ramp = i == 0 ? 0.0 : (double)i / (draft->steps - 1);
        double sigma = pow(high + ramp * (low - high), rho);
        draft_add(draft, timestep_of(draft, sigma), sigma);
    }
    draft_chain(draft, 0.0);
}

/* A1111: every (T / steps)th timestep from 1 on. Where T is no multiple of steps these are more than asked for. Its DDIM
 * stops at the first of them and so makes one evaluation less; its k-diffusion samplers go on to 0. */
static void plan_ddim(struct draft *draft) {
    uint32_t last = draft->process->train_steps - 1, stride = draft->process->train_steps / draft->steps;
    if (draft->method != METHOD_DDIM) {
        for (uint32_t i = (last - 1) / stride + 1; i-- > 0;) {
            draft_add(draft, i * stride + 1, sigma_at(draft, i * stride + 1));
        }
        draft_chain(draft, 0.0);
        return;
    }
    for (uint32_t i = last / stride; i > 0; i--) {
        uint32_t timestep = i * stride + 1 < last ? i * stride + 1 : last;
        draft_add(draft, timestep, sigma_at(draft, timestep));
    }
    draft_chain(draft, sigma_at(draft, 1));
}

/* numpy.linspace(0, last, count)[place] */
static double numpy_linspace(double last, uint32_t place, uint32_t count) {
    return place == 0 ? 0.0 : place + 1 == count ? last : place * (last / (count - 1));
}

/* numpy.arange(start, 0, -T / steps)[place]: the stride as numpy rounds it. */
static double numpy_arange(double start, const struct draft *draft, uint32_t place) {
    double second = start - (double)draft->process->train_steps / draft->steps;
    return start + place * (second - start);
}

/* Timesteps that are visited: all but those of DPM++ 2M whose ln(alpha / spread) is below lambda_min_clipped. */
static uint32_t reach(const struct draft *draft) {
    uint32_t count = draft->process->train_steps;
    while (draft->method == METHOD_DPMPP_2M && count > 1 && -log(sigma_at(draft, count - 1)) < draft->process->lambda_min) {
        count--;
    }
    return count;
}

/* Timestep of evaluation `place`, as the diffusers scheduler of this sampler spaces them. rint() rounds half to even. */
static double spaced_timestep(const struct draft *draft, uint32_t place, uint32_t timesteps) {
    uint32_t steps = draft->steps;
    bool multistep = draft->method == METHOD_DPMPP_2M; /* spaces one point more, and leaves out the last */
    switch (draft->spacing) {
    case SPACING_LEADING: {
        uint32_t stride = timesteps / (multistep ? steps + 1 : steps);
        return (double)(steps - (multistep ? 0 : 1) - place) * stride + draft->process->steps_offset;
    }
    case SPACING_TRAILING: return rint(numpy_arange(timesteps, draft, place)) - 1.0;
    default: break;
    }
    uint32_t points = steps + (multistep ? 1 : 0);
    double timestep = numpy_linspace(timesteps - 1.0, points - 1 - place, points);
    return method_explodes(draft->method) ? (double)(float)timestep : rint(timestep);
}

/* diffusers' DDIM always looks T / steps back, wherever the next evaluation is. */
static double ddim_next(const struct draft *draft, double timestep) {
    double previous = timestep - (double)(draft->process->train_steps / draft->steps);
    if (previous >= 0.0) {
        return sigma_at(draft, (uint32_t)previous);
    }
    return draft->process->set_alpha_to_one ? 0.0 : sigma_at(draft, 0);
}

/* Euler with interpolation_type log_linear: ln sigma in equal parts from the table's largest to its smallest, whatever the
 * timesteps are. The smallest is where it ends. */
static void respace_log_linear(struct draft *draft) {
    double high = log(sigma_at(draft, draft->process->train_steps - 1)), low = log(sigma_at(draft, 0));
    for (uint32_t i = 0; i < draft->count; i++) {
        draft->levels[i].sigma = exp(high + (low - high) * i / draft->steps);
    }
    draft_chain(draft, exp(low));
}

/* Euler of a model that is told the noise itself and not a number of a step. */
static void tell_noise(struct draft *draft) {
    for (uint32_t i = 0; i < draft->count; i++) {
        draft->levels[i].timestep = log(draft->levels[i].sigma) / 4.0;
    }
}

static enum err plan_spaced(struct draft *draft, struct error *error) {
    const struct process *process = draft->process;
    uint32_t timesteps = reach(draft);
    double last = process->train_steps - 1.0;
    for (uint32_t i = 0; i < draft->steps; i++) {
        double timestep = spaced_timestep(draft, i, timesteps);
        if (timestep > last) {
            return error_set(error, ERR_INVALID, "steps: want timesteps up to %g, leading with %u steps and steps_offset %u"
                             " begins at %g", last, draft->steps, process->steps_offset, timestep);
        }
        if (timestep < 0.0) { /* trailing from a clipped beginning is through before all steps are taken */
            break;
        }
        draft_add(draft, timestep, sigma_linear(draft, timestep));
    }
    bool ends_early = process->end_at_sigma_min && (draft->method == METHOD_EULER || draft->method == METHOD_DPMPP_2M);
    draft_chain(draft, ends_early ? sigma_at(draft, 0) : 0.0);
    for (uint32_t i = 0; draft->method == METHOD_DDIM && i < draft->count; i++) {
        draft->levels[i].next = ddim_next(draft, draft->levels[i].timestep);
    }
    if (draft->method == METHOD_EULER && process->log_linear) {
        respace_log_linear(draft);
    }
    if (draft->method == METHOD_EULER && process->continuous && draft->prediction == PREDICTION_V) {
        tell_noise(draft);
    }
    return ERR_OK;
}

/* Of the timesteps that an LCM was distilled for, `steps` in equal parts from the largest on. */
static enum err plan_lcm(struct draft *draft, struct error *error) {
    uint32_t known = draft->process->lcm_steps, stride = draft->process->train_steps / known;
    if (stride == 0) {
        return error_set(error, ERR_INVALID, "scheduler: original_inference_steps: want at most num_train_timesteps %u for LCM,"
                         " config.json has %u", draft->process->train_steps, known);
    }
    if (draft->steps > known) {
        return error_set(error, ERR_INVALID, "steps: want at most the %u that LCM was distilled for (original_inference_steps),"
                         " job has %u", known, draft->steps);
    }
    for (uint32_t i = 0; i < draft->steps; i++) {
        uint32_t place = known - (uint32_t)floor(i * ((double)known / draft->steps)); /* numpy.linspace */
        draft_add(draft, place * stride - 1.0, sigma_at(draft, place * stride - 1));
    }
    draft_chain(draft, 0.0);
    return ERR_OK;
}

static double initial_scale(const struct draft *draft) {
    double sigma = draft->levels[0].sigma;
    if (method_explodes(draft->method)) {
        return draft->spacing == SPACING_LEADING ? sqrt(sigma * sigma + 1.0) : sigma;
    }
    /* A1111 begins DPM++ 2M at sigma * noise, as a variance-exploding sampler; DDIM begins at the noise everywhere. */
    return as_diffusers(draft) || draft->method == METHOD_DDIM ? 1.0 : sigma / sqrt(1.0 + sigma * sigma);
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

static enum err find_spacing(enum spacing *spacing, enum method method, const char *schedule, struct error *error) {
    static const char *const NAMES[] = { "uniform", "karras", "ddim", "leading", "trailing", "linspace", "lcm" };
    static const enum spacing AUTOMATIC[] = { SPACING_UNIFORM, SPACING_UNIFORM, SPACING_DDIM, SPACING_KARRAS, SPACING_LCM };
    uint32_t count = sizeof NAMES / sizeof *NAMES, place = find_word(schedule, NAMES, count);
    if (strcmp(schedule, "automatic") == 0) { /* A1111's choice */
        *spacing = AUTOMATIC[method];
        return ERR_OK;
    }
    if (place == count) {
        return error_set(error, ERR_UNSUPPORTED, "schedule: want automatic, uniform, karras, ddim, leading, trailing, linspace or"
                         " lcm, job has %.100s", schedule);
    }
    if ((method == METHOD_LCM) != (place == SPACING_LCM)) {
        return error_set(error, ERR_UNSUPPORTED, "schedule: want lcm for LCM, which has timesteps of its own, and for LCM alone,"
                         " job has %s", schedule);
    }
    if (method == METHOD_DDIM && place < SPACING_DDIM) {
        return error_set(error, ERR_UNSUPPORTED, "schedule: want automatic, ddim, leading, trailing or linspace for DDIM,"
                         " which places its timesteps itself, job has %s", schedule);
    }
    *spacing = (enum spacing)place;
    return ERR_OK;
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
    bool a1111_ddim = !as_diffusers(draft) && draft->method == METHOD_DDIM;
    draft->start_sigma = draft->levels[0].sigma;
    if (strength == 0.0 || strength == 1.0) {
        return ERR_OK;
    }
    if (!as_diffusers(draft)) {
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
    return as_diffusers(draft) && !method_explodes(draft->method) &&
           !(draft->method == METHOD_DPMPP_2M && draft->process->clips);
}

static struct sampler_options options_of(const struct draft *draft) {
    const struct process *process = draft->process;
    struct sampler_options options = { .method = draft->method, .prediction = draft->prediction,
                                       .lcm_scaling = process->lcm_scaling };
    options.last_of_first_order = process->euler_at_final || (process->lower_order_final && draft->count < 15);
    if (limits_apply(draft)) {
        options.limit = process->limit;
        options.quantile = process->quantile;
    }
    return options;
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
    uint32_t begin = draft->part == PLAN_SECOND && as_diffusers(draft) ? draft->first : 0;
    struct step_row *rows = memory_get_array(draft->count, sizeof *rows);
    sampler_rows(rows + begin, draft->levels + begin, draft->count - begin, &options);
    memcpy(plan.table, rows + draft->first, plan.rows * sizeof *rows);
    free(rows);
    for (uint32_t i = 0; i < plan.rows; i++) {
        plan.timesteps[i] = levels[i].timestep;
        plan.sigmas[i] = levels[i].sigma;
    }
    plan.sigmas[plan.rows] = levels[plan.rows - 1].next;
    return plan;
}

static enum err fill_draft(struct draft *draft, struct error *error) {
    switch (draft->spacing) {
    case SPACING_UNIFORM: plan_uniform(draft); break;
    case SPACING_KARRAS: plan_karras(draft); break;
    case SPACING_DDIM: plan_ddim(draft); break;
    case SPACING_LCM: return plan_lcm(draft, error);
    default: return plan_spaced(draft, error);
    }
    return ERR_OK;
}

enum err plan_make(struct plan *plan, const struct process *process, const struct plan_request *request,
                   struct error *error) {
    struct draft draft = { .process = process, .steps = request->steps };
    enum err err = find_method(&draft.method, request->sampler, error);
    if (err == ERR_OK) {
        err = find_spacing(&draft.spacing, draft.method, request->schedule, error);
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
    err = fill_draft(&draft, error);
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
