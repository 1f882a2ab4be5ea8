/*
 * supervisor.h - one child process a device: started, watched, started again with back-off.
 *
 * A child that ends with 0 or 2 (its input is wrong) is not started again; any other end is taken for trouble that may pass,
 * and is logged with the reason and the child's last words. Children die with the supervisor, however it goes. SIGTERM and
 * SIGINT: the first is handed on as SIGTERM, the second kills. Call from the main thread, which must not end before: the
 * children's death signal follows it.
 */
#ifndef WORKER_SUPERVISOR_H
#define WORKER_SUPERVISOR_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { SUPERVISED_LIMIT = 64 };

struct supervised {
    const char *device;  /* for logs */
    char *const *argv;   /* NULL-ended; argv[0] is the program's path */
};

struct supervisor_pace {
    uint32_t first_ms; /* before the first restart, doubling to ... */
    uint32_t most_ms;
    uint32_t calm_ms;  /* a child that lived so long starts at first_ms again */
};
extern const struct supervisor_pace supervisor_pace_default; /* 1 s to 32 s; 10 s */

/* Until every child is done for good. *status is what to exit with: the largest of theirs, 1 for one that was killed.
 * `stderr_fd` is where the children's stderr goes, as it comes. */
MUST_USE enum err supervisor_run(int *status, const struct supervised *children, size_t count,
                                 const struct supervisor_pace *pace, int stderr_fd, struct error *error);

#endif
