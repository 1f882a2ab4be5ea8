/*
 * sweep_file.c - a YAML sweep file becomes a checked sweep: every value normal, every file read, every model a digest.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "proto/sweep_reading.h"

static const char *const other_keys[] = {"name", "zip", "rows", "exclude", NULL};

void sweep_file_release(struct sweep_file *file)
{
    sweep_release(&file->sweep);
    for (uint32_t t = 0; t < file->table_count; t++) {
        unlink(file->tables[t].path);
        free(file->tables[t].path);
    }
    for (uint32_t m = 0; m < file->model_count; m++)
        free(file->models[m]);
    file_book_release(&file->files);
    free(file->name);
    memset(file, 0, sizeof *file);
}

/* ---- what the parts ask of the whole ------------------------------------------------------------------------------ */

enum err reading_at(struct reading *reading, uint32_t line, enum err code)
{
    if (reading->error)
        error_prefix(reading->error, "%s:%u", reading->name, line);
    return code;
}

enum err reading_claim(struct reading *reading, enum field field, uint32_t line)
{
    if (reading->lines[field])
        return reading_at(reading, line, error_set(reading->error, ERR_INVALID, "%s: given twice, first in line %u",
                                                   catalog_field(field)->name, reading->lines[field]));
    reading->lines[field] = line;
    return ERR_OK;
}

enum err reading_field(enum field *field, struct reading *reading, const struct yaml_node *key)
{
    enum err code = catalog_find(field, key->text, reading->error);
    return code == ERR_OK ? ERR_OK : reading_at(reading, key->line, code);
}

enum err reading_model(const struct named_model **model, struct reading *reading, const char *text, bool first)
{
    for (uint32_t m = 0; m < reading->model_count; m++) {
        if (strcmp(reading->models[m].text, text) == 0) {
            reading->models[m].used = reading->models[m].used || !reading->excluding;
            reading->models[m].first = reading->models[m].first || first;
            *model = &reading->models[m];
            return ERR_OK;
        }
    }
    if (reading->model_count == READING_MODELS_LIMIT)
        return error_set(reading->error, ERR_LIMIT, "model: want at most %d models in a sweep, have more", READING_MODELS_LIMIT);
    struct named_model found = {.used = !reading->excluding, .first = first};
    enum err code = model_find(&found.folder, text, reading->folder, reading->error);
    if (code != ERR_OK)
        return code;
    code = model_facts_read(&found.facts, found.folder, reading->error);
    if (code != ERR_OK) {
        free(found.folder);
        return code;
    }
    found.text = text_copy(text);
    reading->models[reading->model_count] = found;
    *model = &reading->models[reading->model_count++];
    return ERR_OK;
}

enum err value_normal(struct bytes *out, struct reading *reading, enum field field, const char *text, bool *implies,
                      enum schedule *implied)
{
    struct spec *scratch = &reading->scratch;
    if (catalog_field(field)->type == TYPE_MODEL && !(field == FIELD_REFINER && *text == '\0')) {
        const struct named_model *model;
        enum err code = reading_model(&model, reading, text, field == FIELD_MODEL);
        if (code != ERR_OK)
            return code;
        *(field == FIELD_MODEL ? &scratch->model : &scratch->refiner) = model->facts.digest;
    } else if (field_is_file(field)) {
        struct bytes value = BYTES_INIT;
        enum err code = file_value(&value, &reading->file->files, field, text, reading->folder, reading->error);
        if (code == ERR_OK)
            code = spec_set(scratch, field, bytes_text(&value), reading->error);
        bytes_release(&value);
        if (code != ERR_OK)
            return code;
    } else {
        scratch->schedule = SCHEDULE_COUNT; /* none yet: a sampler's name may bring one */
        enum err code = spec_set(scratch, field, text, reading->error);
        if (code != ERR_OK)
            return code;
        if (field == FIELD_SAMPLER && scratch->schedule != SCHEDULE_COUNT) {
            *implies = true;
            *implied = scratch->schedule;
        }
    }
    spec_get(out, scratch, field);
    return ERR_OK;
}

/* ---- the whole ---------------------------------------------------------------------------------------------------- */

