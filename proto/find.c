/*
 * find.c - where models and their files lie: from what a person writes to a path. See model.h, file_names.h.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "proto/file_names.h"
#include "proto/model.h"

enum { FOLDERS_LIMIT = 66 };

static void folders_release(char *folders[FOLDERS_LIMIT], size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(folders[i]);
}

/* The folders that hold models, in the order they are searched; owned. */
static size_t models_folders(char *folders[FOLDERS_LIMIT])
{
    size_t count = 0;
    const char *list = getenv("SEEDFARM_MODELS");
    while (list && *list && count < FOLDERS_LIMIT - 2) {
        size_t size = strcspn(list, ":");
        if (size)
            folders[count++] = text_copy_size(list, size);
        list += size + (list[size] == ':');
    }
    char program[4096];
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    if (size > 0) {
        program[size] = '\0';
        size_t bin = (size_t)(path_name(program) - program);
        program[bin ? bin - 1 : 0] = '\0';
        folders[count++] = text_format("%s/../../../models", program); /* build/release/bin of a checkout */
        folders[count++] = text_format("%s/../share/seedfarm/models", program);
    }
    return count;
}

static bool is_model(const char *path)
{
    char *index = path_join(path, "model_index.json");
    bool found = file_exists(index) || (file_exists(path) && !folder_exists(path));
    free(index);
    return found;
}

/* `folder`/`name` if it is a model, else NULL; owned. A single file counts: it is refused later, for what it is. */
static char *model_below(const char *folder, const char *name)
{
    char *path = folder && name[0] != '/' ? path_join(folder, name) : text_copy(name);
    if (is_model(path)) {
        char *real = realpath(path, NULL);
        free(path);
        return real;
    }
    free(path);
    return NULL;
}

/* What other programs call their folders of single files. */
static const char *const checkpoint_folders[] = {"checkpoints", "Stable-diffusion", NULL};

/* A model's folder or file of that name, with or without ".safetensors". */
static char *model_in(const char *folder, const char *name)
{
    char *longer = text_format("%s.safetensors", name), *found = model_below(folder, name);
    if (!found)
        found = model_below(folder, longer);
    for (const char *const *kind = checkpoint_folders; *kind && !found; kind++) {
        char *below = path_join(folder, *kind);
        found = model_below(below, name);
        if (!found)
            found = model_below(below, longer);
        free(below);
    }
    free(longer);
    return found;
}

void models_each(void (*each)(void *context, const char *path), void *context)
{
    char *folders[FOLDERS_LIMIT];
    size_t count = models_folders(folders);
    for (size_t i = 0; i < count; i++) {
        DIR *dir = opendir(folders[i]);
        struct dirent *entry;
        while (dir && (entry = readdir(dir))) {
            char *path = entry->d_name[0] == '.' ? NULL : model_below(folders[i], entry->d_name);
            if (path)
                each(context, path);
            free(path);
        }
        if (dir)
            closedir(dir);
    }
    folders_release(folders, count);
}

static char *model_of_digest(const struct digest *digest, char *const folders[], size_t count)
{
    char *found = NULL;
    for (size_t i = 0; i < count && !found; i++) {
        DIR *dir = opendir(folders[i]);
        struct dirent *entry;
        while (dir && !found && (entry = readdir(dir))) {
            char *path = entry->d_name[0] == '.' ? NULL : model_below(folders[i], entry->d_name);
            struct digest have;
            /* One that cannot be read is not the one that is looked for. */
            if (path && (folder_exists(path) || model_is_single_file(path)) && model_digest_read(&have, path, NULL) == ERR_OK &&
                digest_equal(&have, digest)) {
                found = path;
                path = NULL;
            }
            free(path);
        }
        if (dir)
            closedir(dir);
    }
    return found;
}

enum err model_find(char **folder, const char *text, const char *beside, struct error *error)
{
    char *folders[FOLDERS_LIMIT];
    size_t count = models_folders(folders);
    struct digest digest;
    char *found = NULL;
    enum err code = ERR_OK;

    if (*text == '\0') {
        code = error_set(error, ERR_INVALID, "model: want a folder or a name, have \"\"");
        goto done;
    }
    if (digest_parse(&digest, text)) {
        found = model_of_digest(&digest, folders, count);
        if (!found)
            code = error_set(error, ERR_NOT_FOUND, "model %.64s: no model of this digest in SEEDFARM_MODELS or beside the program", text);
        goto done;
    }
    found = model_below(beside, text);
    if (!found)
        found = model_below(NULL, text);
    for (size_t i = 0; i < count && !found && text[0] != '/'; i++)
        found = model_in(folders[i], text);
    if (!found && strchr(text, '/') && folder_exists(text))
        code = error_set(error, ERR_INVALID, "model %.300s: no model_index.json in it, so it is no diffusers folder", text);
    else if (!found)
        code = error_set(error, ERR_NOT_FOUND, "model \"%.300s\": no such folder beside %s or here, nor a model of that name in "
                         "SEEDFARM_MODELS or beside the program", text, beside ? beside : "the file");
done:
    folders_release(folders, count);
    if (code == ERR_OK)
        *folder = found;
    return code;
}

