/*
 * sweep_json.c - the resolved sweep as canonical JSON, and back. What comes back is checked as if nobody had checked it
 * before, and must be the very bytes that would be written: a sweep has one id.
 */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "proto/sweep_parts.h"

enum { SWEEP_FORMAT = 1 };

/* ---- writing ------------------------------------------------------------------------------------------------------ */

static json_t *text_json(const char *text)
{
    return json_string_nocheck(text); /* checked when it was set */
}

static json_t *decimal_json(struct decimal decimal)
{
    char text[32];
    decimal_format(text, decimal);
    return text_json(text);
}

static json_t *u64_json(uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return text_json(text);
}

static void range_write(json_t *object, const struct axis *axis)
{
    struct bytes last = BYTES_INIT;
    if (axis->fields[0] == FIELD_SEED) {
        json_object_set_new(object, "from", u64_json(axis->seed_from));
        json_object_set_new(object, "step", u64_json(axis->seed_step));
    } else {
        json_object_set_new(object, "from", decimal_json(axis->from));
        json_object_set_new(object, "step", decimal_json(axis->step));
    }
    enum err code = axis_text(&last, axis, axis->count - 1, axis->fields[0], NULL);
    if (code == ERR_OK) /* ranges cannot fail */
        json_object_set_new(object, "to", text_json(bytes_text(&last)));
    bytes_release(&last);
}

static json_t *axis_json(const struct axis *axis)
{
    json_t *object = json_object(), *fields = json_array();
    char hex[DIGEST_HEX_SIZE];

    for (uint32_t f = 0; f < axis->field_count; f++)
        json_array_append_new(fields, text_json(catalog_field(axis->fields[f])->name));
    json_object_set_new(object, "fields", fields);
    if (axis->kind == AXIS_RANGE) {
        range_write(object, axis);
    } else if (axis->kind == AXIS_TABLE) {
        digest_hex(&axis->table, hex);
        json_object_set_new(object, "table", text_json(hex));
        json_object_set_new(object, "count", json_integer((json_int_t)axis->count));
        json_object_set_new(object, "size", json_integer((json_int_t)axis->table_size));
    } else {
        json_t *values = json_array();
        for (uint64_t i = 0; i < axis->count; i++) {
            json_t *value = json_array();
            for (uint32_t f = 0; f < axis->field_count; f++)
                json_array_append_new(value, text_json(axis->values[i * axis->field_count + f]));
            json_array_append_new(values, value);
        }
        json_object_set_new(object, "values", values);
    }
    return object;
}

static json_t *exclude_json(const struct exclude *exclude)
{
    json_t *object = json_object();
    for (int field = 0; field < FIELD_COUNT; field++) {
        if (!exclude->texts[field])
            continue;
        json_t *texts = json_array();
        for (uint32_t i = 0; i < exclude->counts[field]; i++)
            json_array_append_new(texts, text_json(exclude->texts[field][i]));
        json_object_set_new(object, catalog_field((enum field)field)->name, texts);
    }
    return object;
}

enum err sweep_resolved(struct bytes *json, const struct sweep *sweep, struct error *error)
{
    json_t *object = json_object(), *axes = json_array(), *excludes = json_array(), *fixed = json_object();
    bool on_axis[FIELD_COUNT] = {false};
    struct bytes text = BYTES_INIT;

    for (uint32_t a = 0; a < sweep->axis_count; a++) {
        json_array_append_new(axes, axis_json(&sweep->axes[a]));
        for (uint32_t f = 0; f < sweep->axes[a].field_count; f++)
            on_axis[sweep->axes[a].fields[f]] = true;
    }
    for (uint32_t e = 0; e < sweep->exclude_count; e++)
        json_array_append_new(excludes, exclude_json(&sweep->excludes[e]));
    for (int field = 0; field < FIELD_COUNT; field++) {
        if (on_axis[field])
            continue;
        const struct field_info *info = catalog_field((enum field)field);
        bytes_clear(&text);
        spec_get(&text, &sweep->fixed, (enum field)field);
        if (info->late && strcmp(bytes_text(&text), info->neutral) == 0)
            continue; /* sweeps of before it was there keep their ids */
        json_object_set_new(fixed, catalog_field((enum field)field)->name, text_json(bytes_text(&text)));
    }
    json_object_set_new(object, "axes", axes);
    json_object_set_new(object, "exclude", excludes);
    json_object_set_new(object, "fixed", fixed);
    json_object_set_new(object, "sweep", json_integer(SWEEP_FORMAT));

