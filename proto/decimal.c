/*
 * decimal.c - numbers as people write them. At most 15 digits: units and powers of ten are exact in a double, so that
 * decimal_value is correctly rounded, and everything else fits 64 bits with room to spare.
 */
#include <ctype.h>

#include "proto/spec.h"

enum { DECIMAL_DIGITS_LIMIT = 15 };

enum err decimal_parse(struct decimal *decimal, const char *text, struct error *error)
{
    struct decimal read = {0, 0};
    const char *at = text;
    bool negative = *at == '-', point = false, any = false;
    uint32_t digits = 0;

    for (at += negative; *at; at++) {
        if (*at == '.' && !point) {
            point = true;
            continue;
        }
        if (!isdigit((unsigned char)*at))
            return error_set(error, ERR_INVALID, "want a decimal number such as 7 or 4.5, have \"%.40s\"", text);
        any = true;
        digits += read.units != 0 || *at != '0' || point;
        if (digits > DECIMAL_DIGITS_LIMIT)
            return error_set(error, ERR_LIMIT, "want a decimal number of at most %d digits, have \"%.40s\"",
                             DECIMAL_DIGITS_LIMIT, text);
        read.units = read.units * 10 + (*at - '0');
        read.places += point;
    }
    if (!any)
        return error_set(error, ERR_INVALID, "want a decimal number such as 7 or 4.5, have \"%.40s\"", text);
    read.units = negative ? -read.units : read.units;
    *decimal = decimal_reduce(read);
    return ERR_OK;
}

struct decimal decimal_reduce(struct decimal decimal)
{
    while (decimal.places && decimal.units % 10 == 0) {
        decimal.units /= 10;
        decimal.places--;
    }
    return decimal;
}

void decimal_format(char out[32], struct decimal decimal)
{
    char digits[32];
    uint64_t rest = decimal.units < 0 ? -(uint64_t)decimal.units : (uint64_t)decimal.units;
    uint32_t count = 0;

    for (; rest || count <= decimal.places; rest /= 10)
        digits[count++] = (char)('0' + rest % 10);
    if (decimal.units < 0)
        *out++ = '-';
    while (count) {
        if (count == decimal.places)
            *out++ = '.';
        *out++ = digits[--count];
    }
    *out = '\0';
}

double decimal_value(struct decimal decimal)
{
    double scale = 1;
    for (uint32_t i = 0; i < decimal.places; i++)
        scale *= 10;
    return (double)decimal.units / scale;
}

static __int128 decimal_scaled(struct decimal decimal, uint32_t places)
{
    __int128 units = decimal.units;
    for (; decimal.places < places; decimal.places++)
        units *= 10;
    return units;
}

int decimal_compare(struct decimal a, struct decimal b)
{
    uint32_t places = a.places > b.places ? a.places : b.places;
    __int128 left = decimal_scaled(a, places), right = decimal_scaled(b, places);
    return (left > right) - (left < right);
}
