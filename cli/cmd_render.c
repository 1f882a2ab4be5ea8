/* cmd_render.c - `seedfarm render`: one picture, no farm. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/names.h"
#include "cli/output.h"
#include "cli/studio.h"
#include "cli/tiling.h"
#include "proto/model.h"
#include "proto/sweep.h"

struct render_flags {
    const char *fields[FIELD_COUNT]; /* texts as given, or NULL */
    const char *out, *trace, *preview, *device;
    uint32_t threads;
    bool json;
};

/* Every field of the catalog is a flag of the same name. Returns how many flags were put into the table. */
static size_t field_flags(struct flag *table, char names[FIELD_COUNT][32], struct render_flags *flags) {
    for (int i = 0; i < FIELD_COUNT; i++) {
        const struct field_info *info = catalog_field((enum field)i);
        snprintf(names[i], 32, "%s", info->name);
        for (char *c = names[i]; *c; c++)
            if (*c == '_')
                *c = '-';
        table[i] = (struct flag){ names[i], 0, "VALUE", info->help, &flags->fields[i], NULL, NULL };
    }
    return FIELD_COUNT;
}

/* One field from its flag; files are found, and where they are is kept. */
static enum err set_field(struct spec *spec, struct file_book *book, enum field field, const char *text, struct error *error) {
    struct bytes value = BYTES_INIT;
    enum err err = ERR_OK;
    if (field_is_file(field))
        err = file_value(&value, book, field, text, NULL, error);
    else
        bytes_add_text(&value, text);
    if (!err)
        err = spec_set(spec, field, bytes_text(&value), error);
    bytes_release(&value);
    return err;
}

static enum err set_refiner(struct spec *spec, struct file_places *places, const char *text, struct error *error) {
    struct model_facts facts;
    char *folder;
    enum err err = model_find(&folder, text, NULL, error);
    if (!err && (err = model_facts_read(&facts, folder, error)) != ERR_OK)
        free(folder);
    if (err) {
        error_prefix(error, "refiner");
        return err;
    }
    spec->refiner = facts.digest;
    if (file_places_find(places, &facts.digest))
        free(folder);
    else
        file_places_add(places, &facts.digest, folder);
    return ERR_OK;
}

/* *within: bytes, where the tiling is left to memory; else 0. */
static enum err set_fields(struct spec *spec, struct file_book *book, uint64_t *within, const struct render_flags *flags,
                           struct error *error) {
    const char *tiling = flags->fields[FIELD_VAE_TILING];
    enum err err = tiling ? vae_tiling_bound(within, tiling, error) : ERR_OK;
    for (int i = 0; i < FIELD_COUNT && !err; i++) {
        bool found_later = i == FIELD_VAE_TILING && *within;
        if (flags->fields[i] && catalog_field((enum field)i)->type != TYPE_MODEL && !found_later)
            err = set_field(spec, book, (enum field)i, flags->fields[i], error);
    }
    return err;
}

/* The checked job, and where its model and files lie (the caller's to release, also on failure). */
static enum err resolve(struct spec *spec, struct file_places *places, const struct render_flags *flags, struct error *error) {
    struct file_book book = { 0 };
    uint64_t within = 0;
    char *folder;
    struct model_facts facts;
    const char *model = flags->fields[FIELD_MODEL] ? flags->fields[FIELD_MODEL] : catalog_field(FIELD_MODEL)->fallback;
    enum err err = model_find(&folder, model, NULL, error);
    if (err)
        return err;
    if ((err = model_facts_read(&facts, folder, error)))
        goto done;
    spec->model = facts.digest;
    file_places_add(places, &facts.digest, folder);
    folder = NULL;
    if (flags->fields[FIELD_REFINER] && (err = set_refiner(spec, places, flags->fields[FIELD_REFINER], error)))
        goto done;
    if (!flags->fields[FIELD_SIZE]) {
        spec->width = facts.default_width;
        spec->height = facts.default_height;
    }
    if ((err = set_fields(spec, &book, &within, flags, error)))
        goto done;
    struct sweep alone = { .fixed = *spec }; /* a sweep of one: sizes are checked in one place */
    if ((err = sweep_check_model(&alone, &facts, error)))
        goto done;
    if (spec->numerics == NUMERICS_AUTO) /* nobody's configuration is asked: what every device computes with */
        spec->numerics = NUMERICS_FP32;
    err = spec_check(spec, error);
done:
    for (size_t i = 0; i < book.count; i++)
        file_places_add(places, &book.files[i].digest, text_copy(book.files[i].path));
    file_book_release(&book);
    free(folder);
    return err || !within ? err : tiling_find(&spec->vae_tiling, spec, places, within, error);
}

