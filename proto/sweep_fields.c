/*
 * sweep_fields.c - what may stand behind a field in a sweep file: a value, a range, a list, variants, a file; and what zip,
 * rows and exclude make of them.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "proto/sweep_reading.h"

/* The values of one field, in order. Schedules stand beside samplers whose names may hold one ("DPM++ 2M Karras"). */
struct column {
    enum field field;
    struct texts values;
    struct texts schedules;
    bool implies;
    bool literal; /* braces are no variants: excludes */
};

static void column_release(struct column *column)
{
    texts_release(&column->values);
    texts_release(&column->schedules);
}

static bool field_is_number(enum field field)
{
    enum field_type type = catalog_field(field)->type;
    return type == TYPE_U32 || type == TYPE_U64 || type == TYPE_DECIMAL;
}

/* ---- ranges ------------------------------------------------------------------------------------------------------- */

static bool is_range(enum field field, const char *text)
{
    return field_is_number(field) && strstr(text, "..");
}

/* "a..b" or "a..b step s" -> three texts cut out of `copy`. */
static bool range_split(char **from, char **to, char **step, char *copy)
{
    char *dots = strstr(copy, "..");
    *dots = '\0';
    *from = copy;
    *to = dots + 2;
    *step = "1";
    char *word = strstr(*to, "step");
    if (word) {
        if (word == *to || word[-1] != ' ' || word[4] != ' ')
            return false;
        *step = word + 4 + strspn(word + 4, " ");
        while (word > *to && word[-1] == ' ')
            word--;
        *word = '\0';
    }
    *to += strspn(*to, " ");
    for (size_t size = strlen(*from); size && (*from)[size - 1] == ' '; size--)
        (*from)[size - 1] = '\0';
    return **from && **to && **step;
}

static enum err range_parse(struct axis *axis, struct reading *reading, enum field field, const char *text)
{
    char *copy = text_copy(text), *from, *to, *step;
    enum err code;
    if (range_split(&from, &to, &step, copy))
        code = axis_range(axis, field, from, to, step, reading->error);
    else
        code = error_set(reading->error, ERR_INVALID, "%s: want a range such as 0..63 or 1..2 step 0.1, have \"%.80s\"",
                         catalog_field(field)->name, text);
    free(copy);
    return code;
}

/* A range inside a list is its values, written out. */
static enum err column_add_range(struct column *column, struct reading *reading, const char *text)
{
    struct axis range;
    enum err code = range_parse(&range, reading, column->field, text);
    if (code != ERR_OK)
        return code;
    if (range.count > LIMIT_AXIS_VALUES - column->values.count)
        return error_set(reading->error, ERR_LIMIT, "%s: want at most %d values in a list, the range makes it %llu",
                         catalog_field(column->field)->name, LIMIT_AXIS_VALUES,
                         (unsigned long long)(column->values.count + range.count));
    for (uint64_t i = 0; i < range.count && code == ERR_OK; i++) {
        struct bytes value = BYTES_INIT;
        code = axis_text(&value, &range, i, column->field, reading->error);
        texts_add(&column->values, text_copy(bytes_text(&value)));
        bytes_release(&value);
    }
    return code;
}

/* ---- columns ------------------------------------------------------------------------------------------------------ */

static enum err column_add_one(struct column *column, struct reading *reading, const char *text)
{
    struct bytes normal = BYTES_INIT;
    enum schedule schedule = SCHEDULE_AUTOMATIC;
    bool implies = false;
    enum err code = value_normal(&normal, reading, column->field, text, &implies, &schedule);

    if (code == ERR_OK && column->values.count == LIMIT_AXIS_VALUES)
        code = error_set(reading->error, ERR_LIMIT, "%s: want at most %d values in a list, have more", catalog_field(column->field)->name,
                         LIMIT_AXIS_VALUES);
    if (code == ERR_OK) {
        texts_add(&column->values, text_copy(bytes_text(&normal)));
        if (column->field == FIELD_SAMPLER)
            texts_add(&column->schedules, text_copy(schedule_name(schedule)));
        column->implies = column->implies || implies;
    }
    bytes_release(&normal);
    return code;
}

