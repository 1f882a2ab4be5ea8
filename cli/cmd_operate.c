/* cmd_operate.c - `seedfarm pause`, `resume`, `retry`, `priority` and `drain`: changes that a running farm answers with DONE. */
#include <stdio.h>

#include "cli/call.h"
#include "cli/commands.h"
#include "cli/output.h"

/* Asks, and says what has become of `name`: `word` is the JSON's, `sentence` the person's. */
static enum err operate(struct call *call, struct message *question, const char *kind, const char *name, const char *word,
                        const char *sentence, struct error *error) {
    struct message answer;
    enum err err = farm_ask(&answer, &call->farm, question, MESSAGE_DONE, error);
    if (err)
        return err;
    message_release(&answer);
    if (call->json)
        return output_json(json_pack("{s:s, s:b}", kind, name, word, 1), error);
    printf("%s %s\n", output_safe(name), sentence);
    return output_flush(error);
}

static enum err operate_sweep(enum message_type type, const char *word, const char *sentence, int argc, char **argv,
                              const struct command *self, struct error *error) {
    struct call call;
    enum err err = call_parse(&call, 1, 1, NULL, 0, argc, argv, self, error);
    if (err || call.help)
        return err;
    if (!(err = call_open(&call, error))) {
        struct message question = { .type = type, .sweep_ref = { .sweep = call.sweep } };
        err = operate(&call, &question, "sweep", call.sweep, word, sentence, error);
    }
    call_end(&call);
    return err;
}

static enum err pause_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    (void)status;
    return operate_sweep(MESSAGE_PAUSE, "paused", "is paused; what runs ends", argc, argv, self, error);
}

static enum err resume_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    (void)status;
    return operate_sweep(MESSAGE_RESUME, "resumed", "goes on", argc, argv, self, error);
}

static enum err retry_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    (void)status;
    return operate_sweep(MESSAGE_RETRY, "retried", "tries its failed jobs again", argc, argv, self, error);
}

static enum err priority_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct call call;
    int32_t priority = 0;
    enum err err = call_parse(&call, 2, 2, NULL, 0, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    err = call_priority(&priority, call.words[1], error);
    if (!err && !(err = call_open(&call, error))) {
        struct message question = { .type = MESSAGE_PRIORITY, .priority = { call.sweep, priority } };
        err = operate(&call, &question, "sweep", call.sweep, "changed", "has another priority", error);
    }
    call_end(&call);
    return err;
}

static enum err drain_run(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct call call;
    bool stop = false;
    const struct flag own[] = { { "stop", 0, NULL, "lease to it again", NULL, NULL, &stop } };
    enum err err = call_parse(&call, 1, 1, own, 1, argc, argv, self, error);
    (void)status;
    if (err || call.help)
        return err;
    if (!(err = call_open(&call, error))) {
        struct message question = { .type = MESSAGE_DRAIN_WORKER, .drain_worker = { (char *)call.words[0], stop } };
        err = operate(&call, &question, "worker", call.words[0], stop ? "leased_to" : "draining",
                      stop ? "is leased to again" : "ends what it has, and leaves", error);
    }
    call_end(&call);
    return err;
}

const struct command command_pause = {
    "pause", "SWEEP", "begin nothing more of a sweep; what runs ends", "  seedfarm pause frog\n", pause_run
};
const struct command command_resume = {
    "resume", "SWEEP", "go on with a paused sweep", "  seedfarm resume frog\n", resume_run
};
const struct command command_retry = {
    "retry", "SWEEP", "try a sweep's failed jobs again", "  seedfarm retry frog\n", retry_run
};
const struct command command_priority = {
    "priority", "SWEEP N", "of a user's sweeps the highest priority goes first: -100..100, 0 where none was given\n\n"
    "A negative one stands behind two dashes.",
    "  seedfarm priority frog 10\n  seedfarm priority -- frog -10\n", priority_run
};
const struct command command_drain = {
    "drain", "WORKER", "let a worker end what it has, deliver, and leave; leases go to the others",
    "  seedfarm drain gpu-box-3\n  seedfarm drain gpu-box-3 --stop\n", drain_run
};
