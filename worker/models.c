/*
 * models.c - local folders, the cache and its budget.
 *
 * What is hashed once in a process must not change under a running worker.
 */
#include "worker/models.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

struct local {
    char *path;  /* a model's folder, or a file */
    bool hashed; /* digest is known, or it turned out to be none */
    bool usable;
    struct digest digest;
};

struct cached {
    struct digest digest;
    uint64_t bytes;
    int64_t used_ns; /* the folder's own time stamp */
    bool verified;   /* hashed in this process */
};

struct models {
    struct local *locals;
    size_t local_count;
    char *cache;
    uint64_t cache_bytes;
    struct cached *cached;
    size_t cached_count;
    pthread_mutex_t mutex; /* of the holds */
    struct digest *holds;  /* one entry a hold */
    size_t hold_count;
};

/* ---- folders -------------------------------------------------------------------------------------------------------- */

/* Sum of the files below `path`; removes it all where asked. */
static enum err walk_tree(uint64_t *bytes, const char *path, bool removing, struct error *error) {
    char *roots[] = { (char *)path, NULL };
    enum err err = ERR_OK;
    FTS *walk = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    if (!walk)
        return error_errno(error, "%s", path);
    *bytes = 0;
    for (FTSENT *entry = fts_read(walk); entry && !err; entry = fts_read(walk)) {
        if (entry->fts_info == FTS_F)
            *bytes += (uint64_t)entry->fts_statp->st_size;
        bool gone = entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR || entry->fts_info == FTS_NS;
        if (gone)
            errno = entry->fts_errno;
        if (gone || (removing && entry->fts_info != FTS_D && remove(entry->fts_accpath) != 0))
            err = error_errno(error, "%s", entry->fts_path);
    }
    fts_close(walk);
    return err;
}

static void remove_tree(const char *path) {
    struct error error;
    uint64_t bytes;
    if (walk_tree(&bytes, path, true, &error) != ERR_OK)
        log_event(LOG_ERROR, "model-cache-stuck", "why", error.message, NULL);
}

static char *cached_path(const struct models *models, const struct digest *digest) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    return path_join(models->cache, hex);
}

/* ---- opening -------------------------------------------------------------------------------------------------------- */

static bool is_model(const char *folder) {
    char *index = path_join(folder, "model_index.json");
    bool is = file_exists(index);
    free(index);
    return is;
}

static void add_local(struct models *models, const char *path) {
    models->locals = memory_grow(models->locals, models->local_count + 1, sizeof *models->locals);
    models->locals[models->local_count++] = (struct local){ .path = text_copy(path) };
}

static bool is_weights(const char *path) {
    size_t size = strlen(path), tail = strlen(".safetensors");
    return size > tail && strcmp(path + size - tail, ".safetensors") == 0 && file_exists(path) && !folder_exists(path);
}

/* Models and files of weights in `path`, and, `depth` deep, in the folders that lie there. */
static enum err add_folder(struct models *models, const char *path, int depth, struct error *error) {
    enum err err = ERR_OK;
    DIR *listing = opendir(path);
    if (!listing)
        return error_errno(error, "--models %s", path);
    for (struct dirent *entry = readdir(listing); entry && !err; entry = readdir(listing)) {
        char *below = path_join(path, entry->d_name);
        if (entry->d_name[0] == '.')
            ;
        else if (is_model(below) || is_weights(below))
            add_local(models, below);
        else if (depth && folder_exists(below))
            err = add_folder(models, below, depth - 1, error);
        free(below);
    }
    closedir(listing);
    return err;
}

static enum err add_path(struct models *models, const char *path, struct error *error) {
    if (is_model(path) || is_weights(path)) {
        add_local(models, path);
        return ERR_OK;
    }
    if (!folder_exists(path))
        return error_set(error, ERR_INVALID, "--models %s: want a model's folder, a safetensors file or a folder of such, there is"
                         " none", path);
    return add_folder(models, path, 1, error);
}

static enum err add_paths(struct models *models, const char *paths, struct error *error) {
    enum err err = ERR_OK;
    char *list = text_copy(paths), *rest = NULL;
    for (char *path = strtok_r(list, ":", &rest); path && !err; path = strtok_r(NULL, ":", &rest))
        err = add_path(models, path, error);
    free(list);
    return err;
}

