/*
 * main.c - seedfarm-worker: options, then either the supervisor of one child a device, or (--no-supervisor) one device's
 * agent in this very process.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/machine.h"
#include "base/quantity.h"
#include "proto/link.h"
#include "worker/agent.h"
#include "worker/easel.h"
#include "worker/supervisor.h"

static const char help[] =
    "seedfarm-worker: renders for a farm.\n"
    "\n"
    "usage: seedfarm-worker --coordinator ADDR [--device D|all] [options]\n"
    "\n"
    "  --coordinator ADDR   where the coordinator listens: ipc://PATH or tcp://HOST:PORT (else SEEDFARM_COORDINATOR)\n"
    "  --device D           cpu, reference (slow, plain), cuda:N or cuda:GPU-UUID, or all: a process for each card, or for the\n"
    "                       CPU where there is none (default: cpu)\n"
    "  --threads N          threads that compute (default: the cores this process may use)\n"
    "  --batch N            pictures drawn at once, at most (default: as many as gain, found while it works)\n"
    "  --memory BYTES       bound of weights and working memory; K, M, G may follow\n"
    "                       (default: seven eighths of the machine's, or what is free on the card)\n"
    "  --models PATH[:..]   folders of models, or a model's own folder; what is not there comes from the coordinator\n"
    "  --cache DIR          models fetched and results not yet delivered\n"
    "                       (default: $XDG_CACHE_HOME/seedfarm/worker-NAME); one worker at a time\n"
    "  --cache-bytes BYTES  bound of the models in the cache (default: 64G)\n"
    "  --name NAME          unique on the farm (default: HOST-DEVICE)\n"
    "  --hang-seconds N     no progress for so long is taken for a hang: the process is started anew (default: 600)\n"
    "  --log FILE           log there instead of on stderr; a JSON line an event\n"
    "  --config FILE        a JSON object of these options: {\"coordinator\": \"ipc:///run/farm.sock\", \"threads\": 4};\n"
    "                       what the command line says goes before it\n"
    "  --no-supervisor      no process of its own for the device: for service managers that restart it themselves\n"
    "  --version, --help\n"
    "\n"
    "SIGTERM or SIGINT: leases nothing more, delivers what is finished, ends. A second one: at once.\n"
    "Exit status: 0 stopped; 1 failed; 2 usage, bad input, or a coordinator of another protocol.\n"
    "\n"
    "examples:\n"
    "  seedfarm-worker --coordinator ipc:///run/seedfarm.sock\n"
    "  seedfarm-worker --coordinator tcp://127.0.0.1:7000 --threads 8 --models /srv/models --cache /var/cache/seedfarm\n"
    "  SEEDFARM_COORDINATOR=tcp://127.0.0.1:7000 seedfarm-worker --device all --memory 16G\n";

enum { CONFIG_LIMIT = 1 << 20 };

struct settings {
    const char *coordinator, *device, *cache, *models, *name, *log, *config;
    json_t *config_json; /* owned; the texts above may be its */
    uint32_t threads, batch, hang_seconds;
    uint64_t memory_bytes, cache_bytes;
    bool alone; /* --no-supervisor */
};

enum option_id {
    OPTION_COORDINATOR = 1000, OPTION_DEVICE, OPTION_THREADS, OPTION_BATCH, OPTION_MEMORY, OPTION_MODELS, OPTION_CACHE,
    OPTION_CACHE_BYTES, OPTION_NAME, OPTION_LOG, OPTION_HANG, OPTION_CONFIG, OPTION_ALONE, OPTION_VERSION, OPTION_HELP
};

static const struct option long_options[] = {
    { "coordinator", required_argument, NULL, OPTION_COORDINATOR },
    { "device", required_argument, NULL, OPTION_DEVICE },
    { "threads", required_argument, NULL, OPTION_THREADS },
    { "batch", required_argument, NULL, OPTION_BATCH },
    { "memory", required_argument, NULL, OPTION_MEMORY },
    { "models", required_argument, NULL, OPTION_MODELS },
    { "cache", required_argument, NULL, OPTION_CACHE },
    { "cache-bytes", required_argument, NULL, OPTION_CACHE_BYTES },
    { "name", required_argument, NULL, OPTION_NAME },
    { "log", required_argument, NULL, OPTION_LOG },
    { "hang-seconds", required_argument, NULL, OPTION_HANG },
    { "config", required_argument, NULL, OPTION_CONFIG },
    { "no-supervisor", no_argument, NULL, OPTION_ALONE },
    { "version", no_argument, NULL, OPTION_VERSION },
    { "help", no_argument, NULL, OPTION_HELP },
    { NULL, 0, NULL, 0 },
};

