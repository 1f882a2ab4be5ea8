/*
 * sweep_range.c - ranges: `a..b step s` as decimal arithmetic, of seeds as 64-bit integers. Never binary fractions: 1..2 in
 * steps of 0.1 has eleven values, and each is the decimal that a person would write.
 */
#include <stdio.h>
#include <string.h>

#include "proto/sweep_parts.h"

/* ---- making one --------------------------------------------------------------------------------------------------- */

static enum err seed_bound(uint64_t *seed, const char *text, struct error *error)
{
    struct spec spec;
    if (text[0] < '0' || text[0] > '9') /* "random" and "-1" are seeds, and no bounds */
        return error_set(error, ERR_INVALID, "seed: a range wants numbers of 0..%llu, have \"%.40s\"",
                         (unsigned long long)UINT64_MAX, text);
    spec_init(&spec);
    enum err code = spec_set(&spec, FIELD_SEED, text, error);
    if (code == ERR_OK)
        *seed = spec.seed;
    spec_release(&spec);
    return code;
}

static enum err count_check(uint64_t count_less_one, const char *name, struct error *error)
{
    if (count_less_one < LIMIT_SWEEP_JOBS)
        return ERR_OK;
    return error_set(error, ERR_LIMIT, "%s: want at most %llu values in a range, have %s%llu", name,
                     (unsigned long long)LIMIT_SWEEP_JOBS, count_less_one == UINT64_MAX ? "more than " : "",
                     (unsigned long long)(count_less_one == UINT64_MAX ? UINT64_MAX : count_less_one + 1));
}

static enum err seed_range(struct axis *axis, const char *from, const char *to, const char *step, struct error *error)
{
    uint64_t first, last, stride;
    enum err code = seed_bound(&first, from, error);
    if (code == ERR_OK)
        code = seed_bound(&last, to, error);
    if (code == ERR_OK)
        code = seed_bound(&stride, step, error);
    if (code != ERR_OK)
        return code;
    if (stride == 0 || last < first)
        return error_set(error, ERR_INVALID, "seed: the range %.40s..%.40s step %.40s is empty (seeds ascend)", from, to, step);
    code = count_check((last - first) / stride, "seed", error);
    if (code != ERR_OK)
        return code;
    axis->count = (last - first) / stride + 1;
    axis->seed_from = first;
    axis->seed_step = axis->count == 1 ? 1 : stride;
    return ERR_OK;
}

static __int128 scaled(struct decimal decimal, uint32_t places)
{
    __int128 units = decimal.units;
    for (uint32_t i = decimal.places; i < places; i++)
        units *= 10;
    return units;
}

static enum err decimal_range(struct axis *axis, const char *name, const char *from, const char *to, const char *step,
                              struct error *error)
{
    struct decimal first, last, stride;
    enum err code = decimal_parse(&first, from, error);
    if (code == ERR_OK)
        code = decimal_parse(&last, to, error);
    if (code == ERR_OK)
        code = decimal_parse(&stride, step, error);
    if (code != ERR_OK) {
        if (error)
            error_prefix(error, "%s: range", name);
        return code;
    }
    uint32_t places = first.places > last.places ? first.places : last.places;
    places = stride.places > places ? stride.places : places;
    __int128 span = scaled(last, places) - scaled(first, places), unit = scaled(stride, places);
    if (unit == 0 || (span != 0 && (span > 0) != (unit > 0)))
        return error_set(error, ERR_INVALID, "%s: the range %.40s..%.40s step %.40s is empty", name, from, to, step);
    __int128 count_less_one = span / unit;
    code = count_check(count_less_one > UINT64_MAX ? UINT64_MAX : (uint64_t)count_less_one, name, error);
    if (code != ERR_OK)
        return code;
    axis->count = (uint64_t)count_less_one + 1;
    axis->from = first;
    axis->step = axis->count == 1 ? (struct decimal){1, 0} : stride;
    return ERR_OK;
}

enum err axis_range(struct axis *axis, enum field field, const char *from, const char *to, const char *step,
                    struct error *error)
{
    const struct field_info *info = catalog_field(field);
    struct axis made = {.kind = AXIS_RANGE, .fields = {field}, .field_count = 1};
    enum err code;

    if (field == FIELD_SEED)
        code = seed_range(&made, from, to, step, error);
    else if (info->type == TYPE_U32 || info->type == TYPE_DECIMAL)
        code = decimal_range(&made, info->name, from, to, step, error);
    else
        code = error_set(error, ERR_INVALID, "%s: a range wants a field of numbers", info->name);
    if (code == ERR_OK)
        code = axis_range_check(&made, error);
    if (code == ERR_OK)
        *axis = made;
    return code;
}

