/*
 * fetch.c - an object from the coordinator, piece by piece: a file, or a model.
 *
 * The object named by a model's digest is a single file, or a manifest that names every file by its own. Pieces are asked for several at
 * a time and may come in any order; what did not come in time is asked for again, so a lost connection costs only time.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "worker/models.h"

struct fetch {
    const struct model_source *source;
    struct digest object;
    const char *path; /* for sentences */
    int fd;
    uint64_t limit;   /* of this object's bytes */
    uint64_t size;    /* known with its first piece */
    bool size_known;
    uint8_t *arrived; /* [pieces] */
    uint64_t pieces, next, missing;
    uint64_t before;  /* bytes of the model fetched earlier */
};

static uint32_t piece_size(const struct fetch *fetch, uint64_t piece) {
    uint64_t left = fetch->size - piece * FETCH_PIECE;
    return left < FETCH_PIECE ? (uint32_t)left : FETCH_PIECE;
}

static void ask_piece(struct fetch *fetch, uint64_t piece) {
    fetch->source->ask(fetch->source->context, &fetch->object, piece * FETCH_PIECE, FETCH_PIECE);
}

/* Nothing came for a while: everything that is on its way is taken for lost. */
static void ask_again(struct fetch *fetch) {
    if (!fetch->size_known) {
        ask_piece(fetch, 0);
        return;
    }
    for (uint64_t piece = 0; piece < fetch->next; piece++)
        if (!fetch->arrived[piece])
            ask_piece(fetch, piece);
}

static enum err learn_size(struct fetch *fetch, uint64_t total, struct error *error) {
    if (total > fetch->limit)
        return error_set(error, ERR_LIMIT, "%s: it has %" PRIu64 " bytes, there is room for %" PRIu64, fetch->path, total,
                         fetch->limit);
    fetch->size = total;
    fetch->size_known = true;
    fetch->pieces = (total + FETCH_PIECE - 1) / FETCH_PIECE;
    fetch->missing = fetch->pieces;
    fetch->arrived = memory_get_array(fetch->pieces ? fetch->pieces : 1, 1);
    fetch->next = 1;
    while (fetch->next < fetch->pieces && fetch->next < FETCH_IN_FLIGHT)
        ask_piece(fetch, fetch->next++);
    return ERR_OK;
}

