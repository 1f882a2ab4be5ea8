/* test_models.c - models by digest: local folders, fetching piece by piece from a scripted source, the cache's budget. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "tests/worker/double.h"
#include "worker/models.h"

enum { OBJECTS = 16, ASKS = 64 };

struct object { struct digest name; struct bytes data; };

/* The far side: objects, questions asked, and what goes wrong. */
struct far_side {
    struct object objects[OBJECTS];
    size_t count;
    struct { struct digest object; uint64_t offset; uint32_t size; } asks[ASKS];
    size_t ask_count, asked, most_in_flight;
    size_t lose;         /* so many questions are lost */
    bool backwards;      /* the newest question is answered first */
    bool short_pieces;   /* a byte is missing from each */
    bool grows;          /* the second piece claims another size */
    bool cancelled;
    const struct digest *damaged; /* its first byte comes wrong */
};

static void add_object(struct far_side *far, const struct digest *name, const void *data, size_t size) {
    struct object *object = &far->objects[far->count++];
    object->name = *name;
    object->data = (struct bytes)BYTES_INIT;
    bytes_add(&object->data, data, size);
}

static void release_far(struct far_side *far) {
    for (size_t i = 0; i < far->count; i++)
        bytes_release(&far->objects[i].data);
}

static void ask(void *context, const struct digest *object, uint64_t offset, uint32_t size) {
    struct far_side *far = context;
    far->asked++;
    if (far->lose) {
        far->lose--;
        return;
    }
    assert_true(far->ask_count < ASKS);
    far->asks[far->ask_count].object = *object;
    far->asks[far->ask_count].offset = offset;
    far->asks[far->ask_count++].size = size;
    if (far->ask_count > far->most_in_flight)
        far->most_in_flight = far->ask_count;
}

static enum err answer(struct message_chunk *chunk, void *context, const struct digest *object, uint32_t timeout_ms,
                       struct error *error) {
    struct far_side *far = context;
    (void)object;
    if (far->cancelled)
        return error_set(error, ERR_CANCELLED, "revoked");
    if (!far->ask_count) {
        usleep(timeout_ms * 1000); /* as the real one: time passes before it is asked again */
        return error_set(error, ERR_UNREACHABLE, "nothing came");
    }
    size_t at = far->backwards ? far->ask_count - 1 : 0;
    struct digest name = far->asks[at].object;
    uint64_t offset = far->asks[at].offset;
    uint32_t size = far->asks[at].size;
    far->ask_count--;
    memmove(&far->asks[at], &far->asks[at + 1], (far->ask_count - at) * sizeof far->asks[0]);
    for (size_t i = 0; i < far->count; i++) {
        const struct bytes *data = &far->objects[i].data;
        if (!digest_equal(&far->objects[i].name, &name))
            continue;
        size_t left = data->size - (size_t)offset;
        *chunk = (struct message_chunk){ .digest = name, .offset = offset, .total = data->size + (far->grows && offset),
                                         .size = left < size ? left : size };
        chunk->size -= far->short_pieces && chunk->size;
        chunk->data = memory_get(chunk->size + 1);
        memcpy(chunk->data, data->data + offset, chunk->size);
        if (far->damaged && digest_equal(far->damaged, &name) && offset == 0)
            chunk->data[0] ^= 1;
        return ERR_OK;
    }
    return error_set(error, ERR_NOT_FOUND, "there is no such object");
}

static void progress(void *context, uint64_t bytes, uint64_t total) {
    (void)context;
    (void)bytes;
    (void)total;
}

static struct model_source source_of(struct far_side *far) {
    return (struct model_source){ far, ask, answer, progress };
}

/* A model's files as objects; its digest. */
static struct digest serve(struct far_side *far, const char *folder) {
    struct manifest manifest;
    struct bytes text = BYTES_INIT;
    struct error error;
    if (manifest_of_folder(&manifest, folder, &error) != ERR_OK)
        fail_msg("%s", error.message);
    manifest_text(&text, &manifest);
    add_object(far, &manifest.digest, text.data, text.size);
    for (size_t i = 0; i < manifest.count; i++) {
        char *path = path_join(folder, manifest.files[i].path);
        bytes_clear(&text);
        assert_int_equal(file_read(&text, path, 64 << 20, &error), ERR_OK);
        add_object(far, &manifest.files[i].digest, text.data, text.size);
        free(path);
    }
    struct digest digest = manifest.digest;
    manifest_release(&manifest);
    bytes_release(&text);
    return digest;
}

