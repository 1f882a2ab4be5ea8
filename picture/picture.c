/* picture.c - what every picture can do. */
#include "picture/picture.h"

#include <stdlib.h>

void picture_release(struct picture *picture) {
    free(picture->rgb);
    *picture = (struct picture){ 0 };
}

static void put_u32(uint8_t bytes[4], uint32_t value) {
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

struct digest picture_pixel_digest(const struct picture *picture) {
    uint8_t size[8];
    struct hasher hasher;
    put_u32(size, picture->width);
    put_u32(size + 4, picture->height);
    hasher_init(&hasher);
    hasher_add(&hasher, size, sizeof size);
    hasher_add(&hasher, picture->rgb, (size_t)picture->width * picture->height * 3);
    return hasher_finish(&hasher);
}