/* ---- options -------------------------------------------------------------------------------------------------------- */

/* Digits alone, and a K, M or G (powers of 1024) where allowed. */
static enum err parse_number(uint64_t *out, const char *option, const char *text, uint64_t minimum, uint64_t maximum,
                             bool units, struct error *error) {
    uint64_t value;
    if (!quantity_parse(&value, text, units) || value < minimum || value > maximum)
        return error_set(error, ERR_INVALID, "--%s: want %" PRIu64 "..%" PRIu64 "%s, have \"%s\"", option, minimum, maximum,
                         units ? " (K, M or G may follow)" : "", text);
    *out = value;
    return ERR_OK;
}

static enum err take_option(struct settings *settings, int id, const char *value, struct error *error) {
    uint64_t number = 0;
    enum err err = ERR_OK;
    switch (id) {
    case OPTION_COORDINATOR: settings->coordinator = value; break;
    case OPTION_DEVICE: settings->device = value; break;
    case OPTION_MODELS: settings->models = value; break;
    case OPTION_CACHE: settings->cache = value; break;
    case OPTION_NAME: settings->name = value; break;
    case OPTION_LOG: settings->log = value; break;
    case OPTION_CONFIG: settings->config = value; break;
    case OPTION_ALONE: settings->alone = true; break;
    case OPTION_THREADS:
        err = parse_number(&number, "threads", value, 1, 1024, false, error);
        settings->threads = (uint32_t)number;
        break;
    case OPTION_HANG:
        err = parse_number(&number, "hang-seconds", value, 1, 86400, false, error);
        settings->hang_seconds = (uint32_t)number;
        break;
    case OPTION_BATCH:
        err = parse_number(&number, "batch", value, 1, LIMIT_BATCH, false, error);
        settings->batch = (uint32_t)number;
        break;
    case OPTION_MEMORY:
        err = parse_number(&settings->memory_bytes, "memory", value, 1 << 20, UINT64_C(1) << 50, true, error);
        break;
    case OPTION_CACHE_BYTES:
        err = parse_number(&settings->cache_bytes, "cache-bytes", value, 1 << 20, UINT64_C(1) << 50, true, error);
        break;
    }
    return err;
}

static enum err check_settings(struct settings *settings, struct error *error) {
    if (!settings->coordinator)
        settings->coordinator = getenv("SEEDFARM_COORDINATOR");
    if (!settings->coordinator || !*settings->coordinator)
        return error_set(error, ERR_INVALID, "--coordinator ADDR is missing, and SEEDFARM_COORDINATOR is not set");
    if (settings->alone && strcmp(settings->device, "all") == 0)
        return error_set(error, ERR_INVALID, "--device all: want one device where --no-supervisor is given");
    if (settings->name && (!*settings->name || strlen(settings->name) > LIMIT_NAME || strchr(settings->name, '/')))
        return error_set(error, ERR_INVALID, "--name: want 1..%d bytes without a slash, have \"%s\"", LIMIT_NAME,
                         settings->name);
    return address_check_connect(settings->coordinator, error);
}

/* ---- the process of one device -------------------------------------------------------------------------------------- */

static _Atomic(struct agent *) running;

static void stop_running(int signal) {
    static atomic_int stops;
    struct agent *agent = atomic_load(&running);
    if (!agent || atomic_fetch_add(&stops, 1))
        _exit(128 + signal);
    agent_stop(agent);
}

static void catch_signals(void) {
    struct sigaction action = { .sa_handler = stop_running };
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

static enum err pick_cache(char **cache, const struct settings *settings, const char *name, struct error *error) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (settings->cache)
        *cache = text_copy(settings->cache);
    else if (xdg && *xdg)
        *cache = text_format("%s/seedfarm/worker-%s", xdg, name);
    else if (home && *home)
        *cache = text_format("%s/.cache/seedfarm/worker-%s", home, name);
    else
        return error_set(error, ERR_INVALID, "--cache DIR is missing, and neither XDG_CACHE_HOME nor HOME is set");
    return ERR_OK;
}

