/* test_names.c - file names: stable, safe, and short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/names.h"

static const char *name_of(struct bytes *out, const char *prompt, const bool on_axis[FIELD_COUNT]) {
    struct spec spec;
    struct error error;
    struct digest key = { .bytes = { 0x1f, 0x3a, 0x9c, 0x0d, 0x2b, 0xff } };
    spec_init(&spec);
    assert_int_equal(spec_set(&spec, FIELD_PROMPT, prompt, &error), ERR_OK);
    assert_int_equal(spec_set(&spec, FIELD_SEED, "12", &error), ERR_OK);
    assert_int_equal(spec_set(&spec, FIELD_CFG, "4.50", &error), ERR_OK);
    assert_int_equal(spec_set(&spec, FIELD_SAMPLER, "DPM++ 2M", &error), ERR_OK);
    bytes_clear(out);
    name_picture(out, &spec, &key, on_axis);
    spec_release(&spec);
    return bytes_text(out);
}

static void test_prompt_and_seed_always_stand_in_the_name(void **state) {
    (void)state;
    static const bool none[FIELD_COUNT], both[FIELD_COUNT] = { [FIELD_PROMPT] = true, [FIELD_SEED] = true };
    struct bytes one = BYTES_INIT, two = BYTES_INIT;
    assert_string_equal(name_of(&one, "A Van Gogh painting, of a frog!", none),
                        "a-van-gogh-painting-of-a-frog_seed-12_1f3a9c0d2b.png");
    assert_string_equal(name_of(&two, "A Van Gogh painting, of a frog!", both), bytes_text(&one));
    bytes_release(&one);
    bytes_release(&two);
}

static void test_other_axes_follow_in_order(void **state) {
    (void)state;
    static const bool axes[FIELD_COUNT] = { [FIELD_CFG] = true, [FIELD_SAMPLER] = true };
    struct bytes name = BYTES_INIT;
    assert_string_equal(name_of(&name, "a frog", axes), "a-frog_seed-12_sampler-dpm-2m_cfg-4.5_1f3a9c0d2b.png");
    bytes_release(&name);
}

static void test_hostile_prompts_make_safe_names(void **state) {
    (void)state;
    static const bool none[FIELD_COUNT];
    static const char *const prompts[] = { "", "../../etc/passwd", "-rf /", "...", "\xe5\x9b\xbe\xe7\x89\x87", "a\nb\tc" };
    struct bytes name = BYTES_INIT;
    char longest[4001];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i <= sizeof prompts / sizeof *prompts; i++) {
        const char *text = name_of(&name, i < sizeof prompts / sizeof *prompts ? prompts[i] : longest, none);
        assert_true(strlen(text) < 120);
        assert_int_equal(strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789.-_"), strlen(text));
        assert_true(text[0] != '.' && text[0] != '-' && text[0] != '_');
    }
    bytes_release(&name);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompt_and_seed_always_stand_in_the_name),
        cmocka_unit_test(test_other_axes_follow_in_order),
        cmocka_unit_test(test_hostile_prompts_make_safe_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
