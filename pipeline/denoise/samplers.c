/*
 * samplers.c - Euler, Euler a, DDIM and DPM++ 2M as linear updates.
 *
 * What the model says is turned into the clean picture it believes in, z = skip * x + out * e; every sampler then is a
 * weighted sum of x, z, the z before and fresh noise (docs/PIPELINE.md derives the weights).
 */
#include <math.h>

#include "pipeline/denoise/samplers.h"

bool method_explodes(enum method method) {
    return method == METHOD_EULER || method == METHOD_EULER_A;
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

/* x = alpha * z + spread * noise, alpha = 1 / sqrt(1 + sigma^2), spread = sigma * alpha. */
static struct belief belief_preserving(double sigma, enum prediction prediction) {
    double alpha = 1.0 / sqrt(1.0 + sigma * sigma), spread = sigma * alpha;
    switch (prediction) {
    case PREDICTION_EPSILON: return (struct belief){ 1.0 / alpha, -sigma };
    case PREDICTION_V: return (struct belief){ alpha, -spread };
    case PREDICTION_SAMPLE: break;
    }
    return (struct belief){ 0.0, 1.0 };
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
    };
}

/* Ancestral: down below the next level, and up to it again with fresh noise. */
static struct step_row euler_a_row(const struct noise_level *level, enum prediction prediction) {
    double ratio = level->next / level->sigma; /* up^2 + down^2 == next^2 */
    struct step_row row = euler_row(level, level->next * ratio, prediction);
    row.noise = (float)(level->next * sqrt(1.0 - ratio * ratio));
    return row;
}

/* Song 2021, eta 0: the same noise and the same picture, mixed for the next level. */
static struct step_row ddim_row(const struct noise_level *level, enum prediction prediction) {
    struct belief z = belief_preserving(level->sigma, prediction);
    double alpha = 1.0 / sqrt(1.0 + level->sigma * level->sigma), spread = level->sigma * alpha;
    double next_alpha = 1.0 / sqrt(1.0 + level->next * level->next), next_spread = level->next * next_alpha;
    double keep = next_spread / spread;            /* of x: its noise, ... */
    double weight = next_alpha - keep * alpha;     /* and of z, beyond what that x already holds */
    return (struct step_row){
        .timestep = (float)level->timestep,
        .input_scale = 1.0f,
        .x_scale = (float)(keep + weight * z.skip),
        .model = (float)(weight * z.out),
    };
}

/* DPM-Solver++(2M), midpoint (Lu 2022): the z of this evaluation, pulled on by how it differs from the one before.
 * `before` is NULL on the first row. First order where sigma ends at 0, and there only. */
static struct step_row dpmpp_2m_row(const struct noise_level *level, const struct noise_level *before,
                                    enum prediction prediction) {
    struct belief z = belief_preserving(level->sigma, prediction);
    double spread = level->sigma / sqrt(1.0 + level->sigma * level->sigma);
    double next_alpha = 1.0 / sqrt(1.0 + level->next * level->next), next_spread = level->next * next_alpha;
    double weight = next_alpha * (1.0 - level->next / level->sigma); /* alpha' * (1 - exp(-h)), h = ln(sigma/sigma') */
    double pull = 0.0;
    if (before != NULL && level->next > 0.0) {
        pull = log(level->sigma / level->next) / (2.0 * log(before->sigma / level->sigma)); /* 1 / 2r */
    }
    return (struct step_row){
        .timestep = (float)level->timestep,
        .input_scale = 1.0f,
        .x_scale = (float)(next_spread / spread + weight * (1.0 + pull) * z.skip),
        .model = (float)(weight * (1.0 + pull) * z.out),
        .history = (float)(-weight * pull),
        .history_x = (float)z.skip,
        .history_model = (float)z.out,
    };
}

void sampler_rows(struct step_row *rows, enum method method, const struct noise_level *levels, size_t count,
                  enum prediction prediction) {
    for (size_t i = 0; i < count; i++) {
        const struct noise_level *level = &levels[i];
        switch (method) {
        case METHOD_EULER: rows[i] = euler_row(level, level->next, prediction); break;
        case METHOD_EULER_A: rows[i] = euler_a_row(level, prediction); break;
        case METHOD_DDIM: rows[i] = ddim_row(level, prediction); break;
        case METHOD_DPMPP_2M: rows[i] = dpmpp_2m_row(level, i == 0 ? NULL : level - 1, prediction); break;
        }
    }
}