static enum err add_cached(struct models *models, const struct digest *digest, const char *folder, struct error *error) {
    struct cached cached = { .digest = *digest };
    struct stat info;
    enum err err = walk_tree(&cached.bytes, folder, false, error);
    if (err)
        return err;
    if (stat(folder, &info) != 0)
        return error_errno(error, "%s", folder);
    cached.used_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    models->cached = memory_grow(models->cached, models->cached_count + 1, sizeof *models->cached);
    models->cached[models->cached_count++] = cached;
    return ERR_OK;
}

/* What earlier processes left: whole models, and what they were fetching when they ended. */
static enum err scan_cache(struct models *models, struct error *error) {
    enum err err = folder_create(models->cache, error);
    DIR *listing = err ? NULL : opendir(models->cache);
    if (!err && !listing)
        err = error_errno(error, "%s", models->cache);
    if (err)
        return err;
    for (struct dirent *entry = readdir(listing); entry && !err; entry = readdir(listing)) {
        struct digest digest;
        char *path = path_join(models->cache, entry->d_name);
        if (digest_parse(&digest, entry->d_name))
            err = add_cached(models, &digest, path, error);
        else if (strncmp(entry->d_name, "fetch-", 6) == 0)
            remove_tree(path);
        free(path);
    }
    closedir(listing);
    return err;
}

enum err models_open(struct models **out, const char *paths, const char *cache, uint64_t cache_bytes, struct error *error) {
    struct models *models = memory_get(sizeof *models);
    pthread_mutex_init(&models->mutex, NULL);
    models->cache = text_copy(cache);
    models->cache_bytes = cache_bytes;
    enum err err = add_paths(models, paths ? paths : "", error);
    if (!err)
        err = scan_cache(models, error);
    if (err)
        models_close(models);
    else
        *out = models;
    return err;
}

void models_close(struct models *models) {
    if (!models)
        return;
    for (size_t i = 0; i < models->local_count; i++)
        free(models->locals[i].path);
    pthread_mutex_destroy(&models->mutex);
    free(models->locals);
    free(models->cached);
    free(models->holds);
    free(models->cache);
    free(models);
}

/* ---- holds ---------------------------------------------------------------------------------------------------------- */

static void hold(struct models *models, const struct digest *digest) {
    pthread_mutex_lock(&models->mutex);
    models->holds = memory_grow(models->holds, models->hold_count + 1, sizeof *models->holds);
    models->holds[models->hold_count++] = *digest;
    pthread_mutex_unlock(&models->mutex);
}

void models_drop(struct models *models, const struct digest *digest) {
    pthread_mutex_lock(&models->mutex);
    for (size_t i = 0; i < models->hold_count; i++)
        if (digest_equal(&models->holds[i], digest)) {
            models->holds[i] = models->holds[--models->hold_count];
            break;
        }
    pthread_mutex_unlock(&models->mutex);
}

static bool is_held(struct models *models, const struct digest *digest) {
    bool held = false;
    pthread_mutex_lock(&models->mutex);
    for (size_t i = 0; i < models->hold_count && !held; i++)
        held = digest_equal(&models->holds[i], digest);
    pthread_mutex_unlock(&models->mutex);
    return held;
}

/* ---- finding -------------------------------------------------------------------------------------------------------- */

static void hash_local(struct local *local) {
    struct error error;
    char hex[DIGEST_HEX_SIZE];
    local->hashed = true;
    enum err err = model_digest_read(&local->digest, local->path, &error);
    if (err) {
        log_event(LOG_WARN, "model-unreadable", "path", local->path, "why", error.message, NULL);
        return;
    }
    local->usable = true;
    digest_hex(&local->digest, hex);
    log_event(LOG_INFO, "model-found", "path", local->path, "model", hex, NULL);
}

static char *find_local(struct models *models, const struct digest *digest) {
    for (size_t i = 0; i < models->local_count; i++) {
        struct local *local = &models->locals[i];
        if (!local->hashed)
            hash_local(local);
        if (local->usable && digest_equal(&local->digest, digest))
            return text_copy(local->path);
    }
    return NULL;
}

static struct cached *find_cached(struct models *models, const struct digest *digest) {
    for (size_t i = 0; i < models->cached_count; i++)
        if (digest_equal(&models->cached[i].digest, digest))
            return &models->cached[i];
    return NULL;
}

static void remove_cached(struct models *models, struct cached *cached) {
    char *path = cached_path(models, &cached->digest);
    remove_tree(path);
    free(path);
    *cached = models->cached[--models->cached_count];
}

