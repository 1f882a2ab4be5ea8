/*
 * sweep.c - index <-> job as arithmetic. See sweep.h.
 *
 * Excludes are counted, not walked: each position of an axis has a mask of the excludes it agrees with; a place is excluded
 * if the AND over all axes (and the fixed values) leaves a bit. Positions with equal masks are one class, and classes are
 * combined axis by axis, so that ten million places with an exclude cost as much as ten.
 */
#include "proto/sweep_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void exclude_release(struct exclude *exclude)
{
    for (int field = 0; field < FIELD_COUNT; field++) {
        for (uint32_t i = 0; i < exclude->counts[field]; i++)
            free(exclude->texts[field][i]);
        free(exclude->texts[field]);
    }
}

void sweep_release(struct sweep *sweep)
{
    for (uint32_t a = 0; a < sweep->axis_count; a++) {
        struct axis *axis = &sweep->axes[a];
        for (uint64_t i = 0; axis->values && i < axis->count * axis->field_count; i++)
            free(axis->values[i]);
        free(axis->values);
        free(axis->masks);
        free(axis->points);
        table_close(axis->rows);
    }
    for (uint32_t i = 0; i < sweep->exclude_count; i++)
        exclude_release(&sweep->excludes[i]);
    free(sweep->excludes);
    spec_release(&sweep->fixed);
    memset(sweep, 0, sizeof *sweep);
}

/* ---- places and positions ----------------------------------------------------------------------------------------- */

enum err sweep_places(uint64_t *places, const struct sweep *sweep, struct error *error)
{
    uint64_t product = 1;
    bool fits = true;
    for (uint32_t a = 0; a < sweep->axis_count; a++)
        fits = !__builtin_mul_overflow(product, sweep->axes[a].count, &product) && fits;
    if (!fits)
        return error_set(error, ERR_LIMIT, "sweep: want at most %llu places, the axes make more than %llu",
                         (unsigned long long)LIMIT_SWEEP_JOBS, (unsigned long long)UINT64_MAX);
    if (product > LIMIT_SWEEP_JOBS)
        return error_set(error, ERR_LIMIT, "sweep: want at most %llu places, the axes make %llu",
                         (unsigned long long)LIMIT_SWEEP_JOBS, (unsigned long long)product);
    *places = product;
    return ERR_OK;
}

uint64_t sweep_jobs(const struct sweep *sweep)
{
    return sweep->jobs;
}

void sweep_positions(uint64_t *positions, const struct sweep *sweep, uint64_t index)
{
    for (uint32_t a = sweep->axis_count; a-- > 0;) {
        positions[a] = index % sweep->axes[a].count;
        index /= sweep->axes[a].count;
    }
}