/* {NAME: WEIGHT or WORD, ...}: one value, a list of files. */
static enum err column_add_files(struct column *column, struct reading *reading, const struct yaml_node *map)
{
    struct spec *scratch = &reading->scratch;
    struct bytes value = BYTES_INIT;
    enum err code = ERR_OK;
    for (size_t i = 0; i < map->count && code == ERR_OK; i += 2) {
        if (map->items[i + 1].kind != YAML_SCALAR)
            code = error_set(reading->error, ERR_INVALID, "%s: %.80s: want a number or a word", catalog_field(column->field)->name,
                             map->items[i].text);
        else
            code = file_item(&value, &reading->file->files, column->field, map->items[i].text, map->items[i + 1].text,
                             reading->folder, reading->error);
    }
    if (code == ERR_OK)
        code = spec_set(scratch, column->field, bytes_text(&value), reading->error);
    if (code == ERR_OK) {
        bytes_clear(&value);
        spec_get(&value, scratch, column->field);
        texts_add(&column->values, text_copy(bytes_text(&value)));
    }
    bytes_release(&value);
    return code == ERR_OK ? ERR_OK : reading_at(reading, map->line, code);
}

static enum err column_add(struct column *column, struct reading *reading, const struct yaml_node *node)
{
    if (node->kind == YAML_MAP && catalog_field(column->field)->type == TYPE_FILES)
        return column_add_files(column, reading, node);
    struct texts variants = {0};
    const char *name = catalog_field(column->field)->name;
    enum err code;

    if (node->kind != YAML_SCALAR)
        return reading_at(reading, node->line, error_set(reading->error, ERR_INVALID, "%s: want a value here, have a %s", name,
                                                         node->kind == YAML_LIST ? "list" : "mapping"));
    if (!node->quoted && (node->text[0] == '\0' || strcmp(node->text, "~") == 0))
        return reading_at(reading, node->line, error_set(reading->error, ERR_INVALID, "%s: want a value, have nothing (\"\" is the empty "
                                                         "text)", name));
    if (is_range(column->field, node->text)) {
        code = column_add_range(column, reading, node->text);
    } else if (column->field == FIELD_PROMPT && !column->literal) {
        code = variants_expand(&variants, node->text, name, reading->error);
        for (size_t i = 0; i < variants.count && code == ERR_OK; i++)
            code = column_add_one(column, reading, variants.items[i]);
    } else {
        code = column_add_one(column, reading, node->text);
    }
    texts_release(&variants);
    return code == ERR_OK ? ERR_OK : reading_at(reading, node->line, code);
}

/* A list, or one value that counts as a list. */
static enum err column_read(struct column *column, struct reading *reading, const struct yaml_node *node)
{
    enum err code = ERR_OK;
    if (node->kind != YAML_LIST)
        return column_add(column, reading, node);
    if (node->count == 0)
        return reading_at(reading, node->line, error_set(reading->error, ERR_INVALID, "%s: an axis wants at least one value, the list is "
                                                         "empty", catalog_field(column->field)->name));
    for (size_t i = 0; i < node->count && code == ERR_OK; i++)
        code = column_add(column, reading, &node->items[i]);
    return code;
}

static int column_order(const void *a, const void *b)
{
    return (int)((const struct column *)a)->field - (int)((const struct column *)b)->field;
}

