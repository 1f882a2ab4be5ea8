/*
 * curves.c - Karras, exponential, beta, KL-optimal and aligned noise levels. See curves.h.
 */
#include <assert.h>
#include <math.h>

#include "pipeline/denoise/curves.h"

/* ---- the beta distribution ------------------------------------------------------------------------------------------ */

/* The integral of (t (1 - t))^(a - 1) over 0..x, for a < 1 and x <= 0.6: its power series (DLMF 8.17.7), all of whose terms
 * are positive. */
static double beta_integral(double x, double a) {
    double term = 1.0, sum = 1.0 / a;
    for (int n = 1; term > 0x1p-60; n++) {
        term *= (n - a) / n * x;
        sum += term / (a + n);
    }
    return pow(x, a) * sum;
}

/* Below which x the share p of the distribution (a, a) lies. The distribution is its own mirror image, so half of it is enough.
 * Over u = x^a the integral is convex and at least u / a: Newton from where u / a is enough goes straight down to the root. */
static double beta_quantile(double p, double a) {
    if (p > 0.5) {
        return 1.0 - beta_quantile(1.0 - p, a);
    }
    double wanted = p * tgamma(a) * tgamma(a) / tgamma(2.0 * a), u = wanted * a, step = u;
    while (step > 1e-15 * u) {
        double x = pow(u, 1.0 / a);
        step = (beta_integral(x, a) - wanted) * a * pow(1.0 - x, 1.0 - a);
        u -= step;
    }
    return pow(u, 1.0 / a);
}

/* ---- curves ---------------------------------------------------------------------------------------------------------- */

double curve_sigma(enum curve curve, double high, double low, uint32_t place, uint32_t count) {
    const double rho = 7.0, shape = 0.6;
    double ramp = place == 0 ? 0.0 : (double)place / (count - 1);
    switch (curve) {
    case CURVE_KARRAS: {
        double from = pow(high, 1.0 / rho), to = pow(low, 1.0 / rho);
        return pow(from + ramp * (to - from), rho);
    }
    case CURVE_EXPONENTIAL: return exp(log(high) + ramp * (log(low) - log(high)));
    case CURVE_BETA: return low + beta_quantile(1.0 - ramp, shape) * (high - low);
    case CURVE_KL_OPTIMAL: return tan(ramp * atan(low) + (1.0 - ramp) * atan(high));
    case CURVE_NONE: break;
    }
    assert(!"a curve");
    return high;
}

double aligned_sigma(bool xl, uint32_t place, uint32_t count) {
    enum { LEVELS = 11 };
    static const double SIGMAS[2][LEVELS] = {
        { 14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029 },
        { 14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029 },
    };
    const double *sigmas = SIGMAS[xl];
    double at = count == 1 ? LEVELS - 1 : (double)place * (LEVELS - 1) / (count - 1), share = at - floor(at);
    uint32_t before = (uint32_t)at;
    return share == 0.0 ? sigmas[before] : exp((1.0 - share) * log(sigmas[before]) + share * log(sigmas[before + 1]));
}