/* Is what lies in the cache still what its name says? One that is not goes, and is fetched anew. */
static bool verify_cached(struct models *models, struct cached *cached, const char *path) {
    struct digest have;
    uint64_t size;
    struct error error = { .message = "it has another digest" };
    if (cached->verified)
        return true;
    enum err err = folder_exists(path) ? model_digest_read(&have, path, &error) : digest_of_file(&have, &size, path, &error);
    cached->verified = !err && digest_equal(&have, &cached->digest);
    if (cached->verified)
        return true;
    log_event(LOG_WARN, "model-damaged", "path", path, "why", error.message, NULL);
    remove_cached(models, cached);
    return false;
}

static void mark_used(struct cached *cached, const char *path) {
    uint64_t now_ms = clock_unix_ms();
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
                                 { (time_t)(now_ms / 1000), (long)(now_ms % 1000) * 1000000 } };
    cached->used_ns = (int64_t)now_ms * 1000000;
    if (utimensat(AT_FDCWD, path, times, 0) != 0)
        log_event(LOG_WARN, "model-cache-time", "path", path, "why", strerror(errno), NULL);
}

static void keep_budget(struct models *models) {
    while (models->cache_bytes) {
        struct cached *oldest = NULL;
        uint64_t total = 0;
        for (size_t i = 0; i < models->cached_count; i++) {
            struct cached *cached = &models->cached[i];
            total += cached->bytes;
            if (!is_held(models, &cached->digest) && (!oldest || cached->used_ns < oldest->used_ns))
                oldest = cached;
        }
        if (total <= models->cache_bytes || !oldest)
            return;
        char hex[DIGEST_HEX_SIZE];
        digest_hex(&oldest->digest, hex);
        log_event(LOG_INFO, "model-evicted", "model", hex, NULL);
        remove_cached(models, oldest);
    }
}

/* fetch_model or fetch_file. */
typedef enum err fetch(const char *path, const struct digest *digest, uint64_t limit, const struct model_source *source,
                       struct error *error);

static enum err fetch_into_cache(char **path, struct models *models, const struct digest *digest, fetch *fetch_object,
                                 const struct model_source *source, struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    char *draft = text_format("%s/fetch-%s", models->cache, hex);
    char *place = cached_path(models, digest);
    uint64_t begin_ms = clock_monotonic_ms();
    enum err err = fetch_object(draft, digest, models->cache_bytes, source, error);
    if (err)
        goto done;
    if (rename(draft, place) != 0) {
        err = error_errno(error, "%s", place);
        goto done;
    }
    err = add_cached(models, digest, place, error);
    if (err)
        goto done;
    struct cached *cached = find_cached(models, digest);
    cached->verified = true;
    char *bytes = text_format("%" PRIu64, cached->bytes), *ms = text_format("%" PRIu64, clock_monotonic_ms() - begin_ms);
    log_event(LOG_INFO, "model-fetched", "model", hex, "bytes", bytes, "ms", ms, NULL);
    free(bytes);
    free(ms);
    *path = place;
    place = NULL;
done:
    if (err && (file_exists(draft) || folder_exists(draft)))
        remove_tree(draft);
    free(draft);
    free(place);
    return err;
}

static enum err hold_by(char **path, struct models *models, const struct digest *digest, fetch *fetch_object,
                        const struct model_source *source, struct error *error) {
    char *found = find_local(models, digest);
    enum err err = ERR_OK;
    if (!found) {
        struct cached *cached = find_cached(models, digest);
        if (cached)
            found = cached_path(models, digest);
        if (cached && !verify_cached(models, cached, found)) {
            free(found);
            found = NULL;
        }
        if (!found)
            err = fetch_into_cache(&found, models, digest, fetch_object, source, error);
        if (err)
            return err;
        mark_used(find_cached(models, digest), found);
    }
    hold(models, digest);
    keep_budget(models);
    *path = found;
    return ERR_OK;
}

enum err models_hold(char **path, struct models *models, const struct digest *digest, const struct model_source *source,
                     struct error *error) {
    return hold_by(path, models, digest, fetch_model, source, error);
}

enum err models_hold_file(char **path, struct models *models, const struct digest *digest,
                          const struct model_source *source, struct error *error) {
    return hold_by(path, models, digest, fetch_file, source, error);
}
