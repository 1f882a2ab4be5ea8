/* call.c - what farm commands have in common. */
#include "cli/call.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"

enum err call_parse(struct call *call, size_t minimum, size_t maximum, const struct flag *own, size_t own_count, int argc,
                    char **argv, const struct command *self, struct error *error) {
    *call = (struct call){ 0 };
    struct flag table[CALL_FLAGS_LIMIT] = {
        { "coordinator", 'c', "ADDR", "the farm: ipc://PATH or tcp://HOST:PORT (SEEDFARM_COORDINATOR)",
          &call->where.coordinator, NULL, NULL },
        { "store", 's', "DIR", "a store no farm is running on, such as `seedfarm run` leaves behind", &call->where.store, NULL,
          NULL },
        { "json", 0, NULL, "the answer as JSON", NULL, NULL, &call->json },
    };
    assert(own_count + 3 <= CALL_FLAGS_LIMIT);
    if (own_count)
        memcpy(table + 3, own, own_count * sizeof *own);
    return arguments_parse(&call->help, call->words, &call->count, minimum, maximum, table, own_count + 3, argc, argv, self,
                           error);
}

enum err call_split_index(struct call *call, bool *has_index, uint64_t *index, struct error *error) {
    const char *text = call->count ? call->words[0] : "", *slash = strrchr(text, '/');
    *has_index = slash && !file_exists(text);
    if (!*has_index)
        return ERR_OK;
    char *end;
    errno = 0;
    *index = strtoull(slash + 1, &end, 10);
    if (errno || end == slash + 1 || *end || slash[1] == '-')
        return error_set(error, ERR_INVALID, "%s: want SWEEP or SWEEP/INDEX, \"%s\" is no index", text, slash + 1);
    call->words[0] = call->before = text_copy_size(text, (size_t)(slash - text));
    return ERR_OK;
}

enum err call_open(struct call *call, struct error *error) {
    enum err err = farm_sweep_word(&call->sweep, call->count ? call->words[0] : "", error);
    return err ? err : farm_open(&call->farm, &call->where, error);
}

enum err call_priority(int32_t *priority, const char *text, struct error *error) {
    char *end;
    errno = 0;
    long value = strtol(text, &end, 10);
    if (errno || end == text || *end || value < -LIMIT_PRIORITY || value > LIMIT_PRIORITY)
        return error_set(error, ERR_INVALID, "priority: want -%d..%d, have \"%s\"", LIMIT_PRIORITY, LIMIT_PRIORITY, text);
    *priority = (int32_t)value;
    return ERR_OK;
}

void call_end(struct call *call) {
    farm_close(&call->farm);
    free(call->sweep);
    free(call->before);
}
