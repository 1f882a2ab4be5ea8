/*
 * lora.c - the keys of LoRA files, their places in a model, and their sums.
 *
 * A module's name is kept with '_' in the place of every '.' and without "text_model_": kohya writes it so, and the other
 * forms' names are made so. That is how a part finds its weight.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/json.h"
#include "pipeline/weights/component_parts.h"
#include "pipeline/weights/layout.h"

enum target { TARGET_UNET, TARGET_TEXT, TARGET_TEXT_2 };
enum role { ROLE_DOWN, ROLE_UP, ROLE_ALPHA };

struct lora_part {
    enum target target;
    char *module;      /* owned; as in the file's head */
    const char *key;   /* one of its keys, borrowed */
    struct weight_view views[3]; /* by role; dims and data 0: not there */
    bool has[3];
    float scale;       /* weight * alpha / rank */
    bool used;
    struct lora_part *next; /* of the same weight */
};

struct lora_file {
    struct safetensors *file;
    const char *path;  /* borrowed */
    struct lora_part *parts;
    size_t count;
};

struct loras {
    struct lora_file *files;
    size_t count;
};

/* ---- keys ----------------------------------------------------------------------------------------------------------- */

static const struct { const char *tail; enum role role; } TAILS[] = {
    { ".lora_linear_layer.down.weight", ROLE_DOWN }, { ".lora_linear_layer.up.weight", ROLE_UP },
    { ".lora_A.default.weight", ROLE_DOWN },         { ".lora_B.default.weight", ROLE_UP },
    { ".lora_down.weight", ROLE_DOWN },              { ".lora_up.weight", ROLE_UP },
    { ".lora.down.weight", ROLE_DOWN },              { ".lora.up.weight", ROLE_UP },
    { "_lora.down.weight", ROLE_DOWN },              { "_lora.up.weight", ROLE_UP },
    { ".lora_A.weight", ROLE_DOWN },                 { ".lora_B.weight", ROLE_UP },
    { ".alpha", ROLE_ALPHA },
};

/* What other kinds of differences are called; a key that has one of these in it is refused by that name. */
static const struct { const char *part, *what; } REFUSED[] = {
    { "dora_scale", "DoRA" },            { "lora_magnitude_vector", "DoRA" }, { ".hada_", "LoHa" },
    { ".lokr_", "LoKr" },                { ".lora_mid.", "a Tucker decomposition (lora_mid)" },
    { ".oft_", "OFT" },                  { ".boft_", "BOFT" },                { ".b1.bias", "GLoRA" },
    { ".diff_b", "full differences" },   { ".w_norm", "norm differences" },   { "on_input", "IA3" },
    { "lora_embedding_", "LoRA of embedding tables" },
};

static const struct { const char *head; enum target target; } HEADS[] = {
    { "lora_unet_", TARGET_UNET },       { "lora_te1_", TARGET_TEXT },          { "lora_te2_", TARGET_TEXT_2 },
    { "lora_te_", TARGET_TEXT },         { "text_encoder_2.", TARGET_TEXT_2 },  { "text_encoder.", TARGET_TEXT },
    { "base_model.model.unet.", TARGET_UNET }, { "base_model.model.text_model.", TARGET_TEXT },
    { "base_model.model.", TARGET_UNET },      { "unet.", TARGET_UNET },
};

/* `text` loses the first `part` that it holds, if any. */
static void cut(char *text, const char *part) {
    char *at = strstr(text, part);
    if (at)
        memmove(at, at + strlen(part), strlen(at + strlen(part)) + 1);
}

static bool ends(const char *text, const char *tail) {
    size_t size = strlen(text), length = strlen(tail);
    return size >= length && strcmp(text + size - length, tail) == 0;
}

