/*
 * test_tokenizer.c - ids against transformers' (tests/golden/record_tokenizer.py), and files that must be refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/json.h"
#include "pipeline/text/tokenizer_files.h"

static const struct { const char *name, *path; } FOLDERS[] = {
    { "demo", SOURCE_DIR "/models/demo/tokenizer" },
    { "tokenizer-json", SOURCE_DIR "/tests/golden/tokenizer-json" },
    { "tokenizer-sd1", SOURCE_DIR "/tests/golden/tokenizer-sd1" },
};
enum { FOLDER_COUNT = sizeof FOLDERS / sizeof *FOLDERS };

static void check_line(struct tokenizer *const *tokenizers, const json_t *line) {
    struct error error;
    int32_t ids[77];
    uint32_t cut = 1000;
    size_t folder = 0;
    const char *text = json_string_value(json_object_get(line, "text"));
    const json_t *want = json_object_get(line, "ids");
    while (strcmp(FOLDERS[folder].name, json_string_value(json_object_get(line, "folder"))) != 0)
        assert_true(++folder < FOLDER_COUNT);
    if (tokenizer_encode(ids, &cut, tokenizers[folder], text, &error) != ERR_OK)
        fail_msg("\"%s\": %s", text, error.message);
    assert_int_equal(json_array_size(want), 77);
    for (size_t i = 0; i < 77; i++)
        if (ids[i] != json_integer_value(json_array_get(want, i)))
            fail_msg("%s \"%s\": id %zu: want %d, got %d", FOLDERS[folder].name, text, i,
                     (int)json_integer_value(json_array_get(want, i)), (int)ids[i]);
    assert_int_equal(cut, json_integer_value(json_object_get(line, "cut")));
}

static void test_goldens(void **state) {
    (void)state;
    struct tokenizer *tokenizers[FOLDER_COUNT];
    struct bytes file = BYTES_INIT;
    struct error error;
    size_t lines = 0;
    for (size_t i = 0; i < FOLDER_COUNT; i++)
        if (tokenizer_open(&tokenizers[i], FOLDERS[i].path, &error) != ERR_OK)
            fail_msg("%s", error.message);
    assert_int_equal(file_read(&file, SOURCE_DIR "/tests/golden/tokenizer.jsonl", 4 << 20, &error), ERR_OK);
    for (char *at = (char *)file.data, *end; *at; at = end + 1, lines++) {
        json_t *line;
        end = strchr(at, '\n');
        assert_int_equal(json_parse(&line, at, (size_t)(end - at), "tokenizer.jsonl", &error), ERR_OK);
        check_line(tokenizers, line);
        json_decref(line);
    }
    assert_true(lines > 400);
    bytes_release(&file);
    for (size_t i = 0; i < FOLDER_COUNT; i++)
        tokenizer_close(tokenizers[i]);
}

static void test_facts(void **state) {
    (void)state;
    struct tokenizer *tokenizer;
    struct error error;
    assert_int_equal(tokenizer_open(&tokenizer, FOLDERS[0].path, &error), ERR_OK);
    assert_int_equal(tokenizer_length(tokenizer), 77);
    assert_int_equal(tokenizer_vocabulary(tokenizer), 922);
    tokenizer_close(tokenizer);
}

static void test_bad_texts(void **state) {
    (void)state;
    static const char *const BAD[] = { "\xff", "abc\xc3", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\x80" };
    struct tokenizer *tokenizer;
    struct error error;
    int32_t ids[77] = { 7 };
    uint32_t cut = 7;
    assert_int_equal(tokenizer_open(&tokenizer, FOLDERS[0].path, &error), ERR_OK);
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_int_equal(tokenizer_encode(ids, &cut, tokenizer, BAD[i], &error), ERR_INVALID);
    char *text = memory_get(TOKENIZER_PROMPT_LIMIT + 2);
    memset(text, 'x', TOKENIZER_PROMPT_LIMIT + 1);
    assert_int_equal(tokenizer_encode(ids, &cut, tokenizer, text, &error), ERR_LIMIT);
    assert_non_null(strstr(error.message, "65537"));
    assert_int_equal(ids[0], 7); /* untouched */
    assert_int_equal(cut, 7);
    text[TOKENIZER_PROMPT_LIMIT] = '\0'; /* the longest word there may be, and quick */
    assert_int_equal(tokenizer_encode(ids, &cut, tokenizer, text, &error), ERR_OK);
    assert_int_equal(tokenizer_encode(ids, NULL, tokenizer, text, &error), ERR_OK);
    free(text);
    tokenizer_close(tokenizer);
}

#define MARKS "\"<|startoftext|>\":2,\"<|endoftext|>\":3"
#define VOCAB "{\"a\":0,\"b</w>\":1," MARKS ",\"ab</w>\":4}"