/* ---- files ---------------------------------------------------------------------------------------------------------- */

/* What other programs call the folder of a kind. */
static const char *const lora_folders[] = {"lora", "loras", "Lora", NULL};
static const char *const vae_folders[] = {"vae", "vaes", "VAE", NULL};
static const char *const embedding_folders[] = {"embedding", "embeddings", NULL};
static const char *const no_folders[] = {NULL};

static const char *const *kind_folders(enum field field)
{
    return field == FIELD_LORA ? lora_folders : field == FIELD_VAE ? vae_folders
         : field == FIELD_EMBEDDING ? embedding_folders : no_folders;
}

static bool is_picture(enum field field)
{
    return field == FIELD_INIT || field == FIELD_MASK;
}

static bool is_plain_file(const char *path)
{
    return file_exists(path) && !folder_exists(path);
}

/* `folder`/`name` (folder NULL: `name` itself), for weights also with ".safetensors" behind it; owned, or NULL. */
static char *file_below(const char *folder, const char *name, enum field field)
{
    char *path = folder && name[0] != '/' ? path_join(folder, name) : text_copy(name);
    if (!is_plain_file(path) && !is_picture(field)) {
        char *longer = text_format("%s.safetensors", path);
        free(path);
        path = longer;
    }
    if (is_plain_file(path))
        return path;
    free(path);
    return NULL;
}

/* In the folder itself, then in its folders for the kind. */
static char *file_in_models(const char *folder, const char *name, enum field field)
{
    char *found = file_below(folder, name, field);
    for (const char *const *kind = kind_folders(field); *kind && !found; kind++) {
        char *below = path_join(folder, *kind);
        found = file_below(below, name, field);
        free(below);
    }
    return found;
}

/* A safetensors file of this digest in `folder` or one folder below it; owned, or NULL. */
static char *file_of_digest(const struct digest *digest, const char *folder, int depth)
{
    char *found = NULL;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && !found && (entry = readdir(dir))) {
        size_t size = strlen(entry->d_name);
        char *path = entry->d_name[0] == '.' ? NULL : path_join(folder, entry->d_name);
        struct digest have;
        if (path && depth > 0 && folder_exists(path)) {
            found = file_of_digest(digest, path, depth - 1);
        } else if (path && size > 12 && strcmp(entry->d_name + size - 12, ".safetensors") == 0 && is_plain_file(path) &&
                   file_digest(&have, path, NULL) == ERR_OK && digest_equal(&have, digest)) {
            found = path;
            path = NULL;
        }
        free(path);
    }
    if (dir)
        closedir(dir);
    return found;
}

static enum err pickle_check(const char *path, enum field field, struct error *error)
{
    static const char *const endings[] = {".ckpt", ".pt", ".pth", ".bin"};
    size_t size = strlen(path);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        size_t tail = strlen(endings[i]);
        if (size > tail && strcasecmp(path + size - tail, endings[i]) == 0)
            return error_set(error, ERR_UNSUPPORTED, "%s: %.300s is a pickle, which can run any code when it is read and is refused; "
                             "convert it to safetensors", catalog_field(field)->name, path);
    }
    return ERR_OK;
}

enum err file_find(char **path, enum field field, const char *text, const char *beside, struct error *error)
{
    char *folders[FOLDERS_LIMIT], *found;
    size_t count = models_folders(folders);
    struct digest digest;
    bool named = !is_picture(field) && text[0] != '/';
    const char *name = catalog_field(field)->name;
    enum err code = ERR_OK;

    found = *text ? file_below(beside, text, field) : NULL;
    if (!found && *text)
        found = file_below(NULL, text, field);
    for (size_t i = 0; i < count && !found && *text && named; i++)
        found = file_in_models(folders[i], text, field);
    bool by_digest = !found && digest_parse(&digest, text);
    for (size_t i = 0; i < count && !found && by_digest; i++)
        found = file_of_digest(&digest, folders[i], 2);
    folders_release(folders, count);
    if (!found)
        code = error_set(error, ERR_NOT_FOUND, named ? "%s: \"%.300s\": no such file beside %s or here, nor of that name in "
                         "SEEDFARM_MODELS or beside the program" : "%s: \"%.300s\": no such file beside %s or here", name, text,
                         beside ? beside : "the command");
    else if (!is_picture(field))
        code = pickle_check(found, field, error);
    if (code == ERR_OK)
        *path = found;
    else
        free(found);
    return code;
}
