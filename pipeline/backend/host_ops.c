/*
 * host_ops.c - the ops that take no time, one plain form for both devices of the host: table look-ups, copies, the
 * timestep's sinusoids, the sampler's update and pixels.
 *
 * Compiled without contraction of multiply and add, so that bytes agree in every class.
 */
#include <math.h>
#include <string.h>

#include "pipeline/backend/op.h"

static size_t tensor_elements(struct tensor tensor) {
    return tensor_rows(tensor) * tensor.c;
}

/* out[n,T,1,D] = tokens[ids[n,T]] + positions[T] */
static void embed(const struct program *program, const struct op *op) {
    const int32_t *ids = program_data(program, op->in[0]);
    float *out = program_data(program, op->out[0]);
    const float *tokens = op->weight->data, *positions = op->bias == NULL ? NULL : op->bias->data;
    size_t width = op->weight->columns;
    for (size_t row = 0; row < tensor_rows(op->in[0]); row++, out += width) {
        assert(ids[row] >= 0 && (uint32_t)ids[row] < op->weight->rows);
        const float *token = tokens + (size_t)ids[row] * width;
        const float *position = positions == NULL ? NULL : positions + row % op->in[0].h * width;
        for (size_t i = 0; i < width; i++) {
            out[i] = position == NULL ? token[i] : token[i] + position[i];
        }
    }
}

void host_concat(const struct program *program, const struct op *op, size_t first_row, size_t rows) {
    size_t a_width = op->in[0].c, b_width = op->in[1].c;
    const float *a = (const float *)program_data(program, op->in[0]) + first_row * a_width;
    const float *b = (const float *)program_data(program, op->in[1]) + first_row * b_width;
    float *out = (float *)program_data(program, op->out[0]) + first_row * (a_width + b_width);
    for (size_t row = 0; row < rows; row++) {
        memcpy(out, a + row * a_width, a_width * sizeof *out);
        memcpy(out + a_width, b + row * b_width, b_width * sizeof *out);
        out += a_width + b_width;
    }
}

static void concat(const struct program *program, const struct op *op) {
    host_concat(program, op, 0, tensor_rows(op->out[0]));
}

static void scale(const struct program *program, const struct op *op) {
    const float *x = program_data(program, op->in[0]);
    float *out = program_data(program, op->out[0]);
    for (size_t i = 0; i < tensor_elements(op->out[0]); i++) {
        out[i] = op->number * x[i];
    }
}

static const struct step_row *step_row(const struct program *program, struct tensor table, int32_t step) {
    assert(step >= 0 && (uint32_t)step < table.n);
    const struct step_row *rows = program_data(program, table);
    return &rows[step];
}

/* diffusers computes in f32 even in a double-precision pipeline: exponent, frequency and angle are rounded alike. */
static void timestep(const struct program *program, const struct op *op) {
    const int32_t *counter = program_data(program, op->in[1]);
    float time = step_row(program, op->in[0], *counter)->timestep;
    float *out = program_data(program, op->out[0]);
    uint32_t dim = op->out[0].c, half = dim / 2;
    float *sines = op->flag ? out + half : out, *cosines = op->flag ? out : out + half;
    for (uint32_t i = 0; i < half; i++) {
        float exponent = (float)-log(10000.0) * (float)i / ((float)half - op->number);
        float angle = time * (float)exp((double)exponent);
        sines[i] = (float)sin((double)angle);
        cosines[i] = (float)cos((double)angle);
    }
    if (dim % 2 == 1) {
        out[dim - 1] = 0.0f;
    }
}

static void latent_input(const struct program *program, const struct op *op) {
    const int32_t *counter = program_data(program, op->in[2]);
    float factor = step_row(program, op->in[1], *counter)->input_scale;
    const float *latent = program_data(program, op->in[0]);
    float *out = program_data(program, op->out[0]);
    size_t count = tensor_elements(op->in[0]);
    for (size_t i = 0; i < tensor_elements(op->out[0]); i++) {
        out[i] = factor * latent[i % count];
    }
}

static void update(const struct program *program, const struct op *op) {
    struct tensor latent = op->out[0];
    int32_t *counter = program_data(program, op->out[2]);
    const struct step_row *row = step_row(program, op->in[3], *counter);
    size_t count = tensor_elements(latent), image = count / latent.n; /* elements in all and an image */
    float *x = program_data(program, latent);
    const float *model = program_data(program, op->in[0]);
    const float *cfg = tensor_exists(op->in[1]) ? program_data(program, op->in[1]) : NULL;
    float *history = tensor_exists(op->out[1]) ? program_data(program, op->out[1]) : NULL;
    const float *noise = NULL;
    if (tensor_exists(op->in[2])) {
        assert(((uint32_t)*counter + 1) * latent.n <= op->in[2].n);
        noise = (const float *)program_data(program, op->in[2]) + (size_t)*counter * count;
    }
    for (size_t i = 0; i < count; i++) {
        double e = model[i];
        if (cfg != NULL) { /* unconditioned first */
            e += (double)cfg[i / image] * ((double)model[count + i] - e);
        }
        double now = x[i], before = history == NULL ? 0.0 : history[i];
        double next = row->x_scale * now + row->model * e;
        if (history != NULL) {
            next += row->history * before;
            history[i] = (float)(row->history_x * now + row->history_model * e + row->history_keep * before);
        }
        if (noise != NULL) {
            next += row->noise * (double)noise[i];
        }
        x[i] = (float)next;
    }
    (*counter)++;
}

static void pixels(const struct program *program, const struct op *op) {
    struct tensor image = op->in[0];
    const float *x = program_data(program, image);
    uint8_t *out = program_data(program, op->out[0]);
    float *unit = tensor_exists(op->out[1]) ? program_data(program, op->out[1]) : NULL;
    int32_t *bad = program_data(program, op->out[2]);
    size_t count = tensor_elements(image) / image.n;
    for (uint32_t n = 0; n < image.n; n++) {
        bad[n] = 0;
        for (size_t i = n * count; i < (n + 1) * count; i++) {
            float value = x[i] / 2.0f + 0.5f;
            bad[n] += !isfinite(x[i]);
            value = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
            if (unit != NULL) {
                unit[i] = value;
            }
            out[i] = isnan(value) ? 0 : (uint8_t)rintf(255.0f * value); /* half to even */
        }
    }
}

static void copy(const struct program *program, const struct op *op) {
    memcpy(program_data(program, op->out[0]), program_data(program, op->in[0]),
           tensor_elements(op->in[0]) * sizeof(float));
}

bool host_execute(const struct program *program, const struct op *op) {
    static void (*const execute[OP_KINDS])(const struct program *, const struct op *) = {
        [OP_EMBED] = embed,   [OP_CONCAT] = concat,  [OP_SCALE] = scale, [OP_TIMESTEP] = timestep,
        [OP_UPDATE] = update, [OP_PIXELS] = pixels,  [OP_COPY] = copy,   [OP_LATENT_INPUT] = latent_input,
    };
    if (execute[op->kind] == NULL) {
        return false;
    }
    execute[op->kind](program, op);
    return true;
}
