/* Specs: fields from texts, canonical bytes (against base's own RFC 8785 writer), keys. */
#include "proto/spec.h"
#include "base/clock.h"
#include "base/json.h"
#include "fixture.h"

static const char model_hex[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static void spec_ready(struct spec *spec)
{
    struct error error;
    spec_init(spec);
    assert_ok(spec_set(spec, FIELD_MODEL, model_hex, &error));
    assert_ok(spec_check(spec, &error));
}

/* The bytes are frozen: a change here changes the key of every job ever rendered. */
static void test_golden_bytes(void **state)
{
    (void)state;
    struct error error;
    struct spec spec;
    struct bytes text = BYTES_INIT;
    char hex[DIGEST_HEX_SIZE];

    spec_ready(&spec);
    assert_ok(spec_set(&spec, FIELD_PROMPT, "a \"frog\"\n\x01 \\ \xc3\xa9", &error));
    assert_ok(spec_set(&spec, FIELD_CFG, "4.50", &error));
    spec_canonical(&text, &spec);
    assert_string_equal(bytes_text(&text),
        "{\"cfg\":\"4.5\",\"model\":\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\","
        "\"prompt\":\"a \\\"frog\\\"\\n\\u0001 \\\\ \xc3\xa9\",\"render\":1,\"sampler\":\"Euler\",\"schedule\":\"uniform\","
        "\"seed\":\"0\",\"size\":\"512x512\",\"steps\":\"20\"}");
    struct digest key = spec_key(&spec);
    digest_hex(&key, hex);
    struct digest direct = digest_of(text.data, text.size);
    assert_true(digest_equal(&key, &direct));
    bytes_clear(&text);
    assert_ok(spec_set(&spec, FIELD_NEGATIVE, "blur", &error));
    assert_ok(spec_set(&spec, FIELD_CLIP_SKIP, "2", &error));
    spec_canonical(&text, &spec);
    assert_non_null(strstr(bytes_text(&text), "\"clip_skip\":\"2\",\"model\""));
    assert_non_null(strstr(bytes_text(&text), "\"negative\":\"blur\",\"prompt\""));
    bytes_clear(&text);
    assert_ok(spec_set(&spec, FIELD_DETERMINISTIC, "false", &error));
    spec_canonical(&text, &spec);
    assert_null(strstr(bytes_text(&text), "deterministic")); /* neutral: keys of before it was there stay */
    bytes_clear(&text);
    assert_ok(spec_set(&spec, FIELD_DETERMINISTIC, "True", &error));
    spec_canonical(&text, &spec);
    assert_non_null(strstr(bytes_text(&text), "\"clip_skip\":\"2\",\"deterministic\":\"true\",\"model\""));
    assert_fails(spec_set(&spec, FIELD_DETERMINISTIC, "maybe", &error), ERR_INVALID,
                 "deterministic: \"maybe\" is not known; there are false, true");
    bytes_release(&text);
    spec_release(&spec);
}

static void random_text(char *out, size_t room, uint64_t *seed)
{
    static const char *const parts[] = {"a", "B", " ", "\"", "\\", "\n", "\t", "\r", "\b", "\f", "\v", "\x1f", "\x7f", "/",
                                        "\xc3\xa9", "\xe2\x80\xa8", "\xf0\x9f\x90\xb8", "{", "|", "'"};
    size_t count = draw(seed) % (room / 5);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++)
        strcat(out, parts[draw(seed) % (sizeof parts / sizeof *parts)]);
}

