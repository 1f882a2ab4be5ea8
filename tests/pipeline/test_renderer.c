/* test_renderer.c - bad jobs, budgets, cancelling, broken models: what a renderer refuses, and how it says so. */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "pipeline/pipeline.h"

static struct device *device;
static struct model *model;

static void ok(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fail_msg("%s", error->message);
    }
}

static char *tiny(void) {
    return text_format("%s/tests/golden/models/tiny-a", SOURCE_DIR);
}

static int set_up(void **state) {
    (void)state;
    struct error error;
    char *folder = tiny();
    ok(device_open(&device, "cpu", "fp32", 2, &error), &error);
    ok(model_load(&model, device, folder, &error), &error);
    free(folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    model_destroy(model);
    device_close(device);
    return 0;
}

static struct render_job job_of(uint64_t seed) {
    return (struct render_job){ .prompt = "a frog", .negative = "", .seed = seed, .width = 40, .height = 24, .steps = 3,
                                .cfg = 4.0, .sampler = "Euler", .schedule = "karras", .clip_skip = 1 };
}

enum { SIZE = 40 * 24 * 3 };
static uint8_t picture[SIZE];

static struct renderer *renderer_of(uint64_t budget) {
    struct renderer *renderer;
    struct error error;
    ok(renderer_create(&renderer, model, budget, &error), &error);
    return renderer;
}

static void refuse(const struct render_job *jobs, size_t count, enum err code, const char *sentence) {
    struct renderer *renderer = renderer_of(0);
    struct render_output outputs[2];
    struct error error = { 0 };
    memset(outputs, 0x5a, sizeof outputs);
    assert_int_equal(renderer_render(renderer, jobs, count, NULL, NULL, outputs, &error), code);
    assert_string_equal(error.message, sentence);
    assert_int_equal(((uint8_t *)outputs)[0], 0x5a); /* untouched */
    renderer_destroy(renderer);
}

static void test_shape(void **state) {
    (void)state;
    const struct model_shape *shape = model_shape(model);
    assert_string_equal(shape->family, "sd1");
    assert_int_equal(shape->pixels_per_latent, 4);
    assert_int_equal(shape->latent_channels, 4);
    assert_int_equal(shape->tokens, 77);
    assert_int_equal(shape->condition_width, 40);
    assert_true(shape->parameters > 100000 && shape->weight_bytes >= 4 * shape->parameters);
}

static void test_bad_jobs(void **state) {
    (void)state;
    struct render_job job = job_of(0);
    job.width = 42;
    refuse(&job, 1, ERR_INVALID, "size: want multiples of 4, job has 42x24");
    job.width = 20000;
    refuse(&job, 1, ERR_LIMIT, "size: want at most 16384 a side, job has 20000x24");
    job = job_of(0);
    job.clip_skip = 4;
    refuse(&job, 1, ERR_INVALID, "clip_skip: want 1..3 for this model, job has 4");
    job = job_of(0);
    job.vae_tiling = 24;
    refuse(&job, 1, ERR_INVALID, "vae_tiling: want 0 or a multiple of 16 for this model, job has 24");
    job = job_of(0);
    job.cfg = INFINITY;
    refuse(&job, 1, ERR_INVALID, "cfg: want a finite number, job has inf");
    struct render_job two[2] = { job_of(0), job_of(1) };
    two[1].steps = 4;
    refuse(two, 2, ERR_INVALID, "batch: want one size, steps, sampler, schedule, prediction, vae_tiling, strength, refiner_switch,"
           " guided or not, from a picture or not, and masked or not, jobs 1 and 2 differ");
    two[1] = job_of(1);
    two[1].cfg = 1.0;
    refuse(two, 2, ERR_INVALID, "batch: want one size, steps, sampler, schedule, prediction, vae_tiling, strength, refiner_switch,"
           " guided or not, from a picture or not, and masked or not, jobs 1 and 2 differ");
    two[1] = two[0] = job_of(1);
    two[0].init = two[1].init = two[1].mask = picture;
    refuse(two, 2, ERR_INVALID, "batch: want one size, steps, sampler, schedule, prediction, vae_tiling, strength, refiner_switch,"
           " guided or not, from a picture or not, and masked or not, jobs 1 and 2 differ");
    two[1].init = NULL;
    refuse(&two[1], 1, ERR_INVALID, "init: want a picture that the mask is laid on, job has mask alone");
    refuse(two, 0, ERR_INVALID, "batch: want a job, got 0 jobs");
}

/* The picture that a renderer makes of a job, the caller's to free. */
static uint8_t *drawn_by(struct renderer *renderer, const struct render_job *job) {
    struct render_output output = { 0 };
    struct error error;
    ok(renderer_render(renderer, job, 1, NULL, NULL, &output, &error), &error);
    assert_non_null(output.rgb);
    return output.rgb;
}

static void check_same(struct renderer *one, struct renderer *other, const struct render_job *a, const struct render_job *b,
                       bool same) {
    uint8_t *left = drawn_by(one, a), *right = drawn_by(other, b);
    assert_int_equal(memcmp(left, right, SIZE) == 0, same);
    free(left);
    free(right);
}

/* A model that sees no mask: what is black stays whatever is asked for, all white is as without a mask, and a refiner goes on
 * keeping what the first model kept. */
static void test_kept(void **state) {
    (void)state;
    static uint8_t white[SIZE], black[SIZE], half[SIZE];
    struct renderer *renderer = renderer_of(0), *two = renderer_of(0);
    struct error error;
    ok(renderer_refine(two, model, &error), &error);
    memset(white, 255, SIZE);
    memset(half, 255, SIZE / 2);
    for (size_t i = 0; i < SIZE; i++) {
        picture[i] = (uint8_t)(i * i / 97 + i / 7);
    }
    struct render_job plain = job_of(3), masked, other;
    plain.schedule = "trailing";
    plain.steps = 5;
    plain.init = picture;
    plain.strength = 0.8;
    plain.refiner_switch = 0.5;
    masked = plain;
    masked.mask = white;
    check_same(renderer, renderer, &plain, &masked, true);
    for (int whole = 0; whole < 2; whole++) {
        masked.strength = whole ? 1.0 : 0.8;
        masked.mask = black;
        other = masked;
        other.prompt = "a castle";
        check_same(renderer, renderer, &masked, &other, true);
        check_same(two, two, &masked, &other, true);
        masked.mask = other.mask = half;
        check_same(renderer, renderer, &masked, &other, false);
        check_same(renderer, two, &masked, &masked, true); /* one model as its own refiner */
    }
    renderer_destroy(two);
    renderer_destroy(renderer);
}

static void test_budget(void **state) {
    (void)state;
    uint64_t one, many;
    struct error error = { 0 };
    ok(render_memory(&one, model, &(struct render_size){ .width = 40, .height = 24, .batch = 1, .guided = true }, &error), &error);
    ok(render_memory(&many, model, &(struct render_size){ .width = 40, .height = 24, .batch = 8, .guided = true }, &error), &error);
    assert_true(many > one);
    struct renderer *renderer = renderer_of(one);
    struct render_job jobs[8];
    struct render_output outputs[8] = { 0 };
    for (uint64_t i = 0; i < 8; i++) {
        jobs[i] = job_of(i);
    }
    assert_int_equal(renderer_render(renderer, jobs, 8, NULL, NULL, outputs, &error), ERR_MEMORY);
    assert_non_null(strstr(error.message, "memory: want at most the budget of "));
    assert_non_null(strstr(error.message, " bytes, a batch of 8 at 40x24 needs "));
    /* one kind of batch after the other fits into the budget of the largest */
    for (uint32_t width = 20; width <= 40; width += 4) {
        jobs[0].width = width;
        ok(renderer_render(renderer, jobs, 1, NULL, NULL, outputs, &error), &error);
        render_output_release(&outputs[0]);
    }
    renderer_destroy(renderer);
    assert_int_equal(renderer_create(&renderer, model, 1000, &error), ERR_MEMORY);
}

/* What is predicted from the files is what a loaded model and its run take, to the byte. */
static void test_prediction(void **state) {
    (void)state;
    char *folder = tiny();
    const struct model_files files = { .model = folder };
    const struct render_size size = { .width = 40, .height = 24, .batch = 3, .guided = true };
    struct memory_need need;
    uint64_t run;
    struct error error = { 0 };
    ok(model_memory(&need, device, &files, NULL, &size, &error), &error);
    ok(render_memory(&run, model, &size, &error), &error);
    assert_int_equal(need.weights, model_shape(model)->weight_bytes);
    assert_int_equal(need.run, run);
    ok(model_memory_check(&need, device, &files, NULL, &size, 0, &error), &error);
    ok(model_memory_check(&need, device, &files, NULL, &size, need.weights + need.run, &error), &error);
    assert_int_equal(model_memory_check(&need, device, &files, NULL, &size, need.weights + need.run - 1, &error), ERR_MEMORY);
    assert_non_null(strstr(error.message, "memory: want at most the budget of "));
    assert_non_null(strstr(error.message, " and a batch of 3 at 40x24 "));
    free(folder);
}

/* From a picture, around a mask, with noise on the way: all that a run may have, predicted to the byte. */
static void test_prediction_from_pictures(void **state) {
    (void)state;
    struct render_size size = { .width = 96, .height = 96, .batch = 1, .vae_tiling = 16 };
    uint64_t fresh, started;
    struct error error = { 0 };
    struct render_output output = { 0 };
    uint8_t *grey = memory_get(96 * 96 * 3);
    struct render_job job = job_of(0);
    job.width = job.height = 96;
    job.vae_tiling = 16;
    job.cfg = 1.0;
    job.sampler = "Euler a";
    job.strength = 0.5;
    job.init = job.mask = grey;
    ok(render_memory(&fresh, model, &size, &error), &error);
    size.started = true;
    ok(render_memory(&started, model, &size, &error), &error);
    assert_true(started > fresh);
    struct renderer *renderer = renderer_of(started);
    ok(renderer_render(renderer, &job, 1, NULL, NULL, &output, &error), &error);
    render_output_release(&output);
    renderer_destroy(renderer);
    renderer = renderer_of(started - 1);
    assert_int_equal(renderer_render(renderer, &job, 1, NULL, NULL, &output, &error), ERR_MEMORY);
    renderer_destroy(renderer);
    free(grey);
}

static uint64_t need_at(struct device *on, const struct model_files *files, struct render_size size) {
    struct memory_need need;
    struct error error;
    ok(model_memory(&need, on, files, NULL, &size, &error), &error);
    return need.weights + need.run;
}

/* What a sentence says would fit does, and the next larger does not. */
static void test_what_would_fit(void **state) {
    (void)state;
    char *folder = tiny();
    const struct model_files files = { .model = folder };
    const struct render_size batch = { .width = 40, .height = 24, .batch = 9, .guided = true };
    struct render_size one = batch;
    struct memory_need need;
    struct error error = { 0 };
    char words[80];
    for (uint32_t fitting = 1; fitting < 9; fitting += 3) {
        struct render_size smaller = batch;
        smaller.batch = fitting;
        uint64_t budget = need_at(device, &files, smaller);
        assert_int_equal(model_memory_check(&need, device, &files, NULL, &batch, budget, &error), ERR_MEMORY);
        snprintf(words, sizeof words, " too many; a batch of %u would fit", fitting);
        assert_non_null(strstr(error.message, words));
        snprintf(words, sizeof words, ", %" PRIu64 " too many", need_at(device, &files, batch) - budget);
        assert_non_null(strstr(error.message, words));
    }
    one.batch = 1;
    one.width = 320; /* of 4 pixels a latent: eighths of 40x24 */
    one.height = 192;
    struct render_size smaller = one;
    smaller.width = 200;
    smaller.height = 120;
    ok(model_memory_check(&need, device, &files, NULL, &smaller, need_at(device, &files, smaller), &error), &error);
    assert_int_equal(model_memory_check(&need, device, &files, NULL, &one, need_at(device, &files, smaller), &error), ERR_MEMORY);
    assert_non_null(strstr(error.message, "one of 200x120 would fit"));
    assert_int_equal(model_memory_check(&need, device, &files, NULL, &one, need_at(device, &files, smaller) - 1, &error), ERR_MEMORY);
    assert_non_null(strstr(error.message, "one of 180x108 would fit"));
    assert_int_equal(model_memory_check(&need, device, &files, NULL, &one, 1000, &error), ERR_MEMORY);
    assert_non_null(strstr(error.message, "no smaller size of this shape would fit"));
    one.width = one.height = 1024;
    smaller = one;
    smaller.vae_tiling = 512;
    assert_int_equal(model_memory_check(&need, device, &files, NULL, &one, need_at(device, &files, smaller), &error), ERR_MEMORY);
    assert_non_null(strstr(error.message, "with vae_tiling: 512 one would fit, or one of "));
    free(folder);
}

/* A merged weight is f32 whatever its file holds: counted without merging it. */
static void test_budget_with_loras(void **state) {
    (void)state;
    char *folder = tiny();
    const struct model_lora lora = { SOURCE_DIR "/tests/golden/extras/kohya.safetensors", 0.5 };
    const struct model_files files = { .model = folder, .loras = &lora, .lora_count = 1 };
    const struct render_size size = { .width = 40, .height = 24, .batch = 1, .guided = true };
    struct memory_need need, plain;
    struct model *merged;
    struct error error = { 0 };
    ok(model_memory(&need, device, &files, NULL, &size, &error), &error);
    ok(model_memory(&plain, device, &(struct model_files){ .model = folder }, NULL, &size, &error), &error);
    ok(model_load_files(&merged, device, &files, &error), &error);
    assert_int_equal(need.weights, model_shape(merged)->weight_bytes);
    assert_true(need.weights >= plain.weights);
    model_destroy(merged);
    free(folder);
}

/* One latent, and a strip of them: levels of a single place. */
static void test_smallest(void **state) {
    (void)state;
    struct renderer *renderer = renderer_of(0);
    struct render_job job = job_of(0);
    struct render_output output = { 0 };
    struct error error;
    for (int i = 0; i < 2; i++) {
        job.width = i == 0 ? 4 : 100;
        job.height = 4;
        ok(renderer_render(renderer, &job, 1, NULL, NULL, &output, &error), &error);
        assert_int_equal(output.error.code, ERR_OK);
        assert_int_equal(output.width, job.width);
        render_output_release(&output);
    }
    renderer_destroy(renderer);
}

struct stop {
    enum render_phase phase;
    uint32_t step, calls;
};

static bool stop_at(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    struct stop *stop = context;
    assert_int_equal(steps, 3);
    stop->calls++;
    return !(phase == stop->phase && step == stop->step);
}

static void test_cancel(void **state) {
    (void)state;
    struct renderer *renderer = renderer_of(0);
    struct render_job job = job_of(0);
    struct render_output output = { 0 };
    struct stop stops[] = { { RENDER_TEXT, 0, 0 }, { RENDER_STEP, 2, 0 }, { RENDER_DECODE, 3, 0 }, { RENDER_STEP, 9, 0 } };
    const uint32_t calls[] = { 1, 3, 5, 5 };
    for (size_t i = 0; i < 4; i++) {
        struct error error = { 0 };
        struct render_watch watch = { .progress = stop_at, .context = &stops[i] };
        enum err err = renderer_render(renderer, &job, 1, &watch, NULL, &output, &error);
        assert_int_equal(err, i < 3 ? ERR_CANCELLED : ERR_OK);
        assert_int_equal(stops[i].calls, calls[i]);
    }
    render_output_release(&output);
    renderer_destroy(renderer);
}

/* Guidance so large that numbers overflow: an error of that picture alone. */
static void test_not_finite(void **state) {
    (void)state;
    struct renderer *renderer = renderer_of(0);
    struct render_job jobs[3] = { job_of(0), job_of(1), job_of(2) };
    struct render_output batch[3] = { 0 }, alone = { 0 };
    struct error error;
    jobs[1].cfg = 1e38;
    ok(renderer_render(renderer, jobs, 3, NULL, NULL, batch, &error), &error);
    assert_int_equal(batch[1].error.code, ERR_NUMERIC);
    assert_null(batch[1].rgb);
    assert_non_null(strstr(batch[1].error.message, "U-Net or VAE output holds "));
    assert_int_equal(batch[0].error.code, ERR_OK);
    ok(renderer_render(renderer, &jobs[2], 1, NULL, NULL, &alone, &error), &error);
    assert_memory_equal(batch[2].rgb, alone.rgb, 40 * 24 * 3);
    for (size_t i = 0; i < 3; i++) {
        render_output_release(&batch[i]);
    }
    render_output_release(&alone);
    renderer_destroy(renderer);
}

/* A copy of the tiny model by links, with `file` replaced by `text` (NULL: left out). */
static char *broken_model(const char *file, const char *text) {
    static const char *const FILES[] = {
        "model_index.json", "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors",
        "tokenizer/merges.txt", "tokenizer/tokenizer_config.json", "tokenizer/vocab.json", "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors" };
    static const char *const FOLDERS[] = { "scheduler", "text_encoder", "tokenizer", "unet", "vae" };
    struct error error;
    char *folder = text_format("%s/broken-model", BINARY_DIR), *source = tiny();
    for (size_t i = 0; i < sizeof FOLDERS / sizeof *FOLDERS; i++) {
        char *path = path_join(folder, FOLDERS[i]);
        ok(folder_create(path, &error), &error);
        free(path);
    }
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char *from = path_join(source, FILES[i]), *to = path_join(folder, FILES[i]);
        unlink(to);
        if (strcmp(file, FILES[i]) != 0) {
            assert_int_equal(symlink(from, to), 0);
        } else if (text != NULL) {
            ok(file_write(to, text, strlen(text), &error), &error);
        }
        free(from);
        free(to);
    }
    free(source);
    return folder;
}

