/* Sweeps as arithmetic: positions, jobs, excludes counted against a walk over every place, JSON there and back. */
#include "proto/sweep.h"
#include "base/clock.h"
#include "fixture.h"

#define MODEL "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define FIXED_BUT(fields) "\"fixed\":{" fields "},\"sweep\":1}"
/* Every field but those on axes; the texts below leave out what they use. */
#define F_CFG "\"cfg\":\"7\","
#define F_CLIP "\"clip_skip\":\"1\","
#define F_MODEL "\"model\":\"" MODEL "\","
#define F_MID "\"negative\":\"\",\"numerics\":\"fp32\","
#define F_PROMPT "\"prompt\":\"a frog\","
#define F_RNG "\"rng\":\"cpu\","
#define F_SAMPLER "\"sampler\":\"Euler\","
#define F_SCHEDULE "\"schedule\":\"automatic\","
#define F_SEED "\"seed\":\"0\","
#define F_SIZE "\"size\":\"64x64\","
#define F_STEPS "\"steps\":\"20\","
#define F_SYNTAX "\"syntax\":\"plain\""

static void parse(struct sweep *sweep, const char *text)
{
    struct error error;
    struct bytes again = BYTES_INIT;
    enum err code = sweep_parse(sweep, text, strlen(text), &error);
    if (code != ERR_OK)
        fail_msg("%s: %s", text, error.message);
    assert_ok(sweep_resolved(&again, sweep, &error));
    assert_string_equal(bytes_text(&again), text);
    bytes_release(&again);
}

static void test_places_and_jobs(void **state)
{
    (void)state;
    struct error error;
    struct sweep sweep;
    struct spec spec;
    uint64_t places, positions[SWEEP_AXES_LIMIT];

    parse(&sweep, "{\"axes\":[{\"fields\":[\"cfg\"],\"from\":\"1\",\"step\":\"0.1\",\"to\":\"2\"},"
                  "{\"fields\":[\"prompt\"],\"values\":[[\"a frog\"],[\"an owl\"]]},"
                  "{\"fields\":[\"seed\"],\"from\":\"5\",\"step\":\"10\",\"to\":\"95\"}],\"exclude\":[],"
                  FIXED_BUT(F_CLIP F_MODEL F_MID F_RNG F_SAMPLER F_SCHEDULE F_SIZE F_STEPS F_SYNTAX));
    assert_ok(sweep_places(&places, &sweep, &error));
    assert_true(places == 11 * 2 * 10 && sweep_jobs(&sweep) == places);
    for (uint64_t i = 0; i < places; i++) {
        char cfg[32];
        assert_ok(sweep_job(&spec, &sweep, i, &error));
        sweep_positions(positions, &sweep, i);
        assert_true((positions[0] * 2 + positions[1]) * 10 + positions[2] == i);
        decimal_format(cfg, spec.cfg);
        char *want = positions[0] % 10 ? text_format("1.%d", (int)positions[0]) : text_format("%d", 1 + (int)positions[0] / 10);
        assert_string_equal(cfg, want);
        assert_string_equal(spec.prompt, positions[1] ? "an owl" : "a frog");
        assert_true(spec.seed == 5 + 10 * positions[2]);
        assert_int_equal(spec.schedule, SCHEDULE_UNIFORM);
        assert_false(sweep_excluded(&sweep, i));
        free(want);
        spec_release(&spec);
    }
    struct bytes text = BYTES_INIT;
    assert_ok(axis_text(&text, &sweep.axes[0], 3, FIELD_CFG, &error));
    assert_string_equal(bytes_text(&text), "1.3");
    bytes_release(&text);
    sweep_release(&sweep);
}

