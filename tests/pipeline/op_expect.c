/*
 * op_expect.c - the answer to each problem of the op suite, straight from its formula, in double.
 */
#include <math.h>
#include <stdlib.h>

#include "tests/pipeline/op_cases.h"

static double sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}

static double gelu(double x) {
    return x * 0.5 * erfc(-x / sqrt(2.0));
}

static double number(const struct problem *p, uint32_t which, uint32_t image, size_t place) {
    return (double)(problem_number(which, image, place) + p->mean);
}

static double bias_of(const struct problem *p, size_t place) {
    return p->bias ? problem_weight(p, 1, place) : 0.0;
}

static double product_row(const struct problem *p, uint32_t image, size_t row, size_t column) {
    double sum = bias_of(p, column);
    for (size_t k = 0; k < p->c; k++) {
        sum += number(p, 0, image, row * p->c + k) * problem_weight(p, 0, column * p->c + k);
    }
    return sum;
}

static void expect_linear(double *out, const struct problem *p, uint32_t image) {
    size_t columns = p->activation == ACTIVATION_GEGLU ? p->cout / 2 : p->cout;
    for (size_t i = 0; i < p->h * columns; i++) {
        size_t row = i / columns, column = i % columns;
        double x = product_row(p, image, row, column);
        switch (p->activation) {
        case ACTIVATION_NONE:
            break;
        case ACTIVATION_SILU:
            x *= sigmoid(x);
            break;
        case ACTIVATION_GELU:
            x = gelu(x);
            break;
        case ACTIVATION_GELU_QUICK:
            x *= sigmoid(1.702 * x);
            break;
        case ACTIVATION_GEGLU:
            x *= gelu(product_row(p, image, row, columns + column));
            break;
        }
        out[i] = x + (p->residual ? number(p, 1, image, i) : 0.0);
    }
}

static void expect_conv(double *out, const struct problem *p, uint32_t image) {
    int height = (int)(p->resize_h ? p->resize_h : p->h), width = (int)(p->resize_w ? p->resize_w : p->w);
    int kernel = (int)p->kernel, stride = (int)p->stride;
    int out_w = (width + (int)(p->pad[1] + p->pad[3]) - kernel) / stride + 1;
    for (size_t i = 0; i < problem_output(p); i++) {
        int cout = (int)(i % p->cout), x = (int)(i / p->cout) % out_w, y = (int)(i / p->cout) / out_w;
        double sum = bias_of(p, (size_t)cout);
        for (int tap = 0; tap < kernel * kernel; tap++) {
            int row = y * stride + tap / kernel - (int)p->pad[0], column = x * stride + tap % kernel - (int)p->pad[1];
            if (row < 0 || row >= height || column < 0 || column >= width) {
                continue;
            }
            int from_row = (int)floor((double)row * p->h / height), from = (int)floor((double)column * p->w / width);
            for (size_t c = 0; c < p->c; c++) {
                double weight = problem_weight(p, 0, ((size_t)cout * p->c + c) * p->kernel * p->kernel + (size_t)tap);
                sum += weight * number(p, 0, image, ((size_t)from_row * p->w + (size_t)from) * p->c + c);
            }
        }
        sum += p->vector ? number(p, 2, image, (size_t)cout) : 0.0;
        out[i] = sum + (p->residual ? number(p, 1, image, i) : 0.0);
    }
}

