/* random_model.h - a model folder with numbers that follow from its tensors' names (tests/golden/families.py). */
#ifndef TESTS_GOLDEN_RANDOM_MODEL_H
#define TESTS_GOLDEN_RANDOM_MODEL_H

#include <stdbool.h>

/* Write the model that tests/golden/models/NAME.json describes to `folder`. old_keys: text encoders' parameters carry the
 * prefix that transformers wrote before version 5. Fails the running test if anything goes wrong. */
void random_model_write(const char *folder, const char *name, bool old_keys);

#endif
