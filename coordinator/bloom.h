/*
 * bloom.h - have we perhaps rendered this key before? Ten bits a key, seven looks: about one "perhaps" in a hundred is wrong,
 * a "no" never is. Grows by adding a filter of twice the size (Almeida et al., "Scalable Bloom Filters", 2007).
 */
#ifndef COORDINATOR_BLOOM_H
#define COORDINATOR_BLOOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"

struct bloom;
struct bloom *bloom_create(uint64_t keys); /* expected; more may come */
void bloom_destroy(struct bloom *bloom);
void bloom_add(struct bloom *bloom, const struct digest *key);
bool bloom_has(const struct bloom *bloom, const struct digest *key);

#endif
