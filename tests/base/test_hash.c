/* test_hash.c - SHA-256 against the examples of FIPS 180-4, and digests as text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "tests/base/test.h"

static const char abc[] = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
static const char nothing[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char million_a[] = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";

static void assert_digest(struct digest digest, const char *want) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&digest, hex);
    assert_string_equal(hex, want);
}

static void known_answers(void **state) {
    (void)state;
    assert_digest(digest_of("abc", 3), abc);
    assert_digest(digest_of(NULL, 0), nothing);
}

static void pieces_make_the_same(void **state) {
    static const size_t pieces[] = { 1, 7, 64, 1000 };
    char block[1000];
    (void)state;
    memset(block, 'a', sizeof block);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct hasher hasher;
        hasher_init(&hasher);
        for (size_t left = 1000000; left;) {
            size_t size = left < pieces[i] ? left : pieces[i];
            hasher_add(&hasher, block, size);
            left -= size;
        }
        assert_digest(hasher_finish(&hasher), million_a);
    }
}

static void given_up_hasher_leaks_nothing(void **state) {
    struct hasher hasher;
    (void)state;
    hasher_init(&hasher);
    hasher_add(&hasher, "abc", 3);
    hasher_release(&hasher);
    assert_null(hasher.context);
}

static void hex_is_read_strictly(void **state) {
    struct digest digest = { { 1 } }, untouched = digest;
    char hex[DIGEST_HEX_SIZE + 1];
    (void)state;
    assert_true(digest_parse(&digest, abc));
    assert_digest(digest, abc);
    digest = untouched;
    snprintf(hex, sizeof hex, "%sa", abc);
    assert_false(digest_parse(&digest, hex)); /* 65 digits */
    hex[63] = '\0';
    assert_false(digest_parse(&digest, hex)); /* 63 */
    snprintf(hex, sizeof hex, "%s", abc);
    hex[0] = 'B';
    assert_false(digest_parse(&digest, hex));
    hex[0] = 'g';
    assert_false(digest_parse(&digest, hex));
    assert_false(digest_parse(&digest, ""));
    assert_true(digest_equal(&digest, &untouched));
}

static void digests_have_an_order(void **state) {
    struct digest low = { { 0, 1 } }, high = { { 0, 2 } }, zero = { { 0 } };
    (void)state;
    assert_true(digest_compare(&low, &high) < 0);
    assert_true(digest_compare(&high, &low) > 0);
    assert_int_equal(digest_compare(&low, &low), 0);
    assert_false(digest_equal(&low, &high));
    assert_true(digest_is_zero(&zero));
    assert_false(digest_is_zero(&low));
}

static void files_are_hashed_whole(void **state) {
    char path[] = "/tmp/seedfarm-hash-XXXXXX";
    struct bytes content = BYTES_INIT;
    struct error error = { 0 };
    struct digest digest;
    uint64_t size = 0;
    int fd = mkstemp(path);
    (void)state;
    assert_true(fd >= 0);
    for (int i = 0; i < 3000000; i++)
        bytes_add(&content, "seedfarm" + i % 8, 1);
    assert_int_equal(file_write(path, content.data, content.size, &error), ERR_OK);
    assert_int_equal(digest_of_file(&digest, &size, path, &error), ERR_OK);
    struct digest want = digest_of(content.data, content.size);
    assert_true(digest_equal(&digest, &want));
    assert_int_equal(size, 3000000);
    close(fd);
    unlink(path);
    assert_int_equal(digest_of_file(&digest, &size, path, &error), ERR_NOT_FOUND);
    assert_non_null(strstr(error.message, path));
    assert_true(digest_equal(&digest, &want));
    bytes_release(&content);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),        cmocka_unit_test(pieces_make_the_same),
        cmocka_unit_test(given_up_hasher_leaks_nothing), cmocka_unit_test(hex_is_read_strictly),
        cmocka_unit_test(digests_have_an_order), cmocka_unit_test(files_are_hashed_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
