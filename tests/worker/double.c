/* double.c - the neighbours' stand-ins. */
#include "tests/worker/double.h"

#include <dirent.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"

enum { PATIENCE_MS = 20000 };

/* ---- painter -------------------------------------------------------------------------------------------------------- */

void double_png(struct bytes *png, const struct spec *spec) {
    bytes_add_text(png, "\x89PNG ");
    spec_canonical(png, spec);
}

static enum err load(void *context, const struct spec *spec, const struct file_places *places, struct error *error) {
    struct double_painter *painter = context;
    const char *folder = file_places_find(places, &spec->model);
    atomic_fetch_add(&painter->loads, 1);
    return folder && folder_exists(folder) ? ERR_OK : error_set(error, ERR_NOT_FOUND, "%s: there is no such folder", folder ? folder : "none");
}

static uint64_t prepare(void *context, const struct spec *spec, const struct file_places *places) {
    struct double_painter *painter = context;
    atomic_store(&painter->loading_ahead, true);
    while (atomic_load(&painter->hold_loading))
        clock_sleep_ms(1);
    assert_non_null(file_places_find(places, &spec->model)); /* they live as long as this takes */
    atomic_store(&painter->loading_ahead, false);
    atomic_fetch_add(&painter->prepares, 1);
    return 1;
}

static void show(struct double_painter *painter, const struct render_viewer *viewer, uint32_t step, uint32_t steps) {
    uint32_t place = atomic_load(&painter->blind) ? PREVIEW_NONE : viewer->wants(viewer->context);
    const uint8_t rgb[3] = { (uint8_t)place };
    const struct render_preview preview = { place, step, steps, 1, 1, atomic_load(&painter->colourless) ? NULL : rgb };
    if (place != PREVIEW_NONE)
        viewer->take(viewer->context, &preview);
}

static enum err walk_steps(struct double_painter *painter, uint32_t steps, const struct render_watch *watch,
                           struct error *error) {
    unsigned long long begin_ns = clock_monotonic_ns(), none = 0;
    atomic_compare_exchange_strong(&painter->begin_ns, &none, begin_ns);
    bool goes_on = watch->progress(watch->context, RENDER_TEXT, 0, steps);
    for (uint32_t step = 1; step <= steps && goes_on; step++) {
        if (atomic_load(&painter->step_ms))
            clock_sleep_ms(atomic_load(&painter->step_ms));
        show(painter, watch->viewer, step, steps);
        goes_on = watch->progress(watch->context, RENDER_STEP, step, steps);
    }
    goes_on = goes_on && watch->progress(watch->context, RENDER_DECODE, steps, steps);
    atomic_store(&painter->end_ns, clock_monotonic_ns());
    atomic_fetch_add(&painter->drawing_ns, atomic_load(&painter->end_ns) - begin_ns);
    return goes_on ? ERR_OK : error_set(error, ERR_CANCELLED, "told to stop");
}

/* Every file that the job names lies where `places` says, with the bytes of that digest. */
static bool has_files(const struct spec *spec, const struct file_places *places) {
    struct digest files[SPEC_FILES_LIMIT];
    bool has = true;
    for (size_t i = 0, count = spec_files(files, spec); i < count; i++) {
        const char *path = file_places_find(places, &files[i]);
        struct digest have;
        uint64_t size;
        has = has && path && digest_of_file(&have, &size, path, NULL) == ERR_OK && digest_equal(&have, &files[i]);
    }
    return has;
}

