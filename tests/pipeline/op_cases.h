/*
 * op_cases.h - the op suite: one table of problems, run on any backend, with a plain double-precision answer.
 *
 * A problem's numbers come from a hash of (image, place), so image i of a batch and the same image alone are equal.
 */
#ifndef TESTS_PIPELINE_OP_CASES_H
#define TESTS_PIPELINE_OP_CASES_H

#include "pipeline/backend/backend.h"

enum problem_kind {
    PROBLEM_EMBED,
    PROBLEM_LINEAR,
    PROBLEM_CONV,
    PROBLEM_GROUP_NORM,
    PROBLEM_LAYER_NORM,
    PROBLEM_ATTENTION,
    PROBLEM_CONCAT,
    PROBLEM_SCALE,
    PROBLEM_SUM,
    PROBLEM_LATENT_INPUT
};

struct problem {
    enum problem_kind kind;
    uint32_t h, w, c;   /* of one image of x; tokens: h, w 1; EMBED: c ids, `keys` of them in the added table */
    uint32_t cout;      /* LINEAR, CONV; CONCAT: channels of b; EMBED: width */
    uint32_t kernel;    /* CONV: kh = kw */
    uint32_t stride;
    uint32_t pad[4];    /* top, left, bottom, right */
    uint32_t resize_h, resize_w;
    bool bias, vector, residual; /* SUM: a is one vector for all images, or an image's own */
    uint32_t steps;     /* CONV: the vector is the last step's of so many; 0: it has none */
    enum activation activation;
    uint32_t groups;    /* GROUP_NORM */
    bool silu;
    float mean;         /* added to x: norms must bear it */
    uint32_t keys;      /* EMBED: added rows. ATTENTION: Tk; 0: self-attention on slices of one [n,T,1,3c] */
    uint32_t heads;
    bool causal;
    bool indexed;       /* ATTENTION: through kv_index, keys of 3 images */
    enum dtype weights; /* whose numbers the weights are: F32, F16 or BF16 */
    bool widened;       /* the file holds them as F32 all the same */
};

extern const struct problem problems[];
extern const size_t problem_count;

void problem_name(char *name, size_t size, const struct problem *problem);
size_t problem_output(const struct problem *problem); /* floats an image */
double problem_tolerance(const struct problem *problem); /* of cpu against reference, share of the largest value */

/* Inputs. Image `image` of tensor `which` (0: x, 1: residual, b or k, 2: vector or v), [-1,1) uniform. */
float problem_number(uint32_t which, uint32_t image, size_t place);
/* Weight `which` (0: weight, gamma, tokens; 1: bias, beta, positions; 2: added tokens), a number that the problem's dtype holds exactly. */
float problem_weight(const struct problem *problem, uint32_t which, size_t place);
enum { PROBLEM_KV_IMAGES = 3 };
uint32_t problem_kv(uint32_t image); /* kv_index of an image */

/* Images first..first+count of the problem on a backend: out [count][problem_output]. Scratch and outputs are filled
 * with NaN before. */
void problem_run(float *out, struct backend *backend, const struct problem *problem, uint32_t first, uint32_t count);

/* The answer for one image, from the formula, in double. */
void problem_expect(double *out, const struct problem *problem, uint32_t image);

#endif
