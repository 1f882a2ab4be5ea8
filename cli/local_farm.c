/* local_farm.c - children: started, watched, started again, ended by process id. */
#include "cli/local_farm.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/machine.h"

enum { READY_MS = 60000, STOP_MS = 10000, RESTARTS_LIMIT = 5, CALM_MS = 10000, ARGUMENTS_LIMIT = 24, LOG_LIMIT = 64 << 20 };

struct child {
    pid_t pid; /* 0: not running */
    uint32_t restarts;
    uint64_t started_ms;
};

struct local_farm {
    char *address;
    char *store;       /* absolute */
    char *programs;    /* the folder our own program lies in */
    char *models;      /* colon-separated, or "" */
    char *device;
    uint32_t worker_count, threads, batch;
    struct child coordinator;
    struct child workers[LOCAL_FARM_WORKERS_LIMIT];
};

const char *local_farm_address(const struct local_farm *farm) {
    return farm->address;
}

/* What the child does between fork and exec: die with the parent, its own process group (Ctrl-C reaches us alone: we end the
 * children in order), stderr into the log. */
static void become(char *const argv[], int out, const char *log, pid_t parent) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(1); /* the parent went between fork and prctl */
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(out >= 0 ? out : null, STDOUT_FILENO);
    if (fd >= 0)
        dup2(fd, STDERR_FILENO);
    setpgid(0, 0);
    execv(argv[0], argv);
    dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

/* Fork and exec argv; its stdout goes into *out where that is asked for. */
static enum err spawn(struct child *child, int *out, char *const argv[], const char *log, struct error *error) {
    int ends[2] = { -1, -1 };
    if (out && pipe2(ends, O_CLOEXEC) != 0)
        return error_errno(error, "a pipe for %s", argv[0]);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        become(argv, ends[1], log, parent);
    int fork_errno = errno;
    if (ends[1] >= 0)
        close(ends[1]);
    if (pid < 0) {
        if (ends[0] >= 0)
            close(ends[0]);
        errno = fork_errno;
        return error_errno(error, "%s cannot be started", argv[0]);
    }
    if (out)
        *out = ends[0];
    child->pid = pid;
    child->started_ms = clock_monotonic_ms();
    return ERR_OK;
}

/* The last line a child wrote, for the sentence that says why it ended. No log is no line: the sentence then says only how
 * the child ended. */
static void last_log_line(struct bytes *out, const char *path) {
    struct bytes text = BYTES_INIT;
    struct error no_log;
    if (file_read(&text, path, LOG_LIMIT, &no_log) == ERR_OK && text.size) {
        size_t end = text.size;
        while (end && text.data[end - 1] == '\n')
            end--;
        size_t begin = end;
        while (begin && text.data[begin - 1] != '\n')
            begin--;
        bytes_add(out, text.data + begin, end - begin);
    }
    bytes_release(&text);
}

