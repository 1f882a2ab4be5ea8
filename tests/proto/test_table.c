/* Tables: prompt and rows files of every format become rows, and rows are found again. */
#include "proto/sweep_parts.h"
#include "fixture.h"

static enum err plain_value(void *context, struct bytes *out, enum field field, const char *text, struct error *error)
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

/* Convert a column of `text` as a file of this name, and compare with the table wanted; NULL: it fails with these words. */
static void column(const char *name, const char *text, size_t size, const char *column_name, const char *want, const char *words)
{
    struct error error = {ERR_OK, ""};
    struct table_made made;
    char *folder = folder_new(), *path = path_join(folder, name);
    setenv("TMPDIR", folder, 1);
    file_put_size(folder, name, text, size);
    enum err code = table_make_column(&made, path, FIELD_PROMPT, column_name, plain_value, NULL, &error);
    if (want && code != ERR_OK)
        fail_msg("%s: %s", name, error.message);
    if (!want && (code == ERR_OK || !strstr(error.message, words)))
        fail_msg("%s: want \"%s\", have \"%s\"", name, words, error.message);
    if (want) {
        struct bytes content = BYTES_INIT;
        assert_ok(file_read(&content, made.path, 1 << 24, &error));
        assert_string_equal(bytes_text(&content), want);
        struct digest digest = digest_of(content.data, content.size);
        assert_true(digest_equal(&digest, &made.digest) && made.size == content.size);
        bytes_release(&content);
        unlink(made.path);
        free(made.path);
    } else { /* nothing stays behind */
        char *command = text_format("test \"$(ls '%s' | wc -l)\" = 1", folder);
        assert_int_equal(system(command), 0);
        free(command);
    }
    free(path);
    folder_drop(folder);
}
#define GOOD(name, text, column_name, want) column(name, text, sizeof(text) - 1, column_name, want, NULL)
#define BAD(name, text, column_name, words) column(name, text, sizeof(text) - 1, column_name, NULL, words)

static void test_lines(void **state)
{
    (void)state;
    GOOD("a.txt", "a frog\nan owl\n", NULL, "[\"a frog\"]\n[\"an owl\"]\n");
    GOOD("a.txt", "\xef\xbb\xbf" "a frog\r\n\n   \n\t\r\nan {o|w}l", NULL, "[\"a frog\"]\n[\"an {o|w}l\"]\n");
    GOOD("a.TXT", "  spaces \n\"quotes\" \\ \ttab\n", NULL, "[\"  spaces \"]\n[\"\\\"quotes\\\" \\\\ \\u0009tab\"]\n");
    GOOD("a.txt", "\xc3\xa9\xf0\x9f\x90\xb8\n", NULL, "[\"\xc3\xa9\xf0\x9f\x90\xb8\"]\n");
    BAD("a.txt", "", NULL, "want at least one row, have none");
    BAD("a.txt", "\n \n", NULL, "want at least one row, have none");
    BAD("a.txt", "fine\nnot \xff fine\n", NULL, "a.txt:2: want UTF-8, byte 5 of the line is 0xff");
    BAD("a.txt", "nul\0\n", NULL, "a.txt:1: want text, not a NUL");
    BAD("a.txt", "x\n", "text", "a text file has no columns");
    BAD("a.md", "x\n", NULL, "want a file of .txt, .csv or .jsonl");
}

static void test_csv(void **state)
{
    (void)state;
    GOOD("a.csv", "id,text\n1,a frog\n2,\"an \"\"owl\"\", grey\"\n3,\"two\nlines\"\n", "text",
         "[\"a frog\"]\n[\"an \\\"owl\\\", grey\"]\n[\"two\\u000alines\"]\n");
    GOOD("a.csv", "prompt\r\na frog\r\n\"an owl\"\r\n", NULL, "[\"a frog\"]\n[\"an owl\"]\n");
    GOOD("a.csv", "a,prompt\n1,\n2,\"\"", NULL, "[\"\"]\n[\"\"]\n");
    BAD("a.csv", "", NULL, "the file is empty");
    BAD("a.csv", "id,text\n", "text", "want at least one row");
    BAD("a.csv", "id,text\n1,2\n", NULL, "want a column \"prompt\", the first is \"id\"");
    BAD("a.csv", "id,prompt\n1,x\n2\n", NULL, "a.csv:3: want 2 columns as in the first line, have 1");
    BAD("a.csv", "id,prompt\n1,\"x\ny\"\n2,a,b\n", NULL, "a.csv:4: want 2 columns");
    BAD("a.csv", "prompt\n\"open\n", NULL, "a quote is not closed");
    BAD("a.csv", "prompt\n\"a\"b\n", NULL, "want a comma or the line's end behind a closing quote");
    BAD("a.csv", "prompt\n5\" disk\"\n", NULL, "a quote inside a cell");
}

