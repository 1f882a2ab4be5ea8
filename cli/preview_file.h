/*
 * preview_file.h - a preview as a PNG file, for a program that looks at it again and again: it is old or new, always whole.
 */
#ifndef CLI_PREVIEW_FILE_H
#define CLI_PREVIEW_FILE_H

#include <stdint.h>

#include "base/error.h"

enum { PREVIEW_PAUSE_MS = 250 /* between two of one job: a person looks at them */ };

/* rgb [height,width,3] */
MUST_USE enum err preview_write(const char *path, uint32_t width, uint32_t height, const uint8_t *rgb, struct error *error);

#endif
