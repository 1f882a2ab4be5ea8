/* main.c - seedfarm-coordinator: options, signals, exit status. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/json.h"
#include "base/log.h"
#include "coordinator/coordinator.h"
#include "proto/catalog.h"

enum { ADDRESSES_LIMIT = 16, CONFIG_LIMIT = 1 << 20 };

static const char help[] =
    "seedfarm-coordinator: takes sweeps, gives work to workers, gathers pictures.\n"
    "\n"
    "usage: seedfarm-coordinator --store DIR --listen ADDR [--listen ADDR ...] [options]\n"
    "\n"
    "  --store DIR            where objects and the ledger lie; made if missing\n"
    "  --listen ADDR          ipc://PATH, or tcp://127.0.0.1:PORT (\"*\": the system picks a port); may be repeated\n"
    "  --models DIR[:DIR]     models that lie here, as model folders or folders of them\n"
    "  --heartbeat-ms N       how often workers say that they live (1000)\n"
    "  --liveness-ms N        silence after which a worker's jobs go elsewhere (10000)\n"
    "  --max-batch N          jobs of one lease at most, 1..256 (256)\n"
    "  --patience-percent N   of the time that a lease may stand without progress, 1..10000 (100)\n"
    "  --numerics N           what `numerics: auto` becomes in sweeps that are submitted: fp32, bf16 or fp16 (fp32)\n"
    "  --ledger FILE          the ledger elsewhere than in the store\n"
    "  --free-mark-bytes N    less free space than this stops leasing (268435456; 0: never)\n"
    "  --log FILE             append the log there (else stderr)\n"
    "  --config FILE          a JSON object of these options: {\"store\": \"/srv/farm\", \"listen\": [\"ipc:///run/farm.sock\"]};\n"
    "                         what the command line says goes before it; and there alone, users' weights for fair shares,\n"
    "                         1..1000, 1 for who is not named: {\"users\": {\"ann\": {\"weight\": 3}}}\n"
    "  --die-with-parent      end when the process that started it ends\n"
    "  --version, --help\n"
    "\n"
    "When it listens it prints one line, \"ready ADDR\". The log is JSON, a line an event.\n"
    "\n"
    "examples:\n"
    "  seedfarm-coordinator --store /srv/farm --listen ipc:///run/seedfarm.sock --models models\n"
    "  seedfarm-coordinator --store farm --listen tcp://127.0.0.1:7733 --listen ipc:///tmp/farm.sock\n";

struct arguments {
    struct coordinator_options options;
    const char *addresses[ADDRESSES_LIMIT];
    const char *log;
    json_t *config; /* owned; texts above may be its */
    struct user_weight *weights; /* owned */
    bool die_with_parent, done;
};

static struct coordinator *running;

static void ask_stop(int number) {
    (void)number;
    coordinator_stop(running);
}

static enum err parse_number(uint64_t *out, const char *name, const char *text, uint64_t least, uint64_t most,
                             struct error *error) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value < least || value > most)
        return error_set(error, ERR_INVALID, "--%s: want %" PRIu64 "..%" PRIu64 ", have \"%.40s\"", name, least, most, text);
    *out = value;
    return ERR_OK;
}

static enum err parse_u32(uint32_t *out, const char *name, const char *text, uint32_t most, struct error *error) {
    uint64_t value;
    enum err err = parse_number(&value, name, text, 1, most, error);
    if (!err)
        *out = (uint32_t)value;
    return err;
}

static const struct option options_table[] = {
    { "store", required_argument, NULL, 's' },        { "listen", required_argument, NULL, 'l' },
    { "models", required_argument, NULL, 'm' },       { "heartbeat-ms", required_argument, NULL, 'b' },
    { "liveness-ms", required_argument, NULL, 'v' },  { "max-batch", required_argument, NULL, 'n' },
    { "free-mark-bytes", required_argument, NULL, 'f' }, { "log", required_argument, NULL, 'o' },
    { "patience-percent", required_argument, NULL, 'p' }, { "ledger", required_argument, NULL, 'g' },
    { "numerics", required_argument, NULL, 'u' },
    { "config", required_argument, NULL, 'c' },       { "die-with-parent", no_argument, NULL, 'd' },
    { "version", no_argument, NULL, 'V' },            { "help", no_argument, NULL, 'h' },
    { NULL, 0, NULL, 0 },
};

static enum err parse_numerics(enum numerics *numerics, const char *text, struct error *error) {
    unsigned found;
    if (catalog_name_parse(&found, FIELD_NUMERICS, text, NULL) != ERR_OK || found == NUMERICS_AUTO)
        return error_set(error, ERR_INVALID, "--numerics: want fp32, bf16 or fp16, have \"%.80s\"", text);
    *numerics = (enum numerics)found;
    return ERR_OK;
}

