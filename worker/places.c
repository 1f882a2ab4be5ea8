/* places.c - paths by digest. */
#include "worker/places.h"

#include <stdlib.h>

#include "base/bytes.h"

void file_places_release(struct file_places *places) {
    for (size_t i = 0; i < places->count; i++)
        free(places->list[i].path);
    free(places->list);
    *places = (struct file_places){ .list = NULL };
}

void file_places_add(struct file_places *places, const struct digest *digest, char *path) {
    places->list = memory_grow(places->list, places->count + 1, sizeof *places->list);
    places->list[places->count++] = (struct file_place){ *digest, path };
}

const char *file_places_find(const struct file_places *places, const struct digest *digest) {
    for (size_t i = 0; i < places->count; i++)
        if (digest_equal(&places->list[i].digest, digest))
            return places->list[i].path;
    return NULL;
}