static void test_jsonl(void **state)
{
    (void)state;
    GOOD("a.jsonl", "{\"id\": 1, \"text\": \"a frog\"}\n\n{\"text\":\"an owl\",\"id\":20}\r\n", "text", "[\"a frog\"]\n[\"an owl\"]\n");
    GOOD("a.ndjson", "{\"prompt\": \"e\\u00e9 \\\"q\\\" \\ud83d\\udc38\"}", NULL, "[\"e\xc3\xa9 \\\"q\\\" \xf0\x9f\x90\xb8\"]\n");
    GOOD("a.jsonl", "{\"x\": {\"prompt\": 1}, \"y\": [1.5, null, true], \"prompt\": \"p\"}\n", NULL, "[\"p\"]\n");
    BAD("a.jsonl", "{\"id\": 1}\n", "text", "a.jsonl:1: want the key \"text\"");
    BAD("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"a\", \"text\": \"b\"}\n", "text", "a.jsonl:2");
    BAD("a.jsonl", "{\"text\": \"a\"} x\n", "text", "not valid JSON");
    BAD("a.jsonl", "{\"text\": \"a\",}\n", "text", "not valid JSON");
    BAD("a.jsonl", "{\"n\": 01, \"text\": \"a\"}\n", "text", "not valid JSON");
    BAD("a.jsonl", "[\"a\"]\n", "text", "want a JSON object on each line");
    BAD("a.jsonl", "{\"text\": null}\n", "text", "\"text\": want a text or a number");
    BAD("a.jsonl", "{\"text\": \"tab\there\"}\n", "text", "not valid JSON");
}

static void test_limits(void **state)
{
    (void)state;
    struct bytes text = BYTES_INIT, want = BYTES_INIT;
    bytes_reserve(&text, 3 << 20);
    memset(text.data, 'x', 3 << 20);
    column("a.txt", (const char *)text.data, LIMIT_PROMPT_BYTES + 1, NULL, NULL, "a.txt:1: prompt: want at most 16384 bytes, have 16385");
    column("a.txt", (const char *)text.data, 3 << 20, NULL, NULL, "want records of at most 2097152 bytes");
    bytes_add_text(&want, "[\"");
    bytes_add(&want, text.data, LIMIT_PROMPT_BYTES);
    bytes_add_text(&want, "\"]\n");
    column("a.txt", (const char *)text.data, LIMIT_PROMPT_BYTES, NULL, bytes_text(&want), NULL);
    memcpy(text.data, "prompt\n\"", 8);
    column("a.csv", (const char *)text.data, 3 << 20, NULL, NULL, "is a quote left open?");
    bytes_release(&text);
    bytes_release(&want);
}

static void rows(const char *name, const char *text, const char *want, const char *words)
{
    struct error error = {ERR_OK, ""};
    struct table_made made;
    char *folder = folder_new(), *path = path_join(folder, name);
    setenv("TMPDIR", folder, 1);
    file_put(folder, name, text);
    enum err code = table_make_rows(&made, path, plain_value, NULL, &error);
    if (want) {
        struct bytes content = BYTES_INIT;
        if (code != ERR_OK)
            fail_msg("%s: %s", name, error.message);
        assert_ok(file_read(&content, made.path, 1 << 24, &error));
        assert_string_equal(bytes_text(&content), want);
        bytes_release(&content);
        free(made.path);
    } else if (code == ERR_OK || !strstr(error.message, words)) {
        fail_msg("%s: want \"%s\", have \"%s\"", name, words, error.message);
    }
    free(path);
    folder_drop(folder);
}

static void test_rows(void **state)
{
    (void)state;
    rows("r.csv", "seed,prompt,cfg\n7,a frog,7.0\n08,an owl,4.50\n", "[\"7\",\"a frog\",\"7\"]\n[\"4.5\",\"an owl\",\"8\"]\n", NULL);
    rows("r.jsonl", "{\"seed\": 7, \"prompt\": \"a\", \"cfg\": 4.5}\n{\"cfg\": 1, \"seed\": \"18446744073709551615\", \"prompt\": \"b\"}\n",
         "[\"4.5\",\"a\",\"7\"]\n[\"1\",\"b\",\"18446744073709551615\"]\n", NULL);
    rows("r.csv", "seed,colour\n1,red\n", NULL, "r.csv:1: unknown field \"colour\"");
    rows("r.csv", "seed,seed\n1,2\n", NULL, "column \"seed\" is given twice");
    rows("r.csv", "seed,steps\n1,20\n2,0\n", NULL, "r.csv:3: steps: want 1..1000, have 0");
    rows("r.jsonl", "{\"seed\": 1}\n{\"seed\": 1, \"cfg\": 2}\n", NULL, "r.jsonl:2: want the 1 keys of the first object, have 2");
    rows("r.jsonl", "{\"seed\": 1, \"cfg\": 1}\n{\"seed\": 1, \"cgf\": 2}\n", NULL, "want the key \"cfg\"");
    rows("r.txt", "a\n", NULL, "rows want a csv or jsonl file");
    rows("r.jsonl", "\n\n", NULL, "want at least one row");
}

