/*
 * bytes.h - a growing run of bytes, and the allocation helpers of the house.
 *
 * `data` is always followed by a NUL that `size` does not count, so a buffer of text is a C string.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct bytes {
    uint8_t *data; /* owned; NULL only while size == 0 and nothing was ever added */
    size_t size;
    size_t capacity;
};

#define BYTES_INIT { NULL, 0, 0 }

void bytes_release(struct bytes *bytes); /* and leaves it as BYTES_INIT */
void bytes_clear(struct bytes *bytes);   /* size 0, memory kept */
void bytes_reserve(struct bytes *bytes, size_t extra);
void bytes_add(struct bytes *bytes, const void *data, size_t size);
void bytes_add_text(struct bytes *bytes, const char *text);
void bytes_add_format(struct bytes *bytes, const char *format, ...) PRINTF_LIKE(2, 3);
const char *bytes_text(const struct bytes *bytes); /* never NULL */
struct bytes bytes_take(struct bytes *bytes);      /* moves ownership out, leaves BYTES_INIT */

/* Small allocations that cannot sensibly be refused: abort with a message when the machine has no memory at all.
 * Memory whose size comes from outside is bounded by a named limit before it comes here. */
void *memory_get(size_t size);                       /* zeroed */
void *memory_get_array(size_t count, size_t size);   /* zeroed; aborts on overflow */
void *memory_grow(void *memory, size_t count, size_t size);
char *text_copy(const char *text);
char *text_copy_size(const char *text, size_t size);
char *text_format(const char *format, ...) PRINTF_LIKE(1, 2);

/* Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms)? On failure *place is the first bad byte. */
int utf8_valid(const void *data, size_t size, size_t *place);

#endif
