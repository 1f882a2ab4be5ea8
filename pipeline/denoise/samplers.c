/*
 * samplers.c - Euler, Euler a, DDIM, DPM++ 2M and LCM as updates of the step table.
 *
 * What the model says is turned into the clean picture it believes in, z = skip * x + out * e; every sampler then is a
 * weighted sum of x, z, the z before and fresh noise (docs/PIPELINE.md derives the weights). Every row says what z is; where it
 * is limited it enters the sum by itself, else by way of x and e.
 */
#include <math.h>

#include "pipeline/denoise/samplers.h"

bool method_explodes(enum method method) {
    return method == METHOD_EULER || method == METHOD_EULER_A;
}

struct mix mix_at(double sigma) {
    if (isinf(sigma)) {
        return (struct mix){ 0.0, 1.0 };
    }
    double alpha = 1.0 / sqrt(1.0 + sigma * sigma);
    return (struct mix){ alpha, sigma * alpha };
}

/* z = skip * x + out * e */
struct belief {
    double skip, out;
};

/* x = z + sigma * noise, and the model saw x / sqrt(1 + sigma^2). */
static struct belief belief_exploding(double sigma, enum prediction prediction) {
    double variance = 1.0 + sigma * sigma;
    switch (prediction) {
    case PREDICTION_EPSILON: return (struct belief){ 1.0, -sigma };
    case PREDICTION_V: return (struct belief){ 1.0 / variance, -sigma / sqrt(variance) };
    case PREDICTION_SAMPLE: break;
    }
    return (struct belief){ 0.0, 1.0 };
}

static struct belief belief_preserving(double sigma, enum prediction prediction) {
    struct mix mix = mix_at(sigma);
    switch (prediction) {
    case PREDICTION_EPSILON: return (struct belief){ 1.0 / mix.alpha, -sigma };
    case PREDICTION_V: return (struct belief){ mix.alpha, -mix.spread };
    case PREDICTION_SAMPLE: break;
    }
    return (struct belief){ 0.0, 1.0 };
}

/* x' = x_scale * x + weight * z, without noise and memory. */
static struct step_row row_of(const struct noise_level *level, double x_scale, double weight, struct belief z,
                              const struct sampler_options *options) {
    struct step_row row = { .timestep = (float)level->timestep, .input_scale = 1.0f, .belief_x = (float)z.skip,
                            .belief_model = (float)z.out };
    if (options->limit == 0.0) {
        row.x_scale = (float)(x_scale + weight * z.skip);
        row.model = (float)(weight * z.out);
        return row;
    }
    row.x_scale = (float)x_scale;
    row.belief = (float)weight;
    row.limit = (float)options->limit;
    row.quantile = (float)options->quantile;
    return row;
}

/* Karras 2022, algorithm 1 without churn: along dx/dsigma = (x - z) / sigma down to `to`. */
static struct step_row euler_row(const struct noise_level *level, double to, enum prediction prediction) {
    struct belief z = belief_exploding(level->sigma, prediction);
    double pace = (to - level->sigma) / level->sigma;
    return (struct step_row){
        .timestep = (float)level->timestep,
        .input_scale = (float)(1.0 / sqrt(1.0 + level->sigma * level->sigma)),
        .x_scale = (float)(1.0 + (1.0 - z.skip) * pace),
        .model = (float)(-z.out * pace),
        .belief_x = (float)z.skip,
        .belief_model = (float)z.out,
    };
}

/* Ancestral: down below the next level, and up to it again with fresh noise. */
static struct step_row euler_a_row(const struct noise_level *level, enum prediction prediction) {
    double ratio = level->next / level->sigma; /* up^2 + down^2 == next^2 */
    struct step_row row = euler_row(level, level->next * ratio, prediction);
    row.noise = (float)(level->next * sqrt(1.0 - ratio * ratio));
    return row;
}

/* Song 2021, eta 0: the same noise and the same picture, mixed for the next level. Where the picture is limited, the noise is
 * still what x and the unlimited picture say, as in diffusers. */
static struct step_row ddim_row(const struct noise_level *level, const struct sampler_options *options) {
    struct belief z = belief_preserving(level->sigma, options->prediction);
    struct mix now = mix_at(level->sigma), next = mix_at(level->next);
    double keep = next.spread / now.spread;        /* of x: its noise, ... */
    double weight = next.alpha - keep * now.alpha; /* and of z, beyond what that x already holds */
    if (options->limit == 0.0) {
        return row_of(level, keep, weight, z, options);
    }
    struct step_row row = row_of(level, keep * (1.0 - now.alpha * z.skip), next.alpha, z, options);
    row.model = (float)(-keep * now.alpha * z.out);
    return row;
}

/* DPM-Solver++(2M), midpoint (Lu 2022): the z of this evaluation, pulled on by how it differs from the one before.
 * `before` is NULL where the row is of first order: the first one, and the one where sigma ends at 0. */
static struct step_row dpmpp_2m_row(const struct noise_level *level, const struct noise_level *before,
                                    const struct sampler_options *options) {
    struct belief z = belief_preserving(level->sigma, options->prediction);
    struct mix now = mix_at(level->sigma), next = mix_at(level->next);
    double weight = next.alpha * (1.0 - level->next / level->sigma); /* alpha' * (1 - exp(-h)), h = ln(sigma/sigma') */
    double pull = 0.0;
    if (before != NULL) {
        pull = log(level->sigma / level->next) / (2.0 * log(before->sigma / level->sigma)); /* 1 / 2r */
    }
    struct step_row row = row_of(level, next.spread / now.spread, weight * (1.0 + pull), z, options);
    row.history = (float)(-weight * pull);
    if (options->limit == 0.0) {
        row.history_x = (float)z.skip;
        row.history_model = (float)z.out;
    } else {
        row.history_belief = 1.0f;
    }
    return row;
}

/* Luo 2023: straight to a picture, between x and z so that timestep 0 would leave x alone (Song 2023), and to the next level
 * with fresh noise. */
static struct step_row lcm_row(const struct noise_level *level, const struct sampler_options *options) {
    const double data = 0.5; /* deviation of pictures, as LCMs are distilled with */
    double time = level->timestep * options->lcm_scaling, square = time * time + data * data;
    struct mix next = mix_at(level->next);
    struct step_row row = row_of(level, next.alpha * data * data / square, next.alpha * time / sqrt(square),
                                 belief_preserving(level->sigma, options->prediction), options);
    row.noise = (float)next.spread;
    return row;
}

void sampler_rows(struct step_row *rows, const struct noise_level *levels, size_t count,
                  const struct sampler_options *options) {
    for (size_t i = 0; i < count; i++) {
        const struct noise_level *level = &levels[i];
        bool first_order = i == 0 || level->next == 0.0 || (i + 1 == count && options->last_of_first_order);
        switch (options->method) {
        case METHOD_EULER: rows[i] = euler_row(level, level->next, options->prediction); break;
        case METHOD_EULER_A: rows[i] = euler_a_row(level, options->prediction); break;
        case METHOD_DDIM: rows[i] = ddim_row(level, options); break;
        case METHOD_DPMPP_2M: rows[i] = dpmpp_2m_row(level, first_order ? NULL : level - 1, options); break;
        case METHOD_LCM: rows[i] = lcm_row(level, options); break;
        }
    }
}