/* Columns of equal length become one axis; their texts are moved. There is room: each axis has claimed a field. */
static void axis_of_columns(struct sweep *sweep, struct column *columns, uint32_t count)
{
    struct axis *axis = &sweep->axes[sweep->axis_count++];
    qsort(columns, count, sizeof *columns, column_order);
    *axis = (struct axis){.kind = AXIS_VALUES, .field_count = count, .count = columns[0].values.count};
    axis->values = memory_get_array(axis->count * count, sizeof *axis->values);
    for (uint32_t c = 0; c < count; c++) {
        axis->fields[c] = columns[c].field;
        for (size_t i = 0; i < axis->count; i++) {
            axis->values[i * count + c] = columns[c].values.items[i];
            columns[c].values.items[i] = NULL;
        }
    }
}

/* The schedules that a sampler column implies, as a column of their own. */
static struct column implied_column(struct column *samplers)
{
    struct column schedules = {.field = FIELD_SCHEDULE, .values = samplers->schedules};
    samplers->schedules = (struct texts){0};
    return schedules;
}

/* ---- a field ------------------------------------------------------------------------------------------------------ */

static char *file_path(const struct reading *reading, const char *text)
{
    return text[0] == '/' || !reading->folder ? text_copy(text) : path_join(reading->folder, text);
}

static enum err row_value(void *context, struct bytes *out, enum field field, const char *text, struct error *error)
{
    struct reading *reading = context;
    enum schedule schedule;
    bool implies = false;
    enum err code = value_normal(out, reading, field, text, &implies, &schedule);
    if (code == ERR_OK && implies)
        code = error_set(error, ERR_INVALID, "sampler: \"%.80s\" holds a schedule too: give it a column \"schedule\"", text);
    return code;
}

static void axis_of_table(struct reading *reading, struct table_made *made)
{
    struct sweep_file *file = reading->file;
    struct axis *axis = &file->sweep.axes[file->sweep.axis_count++];
    *axis = (struct axis){
        .kind = AXIS_TABLE, .field_count = made->field_count, .count = made->count, .table = made->digest,
        .table_size = made->size,
    };
    memcpy(axis->fields, made->fields, sizeof made->fields);
    file->tables[file->table_count].path = made->path; /* taken */
    file->tables[file->table_count].digest = made->digest;
    file->tables[file->table_count++].size = made->size;
}

/* Is this {file: NAME, ...}, where a mapping may also be a value? */
static bool map_names_file(const struct yaml_node *map)
{
    for (size_t i = 0; i < map->count; i += 2)
        if (strcmp(map->items[i].text, "file") == 0)
            return true;
    return false;
}

/* {file: captions.jsonl, column: text} */
static enum err file_read_column(struct reading *reading, enum field field, const struct yaml_node *map)
{
    const char *name = catalog_field(field)->name, *file = NULL, *column = NULL;
    struct table_made made;

    for (size_t i = 0; i < map->count; i += 2) {
        const struct yaml_node *key = &map->items[i], *value = &map->items[i + 1];
        bool is_file = strcmp(key->text, "file") == 0, is_column = strcmp(key->text, "column") == 0;
        if (!is_file && !is_column)
            return reading_at(reading, key->line, error_set(reading->error, ERR_INVALID, "%s: unknown key \"%.80s\": a value from a file "
                                                            "has \"file\" and \"column\"", name, key->text));
        if (value->kind != YAML_SCALAR || value->text[0] == '\0')
            return reading_at(reading, key->line, error_set(reading->error, ERR_INVALID, "%s: %s: want a text", name, key->text));
        *(is_file ? &file : &column) = value->text;
    }
    if (!file)
        return reading_at(reading, map->line, error_set(reading->error, ERR_INVALID, "%s: want a value, a list, or {file: NAME}", name));
    char *path = file_path(reading, file);
    enum err code = table_make_column(&made, path, field, column, row_value, reading, reading->error);
    free(path);
    if (code != ERR_OK) {
        if (reading->error)
            error_prefix(reading->error, "%s", name);
        return reading_at(reading, map->line, code);
    }
    axis_of_table(reading, &made);
    return ERR_OK;
}

