/*
 * safetensors.c - the file format of Hugging Face's safetensors, read with every rule of its reference and of its text.
 *
 *   8 bytes   N, little-endian: length of the header
 *   N bytes   JSON {"name": {"dtype": "F32", "shape": [..], "data_offsets": [begin, end]}, ..., "__metadata__": {..}}
 *   the rest  the tensors, one behind the other: no holes, no overlaps, nothing behind the last
 *
 * All checks happen in open: whoever holds a handle may read what the views say.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "pipeline/weights/weights.h"

enum { LENGTH_SIZE = 8, ALIGNMENT = 8 };

#define FOREIGN (-1) /* a dtype that the format knows and enum dtype does not */

static const struct format_dtype {
    const char *name;
    unsigned bits;
    int dtype; /* enum dtype, or FOREIGN */
} FORMAT_DTYPES[] = {
    { "F32", 32, DTYPE_F32 },     { "F16", 16, DTYPE_F16 },         { "BF16", 16, DTYPE_BF16 },
    { "I32", 32, DTYPE_I32 },     { "U8", 8, DTYPE_U8 },            { "BOOL", 8, FOREIGN },
    { "F4", 4, FOREIGN },         { "F6_E2M3", 6, FOREIGN },        { "F6_E3M2", 6, FOREIGN },
    { "I8", 8, FOREIGN },         { "F8_E5M2", 8, FOREIGN },        { "F8_E4M3", 8, FOREIGN },
    { "F8_E8M0", 8, FOREIGN },    { "F8_E5M2FNUZ", 8, FOREIGN },    { "F8_E4M3FNUZ", 8, FOREIGN },
    { "I16", 16, FOREIGN },       { "U16", 16, FOREIGN },           { "U32", 32, FOREIGN },
    { "C64", 64, FOREIGN },       { "F64", 64, FOREIGN },           { "I64", 64, FOREIGN },
    { "U64", 64, FOREIGN },
};
enum { FORMAT_DTYPE_COUNT = sizeof FORMAT_DTYPES / sizeof *FORMAT_DTYPES };

struct entry {
    char *name; /* owned */
    const struct format_dtype *dtype;
    uint32_t dims;
    uint64_t shape[SAFETENSORS_DIMS_LIMIT];
    uint64_t begin, end; /* from the first byte behind the header */
};

struct safetensors {
    char *path;
    const uint8_t *bytes;
    size_t size;
    void *mapping; /* NULL: the bytes are the caller's */
    const uint8_t *tensors; /* the first byte behind the header */
    struct entry *entries;  /* sorted by name */
    json_t *metadata;       /* of texts, or NULL */
    size_t count;
};

/* "[512,4,3,3]", cut where it gets long. */
static const char *shape_text(char out[128], uint32_t dims, const uint64_t *shape) {
    size_t size = 1;
    out[0] = '[';
    for (uint32_t i = 0; i < dims && size < 100; i++)
        size += (size_t)snprintf(out + size, 128 - size, "%s%" PRIu64, i ? "," : "", shape[i]);
    snprintf(out + size, 128 - size, "]");
    return out;
}

static enum err read_dtype(struct entry *entry, const json_t *info, const char *path, struct error *error) {
    const json_t *value = json_object_get(info, "dtype");
    if (!json_is_string(value))
        return error_set(error, ERR_CORRUPT, "%s: %s: want a dtype, file has none", path, entry->name);
    const char *text = json_string_value(value);
    for (size_t i = 0; i < FORMAT_DTYPE_COUNT; i++)
        if (strcmp(text, FORMAT_DTYPES[i].name) == 0) {
            entry->dtype = &FORMAT_DTYPES[i];
            return ERR_OK;
        }
    return error_set(error, ERR_CORRUPT, "%s: %s: want a dtype of the format (F32, F16, BF16, ...), file has \"%.32s\"",
                     path, entry->name, text);
}

static enum err read_shape(struct entry *entry, const json_t *info, const char *path, struct error *error) {
    const json_t *value = json_object_get(info, "shape");
    if (!json_is_array(value))
        return error_set(error, ERR_CORRUPT, "%s: %s: want a shape, file has none", path, entry->name);
    size_t dims = json_array_size(value);
    if (dims > SAFETENSORS_DIMS_LIMIT)
        return error_set(error, ERR_LIMIT, "%s: %s: want at most %d dimensions, file has %zu", path, entry->name,
                         SAFETENSORS_DIMS_LIMIT, dims);
    for (size_t i = 0; i < dims; i++) {
        const json_t *length = json_array_get(value, i);
        if (!json_is_integer(length) || json_integer_value(length) < 0)
            return error_set(error, ERR_CORRUPT, "%s: %s: want a shape of whole numbers from 0 on, dimension %zu is not",
                             path, entry->name, i);
        entry->shape[i] = (uint64_t)json_integer_value(length);
    }
    entry->dims = (uint32_t)dims;
    return ERR_OK;
}