static enum err died(struct local_farm *farm, const char *what, const char *log, int status, struct error *error) {
    char how[128];
    struct bytes line = BYTES_INIT;
    if (WIFSIGNALED(status))
        snprintf(how, sizeof how, "was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(how, sizeof how, "ended with status %d", WEXITSTATUS(status));
    last_log_line(&line, log);
    enum err code = WIFEXITED(status) && WEXITSTATUS(status) == 2 ? ERR_INVALID : ERR_IO;
    enum err err = error_set(error, code, "the %s on %s %s%s%.600s", what, farm->store, how, line.size ? ": " : "",
                             bytes_text(&line));
    bytes_release(&line);
    return err;
}

/* Read the coordinator's first line. ERR_UNREACHABLE: it ended or took too long. */
static enum err read_line(struct bytes *line, int out, struct error *error) {
    uint64_t until_ms = clock_monotonic_ms() + READY_MS;
    while (!memchr(bytes_text(line), '\n', line->size)) {
        struct pollfd wait = { .fd = out, .events = POLLIN };
        uint64_t now_ms = clock_monotonic_ms();
        char buffer[256];
        if (now_ms >= until_ms)
            return error_set(error, ERR_UNREACHABLE, "the coordinator was not ready after %d s", READY_MS / 1000);
        if (poll(&wait, 1, (int)(until_ms - now_ms)) <= 0)
            continue;
        ssize_t got = read(out, buffer, sizeof buffer);
        if (got > 0)
            bytes_add(line, buffer, (size_t)got);
        else if (got == 0 || errno != EINTR)
            return error_set(error, ERR_UNREACHABLE, "the coordinator ended before it was ready");
    }
    return ERR_OK;
}

static enum err start_coordinator(struct local_farm *farm, struct error *error) {
    char *program = path_join(farm->programs, "seedfarm-coordinator");
    char *log = path_join(farm->store, "coordinator.log");
    char *argv[ARGUMENTS_LIMIT] = { program, "--store", farm->store, "--listen", farm->address };
    struct bytes line = BYTES_INIT;
    int out = -1;
    if (*farm->models) {
        argv[5] = "--models";
        argv[6] = farm->models;
    }
    enum err err = spawn(&farm->coordinator, &out, argv, log, error);
    if (err)
        goto done;
    err = read_line(&line, out, error);
    close(out);
    if (!err && strncmp(bytes_text(&line), "ready ", 6) != 0)
        err = error_set(error, ERR_INTERNAL, "the coordinator said \"%.60s\", want \"ready ADDR\"", bytes_text(&line));
    int status;
    if (err == ERR_UNREACHABLE && waitpid(farm->coordinator.pid, &status, WNOHANG) == farm->coordinator.pid) {
        farm->coordinator.pid = 0;
        err = died(farm, "coordinator", log, status, error);
    }
done:
    bytes_release(&line);
    free(program);
    free(log);
    return err;
}

static enum err start_worker(struct local_farm *farm, uint32_t index, struct error *error) {
    char *program = path_join(farm->programs, "seedfarm-worker");
    char *log = text_format("%s/worker-%u.log", farm->store, index + 1);
    char *cache = text_format("%s/workers/%u", farm->store, index + 1);
    char *name = text_format("run-%u", index + 1);
    char *threads = text_format("%u", farm->threads);
    char *batch = text_format("%u", farm->batch);
    char *memory = text_format("%llu", (unsigned long long)(machine_memory() / farm->worker_count));
    char *argv[ARGUMENTS_LIMIT] = { program, "--coordinator", farm->address, "--device", farm->device, "--threads", threads,
                                    "--cache", cache, "--name", name };
    int n = 11;
    if (!strncmp(farm->device, "cpu", 3) || !strcmp(farm->device, "reference")) { /* they share the machine's */
        argv[n++] = "--memory";
        argv[n++] = memory;
    }
    if (farm->batch) {
        argv[n++] = "--batch";
        argv[n++] = batch;
    }
    if (*farm->models) {
        argv[n++] = "--models";
        argv[n++] = farm->models;
    }
    enum err err = folder_create(cache, error);
    if (!err)
        err = spawn(&farm->workers[index], NULL, argv, log, error);
    free(program);
    free(log);
    free(cache);
    free(name);
    free(threads);
    free(batch);
    free(memory);
    return err;
}

/* A socket beside the store, or, where that path is too long for the system, one in /tmp named by the store's path. */
static char *pick_address(const char *store) {
    char *address = text_format("ipc://%s/farm.sock", store);
    if (strlen(address) - strlen("ipc://") < sizeof((struct sockaddr_un *)0)->sun_path)
        return address;
    struct digest digest = digest_of(store, strlen(store));
    char hex[DIGEST_HEX_SIZE];
    digest_hex(&digest, hex);
    free(address);
    return text_format("ipc:///tmp/seedfarm-%u-%.16s.sock", (unsigned)getuid(), hex);
}

static enum err find_programs(char **folder, struct error *error) {
    char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0)
        return error_errno(error, "where this program lies (/proc/self/exe)");
    path[length] = '\0';
    *strrchr(path, '/') = '\0';
    *folder = text_copy(path);
    return ERR_OK;
}

static char *join_models(char *const *models, uint32_t count) {
    struct bytes joined = BYTES_INIT;
    for (uint32_t i = 0; i < count; i++) {
        char *whole = realpath(models[i], NULL);
        bytes_add_format(&joined, "%s%s", i ? ":" : "", whole ? whole : models[i]);
        free(whole);
    }
    char *text = text_copy(bytes_text(&joined));
    bytes_release(&joined);
    return text;
}