/* ---- values ------------------------------------------------------------------------------------------------------- */

struct decimal axis_range_value(const struct axis *axis, uint64_t position)
{
    uint32_t places = axis->from.places > axis->step.places ? axis->from.places : axis->step.places;
    __int128 from = scaled(axis->from, places), step = scaled(axis->step, places);
    /* sweep_check has held both ends of the range against 64 bits. */
    return decimal_reduce((struct decimal){(int64_t)(from + step * (int64_t)position), places});
}

bool axis_range_position(uint64_t *position, const struct axis *axis, const char *text)
{
    struct spec spec;
    bool found = false;
    spec_init(&spec);
    if (spec_set(&spec, axis->fields[0], text, NULL) != ERR_OK)
        goto done;
    if (axis->fields[0] == FIELD_SEED) {
        found = spec.seed >= axis->seed_from && (spec.seed - axis->seed_from) % axis->seed_step == 0;
        *position = found ? (spec.seed - axis->seed_from) / axis->seed_step : 0;
    } else {
        struct decimal value;
        if (decimal_parse(&value, text, NULL) != ERR_OK)
            goto done;
        uint32_t places = value.places;
        places = axis->from.places > places ? axis->from.places : places;
        places = axis->step.places > places ? axis->step.places : places;
        __int128 units = scaled(value, places), from = scaled(axis->from, places), step = scaled(axis->step, places);
        found = (units - from) % step == 0 && (units - from) / step >= 0 && (units - from) / step < (__int128)axis->count;
        *position = found ? (uint64_t)((units - from) / step) : 0;
    }
    found = found && *position < axis->count;
done:
    spec_release(&spec);
    return found;
}

enum err axis_range_check(const struct axis *axis, struct error *error)
{
    struct spec spec;
    char last[32];
    const char *name = catalog_field(axis->fields[0])->name;
    enum field_type type = catalog_field(axis->fields[0])->type;
    uint64_t span;

    if (axis->field_count != 1 || (type != TYPE_U32 && type != TYPE_U64 && type != TYPE_DECIMAL))
        return error_set(error, ERR_INVALID, "%s: a range wants one field of numbers", name);
    if (axis->fields[0] == FIELD_SEED) {
        if (axis->seed_step == 0 || __builtin_mul_overflow(axis->count - 1, axis->seed_step, &span) ||
            __builtin_add_overflow(axis->seed_from, span, &span))
            return error_set(error, ERR_INVALID, "seed: a range wants to stay in 0..%llu, %llu seeds from %llu in steps of %llu do not",
                             (unsigned long long)UINT64_MAX, (unsigned long long)axis->count,
                             (unsigned long long)axis->seed_from, (unsigned long long)axis->seed_step);
        return ERR_OK;
    }
    if (axis->step.units == 0)
        return error_set(error, ERR_INVALID, "%s: a range wants a step other than 0", name);
    /* Sides are at most 15 digits and places 15, counts 32 bits: only the product can pass 128 bits, so it stops early. */
    __int128 reach = (__int128)axis->step.units * (__int128)(axis->count - 1);
    uint32_t places = axis->from.places > axis->step.places ? axis->from.places : axis->step.places;
    __int128 from = scaled(axis->from, places);
    for (uint32_t i = axis->step.places; i < places && reach < INT64_MAX && reach > INT64_MIN; i++)
        reach *= 10;
    __int128 end = from + reach;
    __int128 bound = (__int128)1 << 62;
    if (from > bound || from < -bound || end > bound || end < -bound)
        return error_set(error, ERR_INVALID, "%s: the range is too long or too fine", name);
    decimal_format(last, decimal_reduce((struct decimal){(int64_t)end, places}));
    spec_init(&spec);
    enum err code = spec_set(&spec, axis->fields[0], last, error); /* limits are an interval: its ends are enough */
    if (code == ERR_OK) {
        decimal_format(last, axis->from);
        code = spec_set(&spec, axis->fields[0], last, error);
    }
    if (code == ERR_OK && type == TYPE_U32 && (axis->from.places || axis->step.places)) {
        decimal_format(last, axis->step);
        code = error_set(error, ERR_INVALID, "%s: a range of whole numbers wants a whole step, have %s", name, last);
    }
    spec_release(&spec);
    return code;
}

