/*
 * host_ops.c - the ops that take no time, one plain form for both devices of the host: table look-ups, copies, the
 * timestep's sinusoids, the sampler's update and pixels.
 *
 * Compiled without contraction of multiply and add, so that bytes agree in every class.
 */
#include <math.h>
#include <string.h>

#include "pipeline/backend/normals.h"
#include "pipeline/backend/op.h"

static size_t tensor_elements(struct tensor tensor) {
    return tensor_rows(tensor) * tensor.c;
}

static void table_row(float *out, const struct weight *table, size_t row) {
    const char *data = table->data;
    floats_widen(out, data + row * table->columns * dtype_size(table->dtype), table->dtype, table->columns);
}

static void table_add_row(float *out, const struct weight *table, size_t row) {
    enum { PIECE = 64 };
    float numbers[PIECE];
    size_t size = dtype_size(table->dtype), width;
    const char *data = (const char *)table->data + row * table->columns * size;
    for (size_t done = 0; done < table->columns; done += width) {
        width = table->columns - done < PIECE ? table->columns - done : PIECE;
        floats_widen(numbers, data + done * size, table->dtype, width);
        for (size_t i = 0; i < width; i++) {
            out[done + i] += numbers[i];
        }
    }
}

/* out[n,T,1,D] = tokens[ids[n,T]] + positions[T]; behind the last token, added ones */
static void embed(const struct program *program, const struct op *op) {
    const int32_t *ids = program_data(program, op->in[0]);
    float *out = program_data(program, op->out[0]);
    size_t width = op->weight->columns;
    for (size_t row = 0; row < tensor_rows(op->in[0]); row++, out += width) {
        uint32_t id = (uint32_t)ids[row], own = op->weight->rows;
        assert(ids[row] >= 0 && id < own + (op->added == NULL ? 0 : op->added->rows));
        table_row(out, id < own ? op->weight : op->added, id < own ? id : id - own);
        if (op->bias != NULL) {
            table_add_row(out, op->bias, row % op->in[0].h);
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

const float *host_conv_vector(const struct program *program, const struct op *op) {
    struct tensor vector = op->in[2];
    if (!tensor_exists(vector)) {
        return NULL;
    }
    const float *data = program_data(program, vector);
    if (op->conv.steps == 0) {
        return data;
    }
    const int32_t *step = program_data(program, op->in[3]);
    assert(*step >= 0 && (uint32_t)*step < op->conv.steps);
    return data + (size_t)*step * conv_vectors(op) * vector.c;
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

static void sum(const struct program *program, const struct op *op) {
    const float *a = program_data(program, op->in[0]), *b = program_data(program, op->in[1]);
    float *out = program_data(program, op->out[0]);
    size_t count = tensor_elements(op->in[0]);
    for (size_t i = 0; i < tensor_elements(op->out[0]); i++) {
        float both = a[i % count] + b[i];
        out[i] = op->flag ? (float)((double)both / (1.0 + exp(-(double)both))) : both;
    }
}

/* diffusers computes in f32 even in a double-precision pipeline: exponent, frequency and angle are rounded alike. */
void sinusoids(float *out, float value, uint32_t dim, bool flip_sin_to_cos, float frequency_shift) {
    uint32_t half = dim / 2;
    float *sines = flip_sin_to_cos ? out + half : out, *cosines = flip_sin_to_cos ? out : out + half;
    for (uint32_t i = 0; i < half; i++) {
        float exponent = (float)-log(10000.0) * (float)i / ((float)half - frequency_shift);
        float angle = value * (float)exp((double)exponent);
        sines[i] = (float)sin((double)angle);
        cosines[i] = (float)cos((double)angle);
    }
    if (dim % 2 == 1) {
        out[dim - 1] = 0.0f;
    }
}

static void timestep(const struct program *program, const struct op *op) {
    const struct step_row *rows = program_data(program, op->in[0]);
    uint32_t width = op->out[0].c, copies = op->out[0].n / op->in[0].n;
    float *out = program_data(program, op->out[0]);
    for (uint32_t i = 0; i < op->out[0].n; i++) {
        sinusoids(out + (size_t)i * width, rows[i / copies].timestep, width, op->flag, op->number);
    }
}

static void noise(const struct program *program, const struct op *op) {
    struct tensor made = op->out[0];
    const struct noise_row *rows = program_data(program, op->in[0]);
    float *out = program_data(program, made);
    size_t area = (size_t)made.h * made.w, size = area * made.c;
    for (uint32_t row = 0; row < made.n; row++) {
        for (size_t i = 0; rows[row].drawn != 0 && i < size; i++) {
            out[row * size + i] = noise_row_value(&rows[row], i, area, made.c);
        }
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

/* ---- the sampler's update ------------------------------------------------------------------------------------------ */

/* One image of an update. */
struct image {
    const struct step_row *row;
    size_t count;                    /* values */
    float *x;
    float *history;                  /* or NULL */
    float *belief;                   /* or NULL */
    const float *noise;              /* or NULL */
    const float *kept;               /* or NULL */
    size_t channels;                 /* of the latents */
    const float *model, *prompted;   /* what it says; guided: without and with the prompt, else prompted is NULL */
    double cfg, factor;              /* of guidance, and of its rescaling */
};

static double guided(const struct image *image, size_t i) {
    double e = image->model[i];
    if (image->prompted == NULL) {
        return e;
    }
    return image->factor * (e + image->cfg * ((double)image->prompted[i] - e));
}

static double prompted(const struct image *image, size_t i) {
    return image->prompted[i];
}

/* Root of the sum of squares about the mean. */
static double deviation(const struct image *image, double (*value)(const struct image *image, size_t i)) {
    double mean = 0.0, squares = 0.0;
    for (size_t i = 0; i < image->count; i++) {
        mean += value(image, i);
    }
    mean /= (double)image->count;
    for (size_t i = 0; i < image->count; i++) {
        double off = value(image, i) - mean;
        squares += off * off;
    }
    return sqrt(squares);
}

static double rescaling(const struct image *image, double rescale) {
    return rescale == 0.0 ? 1.0 : 1.0 + rescale * (deviation(image, prompted) / deviation(image, guided) - 1.0);
}

static double belief(const struct step_row *row, double x, double e) {
    return row->belief_x * x + row->belief_model * e;
}

static double believed(const struct image *image, size_t i) {
    return belief(image->row, image->x[i], guided(image, i));
}

/* The k-th smallest |z| of the image (from 0), bit by bit from the highest: the largest number that at most k are below. */
static double kth_magnitude(const struct image *image, size_t k) {
    uint32_t found = 0;
    for (uint32_t bit = 1u << 30; bit != 0; bit >>= 1) {
        size_t below = 0;
        for (size_t i = 0; i < image->count; i++) {
            float magnitude = fabsf((float)believed(image, i));
            uint32_t bits;
            memcpy(&bits, &magnitude, sizeof bits);
            below += bits < (found | bit);
        }
        found |= below <= k ? bit : 0;
    }
    float magnitude;
    memcpy(&magnitude, &found, sizeof magnitude);
    return magnitude;
}

static double threshold(const struct image *image) {
    double place = image->row->quantile * (double)(image->count - 1), whole = floor(place);
    double low = kth_magnitude(image, (size_t)whole);
    double high = place > whole ? kth_magnitude(image, (size_t)whole + 1) : low;
    double quantile = low + (place - whole) * (high - low);
    return fmin(fmax(quantile, 1.0), image->row->limit);
}

/* Value i of the picture that is kept there, as noisy as the next evaluation wants it; `drawn` where it is drawn anew. */
static double keep(const struct image *image, size_t i, double drawn) {
    const float *picture = image->kept + i / image->channels * (2 * image->channels + 1), *noise = picture + image->channels;
    size_t channel = i % image->channels;
    double kept = image->row->kept_picture * (double)picture[channel] + image->row->kept_noise * (double)noise[channel];
    return noise[image->channels] == 0.0f ? kept : drawn;
}

static void update_image(const struct image *image) {
    const struct step_row *row = image->row;
    double limit = row->limit == 0.0f ? INFINITY : row->limit, scale = 1.0;
    if (row->quantile != 0.0f) {
        limit = scale = threshold(image);
    }
    for (size_t i = 0; i < image->count; i++) {
        double e = guided(image, i), now = image->x[i], before = image->history == NULL ? 0.0 : image->history[i];
        double z = belief(row, now, e);
        z = (z < -limit ? -limit : z > limit ? limit : z) / scale;
        double next = row->x_scale * now + row->model * e + row->belief * z;
        if (image->history != NULL) {
            next += row->history * before;
            image->history[i] = (float)(row->history_x * now + row->history_model * e + row->history_belief * z +
                                        row->history_keep * before);
        }
        if (image->noise != NULL) {
            next += row->noise * (double)image->noise[i];
        }
        if (image->belief != NULL) {
            image->belief[i] = (float)z;
        }
        if (image->kept != NULL) {
            next = keep(image, i, next);
        }
        image->x[i] = (float)next;
    }
}

static void update(const struct program *program, const struct op *op) {
    struct tensor latent = op->out[0];
    int32_t *counter = program_data(program, op->out[2]);
    size_t all = tensor_elements(latent), count = all / latent.n;
    float *x = program_data(program, latent);
    const float *model = program_data(program, op->in[0]);
    const float *guidance = tensor_exists(op->in[1]) ? program_data(program, op->in[1]) : NULL;
    float *history = tensor_exists(op->out[1]) ? program_data(program, op->out[1]) : NULL;
    float *belief = tensor_exists(op->out[3]) ? program_data(program, op->out[3]) : NULL;
    const float *kept = tensor_exists(op->in[4]) ? program_data(program, op->in[4]) : NULL;
    const float *noise = NULL;
    if (tensor_exists(op->in[2])) {
        assert(((uint32_t)*counter + 1) * latent.n <= op->in[2].n);
        noise = (const float *)program_data(program, op->in[2]) + (size_t)*counter * all;
    }
    for (size_t n = 0; n < latent.n; n++) {
        struct image image = {
            .row = step_row(program, op->in[3], *counter),
            .count = count,
            .x = x + n * count,
            .history = history == NULL ? NULL : history + n * count,
            .belief = belief == NULL ? NULL : belief + n * count,
            .noise = noise == NULL ? NULL : noise + n * count,
            .kept = kept == NULL ? NULL : kept + n * (count / latent.c) * op->in[4].c,
            .channels = latent.c,
            .model = model + n * count,
            .prompted = guidance == NULL ? NULL : model + all + n * count,
            .cfg = guidance == NULL ? 1.0 : guidance[2 * n],
            .factor = 1.0,
        };
        image.factor = guidance == NULL ? 1.0 : rescaling(&image, guidance[2 * n + 1]);
        update_image(&image);
    }
    (*counter)++;
}

/* ---- pixels -------------------------------------------------------------------------------------------------------- */

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
        [OP_SUM] = sum,       [OP_NOISE] = noise,
        [OP_UPDATE] = update, [OP_PIXELS] = pixels,  [OP_COPY] = copy,   [OP_LATENT_INPUT] = latent_input,
    };
    if (execute[op->kind] == NULL) {
        return false;
    }
    execute[op->kind](program, op);
    return true;
}