static void spec_draw(struct spec *spec, uint64_t *seed)
{
    struct error error;
    char text[256];
    spec_init(spec);
    for (size_t i = 0; i < DIGEST_SIZE; i++)
        spec->model.bytes[i] = (uint8_t)draw(seed);
    random_text(text, sizeof text, seed);
    assert_ok(spec_set(spec, FIELD_PROMPT, text, &error));
    random_text(text, sizeof text, seed);
    assert_ok(spec_set(spec, FIELD_NEGATIVE, draw(seed) % 2 ? text : "", &error));
    if (draw(seed) % 2)
        spec->vae = spec->init = spec->mask = spec->model;
    if (draw(seed) % 2) {
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&spec->model, hex);
        snprintf(text, sizeof text, "%s:0.%u", hex, 1 + (unsigned)(draw(seed) % 9));
        assert_ok(spec_set(spec, FIELD_LORA, text, &error));
        assert_ok(spec_set(spec, FIELD_EMBEDDING, text, &error));
    }
    if (draw(seed) % 2) {
        spec->refiner = spec->model;
        spec->refiner_switch = decimal_reduce((struct decimal){1 + (int64_t)(draw(seed) % 999), 3});
    }
    spec->seed = draw(seed) >> (draw(seed) % 64);
    spec->width = 1 + (uint32_t)(draw(seed) % LIMIT_SIDE);
    spec->height = 1 + (uint32_t)(draw(seed) % LIMIT_SIDE);
    spec->steps = 1 + (uint32_t)(draw(seed) % LIMIT_STEPS);
    spec->clip_skip = 1 + (uint32_t)(draw(seed) % 12);
    spec->cfg = decimal_reduce((struct decimal){(int64_t)(draw(seed) % 10001), 2});
    spec->cfg_rescale = decimal_reduce((struct decimal){(int64_t)(draw(seed) % 11), 1});
    if (!digest_is_zero(&spec->init))
        spec->strength = decimal_reduce((struct decimal){1 + (int64_t)(draw(seed) % 100), 2});
    spec->deterministic = draw(seed) % 2;
    spec->prediction = (enum predicts)(draw(seed) % PREDICTS_COUNT);
    spec->sampler = (enum sampler)(draw(seed) % SAMPLER_COUNT);
    do
        spec->schedule = (enum schedule)(draw(seed) % SCHEDULE_COUNT);
    while (schedule_check(spec->schedule, spec->sampler, NULL) != ERR_OK);
    assert_ok(spec_check(spec, &error));
}

/* The fast writer says what the general one says of the same fields. */
static void test_canonical_is_rfc8785(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (int i = 0; i < 3000; i++) {
        struct error error;
        struct spec spec, again;
        struct bytes fast = BYTES_INIT, general = BYTES_INIT, text = BYTES_INIT;
        json_t *object = json_object();

        spec_draw(&spec, &seed);
        spec_canonical(&fast, &spec);
        for (int f = 0; f < FIELD_COUNT; f++) {
            const struct field_info *info = catalog_field((enum field)f);
            bytes_clear(&text);
            spec_get(&text, &spec, (enum field)f);
            if (!info->neutral || strcmp(bytes_text(&text), info->neutral) != 0)
                json_object_set_new(object, info->name, json_string(bytes_text(&text)));
        }
        json_object_set_new(object, "render", json_integer(RENDER_RULES));
        assert_ok(json_canonical(&general, object, &error));
        assert_string_equal(bytes_text(&fast), bytes_text(&general));

        assert_ok(spec_parse(&again, fast.data, fast.size, &error));
        struct digest a = spec_key(&spec), b = spec_key(&again);
        assert_true(digest_equal(&a, &b));
        json_decref(object);
        bytes_release(&fast);
        bytes_release(&general);
        bytes_release(&text);
        spec_release(&spec);
        spec_release(&again);
    }
}

static void parse_bad(const char *text, const char *words)
{
    struct error error = {ERR_OK, ""};
    struct spec spec;
    enum err code = spec_parse(&spec, text, strlen(text), &error);
    if (code == ERR_OK || !strstr(error.message, words))
        fail_msg("%s: want \"%s\", have %s: %s", text, words, err_name(code), error.message);
}

