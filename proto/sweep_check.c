/*
 * sweep_check.c - is this sweep one, and how many jobs has it? The same checks for what a person wrote and for what came
 * over the network.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/sweep_parts.h"

/* ---- the shape of axes -------------------------------------------------------------------------------------------- */

static enum err axes_check(const struct sweep *sweep, struct error *error)
{
    bool seen[FIELD_COUNT] = {false};
    for (uint32_t a = 0; a < sweep->axis_count; a++) {
        const struct axis *axis = &sweep->axes[a];
        if (axis->field_count < 1 || axis->field_count > AXIS_FIELDS_LIMIT)
            return error_set(error, ERR_INVALID, "axis %u: want 1..%d fields, have %u", a, AXIS_FIELDS_LIMIT, axis->field_count);
        const char *name = catalog_field(axis->fields[0])->name;
        if (a && sweep->axes[a - 1].fields[0] >= axis->fields[0])
            return error_set(error, ERR_INVALID, "axis %u (%s): want axes in the order of nesting, it stands behind %s", a, name,
                             catalog_field(sweep->axes[a - 1].fields[0])->name);
        for (uint32_t f = 0; f < axis->field_count; f++) {
            if (f && axis->fields[f - 1] >= axis->fields[f])
                return error_set(error, ERR_INVALID, "axis %u (%s): want its fields in order, once each", a, name);
            if (seen[axis->fields[f]])
                return error_set(error, ERR_INVALID, "%s: given twice", catalog_field(axis->fields[f])->name);
            seen[axis->fields[f]] = true;
        }
        if (axis->count == 0)
            return error_set(error, ERR_INVALID, "%s: an axis wants at least one value, have none", name);
        if (axis->kind == AXIS_RANGE && axis->count > LIMIT_SWEEP_JOBS)
            return error_set(error, ERR_LIMIT, "sweep: want at most %llu places, %s alone makes %llu",
                             (unsigned long long)LIMIT_SWEEP_JOBS, name, (unsigned long long)axis->count);
        enum err code = axis->kind == AXIS_RANGE ? axis_range_check(axis, error) : ERR_OK;
        if (code != ERR_OK)
            return code;
        if (axis->kind == AXIS_VALUES && axis->count > LIMIT_AXIS_VALUES)
            return error_set(error, ERR_LIMIT, "%s: want at most %d values written out (files and ranges may have more), have %llu",
                             name, LIMIT_AXIS_VALUES, (unsigned long long)axis->count);
    }
    return ERR_OK;
}

/* ---- samplers and schedules --------------------------------------------------------------------------------------- */

static bool text_listed(char *const *texts, uint32_t count, const char *text)
{
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(texts[i], text) == 0)
            return true;
    return false;
}

/* Does some exclude drop every job of this pair? One that asks for anything else may leave some. */
static bool pair_excluded(const struct sweep *sweep, enum sampler sampler, enum schedule schedule)
{
    for (uint32_t i = 0; i < sweep->exclude_count; i++) {
        const struct exclude *exclude = &sweep->excludes[i];
        bool all = true;
        for (int field = 0; field < FIELD_COUNT && all; field++) {
            if (!exclude->texts[field])
                continue;
            all = (field == FIELD_SAMPLER && text_listed(exclude->texts[field], exclude->counts[field], sampler_name(sampler))) ||
                  (field == FIELD_SCHEDULE && text_listed(exclude->texts[field], exclude->counts[field], schedule_name(schedule)));
        }
        if (all)
            return true;
    }
    return false;
}

static uint32_t field_column(const struct axis *axis, enum field field)
{
    for (uint32_t f = 0; axis && f < axis->field_count; f++)
        if (axis->fields[f] == field)
            return f;
    return UINT32_MAX;
}

static const struct axis *field_axis(const struct sweep *sweep, enum field field)
{
    for (uint32_t a = 0; a < sweep->axis_count; a++)
        if (field_column(&sweep->axes[a], field) != UINT32_MAX)
            return &sweep->axes[a];
    return NULL;
}

