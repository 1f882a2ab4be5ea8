/* quantity.c - numbers as people write them. */
#include "base/quantity.h"

#include <string.h>

bool quantity_parse(uint64_t *value, const char *text, bool units) {
    static const char letters[] = "KMG";
    uint64_t number = 0;
    const char *at = text;
    if (*at < '0' || *at > '9')
        return false;
    for (; *at >= '0' && *at <= '9'; at++)
        if (__builtin_mul_overflow(number, UINT64_C(10), &number) ||
            __builtin_add_overflow(number, (uint64_t)(*at - '0'), &number))
            return false;
    const char *unit = *at && units ? strchr(letters, *at) : NULL;
    if (unit) {
        if (__builtin_mul_overflow(number, UINT64_C(1) << 10 * (unit - letters + 1), &number))
            return false;
        at++;
    }
    if (*at)
        return false;
    *value = number;
    return true;
}
