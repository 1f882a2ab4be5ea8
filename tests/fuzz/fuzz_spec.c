/* Canonical bytes of a job: what is read is written again, byte for byte. */
#include <stdlib.h>
#include <string.h>

#include "proto/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct spec spec;
    struct bytes text = BYTES_INIT;
    struct error error;

    if (spec_parse(&spec, data, size, &error) != ERR_OK)
        return 0;
    spec_canonical(&text, &spec);
    if (text.size != size || memcmp(text.data, data, size) != 0)
        abort();
    bytes_release(&text);
    spec_release(&spec);
    return 0;
}