static enum err take_option(struct arguments *arguments, int option, const char *value, struct error *error) {
    struct coordinator_options *options = &arguments->options;
    switch (option) {
    case 's': options->store = value; return ERR_OK;
    case 'm': options->models = value; return ERR_OK;
    case 'o': arguments->log = value; return ERR_OK;
    case 'd': arguments->die_with_parent = true; return ERR_OK;
    case 'b': return parse_u32(&options->heartbeat_ms, "heartbeat-ms", value, 600000, error);
    case 'v': return parse_u32(&options->liveness_ms, "liveness-ms", value, 3600000, error);
    case 'n': return parse_u32(&options->max_batch, "max-batch", value, 256, error);
    case 'g': options->ledger = value; return ERR_OK;
    case 'u': return parse_numerics(&options->numerics, value, error);
    case 'p': return parse_u32(&options->patience_percent, "patience-percent", value, 10000, error);
    case 'f': return parse_number(&options->free_mark_bytes, "free-mark-bytes", value, 0, INT64_MAX, error);
    case 'l':
        if (options->address_count == ADDRESSES_LIMIT)
            return error_set(error, ERR_LIMIT, "--listen: want at most %d addresses, have more", ADDRESSES_LIMIT);
        arguments->addresses[options->address_count++] = value;
        return ERR_OK;
    case 'V':
        printf("seedfarm-coordinator %s\n", SEEDFARM_VERSION);
        arguments->done = true;
        return ERR_OK;
    case 'h':
        fputs(help, stdout);
        arguments->done = true;
        return ERR_OK;
    default: return error_set(error, ERR_INTERNAL, "option %d has no meaning", option);
    }
}

/* One value of the config file: a text, a whole number, or true for an option without a value. */
static enum err take_member(struct arguments *arguments, const struct option *option, const json_t *value, const char *file,
                            struct error *error) {
    char number[32];
    snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    if (option->has_arg == no_argument ? json_is_true(value) : json_is_string(value) || json_is_integer(value))
        return take_option(arguments, option->val, json_is_string(value) ? json_string_value(value) : number, error);
    return error_set(error, ERR_INVALID, "%s: \"%s\": want %s", file, option->name,
                     option->has_arg == no_argument ? "true" : "a text or a whole number");
}

/* "users": {"ann": {"weight": 3}} */
static enum err take_users(struct arguments *arguments, json_t *users, const char *file, struct error *error) {
    const char *name, *word;
    json_t *user, *value;
    if (!json_is_object(users))
        return error_set(error, ERR_INVALID, "%s: \"users\": want an object of users", file);
    arguments->weights = memory_get_array(json_object_size(users) + 1, sizeof *arguments->weights);
    json_object_foreach(users, name, user) {
        if (strlen(name) > LIMIT_NAME)
            return error_set(error, ERR_INVALID, "%s: \"users\": want names of at most %d bytes, \"%.20s...\" has %zu", file,
                             LIMIT_NAME, name, strlen(name));
        json_object_foreach(user, word, value)
            if (strcmp(word, "weight") != 0)
                return error_set(error, ERR_INVALID, "%s: user \"%s\": \"%.40s\" is no setting; \"weight\" is", file, name, word);
        value = json_object_get(user, "weight");
        if (!json_is_integer(value) || json_integer_value(value) < 1 || json_integer_value(value) > LIMIT_WEIGHT)
            return error_set(error, ERR_INVALID, "%s: user \"%s\": weight: want a whole number 1..%d, have %" JSON_INTEGER_FORMAT,
                             file, name, LIMIT_WEIGHT, json_integer_value(value));
        arguments->weights[arguments->options.weight_count++] = (struct user_weight){ name, (uint32_t)json_integer_value(value) };
    }
    arguments->options.weights = arguments->weights;
    return ERR_OK;
}

