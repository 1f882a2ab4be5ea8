/*
 * easel.h - one device with as many models ready on it as its memory holds: the painter that really draws. A model is ready in
 * one numerics: in another it is another.
 *
 * Models are loaded by the drawing thread when they are asked for, or ahead by another thread, beside what is drawn, as far as memory
 * for both is there.
 *
 * A model's renderer is kept with it, so that its planned memory and cached conditionings serve batch after batch. Whoever needs
 * memory takes it from those that were used longest ago: first what their renderers hold, then the models.
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