enum err local_farm_start(struct local_farm **out, const struct local_farm_options *options, struct error *error) {
    if (options->workers > LOCAL_FARM_WORKERS_LIMIT)
        return error_set(error, ERR_INVALID, "--workers %u: at most %d on one machine", options->workers,
                         LOCAL_FARM_WORKERS_LIMIT);
    enum err err = folder_create(options->store, error);
    if (err)
        return err;
    struct local_farm *farm = memory_get(sizeof *farm);
    farm->store = realpath(options->store, NULL);
    if (!farm->store) {
        err = error_errno(error, "store %s", options->store);
        goto done;
    }
    if ((err = find_programs(&farm->programs, error)))
        goto done;
    farm->address = pick_address(farm->store);
    farm->models = join_models(options->models, options->model_count);
    farm->device = text_copy(options->device ? options->device : "cpu");
    farm->worker_count = options->workers;
    farm->batch = options->batch;
    farm->threads = options->threads;
    if (!farm->threads && farm->worker_count)
        farm->threads = machine_cores() > farm->worker_count ? machine_cores() / farm->worker_count : 1;
    err = start_coordinator(farm, error);
    for (uint32_t i = 0; i < farm->worker_count && !err; i++)
        err = start_worker(farm, i, error);
done:
    if (err)
        local_farm_stop(farm);
    else
        *out = farm;
    return err;
}

/* ERR_OK with *gone: it has ended and may be started again. */
static enum err check_child(bool *gone, struct child *child, struct local_farm *farm, const char *what, const char *log,
                            struct error *error) {
    int status;
    *gone = false;
    if (!child->pid || waitpid(child->pid, &status, WNOHANG) != child->pid)
        return ERR_OK;
    child->pid = 0;
    child->restarts = clock_monotonic_ms() - child->started_ms > CALM_MS ? 1 : child->restarts + 1;
    if ((WIFEXITED(status) && WEXITSTATUS(status) == 2) || child->restarts > RESTARTS_LIMIT)
        return died(farm, what, log, status, error);
    *gone = true;
    return ERR_OK;
}

enum err local_farm_check(struct local_farm *farm, struct error *error) {
    bool gone;
    char *log = path_join(farm->store, "coordinator.log");
    enum err err = check_child(&gone, &farm->coordinator, farm, "coordinator", log, error);
    free(log);
    if (!err && gone)
        err = start_coordinator(farm, error);
    for (uint32_t i = 0; i < farm->worker_count && !err; i++) {
        log = text_format("%s/worker-%u.log", farm->store, i + 1);
        err = check_child(&gone, &farm->workers[i], farm, "worker", log, error);
        free(log);
        if (!err && gone)
            err = start_worker(farm, i, error);
    }
    return err;
}

/* Wait for a child until `until_ms` at most, then make sure of it. */
static void reap(struct child *child, uint64_t until_ms) {
    int status;
    while (child->pid) {
        pid_t got = waitpid(child->pid, &status, WNOHANG);
        if (got == child->pid || (got < 0 && errno == ECHILD)) {
            child->pid = 0;
        } else if (clock_monotonic_ms() >= until_ms) {
            kill(child->pid, SIGKILL);
            until_ms = UINT64_MAX;
        } else {
            clock_sleep_ms(2);
        }
    }
}

void local_farm_stop(struct local_farm *farm) {
    if (!farm)
        return;
    uint64_t until_ms = clock_monotonic_ms() + STOP_MS;
    for (uint32_t i = 0; i < farm->worker_count; i++)
        if (farm->workers[i].pid)
            kill(farm->workers[i].pid, SIGTERM);
    for (uint32_t i = 0; i < farm->worker_count; i++)
        reap(&farm->workers[i], until_ms);
    if (farm->coordinator.pid)
        kill(farm->coordinator.pid, SIGTERM);
    reap(&farm->coordinator, until_ms);
    free(farm->address);
    free(farm->store);
    free(farm->programs);
    free(farm->models);
    free(farm->device);
    free(farm);
}