static void test_no_axes(void **state)
{
    (void)state;
    struct sweep sweep;
    struct spec spec;
    struct error error;
    parse(&sweep, "{\"axes\":[],\"exclude\":[]," FIXED_BUT(F_CFG F_CLIP F_MODEL F_MID F_PROMPT F_RNG F_SAMPLER F_SCHEDULE F_SEED F_SIZE F_STEPS F_SYNTAX));
    assert_true(sweep_jobs(&sweep) == 1);
    assert_ok(sweep_job(&spec, &sweep, 0, &error));
    assert_string_equal(spec.prompt, "a frog");
    spec_release(&spec);
    sweep_release(&sweep);
}

static void parse_bad(enum err want, const char *words, const char *text)
{
    struct error error = {ERR_OK, ""};
    struct sweep sweep;
    enum err code = sweep_parse(&sweep, text, strlen(text), &error);
    if (code != want || !strstr(error.message, words))
        fail_msg("%s\n  want %s with \"%s\", have %s: %s", text, err_name(want), words, err_name(code), error.message);
}

#define REST FIXED_BUT(F_CFG F_CLIP F_MODEL F_MID F_PROMPT F_RNG F_SAMPLER F_SCHEDULE F_SIZE F_STEPS F_SYNTAX) /* without seed */

static void test_parse_refuses(void **state)
{
    (void)state;
    parse_bad(ERR_INVALID, "not valid JSON", "");
    parse_bad(ERR_CORRUPT, "want a JSON object", "[]");
    parse_bad(ERR_UNSUPPORTED, "format 1", "{\"axes\":[],\"exclude\":[],\"fixed\":{},\"sweep\":2}");
    parse_bad(ERR_INVALID, "model: want a model", "{\"axes\":[],\"exclude\":[],\"fixed\":{},\"sweep\":1}");
    parse_bad(ERR_INVALID, "canonical", "{\"axes\":[],\"exclude\":[],\"fixed\":{\"model\":\"" MODEL "\"},\"sweep\":1}");
    parse_bad(ERR_LIMIT, "4294967295", "{\"axes\":[{\"fields\":[\"seed\"],\"from\":\"0\",\"step\":\"1\",\"to\":\"18446744073709551615\"}],\"exclude\":[]," REST);
    parse_bad(ERR_LIMIT, "4294967296", "{\"axes\":[{\"fields\":[\"seed\"],\"from\":\"0\",\"step\":\"1\",\"to\":\"4294967295\"}],\"exclude\":[]," REST);
    parse_bad(ERR_INVALID, "is empty", "{\"axes\":[{\"fields\":[\"seed\"],\"from\":\"9\",\"step\":\"1\",\"to\":\"0\"}],\"exclude\":[]," REST);
    parse_bad(ERR_INVALID, "canonical", "{\"axes\":[{\"fields\":[\"seed\"],\"from\":\"0\",\"step\":\"4\",\"to\":\"9\"}],\"exclude\":[]," REST);
    parse_bad(ERR_INVALID, "a range wants numbers", "{\"axes\":[{\"fields\":[\"seed\"],\"from\":\"random\",\"step\":\"4\",\"to\":\"9\"}],\"exclude\":[]," REST);
    parse_bad(ERR_INVALID, "canonical", "{\"axes\":[{\"fields\":[\"seed\"],\"values\":[[\"07\"]]}],\"exclude\":[]," REST);
    parse_bad(ERR_INVALID, "canonical", "{\"axes\":[{\"fields\":[\"seed\"],\"values\":[[\"random\"]]}],\"exclude\":[]," REST);
    parse_bad(ERR_LIMIT, "1..100000 values", "{\"axes\":[{\"fields\":[\"seed\"],\"values\":[]}],\"exclude\":[]," REST);
    parse_bad(ERR_CORRUPT, "a text for each field", "{\"axes\":[{\"fields\":[\"seed\"],\"values\":[[\"1\",\"2\"]]}],\"exclude\":[]," REST);
    parse_bad(ERR_INVALID, "given twice", "{\"axes\":[{\"fields\":[\"prompt\",\"seed\"],\"values\":[[\"a\",\"1\"]]},{\"fields\":[\"seed\"],\"values\":[[\"1\"]]}],\"exclude\":[]," REST);
    parse_bad(ERR_INVALID, "order of nesting", "{\"axes\":[{\"fields\":[\"seed\"],\"values\":[[\"1\"]]},{\"fields\":[\"cfg\"],\"values\":[[\"1\"]]}],\"exclude\":[]," REST);
    parse_bad(ERR_INVALID, "in order", "{\"axes\":[{\"fields\":[\"seed\",\"prompt\"],\"values\":[[\"1\",\"a\"]]}],\"exclude\":[]," REST);
    parse_bad(ERR_CORRUPT, "64 hex digits", "{\"axes\":[{\"count\":5,\"fields\":[\"seed\"],\"size\":10,\"table\":\"xyz\"}],\"exclude\":[]," REST);
    parse_bad(ERR_CORRUPT, "count", "{\"axes\":[{\"count\":0,\"fields\":[\"seed\"],\"size\":10,\"table\":\"" MODEL "\"}],\"exclude\":[]," REST);
    parse_bad(ERR_UNSUPPORTED, "comes from a file", "{\"axes\":[{\"count\":2,\"fields\":[\"seed\"],\"size\":10,\"table\":\"" MODEL "\"}],\"exclude\":[{\"seed\":[\"1\"]}]," REST);
    parse_bad(ERR_INVALID, "all 2 places are excluded", "{\"axes\":[{\"fields\":[\"seed\"],\"values\":[[\"1\"],[\"2\"]]}],\"exclude\":[{\"steps\":[\"20\"]}]," REST);
    parse_bad(ERR_INVALID, "nearest known one is \"seed\"", "{\"axes\":[{\"fields\":[\"seeed\"],\"values\":[[\"1\"]]}],\"exclude\":[]," REST);
    parse_bad(ERR_INVALID, "one that sampler DDIM has", "{\"axes\":[{\"fields\":[\"sampler\"],\"values\":[[\"DDIM\"]]},{\"fields\":[\"schedule\"],\"values\":[[\"leading\"],[\"karras\"]]}],\"exclude\":[],"
              FIXED_BUT(F_CFG F_CLIP F_MODEL F_MID F_PROMPT F_RNG F_SEED F_SIZE F_STEPS F_SYNTAX));
}

