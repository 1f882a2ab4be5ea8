/* check.h - sentences and sample pictures for the tests of picture/. */
#ifndef TESTS_PICTURE_CHECK_H
#define TESTS_PICTURE_CHECK_H

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "picture/picture.h"
#include "tests/base/test.h"

#define assert_ok(call)                                   \
    do {                                                  \
        enum err err_ = (call);                           \
        if (err_)                                         \
            print_error("%s: %s\n", #call, error.message); \
        assert_int_equal(err_, ERR_OK);                   \
    } while (0)

#define assert_error(call, want, word)                                   \
    do {                                                                 \
        assert_int_equal((call), (want));                                \
        if (!strstr(error.message, (word)))                              \
            fail_msg("want \"%s\" in: %s", (word), error.message);       \
    } while (0)

/* A picture with much in it; owned by the caller. */
static inline struct picture picture_sample(uint32_t width, uint32_t height) {
    struct picture picture = { width, height, memory_get_array((size_t)width * height, 3) };
    for (size_t i = 0; i < (size_t)width * height * 3; i++)
        picture.rgb[i] = (uint8_t)(i * i / 7 + i / width);
    return picture;
}

#endif
