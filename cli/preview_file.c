/* preview_file.c - a preview, written beside its file and renamed over it. */
#include "cli/preview_file.h"

#include "base/file.h"
#include "picture/picture.h"

enum err preview_write(const char *path, uint32_t width, uint32_t height, const uint8_t *rgb, struct error *error) {
    struct picture picture = { width, height, (uint8_t *)rgb };
    struct bytes png = BYTES_INIT;
    enum err err = png_encode(&png, &picture, NULL, 0, error);
    if (!err)
        err = file_write(path, png.data, png.size, error);
    bytes_release(&png);
    return err;
}
