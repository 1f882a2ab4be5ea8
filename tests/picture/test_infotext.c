/* test_infotext.c - "parameters" as AUTOMATIC1111 writes them (its create_infotext and quote). */
#include "tests/picture/check.h"

#define MODEL "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa"

static struct picture_job job_plain(void) {
    return (struct picture_job){
        .canonical = "{\"seed\":\"42\"}",
        .device_class = "cpu-avx2",
        .prompt = "a frog",
        .negative = "",
        .sampler = "Euler a",
        .schedule = "automatic",
        .cfg = "7",
        .model_name_or_digest = MODEL,
        .seed = 42,
        .steps = 20,
        .width = 64,
        .height = 96,
        .clip_skip = 1,
    };
}

static void assert_parameters(const struct picture_job *job, const char *want) {
    struct bytes out = BYTES_INIT;
    picture_parameters(&out, job);
    assert_string_equal(bytes_text(&out), want);
    bytes_release(&out);
}

static void the_plain_case(void **state) {
    struct picture_job job = job_plain();
    (void)state;
    assert_parameters(&job, "a frog\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 42, "
                            "Size: 64x96, Model hash: 6ce0161689, RNG: CPU");
}

static void everything_said(void **state) {
    struct picture_job job = job_plain();
    (void)state;
    job.prompt = "a frog,\non a \"leaf\": big";
    job.negative = "blurry, Steps: 3";
    job.sampler = "DPM++ 2M";
    job.schedule = "karras";
    job.cfg = "7.5";
    job.clip_skip = 2;
    job.seed = UINT64_MAX;
    job.model_name_or_digest = "demo";
    assert_parameters(&job, "a frog,\non a \"leaf\": big\nNegative prompt: blurry, Steps: 3\nSteps: 20, Sampler: DPM++ 2M, "
                            "Schedule type: Karras, CFG scale: 7.5, Seed: 18446744073709551615, Size: 64x96, Model: demo, "
                            "Clip skip: 2, RNG: CPU");
}

/* Python: json.dumps(text, ensure_ascii=False) where the text holds a comma, a colon or a new line. */
static void values_are_quoted_where_they_must(void **state) {
    static const char *const cases[][2] = {
        { "demo v1.5", "demo v1.5" },
        { "say \"hi\"", "say \"hi\"" },
        { "a, b", "\"a, b\"" },
        { "sd:1", "\"sd:1\"" },
        { "a\nb", "\"a\\nb\"" },
        { "a,\t\"b\\c\x01\xc3\xb6/", "\"a,\\t\\\"b\\\\c\\u0001\xc3\xb6/\"" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct picture_job job = job_plain();
        char *want = text_format("a frog\nSteps: 20, Sampler: Euler a, Schedule type: Automatic, CFG scale: 7, Seed: 42, "
                                 "Size: 64x96, Model: %s, RNG: CPU", cases[i][1]);
        job.model_name_or_digest = cases[i][0];
        assert_parameters(&job, want);
        free(want);
    }
}

static void schedules_have_labels(void **state) {
    static const char *const cases[][2] = {
        { "automatic", "Automatic" }, { "uniform", "Uniform" },   { "karras", "Karras" },
        { "exponential", "Exponential" }, { "polyexponential", "Polyexponential" }, { "sgm_uniform", "SGM Uniform" },
        { "kl_optimal", "KL Optimal" }, { "align_your_steps", "Align Your Steps" }, { "simple", "Simple" },
        { "normal", "Normal" }, { "ddim", "DDIM" }, { "beta", "Beta" }, { "leading", "Leading" },
        { "trailing", "Trailing" }, { "linspace", "Linspace" }, { "trailing-karras", "Trailing Karras" },
        { "linspace-exponential", "Linspace Exponential" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct picture_job job = job_plain();
        struct bytes out = BYTES_INIT;
        char *want = text_format(", Schedule type: %s, CFG", cases[i][1]);
        job.schedule = cases[i][0];
        picture_parameters(&out, &job);
        assert_non_null(strstr(bytes_text(&out), want));
        bytes_release(&out);
        free(want);
    }
}

static void a_png_carries_its_job(void **state) {
    struct picture picture = picture_sample(64, 96);
    struct picture_job job = job_plain();
    struct bytes png = BYTES_INIT, again = BYTES_INIT, parameters = BYTES_INIT;
    struct picture_text *texts;
    struct error error;
    size_t count;
    (void)state;
    job.prompt = "a \xf0\x9f\x90\xb8";
    picture_parameters(&parameters, &job);
    assert_ok(png_encode_job(&png, &picture, &job, &error));
    assert_ok(png_encode_job(&again, &picture, &job, &error));
    assert_int_equal(png.size, again.size);
    assert_memory_equal(png.data, again.data, png.size);
    assert_ok(png_texts(&texts, &count, png.data, png.size, &error));
    assert_int_equal(count, 3);
    assert_string_equal(texts[0].key, "parameters");
    assert_string_equal(texts[0].text, bytes_text(&parameters));
    assert_string_equal(texts[1].key, "seedfarm");
    assert_string_equal(texts[1].text, job.canonical);
    assert_string_equal(texts[2].key, "seedfarm-device");
    assert_string_equal(texts[2].text, job.device_class);
    png_texts_release(texts, count);
    picture_release(&picture);
    bytes_release(&parameters);
    bytes_release(&again);
    bytes_release(&png);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plain_case),
        cmocka_unit_test(everything_said),
        cmocka_unit_test(values_are_quoted_where_they_must),
        cmocka_unit_test(schedules_have_labels),
        cmocka_unit_test(a_png_carries_its_job),
    };
    return cmocka_run_group_tests_name("infotext", tests, NULL, NULL);
}