/* Which pairs occur: pairs[sampler][schedule]. Tables are not looked into: their rows are checked as they are read. */
static void pairs_find(bool pairs[SAMPLER_COUNT][SCHEDULE_COUNT], const struct sweep *sweep)
{
    const struct axis *sampler_axis = field_axis(sweep, FIELD_SAMPLER), *schedule_axis = field_axis(sweep, FIELD_SCHEDULE);
    bool together = sampler_axis && sampler_axis == schedule_axis;
    bool samplers[SAMPLER_COUNT] = {false}, schedules[SCHEDULE_COUNT] = {false};
    struct spec spec;

    if ((sampler_axis && sampler_axis->kind == AXIS_TABLE) || (schedule_axis && schedule_axis->kind == AXIS_TABLE))
        return;
    spec_init(&spec);
    for (uint64_t i = 0; i < (sampler_axis ? sampler_axis->count : 1); i++) {
        spec.sampler = sweep->fixed.sampler;
        enum err code = sampler_axis ? spec_set(&spec, FIELD_SAMPLER,
            sampler_axis->values[i * sampler_axis->field_count + field_column(sampler_axis, FIELD_SAMPLER)], NULL) : ERR_OK;
        if (code == ERR_OK && together)
            code = spec_set(&spec, FIELD_SCHEDULE,
                            sampler_axis->values[i * sampler_axis->field_count + field_column(sampler_axis, FIELD_SCHEDULE)], NULL);
        if (code == ERR_OK && together)
            pairs[spec.sampler][spec.schedule] = true;
        else if (code == ERR_OK)
            samplers[spec.sampler] = true;
    }
    for (uint64_t i = 0; !together && i < (schedule_axis ? schedule_axis->count : 1); i++) {
        spec.schedule = sweep->fixed.schedule;
        if (!schedule_axis || spec_set(&spec, FIELD_SCHEDULE,
                schedule_axis->values[i * schedule_axis->field_count + field_column(schedule_axis, FIELD_SCHEDULE)], NULL) == ERR_OK)
            schedules[spec.schedule] = true;
    }
    for (int s = 0; s < SAMPLER_COUNT && !together; s++)
        for (int c = 0; c < SCHEDULE_COUNT; c++)
            pairs[s][c] = samplers[s] && schedules[c];
    spec_release(&spec);
}

static enum err pairs_check(const struct sweep *sweep, struct error *error)
{
    bool pairs[SAMPLER_COUNT][SCHEDULE_COUNT] = {{false}};
    struct digest some = {{1}};
    enum err code = ERR_OK;

    pairs_find(pairs, sweep);
    for (int s = 0; s < SAMPLER_COUNT; s++) {
        for (int c = 0; c < SCHEDULE_COUNT && code == ERR_OK; c++) {
            if (!pairs[s][c] || pair_excluded(sweep, (enum sampler)s, (enum schedule)c))
                continue;
            struct spec spec;
            spec_init(&spec);
            spec.model = some;
            spec.sampler = (enum sampler)s;
            spec.schedule = (enum schedule)c;
            code = spec_check(&spec, error);
            spec_release(&spec);
        }
    }
    return code;
}

/* ---- excludes ----------------------------------------------------------------------------------------------------- */

static int text_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool exclude_has(const struct exclude *exclude, enum field field, const char *text)
{
    return bsearch(&text, exclude->texts[field], exclude->counts[field], sizeof(char *), text_order) != NULL;
}

/* Excludes that say nothing about any field of the axis: they agree with every position. */
static uint32_t indifferent_mask(const struct sweep *sweep, const struct axis *axis)
{
    uint32_t mask = 0;
    for (uint32_t e = 0; e < sweep->exclude_count; e++) {
        bool asks = false;
        for (uint32_t f = 0; f < axis->field_count; f++)
            asks = asks || sweep->excludes[e].texts[axis->fields[f]];
        mask |= (uint32_t)!asks << e;
    }
    return mask;
}

static void values_mask(struct axis *axis, const struct sweep *sweep)
{
    free(axis->masks);
    axis->masks = memory_get_array(axis->count, sizeof *axis->masks);
    for (uint64_t i = 0; i < axis->count; i++) {
        for (uint32_t e = 0; e < sweep->exclude_count; e++) {
            bool agrees = true;
            for (uint32_t f = 0; f < axis->field_count && agrees; f++)
                if (sweep->excludes[e].texts[axis->fields[f]])
                    agrees = exclude_has(&sweep->excludes[e], axis->fields[f], axis->values[i * axis->field_count + f]);
            axis->masks[i] |= (uint32_t)agrees << e;
        }
    }
}