static uint32_t axis_mask(const struct axis *axis, uint64_t position)
{
    if (axis->masks)
        return axis->masks[position];
    uint32_t low = 0, high = axis->point_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (axis->points[middle].position < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low < axis->point_count && axis->points[low].position == position ? axis->points[low].mask : axis->mask;
}

bool sweep_excluded(const struct sweep *sweep, uint64_t index)
{
    uint64_t positions[SWEEP_AXES_LIMIT];
    uint32_t mask = sweep->fixed_mask;
    if (mask == 0)
        return false;
    sweep_positions(positions, sweep, index);
    for (uint32_t a = 0; a < sweep->axis_count && mask; a++)
        mask &= axis_mask(&sweep->axes[a], positions[a]);
    return mask != 0;
}

/* ---- jobs --------------------------------------------------------------------------------------------------------- */

/* The fields of an axis without a table: their values were checked when the sweep was, so nothing can fail. */
static void axis_set(struct spec *spec, const struct axis *axis, uint64_t position)
{
    if (axis->kind == AXIS_RANGE && axis->fields[0] == FIELD_SEED) {
        spec->seed = axis->seed_from + position * axis->seed_step;
        return;
    }
    if (axis->kind == AXIS_RANGE) {
        char text[32];
        decimal_format(text, axis_range_value(axis, position));
        enum err code = spec_set(spec, axis->fields[0], text, NULL);
        assert(code == ERR_OK);
        return;
    }
    for (uint32_t f = 0; f < axis->field_count; f++) {
        enum err code = spec_set(spec, axis->fields[f], axis->values[position * axis->field_count + f], NULL);
        assert(code == ERR_OK);
    }
}

static enum err row_set(struct spec *spec, const struct axis *axis, uint64_t position, struct error *error)
{
    struct bytes texts[AXIS_FIELDS_LIMIT] = {BYTES_INIT};
    struct bytes *columns[AXIS_FIELDS_LIMIT];
    enum err code;

    for (uint32_t f = 0; f < axis->field_count; f++)
        columns[f] = &texts[f];
    if (!axis->rows)
        return error_set(error, ERR_INTERNAL, "sweep: its table is not open");
    code = table_row(columns, axis->rows, position, error);
    for (uint32_t f = 0; f < axis->field_count && code == ERR_OK; f++) {
        code = spec_set(spec, axis->fields[f], bytes_text(&texts[f]), error);
        if (code != ERR_OK && error)
            error_prefix(error, "table row %llu", (unsigned long long)position);
    }
    for (uint32_t f = 0; f < axis->field_count; f++)
        bytes_release(&texts[f]);
    return code;
}

enum err sweep_job(struct spec *spec, const struct sweep *sweep, uint64_t index, struct error *error)
{
    uint64_t positions[SWEEP_AXES_LIMIT];
    struct spec made = {.prompt = NULL};
    enum err code = ERR_OK;

    spec_copy(&made, &sweep->fixed);
    sweep_positions(positions, sweep, index);
    for (uint32_t a = 0; a < sweep->axis_count && code == ERR_OK; a++) {
        if (sweep->axes[a].kind == AXIS_TABLE)
            code = row_set(&made, &sweep->axes[a], positions[a], error);
        else
            axis_set(&made, &sweep->axes[a], positions[a]);
    }
    if (code == ERR_OK) {
        code = spec_check(&made, error);
        if (code != ERR_OK && error)
            error_prefix(error, "job %llu", (unsigned long long)index);
    }
    if (code == ERR_OK)
        *spec = made;
    else
        spec_release(&made);
    return code;
}

enum err axis_text(struct bytes *text, const struct axis *axis, uint64_t position, enum field field, struct error *error)
{
    struct spec spec;
    enum err code = ERR_OK;
    if (axis->kind == AXIS_VALUES) {
        for (uint32_t f = 0; f < axis->field_count; f++)
            if (axis->fields[f] == field)
                bytes_add_text(text, axis->values[position * axis->field_count + f]);
        return ERR_OK;
    }
    spec_init(&spec);
    if (axis->kind == AXIS_TABLE)
        code = row_set(&spec, axis, position, error);
    else
        axis_set(&spec, axis, position);
    if (code == ERR_OK)
        spec_get(text, &spec, field);
    spec_release(&spec);
    return code;
}

/* ---- tables and models -------------------------------------------------------------------------------------------- */

enum err sweep_attach(struct sweep *sweep, sweep_table_path *path, void *context, struct error *error)
{
    for (uint32_t a = 0; a < sweep->axis_count; a++) {
        struct axis *axis = &sweep->axes[a];
        struct table *table;
        char hex[DIGEST_HEX_SIZE];
        if (axis->kind != AXIS_TABLE || axis->rows)
            continue;
        digest_hex(&axis->table, hex);
        char *where = path(context, &axis->table);
        if (!where)
            return error_set(error, ERR_NOT_FOUND, "table %s: not here", hex);
        enum err code = table_open(&table, where, axis->field_count, error);
        free(where);
        if (code != ERR_OK)
            return code;
        if (table_count(table) != axis->count || table_size(table) != axis->table_size) {
            code = error_set(error, ERR_CORRUPT, "table %s: want %llu rows in %llu bytes, have %llu in %llu", hex,
                             (unsigned long long)axis->count, (unsigned long long)axis->table_size,
                             (unsigned long long)table_count(table), (unsigned long long)table_size(table));
            table_close(table);
            return code;
        }
        axis->rows = table;
    }
    return ERR_OK;
}

static enum err size_check(const struct spec *spec, const struct model_facts *facts, struct error *error)
{
    uint32_t factor = facts->pixels_per_latent;
    if (spec->width % factor == 0 && spec->height % factor == 0)
        return ERR_OK;
    uint32_t width = spec->width - spec->width % factor, height = spec->height - spec->height % factor;
    return error_set(error, ERR_INVALID, "size: want multiples of %u (the model's pixels per latent), have %ux%u; the nearest that fit are"
                     " %ux%u and %ux%u", factor, spec->width, spec->height, width ? width : factor, height ? height : factor,
                     width + (spec->width % factor ? factor : 0), height + (spec->height % factor ? factor : 0));
}

static const struct axis *axis_of(const struct sweep *sweep, enum field field)
{
    for (uint32_t a = 0; a < sweep->axis_count; a++)
        for (uint32_t f = 0; f < sweep->axes[a].field_count; f++)
            if (sweep->axes[a].fields[f] == field)
                return &sweep->axes[a];
    return NULL;
}

enum err sweep_check_model(const struct sweep *sweep, const struct model_facts *facts, struct error *error)
{
    const struct axis *sizes = axis_of(sweep, FIELD_SIZE);
    bool together = sizes && sizes == axis_of(sweep, FIELD_MODEL);
    enum err code = ERR_OK;

    if (!sizes)
        return size_check(&sweep->fixed, facts, error);
    for (uint64_t i = 0; i < sizes->count && code == ERR_OK; i++) {
        struct spec spec;
        spec_init(&spec);
        if (sizes->kind == AXIS_TABLE)
            code = row_set(&spec, sizes, i, error);
        else
            axis_set(&spec, sizes, i);
        if (code == ERR_OK && (!together || digest_equal(&spec.model, &facts->digest)))
            code = size_check(&spec, facts, error);
        spec_release(&spec);
    }
    return code;
}

/* ---- numerics auto ------------------------------------------------------------------------------------------------ */

/* Of `count` texts `stride` apart, those that say auto become `to`, if it is not NULL. Were there any? */
static bool texts_fix(char **texts, uint64_t count, uint32_t stride, const char *to)
{
    bool any = false;
    for (uint64_t i = 0; texts && i < count; i++) {
        char **text = &texts[i * stride];
        if (strcmp(*text, numerics_name(NUMERICS_AUTO)) != 0)
            continue;
        any = true;
        if (to) {
            free(*text);
            *text = text_copy(to);
        }
    }
    return any;
}

static bool axes_fix(const struct sweep *sweep, const char *to)
{
    bool any = false;
    for (uint32_t a = 0; a < sweep->axis_count; a++) {
        const struct axis *axis = &sweep->axes[a];
        for (uint32_t f = 0; axis->kind == AXIS_VALUES && f < axis->field_count; f++)
            if (axis->fields[f] == FIELD_NUMERICS)
                any |= texts_fix(axis->values + f, axis->count, axis->field_count, to);
    }
    return any;
}

bool sweep_leaves_numerics(const struct sweep *sweep)
{
    return axes_fix(sweep, NULL) || sweep->fixed.numerics == NUMERICS_AUTO;
}

void sweep_fix_numerics(struct sweep *sweep, enum numerics numerics)
{
    const char *to = numerics_name(numerics);
    axes_fix(sweep, to);
    for (uint32_t e = 0; e < sweep->exclude_count; e++)
        texts_fix(sweep->excludes[e].texts[FIELD_NUMERICS], sweep->excludes[e].counts[FIELD_NUMERICS], 1, to);
    if (sweep->fixed.numerics == NUMERICS_AUTO)
        sweep->fixed.numerics = numerics;
}
