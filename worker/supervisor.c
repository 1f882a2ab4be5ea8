/* supervisor.c - fork, exec, poll over signals and the children's stderr. */
#include "worker/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"

enum { WORDS_KEPT = 2048, WORDS_SAID = 800, CANNOT_RUN = 127 };

const struct supervisor_pace supervisor_pace_default = { 1000, 32000, 10000 };

struct child {
    const struct supervised *what;
    pid_t pid;      /* 0: not running */
    int words_fd;   /* its stderr; -1: closed */
    struct bytes words; /* the last of them */
    uint64_t started_ms, start_at_ms;
    uint32_t backoff_ms;
    uint32_t deaths; /* in a row */
    bool finished;  /* for good */
    int status;
};

struct supervisor {
    struct child children[SUPERVISED_LIMIT];
    size_t count;
    struct supervisor_pace pace;
    int signal_fd, stderr_fd;
    int stops; /* signals to stop, so far */
    sigset_t mask_before;
};

/* Between fork and exec. SIGKILL on the parent's death: results are safe on disk, and a successor wants the cache now. */
static void become(const struct supervisor *supervisor, const struct supervised *what, int words, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1); /* it went between fork and prctl */
    setpgid(0, 0); /* Ctrl-C reaches the supervisor alone, which hands it on once */
    dup2(words, STDERR_FILENO);
    sigprocmask(SIG_SETMASK, &supervisor->mask_before, NULL);
    execv(what->argv[0], what->argv);
    dprintf(STDERR_FILENO, "%s: %s\n", what->argv[0], strerror(errno));
    _exit(CANNOT_RUN);
}

static enum err start_child(struct supervisor *supervisor, struct child *child, struct error *error) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_errno(error, "a pipe for %s", child->what->device);
    pid_t parent = getpid(), pid = fork();
    if (pid == 0)
        become(supervisor, child->what, ends[1], parent);
    int why = errno;
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        errno = why;
        return error_errno(error, "a process for %s", child->what->device);
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    child->pid = pid;
    child->words_fd = ends[0];
    child->started_ms = clock_monotonic_ms();
    bytes_clear(&child->words);
    char *number = text_format("%ld", (long)pid);
    log_event(LOG_INFO, "child-started", "device", child->what->device, "pid", number, NULL);
    free(number);
    return ERR_OK;
}

/* ---- what a child says ---------------------------------------------------------------------------------------------- */

static void keep_words(struct child *child, const char *data, size_t size) {
    bytes_add(&child->words, data, size);
    if (child->words.size <= WORDS_KEPT)
        return;
    struct bytes last = BYTES_INIT;
    bytes_add(&last, child->words.data + child->words.size - WORDS_KEPT, WORDS_KEPT);
    bytes_release(&child->words);
    child->words = last;
}

/* Everything that is there now. Our own stderr is passed on as far as it takes it: a full terminal must not stop us. */
static void relay_words(struct supervisor *supervisor, struct child *child) {
    char buffer[4096];
    while (child->words_fd >= 0) {
        ssize_t got = read(child->words_fd, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            close(child->words_fd);
            child->words_fd = -1;
            return;
        }
        keep_words(child, buffer, (size_t)got);
        ssize_t put = write(supervisor->stderr_fd, buffer, (size_t)got);
        (void)put;
    }
}

/* The tail of its words, from the start of a line. */
static const char *last_words(const struct child *child) {
    const char *text = bytes_text(&child->words);
    if (child->words.size <= WORDS_SAID)
        return text;
    text += child->words.size - WORDS_SAID;
    const char *line = strchr(text, '\n');
    return line && line[1] ? line + 1 : text;
}

/* ---- how a child ends ----------------------------------------------------------------------------------------------- */

static void schedule_restart(struct supervisor *supervisor, struct child *child, uint64_t now_ms) {
    if (now_ms - child->started_ms >= supervisor->pace.calm_ms) {
        child->backoff_ms = supervisor->pace.first_ms;
        child->deaths = 0;
    }
    child->deaths++;
    child->start_at_ms = now_ms + child->backoff_ms;
    child->backoff_ms = child->backoff_ms * 2 < supervisor->pace.most_ms ? child->backoff_ms * 2 : supervisor->pace.most_ms;
}

