/*
 * plan.c - where each value lies in the scratch: largest first, each at the lowest place that is free for as long as
 * it lives ("greedy by size", Pisarchyk & Lee 2020). Two values may share bytes when no op needs both.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "pipeline/backend/op.h"

enum { PLAN_ALIGNMENT = 64 };

static size_t aligned_size(size_t size) {
    return (size + PLAN_ALIGNMENT - 1) / PLAN_ALIGNMENT * PLAN_ALIGNMENT;
}

static int by_size(const void *left, const void *right) {
    const struct value *a = *(struct value *const *)left, *b = *(struct value *const *)right;
    if (a->size != b->size) {
        return a->size > b->size ? -1 : 1;
    }
    return a < b ? -1 : a > b; /* by order of recording, so that a plan is the same everywhere */
}

static bool lives_beside(const struct value *a, const struct value *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* `placed` is sorted by offset: walk it once and take the first gap that is wide enough. */
static size_t lowest_place(struct value *const *placed, size_t count, const struct value *value) {
    size_t place = 0;
    for (size_t i = 0; i < count; i++) {
        if (!lives_beside(placed[i], value)) {
            continue;
        }
        if (placed[i]->offset >= place + aligned_size(value->size)) {
            break;
        }
        size_t end = placed[i]->offset + aligned_size(placed[i]->size);
        place = end > place ? end : place;
    }
    return place;
}

static void insert_by_offset(struct value **placed, size_t count, struct value *value) {
    size_t i = count;
    for (; i > 0 && placed[i - 1]->offset > value->offset; i--) {
        placed[i] = placed[i - 1];
    }
    placed[i] = value;
}

size_t plan_memory(struct value *values, size_t count) {
    struct value **order = memory_get_array(count + 1, sizeof *order);
    struct value **placed = memory_get_array(count + 1, sizeof *placed);
    size_t scratch_count = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        if (values[i].buffer == NULL) {
            order[scratch_count++] = &values[i];
        }
    }
    qsort(order, scratch_count, sizeof *order, by_size);
    for (size_t i = 0; i < scratch_count; i++) {
        order[i]->offset = lowest_place(placed, i, order[i]);
        insert_by_offset(placed, i, order[i]);
        size_t end = order[i]->offset + aligned_size(order[i]->size);
        size = end > size ? end : size;
    }
    free(order);
    free(placed);
    return size;
}
