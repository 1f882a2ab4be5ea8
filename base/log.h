/*
 * log.h - one JSON line an event, on stderr or into a file: {"time":...,"level":"info","event":"lease","worker":"w1",...}
 *
 * Services (coordinator, worker) log; libraries return errors instead. Values are escaped; control bytes never reach a
 * terminal. Thread-safe.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Where and from which level on. `service` must outlive the process. */
void log_open(int fd, enum log_level from, const char *service);

/* Pairs after `event`: a key and a text, both const char *, ended by NULL. Nothing happens before log_open. */
void log_event(enum log_level level, const char *event, ...) __attribute__((sentinel));

#endif