static void test_parse_refuses(void **state)
{
    (void)state;
    struct spec spec;
    struct bytes text = BYTES_INIT;
    struct error error;
    spec_ready(&spec);
    spec_canonical(&text, &spec);
    spec_release(&spec);
    assert_ok(spec_parse(&spec, text.data, text.size, &error));
    spec_release(&spec);

    static const struct { const char *from, *to, *words; } changes[] = {
        {"\"seed\":\"0\"", "\"seed\":\"00\"", "canonical"}, {"\"seed\":\"0\"", "\"seed\":0", "wants a text"},
        {"\"seed\":\"0\"", "\"seed\":\"-1\"", "canonical"}, {"\"steps\":\"20\"", "\"steps\":\"0\"", "steps: want 1..1000, have 0"},
        {"\"render\":1", "\"render\":2", "rules number 1"}, {",\"seed\":\"0\"", ",\"hires\":\"x\",\"seed\":\"0\"", "not in this version"},
        {",\"seed\":\"0\"", "", "canonical"}, {"{\"cfg\"", "{ \"cfg\"", "canonical"},
        {"\"cfg\":\"7\",", "\"cfg\":\"7.0\",", "canonical"}, {"\"schedule\":\"uniform\"", "\"schedule\":\"automatic\"", "canonical"},
        {"\"sampler\":\"Euler\"", "\"sampler\":\"euler\"", "canonical"}, {"\"cfg\":\"7\",", "\"cfg\":\"7\",\"clip_skip\":\"1\",", "canonical"},
        {"\"sampler\":\"Euler\"", "\"sampler\":\"DDIM\"", "one that sampler DDIM has (automatic, ddim"}, {"\"prompt\":\"\"", "\"prompt\":\"\\u0000\"", "not valid JSON"},
        {"}", "}}", "not valid JSON"}, {"\"prompt\":\"\"", "\"prompt\":\"\\/\"", "canonical"},
        {"\"size\":\"512x512\"", "\"size\":\"512x4097\"", "sides of 1..4096"},
        {"\"render\":1", "\"refiner_switch\":\"0.5\",\"render\":1", "refiner_switch: want refiner, the model that takes over"},
        {"\"render\":1", "\"refiner\":\"\",\"render\":1", "canonical"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const char *at = strstr(bytes_text(&text), changes[i].from);
        assert_non_null(at);
        char *changed = text_format("%.*s%s%s", (int)(at - bytes_text(&text)), bytes_text(&text), changes[i].to,
                                    at + strlen(changes[i].from));
        parse_bad(changed, changes[i].words);
        free(changed);
    }
    parse_bad("", "not valid JSON");
    parse_bad("[]", "want a JSON object");
    parse_bad("{}", "model: want a model, none is given");
    bytes_release(&text);
}

static void test_field_limits(void **state)
{
    (void)state;
    static const struct { enum field field; const char *text, *words; } bad[] = {
        {FIELD_STEPS, "0", "steps: want 1..1000, have 0"}, {FIELD_STEPS, "1001", "steps: want 1..1000, have 1001"},
        {FIELD_STEPS, "-5", "steps: want 1..1000, have -5"}, {FIELD_STEPS, "many", "steps: want a whole number 1..1000, have \"many\""},
        {FIELD_STEPS, "20.0", "whole number"}, {FIELD_STEPS, "", "whole number"}, {FIELD_STEPS, "-", "whole number"},
        {FIELD_SEED, "18446744073709551616", "seed: want 0..18446744073709551615, have 18446744073709551616"},
        {FIELD_SEED, "-7", "seed: want 0..18446744073709551615, have -7"}, {FIELD_SEED, "0x10", "whole number"},
        {FIELD_SEED, "99999999999999999999999999999999999", "seed: want 0.."},
        {FIELD_CFG, "-1", "cfg: want 0..100, have -1"}, {FIELD_CFG, "100.01", "cfg: want 0..100, have 100.01"},
        {FIELD_CFG, "high", "cfg: want a decimal number"}, {FIELD_CLIP_SKIP, "13", "clip_skip: want 1..12, have 13"},
        {FIELD_SIZE, "512", "size: want WIDTHxHEIGHT"}, {FIELD_SIZE, "512x", "size: want WIDTHxHEIGHT"},
        {FIELD_SIZE, "x512", "size: want WIDTHxHEIGHT"}, {FIELD_SIZE, "512x512x3", "size: want WIDTHxHEIGHT"},
        {FIELD_SIZE, "0x512", "size: want sides of 1..4096"}, {FIELD_SIZE, "4097x8", "size: want sides of 1..4096 pixels, have 4097x8"},
        {FIELD_SIZE, "99999999999x8", "size: want"}, {FIELD_MODEL, "demo", "model: want a digest"},
        {FIELD_REFINER, "demo", "refiner: want a digest"}, {FIELD_REFINER_SWITCH, "1", "refiner_switch: want 0.001..0.999, have 1"},
        {FIELD_PROMPT, "\xff", "prompt: want UTF-8, byte 0 is 0xff"}, {FIELD_PROMPT, "ab\xed\xa0\x80", "prompt: want UTF-8, byte 2"},
    };
    struct error error;
    struct spec spec;
    spec_init(&spec);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error.message[0] = '\0';
        assert_int_equal(spec_set(&spec, bad[i].field, bad[i].text, &error), ERR_INVALID);
        if (!strstr(error.message, bad[i].words))
            fail_msg("%s: want \"%s\", have \"%s\"", bad[i].text, bad[i].words, error.message);
    }
    char *longest = memory_get(LIMIT_PROMPT_BYTES + 2);
    memset(longest, 'a', LIMIT_PROMPT_BYTES);
    assert_ok(spec_set(&spec, FIELD_PROMPT, longest, &error));
    longest[LIMIT_PROMPT_BYTES] = 'a';
    assert_fails(spec_set(&spec, FIELD_PROMPT, longest, &error), ERR_LIMIT, "prompt: want at most 16384 bytes, have 16385");
    assert_int_equal(strlen(spec.prompt), LIMIT_PROMPT_BYTES); /* untouched */
    free(longest);
    assert_ok(spec_set(&spec, FIELD_SEED, "18446744073709551615", &error));
    assert_true(spec.seed == UINT64_MAX && spec_seed_folds(&spec));
    assert_ok(spec_set(&spec, FIELD_SEED, "random", &error));
    assert_false(spec_seed_folds(&spec));
    assert_ok(spec_set(&spec, FIELD_SEED, "-1", &error));
    assert_ok(spec_set(&spec, FIELD_SAMPLER, "DPM++ 2M Karras", &error));
    assert_true(spec.sampler == SAMPLER_DPMPP_2M && spec.schedule == SCHEDULE_KARRAS);
    spec_release(&spec);
}

