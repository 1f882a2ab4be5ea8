/* The table of fields, the names of samplers and schedules, and decimals. */
#include "proto/catalog.h"
#include "proto/spec.h"
#include "fixture.h"

static void test_fields(void **state)
{
    (void)state;
    struct error error;
    for (int i = 0; i < FIELD_COUNT; i++) {
        enum field field;
        const struct field_info *info = catalog_field((enum field)i);
        assert_int_equal(info->field, i);
        assert_true(strlen(info->help) > 10);
        assert_ok(catalog_find(&field, info->name, &error));
        assert_int_equal(field, i);
        assert_true((info->type == TYPE_NAME) == (info->names != NULL));
        /* the default is a value, and the neutral value too */
        struct spec spec;
        spec_init(&spec);
        if (info->type != TYPE_MODEL)
            assert_ok(spec_set(&spec, field, info->fallback, &error));
        if (info->neutral)
            assert_ok(spec_set(&spec, field, info->neutral, &error));
        spec_release(&spec);
    }
}

static void test_unknown_fields(void **state)
{
    (void)state;
    struct error error;
    enum field field;
    assert_fails(catalog_find(&field, "sede", &error), ERR_INVALID, "\"sede\": the nearest known one is \"seed\"");
    assert_fails(catalog_find(&field, "Steps", &error), ERR_INVALID, "\"steps\"");
    assert_fails(catalog_find(&field, "cfg_scale", &error), ERR_INVALID, "\"cfg\"");
    assert_fails(catalog_find(&field, "width", &error), ERR_INVALID, "\"size\"");
    assert_fails(catalog_find(&field, "", &error), ERR_INVALID, "unknown field");
    assert_fails(catalog_find(&field, "hires", &error), ERR_UNSUPPORTED, "not in this version");
    assert_fails(catalog_find(&field, "variation_seed", &error), ERR_UNSUPPORTED, "not in this version");
}

static void test_sampler_names(void **state)
{
    (void)state;
    static const struct { const char *text; enum sampler sampler; enum schedule schedule; } good[] = {
        {"Euler", SAMPLER_EULER, SCHEDULE_COUNT}, {"euler a", SAMPLER_EULER_A, SCHEDULE_COUNT},
        {"euler_ancestral", SAMPLER_EULER_A, SCHEDULE_COUNT}, {"DDIM", SAMPLER_DDIM, SCHEDULE_COUNT},
        {"EulerDiscreteScheduler", SAMPLER_EULER, SCHEDULE_COUNT}, {"dpmpp_2m", SAMPLER_DPMPP_2M, SCHEDULE_COUNT},
        {"DPM++ 2M SGM Uniform", SAMPLER_DPMPP_2M, SCHEDULE_SGM_UNIFORM},
        {"Euler trailing-beta", SAMPLER_EULER, SCHEDULE_TRAILING_BETA},
        {"DPM++ 2M Leading Karras", SAMPLER_DPMPP_2M, SCHEDULE_LEADING_KARRAS},
        {"euler_ancestral_exponential", SAMPLER_EULER_A, SCHEDULE_EXPONENTIAL},
        {"DPM++ 2M Karras", SAMPLER_DPMPP_2M, SCHEDULE_KARRAS}, {"dpm++ 2m karras", SAMPLER_DPMPP_2M, SCHEDULE_KARRAS},
        {"dpmpp_2m_karras", SAMPLER_DPMPP_2M, SCHEDULE_KARRAS}, {"Euler a trailing", SAMPLER_EULER_A, SCHEDULE_TRAILING},
    };
    struct error error;
    enum sampler sampler;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        enum schedule schedule = SCHEDULE_COUNT;
        assert_ok(sampler_parse(&sampler, &schedule, good[i].text, &error));
        assert_int_equal(sampler, good[i].sampler);
        assert_int_equal(schedule, good[i].schedule);
    }
    enum schedule schedule = SCHEDULE_COUNT;
    assert_fails(sampler_parse(&sampler, &schedule, "Heun", &error), ERR_UNSUPPORTED, "not in this version");
    assert_fails(sampler_parse(&sampler, &schedule, "DPM++ 2M SDE Karras", &error), ERR_UNSUPPORTED, "not in this version");
    assert_fails(sampler_parse(&sampler, &schedule, "DPM++ 2M Turbo", &error), ERR_UNSUPPORTED, "not in this version");
    assert_fails(sampler_parse(&sampler, &schedule, "Oiler", &error), ERR_INVALID, "not known");
    assert_fails(sampler_parse(&sampler, &schedule, "Euler sideways", &error), ERR_INVALID, "not known");
    assert_int_equal(schedule, SCHEDULE_COUNT);
}

