/* sql.h - SQLite with our errors. Private to keys.c and ledger.c. */
#ifndef COORDINATOR_SQL_H
#define COORDINATOR_SQL_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* The connection's last error as a sentence; a full disk is ERR_NO_SPACE. */
enum err sql_error(struct error *error, sqlite3 *db, const char *what);
MUST_USE enum err sql_run(sqlite3 *db, const char *sql, struct error *error);
MUST_USE enum err sql_prepare(sqlite3_stmt **statement, sqlite3 *db, const char *sql, struct error *error);
/* Step a statement that yields no rows, and reset it. */
MUST_USE enum err sql_step_done(sqlite3_stmt *statement, struct error *error);
/* *row: there is one. Reset the statement when its columns are read. */
MUST_USE enum err sql_step(bool *row, sqlite3_stmt *statement, struct error *error);
void sql_bind_blob(sqlite3_stmt *statement, int place, const void *data, size_t size); /* borrowed until reset */
void sql_bind_u64(sqlite3_stmt *statement, int place, uint64_t value);
void sql_bind_text(sqlite3_stmt *statement, int place, const char *text);
uint64_t sql_u64(sqlite3_stmt *statement, int column);

#endif