static enum err run_device(const struct settings *settings, struct error *error) {
    char host[LIMIT_NAME / 2 + 1] = "host";
    struct easel *easel = NULL;
    struct agent *agent = NULL;
    if (gethostname(host, sizeof host - 1) != 0)
        return error_errno(error, "this machine's name");
    char *name = settings->name ? text_copy(settings->name) : text_format("%s-%s", host, settings->device);
    char *cache = NULL;
    uint32_t threads = settings->threads ? settings->threads : machine_cores();
    enum err err = pick_cache(&cache, settings, name, error);
    if (!err)
        err = easel_create(&easel, settings->device, threads, settings->memory_bytes, error);
    if (err)
        goto done;
    struct agent_options options = {
        .coordinator = settings->coordinator,
        .name = name,
        .host = host,
        .device = settings->device,
        .threads = threads,
        .batch = settings->batch,
        .memory_bytes = easel_memory(easel),
        .hang_ms = settings->hang_seconds * 1000,
        .cache = cache,
        .cache_bytes = settings->cache_bytes,
        .models = settings->models,
        .painter = easel_painter(easel),
    };
    err = agent_create(&agent, &options, error);
    if (err)
        goto done;
    atomic_store(&running, agent);
    catch_signals();
    err = agent_run(agent, error);
    if (err == ERR_STALE) { /* a thread hangs: nobody can wait for it. What is finished is in the outbox */
        fprintf(stderr, "seedfarm-worker: %s\n", error->message);
        _exit(err_exit_status(err));
    }
    atomic_store(&running, NULL); /* from here on a signal ends us at once */
done:
    agent_destroy(agent);
    easel_destroy(easel);
    free(name);
    free(cache);
    return err;
}

/* ---- the supervisor ------------------------------------------------------------------------------------------------- */

enum { CHILD_OWN = 8 /* of a child's arguments: itself, --no-supervisor, device, name, cache; each with its word */ };

struct arguments {
    char **words;       /* owned, NULL-ended */
    char *name, *cache; /* owned words among them, or NULL */
};

/* The same program with the same options for one of `count` devices; where there are several, name and cache are its own. */
static struct arguments child_arguments(char *self, char *device, const struct settings *settings, size_t count, int argc,
                                        char **argv) {
    struct arguments made = { .words = memory_get_array((size_t)argc + CHILD_OWN, sizeof *made.words) };
    char **child = made.words;
    size_t at = 0;
    child[at++] = self;
    child[at++] = "--no-supervisor";
    for (int i = 1; i < argc; i++)
        child[at++] = argv[i];
    child[at++] = "--device"; /* the last one counts */
    child[at++] = device;
    if (count > 1 && settings->name) {
        child[at++] = "--name";
        child[at++] = made.name = text_format("%s-%s", settings->name, device);
    }
    if (count > 1 && settings->cache) {
        child[at++] = "--cache";
        child[at++] = made.cache = text_format("%s/%s", settings->cache, device);
    }
    return made;
}

static enum err supervise(int *status, const struct settings *settings, int argc, char **argv, struct error *error) {
    char names[DEVICES_MOST][DEVICE_NAME_SIZE], self[4096];
    struct supervised devices[DEVICES_MOST];
    struct arguments arguments[DEVICES_MOST];
    size_t count = 1;
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    if (length < 0)
        return error_errno(error, "where this program lies (/proc/self/exe)");
    self[length] = '\0';
    snprintf(names[0], sizeof names[0], "%s", settings->device);
    if (strcmp(settings->device, "all") == 0)
        count = device_list(names);
    for (size_t i = 0; i < count; i++) {
        arguments[i] = child_arguments(self, names[i], settings, count, argc, argv);
        devices[i] = (struct supervised){ names[i], arguments[i].words };
    }
    enum err err = supervisor_run(status, devices, count, &supervisor_pace_default, STDERR_FILENO, error);
    for (size_t i = 0; i < count; i++) {
        free(arguments[i].words);
        free(arguments[i].name);
        free(arguments[i].cache);
    }
    return err;
}