static enum err read_offsets(struct entry *entry, const json_t *info, const char *path, struct error *error) {
    const json_t *value = json_object_get(info, "data_offsets");
    const json_t *begin = json_array_get(value, 0);
    const json_t *end = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end) || json_integer_value(begin) < 0 ||
        json_integer_value(end) < 0)
        return error_set(error, ERR_CORRUPT, "%s: %s: want data_offsets of two whole numbers from 0 on, file has others",
                         path, entry->name);
    entry->begin = (uint64_t)json_integer_value(begin);
    entry->end = (uint64_t)json_integer_value(end);
    if (entry->end < entry->begin)
        return error_set(error, ERR_CORRUPT, "%s: %s: want an end not before its begin, file has %" PRIu64 "..%" PRIu64,
                         path, entry->name, entry->begin, entry->end);
    return ERR_OK;
}

/* end - begin is what shape and dtype need? */
static enum err check_length(const struct entry *entry, const char *path, struct error *error) {
    char shape[128];
    shape_text(shape, entry->dims, entry->shape);
    uint64_t bits = entry->dtype->bits;
    for (uint32_t i = 0; i < entry->dims; i++)
        if (__builtin_mul_overflow(bits, entry->shape[i], &bits))
            return error_set(error, ERR_CORRUPT, "%s: %s: want a size below 2^64 bits, shape %s of %s has more", path,
                             entry->name, shape, entry->dtype->name);
    if (bits % 8 != 0)
        return error_set(error, ERR_CORRUPT, "%s: %s: want whole bytes, shape %s of %s has %" PRIu64 " bits", path,
                         entry->name, shape, entry->dtype->name, bits);
    if (entry->end - entry->begin != bits / 8)
        return error_set(error, ERR_CORRUPT, "%s: %s: want %" PRIu64 " bytes for shape %s of %s, file has %" PRIu64, path,
                         entry->name, bits / 8, shape, entry->dtype->name, entry->end - entry->begin);
    return ERR_OK;
}

static enum err check_name(const char *name, const char *path, struct error *error) {
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return error_set(error, ERR_CORRUPT, "%s: want tensor names without control bytes, one has 0x%02x at place %zu",
                             path, (unsigned)(unsigned char)*c, (size_t)(c - name));
    return ERR_OK;
}

static enum err read_entry(struct entry *entry, const char *name, const json_t *info, const char *path,
                           struct error *error) {
    enum err err = check_name(name, path, error);
    if (err != ERR_OK)
        return err;
    entry->name = text_copy(name);
    if (!json_is_object(info))
        return error_set(error, ERR_CORRUPT, "%s: %s: want an object, file has another kind of value", path, name);
    if ((err = read_dtype(entry, info, path, error)) != ERR_OK || (err = read_shape(entry, info, path, error)) != ERR_OK ||
        (err = read_offsets(entry, info, path, error)) != ERR_OK)
        return err;
    return check_length(entry, path, error);
}

static enum err check_metadata(const json_t *metadata, const char *path, struct error *error) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return error_set(error, ERR_CORRUPT, "%s: __metadata__: want an object of texts, file has another kind of value",
                         path);
    json_object_foreach((json_t *)metadata, key, value)
        if (!json_is_string(value))
            return error_set(error, ERR_CORRUPT, "%s: __metadata__: want a text for \"%.64s\", file has another kind of value",
                             path, key);
    return ERR_OK;
}

static int compare_place(const void *a, const void *b) {
    const struct entry *left = a, *right = b;
    if (left->begin != right->begin)
        return left->begin < right->begin ? -1 : 1;
    if (left->end != right->end)
        return left->end < right->end ? -1 : 1;
    return strcmp(left->name, right->name);
}

