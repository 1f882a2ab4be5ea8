/* library.c - folders of models, indexed by digest. */
#include "coordinator/library.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

struct book {
    struct digest digest;
    char *path;            /* a file, or NULL */
    struct bytes manifest; /* else these bytes */
};

struct library {
    struct book *books; /* [count] by digest */
    size_t count;
    struct model_facts *models; /* [model_count] */
    size_t model_count;
};

static int book_order(const void *a, const void *b) {
    return digest_compare(&((const struct book *)a)->digest, &((const struct book *)b)->digest);
}

static const struct book *find(const struct library *library, const struct digest *digest) {
    struct book wanted = { .digest = *digest };
    return library->count ? bsearch(&wanted, library->books, library->count, sizeof wanted, book_order) : NULL;
}

static struct book *book_add(struct library *library, const struct digest *digest) {
    library->books = memory_grow(library->books, library->count + 1, sizeof *library->books);
    struct book *book = &library->books[library->count++];
    *book = (struct book){ .digest = *digest, .manifest = BYTES_INIT };
    return book;
}

static enum err add_files(struct library *library, const char *folder, struct error *error) {
    struct manifest manifest;
    enum err err = manifest_of_folder(&manifest, folder, error);
    if (err)
        return err;
    for (size_t i = 0; i < manifest.count; i++)
        book_add(library, &manifest.files[i].digest)->path = path_join(folder, manifest.files[i].path);
    manifest_text(&book_add(library, &manifest.digest)->manifest, &manifest);
    manifest_release(&manifest);
    return ERR_OK;
}

static enum err add_model(struct library *library, const char *path, struct error *error) {
    struct model_facts facts;
    char hex[DIGEST_HEX_SIZE];
    enum err err = model_facts_read(&facts, path, error);
    if (!err && folder_exists(path))
        err = add_files(library, path, error);
    else if (!err)
        book_add(library, &facts.digest)->path = text_copy(path);
    if (err)
        return err;
    library->models = memory_grow(library->models, library->model_count + 1, sizeof *library->models);
    library->models[library->model_count++] = facts;
    digest_hex(&facts.digest, hex);
    log_event(LOG_INFO, "model", "path", path, "digest", hex, "family", facts.family, NULL);
    return ERR_OK;
}

static bool is_model(const char *folder) {
    char *index = path_join(folder, "model_index.json");
    bool is = file_exists(index) || (file_exists(folder) && model_is_single_file(folder));
    free(index);
    return is;
}

static enum err add_folder(struct library *library, const char *folder, struct error *error) {
    struct error skipped;
    const struct dirent *entry;
    if (is_model(folder))
        return add_model(library, folder, error);
    DIR *dir = opendir(folder);
    if (!dir)
        return error_errno(error, "models folder %s", folder);
    while ((entry = readdir(dir))) {
        char *path = path_join(folder, entry->d_name);
        if (entry->d_name[0] != '.' && is_model(path) && add_model(library, path, &skipped) != ERR_OK)
            log_event(LOG_WARN, "model-passed-over", "folder", path, "why", skipped.message, NULL);
        free(path);
    }
    closedir(dir);
    return ERR_OK;
}

enum err library_open(struct library **out, const char *folders, struct error *error) {
    struct library *library = memory_get(sizeof *library);
    enum err err = ERR_OK;
    while (folders && *folders && !err) {
        size_t size = strcspn(folders, ":");
        char *folder = text_copy_size(folders, size);
        if (size)
            err = add_folder(library, folder, error);
        free(folder);
        folders += size + (folders[size] == ':');
    }
    if (library->count)
        qsort(library->books, library->count, sizeof *library->books, book_order);
    if (err)
        library_close(library);
    else
        *out = library;
    return err;
}

void library_close(struct library *library) {
    if (!library)
        return;
    for (size_t i = 0; i < library->count; i++) {
        free(library->books[i].path);
        bytes_release(&library->books[i].manifest);
    }
    free(library->books);
    free(library->models);
    free(library);
}

bool library_has(const struct library *library, const struct digest *digest) {
    const struct book *book = find(library, digest);
    return book && (!book->path || file_exists(book->path));
}