static enum err name_check(struct reading *reading, uint32_t line, const char *name)
{
    size_t size = strlen(name), place;
    if (size < 1 || size > LIMIT_NAME)
        return reading_at(reading, line, error_set(reading->error, ERR_INVALID, "name: want 1..%d bytes, have %zu", LIMIT_NAME, size));
    if (!utf8_valid(name, size, &place))
        return reading_at(reading, line, error_set(reading->error, ERR_INVALID, "name: want UTF-8, byte %zu is 0x%02x", place + 1,
                                                   (unsigned)(uint8_t)name[place]));
    for (size_t i = 0; i < size; i++)
        if ((uint8_t)name[i] < 0x20 || name[i] == 0x7f)
            return reading_at(reading, line, error_set(reading->error, ERR_INVALID, "name: want no control characters, byte %zu is 0x%02x",
                                                       i + 1, (unsigned)(uint8_t)name[i]));
    return ERR_OK;
}

static enum err name_read(struct reading *reading, const struct yaml_node *value)
{
    if (value->kind != YAML_SCALAR)
        return reading_at(reading, value->line, error_set(reading->error, ERR_INVALID, "name: want a text"));
    enum err code = name_check(reading, value->line, value->text);
    if (code == ERR_OK)
        reading->file->name = text_copy(value->text);
    return code;
}

/* "frog" of "sweeps/frog.yaml". */
static enum err name_default(struct reading *reading)
{
    const char *stem = path_name(reading->name), *dot = strrchr(stem, '.');
    if (reading->file->name)
        return ERR_OK;
    char *name = text_copy_size(stem, dot && dot != stem ? (size_t)(dot - stem) : strlen(stem));
    enum err code = name_check(reading, 1, name);
    if (code == ERR_OK)
        reading->file->name = name;
    else
        free(name);
    return code;
}

static enum err key_unknown(struct reading *reading, const struct yaml_node *key, enum err code)
{
    size_t best = SIZE_MAX;
    const char *nearest = NULL;
    for (int field = 0; field < FIELD_COUNT; field++) {
        size_t distance = word_distance(key->text, catalog_field((enum field)field)->name);
        best = distance < best ? distance : best;
    }
    for (size_t i = 0; other_keys[i]; i++) {
        size_t distance = word_distance(key->text, other_keys[i]);
        if (distance < best) {
            best = distance;
            nearest = other_keys[i];
        }
    }
    if (code == ERR_INVALID && nearest && best <= 3)
        error_set(reading->error, code, "unknown key \"%.80s\": the nearest known one is \"%s\"", key->text, nearest);
    return reading_at(reading, key->line, code);
}

static enum err key_read(struct reading *reading, const struct yaml_node *key, const struct yaml_node *value)
{
    enum field field;
    if (strcmp(key->text, "name") == 0)
        return name_read(reading, value);
    if (strcmp(key->text, "zip") == 0)
        return zip_read(reading, value);
    if (strcmp(key->text, "rows") == 0)
        return rows_read(reading, value);
    if (strcmp(key->text, "exclude") == 0)
        return excludes_read(reading, value);
    enum err code = catalog_find(&field, key->text, reading->error);
    if (code != ERR_OK)
        return key_unknown(reading, key, code);
    return field_read(reading, field, key, value);
}

/* What was not given and is not a constant: the model, and the size that the model was trained for. */
static enum err defaults_fill(struct reading *reading)
{
    struct sweep *sweep = &reading->file->sweep;
    const struct named_model *model = NULL;

    if (!reading->lines[FIELD_MODEL]) {
        enum err code = reading_model(&model, reading, catalog_field(FIELD_MODEL)->fallback, true);
        if (code != ERR_OK)
            return reading_at(reading, 1, code);
        sweep->fixed.model = model->facts.digest;
    }
    for (uint32_t m = 0; m < reading->model_count && !reading->lines[FIELD_SIZE]; m++) {
        const struct named_model *other = &reading->models[m];
        if (!other->used || !other->first)
            continue;
        if (model && (model->facts.default_width != other->facts.default_width ||
                      model->facts.default_height != other->facts.default_height))
            return reading_at(reading, reading->lines[FIELD_MODEL],
                              error_set(reading->error, ERR_INVALID, "size: want one, for the models differ: %.80s is for %ux%u, %.80s for %ux%u",
                                        model->text, model->facts.default_width, model->facts.default_height, other->text,
                                        other->facts.default_width, other->facts.default_height));
        model = other;
        sweep->fixed.width = other->facts.default_width;
        sweep->fixed.height = other->facts.default_height;
    }
    if (reading->implied_line && reading->lines[FIELD_SCHEDULE])
        return reading_at(reading, reading->implied_line,
                          error_set(reading->error, ERR_INVALID, "sampler: a name holds a schedule, and schedule is given too, in line %u",
                                    reading->lines[FIELD_SCHEDULE]));
    return ERR_OK;
}

