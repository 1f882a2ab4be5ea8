/*
 * sample.h - objects and folders for the store's tests.
 */
#ifndef TESTS_STORE_SAMPLE_H
#define TESTS_STORE_SAMPLE_H

#include <dirent.h>

#include "store/store.h"
#include "tests/base/test.h"

/* A new empty folder below the build folder; owned by the caller. */
char *folder_make(void);
/* On a file system in memory where there is one: for tests that open many stores and whose disk is not the point. */
char *folder_make_in_memory(void);
/* With all that is in it; frees the name. */
void folder_remove(char *folder);
/* Entries of FOLDER/NAME. */
size_t folder_count(const char *folder, const char *name);

/* Object number `n`: always the same bytes, 0 to 40,000 of them; sample_release frees the data. */
struct store_item sample_item(uint64_t n);
void sample_release(struct store_item *items, size_t count);
/* Is it in the store, whole? */
void assert_sample(struct store *store, uint64_t n);

#define assert_ok(call) assert_ok_at((call), &error, #call, __FILE__, __LINE__)
void assert_ok_at(enum err err, const struct error *error, const char *call, const char *file, int line);
/* The code, and every one of the words (ended by NULL) in the sentence. */
#define assert_error(call, want, ...) \
    assert_error_at((call), (want), &error, __FILE__, __LINE__, (const char *const[]){ __VA_ARGS__, NULL })
void assert_error_at(enum err err, enum err want, const struct error *error, const char *file, int line,
                     const char *const *words);

#endif
