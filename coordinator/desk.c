/* desk.c - helper threads and the way back. */
#include "coordinator/desk.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/bytes.h"

enum { HELPER_NICE = 5 }; /* where processors are short the loop comes first: it answers and hands out work */

struct line {
    struct task *first, *last;
};

struct inbox {
    pthread_mutex_t lock;
    struct line done; /* under lock */
    int fd;
    size_t outstanding; /* the loop's own */
};

struct desk {
    struct inbox *inbox;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct line waiting; /* under lock */
    bool stop;           /* under lock */
};

static void line_add(struct line *line, struct task *task) {
    task->next = NULL;
    if (line->last)
        line->last->next = task;
    else
        line->first = task;
    line->last = task;
}

static struct task *line_take(struct line *line) {
    struct task *task = line->first;
    if (task) {
        line->first = task->next;
        if (!line->first)
            line->last = NULL;
    }
    return task;
}

enum err inbox_create(struct inbox **out, struct error *error) {
    struct inbox *inbox = memory_get(sizeof *inbox);
    inbox->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (inbox->fd < 0) {
        free(inbox);
        return error_errno(error, "an eventfd for the helper threads");
    }
    pthread_mutex_init(&inbox->lock, NULL);
    *out = inbox;
    return ERR_OK;
}

void inbox_destroy(struct inbox *inbox) {
    if (!inbox)
        return;
    assert(!inbox->done.first);
    close(inbox->fd);
    pthread_mutex_destroy(&inbox->lock);
    free(inbox);
}

int inbox_fd(const struct inbox *inbox) {
    return inbox->fd;
}

size_t inbox_outstanding(const struct inbox *inbox) {
    return inbox->outstanding;
}

static void inbox_add(struct inbox *inbox, struct task *task) {
    uint64_t one = 1;
    pthread_mutex_lock(&inbox->lock);
    line_add(&inbox->done, task);
    pthread_mutex_unlock(&inbox->lock);
    /* A full counter (EAGAIN) is readable already. */
    while (write(inbox->fd, &one, sizeof one) < 0 && errno == EINTR)
        continue;
}

void inbox_run(struct inbox *inbox) {
    uint64_t count;
    while (read(inbox->fd, &count, sizeof count) < 0 && errno == EINTR)
        continue;
    pthread_mutex_lock(&inbox->lock);
    struct line done = inbox->done;
    inbox->done = (struct line){ NULL, NULL };
    pthread_mutex_unlock(&inbox->lock);
    for (struct task *task = line_take(&done); task; task = line_take(&done)) {
        inbox->outstanding--;
        task->finish(task);
    }
}

static void *desk_main(void *argument) {
    struct desk *desk = argument;
    setpriority(PRIO_PROCESS, (id_t)gettid(), HELPER_NICE); /* a thread's own on Linux. Where it fails, answers are slower: no more */
    pthread_mutex_lock(&desk->lock);
    for (;;) {
        struct task *task = line_take(&desk->waiting);
        if (!task && desk->stop)
            break;
        if (!task) {
            pthread_cond_wait(&desk->wake, &desk->lock);
            continue;
        }
        pthread_mutex_unlock(&desk->lock);
        task->work(task);
        inbox_add(desk->inbox, task);
        pthread_mutex_lock(&desk->lock);
    }
    pthread_mutex_unlock(&desk->lock);
    return NULL;
}

enum err desk_start(struct desk **out, struct inbox *inbox, const char *name, struct error *error) {
    struct desk *desk = memory_get(sizeof *desk);
    sigset_t all, before;
    desk->inbox = inbox;
    pthread_mutex_init(&desk->lock, NULL);
    pthread_cond_init(&desk->wake, NULL);
    sigfillset(&all); /* signals are the main thread's */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&desk->thread, NULL, desk_main, desk);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result) {
        pthread_cond_destroy(&desk->wake);
        pthread_mutex_destroy(&desk->lock);
        free(desk);
        errno = result;
        return error_errno(error, "a thread for %s", name);
    }
    pthread_setname_np(desk->thread, name);
    *out = desk;
    return ERR_OK;
}

void desk_post(struct desk *desk, struct task *task) {
    desk->inbox->outstanding++;
    pthread_mutex_lock(&desk->lock);
    line_add(&desk->waiting, task);
    pthread_cond_signal(&desk->wake);
    pthread_mutex_unlock(&desk->lock);
}

void desk_stop(struct desk *desk) {
    if (!desk)
        return;
    pthread_mutex_lock(&desk->lock);
    desk->stop = true;
    pthread_cond_signal(&desk->wake);
    pthread_mutex_unlock(&desk->lock);
    pthread_join(desk->thread, NULL);
    pthread_cond_destroy(&desk->wake);
    pthread_mutex_destroy(&desk->lock);
    free(desk);
}