static void test_pairs_may_be_excluded(void **state)
{
    (void)state;
    struct sweep sweep;
    parse(&sweep, "{\"axes\":[{\"fields\":[\"sampler\"],\"values\":[[\"Euler\"],[\"DDIM\"]]},{\"fields\":[\"schedule\"],\"values\":[[\"leading\"],[\"karras\"]]}],"
                  "\"exclude\":[{\"sampler\":[\"DDIM\"],\"schedule\":[\"karras\"]}],"
                  FIXED_BUT(F_CFG F_CLIP F_MODEL F_MID F_PROMPT F_RNG F_SEED F_SIZE F_STEPS F_SYNTAX));
    assert_true(sweep_jobs(&sweep) == 3);
    assert_true(sweep_excluded(&sweep, 3) && !sweep_excluded(&sweep, 2));
    sweep_release(&sweep);
}

/* ---- excludes, against a walk over all places ---------------------------------------------------------------------- */

static void axis_values(struct axis *axis, enum field field, uint64_t count, uint64_t from)
{
    *axis = (struct axis){.kind = AXIS_VALUES, .fields = {field}, .field_count = 1, .count = count};
    axis->values = memory_get_array(count, sizeof *axis->values);
    for (uint64_t i = 0; i < count; i++)
        axis->values[i] = text_format("%llu", (unsigned long long)(from + i));
}

