/* Sweep files: what each form of a value becomes, and one sentence for each kind of bad input. */
#include "proto/sweep.h"
#include "fixture.h"

static char *folder; /* with models "demo" (64x64) and "large" (512x512), made once */

static int set_up(void **state)
{
    (void)state;
    folder = folder_new();
    model_put(folder, "demo", 3, 16);
    model_put(folder, "large", 4, 64);
    file_put(folder, "captions.txt", "a frog\nan owl\n\na {literal|brace}\n");
    file_put(folder, "captions.jsonl", "{\"id\": 1, \"text\": \"a frog\"}\n{\"id\": 2, \"text\": \"an owl\"}\n");
    file_put(folder, "jobs.csv", "seed,prompt,steps\n1,a frog,10\n2,an owl,20\n3,a cat,30\n");
    file_put(folder, "latin.txt", "caf\xe9\n");
    setenv("SEEDFARM_MODELS", "/nowhere", 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    folder_drop(folder);
    return 0;
}

static enum err read_text(struct sweep_file *file, const char *yaml, struct error *error)
{
    return sweep_file_parse(file, yaml, strlen(yaml), "frog.yaml", folder, error);
}

static void good(struct sweep_file *file, const char *yaml)
{
    struct error error;
    enum err code = read_text(file, yaml, &error);
    if (code != ERR_OK)
        fail_msg("%s\n%s", yaml, error.message);
    /* what was read survives the network */
    struct bytes json = BYTES_INIT;
    struct sweep again;
    assert_ok(sweep_resolved(&json, &file->sweep, &error));
    assert_ok(sweep_parse(&again, json.data, json.size, &error));
    assert_true(sweep_jobs(&again) == sweep_jobs(&file->sweep));
    sweep_release(&again);
    bytes_release(&json);
}

static void bad(enum err want, const char *words, const char *yaml)
{
    struct error error = {ERR_OK, ""};
    struct sweep_file file;
    enum err code = read_text(&file, yaml, &error);
    if (code != want || !strstr(error.message, words))
        fail_msg("%s\n  want %s with \"%s\", have %s: %s", yaml, err_name(want), words, err_name(code), error.message);
}

/* The fields of all jobs, a job a line: "prompt|seed|steps|cfg|sampler|schedule|size". */
static void jobs_are(const char *yaml, const char *want)
{
    struct error error;
    struct sweep_file file;
    struct bytes text = BYTES_INIT;
    uint64_t places;
    good(&file, yaml);
    assert_ok(sweep_places(&places, &file.sweep, &error));
    for (uint64_t i = 0; i < places; i++) {
        static const enum field fields[] = {FIELD_PROMPT, FIELD_SEED, FIELD_STEPS, FIELD_CFG, FIELD_SAMPLER, FIELD_SCHEDULE, FIELD_SIZE};
        struct spec spec;
        if (sweep_excluded(&file.sweep, i))
            continue;
        assert_ok(sweep_job(&spec, &file.sweep, i, &error));
        for (size_t f = 0; f < sizeof fields / sizeof *fields; f++) {
            spec_get(&text, &spec, fields[f]);
            bytes_add_text(&text, f + 1 < sizeof fields / sizeof *fields ? "|" : "\n");
        }
        spec_release(&spec);
    }
    if (strcmp(bytes_text(&text), want) != 0)
        fail_msg("%s\nwant:\n%s\nhave:\n%s", yaml, want, bytes_text(&text));
    bytes_release(&text);
    sweep_file_release(&file);
}

static void test_defaults(void **state)
{
    (void)state;
    struct sweep_file file;
    jobs_are("prompt: a frog\n", "a frog|0|20|7|Euler|uniform|64x64\n");
    jobs_are("{\"prompt\": \"json is yaml\", \"model\": \"large\"}", "json is yaml|0|20|7|Euler|uniform|512x512\n");
    good(&file, "prompt: x\n");
    assert_string_equal(file.name, "frog");
    assert_int_equal(file.model_count, 1);
    assert_string_equal(path_name(file.models[0]), "demo");
    sweep_file_release(&file);
    good(&file, "name: a night of frogs\nprompt: x\nmodel: [demo, large]\nsize: 64x64\nnumerics: auto\n");
    assert_string_equal(file.name, "a night of frogs");
    assert_int_equal(file.model_count, 2);
    assert_true(sweep_jobs(&file.sweep) == 2);
    sweep_file_release(&file);
}

/* A tiling that is left to memory stands alone, and is nothing that a job could have. */
static void test_tiling_within(void **state)
{
    (void)state;
    struct sweep_file file;
    struct error error;
    good(&file, "prompt: x\nsize: 64x64\nvae_tiling: within 12G\n");
    assert_true(file.tiling_within == UINT64_C(12) << 30);
    assert_int_equal(file.sweep.fixed.vae_tiling, 0);
    sweep_file_release(&file);
    good(&file, "prompt: x\nsize: 64x64\nvae_tiling: 512\n");
    assert_true(file.tiling_within == 0);
    assert_int_equal(file.sweep.fixed.vae_tiling, 512);
    sweep_file_release(&file);
    static const char *const bad[] = {"within", "within 0", "within 12T", "within 12 G", "auto", "-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t bytes;
        assert_fails(vae_tiling_bound(&bytes, bad[i], &error), ERR_INVALID, bad[i]);
        assert_non_null(strstr(error.message, "want pixels a side, or \"within 12G\""));
    }
}

/* What the farm fixes at submission: single values, axes, and excludes, which may leave other jobs then. */
static void test_numerics_auto(void **state)
{
    (void)state;
    static const struct { const char *text; bool leaves; uint64_t jobs, fixed_jobs; } cases[] = {
        {"numerics: auto\n", true, 1, 1}, {"numerics: fp16\n", false, 1, 1}, {"numerics: [fp32, auto]\n", true, 2, 2},
        {"numerics: [bf16, fp32, auto]\nsteps: [1, 2]\nexclude: [{numerics: fp16, steps: 1}]\n", true, 6, 5},
        {"numerics: [bf16, fp32, auto]\nsteps: [1, 2]\nexclude: [{numerics: auto, steps: 1}]\n", true, 5, 5},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sweep_file file;
        struct sweep again;
        struct bytes json = BYTES_INIT;
        struct error error;
        struct spec spec;
        char *text = text_format("prompt: x\nsize: 64x64\n%s", cases[i].text);
        good(&file, text);
        assert_int_equal(sweep_leaves_numerics(&file.sweep), cases[i].leaves);
        assert_int_equal(sweep_jobs(&file.sweep), cases[i].jobs);
        sweep_fix_numerics(&file.sweep, NUMERICS_FP16);
        assert_false(sweep_leaves_numerics(&file.sweep));
        assert_ok(sweep_resolved(&json, &file.sweep, &error));
        assert_null(strstr(bytes_text(&json), "\"auto\""));
        assert_ok(sweep_parse(&again, json.data, json.size, &error));
        assert_int_equal(sweep_jobs(&again), cases[i].fixed_jobs);
        assert_ok(sweep_job(&spec, &again, cases[i].jobs - 1, &error));
        assert_int_equal(spec.numerics, NUMERICS_FP16);
        spec_release(&spec);
        sweep_release(&again);
        bytes_release(&json);
        sweep_file_release(&file);
        free(text);
    }
}

static void test_axes(void **state)
{
    (void)state;
    jobs_are("prompt: [a, b]\nseed: 0..1\n", "a|0|20|7|Euler|uniform|64x64\na|1|20|7|Euler|uniform|64x64\n"
                                            "b|0|20|7|Euler|uniform|64x64\nb|1|20|7|Euler|uniform|64x64\n");
    jobs_are("prompt: p\ncfg: 1..2 step 0.5\n", "p|0|20|1|Euler|uniform|64x64\np|0|20|1.5|Euler|uniform|64x64\np|0|20|2|Euler|uniform|64x64\n");
    jobs_are("prompt: p\nsteps: 30..10 step -10\n", "p|0|30|7|Euler|uniform|64x64\np|0|20|7|Euler|uniform|64x64\np|0|10|7|Euler|uniform|64x64\n");
    jobs_are("prompt: p\nseed: [7, 0..4 step 2]\ncfg: 7.0\n", "p|7|20|7|Euler|uniform|64x64\np|0|20|7|Euler|uniform|64x64\n"
                                                  "p|2|20|7|Euler|uniform|64x64\np|4|20|7|Euler|uniform|64x64\n");
    jobs_are("seed: 5..9 step 3\nprompt: p\nsize: [64x64, 32x64]\n", "p|5|20|7|Euler|uniform|64x64\np|8|20|7|Euler|uniform|64x64\n"
                                                  "p|5|20|7|Euler|uniform|32x64\np|8|20|7|Euler|uniform|32x64\n");
}

#define SIXTEEN(group) group group group group group group group group group group group group group group group group

static void test_variants(void **state)
{
    (void)state;
    jobs_are("prompt: a {red|green} frog\n", "a red frog|0|20|7|Euler|uniform|64x64\na green frog|0|20|7|Euler|uniform|64x64\n");
    jobs_are("prompt: '{a|{b|c} d}{|!}'\n", "a|0|20|7|Euler|uniform|64x64\na!|0|20|7|Euler|uniform|64x64\nb d|0|20|7|Euler|uniform|64x64\n"
             "b d!|0|20|7|Euler|uniform|64x64\nc d|0|20|7|Euler|uniform|64x64\nc d!|0|20|7|Euler|uniform|64x64\n");
    jobs_are("prompt: 'a \\{x\\|y\\} {z}, (b:1.2) | \\(c\\)'\n", "a {x|y} {z}, (b:1.2) | \\(c\\)|0|20|7|Euler|uniform|64x64\n");
    jobs_are("prompt: [p, 'q{1|2}']\n", "p|0|20|7|Euler|uniform|64x64\nq1|0|20|7|Euler|uniform|64x64\nq2|0|20|7|Euler|uniform|64x64\n");
    bad(ERR_INVALID, "frog.yaml:2: prompt: a \"{\" has no \"}\"", "seed: 1\nprompt: 'a {b|c'\n");
    bad(ERR_INVALID, "prompt: a \"}\" has no \"{\"", "prompt: 'a b}'\n");
    bad(ERR_UNSUPPORTED, "weights and counts (\"2$$a|b}\")", "prompt: '{2$$a|b}'\n");
    bad(ERR_UNSUPPORTED, "weights and counts", "prompt: '{0.5::a|b}'\n");
    bad(ERR_LIMIT, "want at most 100000 variants, have 131072", "prompt: '" SIXTEEN("{a|b}") "{a|b}'\n");
}

static void test_zip_rows_files(void **state)
{
    (void)state;
    jobs_are("zip:\n  - prompt: [a, b]\n    steps: [10, 20]\nseed: [1, 2]\n",
             "a|1|10|7|Euler|uniform|64x64\na|2|10|7|Euler|uniform|64x64\nb|1|20|7|Euler|uniform|64x64\nb|2|20|7|Euler|uniform|64x64\n");
    jobs_are("zip: {seed: 3..4, prompt: 'p{1|2}'}\n", "p1|3|20|7|Euler|uniform|64x64\np2|4|20|7|Euler|uniform|64x64\n");
    jobs_are("rows: jobs.csv\ncfg: 5\n", "a frog|1|10|5|Euler|uniform|64x64\nan owl|2|20|5|Euler|uniform|64x64\na cat|3|30|5|Euler|uniform|64x64\n");
    jobs_are("prompt: {file: captions.txt}\nseed: 0..1\n",
             "a frog|0|20|7|Euler|uniform|64x64\na frog|1|20|7|Euler|uniform|64x64\nan owl|0|20|7|Euler|uniform|64x64\nan owl|1|20|7|Euler|uniform|64x64\n"
             "a {literal|brace}|0|20|7|Euler|uniform|64x64\na {literal|brace}|1|20|7|Euler|uniform|64x64\n");
    jobs_are("prompt: {file: captions.jsonl, column: text}\n", "a frog|0|20|7|Euler|uniform|64x64\nan owl|0|20|7|Euler|uniform|64x64\n");
    bad(ERR_INVALID, "frog.yaml:3: zip: prompt has 2 values, steps has 3", "zip:\n  - prompt: [a, b]\n    steps: [1, 2, 3]\n");
    bad(ERR_INVALID, "zip: want groups", "zip: [a]\n");
    bad(ERR_INVALID, "zip: prompt: want a list", "zip: [{prompt: {file: captions.txt}}]\n");
    bad(ERR_NOT_FOUND, "frog.yaml:1: prompt: ", "prompt: {file: nowhere.txt}\n");
    bad(ERR_NOT_FOUND, "nowhere.txt", "prompt: {file: nowhere.txt}\n");
    bad(ERR_INVALID, "latin.txt:1: want UTF-8, byte 4 of the line is 0xe9", "prompt: {file: latin.txt}\n");
    bad(ERR_INVALID, "unknown key \"colum\"", "prompt: {file: captions.jsonl, colum: text}\n");
    bad(ERR_INVALID, "want a column \"caption\", the first is \"seed\"", "prompt: {file: jobs.csv, column: caption}\n");
}

static void test_given_twice(void **state)
{
    (void)state;
    bad(ERR_INVALID, "frog.yaml:2: \"seed\" is given twice, first in line 1", "seed: 1\nseed: 2\n");
    bad(ERR_INVALID, "steps: given twice, first in line 1", "steps: 20\nzip: [{steps: [1, 2], seed: [1, 2]}]\n");
    bad(ERR_INVALID, "frog.yaml:2: prompt: given twice, first in line 1", "prompt: a\nrows: jobs.csv\n");
    bad(ERR_INVALID, "frog.yaml:2: prompt: given twice, first in line 1", "rows: jobs.csv\nprompt: a\n");
}

static void test_samplers(void **state)
{
    (void)state;
    jobs_are("prompt: p\nsampler: DPM++ 2M Karras\n", "p|0|20|7|DPM++ 2M|karras|64x64\n");
    jobs_are("prompt: p\nsampler: [euler_ancestral, DPM++ 2M, Euler Karras, DDIM]\n",
             "p|0|20|7|Euler a|uniform|64x64\np|0|20|7|DPM++ 2M|karras|64x64\np|0|20|7|Euler|karras|64x64\np|0|20|7|DDIM|ddim|64x64\n");
    jobs_are("zip: [{sampler: [Euler Karras, DDIM], seed: [1, 2]}]\nprompt: p\n", "p|1|20|7|Euler|karras|64x64\np|2|20|7|DDIM|ddim|64x64\n");
    bad(ERR_INVALID, "frog.yaml:1: sampler: a name holds a schedule, and schedule is given too, in line 2", "sampler: Euler Karras\nschedule: leading\n");
    bad(ERR_INVALID, "schedule is given too, in line 1", "schedule: [leading, trailing]\nsampler: [Euler, Euler Karras]\n");
    bad(ERR_INVALID, "one that sampler DDIM has", "sampler: [Euler, DDIM]\nschedule: karras\n");
    bad(ERR_UNSUPPORTED, "frog.yaml:1: sampler: \"Heun\" is not in this version", "sampler: Heun\n");
}

static void test_excludes(void **state)
{
    (void)state;
    jobs_are("prompt: [a, b]\nseed: 1..3\nexclude:\n  - {prompt: a, seed: 2..3}\n  - {prompt: b, seed: [1, 3]}\n",
             "a|1|20|7|Euler|uniform|64x64\nb|2|20|7|Euler|uniform|64x64\n");
    bad(ERR_INVALID, "exclude: want a job to be left, all 2 places", "seed: [1, 2]\nexclude: [{steps: 20}]\n");
    bad(ERR_INVALID, "frog.yaml:3: steps: want 1..1000, have 0", "seed: [1, 2]\nexclude:\n  - {steps: 0}\n");
    bad(ERR_UNSUPPORTED, "prompt comes from a file", "prompt: {file: captions.txt}\nexclude: [{prompt: a frog}]\n");
    bad(ERR_INVALID, "exclude: want fields with values", "exclude: [x]\n");
}

/* The list, and more of its kind. */
static void test_bad_input(void **state)
{
    (void)state;
    bad(ERR_INVALID, "frog.yaml:2: unknown field \"sede\": the nearest known one is \"seed\"", "prompt: a\nsede: 5\n");
    bad(ERR_INVALID, "frog.yaml:1: unknown key \"excldue\": the nearest known one is \"exclude\"", "excldue: []\n");
    bad(ERR_UNSUPPORTED, "frog.yaml:3: field \"hires\" is not in this version", "prompt: a\n\nhires: x\n");
    bad(ERR_INVALID, "frog.yaml:2: steps: want a whole number 1..1000, have \"many\"", "prompt: a\nsteps: [20, many]\n");
    bad(ERR_INVALID, "frog.yaml:1: steps: want a value here, have a list", "steps: [[1]]\n");
    bad(ERR_INVALID, "frog.yaml:1: steps: want a value here, have a mapping", "steps: [{a: b}]\n");
    bad(ERR_INVALID, "frog.yaml:1: seed: an axis wants at least one value, the list is empty", "seed: []\n");
    bad(ERR_INVALID, "seed: the range 9..0 step 1 is empty", "seed: 9..0\n");
    bad(ERR_INVALID, "cfg: the range 2..1 step 0.1 is empty", "cfg: 2..1 step 0.1\n");
    bad(ERR_INVALID, "cfg: the range 1..2 step 0 is empty", "cfg: 1..2 step 0\n");
    bad(ERR_INVALID, "want a range such as", "cfg: 1..\n");
    bad(ERR_INVALID, "want a range such as", "cfg: 1..2step 3\n");
    bad(ERR_INVALID, "steps: a range of whole numbers wants a whole step, have 0.5", "steps: 1..2 step 0.5\n");
    bad(ERR_INVALID, "frog.yaml:1: steps: want 1..1000, have 0", "steps: 0..20\n");
    bad(ERR_INVALID, "size: want multiples of 4 (the model's pixels per latent), have 64x62; the nearest that fit are 64x60 and 64x64",
        "prompt: a\nsize: 64x62\n");
    bad(ERR_INVALID, "frog.yaml:2: size: want multiples of 8", "model: large\nsize: [64x64, 64x60]\n");
    bad(ERR_INVALID, "frog.yaml:1: size: want sides of 1..4096 pixels, have 64x8192", "size: 64x8192\n");
    bad(ERR_INVALID, "frog.yaml:1: seed: want 0..18446744073709551615, have 18446744073709551616", "seed: 18446744073709551616\n");
    bad(ERR_INVALID, "seed: want 0..18446744073709551615, have -7", "seed: -7\n");
    bad(ERR_INVALID, "frog.yaml:1: steps: want 1..1000, have 0", "steps: 0\n");
    bad(ERR_NOT_FOUND, "frog.yaml:2: model \"nothing\": no such folder", "prompt: a\nmodel: nothing\n");
    bad(ERR_INVALID, "fp8", "numerics: fp8\n");
    bad(ERR_LIMIT, "want at most 4294967295 places, the axes make 42949672950", "seed: 0..4294967294\nsteps: 11..20\nprompt: x\n");
    bad(ERR_LIMIT, "seed: want at most 4294967295 values in a range", "seed: 0..18446744073709551615\n");
    bad(ERR_INVALID, "size: want one, for the models differ", "model: [demo, large]\n");
    bad(ERR_INVALID, "frog.yaml:1: prompt: want a value, have nothing", "prompt:\n");
    bad(ERR_INVALID, "want fields with values", "just text\n");
    bad(ERR_INVALID, "the file is empty", "");
    bad(ERR_INVALID, "the file is empty", "# only a comment\n");
    bad(ERR_INVALID, "not valid YAML", "prompt: [a\n");
    bad(ERR_INVALID, "not valid YAML", "prompt: \xff\n");
    bad(ERR_INVALID, "frog.yaml:2: want one document", "prompt: a\n---\nprompt: b\n");
    bad(ERR_INVALID, "want text, not a NUL", "prompt: \"a\\0b\"\n");
    bad(ERR_INVALID, "tags", "prompt: !!binary aGk=\n");
    bad(ERR_INVALID, "want a word as a key", "[a, b]: c\n");
    bad(ERR_INVALID, "name: want no control characters", "name: \"a\\eb\"\nprompt: x\n");
}

static void test_bombs(void **state)
{
    (void)state;
    bad(ERR_INVALID, "frog.yaml:1: anchors", "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nprompt: [*b, *b, *b]\n");
    bad(ERR_INVALID, "aliases (*name) are not read", "prompt: [*a]\n");
    struct bytes deep = BYTES_INIT, wide = BYTES_INIT;
    bytes_add_text(&deep, "prompt: ");
    for (int i = 0; i < 100000; i++)
        bytes_add_text(&deep, "[");
    bad(ERR_LIMIT, "want at most 16 lists in each other", bytes_text(&deep));
    bytes_add_text(&wide, "seed: [");
    for (int i = 0; i < LIMIT_AXIS_VALUES + 1; i++)
        bytes_add_text(&wide, "1,");
    bytes_add_text(&wide, "1]\n");
    bad(ERR_LIMIT, "seed: want at most 100000 values in a list, have more", bytes_text(&wide));
    bytes_clear(&wide);
    bytes_add_text(&wide, "seed: [");
    for (int i = 0; i < LIMIT_SWEEP_VALUES + 1; i++)
        bytes_add_text(&wide, "1,");
    bad(ERR_LIMIT, "want at most 400000 values written out", bytes_text(&wide));
    bad(ERR_LIMIT, "seed: want at most 100000 values in a list, the range makes it 4294967295", "seed: [0..4294967294]\n");
    bytes_release(&deep);
    bytes_release(&wide);
}

static void test_random_seed(void **state)
{
    (void)state;
    struct error error;
    struct sweep_file file;
    struct spec a, b;
    good(&file, "prompt: [a, b]\nseed: random\n");
    assert_ok(sweep_job(&a, &file.sweep, 0, &error));
    assert_ok(sweep_job(&b, &file.sweep, 1, &error));
    assert_true(a.seed == b.seed); /* drawn once */
    spec_release(&a);
    spec_release(&b);
    sweep_file_release(&file);
}

static void test_file_on_disk(void **state)
{
    (void)state;
    struct error error;
    struct sweep_file file;
    char *path = path_join(folder, "night.yaml");
    file_put(folder, "night.yaml", "prompt: {file: captions.txt}\n");
    assert_ok(sweep_file_read(&file, path, &error));
    assert_string_equal(file.name, "night");
    assert_int_equal(file.table_count, 1);
    char *table = text_copy(file.tables[0].path);
    assert_true(file_exists(table));
    sweep_file_release(&file);
    assert_false(file_exists(table));
    free(table);
    free(path);
    path = path_join(folder, "missing.yaml");
    assert_fails(sweep_file_read(&file, path, &error), ERR_NOT_FOUND, "missing.yaml");
    free(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_tiling_within), cmocka_unit_test(test_numerics_auto), cmocka_unit_test(test_axes), cmocka_unit_test(test_variants),
        cmocka_unit_test(test_zip_rows_files), cmocka_unit_test(test_given_twice), cmocka_unit_test(test_samplers),
        cmocka_unit_test(test_excludes), cmocka_unit_test(test_bad_input), cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_random_seed), cmocka_unit_test(test_file_on_disk),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