static void bury(struct supervisor *supervisor, struct child *child, int status) {
    uint64_t now_ms = clock_monotonic_ms();
    bool killed = WIFSIGNALED(status);
    child->status = killed ? 1 : WEXITSTATUS(status);
    child->pid = 0;
    relay_words(supervisor, child);
    if (child->words_fd >= 0)
        close(child->words_fd); /* a grandchild may still hold the other end */
    child->words_fd = -1;
    child->finished = supervisor->stops || (!killed && (child->status == 0 || child->status == 2));
    if (!child->finished)
        schedule_restart(supervisor, child, now_ms);
    char *reason = killed ? text_format("signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)))
                          : text_format("exit status %d", child->status);
    char *deaths = text_format("%" PRIu32, child->deaths);
    char *wait = text_format("%" PRIu64, child->finished ? 0 : child->start_at_ms - now_ms);
    if (!child->finished)
        log_event(LOG_ERROR, "child-died", "device", child->what->device, "reason", reason, "deaths", deaths, "restart_ms", wait,
                  "last_words", last_words(child), NULL);
    else
        log_event(LOG_INFO, "child-ended", "device", child->what->device, "reason", reason, NULL);
    free(reason);
    free(deaths);
    free(wait);
}

static void reap_children(struct supervisor *supervisor) {
    for (size_t i = 0; i < supervisor->count; i++) {
        struct child *child = &supervisor->children[i];
        int status;
        if (child->pid && waitpid(child->pid, &status, WNOHANG) == child->pid)
            bury(supervisor, child, status);
    }
}

static void stop_children(struct supervisor *supervisor) {
    int signal = supervisor->stops++ ? SIGKILL : SIGTERM;
    for (size_t i = 0; i < supervisor->count; i++) {
        if (supervisor->children[i].pid)
            kill(supervisor->children[i].pid, signal);
        else
            supervisor->children[i].finished = true;
    }
}

static void take_signals(struct supervisor *supervisor) {
    struct signalfd_siginfo info;
    while (read(supervisor->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo != SIGCHLD)
            stop_children(supervisor);
}

/* ---- the loop ------------------------------------------------------------------------------------------------------- */

static bool all_finished(const struct supervisor *supervisor) {
    for (size_t i = 0; i < supervisor->count; i++)
        if (!supervisor->children[i].finished)
            return false;
    return true;
}

static enum err start_due(struct supervisor *supervisor, struct error *error) {
    uint64_t now_ms = clock_monotonic_ms();
    for (size_t i = 0; i < supervisor->count; i++) {
        struct child *child = &supervisor->children[i];
        if (child->pid || child->finished || now_ms < child->start_at_ms)
            continue;
        enum err err = start_child(supervisor, child, error);
        if (err)
            return err;
    }
    return ERR_OK;
}

static void wait_for_something(struct supervisor *supervisor) {
    struct pollfd waits[1 + SUPERVISED_LIMIT] = { { .fd = supervisor->signal_fd, .events = POLLIN } };
    uint64_t now_ms = clock_monotonic_ms(), next_ms = UINT64_MAX;
    for (size_t i = 0; i < supervisor->count; i++) {
        const struct child *child = &supervisor->children[i];
        waits[1 + i] = (struct pollfd){ .fd = child->words_fd, .events = POLLIN };
        if (!child->pid && !child->finished && child->start_at_ms < next_ms)
            next_ms = child->start_at_ms;
    }
    int timeout_ms = next_ms == UINT64_MAX ? -1 : next_ms <= now_ms ? 0 : (int)(next_ms - now_ms);
    poll(waits, 1 + supervisor->count, timeout_ms); /* EINTR is as good as an event */
}

static enum err watch(struct supervisor *supervisor, struct error *error) {
    while (!all_finished(supervisor)) {
        enum err err = start_due(supervisor, error);
        if (err)
            return err;
        wait_for_something(supervisor);
        for (size_t i = 0; i < supervisor->count; i++)
            relay_words(supervisor, &supervisor->children[i]);
        take_signals(supervisor);
        reap_children(supervisor);
    }
    return ERR_OK;
}

static void release_children(struct supervisor *supervisor) {
    for (size_t i = 0; i < supervisor->count; i++) {
        struct child *child = &supervisor->children[i];
        if (child->pid) { /* we could not go on: nobody is left behind */
            kill(child->pid, SIGKILL);
            waitpid(child->pid, NULL, 0);
        }
        if (child->words_fd >= 0)
            close(child->words_fd);
        bytes_release(&child->words);
    }
}

enum err supervisor_run(int *status, const struct supervised *children, size_t count, const struct supervisor_pace *pace,
                        int stderr_fd, struct error *error) {
    struct supervisor supervisor = { .count = count, .pace = *pace, .stderr_fd = stderr_fd };
    sigset_t mask;
    if (count > SUPERVISED_LIMIT)
        return error_set(error, ERR_LIMIT, "%zu devices: at most %d on one machine", count, SUPERVISED_LIMIT);
    for (size_t i = 0; i < count; i++)
        supervisor.children[i] = (struct child){ .what = &children[i], .words_fd = -1, .backoff_ms = pace->first_ms };
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGCHLD);
    sigprocmask(SIG_BLOCK, &mask, &supervisor.mask_before);
    supervisor.signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    enum err err = supervisor.signal_fd < 0 ? error_errno(error, "signals") : watch(&supervisor, error);
    release_children(&supervisor);
    if (supervisor.signal_fd >= 0)
        close(supervisor.signal_fd);
    sigprocmask(SIG_SETMASK, &supervisor.mask_before, NULL);
    if (err)
        return err;
    *status = 0;
    for (size_t i = 0; i < count; i++)
        if (supervisor.children[i].status > *status)
            *status = supervisor.children[i].status;
    return ERR_OK;
}
