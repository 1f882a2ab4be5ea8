/*
 * places.h - where the objects that jobs name lie on this machine: models (folders or files) and files, by digest.
 */
#ifndef WORKER_PLACES_H
#define WORKER_PLACES_H

#include <stddef.h>

#include "base/hash.h"

struct file_place {
    struct digest digest;
    char *path; /* owned */
};

struct file_places {
    struct file_place *list;
    size_t count;
};

void file_places_release(struct file_places *places);
void file_places_add(struct file_places *places, const struct digest *digest, char *path); /* takes the path */
const char *file_places_find(const struct file_places *places, const struct digest *digest); /* NULL: not among them */

#endif
