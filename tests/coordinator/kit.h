/* kit.h - what the coordinator's tests share: sweeps made by hand, fake pictures, scratch folders. */
#ifndef TESTS_COORDINATOR_KIT_H
#define TESTS_COORDINATOR_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "coordinator/queue.h"
#include "proto/message.h"
#include "proto/sweep.h"

#define assert_ok(call, error) \
    do { \
        enum err kit_code = (call); \
        if (kit_code) \
            fail_msg("%s: %s", #call, (error).message); \
    } while (0)

/* Seeds from..from+count-1 of one prompt, 8x8 pixels; the model is `model`'s digest. */
struct sweep *kit_sweep(const char *prompt, uint64_t from, uint64_t count, const struct digest *model);
struct sweep *kit_sized_sweep(const char *prompt, uint64_t from, uint64_t count, const struct digest *model, const char *size);
/* The same as kit_sweep with one field of its own. */
struct sweep *kit_field_sweep(const char *prompt, uint64_t from, uint64_t count, const struct digest *model, enum field field,
                              const char *text);
void kit_sweep_free(struct sweep *sweep);
/* An active sweep in the queue. */
struct order *kit_order(struct queue *queue, uint64_t number, const char *name, struct sweep *sweep);

/* A valid result for a job: its pixels are made from its key and `shade`. png owned by the item. */
void kit_result(struct result_item *item, const char *canonical, uint8_t shade);

char *kit_folder(void); /* a new one below /tmp; owned */
void kit_remove(char *folder); /* with what is in it; frees the name */

/* A small generator: the same numbers from the same seed everywhere (splitmix64). */
uint64_t kit_random(uint64_t *state, uint64_t below);

#endif
