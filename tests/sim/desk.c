/* desk.c - coordinator/desk.h without threads: tasks of a desk in their order, desks among each other as the seed says. */
#include "coordinator/desk.h"

#include <assert.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

enum { DESKS_MOST = 8 };

struct line {
    struct task *first, *last;
};

struct inbox {
    struct line done;
    size_t outstanding;
};

struct desk {
    struct inbox *inbox;
    const char *name;
    struct line waiting;
    uint64_t due_us; /* of the first; NEVER: none */
};

static struct desk *desks[DESKS_MOST];
static size_t desk_count;
static struct inbox *the_inbox;

static void line_add(struct line *line, struct task *task) {
    task->next = NULL;
    *(line->last ? &line->last->next : &line->first) = task;
    line->last = task;
}

static struct task *line_take(struct line *line) {
    struct task *task = line->first;
    if (task && !(line->first = task->next))
        line->last = NULL;
    return task;
}

/* ---- desk.h ----------------------------------------------------------------------------------------------------------- */

enum err inbox_create(struct inbox **inbox, struct error *error) {
    (void)error;
    *inbox = the_inbox = memory_get(sizeof **inbox);
    return ERR_OK;
}

void inbox_destroy(struct inbox *inbox) {
    if (!inbox)
        return;
    assert(!inbox->done.first);
    the_inbox = NULL;
    free(inbox);
}

int inbox_fd(const struct inbox *inbox) {
    (void)inbox;
    return -1;
}

size_t inbox_outstanding(const struct inbox *inbox) {
    return inbox->outstanding;
}

void inbox_run(struct inbox *inbox) {
    struct line done = inbox->done;
    inbox->done = (struct line){ NULL, NULL };
    for (struct task *task = line_take(&done); task; task = line_take(&done)) {
        inbox->outstanding--;
        task->finish(task);
    }
}

enum err desk_start(struct desk **out, struct inbox *inbox, const char *name, struct error *error) {
    struct desk *desk = memory_get(sizeof *desk);
    (void)error;
    assert(desk_count < DESKS_MOST);
    *desk = (struct desk){ .inbox = inbox, .name = name, .due_us = NEVER };
    desks[desk_count++] = desk;
    *out = desk;
    return ERR_OK;
}

static void set_due(struct desk *desk) {
    uint64_t most_us = chance(20) ? world.plan.slow_desk_us : world.plan.desk_us;
    desk->due_us = desk->waiting.first ? world.now_us + 1 + dice(most_us) : NEVER;
}

void desk_post(struct desk *desk, struct task *task) {
    bool idle = !desk->waiting.first;
    desk->inbox->outstanding++;
    history_effect();
    line_add(&desk->waiting, task);
    if (idle)
        set_due(desk);
}

static void work_first(struct desk *desk) {
    struct task *task = line_take(&desk->waiting);
    task->work(task);
    line_add(&desk->inbox->done, task);
    set_due(desk);
}

void desk_stop(struct desk *desk) {
    if (!desk)
        return;
    while (desk->waiting.first)
        work_first(desk);
    for (size_t i = 0; i < desk_count; i++)
        if (desks[i] == desk)
            desks[i] = desks[--desk_count];
    free(desk);
}

/* ---- for the world ------------------------------------------------------------------------------------------------------ */

void desks_begin(void) {
    assert(!desk_count && !the_inbox);
}

static struct desk *next_desk(void) {
    struct desk *next = NULL;
    for (size_t i = 0; i < desk_count; i++)
        if (desks[i]->due_us != NEVER && (!next || desks[i]->due_us < next->due_us))
            next = desks[i];
    return next;
}

uint64_t desks_next_us(void) {
    const struct desk *desk = next_desk();
    return desk ? desk->due_us : NEVER;
}

void desks_step(void) {
    struct desk *desk = next_desk();
    if (desk)
        work_first(desk);
}

bool desks_have_finished(void) {
    return the_inbox && the_inbox->done.first;
}

void desks_drain(void) {
    while (the_inbox && (next_desk() || the_inbox->done.first)) {
        desks_step();
        inbox_run(the_inbox);
    }
}
