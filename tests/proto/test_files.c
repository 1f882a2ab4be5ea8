/* Fields that hold files: lists and their normal form, what an old sweep or job keeps, names that become digests. */
#include "proto/file_names.h"
#include "proto/spec.h"
#include "proto/sweep.h"
#include "fixture.h"

#define INK "0000000000000000000000000000000000000000000000000000000000000001"
#define FROG "0000000000000000000000000000000000000000000000000000000000000002"

static char *folder; /* a model "demo", LoRAs "ink" and "lora/frog", a picture */

static int set_up(void **state)
{
    (void)state;
    folder = folder_new();
    model_put(folder, "demo", 3, 16);
    file_put(folder, "ink.safetensors", "ink");
    file_put(folder, "lora/frog.safetensors", "frog");
    file_put(folder, "embeddings/word.safetensors", "word");
    file_put(folder, "odd+name:2.safetensors", "odd");
    file_put(folder, "old.pt", "pickle");
    file_put(folder, "start.png", "picture");
    setenv("SEEDFARM_MODELS", folder, 1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    folder_drop(folder);
    return 0;
}

static const char *normal(struct spec *spec, enum field field, const char *text)
{
    static struct bytes out;
    struct error error;
    assert_ok(spec_set(spec, field, text, &error));
    bytes_clear(&out);
    spec_get(&out, spec, field);
    return bytes_text(&out);
}

static void test_lists(void **state)
{
    (void)state;
    struct error error;
    struct spec spec;
    struct lora_use loras[LIMIT_LORAS];
    struct embedding_use words[LIMIT_EMBEDDINGS];
    struct digest files[SPEC_FILES_LIMIT];
    spec_init(&spec);
    assert_string_equal(normal(&spec, FIELD_LORA, INK ":0.80+" FROG), INK ":0.8+" FROG ":1");
    assert_int_equal(spec_loras(loras, &spec), 2);
    assert_true(decimal_value(loras[0].weight) == 0.8 && loras[1].file.bytes[31] == 2);
    assert_string_equal(normal(&spec, FIELD_EMBEDDING, INK ":frog-style"), INK ":frog-style");
    assert_int_equal(spec_embeddings(words, &spec), 1);
    assert_string_equal(words[0].word, "frog-style");
    assert_string_equal(normal(&spec, FIELD_VAE, FROG), FROG);
    assert_int_equal(spec_files(files, &spec), 2); /* each once */
    assert_string_equal(normal(&spec, FIELD_VAE, ""), "");
    assert_string_equal(normal(&spec, FIELD_LORA, ""), "");
    assert_null(spec.lora);

    assert_fails(spec_set(&spec, FIELD_LORA, "ink", &error), ERR_INVALID, "lora: want a digest");
    assert_fails(spec_set(&spec, FIELD_LORA, INK ":x", &error), ERR_INVALID, "lora: weight: want a decimal number");
    assert_fails(spec_set(&spec, FIELD_LORA, INK ":101", &error), ERR_INVALID, "lora: want a weight of -100..100, have 101");
    assert_fails(spec_set(&spec, FIELD_LORA, INK "+", &error), ERR_INVALID, "behind the last \"+\"");
    assert_fails(spec_set(&spec, FIELD_LORA, INK "+" FROG "+" INK, &error), ERR_INVALID, "want every file once, the 3. is the 1.");
    assert_fails(spec_set(&spec, FIELD_EMBEDDING, INK, &error), ERR_INVALID, "want a word of 1..64 bytes");
    assert_fails(spec_set(&spec, FIELD_EMBEDDING, INK ":a b", &error), ERR_INVALID, "want a word without spaces");
    assert_fails(spec_set(&spec, FIELD_EMBEDDING, INK ":frog+" FROG ":FROG", &error), ERR_INVALID,
                 "want every word once (letter case does not matter), the 1. and the 2. are \"FROG\"");
    assert_fails(spec_set(&spec, FIELD_INIT, "x.png", &error), ERR_INVALID, "init: want a digest");

    struct bytes many = BYTES_INIT;
    for (int i = 0; i <= LIMIT_LORAS; i++)
        bytes_add_format(&many, "%s%064d", i ? "+" : "", i + 1);
    assert_fails(spec_set(&spec, FIELD_LORA, bytes_text(&many), &error), ERR_LIMIT, "lora: want at most 16 files");
    bytes_release(&many);
    spec_release(&spec);
}

/* A job without files is what it was before there were any, and one with files says so. */
static void test_keys(void **state)
{
    (void)state;
    struct error error;
    struct spec spec, again;
    struct bytes text = BYTES_INIT;
    spec_init(&spec);
    assert_ok(spec_set(&spec, FIELD_MODEL, INK, &error));
    assert_ok(spec_check(&spec, &error));
    spec_canonical(&text, &spec);
    assert_string_equal(bytes_text(&text), "{\"cfg\":\"7\",\"model\":\"" INK "\",\"prompt\":\"\",\"render\":1,\"sampler\":\"Euler\","
                        "\"schedule\":\"uniform\",\"seed\":\"0\",\"size\":\"512x512\",\"steps\":\"20\"}");
    assert_ok(spec_set(&spec, FIELD_LORA, FROG ":0.5", &error));
    assert_ok(spec_set(&spec, FIELD_INIT, INK, &error));
    assert_ok(spec_set(&spec, FIELD_VAE, FROG, &error));
    bytes_clear(&text);
    spec_canonical(&text, &spec);
    assert_non_null(strstr(bytes_text(&text), "\"cfg\":\"7\",\"init\":\"" INK "\",\"lora\":\"" FROG ":0.5\",\"model\""));
    assert_non_null(strstr(bytes_text(&text), "\"steps\":\"20\",\"vae\":\"" FROG "\"}"));
    assert_ok(spec_parse(&again, text.data, text.size, &error));
    assert_string_equal(again.lora, FROG ":0.5");
    spec_release(&again);
    bytes_release(&text);
    spec_release(&spec);
}

static void test_batches(void **state)
{
    (void)state;
    static const struct { enum field field; const char *a, *b; bool together; } cases[] = {
        {FIELD_VAE, INK, FROG, false}, {FIELD_LORA, INK, FROG, false}, {FIELD_LORA, INK, "", false},
        {FIELD_LORA, INK ":1", INK, true}, {FIELD_EMBEDDING, INK ":a", INK ":b", false}, {FIELD_INIT, INK, FROG, true},
        {FIELD_INIT, INK, "", false}, {FIELD_MASK, "", FROG, false}, {FIELD_DETERMINISTIC, "true", "yes", true},
        {FIELD_DETERMINISTIC, "true", "false", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error error;
        struct spec a, b;
        spec_init(&a);
        spec_init(&b);
        assert_ok(spec_set(&a, cases[i].field, cases[i].a, &error));
        assert_ok(spec_set(&b, cases[i].field, cases[i].b, &error));
        assert_int_equal(spec_batches_with(&a, &b), cases[i].together);
        spec_release(&a);
        spec_release(&b);
    }
}

static char *digest_text(const char *data)
{
    static char hex[4][DIGEST_HEX_SIZE];
    static int next;
    struct digest digest = digest_of(data, strlen(data));
    next = (next + 1) % 4;
    digest_hex(&digest, hex[next]);
    return hex[next];
}

/* What stands on the lora axis of this sweep file, joined by "|"; or its fixed value. */
static void loras_are(const char *yaml, const char *want)
{
    struct error error;
    struct sweep_file file;
    struct bytes have = BYTES_INIT;
    char *text = text_format("prompt: a frog\nseed: 1\n%s", yaml);
    assert_ok(sweep_file_parse(&file, text, strlen(text), "frog.yaml", folder, &error));
    for (uint64_t i = 0; i < sweep_jobs(&file.sweep); i++) {
        struct spec spec;
        assert_ok(sweep_job(&spec, &file.sweep, i, &error));
        bytes_add_format(&have, "%s%s", i ? "|" : "", spec.lora ? spec.lora : "");
        spec_release(&spec);
    }
    assert_string_equal(bytes_text(&have), want);
    struct bytes json = BYTES_INIT;
    struct sweep again;
    assert_ok(sweep_resolved(&json, &file.sweep, &error));
    assert_ok(sweep_parse(&again, json.data, json.size, &error));
    sweep_release(&again);
    bytes_release(&json);
    bytes_release(&have);
    sweep_file_release(&file);
    free(text);
}

static void test_sweep_forms(void **state)
{
    (void)state;
    const char *ink = digest_text("ink"), *frog = digest_text("frog"), *odd = digest_text("odd");
    char *two = text_format("%s:0.8+%s:1", ink, frog), *want;
    loras_are("lora: ink.safetensors:0.8+frog\n", two);
    loras_are("lora: {ink: 0.8, lora/frog.safetensors: 1}\n", two);
    want = text_format("|%s|%s:1", two, frog);
    loras_are("lora: [\"\", ink:0.80+frog, frog]\n", want);
    loras_are("lora: [\"\", {ink: 0.8, frog: 1}, {frog: 1}]\n", want);
    free(want);
    want = text_format("%s:-2", odd);
    loras_are("lora: {\"odd+name:2.safetensors\": -2}\n", want);
    free(want);
    file_put(folder, "loras.csv", "lora\nink:0.8+frog\n\"\"\n");
    want = text_format("%s|", two);
    loras_are("rows: loras.csv\n", want);
    free(want);
    free(two);
}

static void refused(const char *yaml, enum err code, const char *words)
{
    struct error error;
    struct sweep_file file;
    char *text = text_format("prompt: a frog\nseed: 1\n%s", yaml);
    assert_fails(sweep_file_parse(&file, text, strlen(text), "frog.yaml", folder, &error), code, words);
    free(text);
}

static void test_sweep_refusals(void **state)
{
    (void)state;
    refused("lora: nowhere\n", ERR_NOT_FOUND, "frog.yaml:3: lora: \"nowhere\": no such file beside");
    refused("init: ink\n", ERR_NOT_FOUND, "frog.yaml:3: init: \"ink\": no such file");
    refused("embedding: old.pt\n", ERR_UNSUPPORTED, "is a pickle, which can run any code when it is read and is refused; convert it");
    refused("lora: {ink: [1, 2]}\n", ERR_INVALID, "frog.yaml:3: lora: ink: want a number or a word");
    refused("lora: ink:200\n", ERR_INVALID, "frog.yaml:3: lora: want a weight of -100..100, have 200");
    refused("lora: ink+ink\n", ERR_INVALID, "want every file once");
    refused("vae: {ink: 1}\n", ERR_INVALID, "unknown key \"ink\"");
}

static void test_book(void **state)
{
    (void)state;
    struct error error;
    struct sweep_file file;
    static const char yaml[] = "prompt: a word\nseed: 1..3\ninit: start.png\nembedding: [word, embeddings/word.safetensors:other]\n"
                               "vae: ink\n";
    assert_ok(sweep_file_parse(&file, yaml, sizeof yaml - 1, "frog.yaml", folder, &error));
    assert_int_equal(file.files.count, 4);
    assert_string_equal(path_name(file.files.files[0].path), "start.png");
    assert_string_equal(digest_text("picture"), normal(&file.sweep.fixed, FIELD_INIT, digest_text("picture")));
    sweep_file_release(&file);
}

/* The id of a sweep from before there were files. */
static void test_old_sweep(void **state)
{
    (void)state;
    struct error error;
    struct sweep sweep;
    struct bytes again = BYTES_INIT;
    static const char old[] =
        "{\"axes\":[{\"fields\":[\"seed\"],\"from\":\"0\",\"step\":\"1\",\"to\":\"9\"}],\"exclude\":[],\"fixed\":{\"cfg\":\"7\","
        "\"clip_skip\":\"1\",\"model\":\"" INK "\",\"negative\":\"\",\"numerics\":\"fp32\",\"prompt\":\"a frog\",\"rng\":\"cpu\","
        "\"sampler\":\"Euler\",\"schedule\":\"automatic\",\"size\":\"64x64\",\"steps\":\"20\",\"syntax\":\"plain\"},\"sweep\":1}";
    assert_ok(sweep_parse(&sweep, old, sizeof old - 1, &error));
    assert_ok(sweep_resolved(&again, &sweep, &error));
    assert_string_equal(bytes_text(&again), old);
    bytes_release(&again);
    sweep_release(&sweep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists), cmocka_unit_test(test_keys), cmocka_unit_test(test_batches),
        cmocka_unit_test(test_sweep_forms), cmocka_unit_test(test_sweep_refusals), cmocka_unit_test(test_book),
        cmocka_unit_test(test_old_sweep),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