static void test_value_names(void **state)
{
    (void)state;
    struct error error;
    unsigned value;
    for (unsigned i = 0; i < SCHEDULE_COUNT; i++) {
        assert_ok(catalog_name_parse(&value, FIELD_SCHEDULE, schedule_name((enum schedule)i), &error));
        assert_int_equal(value, i);
    }
    assert_ok(catalog_name_parse(&value, FIELD_NUMERICS, "auto", &error));
    assert_int_equal(value, NUMERICS_AUTO);
    assert_ok(catalog_name_parse(&value, FIELD_NUMERICS, "half", &error));
    assert_int_equal(value, NUMERICS_FP16);
    assert_fails(catalog_name_parse(&value, FIELD_NUMERICS, "fp8", &error), ERR_INVALID, "there are fp32, bf16, fp16, auto");
    assert_fails(catalog_name_parse(&value, FIELD_SYNTAX, "a1111", &error), ERR_UNSUPPORTED, "plain");
    assert_ok(catalog_name_parse(&value, FIELD_RNG, "GPU", &error));
    assert_int_equal(value, RNG_NV);
    assert_fails(catalog_name_parse(&value, FIELD_RNG, "dice", &error), ERR_INVALID, "cpu, nv");
    assert_fails(catalog_name_parse(&value, FIELD_SCHEDULE, "linear_quadratic", &error), ERR_UNSUPPORTED, "linspace-beta, lcm");
    assert_ok(catalog_name_parse(&value, FIELD_SCHEDULE, "Normal", &error));
    assert_int_equal(value, SCHEDULE_UNIFORM);
    assert_ok(catalog_name_parse(&value, FIELD_SCHEDULE, "KL Optimal", &error));
    assert_int_equal(value, SCHEDULE_KL_OPTIMAL);
    for (int i = 0; i < SAMPLER_COUNT; i++)
        assert_int_not_equal(schedule_automatic((enum sampler)i), SCHEDULE_AUTOMATIC);
}

static void test_schedules_of_samplers(void **state)
{
    (void)state;
    struct error error;
    static const int counts[SAMPLER_COUNT] = {
        [SAMPLER_EULER] = 22, [SAMPLER_EULER_A] = 13, [SAMPLER_DDIM] = 5, [SAMPLER_DPMPP_2M] = 22, [SAMPLER_LCM] = 2};
    for (int s = 0; s < SAMPLER_COUNT; s++) {
        int count = 0;
        for (int c = 0; c < SCHEDULE_COUNT; c++)
            count += schedule_check((enum schedule)c, (enum sampler)s, NULL) == ERR_OK;
        assert_int_equal(count, counts[s]);
        assert_ok(schedule_check(schedule_automatic((enum sampler)s), (enum sampler)s, &error));
    }
    assert_fails(schedule_check(SCHEDULE_LEADING_KARRAS, SAMPLER_EULER_A, &error), ERR_INVALID,
                 "schedule: want one that sampler Euler a has (automatic, uniform, karras, exponential, sgm_uniform, simple,"
                 " kl_optimal, align_your_steps, beta, ddim, leading, trailing, linspace), \"leading-karras\" is none of them");
    assert_fails(schedule_check(SCHEDULE_UNIFORM, SAMPLER_LCM, &error), ERR_INVALID, "LCM has (automatic, lcm)");
    assert_fails(schedule_check(SCHEDULE_LCM, SAMPLER_EULER, &error), ERR_INVALID, "\"lcm\" is none of them");
}

static void test_decimals(void **state)
{
    (void)state;
    static const struct { const char *text, *shortest; } good[] = {
        {"7", "7"}, {"7.0", "7"}, {"4.50", "4.5"}, {"-.5", "-0.5"}, {".25", "0.25"}, {"007", "7"}, {"0", "0"},
        {"-0", "0"}, {"0.000", "0"}, {"7.", "7"}, {"100", "100"}, {"999999999999999", "999999999999999"},
        {"-0.00000000000001", "-0.00000000000001"},
    };
    static const char *const bad[] = {"", "-", ".", "-.", "1e3", "+1", "1,5", " 1", "1 ", "0x1", "1..2", "1.2.3", "nan", "--1"};
    struct error error;
    struct decimal decimal, other;
    char text[32];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_ok(decimal_parse(&decimal, good[i].text, &error));
        decimal_format(text, decimal);
        assert_string_equal(text, good[i].shortest);
        assert_true(decimal_value(decimal) == strtod(good[i].text, NULL));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(decimal_parse(&decimal, bad[i], &error), ERR_INVALID, "want a decimal number");
    assert_fails(decimal_parse(&decimal, "1234567890123456", &error), ERR_LIMIT, "15 digits");
    assert_ok(decimal_parse(&decimal, "0.1", &error));
    assert_ok(decimal_parse(&other, "0.09999999999999", &error));
    assert_true(decimal_compare(decimal, other) > 0);
    assert_true(decimal_compare(other, decimal) < 0);
    assert_true(decimal_compare(decimal, decimal) == 0);
}

static void test_decimal_values(void **state)
{
    (void)state;
    uint64_t seed = 3;
    for (int i = 0; i < 20000; i++) {
        struct decimal decimal = {(int64_t)(draw(&seed) % 1000000000000000), (uint32_t)(draw(&seed) % 15)};
        char text[32];
        struct error error;
        struct decimal again;
        decimal = decimal_reduce(decimal);
        decimal_format(text, decimal);
        assert_true(decimal_value(decimal) == strtod(text, NULL));
        assert_ok(decimal_parse(&again, text, &error));
        assert_true(again.units == decimal.units && again.places == decimal.places);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fields), cmocka_unit_test(test_unknown_fields), cmocka_unit_test(test_sampler_names),
        cmocka_unit_test(test_value_names), cmocka_unit_test(test_schedules_of_samplers), cmocka_unit_test(test_decimals), cmocka_unit_test(test_decimal_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