    bytes_clear(&text);
    enum err code = json_canonical(&text, object, error);
    if (code == ERR_OK && text.size > LIMIT_SWEEP_BYTES)
        code = error_set(error, ERR_LIMIT, "sweep: want at most %d bytes of resolved JSON, have %zu (prompts may come from a file)",
                         LIMIT_SWEEP_BYTES, text.size);
    if (code == ERR_OK)
        bytes_add(json, text.data, text.size);
    json_decref(object);
    bytes_release(&text);
    return code;
}

/* ---- reading ------------------------------------------------------------------------------------------------------ */

static enum err want(struct error *error, const char *what)
{
    return error_set(error, ERR_CORRUPT, "sweep: want %s", what);
}

/* One text of a field, through spec_set; `out` is what spec_get says of it, owned. */
static enum err value_read(char **out, struct spec *scratch, enum field field, const json_t *value, struct error *error)
{
    struct bytes text = BYTES_INIT;
    if (!json_is_string(value))
        return want(error, "every value to be a text");
    enum err code = spec_set(scratch, field, json_string_value(value), error);
    if (code != ERR_OK)
        return code;
    spec_get(&text, scratch, field);
    *out = text_copy(bytes_text(&text));
    bytes_release(&text);
    return ERR_OK;
}

static enum err values_read(struct axis *axis, const json_t *values, struct error *error)
{
    size_t count = json_array_size(values);
    struct spec scratch;
    enum err code = ERR_OK;

    if (count < 1 || count > LIMIT_AXIS_VALUES)
        return error_set(error, ERR_LIMIT, "sweep: want 1..%d values on an axis, have %zu", LIMIT_AXIS_VALUES, count);
    spec_init(&scratch);
    axis->kind = AXIS_VALUES;
    axis->values = memory_get_array(count * axis->field_count, sizeof *axis->values);
    axis->count = count;
    for (size_t i = 0; i < count && code == ERR_OK; i++) {
        const json_t *value = json_array_get(values, i);
        if (!json_is_array(value) || json_array_size(value) != axis->field_count)
            code = want(error, "a value to be an array with a text for each field");
        for (uint32_t f = 0; f < axis->field_count && code == ERR_OK; f++)
            code = value_read(&axis->values[i * axis->field_count + f], &scratch, axis->fields[f], json_array_get(value, f), error);
    }
    spec_release(&scratch);
    return code;
}

static enum err table_read(struct axis *axis, const json_t *object, struct error *error)
{
    const char *hex = json_string_value(json_object_get(object, "table"));
    const json_t *count = json_object_get(object, "count"), *size = json_object_get(object, "size");

    axis->kind = AXIS_TABLE;
    if (!hex || !digest_parse(&axis->table, hex))
        return want(error, "a table to be named by 64 hex digits");
    if (!json_is_integer(count) || json_integer_value(count) < 1 || json_integer_value(count) > (json_int_t)LIMIT_SWEEP_JOBS)
        return want(error, "a table's count to be 1..4294967295");
    if (!json_is_integer(size) || json_integer_value(size) < 1 || json_integer_value(size) > (json_int_t)LIMIT_TABLE_FILE)
        return want(error, "a table's size to be within the limit");
    axis->count = (uint64_t)json_integer_value(count);
    axis->table_size = (uint64_t)json_integer_value(size);
    return ERR_OK;
}

static enum err range_read(struct axis *axis, const json_t *object, struct error *error)
{
    const char *from = json_string_value(json_object_get(object, "from"));
    const char *to = json_string_value(json_object_get(object, "to"));
    const char *step = json_string_value(json_object_get(object, "step"));
    if (!from || !to || !step)
        return want(error, "an axis to have values, a table, or from, to and step");
    if (axis->field_count != 1)
        return want(error, "a range to have one field");
    return axis_range(axis, axis->fields[0], from, to, step, error);
}

static enum err axis_read(struct axis *axis, const json_t *object, struct error *error)
{
    const json_t *fields = json_object_get(object, "fields");
    size_t count = json_array_size(fields);
    if (count < 1 || count > AXIS_FIELDS_LIMIT)
        return error_set(error, ERR_CORRUPT, "sweep: want an axis of 1..%d fields, have %zu", AXIS_FIELDS_LIMIT, count);
    for (size_t f = 0; f < count; f++) {
        const char *name = json_string_value(json_array_get(fields, f));
        if (!name)
            return want(error, "a field to be a text");
        enum err code = catalog_find(&axis->fields[f], name, error);
        if (code != ERR_OK)
            return code;
    }
    axis->field_count = (uint32_t)count;
    if (json_is_array(json_object_get(object, "values")))
        return values_read(axis, json_object_get(object, "values"), error);
    if (json_object_get(object, "table"))
        return table_read(axis, object, error);
    return range_read(axis, object, error);
}