static enum err write_piece(int fd, const char *path, const uint8_t *data, size_t size, uint64_t offset, struct error *error) {
    while (size) {
        ssize_t put = pwrite(fd, data, size, (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return error_errno(error, "%s", path);
        data += put;
        offset += (uint64_t)put;
        size -= (size_t)put;
    }
    return ERR_OK;
}

static enum err take_piece(struct fetch *fetch, const struct message_chunk *chunk, struct error *error) {
    uint64_t piece = chunk->offset / FETCH_PIECE;
    enum err err = fetch->size_known ? ERR_OK : learn_size(fetch, chunk->total, error);
    if (err)
        return err;
    if (chunk->total != fetch->size)
        return error_set(error, ERR_CORRUPT, "%s: first it had %" PRIu64 " bytes, now %" PRIu64, fetch->path, fetch->size,
                         chunk->total);
    if (fetch->pieces == 0)
        return ERR_OK;
    if (chunk->offset % FETCH_PIECE != 0 || piece >= fetch->pieces || chunk->size != piece_size(fetch, piece))
        return error_set(error, ERR_CORRUPT, "%s: a piece at %" PRIu64 " of %zu bytes was not asked for", fetch->path,
                         chunk->offset, chunk->size);
    if (fetch->arrived[piece])
        return ERR_OK;
    err = write_piece(fetch->fd, fetch->path, chunk->data, chunk->size, chunk->offset, error);
    if (err)
        return err;
    fetch->arrived[piece] = 1;
    fetch->missing--;
    if (fetch->next < fetch->pieces)
        ask_piece(fetch, fetch->next++);
    fetch->source->progress(fetch->source->context, fetch->before + (fetch->pieces - fetch->missing) * FETCH_PIECE, 0);
    return ERR_OK;
}

static enum err receive_object(struct fetch *fetch, struct error *error) {
    uint64_t heard_ms = clock_monotonic_ms();
    ask_piece(fetch, 0);
    while (!fetch->size_known || fetch->missing) {
        struct message_chunk chunk = { .data = NULL };
        enum err err = fetch->source->answer(&chunk, fetch->source->context, &fetch->object, FETCH_AGAIN_MS, error);
        if (err == ERR_UNREACHABLE) {
            if (clock_monotonic_ms() - heard_ms >= FETCH_AGAIN_MS) {
                heard_ms = clock_monotonic_ms();
                ask_again(fetch);
            }
            continue;
        }
        heard_ms = clock_monotonic_ms();
        if (!err && digest_equal(&chunk.digest, &fetch->object))
            err = take_piece(fetch, &chunk, error);
        free(chunk.data);
        if (err)
            return err;
    }
    return ERR_OK;
}

/* One object into one new file, its hash compared. *size is its size. */
static enum err fetch_object(uint64_t *size, const char *path, const struct digest *digest, uint64_t limit, uint64_t before,
                             const struct model_source *source, struct error *error) {
    struct fetch fetch = { .source = source, .object = *digest, .path = path, .limit = limit, .before = before };
    struct digest have;
    char want_hex[DIGEST_HEX_SIZE], have_hex[DIGEST_HEX_SIZE];
    fetch.fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fetch.fd < 0)
        return error_errno(error, "%s", path);
    enum err err = receive_object(&fetch, error);
    if (close(fetch.fd) != 0 && !err)
        err = error_errno(error, "%s", path);
    free(fetch.arrived);
    if (!err)
        err = digest_of_file(&have, size, path, error);
    if (err)
        return err;
    if (!digest_equal(&have, digest)) {
        digest_hex(digest, want_hex);
        digest_hex(&have, have_hex);
        return error_set(error, ERR_CORRUPT, "%s: want sha256 %s, what came has %s", path, want_hex, have_hex);
    }
    return ERR_OK;
}

/* The manifest's paths are checked by its parser: they stay below `folder`. */
static enum err fetch_listed_file(uint64_t *total, const char *folder, const struct model_file *file, uint64_t limit,
                                  const struct model_source *source, struct error *error) {
    char *path = path_join(folder, file->path);
    char *parent = text_copy_size(path, (size_t)(path_name(path) - path - 1));
    uint64_t size;
    enum err err = folder_create(parent, error);
    if (!err)
        err = fetch_object(&size, path, &file->digest, limit - *total, *total, source, error);
    if (!err)
        *total += size;
    free(parent);
    free(path);
    return err;
}

static uint64_t room(uint64_t limit) {
    return !limit || limit > LIMIT_OBJECT ? LIMIT_OBJECT : limit;
}

enum err fetch_file(const char *path, const struct digest *digest, uint64_t limit, const struct model_source *source,
                    struct error *error) {
    uint64_t size;
    return fetch_object(&size, path, digest, room(limit), 0, source, error);
}

/* The files of the manifest that lies at `path`, into a folder in its place. */
static enum err fetch_listed(const char *path, uint64_t limit, const struct model_source *source, struct error *error) {
    struct bytes text = BYTES_INIT;
    struct manifest manifest = { .files = NULL };
    uint64_t total = 0;
    enum err err = file_read(&text, path, MODEL_MANIFEST_LIMIT, error);
    if (!err)
        err = manifest_parse(&manifest, text.data, text.size, error);
    if (!err && unlink(path) != 0)
        err = error_errno(error, "%s", path);
    if (!err)
        err = folder_create(path, error);
    for (size_t i = 0; i < manifest.count && !err; i++)
        err = fetch_listed_file(&total, path, &manifest.files[i], room(limit), source, error);
    manifest_release(&manifest);
    bytes_release(&text);
    return err;
}

enum err fetch_model(const char *path, const struct digest *digest, uint64_t limit, const struct model_source *source,
                     struct error *error) {
    enum err err = fetch_file(path, digest, limit, source, error);
    return err || model_is_single_file(path) ? err : fetch_listed(path, limit, source, error);
}
