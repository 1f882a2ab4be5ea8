/*
 * easel.h - one device with the last two models ready on it: the painter that really draws. A model is ready in one numerics:
 * in another it is another.
 *
 * A model's renderer is kept with it, so that its planned memory and cached conditionings serve batch after batch.
 */
#ifndef WORKER_EASEL_H
#define WORKER_EASEL_H

#include "worker/painter.h"

struct easel;

/* memory_bytes bounds weights and working memory together (0: what the device has). */
MUST_USE enum err easel_create(struct easel **easel, const char *device, uint32_t threads, uint64_t memory_bytes,
                               struct error *error);
void easel_destroy(struct easel *easel);
uint64_t easel_memory(const struct easel *easel); /* the bound */
struct painter easel_painter(struct easel *easel); /* valid as long as the easel */

#endif