static enum err exclude_read(struct exclude *exclude, const json_t *object, struct error *error)
{
    const char *key;
    json_t *texts;
    struct spec scratch;
    enum err code = ERR_OK;

    if (!json_is_object(object) || json_object_size(object) == 0)
        return want(error, "an exclude to be an object with a field");
    spec_init(&scratch);
    json_object_foreach((json_t *)object, key, texts) {
        enum field field;
        size_t count = json_array_size(texts);
        code = catalog_find(&field, key, error);
        if (code == ERR_OK && (count < 1 || count > LIMIT_AXIS_VALUES))
            code = error_set(error, ERR_CORRUPT, "sweep: exclude: %s: want 1..%d texts, have %zu", key, LIMIT_AXIS_VALUES, count);
        if (code != ERR_OK)
            break;
        exclude->texts[field] = memory_get_array(count, sizeof(char *));
        exclude->counts[field] = (uint32_t)count;
        for (size_t i = 0; i < count && code == ERR_OK; i++)
            code = value_read(&exclude->texts[field][i], &scratch, field, json_array_get(texts, i), error);
        if (code != ERR_OK)
            break;
    }
    spec_release(&scratch);
    return code;
}

static enum err fixed_read(struct spec *fixed, const json_t *object, struct error *error)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object))
        return want(error, "fixed to be an object");
    json_object_foreach((json_t *)object, key, value) {
        enum field field;
        char *text = NULL;
        enum err code = catalog_find(&field, key, error);
        if (code == ERR_OK)
            code = value_read(&text, fixed, field, value, error);
        free(text);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

static enum err sweep_read(struct sweep *sweep, const json_t *object, struct error *error)
{
    const json_t *axes = json_object_get(object, "axes"), *excludes = json_object_get(object, "exclude");
    const json_t *format = json_object_get(object, "sweep");
    bool model_on_axis = false;

    if (!json_is_integer(format) || json_integer_value(format) != SWEEP_FORMAT)
        return error_set(error, ERR_UNSUPPORTED, "sweep: want format %d (\"sweep\")", SWEEP_FORMAT);
    if (!json_is_array(axes) || json_array_size(axes) > SWEEP_AXES_LIMIT)
        return error_set(error, ERR_CORRUPT, "sweep: want an array of at most %d axes", SWEEP_AXES_LIMIT);
    if (!json_is_array(excludes) || json_array_size(excludes) > LIMIT_EXCLUDES)
        return error_set(error, ERR_CORRUPT, "sweep: want an array of at most %d excludes", LIMIT_EXCLUDES);
    enum err code = fixed_read(&sweep->fixed, json_object_get(object, "fixed"), error);
    for (size_t a = 0; a < json_array_size(axes) && code == ERR_OK; a++) {
        code = axis_read(&sweep->axes[sweep->axis_count++], json_array_get(axes, a), error);
        model_on_axis = model_on_axis || sweep->axes[a].fields[0] == FIELD_MODEL;
    }
    sweep->excludes = memory_get_array(json_array_size(excludes), sizeof *sweep->excludes);
    for (size_t e = 0; e < json_array_size(excludes) && code == ERR_OK; e++)
        code = exclude_read(&sweep->excludes[sweep->exclude_count++], json_array_get(excludes, e), error);
    if (code == ERR_OK && !model_on_axis && digest_is_zero(&sweep->fixed.model))
        code = error_set(error, ERR_INVALID, "model: want a model, none is given");
    return code == ERR_OK ? sweep_check(sweep, error) : code;
}

enum err sweep_parse(struct sweep *sweep, const void *data, size_t size, struct error *error)
{
    struct sweep read = {0};
    struct bytes again = BYTES_INIT;
    json_t *object = NULL;
    enum err code;

    if (size > LIMIT_SWEEP_BYTES)
        return error_set(error, ERR_LIMIT, "sweep: want at most %d bytes, have %zu", LIMIT_SWEEP_BYTES, size);
    spec_init_neutral(&read.fixed);
    code = json_parse(&object, data, size, "sweep", error);
    if (code == ERR_OK && !json_is_object(object))
        code = want(error, "a JSON object");
    if (code == ERR_OK)
        code = sweep_read(&read, object, error);
    if (code == ERR_OK)
        code = sweep_resolved(&again, &read, error);
    if (code == ERR_OK && (again.size != size || memcmp(again.data, data, size) != 0))
        code = error_set(error, ERR_INVALID, "sweep: want canonical bytes (%zu of them), have %zu others", again.size, size);
    if (code == ERR_OK) {
        *sweep = read;
        memset(&read, 0, sizeof read);
    }
    json_decref(object);
    bytes_release(&again);
    sweep_release(&read);
    return code;
}