static enum err read_config(struct arguments *arguments, const char *file, struct error *error) {
    const char *key;
    json_t *member;
    enum err err = json_read_file(&arguments->config, file, CONFIG_LIMIT, error);
    if (!err && !json_is_object(arguments->config))
        err = error_set(error, ERR_INVALID, "%s: want a JSON object of options", file);
    if (err)
        return err;
    json_object_foreach(arguments->config, key, member) {
        if (strcmp(key, "users") == 0) {
            if ((err = take_users(arguments, member, file, error)))
                return err;
            continue;
        }
        const struct option *option = options_table;
        while (option->name && strcmp(option->name, key))
            option++;
        if (!option->name || strchr("cVh", option->val))
            return error_set(error, ERR_INVALID, "%s: \"%s\" is no option; --help shows them all", file, key);
        size_t count = json_is_array(member) && option->val == 'l' ? json_array_size(member) : 1;
        for (size_t i = 0; i < count && !err; i++)
            err = take_member(arguments, option, json_is_array(member) ? json_array_get(member, i) : member, file, error);
        if (err)
            return err;
    }
    return ERR_OK;
}

/* All flags in order; `only` not 0: just that one. Addresses on the command line take the place of those in the file. */
static enum err parse_flags(struct arguments *arguments, int only, int argc, char **argv, struct error *error) {
    bool first_address = true;
    int option;
    opterr = 0;
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options_table, NULL)) != -1) {
        enum err err = ERR_OK;
        if (option == '?')
            return error_set(error, ERR_INVALID, "%s: unknown option, or one without its value; --help shows them all",
                             argv[optind - 1]);
        if (only ? option != only : option == 'c')
            continue;
        if (option == 'l' && first_address) {
            arguments->options.address_count = 0;
            first_address = false;
        }
        err = option == 'c' ? read_config(arguments, optarg, error) : take_option(arguments, option, optarg, error);
        if (err || arguments->done)
            return err;
    }
    return ERR_OK;
}

static enum err parse_arguments(struct arguments *arguments, int argc, char **argv, struct error *error) {
    struct coordinator_options *options = &arguments->options;
    enum err err = parse_flags(arguments, 'c', argc, argv, error);
    if (!err)
        err = parse_flags(arguments, 0, argc, argv, error);
    if (err || arguments->done)
        return err;
    options->addresses = arguments->addresses;
    if (optind < argc)
        return error_set(error, ERR_INVALID, "want options only, have \"%.80s\"; --help shows them all", argv[optind]);
    if (!options->store)
        return error_set(error, ERR_INVALID, "--store is missing: want a folder for objects and ledger");
    if (!options->address_count)
        return error_set(error, ERR_INVALID, "--listen is missing: want an address such as ipc:///tmp/farm.sock");
    uint32_t heartbeat_ms = options->heartbeat_ms ? options->heartbeat_ms : 1000;
    uint32_t liveness_ms = options->liveness_ms ? options->liveness_ms : 10000;
    if (liveness_ms < 2 * heartbeat_ms)
        return error_set(error, ERR_INVALID, "--liveness-ms: want at least two heartbeats (%" PRIu32 "), have %" PRIu32,
                         2 * heartbeat_ms, liveness_ms);
    return ERR_OK;
}

static enum err open_log(const struct arguments *arguments, struct error *error) {
    int fd = STDERR_FILENO;
    if (arguments->log && (fd = open(arguments->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666)) < 0)
        return error_errno(error, "--log %s", arguments->log);
    log_open(fd, LOG_INFO, "coordinator");
    return ERR_OK;
}

static enum err serve(const struct arguments *arguments, struct error *error) {
    struct sigaction action = { .sa_handler = ask_stop };
    enum err err = coordinator_create(&running, &arguments->options, error);
    if (err)
        return err;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    printf("ready %s\n", coordinator_address(running));
    fflush(stdout);
    log_event(LOG_INFO, "ready", "address", coordinator_address(running), "store", arguments->options.store, "version",
              SEEDFARM_VERSION, NULL);
    err = coordinator_run(running, error);
    /* From here on a signal has its usual meaning: there is nothing left to stop. */
    action.sa_handler = SIG_DFL;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    log_event(LOG_INFO, "ended", NULL);
    coordinator_destroy(running);
    return err;
}

int main(int argc, char **argv) {
    struct arguments arguments = { .options = { .free_mark_bytes = UINT64_C(256) << 20 } };
    struct error error;
    pid_t parent = getppid();
    enum err err = parse_arguments(&arguments, argc, argv, &error);
    if (err || arguments.done)
        goto done;
    if (arguments.die_with_parent && (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != parent)) {
        err = error_set(&error, ERR_CANCELLED, "--die-with-parent: the parent is gone already");
        goto done;
    }
    signal(SIGPIPE, SIG_IGN);
    err = open_log(&arguments, &error);
    if (!err)
        err = serve(&arguments, &error);
done:
    if (err)
        fprintf(stderr, "seedfarm-coordinator: %s\n", error.message);
    free(arguments.weights);
    json_decref(arguments.config);
    return err_exit_status(err);
}
