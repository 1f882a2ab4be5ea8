/*
 * desk.h - a helper thread that works through tasks in order, and the inbox through which they come back to the loop.
 *
 * The loop owns all state; a task owns what it carries. `work` runs on the desk's thread and touches nothing of the loop's
 * that can change; `finish` runs on the loop's thread and frees the task.
 */
#ifndef COORDINATOR_DESK_H
#define COORDINATOR_DESK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct task {
    void (*work)(struct task *task);
    void (*finish)(struct task *task);
    struct task *next; /* the desk's and the inbox's own */
};

struct inbox;
MUST_USE enum err inbox_create(struct inbox **inbox, struct error *error);
void inbox_destroy(struct inbox *inbox); /* nothing outstanding */
int inbox_fd(const struct inbox *inbox); /* readable when tasks have come back */
void inbox_run(struct inbox *inbox);     /* finish all that have come back */
size_t inbox_outstanding(const struct inbox *inbox); /* posted, not finished */

struct desk;
MUST_USE enum err desk_start(struct desk **desk, struct inbox *inbox, const char *name, struct error *error);
void desk_post(struct desk *desk, struct task *task); /* from the loop's thread */
void desk_stop(struct desk *desk);                    /* works off what was posted, then ends the thread */

#endif
