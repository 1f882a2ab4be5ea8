/*
 * bench_table.c - a million captions from a file: how fast they become a table, how fast rows are found, in how much memory.
 * Fails below 100 MB/s or above 100 MB: the best of three runs counts, for the machine may be busy.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "proto/sweep_parts.h"
#include "fixture.h"

enum { CAPTIONS = 1000000, ROUNDS = 3, READS = 100000 };

static enum err no_value(void *context, struct bytes *out, enum field field, const char *text, struct error *error)
{
    (void)context;
    (void)out;
    (void)field;
    (void)text;
    return error_set(error, ERR_INTERNAL, "captions are texts");
}

static double peak_megabytes(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss / 1024;
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t captions_write(const char *path, const char *format)
{
    static const char *const subjects[] = {"a small green frog", "an owl with \xc3\xa9normous eyes", "a lighthouse", "two cats"};
    FILE *file = fopen(path, "w");
    uint64_t seed = 1, size = 0;
    assert_non_null(file);
    if (strcmp(format, "csv") == 0)
        size += (uint64_t)fprintf(file, "id,text\n");
    for (int i = 0; i < CAPTIONS; i++) {
        uint64_t drawn = draw(&seed);
        char *text = text_format("%s in the style of painter %u, soft light from the left, number %d of a long series of "
                                 "photographs and paintings", subjects[drawn % 4], (unsigned)(drawn >> 40), i);
        if (strcmp(format, "txt") == 0)
            size += (uint64_t)fprintf(file, "%s\n", text);
        else if (strcmp(format, "csv") == 0)
            size += (uint64_t)fprintf(file, "%d,\"%s\"\n", i, text);
        else
            size += (uint64_t)fprintf(file, "{\"id\": %d, \"text\": \"%s\"}\n", i, text);
        free(text);
    }
    assert_int_equal(fclose(file), 0);
    return size;
}

static void bench(const char *format)
{
    struct error error;
    struct table_made made;
    struct table *table;
    char *folder = folder_new();
    char *path = text_format("%s/captions.%s", folder, format);
    uint64_t size = captions_write(path, format), best_ns = UINT64_MAX, best_cpu_ns = UINT64_MAX, open_ns, rows_ns;
    struct bytes text = BYTES_INIT;
    struct bytes *columns[] = {&text};

    setenv("TMPDIR", folder, 1);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start_ns = clock_monotonic_ns(), start_cpu_ns = cpu_ns();
        assert_ok(table_make_column(&made, path, FIELD_PROMPT, strcmp(format, "txt") ? "text" : NULL, no_value, NULL, &error));
        uint64_t took_ns = clock_monotonic_ns() - start_ns;
        uint64_t took_cpu_ns = cpu_ns() - start_cpu_ns;
        best_ns = took_ns < best_ns ? took_ns : best_ns;
        best_cpu_ns = took_cpu_ns < best_cpu_ns ? took_cpu_ns : best_cpu_ns;
        if (round + 1 < ROUNDS) {
            unlink(made.path);
            free(made.path);
        }
    }
    assert_true(made.count == CAPTIONS);
    uint64_t start_ns = clock_monotonic_ns();
    assert_ok(table_open(&table, made.path, 1, &error));
    open_ns = clock_monotonic_ns() - start_ns;
    start_ns = clock_monotonic_ns();
    uint64_t seed = 9;
    for (int i = 0; i < READS; i++)
        assert_ok(table_row(columns, table, draw(&seed) % CAPTIONS, &error));
    rows_ns = clock_monotonic_ns() - start_ns;
    double rate = (double)size / 1e6 / ((double)best_ns / 1e9);
    printf("%-5s %4.0f MB: %5.0f MB/s to a table (%.0f MB a CPU second); opened in %3.0f ms; %4.1f us a random row; peak %.0f MB\n", format,
           (double)size / 1e6, rate, (double)size * 1e3 / (double)best_cpu_ns, (double)open_ns / 1e6, (double)rows_ns / 1e3 / READS, peak_megabytes());
    assert_true(rate >= 100);
    assert_true(peak_megabytes() < 100);
    table_close(table);
    bytes_release(&text);
    free(made.path);
    free(path);
    folder_drop(folder);
}

static void test_formats(void **state)
{
    (void)state;
    bench("txt");
    bench("csv");
    bench("jsonl");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_formats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