/* The module's one name (see the file's head), owned. */
static char *module_name(enum target target, const char *name, size_t size) {
    char *module = text_copy_size(name, size);
    cut(module, ".processor");
    for (char *c = module; *c; c++)
        *c = *c == '.' ? '_' : *c;
    if (target != TARGET_UNET && strncmp(module, "text_model_", 11) == 0)
        cut(module, "text_model_");
    if (ends(module, "_to_out")) { /* an attention processor's; the layer is the first of two */
        char *longer = text_format("%s_0", module);
        free(module);
        module = longer;
    }
    return module;
}

/* Which weight's and which of its tensors a key is; false: no LoRA's. */
static bool read_key(enum target *target, enum role *role, char **module, const char *key) {
    size_t head = 0, size = strlen(key);
    *target = TARGET_UNET; /* where nothing stands before the module, as older trainers wrote it */
    for (size_t i = 0; i < sizeof HEADS / sizeof *HEADS && head == 0; i++)
        if (strncmp(key, HEADS[i].head, strlen(HEADS[i].head)) == 0) {
            head = strlen(HEADS[i].head);
            *target = HEADS[i].target;
        }
    for (size_t i = 0; i < sizeof TAILS / sizeof *TAILS; i++)
        if (size - head > strlen(TAILS[i].tail) && ends(key, TAILS[i].tail)) {
            *role = TAILS[i].role;
            *module = module_name(*target, key + head, size - head - strlen(TAILS[i].tail));
            return true;
        }
    return false;
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

/* Keys are sorted, so those of one module are neighbours. */
static struct lora_part *part_of(struct lora_file *file, enum target target, char *module, const char *key) {
    struct lora_part *last = file->count ? &file->parts[file->count - 1] : NULL;
    if (last && last->target == target && strcmp(last->module, module) == 0) {
        free(module);
        return last;
    }
    file->parts[file->count] = (struct lora_part){ .target = target, .module = module, .key = key };
    return &file->parts[file->count++];
}

static enum err read_keys(struct lora_file *file, struct error *error) {
    size_t count = safetensors_count(file->file);
    if (count > LORA_FILE_PARTS_LIMIT)
        return error_set(error, ERR_LIMIT, "lora %s: want at most %d tensors, file has %zu", file->path, LORA_FILE_PARTS_LIMIT,
                         count);
    if (count == 0)
        return error_set(error, ERR_INVALID, "lora %s: want a LoRA, file has no tensor", file->path);
    file->parts = memory_get_array(count, sizeof *file->parts);
    for (size_t i = 0; i < count; i++) {
        const char *key = safetensors_name(file->file, i);
        enum target target;
        enum role role;
        char *module;
        for (size_t r = 0; r < sizeof REFUSED / sizeof *REFUSED; r++)
            if (strstr(key, REFUSED[r].part) || (ends(key, ".diff") && strcmp(REFUSED[r].part, ".diff_b") == 0))
                return error_set(error, ERR_UNSUPPORTED, "lora %s: %s: this is %s, which this version does not draw with", file->path,
                                 key, REFUSED[r].what);
        if (!read_key(&target, &role, &module, key))
            return error_set(error, ERR_INVALID, "lora %s: %s: want keys of a LoRA (lora_down and lora_up, lora.down and lora.up,"
                             " lora_A and lora_B), this is none", file->path, key);
        struct lora_part *part = part_of(file, target, module, key);
        enum err err = part->has[role] ? error_set(error, ERR_CORRUPT, "lora %s: %s: want it once, %s says the same", file->path, key,
                                                   part->key)
                                       : safetensors_find(&part->views[role], file->file, key, error);
        if (err != ERR_OK)
            return err;
        part->has[role] = true;
    }
    return ERR_OK;
}

/* What PEFT keeps beside the tensors; NULL: nothing. */
static enum err read_metadata(json_t **metadata, const struct lora_file *file, struct error *error) {
    const char *text = safetensors_metadata(file->file, "lora_adapter_metadata");
    *metadata = NULL;
    if (!text)
        return ERR_OK;
    enum err err = json_parse(metadata, text, strlen(text), "lora_adapter_metadata", error);
    if (err != ERR_OK)
        return error ? error_prefix(error, "lora %s", file->path) : err;
    static const char *const TARGETS[] = { "unet", "text_encoder", "text_encoder_2" };
    static const struct { const char *field, *what; } FLAGS[] = { { "use_dora", "DoRA" }, { "use_rslora", "rank-stabilised LoRA" } };
    for (size_t t = 0; t < 3; t++)
        for (size_t f = 0; f < 2; f++) {
            char key[64];
            snprintf(key, sizeof key, "%s.%s", TARGETS[t], FLAGS[f].field);
            if (json_is_true(json_object_get(*metadata, key)))
                return error_set(error, ERR_UNSUPPORTED, "lora %s: %s: this is %s, which this version does not draw with", file->path,
                                 key, FLAGS[f].what);
        }
    return ERR_OK;
}

/* alpha of a part without a tensor of its own: what the metadata says of it or of all; else its rank. */
static double metadata_alpha(const json_t *metadata, const struct lora_part *part, double rank) {
    static const char *const TARGETS[] = { "unet", "text_encoder", "text_encoder_2" };
    char key[64];
    const char *pattern;
    json_t *value;
    snprintf(key, sizeof key, "%s.alpha_pattern", TARGETS[part->target]);
    json_object_foreach(json_object_get(metadata, key), pattern, value) {
        char *module = module_name(part->target, pattern, strlen(pattern));
        size_t size = strlen(part->module), tail = strlen(module);
        bool fits = ends(part->module, module) && (size == tail || part->module[size - tail - 1] == '_');
        free(module);
        if (fits)
            return json_number_value(value);
    }
    snprintf(key, sizeof key, "%s.lora_alpha", TARGETS[part->target]);
    value = json_object_get(metadata, key);
    return json_is_number(value) ? json_number_value(value) : rank;
}

static size_t elements(const struct weight_view *view) {
    size_t count = 1;
    for (uint32_t i = 0; i < view->dims; i++)
        count *= view->shape[i];
    return count;
}

static enum err finish_parts(struct lora_file *file, double weight, struct error *error) {
    json_t *metadata;
    enum err err = read_metadata(&metadata, file, error);
    for (size_t i = 0; i < file->count && err == ERR_OK; i++) {
        struct lora_part *part = &file->parts[i];
        const struct weight_view *down = &part->views[ROLE_DOWN], *up = &part->views[ROLE_UP], *alpha = &part->views[ROLE_ALPHA];
        if (!part->has[ROLE_DOWN] || !part->has[ROLE_UP]) {
            err = error_set(error, ERR_CORRUPT, "lora %s: %s: want its down and its up, file has no %s", file->path, part->key,
                            part->has[ROLE_DOWN] ? "up" : "down");
            break;
        }
        if (down->dims < 2 || up->dims < 2 || down->shape[0] < 1 || elements(up) != up->shape[0] * down->shape[0]) {
            err = error_set(error, ERR_CORRUPT, "lora %s: %s: want [rank, in] and [out, rank], file has ranks %llu and %llu", file->path,
                            part->key, (unsigned long long)(down->dims ? down->shape[0] : 0),
                            (unsigned long long)(up->dims > 1 ? up->shape[1] : 0));
            break;
        }
        float own = 0.0f;
        double rank = (double)down->shape[0];
        if (part->has[ROLE_ALPHA] && elements(alpha) == 1)
            floats_widen(&own, alpha->data, alpha->dtype, 1);
        double scale = (part->has[ROLE_ALPHA] ? (double)own : metadata_alpha(metadata, part, rank)) / rank;
        if (part->has[ROLE_ALPHA] && (elements(alpha) != 1 || !isfinite(own)))
            err = error_set(error, ERR_CORRUPT, "lora %s: %s: want one finite number as its alpha, file has %zu numbers, %g", file->path,
                            part->key, elements(alpha), (double)own);
        part->scale = (float)(weight * scale);
    }
    json_decref(metadata);
    return err;
}

static enum err read_file(struct lora_file *file, double weight, struct error *error) {
    enum err err = read_keys(file, error);
    return err == ERR_OK ? finish_parts(file, weight, error) : err;
}

enum err loras_open(struct loras **out, const struct model_lora *files, size_t count, struct error *error) {
    struct loras *loras = memory_get(sizeof *loras);
    enum err err = ERR_OK;
    loras->files = memory_get_array(count, sizeof *loras->files);
    for (size_t i = 0; i < count && err == ERR_OK; i++) {
        struct lora_file *file = &loras->files[loras->count++];
        file->path = files[i].path;
        err = safetensors_open(&file->file, files[i].path, error);
        if (err == ERR_OK)
            err = read_file(file, files[i].weight, error);
    }
    if (err == ERR_OK)
        *out = loras;
    else
        loras_close(loras);
    return err;
}

enum err loras_open_memory(struct loras **out, const void *data, size_t size, const char *name, struct error *error) {
    struct loras *loras = memory_get(sizeof *loras);
    loras->files = memory_get_array(1, sizeof *loras->files);
    loras->count = 1;
    loras->files[0].path = name;
    enum err err = safetensors_open_memory(&loras->files[0].file, data, size, name, error);
    if (err == ERR_OK)
        err = read_file(&loras->files[0], 1.0, error);
    if (err == ERR_OK)
        *out = loras;
    else
        loras_close(loras);
    return err;
}

void loras_close(struct loras *loras) {
    if (!loras)
        return;
    for (size_t f = 0; f < loras->count; f++) {
        for (size_t i = 0; i < loras->files[f].count; i++)
            free(loras->files[f].parts[i].module);
        free(loras->files[f].parts);
        safetensors_close(loras->files[f].file);
    }
    free(loras->files);
    free(loras);
}

/* ---- places --------------------------------------------------------------------------------------------------------- */

/* A weight of the component by the name that its module has in LoRA files. */
struct place {
    char *module; /* owned */
    struct slot *slot;
};

static int compare_place(const void *a, const void *b) {
    return strcmp(((const struct place *)a)->module, ((const struct place *)b)->module);
}

static struct place *list_places(size_t *count, const struct component *component, enum target target) {
    struct place *places = memory_get_array(component->slot_count + 1, sizeof *places);
    *count = 0;
    for (size_t i = 0; i < component->slot_count; i++) {
        const char *name = component->slots[i].name;
        if (ends(name, ".weight"))
            places[(*count)++] = (struct place){ module_name(target, name, strlen(name) - strlen(".weight")), &component->slots[i] };
    }
    qsort(places, *count, sizeof *places, compare_place);
    return places;
}

/* The weight of a module, by diffusers' name for it or by LDM's. */
static struct slot *find_place(const struct place *places, size_t count, const struct lora_part *part, uint32_t layers) {
    char renamed[LAYOUT_NAME_LIMIT];
    struct place key = { .module = part->module };
    const struct place *found = bsearch(&key, places, count, sizeof key, compare_place);
    if (!found && part->target == TARGET_UNET && layout_unet_name(renamed, part->module, '_', layers)) {
        key.module = renamed;
        found = bsearch(&key, places, count, sizeof key, compare_place);
    }
    return found ? found->slot : NULL;
}

/* A weight [out, in, ...]: down [rank, in, ...], up [out, rank, ...]. */
static enum err attach(const struct lora_file *file, struct lora_part *part, struct component *component, struct slot *slot,
                       struct error *error) {
    struct weight_view view;
    const struct weight_view *down = &part->views[ROLE_DOWN], *up = &part->views[ROLE_UP];
    enum err err = slot_view(&view, component, slot, error);
    component_settle(component);
    if (err != ERR_OK)
        return err;
    size_t out = view.dims ? view.shape[0] : 0, in = out ? elements(&view) / out : 0;
    if (up->shape[0] != out || elements(down) != down->shape[0] * in)
        return error_set(error, ERR_INVALID, "lora %s: %s: want a difference of %zux%zu for %s.%s, file has %llux%llu (a LoRA for another"
                         " family of models?)", file->path, part->key, out, in, component->name, slot->name,
                         (unsigned long long)up->shape[0], (unsigned long long)(elements(down) / down->shape[0]));
    struct lora_part **last = &slot->parts;
    while (*last)
        last = &(*last)->next;
    *last = part;
    part->used = true;
    return ERR_OK;
}

enum err loras_attach(struct loras *loras, struct component *component, struct error *error) {
    enum target target = strcmp(component->name, "unet") == 0             ? TARGET_UNET
                         : strcmp(component->name, "text_encoder_2") == 0 ? TARGET_TEXT_2
                                                                          : TARGET_TEXT;
    const json_t *layers = json_object_get(component->config, "layers_per_block");
    size_t count;
    struct place *places = list_places(&count, component, target);
    enum err err = ERR_OK;
    for (size_t f = 0; f < loras->count; f++)
        for (size_t i = 0; i < loras->files[f].count && err == ERR_OK; i++) {
            struct lora_part *part = &loras->files[f].parts[i];
            struct slot *slot = part->target == target
                                    ? find_place(places, count, part, json_is_integer(layers) ? (uint32_t)json_integer_value(layers) : 2)
                                    : NULL;
            if (slot && part->used)
                err = error_set(error, ERR_CORRUPT, "lora %s: %s: want one place for it, there are two", loras->files[f].path, part->key);
            else if (slot)
                err = attach(&loras->files[f], part, component, slot, error);
        }
    for (size_t i = 0; i < count; i++)
        free(places[i].module);
    free(places);
    return err;
}

enum err loras_check_used(const struct loras *loras, struct error *error) {
    for (size_t f = 0; f < loras->count; f++) {
        const struct lora_file *file = &loras->files[f];
        struct bytes names = BYTES_INIT;
        size_t left = 0;
        for (size_t i = 0; i < file->count; i++)
            if (!file->parts[i].used && left++ < 3)
                bytes_add_format(&names, "%s%.200s", names.size ? ", " : "", file->parts[i].key);
        enum err err = left == 0 ? ERR_OK
                                 : error_set(error, ERR_INVALID, "lora %s: want a weight of the model for each of its %zu modules, %zu have"
                                             " none: %s%s (a LoRA for another family of models?)", file->path, file->count, left,
                                             bytes_text(&names), left > 3 ? ", ..." : "");
        bytes_release(&names);
        if (err != ERR_OK)
            return err;
    }
    return ERR_OK;
}

/* ---- sums ----------------------------------------------------------------------------------------------------------- */

const struct lora_part *lora_part_next(const struct lora_part *part) {
    return part->next;
}

void lora_part_merge(float *weights, const struct lora_part *part) {
    const struct weight_view *down = &part->views[ROLE_DOWN], *up = &part->views[ROLE_UP];
    size_t rank = down->shape[0], in = elements(down) / rank, out = up->shape[0];
    float *downs = memory_get_array(rank * in, sizeof *downs), *ups = memory_get_array(out * rank, sizeof *ups);
    floats_widen(downs, down->data, down->dtype, rank * in);
    floats_widen(ups, up->data, up->dtype, out * rank);
    for (size_t o = 0; o < out; o++)
        for (size_t r = 0; r < rank; r++) {
            float factor = part->scale * ups[o * rank + r];
            for (size_t i = 0; i < in; i++)
                weights[o * in + i] += factor * downs[r * in + i];
        }
    free(downs);
    free(ups);
}
