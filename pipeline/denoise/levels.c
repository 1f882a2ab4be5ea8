/*
 * levels.c - the noise levels of A1111's schedules and of diffusers' spacings. See levels.h.
 *
 * Traps, each with its case in tests/pipeline/test_schedule.c and told in docs/PIPELINE.md: f32 tables as torch makes
 * them, numpy's arange and half-to-even rounding, DPM++'s own first timestep, DDIM's previous timestep, A1111's counts.
 */
#include <math.h>

#include "pipeline/denoise/levels.h"

bool draft_as_diffusers(const struct draft *draft) {
    return draft->spacing >= SPACING_LEADING;
}

/* ---- the table ------------------------------------------------------------------------------------------------------ */

/* Zero terminal SNR: only DDIM and LCM can begin at nothing but noise. The others begin beside it, where diffusers (as dark as
 * fp16 gets) or A1111 have put them. */
static double alpha_at(const struct draft *draft, uint32_t timestep) {
    const struct process *process = draft->process;
    if (!process->zero_snr || timestep + 1 != process->train_steps) {
        return process->alphas_cumprod[timestep];
    }
    if (!draft_as_diffusers(draft)) {
        return 4.8973451890853435e-08;
    }
    return draft->method == METHOD_DDIM || draft->method == METHOD_LCM ? 0.0 : 0x1p-24;
}

/* A curve of diffusers': in f32 as there, because the end of its timesteps hangs on the last bit. */
static bool in_single(const struct draft *draft) {
    return draft_as_diffusers(draft) && draft->curve != CURVE_NONE;
}