/* Over the elements of x that fall into the same class. */
static void expect_norm(double *out, const struct problem *p, uint32_t image) {
    size_t count = problem_output(p), width = p->kind == PROBLEM_GROUP_NORM ? p->c / p->groups : p->c;
    size_t classes = p->kind == PROBLEM_GROUP_NORM ? p->groups : p->h;
    for (size_t class = 0; class < classes; class++) {
        double sum = 0.0, squares = 0.0, members = 0.0;
        for (int pass = 0; pass < 3; pass++) {
            for (size_t i = 0; i < count; i++) {
                size_t channel = i % p->c, mine = p->kind == PROBLEM_GROUP_NORM ? channel / width : i / p->c;
                if (mine != class) {
                    continue;
                }
                double x = number(p, 0, image, i);
                if (pass == 0) {
                    sum += x;
                    members++;
                } else if (pass == 1) {
                    squares += pow(x - sum / members, 2);
                } else {
                    double y = (x - sum / members) / sqrt(squares / members + (double)1e-5f);
                    y = y * problem_weight(p, 0, channel) + problem_weight(p, 1, channel);
                    out[i] = p->silu ? y * sigmoid(y) : y;
                }
            }
        }
    }
}

/* q, k or v at token t, channel c. */
static double token(const struct problem *p, uint32_t which, uint32_t image, size_t t, size_t c) {
    if (p->keys == 0) {
        return number(p, 0, image, t * 3 * p->c + which * p->c + c);
    }
    return number(p, which, which > 0 && p->indexed ? problem_kv(image) : image, t * p->c + c);
}

static void expect_attention(double *out, const struct problem *p, uint32_t image) {
    size_t keys = p->keys == 0 ? p->h : p->keys, depth = p->c / p->heads;
    double *weights = malloc(keys * sizeof *weights);
    for (size_t t = 0; t < p->h; t++) {
        for (size_t head = 0; head < p->heads; head++) {
            double total = 0.0;
            for (size_t s = 0; s < keys; s++) {
                double dot = 0.0;
                for (size_t d = head * depth; d < (head + 1) * depth; d++) {
                    dot += token(p, 0, image, t, d) * token(p, 1, image, s, d);
                }
                weights[s] = p->causal && s > t ? 0.0 : exp(dot / sqrt((double)depth)); /* |dot| is small here */
                total += weights[s];
            }
            for (size_t d = head * depth; d < (head + 1) * depth; d++) {
                double sum = 0.0;
                for (size_t s = 0; s < keys; s++) {
                    sum += weights[s] / total * token(p, 2, image, s, d);
                }
                out[t * p->c + d] = sum;
            }
        }
    }
    free(weights);
}

static double expect_simple(const struct problem *p, uint32_t image, size_t i) {
    switch (p->kind) {
    case PROBLEM_EMBED: {
        size_t id = (image * p->h + i / p->cout) % p->c, own = p->c - p->keys;
        return (double)problem_weight(p, id < own ? 0 : 2, (id < own ? id : id - own) * p->cout + i % p->cout) + bias_of(p, i);
    }
    case PROBLEM_CONCAT: {
        size_t row = i / (p->c + p->cout), c = i % (p->c + p->cout);
        return c < p->c ? number(p, 0, image, row * p->c + c) : number(p, 1, image, row * p->cout + c - p->c);
    }
    case PROBLEM_SUM: {
        double sum = number(p, 0, image, i) + number(p, 1, p->vector ? 0 : image, i);
        return p->silu ? sum * sigmoid(sum) : sum;
    }
    case PROBLEM_SCALE:
        return (double)0.18215f * number(p, 0, image, i);
    default:
        return (double)0.3f * number(p, 0, image, i); /* PROBLEM_LATENT_INPUT */
    }
}

void problem_expect(double *out, const struct problem *p, uint32_t image) {
    switch (p->kind) {
    case PROBLEM_LINEAR:
        expect_linear(out, p, image);
        break;
    case PROBLEM_CONV:
        expect_conv(out, p, image);
        break;
    case PROBLEM_GROUP_NORM:
    case PROBLEM_LAYER_NORM:
        expect_norm(out, p, image);
        break;
    case PROBLEM_ATTENTION:
        expect_attention(out, p, image);
        break;
    default:
        for (size_t i = 0; i < problem_output(p); i++) {
            out[i] = expect_simple(p, image, i);
        }
    }
}
