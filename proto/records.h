/*
 * records.h - the records of a prompt or rows file: txt (a line each, blank ones skipped), csv (RFC 4180, first line names
 * the columns) or jsonl (an object a line; the first one's keys name the columns). Streamed; every cell is UTF-8 without
 * NUL. Cells are borrowed until the next record.
 */
#ifndef PROTO_RECORDS_H
#define PROTO_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct cell {
    const uint8_t *data;
    size_t size;
};

struct records;

/* By the name's ending: .txt, .csv, .jsonl or .ndjson. `only`: the one column that is wanted (other keys of jsonl objects may
 * then come and go); NULL: all. */
MUST_USE enum err records_open(struct records **records, const char *path, const char *only, struct error *error);
void records_close(struct records *records);
bool records_are_lines(const struct records *records); /* txt: one column without a name */
uint32_t records_columns(const struct records *records);
const char *records_column(const struct records *records, uint32_t column);
MUST_USE enum err records_find(uint32_t *column, const struct records *records, const char *name, struct error *error);
/* *got false: that was all. Sentences begin with file and line. */
MUST_USE enum err records_next(bool *got, struct records *records, struct error *error);
const struct cell *records_cell(const struct records *records, uint32_t column);
const char *records_name(const struct records *records);
uint64_t records_line(const struct records *records); /* of the record at hand, from 1 */

#endif
