/*
 * quantity.h - numbers as people write them.
 */
#ifndef BASE_QUANTITY_H
#define BASE_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

/* Digits alone, and with `units` a K, M or G behind them (powers of 1024). False, and *value untouched: the text is none, or the
 * number is beyond 64 bits. */
bool quantity_parse(uint64_t *value, const char *text, bool units);

#endif