static int axis_order(const void *a, const void *b)
{
    return (int)((const struct axis *)a)->fields[0] - (int)((const struct axis *)b)->fields[0];
}

static char *own_table(void *context, const struct digest *digest)
{
    const struct sweep_file *file = context;
    for (uint32_t t = 0; t < file->table_count; t++)
        if (digest_equal(&file->tables[t].digest, digest))
            return text_copy(file->tables[t].path);
    return NULL;
}

static enum err sweep_finish(struct reading *reading)
{
    struct sweep_file *file = reading->file;
    struct sweep *sweep = &file->sweep;
    struct bytes resolved = BYTES_INIT;
    uint32_t size_line = reading->lines[FIELD_SIZE] ? reading->lines[FIELD_SIZE] : 1;

    qsort(sweep->axes, sweep->axis_count, sizeof *sweep->axes, axis_order);
    enum err code = sweep_check(sweep, reading->error);
    if (code == ERR_OK)
        code = sweep_resolved(&resolved, sweep, reading->error);
    bytes_release(&resolved);
    if (code == ERR_OK)
        code = sweep_attach(sweep, own_table, file, reading->error);
    if (code != ERR_OK) {
        if (reading->error)
            error_prefix(reading->error, "%s", reading->name);
        return code;
    }
    for (uint32_t m = 0; m < reading->model_count && code == ERR_OK; m++) {
        if (!reading->models[m].used)
            continue;
        code = sweep_check_model(sweep, &reading->models[m].facts, reading->error);
        file->models[file->model_count++] = text_copy(reading->models[m].folder);
    }
    return code == ERR_OK ? ERR_OK : reading_at(reading, size_line, code);
}

static enum err root_read(struct reading *reading, const struct yaml_node *root)
{
    enum err code = ERR_OK;
    if (root->kind != YAML_MAP)
        return reading_at(reading, root->line, error_set(reading->error, ERR_INVALID, "want fields with values, such as \"prompt: a frog\""));
    for (size_t i = 0; i < root->count && code == ERR_OK; i += 2)
        code = key_read(reading, &root->items[i], &root->items[i + 1]);
    if (code == ERR_OK)
        code = name_default(reading);
    if (code == ERR_OK)
        code = defaults_fill(reading);
    return code == ERR_OK ? sweep_finish(reading) : code;
}

enum err sweep_file_parse(struct sweep_file *file, const void *data, size_t size, const char *name, const char *folder,
                          struct error *error)
{
    struct sweep_file read = {0};
    struct reading reading = {.name = name, .folder = folder, .file = &read, .error = error};
    struct yaml_node root = {0};

    if (size > LIMIT_SWEEP_FILE)
        return error_set(error, ERR_LIMIT, "%s: want at most %d bytes, have %zu", name, LIMIT_SWEEP_FILE, size);
    spec_init(&read.sweep.fixed);
    spec_init(&reading.scratch);
    enum err code = yaml_parse(&root, data, size, name, error);
    if (code == ERR_OK)
        code = root_read(&reading, &root);
    yaml_release(&root);
    spec_release(&reading.scratch);
    for (uint32_t m = 0; m < reading.model_count; m++) {
        free(reading.models[m].text);
        free(reading.models[m].folder);
    }
    if (code == ERR_OK)
        *file = read;
    else
        sweep_file_release(&read);
    return code;
}

enum err sweep_file_read(struct sweep_file *file, const char *path, struct error *error)
{
    struct bytes text = BYTES_INIT;
    enum err code = file_read(&text, path, LIMIT_SWEEP_FILE, error);
    if (code != ERR_OK)
        return code;
    size_t folder_size = (size_t)(path_name(path) - path);
    char *folder = folder_size ? text_copy_size(path, folder_size) : text_copy(".");
    code = sweep_file_parse(file, bytes_text(&text), text.size, path, folder, error);
    free(folder);
    bytes_release(&text);
    return code;
}
