/* library.c - coordinator/library.h: one model, of which only the facts are asked. */
#include "coordinator/library.h"

#include <stdlib.h>
#include <string.h>

#include "tests/sim/sim.h"

struct library {
    int unused;
};

enum err library_open(struct library **library, const char *folders, struct error *error) {
    (void)folders, (void)error;
    *library = memory_get(sizeof **library);
    return ERR_OK;
}

void library_close(struct library *library) {
    free(library);
}

bool library_has(const struct library *library, const struct digest *digest) {
    (void)library;
    return digest_equal(digest, &pool.model);
}

enum err library_read(struct bytes *out, uint64_t *total, const struct library *library, const struct digest *digest,
                      uint64_t offset, size_t size, struct error *error) {
    (void)out, (void)total, (void)library, (void)digest, (void)offset, (void)size;
    return error_set(error, ERR_NOT_FOUND, "library sim: it holds no files");
}

enum err library_facts(struct model_facts *facts, const struct library *library, struct store *store,
                       const struct digest *model, struct error *error) {
    (void)library, (void)store, (void)error;
    *facts = (struct model_facts){ .digest = *model, .family = "sd1", .pixels_per_latent = 8, .default_width = 8,
                                   .default_height = 8 };
    return ERR_OK;
}