/* ---- main ----------------------------------------------------------------------------------------------------------- */

/* ERR_CANCELLED: help or version was asked for and given. */
static enum err read_flags(struct settings *settings, int argc, char **argv, struct error *error) {
    enum err err = ERR_OK;
    opterr = 0;
    optind = 1;
    for (int id; !err && (id = getopt_long(argc, argv, "", long_options, NULL)) != -1; ) {
        if (id == OPTION_HELP)
            fputs(help, stdout);
        else if (id == OPTION_VERSION)
            printf("seedfarm-worker %s (%s)\n", SEEDFARM_VERSION, device_build());
        if (id == OPTION_HELP || id == OPTION_VERSION)
            return ERR_CANCELLED;
        if (id == '?' || id == ':')
            err = error_set(error, ERR_INVALID, "%s: unknown option, or its value is missing (see --help)", argv[optind - 1]);
        else
            err = take_option(settings, id, optarg, error);
    }
    if (!err && optind < argc)
        err = error_set(error, ERR_INVALID, "%s: want options only (see --help)", argv[optind]);
    return err;
}

/* One member of the config file. Numbers may be written as numbers or as texts. */
static enum err take_member(struct settings *settings, const char *key, const json_t *value, struct error *error) {
    const struct option *option = long_options;
    while (option->name && strcmp(option->name, key) != 0)
        option++;
    if (!option->name || option->has_arg == no_argument || option->val == OPTION_CONFIG)
        return error_set(error, ERR_INVALID, "%s: unknown option \"%s\" (see --help)", settings->config, key);
    if (json_is_string(value))
        return take_option(settings, option->val, json_string_value(value), error);
    if (!json_is_integer(value))
        return error_set(error, ERR_INVALID, "%s: %s: want a text or a whole number", settings->config, key);
    char *number = text_format("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    enum err err = take_option(settings, option->val, number, error);
    free(number);
    return err;
}

static enum err read_config(struct settings *settings, struct error *error) {
    const char *key;
    json_t *value;
    enum err err = json_read_file(&settings->config_json, settings->config, CONFIG_LIMIT, error);
    if (!err && !json_is_object(settings->config_json))
        err = error_set(error, ERR_INVALID, "%s: want a JSON object of options", settings->config);
    if (err)
        return err;
    json_object_foreach(settings->config_json, key, value) {
        err = take_member(settings, key, value, error);
        if (err)
            return err;
    }
    return ERR_OK;
}

/* Flags, then the config file, then the flags once more: they go before it. */
static enum err read_arguments(struct settings *settings, int argc, char **argv, struct error *error) {
    enum err err = read_flags(settings, argc, argv, error);
    if (!err && settings->config) {
        err = read_config(settings, error);
        if (!err)
            err = read_flags(settings, argc, argv, error);
    }
    return err ? err : check_settings(settings, error);
}

static enum err open_log(const struct settings *settings, struct error *error) {
    int fd = STDERR_FILENO;
    if (settings->log)
        fd = open(settings->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0)
        return error_errno(error, "--log %s", settings->log);
    log_open(fd, LOG_INFO, "worker");
    return ERR_OK;
}

int main(int argc, char **argv) {
    struct settings settings = { .device = "cpu", .cache_bytes = UINT64_C(64) << 30 };
    struct error error;
    int status = 0;
    signal(SIGPIPE, SIG_IGN); /* a log nobody reads is no reason to die */
    enum err err = read_arguments(&settings, argc, argv, &error);
    if (err == ERR_CANCELLED) {
        err = ERR_OK;
        goto done;
    }
    if (!err)
        err = open_log(&settings, &error);
    if (!err)
        err = settings.alone ? run_device(&settings, &error) : supervise(&status, &settings, argc, argv, &error);
    if (err) {
        log_event(LOG_ERROR, "worker-failed", "code", err_name(err), "why", error.message, NULL);
        fprintf(stderr, "seedfarm-worker: %s\n", error.message);
        status = err == ERR_UNSUPPORTED ? 2 : err_exit_status(err);
    }
done:
    json_decref(settings.config_json);
    return status;
}
