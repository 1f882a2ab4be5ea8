/* combinations.c - a sweep's jobs as far as a few fields tell them apart: an odometer over the axes that matter. */
#include "cli/combinations.h"

static bool says_one(const struct axis *axis, const enum field *fields, size_t count) {
    for (uint32_t f = 0; f < axis->field_count; f++)
        for (size_t i = 0; i < count; i++)
            if (axis->fields[f] == fields[i])
                return true;
    return false;
}

struct wheel {
    uint64_t position, count, stride; /* stride: of the sweep's index */
};

static size_t wheels_make(struct wheel wheels[SWEEP_AXES_LIMIT], const struct sweep *sweep, const enum field *fields, size_t count) {
    size_t wheel_count = 0;
    uint64_t stride = 1;
    for (uint32_t a = sweep->axis_count; a-- > 0;) {
        const struct axis *axis = &sweep->axes[a];
        if (says_one(axis, fields, count))
            wheels[wheel_count++] = (struct wheel){ 0, axis->count, stride };
        stride *= axis->count;
    }
    return wheel_count;
}

/* On to the next combination; false: that was the last. */
static bool turn(struct wheel *wheels, size_t count, uint64_t *index) {
    for (size_t i = 0; i < count; i++) {
        struct wheel *wheel = &wheels[i];
        *index += wheel->stride;
        if (++wheel->position < wheel->count)
            return true;
        *index -= wheel->stride * wheel->count;
        wheel->position = 0;
    }
    return false;
}

enum err combinations_each(bool *all, const struct sweep *sweep, const enum field *fields, size_t field_count, uint32_t most,
                           enum err (*each)(void *context, const struct spec *spec, struct error *error), void *context,
                           struct error *error) {
    struct wheel wheels[SWEEP_AXES_LIMIT];
    size_t count = wheels_make(wheels, sweep, fields, field_count);
    uint64_t index = 0;
    *all = false;
    for (uint32_t done = 0; done < most; done++) {
        struct spec spec;
        if (!sweep_excluded(sweep, index)) {
            enum err err = sweep_job(&spec, sweep, index, error);
            if (err)
                return err;
            err = each(context, &spec, error);
            spec_release(&spec);
            if (err)
                return err;
        }
        if (!turn(wheels, count, &index)) {
            *all = true;
            return ERR_OK;
        }
    }
    return ERR_OK;
}