struct bench {
    char *place, *model, *cache;
    struct far_side far;
    struct model_source source;
    struct digest digest;
    struct models *models;
};

static void open_models(struct bench *bench, const char *paths, uint64_t cache_bytes) {
    struct error error;
    if (models_open(&bench->models, paths, bench->cache, cache_bytes, &error) != ERR_OK)
        fail_msg("%s", error.message);
}

static int set_up(void **state) {
    struct bench *bench = memory_get(sizeof *bench);
    bench->place = place_create();
    bench->model = path_join(bench->place, "here/one");
    bench->cache = path_join(bench->place, "cache");
    model_create(bench->model, 3 * FETCH_PIECE + 17);
    bench->digest = serve(&bench->far, bench->model);
    bench->source = source_of(&bench->far);
    *state = bench;
    return 0;
}

static int tear_down(void **state) {
    struct bench *bench = *state;
    models_close(bench->models);
    release_far(&bench->far);
    place_remove(bench->place);
    free(bench->model);
    free(bench->cache);
    free(bench);
    return 0;
}

static void assert_same_model(const char *folder, const struct digest *digest) {
    struct manifest manifest;
    assert_int_equal(manifest_of_folder(&manifest, folder, NULL), ERR_OK);
    assert_memory_equal(&manifest.digest, digest, sizeof *digest);
    manifest_release(&manifest);
}

static void finds_local_folders(void **state) {
    struct bench *bench = *state;
    char *folder, *here = path_join(bench->place, "here"), *both = text_format("%s:%s", bench->cache, here);
    struct error error;
    assert_int_equal(folder_create(bench->cache, &error), ERR_OK);
    open_models(bench, both, 0); /* a folder of models, behind one without any */
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, &error), ERR_OK);
    assert_string_equal(folder, bench->model);
    assert_int_equal(bench->far.asked, 0);
    free(folder);
    models_close(bench->models);
    open_models(bench, bench->model, 0); /* the model itself */
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, &error), ERR_OK);
    assert_string_equal(folder, bench->model);
    free(folder);
    struct models *none;
    assert_int_equal(models_open(&none, "/no/such/folder", bench->cache, 0, &error), ERR_INVALID);
    assert_non_null(strstr(error.message, "/no/such/folder"));
    free(here);
    free(both);
}

static void fetches_once_several_pieces_in_flight(void **state) {
    struct bench *bench = *state;
    char *folder;
    open_models(bench, NULL, 0);
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, NULL), ERR_OK);
    assert_same_model(folder, &bench->digest);
    assert_true(bench->far.most_in_flight >= 3);
    size_t asked = bench->far.asked;
    free(folder);
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, NULL), ERR_OK);
    free(folder);
    models_close(bench->models);
    open_models(bench, NULL, 0); /* another process: from the cache */
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, NULL), ERR_OK);
    free(folder);
    assert_int_equal(bench->far.asked, asked);
    assert_int_equal(place_count(bench->cache), 1);
}

static void takes_pieces_in_any_order(void **state) {
    struct bench *bench = *state;
    char *folder;
    bench->far.backwards = true;
    open_models(bench, NULL, 0);
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, NULL), ERR_OK);
    assert_same_model(folder, &bench->digest);
    free(folder);
}

static void asks_again_for_what_was_lost(void **state) {
    struct bench *bench = *state;
    char *folder;
    bench->far.lose = 1;
    open_models(bench, NULL, 0);
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, NULL), ERR_OK);
    assert_same_model(folder, &bench->digest);
    free(folder);
}

/* The model is refused, nothing of it stays, and a good source then serves it. */
static void assert_refused(struct bench *bench, enum err code, const char *word) {
    char *folder;
    struct error error;
    open_models(bench, NULL, 0);
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, &error), code);
    assert_non_null(strstr(error.message, word));
    assert_int_equal(place_count(bench->cache), 0);
    bench->far.damaged = NULL;
    bench->far.grows = bench->far.short_pieces = bench->far.cancelled = false;
    bench->far.ask_count = 0;
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, &error), ERR_OK);
    free(folder);
}