static int point_order(const void *a, const void *b)
{
    const struct axis_point *left = a, *right = b;
    return (left->position > right->position) - (left->position < right->position);
}

static void range_mask(struct axis *axis, const struct sweep *sweep)
{
    enum field field = axis->fields[0];
    size_t texts = 0;
    uint32_t count = 0;

    for (uint32_t e = 0; e < sweep->exclude_count; e++)
        texts += sweep->excludes[e].counts[field];
    free(axis->points);
    axis->points = memory_get_array(texts, sizeof *axis->points);
    for (uint32_t e = 0; e < sweep->exclude_count; e++) {
        for (uint32_t i = 0; i < sweep->excludes[e].counts[field]; i++) {
            uint64_t position;
            if (axis_range_position(&position, axis, sweep->excludes[e].texts[field][i]))
                axis->points[count++] = (struct axis_point){position, axis->mask | (1u << e)};
        }
    }
    qsort(axis->points, count, sizeof *axis->points, point_order);
    axis->point_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct axis_point *last = axis->point_count ? &axis->points[axis->point_count - 1] : NULL;
        if (last && last->position == axis->points[i].position)
            last->mask |= axis->points[i].mask;
        else
            axis->points[axis->point_count++] = axis->points[i];
    }
}

static enum err masks_make(struct sweep *sweep, struct error *error)
{
    sweep->fixed_mask = sweep->exclude_count ? (uint32_t)((UINT64_C(1) << sweep->exclude_count) - 1) : 0;
    bool on_axis[FIELD_COUNT] = {false};

    for (uint32_t e = 0; e < sweep->exclude_count; e++)
        for (int field = 0; field < FIELD_COUNT; field++)
            if (sweep->excludes[e].texts[field])
                qsort(sweep->excludes[e].texts[field], sweep->excludes[e].counts[field], sizeof(char *), text_order);
    for (uint32_t a = 0; a < sweep->axis_count; a++) {
        struct axis *axis = &sweep->axes[a];
        axis->mask = indifferent_mask(sweep, axis);
        for (uint32_t f = 0; f < axis->field_count; f++) {
            on_axis[axis->fields[f]] = true;
            for (uint32_t e = 0; axis->kind == AXIS_TABLE && e < sweep->exclude_count; e++)
                if (sweep->excludes[e].texts[axis->fields[f]])
                    return error_set(error, ERR_UNSUPPORTED, "exclude: %s comes from a file; excludes look at values of the sweep file "
                                     "only", catalog_field(axis->fields[f])->name);
        }
        if (axis->kind == AXIS_VALUES)
            values_mask(axis, sweep);
        else if (axis->kind == AXIS_RANGE)
            range_mask(axis, sweep);
    }
    for (int field = 0; field < FIELD_COUNT; field++) {
        struct bytes text = BYTES_INIT;
        spec_get(&text, &sweep->fixed, (enum field)field);
        for (uint32_t e = 0; e < sweep->exclude_count && !on_axis[field]; e++)
            if (sweep->excludes[e].texts[field] && !exclude_has(&sweep->excludes[e], (enum field)field, bytes_text(&text)))
                sweep->fixed_mask &= ~(1u << e);
        bytes_release(&text);
    }
    return ERR_OK;
}

/* ---- counting jobs ------------------------------------------------------------------------------------------------ */

/* Places (of the axes combined so far) that agree with the same excludes. */
struct class {
    uint32_t mask;
    uint64_t count;
};
struct classes {
    struct class *items;
    size_t count, room;
};

static void class_add(struct classes *classes, uint32_t mask, uint64_t count)
{
    if (classes->count == classes->room) {
        classes->room = classes->room ? 2 * classes->room : 64;
        classes->items = memory_grow(classes->items, classes->room, sizeof *classes->items);
    }
    classes->items[classes->count++] = (struct class){mask, count};
}

static int class_order(const void *a, const void *b)
{
    const struct class *left = a, *right = b;
    return (left->mask > right->mask) - (left->mask < right->mask);
}