static enum err draw(void *context, struct rendered *out, const struct spec *const *specs, size_t count,
                     const struct file_places *places, const struct render_watch *watch, struct error *error) {
    struct double_painter *painter = context;
    uint32_t most = atomic_load(&painter->most);
    if (most && count > most)
        return error_set(error, ERR_MEMORY, "%zu pictures at once: there is room for %u", count, most);
    for (size_t i = 0; i < count; i++)
        if (specs[i]->seed && specs[i]->seed == atomic_load(&painter->worse_seed))
            return error_set(error, ERR_INVALID, "seed %llu: nothing of its batch can be drawn", (unsigned long long)specs[i]->seed);
    if (walk_steps(painter, specs[0]->steps, watch, error) != ERR_OK)
        return error->code;
    atomic_fetch_add(&painter->batches, 1);
    atomic_fetch_add(&painter->jobs, (unsigned)count);
    if (count > atomic_load(&painter->largest))
        atomic_store(&painter->largest, (unsigned)count);
    for (size_t i = 0; i < count; i++) {
        if (!has_files(specs[i], places))
            return error_set(error, ERR_NOT_FOUND, "a file of the job is not in its place");
        out[i] = (struct rendered){ .png = BYTES_INIT };
        if (specs[i]->seed && specs[i]->seed == atomic_load(&painter->bad_seed)) {
            error_set(&out[i].error, ERR_NUMERIC, "seed %llu: NaN", (unsigned long long)specs[i]->seed);
            continue;
        }
        out[i].render_ms = 7;
    }
    return ERR_OK;
}

static void finish(void *context, struct rendered *rendered, const struct spec *spec) {
    struct double_painter *painter = context;
    if (rendered->error.code)
        return;
    unsigned now = atomic_fetch_add(&painter->finishing, 1) + 1, most = atomic_load(&painter->together);
    while (now > most && !atomic_compare_exchange_weak(&painter->together, &most, now))
        continue;
    if (atomic_load(&painter->finish_ms))
        clock_sleep_ms(atomic_load(&painter->finish_ms));
    while (atomic_load(&painter->hold))
        clock_sleep_ms(1);
    double_png(&rendered->png, spec);
    rendered->picture = digest_of(rendered->png.data, rendered->png.size);
    rendered->pixels = digest_of(&spec->seed, sizeof spec->seed);
    atomic_fetch_sub(&painter->finishing, 1);
}

struct painter double_painter(struct double_painter *painter) {
    return (struct painter){ .context = painter, .device_class = "double", .load = load, .prepare = prepare, .draw = draw,
                             .finish = finish };
}

/* ---- jobs ----------------------------------------------------------------------------------------------------------- */

void double_spec(struct spec *spec, const struct digest *model, uint64_t seed, uint32_t steps) {
    struct error error;
    spec_init(spec);
    spec->model = *model;
    spec->seed = seed;
    spec->steps = steps;
    spec->width = spec->height = 64;
    free(spec->prompt);
    spec->prompt = text_copy("a frog");
    if (spec_check(spec, &error) != ERR_OK)
        fail_msg("%s", error.message);
}

struct digest double_key(const struct digest *model, uint64_t seed, uint32_t steps) {
    struct spec spec;
    double_spec(&spec, model, seed, steps);
    struct digest key = spec_key(&spec);
    spec_release(&spec);
    return key;
}

/* ---- coordinator ---------------------------------------------------------------------------------------------------- */

void coordinator_open(struct double_coordinator *coordinator, const char *address) {
    const char *addresses[] = { address };
    struct error error;
    memset(coordinator, 0, sizeof *coordinator);
    snprintf(coordinator->address, sizeof coordinator->address, "%s", address);
    coordinator->heartbeat_ms = 50;
    coordinator->liveness_ms = 1000;
    coordinator->credit_bytes = 16 << 20;
    if (link_bind(&coordinator->link, addresses, 1, &error) != ERR_OK)
        fail_msg("%s", error.message);
}

void coordinator_close(struct double_coordinator *coordinator) {
    link_destroy(coordinator->link);
    coordinator->link = NULL;
}

static void answer_offer(struct double_coordinator *coordinator, const struct message *message) {
    struct message answer = { .type = coordinator->has_all ? MESSAGE_ACKNOWLEDGED : MESSAGE_WANTED, .request = message->request,
                              .keys = message->keys };
    coordinator_say(coordinator, &answer);
}

bool coordinator_hear(struct message *message, struct double_coordinator *coordinator, uint32_t timeout_ms) {
    struct error error;
    bool ready = false, got = false;
    if (link_wait(&ready, coordinator->link, timeout_ms, &error) != ERR_OK ||
        link_receive(&got, &coordinator->worker, message, coordinator->link, &error) != ERR_OK)
        fail_msg("%s", error.message);
    if (got && message->type == MESSAGE_OFFER)
        answer_offer(coordinator, message);
    return got;
}