static void refuses_wrong_bytes_of_a_file(void **state) {
    struct bench *bench = *state;
    bench->far.damaged = &bench->far.objects[3].name;
    assert_refused(bench, ERR_CORRUPT, "want sha256");
}

static void refuses_a_wrong_manifest(void **state) {
    struct bench *bench = *state;
    bench->far.damaged = &bench->digest;
    assert_refused(bench, ERR_CORRUPT, "want sha256");
}

static void refuses_truncated_pieces(void **state) {
    struct bench *bench = *state;
    bench->far.short_pieces = true;
    assert_refused(bench, ERR_CORRUPT, "not asked for");
}

static void refuses_a_size_that_changes(void **state) {
    struct bench *bench = *state;
    bench->far.grows = true;
    assert_refused(bench, ERR_CORRUPT, "first it had");
}

static void stops_when_cancelled(void **state) {
    struct bench *bench = *state;
    bench->far.cancelled = true;
    assert_refused(bench, ERR_CANCELLED, "revoked");
}

static void says_when_there_is_no_such_model(void **state) {
    struct bench *bench = *state;
    char *folder;
    struct digest none = digest_of("none", 4);
    open_models(bench, NULL, 0);
    assert_int_equal(models_hold(&folder, bench->models, &none, &bench->source, NULL), ERR_NOT_FOUND);
    assert_int_equal(place_count(bench->cache), 0);
}

/* Manifests with the right hash and paths that lead out of the folder. */
static void refuses_paths_that_lead_out(void **state) {
    static const char *const paths[] = { "../evil.json", "/tmp/evil.json", "a/../../evil.json", "a//b.json", "./a.json", "a b.json",
                                         "unet/", ".." };
    struct bench *bench = *state;
    open_models(bench, NULL, 0);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct bytes text = BYTES_INIT;
        char hex[DIGEST_HEX_SIZE], *folder;
        struct error error;
        digest_hex(&bench->far.objects[1].name, hex);
        bytes_add_format(&text, "%s %s\n", paths[i], hex);
        struct digest digest = digest_of(text.data, text.size);
        add_object(&bench->far, &digest, text.data, text.size);
        assert_int_equal(models_hold(&folder, bench->models, &digest, &bench->source, &error), ERR_CORRUPT);
        assert_int_equal(place_count(bench->cache), 0);
        bytes_release(&text);
    }
    char *evil = path_join(bench->place, "evil.json");
    assert_false(file_exists(evil));
    free(evil);
}

static struct digest serve_file(struct far_side *far, const void *data, size_t size) {
    struct digest digest = digest_of(data, size);
    add_object(far, &digest, data, size);
    return digest;
}

static void fetches_and_keeps_files(void **state) {
    struct bench *bench = *state;
    struct error error;
    char *path, *again;
    size_t size = 2 * FETCH_PIECE + 5;
    uint8_t *data = memory_get(size);
    struct digest digest = serve_file(&bench->far, data, size);
    open_models(bench, NULL, 0);
    assert_int_equal(models_hold_file(&path, bench->models, &digest, &bench->source, &error), ERR_OK);
    models_close(bench->models);
    open_models(bench, NULL, 0); /* another process: from the cache, hashed anew */
    size_t asked = bench->far.asked;
    assert_int_equal(models_hold_file(&again, bench->models, &digest, &bench->source, &error), ERR_OK);
    assert_string_equal(path, again);
    assert_int_equal(bench->far.asked, asked);
    models_close(bench->models);
    assert_int_equal(truncate(path, 100), 0); /* damaged: it goes, and comes again */
    open_models(bench, NULL, 0);
    free(again);
    assert_int_equal(models_hold_file(&again, bench->models, &digest, &bench->source, &error), ERR_OK);
    assert_true(bench->far.asked > asked);
    free(path);
    free(again);
    free(data);
}

static void finds_local_files(void **state) {
    struct bench *bench = *state;
    struct error error;
    struct digest digest = digest_of("ink", 3);
    char *here = path_join(bench->place, "here"), *path;
    char *folder = path_join(here, "loras"), *file = path_join(folder, "ink.safetensors");
    assert_int_equal(folder_create(folder, &error), ERR_OK);
    assert_int_equal(file_write(file, "ink", 3, &error), ERR_OK);
    open_models(bench, here, 0);
    assert_int_equal(models_hold_file(&path, bench->models, &digest, &bench->source, &error), ERR_OK);
    assert_string_equal(path, file);
    assert_int_equal(bench->far.asked, 0);
    free(path);
    free(file);
    free(folder);
    free(here);
}

