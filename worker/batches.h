/*
 * batches.h - how many pictures a device draws at once: for each kind of work the largest batch that still gains, found on real
 * work and remembered in a file.
 *
 * It begins with `first` and doubles while two batches of the new size draw pictures faster than the old size did by more than
 * GAIN, and while memory has room. Nothing is drawn only to be measured, and bytes do not depend on any of this. Pure but for the
 * file: whoever draws says what fits and how long it took. One thread's.
 */
#ifndef WORKER_BATCHES_H
#define WORKER_BATCHES_H

#include <stdbool.h>

#include "proto/spec.h"

/* Work that takes the same time a picture: what differs in any of these is measured apart. */
struct batch_kind {
    char device_class[64];
    struct digest models; /* spec_model_key: with LoRAs, VAE, refiner and numerics */
    struct decimal refiner_switch; /* whose model walks how much of the way */
    uint32_t width, height, vae_tiling;
    bool guided, deterministic;
};
struct batch_kind batch_kind_of(const struct spec *spec, const char *device_class);

struct batches;

enum { BATCHES_KINDS = 256, BATCHES_FILE_LIMIT = 1 << 20 };

/* `path`: the file, NULL: none. What is there and cannot be read is said in the log, and begun anew; one of an older version is begun
 * anew without a word. */
struct batches *batches_open(const char *path);
void batches_close(struct batches *batches);

/* How many to draw next. fits(context, n): does memory have room for n? Asked once for each n of a kind; at least 1 is the answer. */
uint32_t batches_size(struct batches *batches, const struct batch_kind *kind, uint32_t first,
                      bool (*fits)(void *context, uint32_t count), void *context);
/* A batch of `count` was drawn in `ms`; `steps` each. Other numbers of steps are not compared with one another. */
void batches_note(struct batches *batches, const struct batch_kind *kind, uint32_t count, uint32_t steps, double ms);
/* Memory did have no room for more: until the end of this process. */
void batches_limit(struct batches *batches, const struct batch_kind *kind, uint32_t most);

#endif