/* Does the exclude match the job, by its fields' texts? */
static bool matches(const struct exclude *exclude, const struct spec *spec)
{
    for (int f = 0; f < FIELD_COUNT; f++) {
        if (!exclude->texts[f])
            continue;
        struct bytes text = BYTES_INIT;
        bool found = false;
        spec_get(&text, spec, (enum field)f);
        for (uint32_t i = 0; i < exclude->counts[f]; i++)
            found = found || strcmp(exclude->texts[f][i], bytes_text(&text)) == 0;
        bytes_release(&text);
        if (!found)
            return false;
    }
    return true;
}

static void exclude_draw(struct exclude *exclude, uint64_t *seed)
{
    static const enum field fields[] = {FIELD_CLIP_SKIP, FIELD_STEPS, FIELD_CFG, FIELD_SEED};
    for (size_t f = 0; f < 4; f++) {
        if (draw(seed) % 3 == 0)
            continue;
        uint32_t count = 1 + (uint32_t)(draw(seed) % 4);
        exclude->texts[fields[f]] = memory_get_array(count, sizeof(char *));
        exclude->counts[fields[f]] = count;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t n = 1 + draw(seed) % 9;
            exclude->texts[fields[f]][i] = fields[f] == FIELD_CFG && n % 2 ? text_format("%llu.5", (unsigned long long)n)
                                                                          : text_format("%llu", (unsigned long long)n);
        }
    }
}

static void test_excludes_against_a_walk(void **state)
{
    (void)state;
    struct error error;
    uint64_t seed = 11;
    for (int round = 0; round < 200; round++) {
        struct sweep sweep = {.axis_count = 4};
        uint64_t places, jobs = 0;
        spec_init(&sweep.fixed);
        assert_ok(spec_set(&sweep.fixed, FIELD_MODEL, MODEL, &error));
        axis_values(&sweep.axes[0], FIELD_CLIP_SKIP, 1 + draw(&seed) % 4, 1);
        axis_values(&sweep.axes[1], FIELD_STEPS, 1 + draw(&seed) % 5, 1 + draw(&seed) % 3);
        sweep.axes[2] = (struct axis){.kind = AXIS_RANGE, .fields = {FIELD_CFG}, .field_count = 1, .count = 1 + draw(&seed) % 9,
                                      .from = {9, 0}, .step = {-5, 1}};
        sweep.axes[3] = (struct axis){.kind = AXIS_RANGE, .fields = {FIELD_SEED}, .field_count = 1, .count = 1 + draw(&seed) % 7,
                                      .seed_from = draw(&seed) % 5, .seed_step = 1 + draw(&seed) % 3};
        sweep.exclude_count = (uint32_t)(draw(&seed) % 6);
        sweep.excludes = memory_get_array(sweep.exclude_count, sizeof *sweep.excludes);
        for (uint32_t e = 0; e < sweep.exclude_count; e++)
            exclude_draw(&sweep.excludes[e], &seed);
        enum err code = sweep_check(&sweep, &error);
        assert_ok(sweep_places(&places, &sweep, &error));
        for (uint64_t i = 0; i < places; i++) {
            struct spec spec;
            bool excluded = false;
            assert_ok(sweep_job(&spec, &sweep, i, &error));
            for (uint32_t e = 0; e < sweep.exclude_count; e++)
                excluded = excluded || matches(&sweep.excludes[e], &spec);
            spec_release(&spec);
            assert_int_equal(excluded, sweep_excluded(&sweep, i));
            jobs += !excluded;
        }
        if (jobs == 0)
            assert_int_equal(code, ERR_INVALID);
        else
            assert_true(code == ERR_OK && sweep_jobs(&sweep) == jobs);
        sweep_release(&sweep);
    }
}