static void fix_value(struct reading *reading, struct column *column)
{
    struct spec *fixed = &reading->file->sweep.fixed;
    enum err code = spec_set(fixed, column->field, column->values.items[0], NULL);
    if (code == ERR_OK && column->implies) /* both are normal texts: they cannot fail */
        code = spec_set(fixed, FIELD_SCHEDULE, column->schedules.items[0], NULL);
    (void)code;
}

/* vae_tiling: within 12G. *found where it is one; the tiling itself is for those to find who know models. */
static enum err bound_read(bool *found, struct reading *reading, const struct yaml_node *value)
{
    enum err code = vae_tiling_bound(&reading->file->tiling_within, value->text, reading->error);
    *found = reading->file->tiling_within != 0;
    return code == ERR_OK ? ERR_OK : reading_at(reading, value->line, code);
}

enum err field_read(struct reading *reading, enum field field, const struct yaml_node *key, const struct yaml_node *value)
{
    bool bound = false;
    struct column columns[2] = {{.field = field}};
    uint32_t count = 1;
    enum err code = reading_claim(reading, field, key->line);

    if (code != ERR_OK)
        return code;
    if (value->kind == YAML_MAP && (catalog_field(field)->type != TYPE_FILES || map_names_file(value)))
        return file_read_column(reading, field, value);
    if (field == FIELD_VAE_TILING && value->kind == YAML_SCALAR && ((code = bound_read(&bound, reading, value)) != ERR_OK || bound))
        return code;
    if (value->kind == YAML_SCALAR && is_range(field, value->text)) {
        struct axis axis;
        code = range_parse(&axis, reading, field, value->text);
        if (code != ERR_OK)
            return reading_at(reading, value->line, code);
        reading->file->sweep.axes[reading->file->sweep.axis_count++] = axis;
        return ERR_OK;
    }
    code = column_read(&columns[0], reading, value);
    if (code == ERR_OK) {
        if (columns[0].implies)
            reading->implied_line = key->line;
        if (value->kind != YAML_LIST && columns[0].values.count == 1) {
            fix_value(reading, &columns[0]);
        } else {
            if (columns[0].implies)
                columns[count++] = implied_column(&columns[0]);
            axis_of_columns(&reading->file->sweep, columns, count);
        }
    }
    for (uint32_t c = 0; c < count; c++)
        column_release(&columns[c]);
    return code;
}

/* ---- zip ---------------------------------------------------------------------------------------------------------- */

static enum err group_read(struct reading *reading, const struct yaml_node *map)
{
    struct column columns[FIELD_COUNT + 1] = {0};
    uint32_t count = 0;
    enum err code = ERR_OK;

    if (map->kind != YAML_MAP || map->count == 0)
        return reading_at(reading, map->line, error_set(reading->error, ERR_INVALID, "zip: want groups of fields with lists, such as "
                                                        "\"- {prompt: [a, b], seed: [1, 2]}\""));
    for (size_t i = 0; i < map->count && code == ERR_OK; i += 2) {
        struct column *column = &columns[count];
        code = reading_field(&column->field, reading, &map->items[i]);
        if (code == ERR_OK)
            code = reading_claim(reading, column->field, map->items[i].line);
        if (code != ERR_OK)
            break;
        count++;
        if (map->items[i + 1].kind == YAML_MAP)
            code = reading_at(reading, map->items[i + 1].line, error_set(reading->error, ERR_INVALID, "zip: %s: want a list (\"rows:\" reads "
                                                                         "columns from a file)", catalog_field(column->field)->name));
        else
            code = column_read(column, reading, &map->items[i + 1]);
        if (code == ERR_OK && column->values.count != columns[0].values.count)
            code = reading_at(reading, map->items[i].line, error_set(reading->error, ERR_INVALID, "zip: %s has %zu values, %s has %zu",
                                                                     catalog_field(columns[0].field)->name, columns[0].values.count,
                                                                     catalog_field(column->field)->name, column->values.count));
        if (code == ERR_OK && column->implies)
            reading->implied_line = map->items[i].line;
    }
    for (uint32_t c = 0, given = count; c < given && code == ERR_OK; c++)
        if (columns[c].implies && !reading->lines[FIELD_SCHEDULE])
            columns[count++] = implied_column(&columns[c]);
    if (code == ERR_OK)
        axis_of_columns(&reading->file->sweep, columns, count);
    for (uint32_t c = 0; c < count; c++)
        column_release(&columns[c]);
    return code;
}

