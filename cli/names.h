/*
 * names.h - what a picture's file is called: its axis values and a short key.
 *
 *   a-van-gogh-painting-of-a-frog_seed-12_cfg-4.5_1f3a9c0d2b.png
 *
 * Prompt and seed always stand in the name, other fields where the sweep has them on an axis, so that a sweep that grows
 * (more seeds, a second prompt) keeps the names of what it had. Only [a-z0-9.-_]: safe in a shell, in a URL, in a tar.
 */
#ifndef CLI_NAMES_H
#define CLI_NAMES_H

#include <stdbool.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "proto/spec.h"

enum { NAME_PROMPT_LETTERS = 48, NAME_VALUE_LETTERS = 24, NAME_KEY_LETTERS = 10 };

/* `on_axis` [FIELD_COUNT]: which fields the sweep varies. */
void name_picture(struct bytes *out, const struct spec *spec, const struct digest *key, const bool on_axis[FIELD_COUNT]);

#endif
