/* test_preview_card.c - previews of an emulated card: the CPU's, and free. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/emulation/emulation.h"
#include "tests/pipeline/preview_kit.h"

/* A card's are the CPU's to a level, though they come while it goes on; and the host waits no more often for them. */
static void test_card(void **state) {
    (void)state;
    enum { CARD_STEPS = 6 };
    struct studio cpu = studio_of("cpu", "tests/golden/models/tiny-b"), card = studio_of("emulated:0", "tests/golden/models/tiny-b");
    struct seen wanted = { .wanted = 1 }, seen = { .wanted = 1 }, none = { .wanted = PREVIEW_NONE };
    struct render_output outputs[4][COUNT];
    struct render_job jobs[COUNT] = { job_of(1, "DPM++ 2M"), job_of(2, "DPM++ 2M") };
    for (int i = 0; i < COUNT; i++) {
        jobs[i].width = jobs[i].height = 8 * LATENTS;
        jobs[i].steps = CARD_STEPS;
    }
    draw(outputs[0], &cpu, jobs, &wanted);
    assert_int_equal(wanted.count, CARD_STEPS);
    draw(outputs[1], &card, jobs, &none); /* recorded, captured */
    uint64_t before = emulation_waits();
    draw(outputs[2], &card, jobs, &none);
    uint64_t without = emulation_waits() - before;
    before = emulation_waits();
    draw(outputs[3], &card, jobs, &seen);
    uint64_t with = emulation_waits() - before;
    assert_true(seen.count >= 2 && with <= without);
    for (size_t i = 0; i < seen.count; i++) {
        const uint8_t *want = wanted.list[seen.list[i].step - 1].rgb;
        for (size_t j = 0; j < sizeof wanted.list[0].rgb; j++) {
            assert_true(abs(seen.list[i].rgb[j] - want[j]) <= 1);
        }
    }
    for (int i = 0; i < COUNT; i++) {
        assert_memory_equal(outputs[2][i].rgb, outputs[3][i].rgb, (size_t)jobs[i].width * jobs[i].height * 3);
    }
    for (int i = 0; i < 4; i++) {
        render_output_release(&outputs[i][0]);
        render_output_release(&outputs[i][1]);
    }
    studio_close(&card);
    studio_close(&cpu);
}

int main(void) {
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_card) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
