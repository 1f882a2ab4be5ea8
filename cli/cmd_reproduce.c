/* cmd_reproduce.c - `seedfarm reproduce`: draw a picture's job again and compare the pixels. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/studio.h"
#include "picture/picture.h"
#include "proto/file_names.h"
#include "proto/model.h"

enum { FILE_LIMIT = 256 << 20 };

struct comparison {
    bool identical;
    uint64_t different; /* pixels */
    uint32_t largest;   /* levels */
};

struct original {
    struct picture picture;
    struct spec spec;
    char *device_class; /* owned; "" where the file does not say */
};

static void original_release(struct original *original) {
    picture_release(&original->picture);
    spec_release(&original->spec);
    free(original->device_class);
}

static enum err read_texts(struct original *original, const struct bytes *png, const char *path, struct error *error) {
    struct picture_text *texts;
    size_t count;
    bool found = false;
    enum err err = png_texts(&texts, &count, png->data, png->size, error);
    if (err)
        return error_prefix(error, "%s", path);
    for (size_t i = 0; i < count && !err; i++) {
        if (!strcmp(texts[i].key, "seedfarm")) {
            found = true;
            spec_release(&original->spec);
            err = spec_parse(&original->spec, texts[i].text, strlen(texts[i].text), error);
            if (err)
                error_prefix(error, "%s: its \"seedfarm\" chunk", path);
        } else if (!strcmp(texts[i].key, "seedfarm-device")) {
            free(original->device_class);
            original->device_class = text_copy(texts[i].text);
        }
    }
    if (!err && !found)
        err = error_set(error, ERR_INVALID, "%s: no \"seedfarm\" chunk: not a picture of this program", path);
    png_texts_release(texts, count);
    return err;
}

static enum err original_read(struct original *original, const char *path, struct error *error) {
    struct bytes png = BYTES_INIT;
    *original = (struct original){ .device_class = text_copy("") };
    enum err err = file_read(&png, path, FILE_LIMIT, error);
    if (!err && (err = png_decode(&original->picture, png.data, png.size, error)))
        error_prefix(error, "%s", path);
    if (!err)
        err = read_texts(original, &png, path, error);
    bytes_release(&png);
    if (err)
        original_release(original);
    return err;
}

static void compare(struct comparison *comparison, const struct picture *a, const struct picture *b) {
    *comparison = (struct comparison){ .identical = a->width == b->width && a->height == b->height };
    if (!comparison->identical)
        return;
    for (size_t i = 0; i < (size_t)a->width * a->height; i++) {
        uint32_t most = 0;
        for (int c = 0; c < 3; c++) {
            uint32_t distance = (uint32_t)abs(a->rgb[3 * i + c] - b->rgb[3 * i + c]);
            most = distance > most ? distance : most;
        }
        comparison->different += most > 0;
        comparison->largest = most > comparison->largest ? most : comparison->largest;
    }
    comparison->identical = comparison->different == 0;
}

static enum err print(const struct comparison *c, const char *path, const char *then, const char *now, bool json,
                      struct error *error) {
    if (json)
        return output_json(json_pack("{s:s, s:b, s:I, s:I, s:s, s:s}", "file", path, "identical", c->identical,
                                     "different_pixels", (json_int_t)c->different, "largest_difference",
                                     (json_int_t)c->largest, "drawn_on", then, "device", now),
                           error);
    if (c->identical)
        printf("%s: identical pixels (drawn on %s, again on %s)\n", path, output_safe(then), now);
    else
        printf("%s: %llu pixels differ, by %u levels at most (drawn on %s, again on %s%s)\n", path,
               (unsigned long long)c->different, c->largest, output_safe(then), now,
               strcmp(then, now) ? ": another class of device, where small differences are expected" : "");
    return output_flush(error);
}

static enum err draw_again(struct comparison *comparison, const char **now, const struct original *original,
                           const struct file_places *places, const char *device, uint32_t threads, struct error *error) {
    struct studio studio;
    struct rendered rendered = { 0 };
    struct picture picture = { 0 };
    enum err err = studio_open(&studio, device, threads, &original->spec, places, error);
    if (err)
        return err;
    if (!(err = studio_render(&rendered, &studio, &original->spec, places, NULL, NULL, error))) {
        if (!(err = png_decode(&picture, rendered.png.data, rendered.png.size, error)))
            compare(comparison, &original->picture, &picture);
        rendered_release(&rendered);
    }
    static char class_name[64];
    snprintf(class_name, sizeof class_name, "%s", device_class(studio.device));
    *now = class_name;
    picture_release(&picture);
    studio_close(&studio);
    return err;
}