static void classes_merge(struct classes *classes)
{
    size_t kept = 0;
    qsort(classes->items, classes->count, sizeof *classes->items, class_order);
    for (size_t i = 0; i < classes->count; i++) {
        if (kept && classes->items[kept - 1].mask == classes->items[i].mask)
            classes->items[kept - 1].count += classes->items[i].count;
        else
            classes->items[kept++] = classes->items[i];
    }
    classes->count = kept;
}

static struct classes axis_classes(const struct axis *axis)
{
    struct classes classes = {NULL, 0, 0};
    if (axis->masks) {
        for (uint64_t i = 0; i < axis->count; i++)
            class_add(&classes, axis->masks[i], 1);
    } else {
        if (axis->count > axis->point_count)
            class_add(&classes, axis->mask, axis->count - axis->point_count);
        for (uint32_t i = 0; i < axis->point_count; i++)
            class_add(&classes, axis->points[i].mask, 1);
    }
    classes_merge(&classes);
    return classes;
}

/* Combine by AND, a row of products at a time, so that memory stays within the limit on classes. */
static enum err classes_multiply(struct classes *left, const struct classes *right, struct error *error)
{
    struct classes product = {NULL, 0, 0};
    for (size_t i = 0; i < left->count; i++) {
        for (size_t j = 0; j < right->count; j++)
            class_add(&product, left->items[i].mask & right->items[j].mask, left->items[i].count * right->items[j].count);
        if (product.count > 4 * LIMIT_EXCLUDE_CLASSES || i + 1 == left->count) {
            classes_merge(&product);
            if (product.count > LIMIT_EXCLUDE_CLASSES) {
                free(product.items);
                return error_set(error, ERR_LIMIT, "exclude: want at most %d different sets of excludes on one place, have more",
                                 LIMIT_EXCLUDE_CLASSES);
            }
        }
    }
    free(left->items);
    *left = product;
    return ERR_OK;
}

static enum err jobs_count(struct sweep *sweep, uint64_t places, struct error *error)
{
    struct classes all = {NULL, 0, 0};
    uint64_t jobs = 0, work = 0;
    enum err code = ERR_OK;

    class_add(&all, sweep->fixed_mask, 1);
    for (uint32_t a = 0; a < sweep->axis_count && code == ERR_OK; a++) {
        struct classes axis = axis_classes(&sweep->axes[a]);
        work += (uint64_t)all.count * axis.count;
        if (work > LIMIT_EXCLUDE_WORK)
            code = error_set(error, ERR_LIMIT, "exclude: want at most %d combinations to count, have more", LIMIT_EXCLUDE_WORK);
        else
            code = classes_multiply(&all, &axis, error);
        free(axis.items);
    }
    for (size_t i = 0; i < all.count; i++)
        jobs += all.items[i].mask == 0 ? all.items[i].count : 0;
    free(all.items);
    if (code == ERR_OK && jobs == 0)
        code = error_set(error, ERR_INVALID, "exclude: want a job to be left, all %llu places are excluded", (unsigned long long)places);
    if (code == ERR_OK)
        sweep->jobs = jobs;
    return code;
}

enum err sweep_check(struct sweep *sweep, struct error *error)
{
    uint64_t places;
    if (sweep->axis_count > SWEEP_AXES_LIMIT)
        return error_set(error, ERR_LIMIT, "sweep: want at most %d axes, have %u", SWEEP_AXES_LIMIT, sweep->axis_count);
    if (sweep->exclude_count > LIMIT_EXCLUDES)
        return error_set(error, ERR_LIMIT, "exclude: want at most %d, have %u", LIMIT_EXCLUDES, sweep->exclude_count);
    enum err code = axes_check(sweep, error);
    if (code == ERR_OK)
        code = sweep_places(&places, sweep, error);
    if (code == ERR_OK)
        code = pairs_check(sweep, error);
    if (code != ERR_OK)
        return code;
    if (sweep->exclude_count == 0) {
        sweep->fixed_mask = 0;
        sweep->jobs = places;
        return ERR_OK;
    }
    code = masks_make(sweep, error);
    return code == ERR_OK ? jobs_count(sweep, places, error) : code;
}
