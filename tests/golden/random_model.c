/* random_model.c - writing a described model. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/json.h"
#include "pipeline/weights/weights.h"
#include "tests/golden/random_model.h"

static void ok(enum err err, const struct error *error) {
    if (err != ERR_OK) {
        fail_msg("%s", error->message);
    }
}

static void put(const char *folder, const char *file, const void *data, size_t size) {
    struct error error;
    char *path = path_join(folder, file), *parent = text_copy(path);
    *strrchr(parent, '/') = '\0';
    ok(folder_create(parent, &error), &error);
    ok(file_write(path, data, size, &error), &error);
    free(parent);
    free(path);
}

static void put_json(const char *folder, const char *file, const json_t *value) {
    char *text = json_dumps(value, JSON_INDENT(2));
    put(folder, file, text, strlen(text));
    free(text);
}

/* The demo model's words: only the configuration differs. */
static void put_words(const char *folder, const char *tokenizer) {
    static const char *const FILES[] = { "vocab.json", "merges.txt" };
    for (size_t i = 0; i < 2; i++) {
        struct bytes bytes = BYTES_INIT;
        struct error error;
        char *from = text_format("%s/models/demo/tokenizer/%s", SOURCE_DIR, FILES[i]);
        char *to = text_format("%s/%s", tokenizer, FILES[i]);
        ok(file_read(&bytes, from, 1 << 20, &error), &error);
        put(folder, to, bytes.data, bytes.size);
        bytes_release(&bytes);
        free(from);
        free(to);
    }
}

/* ---- numbers ---------------------------------------------------------------------------------------------------- */

static uint64_t hash(const char *name) { /* FNV-1a */
    uint64_t state = 0xcbf29ce484222325u;
    for (; *name != '\0'; name++) {
        state = (state ^ (uint8_t)*name) * 0x100000001b3u;
    }
    return state;
}

static float uniform(uint64_t state, size_t place) { /* splitmix64 -> -1..1 */
    uint64_t z = state + (place + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)((int64_t)(z >> 40) - (1 << 23)) * 0x1p-23f;
}

static bool ends(const char *name, const char *tail) {
    size_t size = strlen(name);
    return size >= strlen(tail) && strcmp(name + size - strlen(tail), tail) == 0;
}

/* families.py's fill. `name` is COMPONENT.TENSOR. */
static float *numbers_of(const char *name, const uint64_t *shape, uint32_t dims) {
    static const char *const ATTENTION[] = { "to_q", "to_k", "q_proj", "k_proj" };
    size_t rest = 1;
    float offset = 0.0f, gain = 1.0f;
    for (uint32_t i = 1; i < dims; i++) {
        rest *= shape[i];
    }
    if (strstr(name, "norm") != NULL && ends(name, "weight")) {
        offset = 1.0f;
        gain = 0.375f;
    } else if (ends(name, "bias")) {
        gain = 0.1875f;
    } else if (strstr(name, "embedding.weight") != NULL) {
        gain = 1.75f;
    } else {
        double wanted = 1.0;
        for (size_t i = 0; i < sizeof ATTENTION / sizeof *ATTENTION; i++) {
            wanted = strstr(name, ATTENTION[i]) != NULL ? 2.5 : wanted;
        }
        gain = (float)(wanted / sqrt((double)rest));
    }
    size_t count = shape[0] * rest;
    uint64_t state = hash(name);
    float *numbers = memory_get_array(count, sizeof *numbers);
    for (size_t i = 0; i < count; i++) {
        float scaled = gain * uniform(state, i); /* rounded, then added, as numpy does */
        numbers[i] = offset + scaled;
    }
    return numbers;
}

/* ---- folders ---------------------------------------------------------------------------------------------------- */

static void put_tensors(const char *folder, const char *component, const json_t *tensors, bool old_keys) {
    bool text = strncmp(component, "text_encoder", 12) == 0;
    size_t count = 0;
    struct safetensors_entry *entries = memory_get_array(json_object_size(tensors), sizeof *entries);
    const char *key;
    json_t *shape;
    struct error error;
    json_object_foreach((json_t *)tensors, key, shape) {
        struct safetensors_entry *entry = &entries[count++];
        bool prefix = text && old_keys && strncmp(key, "text_", 5) != 0;
        char *name = text_format("%s.%s", component, key);
        entry->name = text_format("%s%s", prefix ? "text_model." : "", key);
        entry->dtype = DTYPE_F32;
        entry->dims = (uint32_t)json_array_size(shape);
        for (uint32_t i = 0; i < entry->dims; i++) {
            entry->shape[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
        }
        entry->data = numbers_of(name, entry->shape, entry->dims);
        free(name);
    }
    char *path = text_format("%s/%s/%smodel.safetensors", folder, component, text ? "" : "diffusion_pytorch_");
    ok(safetensors_write(path, entries, count, &error), &error);
    for (size_t i = 0; i < count; i++) {
        free((char *)entries[i].name);
        free((void *)entries[i].data);
    }
    free(entries);
    free(path);
}

void random_model_write(const char *folder, const char *name, bool old_keys) {
    struct error error;
    json_t *description = NULL, *value;
    const char *key;
    char *path = text_format("%s/tests/golden/models/%s.json", SOURCE_DIR, name);
    ok(json_read_file(&description, path, 1 << 20, &error), &error);
    json_object_foreach(json_object_get(description, "files"), key, value) {
        put_json(folder, key, value);
        if (ends(key, "tokenizer_config.json")) {
            char *tokenizer = text_copy(key);
            *strrchr(tokenizer, '/') = '\0';
            put_words(folder, tokenizer);
            free(tokenizer);
        }
    }
    json_object_foreach(json_object_get(description, "tensors"), key, value) {
        put_tensors(folder, key, value, old_keys);
    }
    json_decref(description);
    free(path);
}