/* Ten million seeds with an exclude: counted, not walked. */
static void test_large(void **state)
{
    (void)state;
    struct error error;
    struct sweep sweep;
    struct spec spec;
    uint64_t start_ns = clock_monotonic_ns();
    parse(&sweep, "{\"axes\":[{\"fields\":[\"steps\"],\"values\":[[\"20\"],[\"30\"]]},{\"fields\":[\"seed\"],\"from\":\"0\",\"step\":\"1\",\"to\":\"9999999\"}],"
                  "\"exclude\":[{\"seed\":[\"7\",\"8\"],\"steps\":[\"30\"]}],"
                  FIXED_BUT(F_CFG F_CLIP F_MODEL F_MID F_PROMPT F_RNG F_SAMPLER F_SCHEDULE F_SIZE F_SYNTAX));
    assert_true(sweep_jobs(&sweep) == 20000000 - 2);
    assert_true(sweep_excluded(&sweep, 10000007) && sweep_excluded(&sweep, 10000008) && !sweep_excluded(&sweep, 7));
    assert_ok(sweep_job(&spec, &sweep, 19999999, &error));
    assert_true(spec.seed == 9999999 && spec.steps == 30);
    spec_release(&spec);
    sweep_release(&sweep);
    print_message("20,000,000 places parsed, counted and written in %llu us\n",
                  (unsigned long long)((clock_monotonic_ns() - start_ns) / 1000));
}

/* Excludes that make a different set of matches for every combination are refused before they cost anything. */
static void test_exclude_bomb(void **state)
{
    (void)state;
    struct error error;
    struct sweep sweep = {.axis_count = 2, .exclude_count = LIMIT_EXCLUDES};
    spec_init(&sweep.fixed);
    assert_ok(spec_set(&sweep.fixed, FIELD_MODEL, MODEL, &error));
    axis_values(&sweep.axes[0], FIELD_STEPS, 1000, 1);
    axis_values(&sweep.axes[1], FIELD_SEED, 65536, 0);
    sweep.excludes = memory_get_array(LIMIT_EXCLUDES, sizeof *sweep.excludes);
    uint64_t seed = 2;
    for (uint32_t e = 0; e < LIMIT_EXCLUDES; e++) {
        enum field field = e % 2 ? FIELD_STEPS : FIELD_SEED;
        uint32_t count = e % 2 ? 500 : 30000;
        sweep.excludes[e].texts[field] = memory_get_array(count, sizeof(char *));
        sweep.excludes[e].counts[field] = count;
        for (uint32_t i = 0; i < count; i++)
            sweep.excludes[e].texts[field][i] = text_format("%llu", (unsigned long long)(1 + draw(&seed) % (e % 2 ? 1000 : 65535)));
    }
    uint64_t start_ms = clock_monotonic_ms();
    assert_fails(sweep_check(&sweep, &error), ERR_LIMIT, "combinations to count");
    assert_true(clock_monotonic_ms() - start_ms < 20000);
    sweep_release(&sweep);
}

static void test_model_sizes(void **state)
{
    (void)state;
    struct error error;
    struct sweep sweep;
    struct model_facts facts = {.pixels_per_latent = 8};
    parse(&sweep, "{\"axes\":[{\"fields\":[\"size\"],\"values\":[[\"64x64\"],[\"64x60\"]]}],\"exclude\":[],"
                  FIXED_BUT(F_CFG F_CLIP F_MODEL F_MID F_PROMPT F_RNG F_SAMPLER F_SCHEDULE F_SEED F_STEPS F_SYNTAX));
    assert_fails(sweep_check_model(&sweep, &facts, &error), ERR_INVALID,
                 "want multiples of 8 (the model's pixels per latent), have 64x60; the nearest that fit are 64x56 and 64x64");
    facts.pixels_per_latent = 4;
    assert_ok(sweep_check_model(&sweep, &facts, &error));
    sweep_release(&sweep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places_and_jobs), cmocka_unit_test(test_no_axes), cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_pairs_may_be_excluded), cmocka_unit_test(test_excludes_against_a_walk),
        cmocka_unit_test(test_large), cmocka_unit_test(test_exclude_bomb), cmocka_unit_test(test_model_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