static enum err report(const struct spec *spec, const struct rendered *rendered, const char *path, bool json,
                       struct error *error) {
    if (!json) {
        char seed[24];
        snprintf(seed, sizeof seed, "%llu", (unsigned long long)spec->seed);
        printf("%s (seed %s, %u ms)\n", path, seed, rendered->render_ms);
        return output_flush(error);
    }
    char key_hex[DIGEST_HEX_SIZE], picture[DIGEST_HEX_SIZE], pixels[DIGEST_HEX_SIZE];
    struct bytes canonical = BYTES_INIT;
    struct digest key = spec_key(spec);
    spec_canonical(&canonical, spec);
    digest_hex(&key, key_hex);
    digest_hex(&rendered->picture, picture);
    digest_hex(&rendered->pixels, pixels);
    enum err err = output_json(json_pack("{s:s, s:s, s:s, s:s, s:s, s:I}", "file", path, "key", key_hex, "picture", picture,
                                         "pixel_digest", pixels, "spec", bytes_text(&canonical), "render_ms",
                                         (json_int_t)rendered->render_ms),
                               error);
    bytes_release(&canonical);
    return err;
}

/* Can a file be put there? Said before the work, not after it. */
static enum err check_place(const char *flag, const char *path, struct error *error) {
    char *folder = text_copy(path);
    char *slash = strrchr(folder, '/');
    enum err err = ERR_OK;
    if (slash)
        slash[slash == folder] = '\0'; /* "/x" lies in "/" */
    if (access(slash ? folder : ".", W_OK | X_OK) != 0) {
        err = error_errno(error, "%s %s: its folder cannot be written to", flag, path);
        err = error->code = ERR_INVALID;
    }
    free(folder);
    return err;
}

static enum err draw(const struct render_flags *flags, const struct spec *spec, const struct file_places *places,
                     struct error *error) {
    static const bool no_axis[FIELD_COUNT];
    struct studio studio = { 0 };
    struct rendered rendered = { 0 };
    struct bytes name = BYTES_INIT;
    struct digest key = spec_key(spec);
    name_picture(&name, spec, &key, no_axis);
    const char *path = flags->out ? flags->out : bytes_text(&name);
    enum err err = check_place("-o", path, error);
    if (!err && flags->trace)
        err = check_place("--trace", flags->trace, error);
    if (!err && flags->preview)
        err = check_place("--preview", flags->preview, error);
    if (!err)
        err = studio_open(&studio, flags->device, flags->threads, spec, places, error);
    if (err)
        goto done;
    if ((err = studio_render(&rendered, &studio, spec, places, flags->trace, flags->preview, error)))
        goto done;
    if (!(err = file_write(path, rendered.png.data, rendered.png.size, error)))
        err = report(spec, &rendered, path, flags->json, error);
    rendered_release(&rendered);
done:
    studio_close(&studio);
    bytes_release(&name);
    return err;
}

static enum err render(int argc, char **argv, const struct command *self, int *status, struct error *error) {
    struct render_flags flags = { .device = "cpu" };
    char names[FIELD_COUNT][32];
    struct flag table[FIELD_COUNT + 6];
    size_t n = field_flags(table, names, &flags);
    table[n++] = (struct flag){ "output", 'o', "FILE.png", "the picture's file (named by prompt, seed and key)", &flags.out, NULL, NULL };
    table[n++] = (struct flag){ "trace", 0, "FILE", "also every stage's tensors, as safetensors", &flags.trace, NULL, NULL };
    table[n++] = (struct flag){ "preview", 0, "FILE.png", "while it is drawn: how it looks by now, a pixel a latent", &flags.preview, NULL, NULL };
    table[n++] = (struct flag){ "device", 'd', "D", "cpu (default), reference or cuda:N", &flags.device, NULL, NULL };
    table[n++] = (struct flag){ "threads", 't', "N", "threads (0: one a core)", NULL, &flags.threads, NULL };
    table[n++] = (struct flag){ "json", 0, NULL, "what was drawn, as JSON", NULL, NULL, &flags.json };
    const char *words[ARGUMENTS_POSITIONALS_LIMIT];
    struct spec spec;
    struct file_places places = { 0 };
    size_t count;
    bool help;
    enum err err = arguments_parse(&help, words, &count, 0, 0, table, n, argc, argv, self, error);
    (void)status;
    if (err || help)
        return err;
    if (!flags.fields[FIELD_PROMPT])
        return error_set(error, ERR_INVALID, "render: want --prompt TEXT");
    spec_init(&spec);
    if (!(err = resolve(&spec, &places, &flags, error)))
        err = draw(&flags, &spec, &places, error);
    spec_release(&spec);
    file_places_release(&places);
    return err;
}

const struct command command_render = {
    "render", "", "draw one picture on this machine, without a farm",
    "  seedfarm render --prompt \"a van gogh painting of a frog\" --seed 7 -o frog.png\n"
    "  seedfarm render --prompt \"neon sign of a penguin\" --steps 30 --cfg 4.5 --sampler \"DPM++ 2M Karras\"\n"
    "  seedfarm render --prompt \"a watercolor castle\" --trace castle.safetensors\n",
    render
};