/* A table of many rows of changing length: every one is found, from several threads' worth of reads in any order. */
static void test_access(void **state)
{
    (void)state;
    enum { ROWS = 10000 };
    struct error error;
    struct table *table;
    struct bytes text = BYTES_INIT, a = BYTES_INIT, b = BYTES_INIT;
    struct bytes *columns[2] = {&a, &b};
    uint64_t seed = 4;
    char *folder = folder_new(), *path = path_join(folder, "t");
    for (int i = 0; i < ROWS; i++)
        bytes_add_format(&text, "[\"%d\",\"%0*d\"]\n", i, (int)(i % 1000 == 7 ? 60000 : 1 + i % 300), 0);
    file_put_size(folder, "t", text.data, text.size);
    assert_ok(table_open(&table, path, 2, &error));
    assert_true(table_count(table) == ROWS && table_size(table) == text.size);
    for (int i = 0; i < 5000; i++) {
        uint64_t row = i == 0 ? ROWS - 1 : i == 1 ? 7 : draw(&seed) % ROWS;
        assert_ok(table_row(columns, table, row, &error));
        assert_true(strtoull(bytes_text(&a), NULL, 10) == row);
        assert_int_equal(b.size, row % 1000 == 7 ? 60000 : 1 + row % 300);
    }
    assert_fails(table_row(columns, table, ROWS, &error), ERR_INVALID, "want a row below 10000, have 10000");
    table_close(table);
    bytes_release(&text);
    bytes_release(&a);
    bytes_release(&b);
    free(path);
    folder_drop(folder);
}

static void test_foreign_tables(void **state)
{
    (void)state;
    static const struct { const char *text, *open, *row; } bad[] = {
        {"", "at least one row", NULL}, {"[\"a\",\"b\"]", "line feed at its end", NULL}, {"{}\n", NULL, "row 0: want an array of 2 texts"},
        {"[\"a\"]\n", NULL, "want an array of 2"}, {"[\"a\",1]\n", NULL, "column 1 is none"}, {"nonsense\n", NULL, "not valid JSON"},
        {"[\"a\",\"\\u0000\"]\n", NULL, "not valid JSON"}, {"[\"a\",\"\xff\"]\n", NULL, "not valid JSON"},
    };
    struct error error;
    struct table *table;
    struct bytes a = BYTES_INIT, b = BYTES_INIT;
    struct bytes *columns[2] = {&a, &b};
    char *folder = folder_new(), *path = path_join(folder, "t");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        file_put(folder, "t", bad[i].text);
        if (bad[i].open) {
            assert_fails(table_open(&table, path, 2, &error), ERR_CORRUPT, bad[i].open);
            continue;
        }
        assert_ok(table_open(&table, path, 2, &error));
        error.message[0] = '\0';
        assert_int_not_equal(table_row(columns, table, 0, &error), ERR_OK);
        if (!strstr(error.message, bad[i].row))
            fail_msg("%s: %s", bad[i].text, error.message);
        table_close(table);
    }
    assert_fails(table_open(&table, folder, 2, &error), ERR_INVALID, "want a file");
    bytes_release(&a);
    bytes_release(&b);
    free(path);
    folder_drop(folder);
}

/* The index thins out as rows grow, and still finds them. */
static void test_thin_index(void **state)
{
    (void)state;
    enum { ROWS = 20000000 };
    struct error error;
    struct table *table;
    struct bytes text = BYTES_INIT, a = BYTES_INIT;
    struct bytes *columns[1] = {&a};
    char *folder = folder_new(), *path = path_join(folder, "t");
    bytes_reserve(&text, 6 * (size_t)ROWS);
    for (int i = 0; i < ROWS; i++)
        memcpy(text.data + 6 * (size_t)i, i % 1000 == 999 ? "[\"z\"]\n" : "[\"y\"]\n", 6);
    text.size = 6 * (size_t)ROWS;
    memcpy(text.data + 6 * (size_t)12345678, "[\"!\"]\n", 6);
    file_put_size(folder, "t", text.data, text.size);
    bytes_release(&text);
    assert_ok(table_open(&table, path, 1, &error));
    assert_true(table_count(table) == ROWS);
    assert_ok(table_row(columns, table, 12345678, &error));
    assert_string_equal(bytes_text(&a), "!");
    assert_ok(table_row(columns, table, ROWS - 1, &error));
    assert_string_equal(bytes_text(&a), "z");
    assert_ok(table_row(columns, table, 12345677, &error));
    assert_string_equal(bytes_text(&a), "y");
    table_close(table);
    bytes_release(&a);
    free(path);
    folder_drop(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines), cmocka_unit_test(test_csv), cmocka_unit_test(test_jsonl), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_rows), cmocka_unit_test(test_access), cmocka_unit_test(test_foreign_tables),
        cmocka_unit_test(test_thin_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