static int compare_name(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

/* The tensors cover everything behind the header exactly once. Sorts by place. */
static enum err check_cover(struct safetensors *file, uint64_t size, struct error *error) {
    uint64_t end = 0;
    qsort(file->entries, file->count, sizeof *file->entries, compare_place);
    for (size_t i = 0; i < file->count; i++) {
        const struct entry *entry = &file->entries[i];
        if (entry->begin != end)
            return error_set(error, ERR_CORRUPT, "%s: %s: want it to begin at %" PRIu64 ", where the one before ends, file has %"
                             PRIu64 " (%s)", file->path, entry->name, end, entry->begin,
                             entry->begin > end ? "a hole" : "an overlap");
        if (entry->end > size)
            return error_set(error, ERR_CORRUPT, "%s: %s: want bytes up to %" PRIu64 ", file has %" PRIu64
                             " behind its header (truncated?)", file->path, entry->name, entry->end, size);
        end = entry->end;
    }
    if (end != size)
        return error_set(error, ERR_CORRUPT, "%s: want %" PRIu64 " bytes of tensors, file has %" PRIu64
                         " behind its header (bytes that no tensor owns)", file->path, end, size);
    return ERR_OK;
}

static enum err read_header(struct safetensors *file, const json_t *header, struct error *error) {
    const char *name;
    json_t *info;
    enum err err;
    if (!json_is_object(header))
        return error_set(error, ERR_CORRUPT, "%s: want a header that is a JSON object, file has another kind of value",
                         file->path);
    if (json_object_size(header) > SAFETENSORS_TENSOR_LIMIT)
        return error_set(error, ERR_LIMIT, "%s: want at most %d tensors, file has %zu", file->path, SAFETENSORS_TENSOR_LIMIT,
                         json_object_size(header));
    file->entries = memory_get_array(json_object_size(header) + 1, sizeof *file->entries);
    json_object_foreach((json_t *)header, name, info) {
        if (strcmp(name, "__metadata__") == 0) {
            err = check_metadata(info, file->path, error);
            file->metadata = json_incref(info);
        } else {
            err = read_entry(&file->entries[file->count++], name, info, file->path, error);
        }
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

static enum err read_file(struct safetensors *file, struct error *error) {
    json_t *header = NULL;
    uint64_t length = 0;
    enum err err;
    if (file->size < LENGTH_SIZE)
        return error_set(error, ERR_CORRUPT, "%s: want at least %d bytes of safetensors, file has %zu", file->path,
                         LENGTH_SIZE, file->size);
    for (int i = 0; i < LENGTH_SIZE; i++)
        length |= (uint64_t)file->bytes[i] << (8 * i);
    if (length > SAFETENSORS_HEADER_LIMIT)
        return error_set(error, ERR_LIMIT, "%s: want a header of at most %d bytes, file has %" PRIu64
                         " (is it a safetensors file?)", file->path, SAFETENSORS_HEADER_LIMIT, length);
    if (length > file->size - LENGTH_SIZE)
        return error_set(error, ERR_CORRUPT, "%s: want a header of %" PRIu64 " bytes, file has %zu behind its length"
                         " (truncated?)", file->path, length, file->size - LENGTH_SIZE);
    if (length == 0 || file->bytes[LENGTH_SIZE] != '{')
        return error_set(error, ERR_CORRUPT, "%s: want a header that begins with '{', file has %s", file->path,
                         length == 0 ? "an empty one" : "another byte there");
    file->tensors = file->bytes + LENGTH_SIZE + length;
    err = json_parse(&header, file->bytes + LENGTH_SIZE, (size_t)length, file->path, error);
    if (err == ERR_OK)
        err = read_header(file, header, error);
    if (err == ERR_OK)
        err = check_cover(file, file->size - LENGTH_SIZE - length, error);
    if (err == ERR_OK)
        qsort(file->entries, file->count, sizeof *file->entries, compare_name);
    json_decref(header);
    return err;
}

static enum err open_bytes(struct safetensors **out, const void *data, size_t size, void *mapping, const char *name,
                           struct error *error) {
    struct safetensors *file = memory_get(sizeof *file);
    file->path = text_copy(name);
    file->bytes = data;
    file->size = size;
    file->mapping = mapping;
    enum err err = read_file(file, error);
    if (err == ERR_OK)
        *out = file;
    else
        safetensors_close(file);
    return err;
}

enum err safetensors_open_memory(struct safetensors **file, const void *data, size_t size, const char *name,
                                 struct error *error) {
    return open_bytes(file, data, size, NULL, name, error);
}

enum err safetensors_open(struct safetensors **file, const char *path, struct error *error) {
    struct stat status;
    void *mapping = NULL;
    enum err err = ERR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? error_set(error, ERR_NOT_FOUND, "%s: no such file", path) : error_errno(error, "%s", path);
    if (fstat(fd, &status) != 0) {
        err = error_errno(error, "%s", path);
    } else if (!S_ISREG(status.st_mode)) {
        err = error_set(error, ERR_INVALID, "%s: want a regular file, path has another kind", path);
    } else if (status.st_size > 0) {
        mapping = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (mapping == MAP_FAILED)
            err = error_errno(error, "%s: mapping %jd bytes", path, (intmax_t)status.st_size);
    }
    close(fd);
    return err != ERR_OK ? err : open_bytes(file, mapping, (size_t)status.st_size, mapping, path, error);
}

void safetensors_close(struct safetensors *file) {
    if (!file)
        return;
    for (size_t i = 0; i < file->count; i++)
        free(file->entries[i].name);
    free(file->entries);
    json_decref(file->metadata);
    if (file->mapping)
        munmap(file->mapping, file->size);
    free(file->path);
    free(file);
}

void safetensors_drop_pages(const struct safetensors *file) {
    if (file->mapping)
        (void)madvise(file->mapping, file->size, MADV_DONTNEED); /* a kernel that says no costs memory, nothing else */
}

const char *safetensors_metadata(const struct safetensors *file, const char *key) {
    return json_string_value(json_object_get(file->metadata, key));
}

size_t safetensors_count(const struct safetensors *file) {
    return file->count;
}

const char *safetensors_name(const struct safetensors *file, size_t index) {
    return index < file->count ? file->entries[index].name : NULL;
}

enum err safetensors_view(struct weight_view *view, const struct safetensors *file, const char *name, struct error *error) {
    const struct entry key = { .name = (char *)name };
    const struct entry *entry = bsearch(&key, file->entries, file->count, sizeof key, compare_name);
    if (!entry)
        return error_set(error, ERR_NOT_FOUND, "%s: %s: want this tensor, file has none of that name", file->path, name);
    if (entry->dtype->dtype == FOREIGN)
        return error_set(error, ERR_UNSUPPORTED, "%s: %s: want F32, F16 or BF16, file has %s", file->path, name,
                         entry->dtype->name);
    if (entry->dims > 4)
        return error_set(error, ERR_UNSUPPORTED, "%s: %s: want at most 4 dimensions, file has %u", file->path, name,
                         entry->dims);
    *view = (struct weight_view){ .data = file->tensors + entry->begin,
                                  .dtype = (enum dtype)entry->dtype->dtype,
                                  .dims = entry->dims };
    memcpy(view->shape, entry->shape, sizeof view->shape);
    return ERR_OK;
}

enum err safetensors_find(struct weight_view *view, const struct safetensors *file, const char *name, struct error *error) {
    struct weight_view found;
    enum err err = safetensors_view(&found, file, name, error);
    if (err != ERR_OK)
        return err;
    if (found.dtype != DTYPE_F32 && found.dtype != DTYPE_F16 && found.dtype != DTYPE_BF16)
        return error_set(error, ERR_UNSUPPORTED, "%s: %s: want F32, F16 or BF16, file has %s", file->path, name,
                         found.dtype == DTYPE_I32 ? "I32" : "U8");
    *view = found;
    return ERR_OK;
}

/* ---- writing ---------------------------------------------------------------------------------------------------- */

static const struct format_dtype *format_of(enum dtype dtype) {
    for (size_t i = 0; i < FORMAT_DTYPE_COUNT; i++)
        if (FORMAT_DTYPES[i].dtype == (int)dtype)
            return &FORMAT_DTYPES[i];
    return NULL;
}

static uint64_t entry_bytes(const struct safetensors_entry *entry) {
    uint64_t bytes = format_of(entry->dtype)->bits / 8;
    assert(entry->dims <= 4);
    for (uint32_t i = 0; i < entry->dims; i++)
        bytes *= entry->shape[i];
    return bytes;
}

static json_t *entry_header(const struct safetensors_entry *entry, uint64_t begin) {
    json_t *shape = json_array();
    for (uint32_t i = 0; i < entry->dims; i++)
        json_array_append_new(shape, json_integer((json_int_t)entry->shape[i]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", format_of(entry->dtype)->name, "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + entry_bytes(entry)));
}

enum err safetensors_write(const char *path, const struct safetensors_entry *entries, size_t count, struct error *error) {
    struct bytes out = BYTES_INIT;
    json_t *header = json_object();
    uint64_t place = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        if (json_object_get(header, entries[i].name) || strcmp(entries[i].name, "__metadata__") == 0)
            err = error_set(error, ERR_INVALID, "%s: %s: want every tensor name once and not reserved", path, entries[i].name);
        else if (json_object_set_new(header, entries[i].name, entry_header(&entries[i], place)) != 0)
            err = error_set(error, ERR_INVALID, "%s: tensor %zu: want a name in UTF-8, it has other bytes", path, i);
        place += entry_bytes(&entries[i]);
    }
    if (err == ERR_OK) {
        char *text = json_dumps(header, JSON_COMPACT);
        size_t length = strlen(text), padded = (length + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
        uint8_t prefix[LENGTH_SIZE];
        for (int i = 0; i < LENGTH_SIZE; i++)
            prefix[i] = (uint8_t)((uint64_t)padded >> (8 * i));
        bytes_reserve(&out, LENGTH_SIZE + padded + place);
        bytes_add(&out, prefix, LENGTH_SIZE);
        bytes_add(&out, text, length);
        bytes_add(&out, "        ", padded - length);
        free(text);
        for (size_t i = 0; i < count; i++)
            bytes_add(&out, entries[i].data, entry_bytes(&entries[i]));
        err = file_write(path, out.data, out.size, error);
    }
    json_decref(header);
    bytes_release(&out);
    return err;
}
