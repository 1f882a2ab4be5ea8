/*
 * watching.h - following a sweep until it ends, with a bar.
 */
#ifndef CLI_WATCHING_H
#define CLI_WATCHING_H

#include <jansson.h>

#include "cli/farm.h"
#include "proto/message.h"

struct local_farm;

/* Until the sweep is done or cancelled; *final is its last status (release its message). `local` (may be NULL) is looked
 * after meanwhile. SIGINT and SIGTERM end it with ERR_CANCELLED. A coordinator that is away is waited for, up to
 * `patience_ms`. */
MUST_USE enum err watch_sweep(struct message *final, struct farm *farm, const char *sweep, struct local_farm *local,
                              uint64_t patience_ms, struct error *error);

/* "3.1/s, 40 s left" */
void watch_rate(char out[96], const struct sweep_status *status);

/* Everything about a sweep's status; a new reference. */
json_t *watch_json(const struct sweep_status *status);

#endif
