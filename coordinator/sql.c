/* sql.c - a few lines around SQLite. */
#include "coordinator/sql.h"

#include <assert.h>

enum err sql_error(struct error *error, sqlite3 *db, const char *what) {
    int code = sqlite3_extended_errcode(db);
    enum err err = (code & 0xff) == SQLITE_FULL ? ERR_NO_SPACE
                   : (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB ? ERR_CORRUPT : ERR_IO;
    return error_set(error, err, "ledger: %s: %s (SQLite %d)", what, sqlite3_errmsg(db), code);
}

enum err sql_run(sqlite3 *db, const char *sql, struct error *error) {
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return sql_error(error, db, sql);
    return ERR_OK;
}

enum err sql_prepare(sqlite3_stmt **statement, sqlite3 *db, const char *sql, struct error *error) {
    if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL) != SQLITE_OK)
        return sql_error(error, db, sql);
    return ERR_OK;
}

enum err sql_step(bool *row, sqlite3_stmt *statement, struct error *error) {
    int result = sqlite3_step(statement);
    if (result != SQLITE_ROW && result != SQLITE_DONE) {
        enum err err = sql_error(error, sqlite3_db_handle(statement), sqlite3_sql(statement));
        sqlite3_reset(statement);
        return err;
    }
    *row = result == SQLITE_ROW;
    return ERR_OK;
}

enum err sql_step_done(sqlite3_stmt *statement, struct error *error) {
    bool row;
    enum err err = sql_step(&row, statement, error);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return err;
}

/* Binding fails only on a wrong place, or without memory. */
static void bound(int result) {
    assert(result == SQLITE_OK);
    (void)result;
}

void sql_bind_blob(sqlite3_stmt *statement, int place, const void *data, size_t size) {
    bound(sqlite3_bind_blob64(statement, place, size ? data : "", size, SQLITE_STATIC));
}

void sql_bind_u64(sqlite3_stmt *statement, int place, uint64_t value) {
    bound(sqlite3_bind_int64(statement, place, (sqlite3_int64)value));
}

void sql_bind_text(sqlite3_stmt *statement, int place, const char *text) {
    bound(sqlite3_bind_text(statement, place, text, -1, SQLITE_STATIC));
}

uint64_t sql_u64(sqlite3_stmt *statement, int column) {
    return (uint64_t)sqlite3_column_int64(statement, column);
}