static enum err read_file(struct bytes *out, uint64_t *total, const char *path, uint64_t offset, size_t size,
                          struct error *error) {
    struct stat stat;
    enum err err = ERR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(error, "%s", path);
    if (fstat(fd, &stat) != 0) {
        err = error_errno(error, "%s", path);
        goto done;
    }
    *total = (uint64_t)stat.st_size;
    bytes_reserve(out, size);
    while (size && !err) {
        ssize_t got = pread(fd, out->data + out->size, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            err = error_errno(error, "%s", path);
        if (got <= 0)
            break;
        out->size += (size_t)got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    out->data[out->size] = 0;
done:
    close(fd);
    return err;
}

enum err library_read(struct bytes *out, uint64_t *total, const struct library *library, const struct digest *digest,
                      uint64_t offset, size_t size, struct error *error) {
    const struct book *book = find(library, digest);
    char hex[DIGEST_HEX_SIZE];
    digest_hex(digest, hex);
    if (!book)
        return error_set(error, ERR_NOT_FOUND, "object %s: not in a models folder", hex);
    if (book->path)
        return read_file(out, total, book->path, offset, size, error);
    *total = book->manifest.size;
    if (offset < book->manifest.size) {
        size_t left = book->manifest.size - (size_t)offset;
        bytes_add(out, book->manifest.data + offset, left < size ? left : size);
    }
    return ERR_OK;
}

/* ---- facts ---------------------------------------------------------------------------------------------------------- */

static enum err read_config(struct bytes *out, const struct library *library, struct store *store,
                            const struct manifest *manifest, const char *path, struct error *error) {
    uint64_t total;
    for (size_t i = 0; i < manifest->count; i++) {
        if (strcmp(manifest->files[i].path, path) != 0)
            continue;
        const struct digest *digest = &manifest->files[i].digest;
        if (library_has(library, digest))
            return library_read(out, &total, library, digest, 0, MODEL_CONFIG_LIMIT, error);
        return store_get(out, store, digest, MODEL_CONFIG_LIMIT, error);
    }
    return error_set(error, ERR_INVALID, "want %s among its files, there are %zu others", path, manifest->count);
}

static enum err check_files(const struct library *library, struct store *store, const struct manifest *manifest,
                            struct error *error) {
    for (size_t i = 0; i < manifest->count; i++) {
        const struct digest *digest = &manifest->files[i].digest;
        char hex[DIGEST_HEX_SIZE];
        digest_hex(digest, hex);
        if (!library_has(library, digest) && !store_has(store, digest))
            return error_set(error, ERR_NOT_FOUND, "its file %s (object %s) is not here", manifest->files[i].path, hex);
    }
    return ERR_OK;
}

static enum err facts_of_objects(struct model_facts *facts, const struct library *library, struct store *store,
                                 const struct digest *model, struct error *error) {
    struct bytes text = BYTES_INIT, index = BYTES_INIT, unet = BYTES_INIT, vae = BYTES_INIT;
    struct manifest manifest = { 0 };
    uint64_t size;
    enum err err = store_size(&size, store, model, error);
    if (!err)
        err = store_read(&text, store, model, 0, MODEL_START_LIMIT, error);
    if (!err && text.size > 8 && text.data[7] == 0 && text.data[8] == '{') { /* no manifest holds a byte 0: a single file */
        err = model_facts_of_start(facts, &text, error);
        facts->digest = *model;
        bytes_release(&text);
        return err;
    }
    if (!err)
        err = manifest_parse(&manifest, text.data, text.size, error);
    if (!err)
        err = check_files(library, store, &manifest, error);
    if (!err)
        err = read_config(&index, library, store, &manifest, "model_index.json", error);
    if (!err)
        err = read_config(&unet, library, store, &manifest, "unet/config.json", error);
    if (!err)
        err = read_config(&vae, library, store, &manifest, "vae/config.json", error);
    if (!err)
        err = model_facts_parse(facts, &index, &unet, &vae, error);
    if (!err)
        facts->digest = *model;
    bytes_release(&text);
    bytes_release(&index);
    bytes_release(&unet);
    bytes_release(&vae);
    manifest_release(&manifest);
    return err;
}

enum err library_facts(struct model_facts *facts, const struct library *library, struct store *store,
                       const struct digest *model, struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    for (size_t i = 0; i < library->model_count; i++)
        if (digest_equal(&library->models[i].digest, model)) {
            *facts = library->models[i];
            return ERR_OK;
        }
    enum err err = facts_of_objects(facts, library, store, model, error);
    digest_hex(model, hex);
    if (err)
        error_prefix(error, "model %.16s...", hex);
    return err;
}
