/* rendered.c - what a picture leaves behind: apart from render.c, so that the farm's side needs no pipeline for it. */
#include "worker/render.h"

#include <stdlib.h>

void rendered_release(struct rendered *rendered) {
    free(rendered->rgb);
    bytes_release(&rendered->png);
    *rendered = (struct rendered){ .png = BYTES_INIT };
}