static void refuse_model(const char *file, const char *text, enum err code, const char *part) {
    struct error error = { 0 };
    struct model *loaded;
    char *folder = broken_model(file, text);
    assert_int_equal(model_load(&loaded, device, folder, &error), code);
    if (strstr(error.message, part) == NULL) {
        fail_msg("want \"%s\" in \"%s\"", part, error.message);
    }
    free(folder);
}

/* The tiny U-Net's config with `from` replaced by `to`. */
static void refuse_unet(const char *from, const char *to, enum err code, const char *part) {
    struct error error;
    struct bytes text = BYTES_INIT, changed = BYTES_INIT;
    char *folder = tiny(), *path = path_join(folder, "unet/config.json");
    ok(file_read(&text, path, 1 << 20, &error), &error);
    const char *place = strstr(bytes_text(&text), from);
    assert_non_null(place);
    bytes_add(&changed, text.data, (size_t)(place - bytes_text(&text)));
    bytes_add_text(&changed, to);
    bytes_add_text(&changed, place + strlen(from));
    refuse_model("unet/config.json", bytes_text(&changed), code, part);
    bytes_release(&text);
    bytes_release(&changed);
    free(folder);
    free(path);
}

static void test_broken_models(void **state) {
    (void)state;
    refuse_model("model_index.json", NULL, ERR_NOT_FOUND, "model_index.json");
    refuse_model("model_index.json", "{\"_class_name\":\"FluxPipeline\"}", ERR_UNSUPPORTED,
                 "_class_name: want one of StableDiffusionPipeline, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline,"
                 " LatentConsistencyModelPipeline, LatentConsistencyModelImg2ImgPipeline, StableDiffusionXLPipeline,"
                 " StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline, file has FluxPipeline");
    refuse_model("model_index.json", "{\"_class_name\":\"StableDiffusionXLPipeline\", \"text_encoder\": [\"transformers\","
                 " \"CLIPTextModel\"]}", ERR_NOT_FOUND, "tokenizer_2");
    refuse_model("unet/diffusion_pytorch_model.safetensors", NULL, ERR_NOT_FOUND, "unet");
    refuse_model("vae/diffusion_pytorch_model.safetensors", "short", ERR_CORRUPT, "vae");
    refuse_unet("\"use_linear_projection\": false", "\"use_linear_projection\": true", ERR_CORRUPT,
                "unet: down_blocks.0.attentions.0.proj_in.weight: want [16,16], file has [16,16,1,1]");
    refuse_unet("\"layers_per_block\": 2", "\"layers_per_block\": 1", ERR_CORRUPT, "unet: ");
    refuse_unet("\"cross_attention_dim\": 40", "\"cross_attention_dim\": 48", ERR_CORRUPT,
                "attn2.to_k.weight: want [16,48], file has [16,40]");
    refuse_unet("\"in_channels\": 4", "\"in_channels\": 8", ERR_UNSUPPORTED, "or for inpainting twice as many and a mask (9)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),  cmocka_unit_test(test_bad_jobs),   cmocka_unit_test(test_kept), cmocka_unit_test(test_budget),
        cmocka_unit_test(test_prediction), cmocka_unit_test(test_prediction_from_pictures),
        cmocka_unit_test(test_what_would_fit), cmocka_unit_test(test_budget_with_loras),
        cmocka_unit_test(test_cancel), cmocka_unit_test(test_not_finite), cmocka_unit_test(test_broken_models),
        cmocka_unit_test(test_smallest),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