/* The folder of the model the picture names: the one that is given, which must be it, else the one known by that digest. */
static enum err find_model(char **path, const char *given, const struct digest *want, struct error *error) {
    struct digest have;
    char want_hex[DIGEST_HEX_SIZE];
    digest_hex(want, want_hex);
    enum err err = model_find(path, given ? given : want_hex, NULL, error);
    if (err || !given)
        return err;
    err = model_digest_read(&have, *path, error);
    if (!err && !digest_equal(&have, want)) {
        char have_hex[DIGEST_HEX_SIZE];
        digest_hex(&have, have_hex);
        err = error_set(error, ERR_INVALID, "--model %s: the picture was drawn by model %.16s..., this is %.16s...", given, want_hex,
                        have_hex);
    }
    if (err)
        free(*path);
    return err;
}

/* The file of this digest among those of `folder`, or `folder` itself if it is that file; owned, or NULL. */
static char *file_in(const char *folder, const struct digest *digest) {
    char *found = NULL;
    struct digest have;
    if (file_exists(folder) && !folder_exists(folder))
        return file_digest(&have, folder, NULL) == ERR_OK && digest_equal(&have, digest) ? text_copy(folder) : NULL;
    DIR *listing = opendir(folder);
    for (struct dirent *entry = listing ? readdir(listing) : NULL; entry && !found; entry = readdir(listing)) {
        char *path = path_join(folder, entry->d_name);
        if (!folder_exists(path))
            found = file_in(path, digest);
        free(path);
    }
    if (listing)
        closedir(listing);
    return found;
}

/* Every file that the job names: in the folders (or files) given, colon-separated, else where models are known. */
static enum err find_files(struct file_places *places, const char *given, const struct spec *spec, struct error *error) {
    struct digest files[SPEC_FILES_LIMIT];
    size_t count = spec_files(files, spec);
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && !err; i++) {
        char *list = text_copy(given ? given : ""), *rest = NULL, *path = NULL, hex[DIGEST_HEX_SIZE];
        for (char *folder = strtok_r(list, ":", &rest); folder && !path; folder = strtok_r(NULL, ":", &rest))
            path = file_in(folder, &files[i]);
        digest_hex(&files[i], hex);
        if (!path && file_find(&path, FIELD_LORA, hex, NULL, NULL) != ERR_OK)
            err = error_set(error, ERR_NOT_FOUND, "the picture's job names a file of sha256 %s, which is in no folder known: say where"
                            " it lies with --files", hex);
        if (path)
            file_places_add(places, &files[i], path);
        free(list);
    }
    return err;
}

static enum err reproduce(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    const char *model = NULL, *files = NULL, *device = "cpu";
    uint32_t threads = 0;
    bool json = false;
    const struct flag table[] = {
        { "model", 'm', "PATH", "the model's folder, where it is not among those known (SEEDFARM_MODELS)", &model, NULL, NULL },
        { "files", 'f', "PATH[:PATH]", "the files that the job names (init, lora, ...), or folders they lie in", &files, NULL, NULL },
        { "device", 'd', "D", "cpu (default) or reference", &device, NULL, NULL },
        { "threads", 't', "N", "threads (0: one a core)", NULL, &threads, NULL },
        { "json", 0, NULL, "the comparison as JSON", NULL, NULL, &json },
    };
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    struct original original;
    struct comparison comparison = { 0 };
    const char *now = "";
    char *folder = NULL;
    struct file_places places = { 0 };
    size_t count;
    bool help;
    enum err err = arguments_parse(&help, words, &count, 1, 1, table, sizeof table / sizeof *table, argc, argv, self, error);
    if (err || help)
        return err;
    if ((err = original_read(&original, words[0], error)))
        return err;
    if (!(err = find_model(&folder, model, &original.spec.model, error))) {
        file_places_add(&places, &original.spec.model, folder);
        const struct digest *refiner = &original.spec.refiner;
        if (!digest_is_zero(refiner) && !file_places_find(&places, refiner) && !(err = find_model(&folder, NULL, refiner, error)))
            file_places_add(&places, refiner, folder);
    }
    if (!err) {
        err = find_files(&places, files, &original.spec, error);
    }
    if (!err)
        err = draw_again(&comparison, &now, &original, &places, device, threads, error);
    file_places_release(&places);
    if (!err)
        err = print(&comparison, words[0], *original.device_class ? original.device_class : "an unnamed device", now, json,
                    error);
    *status = comparison.identical ? 0 : 1;
    original_release(&original);
    return err;
}

const struct command command_reproduce = {
    "reproduce", "FILE.png", "draw a picture's job again and compare the pixels: exit 0 if they are identical, 1 if not",
    "  seedfarm reproduce frog.png\n", reproduce
};
