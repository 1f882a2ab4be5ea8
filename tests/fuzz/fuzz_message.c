/* Messages: what decodes must encode to something that decodes to the same bytes again. */
#include <stdlib.h>
#include <string.h>

#include "proto/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct message message, again;
    struct bytes first = BYTES_INIT, second = BYTES_INIT;
    struct error error;

    if (message_decode(&message, data, size, &error) != ERR_OK)
        return 0;
    message_encode(&first, &message);
    if (message_decode(&again, first.data, first.size, &error) != ERR_OK)
        abort();
    message_encode(&second, &again);
    if (first.size != second.size || memcmp(first.data, second.data, first.size) != 0)
        abort();
    message_release(&message);
    message_release(&again);
    bytes_release(&first);
    bytes_release(&second);
    return 0;
}
