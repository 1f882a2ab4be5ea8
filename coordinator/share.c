/* share.c - users in a heap by their tags. */
#include "coordinator/share.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

enum { BUCKETS_LEAST = 64 };

/* Somebody whose jobs no worker could take stays behind; when one comes, so much of it is made good and no more. */
#define LAG_MS 60000.0

void share_init(struct share *share) {
    *share = (struct share){ .bucket_count = BUCKETS_LEAST };
    share->buckets = memory_get_array(share->bucket_count, sizeof *share->buckets);
}

void share_release(struct share *share) {
    for (size_t i = 0; i < share->bucket_count; i++)
        for (struct user *user = share->buckets[i], *chain; user; user = chain) {
            chain = user->chain;
            free(user->name);
            free(user);
        }
    free(share->buckets);
    free(share->heap);
    *share = (struct share){ 0 };
}

/* FNV-1a. */
static struct user **bucket_of(const struct share *share, const char *name) {
    uint64_t hash = UINT64_C(14695981039346656037);
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * UINT64_C(1099511628211);
    return &share->buckets[hash & (share->bucket_count - 1)];
}

struct user *share_find(const struct share *share, const char *name) {
    for (struct user *user = *bucket_of(share, name); user; user = user->chain)
        if (strcmp(user->name, name) == 0)
            return user;
    return NULL;
}

static void buckets_grow(struct share *share) {
    size_t old_count = share->bucket_count;
    struct user **old = share->buckets;
    share->bucket_count *= 2;
    share->buckets = memory_get_array(share->bucket_count, sizeof *share->buckets);
    for (size_t i = 0; i < old_count; i++)
        for (struct user *user = old[i], *chain; user; user = chain) {
            struct user **bucket = bucket_of(share, user->name);
            chain = user->chain;
            user->chain = *bucket;
            *bucket = user;
        }
    free(old);
}

struct user *share_user(struct share *share, const char *name) {
    struct user *user = share_find(share, name);
    if (user)
        return user;
    if (share->user_count >= share->bucket_count)
        buckets_grow(share);
    user = memory_get(sizeof *user);
    struct user **bucket = bucket_of(share, name);
    user->name = text_copy(name);
    user->weight = WEIGHT_DEFAULT;
    user->chain = *bucket;
    *bucket = user;
    share->user_count++;
    return user;
}

void share_set_weight(struct share *share, const char *name, uint32_t weight) {
    assert(weight >= 1 && weight <= LIMIT_WEIGHT);
    share_user(share, name)->weight = weight;
}

/* ---- the heap --------------------------------------------------------------------------------------------------------- */

static void put(struct share *share, size_t at, struct user *user) {
    share->heap[at] = user;
    user->heap_at = at + 1;
}

static void sift_up(struct share *share, size_t at) {
    struct user *user = share->heap[at];
    for (; at && share->heap[(at - 1) / 2]->tag > user->tag; at = (at - 1) / 2)
        put(share, at, share->heap[(at - 1) / 2]);
    put(share, at, user);
}

static void sift_down(struct share *share, size_t at) {
    struct user *user = share->heap[at];
    for (size_t child; (child = 2 * at + 1) < share->count; at = child) {
        if (child + 1 < share->count && share->heap[child + 1]->tag < share->heap[child]->tag)
            child++;
        if (share->heap[child]->tag >= user->tag)
            break;
        put(share, at, share->heap[child]);
    }
    put(share, at, user);
}

static void heap_add(struct share *share, struct user *user) {
    if (share->count == share->room) {
        share->room = share->room ? 2 * share->room : 16;
        share->heap = memory_grow(share->heap, share->room, sizeof *share->heap);
    }
    put(share, share->count++, user);
    sift_up(share, share->count - 1);
}

static void heap_remove(struct share *share, struct user *user) {
    size_t at = user->heap_at - 1;
    struct user *last = share->heap[--share->count];
    user->heap_at = 0;
    if (last == user)
        return;
    put(share, at, last);
    sift_up(share, at);
    sift_down(share, last->heap_at - 1);
}

void share_wake(struct share *share, struct user *user) {
    if (user->heap_at)
        return;
    double others = share->count ? share->heap[0]->tag : share->clock;
    others = fmin(fmax(others, share->clock - share->slack_ms), share->clock);
    user->tag = fmax(user->tag, others);
    heap_add(share, user);
}

void share_sleep(struct share *share, struct user *user) {
    if (user->heap_at)
        heap_remove(share, user);
}

struct user *share_pop(struct share *share, struct user **stash) {
    if (!share->count)
        return NULL;
    struct user *user = share->heap[0];
    heap_remove(share, user);
    user->stash = *stash;
    *stash = user;
    return user;
}

void share_restore(struct share *share, struct user *stash) {
    for (; stash; stash = stash->stash)
        heap_add(share, stash);
}

static void move_tag(struct share *share, struct user *user, double ms) {
    user->tag += ms / user->weight;
    if (user->heap_at) {
        sift_up(share, user->heap_at - 1);
        sift_down(share, user->heap_at - 1);
    }
}

void share_charge(struct share *share, struct user *user, double cost_ms) {
    user->tag = fmax(user->tag, share->clock - share->slack_ms - LAG_MS);
    share->clock = fmax(share->clock, user->tag);
    move_tag(share, user, cost_ms);
}

void share_refund(struct share *share, struct user *user, double cost_ms) {
    move_tag(share, user, -cost_ms);
}
