/* fuzz_json.c - any bytes as JSON: refused with a sentence, or a value whose canonical bytes are a fixed point. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *value = NULL, *again = NULL;
    struct error error = { 0 };
    struct bytes first = BYTES_INIT, second = BYTES_INIT;
    enum err err = json_parse(&value, data, size, "fuzz", &error);
    if (err == ERR_OK && json_canonical(&first, value, &error) == ERR_OK) {
        if (json_parse(&again, first.data, first.size, "canonical", &error) != ERR_OK || !json_equal(value, again) ||
            json_canonical(&second, again, &error) != ERR_OK || first.size != second.size ||
            memcmp(first.data, second.data, first.size) != 0)
            abort();
    } else if (!error.message[0]) {
        abort();
    }
    json_decref(again);
    json_decref(value);
    bytes_release(&first);
    bytes_release(&second);
    return 0;
}
