/* bytes.c - growing buffers, allocation, UTF-8. */
#include "base/bytes.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void out_of_memory(size_t size) {
    fprintf(stderr, "seedfarm: this machine has no memory left (%zu bytes were asked for)\n", size);
    abort();
}

void *memory_get(size_t size) {
    return memory_get_array(1, size);
}

void *memory_get_array(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size ? size : 1);
    if (!memory)
        out_of_memory(count * size);
    return memory;
}

void *memory_grow(void *memory, size_t count, size_t size) {
    void *grown = reallocarray(memory, count ? count : 1, size);
    if (!grown)
        out_of_memory(count * size);
    return grown;
}

char *text_copy_size(const char *text, size_t size) {
    char *copy = memory_get(size + 1);
    memcpy(copy, text, size);
    return copy;
}

char *text_copy(const char *text) {
    return text_copy_size(text, strlen(text));
}

char *text_format(const char *format, ...) {
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        out_of_memory(0);
    return text;
}

void bytes_release(struct bytes *bytes) {
    free(bytes->data);
    *bytes = (struct bytes)BYTES_INIT;
}

void bytes_clear(struct bytes *bytes) {
    bytes->size = 0;
    if (bytes->data)
        bytes->data[0] = '\0';
}

void bytes_reserve(struct bytes *bytes, size_t extra) {
    size_t need = bytes->size + extra + 1;
    if (need < extra)
        out_of_memory(extra);
    if (need <= bytes->capacity)
        return;
    size_t capacity = bytes->capacity * 2 > need ? bytes->capacity * 2 : need;
    if (capacity < 64)
        capacity = 64;
    bytes->data = memory_grow(bytes->data, capacity, 1);
    bytes->capacity = capacity;
}

void bytes_add(struct bytes *bytes, const void *data, size_t size) {
    bytes_reserve(bytes, size);
    if (size)
        memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
    bytes->data[bytes->size] = '\0';
}

void bytes_add_text(struct bytes *bytes, const char *text) {
    bytes_add(bytes, text, strlen(text));
}

void bytes_add_format(struct bytes *bytes, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    assert(length >= 0);
    bytes_reserve(bytes, (size_t)length);
    vsnprintf((char *)bytes->data + bytes->size, (size_t)length + 1, format, again);
    va_end(again);
    bytes->size += (size_t)length;
}

const char *bytes_text(const struct bytes *bytes) {
    return bytes->data ? (const char *)bytes->data : "";
}

struct bytes bytes_take(struct bytes *bytes) {
    struct bytes taken = *bytes;
    *bytes = (struct bytes)BYTES_INIT;
    return taken;
}

/* Length of the well-formed sequence at p (RFC 3629, table 3-7 of Unicode), 0 if there is none. */
static size_t utf8_sequence(const uint8_t *p, size_t left) {
    uint8_t low = 0x80, high = 0xbf;
    size_t length;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        length = 2;
    else if (p[0] >= 0xe0 && p[0] <= 0xef)
        length = 3;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4)
        length = 4;
    else
        return 0;
    if (p[0] == 0xe0)
        low = 0xa0;
    else if (p[0] == 0xed)
        high = 0x9f;
    else if (p[0] == 0xf0)
        low = 0x90;
    else if (p[0] == 0xf4)
        high = 0x8f;
    if (left < length || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

int utf8_valid(const void *data, size_t size, size_t *place) {
    const uint8_t *p = data;
    size_t i = 0;
    while (i < size) {
        uint64_t eight;
        if (size - i >= 8) {
            memcpy(&eight, p + i, 8);
            if (!(eight & UINT64_C(0x8080808080808080))) {
                i += 8;
                continue;
            }
        }
        if (p[i] < 0x80) {
            i++;
            continue;
        }
        size_t length = utf8_sequence(p + i, size - i);
        if (!length) {
            if (place)
                *place = i;
            return 0;
        }
        i += length;
    }
    return 1;
}