static double sigma_at(const struct draft *draft, uint32_t timestep) {
    double alpha = alpha_at(draft, timestep);
    float single = (float)alpha;
    return in_single(draft) ? (double)sqrtf((1.0f - single) / single) : sqrt((1.0 - alpha) / alpha);
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

static double log_sigma_at(const struct draft *draft, uint32_t timestep) {
    double value = log(sigma_at(draft, timestep));
    return in_single(draft) ? (double)(float)value : value;
}

/* Its inverse, clamped to the table. k-diffusion looks sigma up, diffusers its logarithm. */
static double timestep_of(const struct draft *draft, double sigma) {
    uint32_t low = 0, high = draft->process->train_steps - 1;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (in_single(draft) ? log_sigma_at(draft, middle) <= log(sigma) : sigma_at(draft, middle) <= sigma) {
            low = middle;
        } else {
            high = middle;
        }
    }
    double from = log_sigma_at(draft, low), to = log_sigma_at(draft, low + 1);
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

/* uniform: from the last timestep to the first; sgm_uniform leaves the first out. */
static void plan_uniform(struct draft *draft) {
    double last = draft->process->train_steps - 1.0;
    uint32_t end = draft->spacing == SPACING_UNIFORM ? draft->steps - 1 : draft->steps;
    for (uint32_t i = 0; i < draft->steps; i++) {
        double timestep = i == 0 ? last : last * (end - i) / end;
        draft_add(draft, timestep, sigma_log_linear(draft, timestep));
    }
    draft_chain(draft, 0.0);
}

/* A stride of T / steps, down from the last timestep to whole ones. */
static void plan_simple(struct draft *draft) {
    double stride = (double)draft->process->train_steps / draft->steps;
    for (uint32_t i = 0; i < draft->steps; i++) {
        uint32_t timestep = draft->process->train_steps - 1 - (uint32_t)(i * stride);
        draft_add(draft, timestep, sigma_at(draft, timestep));
    }
    draft_chain(draft, 0.0);
}

static void plan_aligned(struct draft *draft) {
    for (uint32_t i = 0; i < draft->steps; i++) {
        double sigma = aligned_sigma(draft->xl, i, draft->steps);
        draft_add(draft, timestep_of(draft, sigma), sigma);
    }
    draft_chain(draft, 0.0);
}

/* A1111: from the table's largest sigma to its smallest and on to 0; kl_optimal ends at the smallest. */
static void plan_table(struct draft *draft) {
    double high = sigma_at(draft, draft->process->train_steps - 1), low = sigma_at(draft, 0);
    bool ends_low = draft->curve == CURVE_KL_OPTIMAL;
    for (uint32_t i = 0; i < draft->steps; i++) {
        double sigma = curve_sigma(draft->curve, high, low, i, draft->steps + (ends_low ? 1 : 0));
        draft_add(draft, timestep_of(draft, sigma), sigma);
    }
    draft_chain(draft, ends_low ? low : 0.0);
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

/* Where it ends: of these schedulers' only Euler and DPM++ 2M can be told. */
static double spaced_end(const struct draft *draft) {
    bool early = draft->process->end_at_sigma_min && (draft->method == METHOD_EULER || draft->method == METHOD_DPMPP_2M);
    return early ? sigma_at(draft, 0) : 0.0;
}

static enum err space_timesteps(struct draft *draft, struct error *error) {
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
    draft_chain(draft, spaced_end(draft));
    for (uint32_t i = 0; draft->method == METHOD_DDIM && i < draft->count; i++) {
        draft->levels[i].next = ddim_next(draft, draft->levels[i].timestep);
    }
    if (draft->method == METHOD_EULER && process->log_linear) {
        respace_log_linear(draft);
    }
    return ERR_OK;
}

/* A curve's ends: what scheduler_config says; else of Euler the sigmas of its spaced timesteps, of DPM++ 2M (and of Euler with
 * log_linear) the table's. */
static enum err find_ends(const struct draft *draft, double *high, double *low, struct error *error) {
    const struct process *process = draft->process;
    uint32_t timesteps = process->train_steps;
    double first = timesteps - 1.0, last = 0.0;
    if (draft->method == METHOD_EULER && !process->log_linear) {
        /* numpy.arange's one point too many lies before the table, and is taken for its beginning. */
        bool too_many = draft->spacing == SPACING_TRAILING && ceil(timesteps / ((double)timesteps / draft->steps)) > draft->steps;
        first = fmin(first, spaced_timestep(draft, 0, timesteps));
        last = too_many ? 0.0 : spaced_timestep(draft, draft->steps - 1, timesteps);
    }
    *high = process->sigma_max != 0.0 ? process->sigma_max : sigma_linear(draft, first);
    *low = process->sigma_min != 0.0 ? process->sigma_min : sigma_linear(draft, last);
    if (isinf(*high)) {
        return error_set(error, ERR_INVALID, "scheduler: betas: want alphas whose sigmas f32 can hold, the smallest is %g",
                         alpha_at(draft, timesteps - 1));
    }
    if (*low > *high || *low < spaced_end(draft)) {
        return error_set(error, ERR_INVALID, "scheduler: sigma_min: want %g..%g, between where sampling ends and sigma_max, is %g",
                         spaced_end(draft), *high, *low);
    }
    return ERR_OK;
}

/* What the model is told of a curve's sigma: Euler's in f32; DPM++ 2M's whole, but only karras' rounded. */
static double curve_timestep(const struct draft *draft, double sigma) {
    double timestep = timestep_of(draft, sigma);
    if (draft->method == METHOD_EULER) {
        return (double)(float)timestep;
    }
    return draft->curve == CURVE_KARRAS && !draft->process->cosine ? rint(timestep) : floor(timestep);
}

static enum err space_curve(struct draft *draft, struct error *error) {
    double high, low;
    enum err err = find_ends(draft, &high, &low, error);
    if (err != ERR_OK) {
        return err;
    }
    for (uint32_t i = 0; i < draft->steps; i++) {
        double sigma = curve_sigma(draft->curve, high, low, i, draft->steps);
        draft_add(draft, curve_timestep(draft, sigma), (double)(float)sigma);
    }
    draft_chain(draft, spaced_end(draft));
    return ERR_OK;
}

static enum err plan_spaced(struct draft *draft, struct error *error) {
    enum err err = draft->curve == CURVE_NONE ? space_timesteps(draft, error) : space_curve(draft, error);
    if (err == ERR_OK && draft->method == METHOD_EULER && draft->process->continuous && draft->prediction == PREDICTION_V) {
        tell_noise(draft);
    }
    return err;
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

enum err draft_levels(struct draft *draft, struct error *error) {
    switch (draft->spacing) {
    case SPACING_UNIFORM:
    case SPACING_SGM_UNIFORM: plan_uniform(draft); break;
    case SPACING_SIMPLE: plan_simple(draft); break;
    case SPACING_ALIGNED: plan_aligned(draft); break;
    case SPACING_TABLE: plan_table(draft); break;
    case SPACING_DDIM: plan_ddim(draft); break;
    case SPACING_LCM: return plan_lcm(draft, error);
    default: return plan_spaced(draft, error);
    }
    return ERR_OK;
}