/* Files and a piece of the sentence that refuses them. NULL: that file is not there. */
static const struct refusal {
    const char *vocab, *merges, *tokenizer, *config, *special, *added, *sentence;
} REFUSALS[] = {
    { NULL, NULL, NULL, NULL, NULL, NULL, "want vocab.json and merges.txt, or tokenizer.json" },
    { VOCAB, NULL, NULL, NULL, NULL, NULL, "no merges.txt" },
    { "", "", NULL, NULL, NULL, NULL, "vocab.json" },
    { "[]", "", NULL, NULL, NULL, NULL, "want a JSON object" },
    { "{\"a\":0,\"a\":1}", "", NULL, NULL, NULL, NULL, "duplicate" },
    { "{\"a\":-1," MARKS "}", "", NULL, NULL, NULL, NULL, "want an id in 0..999999" },
    { "{\"a\":1000000," MARKS "}", "", NULL, NULL, NULL, NULL, "want an id in 0..999999" },
    { "{\"a\":\"0\"," MARKS "}", "", NULL, NULL, NULL, NULL, "another kind of value" },
    { "{\"a\":2," MARKS "}", "", NULL, NULL, NULL, NULL, "2 twice" },
    { VOCAB, "a b</w>\nab\n", NULL, NULL, NULL, NULL, "line 2: want two tokens" },
    { VOCAB, "a b c\n", NULL, NULL, NULL, NULL, "line 1: want two tokens" },
    { VOCAB, "\n", NULL, NULL, NULL, NULL, "line 1: want two tokens" },
    { VOCAB, "#version: 0.2\na c\n", NULL, NULL, NULL, NULL, "line 2: want tokens of the vocabulary, it has no \"c\"" },
    { VOCAB, "b</w> a\n", NULL, NULL, NULL, NULL, "it has no \"b</w>a\"" },
    { VOCAB, "", NULL, "{\"tokenizer_class\":\"T5Tokenizer\"}", NULL, NULL, "want a CLIPTokenizer" },
    { VOCAB, "", NULL, "{\"model_max_length\":2}", NULL, NULL, "model_max_length in 3..4096" },
    { VOCAB, "", NULL, "{\"model_max_length\":77.5}", NULL, NULL, "want a whole model_max_length" },
    { VOCAB, "", NULL, "{\"padding_side\":\"left\"}", NULL, NULL, "want padding_side right" },
    { VOCAB, "", NULL, "{\"pad_token\":null}", NULL, NULL, "want a pad_token, file has null" },
    { VOCAB, "", NULL, "{\"eos_token\":\"\"}", NULL, NULL, "want a eos_token, file has an empty text" },
    { VOCAB, "", NULL, "{\"bos_token\":5}", NULL, NULL, "bos_token: want a text" },
    { VOCAB, "", NULL, NULL, "{\"pad_token\":{\"content\":\"!\",\"lstrip\":true}}", NULL, "want lstrip false" },
    { VOCAB, "", NULL, NULL, NULL, "{\"<cat>\":9}", "want id 5, the next free one, file has 9" },
    { VOCAB, "", NULL, NULL, NULL, "{\"<cat>\":\"9\"}", "want a content and an id" },
    { VOCAB, "", NULL, "{\"added_tokens_decoder\":{\"x\":{\"content\":\"<cat>\"}}}", NULL, NULL, "want a content and an id" },
    { NULL, NULL, "{}", NULL, NULL, NULL, "want an object model.vocab" },
    { NULL, NULL, "{\"model\":{\"type\":\"Unigram\",\"vocab\":[]}}", NULL, NULL, NULL, "want a model of type BPE, file has Unigram" },
    { NULL, NULL, "{\"model\":{\"vocab\":" VOCAB ",\"merges\":[\"a\"]}}", NULL, NULL, NULL, "merge 0: want two tokens" },
    { NULL, NULL, "{\"model\":{\"vocab\":" VOCAB ",\"merges\":[[\"a\",\"b</w>\"],[\"a\"]]}}", NULL, NULL, NULL, "merge 1: want two tokens" },
    { NULL, NULL, "{\"model\":{\"vocab\":" VOCAB ",\"merges\":[5]}}", NULL, NULL, NULL, "merge 0: want two tokens" },
};

static void fill(struct bytes *bytes, const char *text) {
    if (text)
        bytes_add_text(bytes, text);
}

static enum err open_texts(struct tokenizer **tokenizer, const struct refusal *texts, struct error *error) {
    struct tokenizer_files files = { 0 };
    fill(&files.vocab, texts->vocab);
    fill(&files.merges, texts->merges);
    fill(&files.tokenizer, texts->tokenizer);
    fill(&files.config, texts->config);
    fill(&files.special, texts->special);
    fill(&files.added, texts->added);
    enum err err = tokenizer_open_memory(tokenizer, &files, "folder", error);
    bytes_release(&files.vocab);
    bytes_release(&files.merges);
    bytes_release(&files.tokenizer);
    bytes_release(&files.config);
    bytes_release(&files.special);
    bytes_release(&files.added);
    return err;
}

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof REFUSALS / sizeof *REFUSALS; i++) {
        struct tokenizer *tokenizer = NULL;
        struct error error = { 0 };
        if (open_texts(&tokenizer, &REFUSALS[i], &error) == ERR_OK)
            fail_msg("case %zu was accepted; want \"%s\"", i, REFUSALS[i].sentence);
        if (!strstr(error.message, REFUSALS[i].sentence) || strncmp(error.message, "folder", 6) != 0)
            fail_msg("case %zu: want \"folder ... %s\", got \"%s\"", i, REFUSALS[i].sentence, error.message);
        assert_null(tokenizer);
    }
}

static void test_small(void **state) {
    (void)state;
    const struct refusal texts = { VOCAB, "#version: 0.2\r\na b</w>\r\n", NULL, "{\"model_max_length\":5}", NULL, "{\"<cat>\":5}", NULL };
    struct tokenizer *tokenizer;
    struct error error;
    int32_t ids[5];
    uint32_t cut;
    if (open_texts(&tokenizer, &texts, &error) != ERR_OK)
        fail_msg("%s", error.message);
    assert_int_equal(tokenizer_vocabulary(tokenizer), 6);
    /* "?" has no token: it is unknown, that is the end mark */
    assert_int_equal(tokenizer_encode(ids, &cut, tokenizer, "aB <CAT>? b b", &error), ERR_OK);
    assert_memory_equal(ids, ((int32_t[]){ 2, 4, 5, 3, 3 }), sizeof ids);
    assert_int_equal(cut, 2);
    tokenizer_close(tokenizer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),  cmocka_unit_test(test_facts), cmocka_unit_test(test_bad_texts),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