/* What bears a model's digest is a manifest or a safetensors file: the worker sees which. */
static void fetches_a_single_file_model(void **state) {
    static const char single[] = "\2\0\0\0\0\0\0\0{}";
    struct bench *bench = *state;
    struct error error;
    char *path;
    struct digest digest = serve_file(&bench->far, single, sizeof single - 1);
    open_models(bench, NULL, 0);
    assert_int_equal(models_hold(&path, bench->models, &digest, &bench->source, &error), ERR_OK);
    assert_true(file_exists(path) && !folder_exists(path));
    free(path);
    digest = serve_file(&bench->far, "neither", 7);
    assert_int_equal(models_hold(&path, bench->models, &digest, &bench->source, &error), ERR_CORRUPT);
    assert_non_null(strstr(error.message, "manifest: line 1"));
    assert_int_equal(place_count(bench->cache), 1);
}

static void fetch_a_second_model(struct bench *bench, struct digest *digest, size_t extra) {
    char *folder = path_join(bench->place, "second");
    model_create(folder, extra);
    *digest = serve(&bench->far, folder);
    free(folder);
}

static void keeps_its_budget(void **state) {
    struct bench *bench = *state;
    struct digest second;
    char *folder;
    fetch_a_second_model(bench, &second, 2 * FETCH_PIECE);
    open_models(bench, NULL, 4 * FETCH_PIECE); /* room for either, not for both */
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, NULL), ERR_OK);
    free(folder);
    assert_int_equal(models_hold(&folder, bench->models, &second, &bench->source, NULL), ERR_OK);
    free(folder);
    assert_int_equal(place_count(bench->cache), 2); /* over budget, but both are held */
    models_drop(bench->models, &bench->digest);
    assert_int_equal(models_hold(&folder, bench->models, &second, &bench->source, NULL), ERR_OK);
    assert_int_equal(place_count(bench->cache), 1);
    assert_same_model(folder, &second);
    free(folder);
}

static void refuses_a_model_larger_than_the_cache(void **state) {
    struct bench *bench = *state;
    char *folder;
    struct error error;
    open_models(bench, NULL, FETCH_PIECE);
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, &error), ERR_LIMIT);
    assert_int_equal(place_count(bench->cache), 0);
}

static void fetches_anew_what_was_damaged(void **state) {
    struct bench *bench = *state;
    char *folder;
    open_models(bench, NULL, 0);
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, NULL), ERR_OK);
    models_close(bench->models);
    char *file = path_join(folder, "unet/weights.safetensors");
    assert_int_equal(truncate(file, 100), 0);
    char *left = path_join(bench->cache, "fetch-0123"); /* of a process that was killed while fetching */
    assert_int_equal(mkdir(left, 0777), 0);
    free(folder);
    size_t asked = bench->far.asked;
    open_models(bench, NULL, 0);
    assert_false(folder_exists(left));
    assert_int_equal(models_hold(&folder, bench->models, &bench->digest, &bench->source, NULL), ERR_OK);
    assert_same_model(folder, &bench->digest);
    assert_true(bench->far.asked > asked);
    free(folder);
    free(file);
    free(left);
}

#define MODELS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        MODELS_TEST(finds_local_folders),
        MODELS_TEST(fetches_once_several_pieces_in_flight),
        MODELS_TEST(takes_pieces_in_any_order),
        MODELS_TEST(asks_again_for_what_was_lost),
        MODELS_TEST(refuses_wrong_bytes_of_a_file),
        MODELS_TEST(refuses_a_wrong_manifest),
        MODELS_TEST(refuses_truncated_pieces),
        MODELS_TEST(refuses_a_size_that_changes),
        MODELS_TEST(stops_when_cancelled),
        MODELS_TEST(says_when_there_is_no_such_model),
        MODELS_TEST(refuses_paths_that_lead_out),
        MODELS_TEST(fetches_and_keeps_files),
        MODELS_TEST(finds_local_files),
        MODELS_TEST(fetches_a_single_file_model),
        MODELS_TEST(keeps_its_budget),
        MODELS_TEST(refuses_a_model_larger_than_the_cache),
        MODELS_TEST(fetches_anew_what_was_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