static void test_batches(void **state)
{
    (void)state;
    struct error error;
    struct spec a, b;
    spec_ready(&a);
    spec_init(&b);
    spec_copy(&b, &a);
    assert_ok(spec_set(&b, FIELD_SEED, "9", &error));
    assert_ok(spec_set(&b, FIELD_PROMPT, "other", &error));
    assert_ok(spec_set(&b, FIELD_CFG, "3", &error));
    assert_true(spec_batches_with(&a, &b));
    b.refiner = a.refiner = a.model;
    assert_true(spec_batches_with(&a, &b));
    assert_ok(spec_set(&b, FIELD_REFINER_SWITCH, "0.7", &error));
    assert_false(spec_batches_with(&a, &b));
    assert_ok(spec_set(&b, FIELD_REFINER_SWITCH, "0.80", &error));
    assert_ok(spec_set(&b, FIELD_REFINER, "", &error));
    assert_false(spec_batches_with(&a, &b));
    b.refiner = a.refiner;
    assert_ok(spec_set(&b, FIELD_CFG, "1", &error));
    assert_false(spec_batches_with(&a, &b)); /* guided and not */
    assert_ok(spec_set(&b, FIELD_CFG, "1.5", &error));
    assert_ok(spec_set(&b, FIELD_STEPS, "21", &error));
    assert_false(spec_batches_with(&a, &b));
    spec_release(&a);
    spec_release(&b);
}

/* A sweep may leave its numerics to the farm; a job may not. */
static void test_auto_is_no_job(void **state)
{
    (void)state;
    struct error error;
    struct spec spec, read;
    struct bytes text = BYTES_INIT;
    spec_ready(&spec);
    assert_ok(spec_set(&spec, FIELD_NUMERICS, "auto", &error));
    spec_canonical(&text, &spec);
    assert_fails(spec_parse(&read, text.data, text.size, &error), ERR_INVALID, "want fp32, bf16 or fp16, have auto");
    bytes_release(&text);
    spec_release(&spec);
}

/* Not a bound to fail on a busy machine, only one that an accident would pass by far. */
static void test_key_is_fast(void **state)
{
    (void)state;
    struct spec spec;
    struct error error;
    enum { KEYS = 20000 };
    uint8_t mix = 0;
    spec_ready(&spec);
    assert_ok(spec_set(&spec, FIELD_PROMPT, "a small green frog in the style of Van Gogh, thick brush strokes, night sky", &error));
    uint64_t start_ns = clock_monotonic_ns();
    for (int i = 0; i < KEYS; i++) {
        spec.seed = (uint64_t)i;
        struct digest key = spec_key(&spec);
        mix ^= key.bytes[0];
    }
    uint64_t each_ns = (clock_monotonic_ns() - start_ns) / KEYS;
    print_message("a key takes %llu ns (%u)\n", (unsigned long long)each_ns, mix);
    assert_true(each_ns < 100000);
    spec_release(&spec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_bytes), cmocka_unit_test(test_canonical_is_rfc8785), cmocka_unit_test(test_parse_refuses),
        cmocka_unit_test(test_field_limits), cmocka_unit_test(test_batches), cmocka_unit_test(test_auto_is_no_job),
        cmocka_unit_test(test_key_is_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