void coordinator_expect(struct message *message, struct double_coordinator *coordinator, enum message_type type) {
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    while (clock_monotonic_ms() < until_ms) {
        if (!coordinator_hear(message, coordinator, 100))
            continue;
        if (message->type == type)
            return;
        message_release(message);
    }
    fail_msg("no %s came within %d ms", message_type_name(type), PATIENCE_MS);
}

void coordinator_say(struct double_coordinator *coordinator, const struct message *message) {
    struct error error;
    if (link_send(coordinator->link, &coordinator->worker, message, &error) != ERR_OK)
        fail_msg("%s", error.message);
}

void coordinator_welcome(struct double_coordinator *coordinator) {
    struct message hello;
    coordinator_expect(&hello, coordinator, MESSAGE_WORKER_HELLO);
    struct message welcome = {
        .type = MESSAGE_WELCOME,
        .request = hello.request,
        .welcome = { PROTOCOL_VERSION, 1, coordinator->heartbeat_ms, coordinator->liveness_ms, coordinator->credit_bytes },
    };
    message_release(&hello);
    coordinator_say(coordinator, &welcome);
}

void coordinator_assign(struct double_coordinator *coordinator, uint64_t lease, const struct digest *model,
                        uint64_t first_seed, size_t count, uint32_t steps) {
    struct assigned_job *jobs = memory_get_array(count, sizeof *jobs);
    for (size_t i = 0; i < count; i++) {
        struct bytes canonical = BYTES_INIT;
        struct spec spec;
        double_spec(&spec, model, first_seed + i, steps);
        spec_canonical(&canonical, &spec);
        jobs[i].key = spec_key(&spec);
        jobs[i].spec = (char *)bytes_take(&canonical).data;
        spec_release(&spec);
    }
    struct message assign = { .type = MESSAGE_ASSIGN, .assign = { lease, 1, 60000, jobs, count } };
    coordinator_say(coordinator, &assign);
    message_release(&assign);
}

void coordinator_acknowledge(struct double_coordinator *coordinator, const struct message *results) {
    struct message message = { .type = MESSAGE_ACKNOWLEDGED, .request = results->request };
    message.keys.count = results->results.count;
    message.keys.keys = memory_get_array(message.keys.count, sizeof *message.keys.keys);
    for (size_t i = 0; i < message.keys.count; i++)
        message.keys.keys[i] = results->results.items[i].key;
    coordinator_say(coordinator, &message);
    message_release(&message);
}

/* ---- a place -------------------------------------------------------------------------------------------------------- */

char *place_create(void) {
    char *place = text_copy("/tmp/seedfarm-worker-XXXXXX");
    assert_non_null(mkdtemp(place));
    return place;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

void place_remove(char *place) {
    assert_int_equal(nftw(place, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
    free(place);
}

size_t place_count(const char *folder) {
    size_t count = 0;
    DIR *listing = opendir(folder);
    if (!listing)
        return 0;
    for (struct dirent *entry = readdir(listing); entry; entry = readdir(listing))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(listing);
    return count;
}

static void write_file(const char *folder, const char *name, const void *data, size_t size) {
    struct error error;
    char *path = path_join(folder, name);
    if (file_write(path, data, size, &error) != ERR_OK)
        fail_msg("%s", error.message);
    free(path);
}

void model_create(const char *folder, size_t extra) {
    struct error error;
    char *unet = path_join(folder, "unet");
    uint8_t *weights = memory_get(extra ? extra : 1);
    for (size_t i = 0; i < extra; i++)
        weights[i] = (uint8_t)(i * 2654435761u >> 13);
    if (folder_create(unet, &error) != ERR_OK)
        fail_msg("%s", error.message);
    write_file(folder, "model_index.json", "{}", 2);
    write_file(folder, "unet/config.json", "{\"a\":1}", 7);
    write_file(folder, "unet/weights.safetensors", weights, extra);
    free(weights);
    free(unet);
}
