/*
 * library.h - the models that lie in folders on this machine: their files by digest, so that nobody needs to upload them.
 *
 * Immutable after opening; may be read from any thread.
 */
#ifndef COORDINATOR_LIBRARY_H
#define COORDINATOR_LIBRARY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "proto/model.h"
#include "store/store.h"

struct library;

/* `folders`: colon-separated; each is a model's folder, or holds such folders. NULL or "": none. Every file is hashed (large
 * ones once: proto/manifest.c remembers). A folder that is missing is ERR_NOT_FOUND; one below it that is no model this
 * version draws with is passed over, with a log line. */
MUST_USE enum err library_open(struct library **library, const char *folders, struct error *error);
void library_close(struct library *library);

bool library_has(const struct library *library, const struct digest *digest);
/* Up to `size` bytes at `offset` are appended, *total is the whole size. ERR_NOT_FOUND if it is not here. */
MUST_USE enum err library_read(struct bytes *out, uint64_t *total, const struct library *library,
                               const struct digest *digest, uint64_t offset, size_t size, struct error *error);

/* What the farm must know of a model, from the library or from objects of the store; ERR_NOT_FOUND names the first file
 * that is in neither. */
MUST_USE enum err library_facts(struct model_facts *facts, const struct library *library, struct store *store,
                                const struct digest *model, struct error *error);

#endif
