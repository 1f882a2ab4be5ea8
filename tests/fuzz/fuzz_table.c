/* Prompt and rows files. The first byte picks the format; every table that is made must be read back, row by row. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "proto/sweep_parts.h"

static enum err any_value(void *context, struct bytes *out, enum field field, const char *text, struct error *error)
{
    struct spec spec;
    (void)context;
    spec_init(&spec);
    enum err code = spec_set(&spec, field, text, error);
    if (code == ERR_OK)
        spec_get(out, &spec, field);
    spec_release(&spec);
    return code;
}

static void read_back(struct table_made *made)
{
    struct table *table;
    struct error error;
    struct bytes texts[FIELD_COUNT] = {BYTES_INIT};
    struct bytes *columns[FIELD_COUNT];
    for (int i = 0; i < FIELD_COUNT; i++)
        columns[i] = &texts[i];
    if (table_open(&table, made->path, made->field_count, &error) != ERR_OK || table_count(table) != made->count ||
        table_size(table) != made->size)
        abort();
    for (uint64_t row = 0; row < made->count; row++)
        if (table_row(columns, table, row, &error) != ERR_OK)
            abort();
    table_close(table);
    for (int i = 0; i < FIELD_COUNT; i++)
        bytes_release(&texts[i]);
    unlink(made->path);
    free(made->path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const endings[] = {"txt", "csv", "jsonl"};
    struct table_made made;
    struct error error;

    if (size < 1)
        return 0;
    char *path = text_format("/tmp/seedfarm-fuzz-%ld.%s", (long)getpid(), endings[data[0] % 3]);
    if (file_write(path, data + 1, size - 1, NULL) != ERR_OK)
        abort();
    if (table_make_column(&made, path, FIELD_PROMPT, data[0] & 4 ? "text" : NULL, any_value, NULL, &error) == ERR_OK)
        read_back(&made);
    if (table_make_rows(&made, path, any_value, NULL, &error) == ERR_OK)
        read_back(&made);
    unlink(path);
    free(path);
    return 0;
}