enum err zip_read(struct reading *reading, const struct yaml_node *value)
{
    enum err code = ERR_OK;
    if (value->kind != YAML_LIST)
        return group_read(reading, value);
    for (size_t i = 0; i < value->count && code == ERR_OK; i++)
        code = group_read(reading, &value->items[i]);
    return code;
}

/* ---- rows --------------------------------------------------------------------------------------------------------- */

enum err rows_read(struct reading *reading, const struct yaml_node *value)
{
    struct table_made made;
    if (value->kind != YAML_SCALAR || value->text[0] == '\0')
        return reading_at(reading, value->line, error_set(reading->error, ERR_INVALID, "rows: want the name of a csv or jsonl file"));
    char *path = file_path(reading, value->text);
    enum err code = table_make_rows(&made, path, row_value, reading, reading->error);
    free(path);
    if (code != ERR_OK) {
        if (reading->error)
            error_prefix(reading->error, "rows");
        return reading_at(reading, value->line, code);
    }
    for (uint32_t f = 0; f < made.field_count && code == ERR_OK; f++)
        code = reading_claim(reading, made.fields[f], value->line);
    if (code == ERR_OK) {
        axis_of_table(reading, &made);
    } else {
        unlink(made.path);
        free(made.path);
    }
    return code;
}

/* ---- exclude ------------------------------------------------------------------------------------------------------ */

static enum err exclude_read_one(struct reading *reading, const struct yaml_node *map)
{
    struct sweep *sweep = &reading->file->sweep;
    if (map->kind != YAML_MAP || map->count == 0)
        return reading_at(reading, map->line, error_set(reading->error, ERR_INVALID, "exclude: want fields with values, such as "
                                                        "\"- {sampler: DDIM, steps: [10, 20]}\""));
    if (sweep->exclude_count == LIMIT_EXCLUDES)
        return reading_at(reading, map->line, error_set(reading->error, ERR_LIMIT, "exclude: want at most %d, have more", LIMIT_EXCLUDES));
    struct exclude *exclude = &sweep->excludes[sweep->exclude_count++];
    for (size_t i = 0; i < map->count; i += 2) {
        struct column column = {.literal = true};
        enum err code = reading_field(&column.field, reading, &map->items[i]);
        if (code == ERR_OK)
            code = column_read(&column, reading, &map->items[i + 1]);
        if (code == ERR_OK && column.implies)
            code = reading_at(reading, map->items[i].line, error_set(reading->error, ERR_INVALID, "exclude: a sampler's name holds a schedule: "
                                                                     "write sampler and schedule apart"));
        if (code == ERR_OK) {
            exclude->texts[column.field] = column.values.items; /* taken */
            exclude->counts[column.field] = (uint32_t)column.values.count;
            column.values = (struct texts){0};
        }
        column_release(&column);
        if (code != ERR_OK)
            return code;
    }
    return ERR_OK;
}

enum err excludes_read(struct reading *reading, const struct yaml_node *value)
{
    enum err code = ERR_OK;
    reading->file->sweep.excludes = memory_get_array(LIMIT_EXCLUDES, sizeof(struct exclude));
    reading->excluding = true;
    if (value->kind != YAML_LIST)
        code = exclude_read_one(reading, value);
    else
        for (size_t i = 0; i < value->count && code == ERR_OK; i++)
            code = exclude_read_one(reading, &value->items[i]);
    reading->excluding = false;
    return code;
}
