/* render.c - one batch end to end: specs in, PNG objects out. */
#include "worker/render.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "picture/picture.h"

_Static_assert((int)PREVIEW_SIDE <= (int)LIMIT_PREVIEW_SIDE, "a preview must fit into its message");
_Static_assert((int)RENDER_RULES == (int)RENDER_RULES_FP32, "a job's key must name the rules its pixels were drawn by");

static struct render_job job_of(const struct spec *spec) {
    return (struct render_job){
        .prompt = spec->prompt,
        .negative = spec->negative,
        .seed = spec->seed,
        .width = spec->width,
        .height = spec->height,
        .steps = spec->steps,
        .cfg = decimal_value(spec->cfg),
        .cfg_rescale = decimal_value(spec->cfg_rescale),
        .sampler = sampler_name(spec->sampler),
        .schedule = schedule_name(spec->schedule),
        .prediction = spec->prediction == PREDICTS_MODEL ? NULL : predicts_name(spec->prediction),
        .clip_skip = spec->clip_skip,
        .vae_tiling = spec->vae_tiling,
        .strength = decimal_value(spec->strength),
        .refiner_switch = decimal_value(spec->refiner_switch),
        .philox = spec->rng == RNG_NV,
    };
}

/* ---- models --------------------------------------------------------------------------------------------------------- */

static enum err find_place(const char **path, const struct file_places *places, const struct digest *digest, enum field field,
                           struct error *error) {
    char hex[DIGEST_HEX_SIZE];
    *path = file_places_find(places, digest);
    if (*path)
        return ERR_OK;
    digest_hex(digest, hex);
    return error_set(error, ERR_NOT_FOUND, "%s: its file (object %s) is not here", catalog_field(field)->name, hex);
}

/* What spec_model_load reads, as the pipeline wants it; paths and words are borrowed. */
struct wanted_model {
    struct lora_use loras[LIMIT_LORAS];
    struct embedding_use embeddings[LIMIT_EMBEDDINGS];
    struct model_lora lora_files[LIMIT_LORAS];
    struct model_embedding embedding_files[LIMIT_EMBEDDINGS];
    struct model_files files;
};

static enum err wanted_find(struct wanted_model *wanted, const struct spec *spec, const struct file_places *places,
                            struct error *error) {
    *wanted = (struct wanted_model){ .files = { .loras = wanted->lora_files, .embeddings = wanted->embedding_files } };
    struct model_files *files = &wanted->files;
    files->lora_count = spec_loras(wanted->loras, spec);
    files->embedding_count = spec_embeddings(wanted->embeddings, spec);
    enum err err = find_place(&files->model, places, &spec->model, FIELD_MODEL, error);
    if (!err && !digest_is_zero(&spec->vae))
        err = find_place(&files->vae, places, &spec->vae, FIELD_VAE, error);
    for (size_t i = 0; i < files->lora_count && !err; i++) {
        wanted->lora_files[i].weight = decimal_value(wanted->loras[i].weight);
        err = find_place(&wanted->lora_files[i].path, places, &wanted->loras[i].file, FIELD_LORA, error);
    }
    for (size_t i = 0; i < files->embedding_count && !err; i++) {
        wanted->embedding_files[i].word = wanted->embeddings[i].word;
        err = find_place(&wanted->embedding_files[i].path, places, &wanted->embeddings[i].file, FIELD_EMBEDDING, error);
    }
    return err;
}

enum err spec_model_load(struct model **model, struct device *device, const struct spec *spec, const struct file_places *places,
                         struct error *error) {
    struct wanted_model wanted;
    enum err err = wanted_find(&wanted, spec, places, error);
    return err ? err : model_load_files(model, device, &wanted.files, error);
}

/* A refiner is drawn with as it lies there: VAE, LoRAs and embeddings are the first model's. */
static enum err refiner_find(struct model_files *files, const struct spec *spec, const struct file_places *places,
                             struct error *error) {
    *files = (struct model_files){ 0 };
    return find_place(&files->model, places, &spec->refiner, FIELD_REFINER, error);
}

enum err spec_memory_check(struct memory_need *need, struct device *device, const struct spec *spec,
                           const struct file_places *places, size_t batch, uint64_t budget_bytes, struct error *error) {
    struct wanted_model wanted;
    struct model_files refiner;
    bool refined = !digest_is_zero(&spec->refiner);
    struct render_size size = { .width = spec->width, .height = spec->height, .batch = (uint32_t)batch,
                                .guided = spec_is_guided(spec), .started = !digest_is_zero(&spec->init),
                                .vae_tiling = spec->vae_tiling };
    enum err err = wanted_find(&wanted, spec, places, error);
    if (!err && refined)
        err = refiner_find(&refiner, spec, places, error);
    return err ? err : model_memory_check(need, device, &wanted.files, refined ? &refiner : NULL, &size, budget_bytes, error);
}

enum err spec_refiner_load(struct model **refiner, struct device *device, const struct spec *spec,
                           const struct file_places *places, struct error *error) {
    struct model_files files;
    if (digest_is_zero(&spec->refiner)) {
        *refiner = NULL;
        return ERR_OK;
    }
    enum err err = refiner_find(&files, spec, places, error);
    if (!err && (err = model_load_files(refiner, device, &files, error)) != ERR_OK)
        error_prefix(error, "refiner");
    return err;
}

enum err spec_model_check(const struct spec *spec, const struct file_places *places, struct error *error) {
    struct wanted_model wanted;
    enum err err = wanted_find(&wanted, spec, places, error);
    if (!err)
        err = model_check_files(&wanted.files, error);
    if (!err && !digest_is_zero(&spec->refiner)) {
        err = refiner_find(&wanted.files, spec, places, error);
        if (!err && (err = model_check_files(&wanted.files, error)) != ERR_OK)
            error_prefix(error, "refiner");
    }
    return err;
}

/* ---- pictures ------------------------------------------------------------------------------------------------------- */

/* Pictures that a batch's jobs start from, each read once. */
struct start_pictures {
    struct start_picture {
        struct digest digest;
        struct picture picture;
    } *list; /* [count], room for two a job */
    size_t count;
};

static void start_pictures_release(struct start_pictures *starts) {
    for (size_t i = 0; i < starts->count; i++)
        picture_release(&starts->list[i].picture);
    free(starts->list);
}

static enum err start_size_check(const struct spec *spec, enum field field, uint32_t width, uint32_t height, struct error *error) {
    if (width == spec->width && height == spec->height)
        return ERR_OK;
    return error_set(error, ERR_INVALID, "%s: want a picture of the job's size %ux%u, the file's is %ux%u", catalog_field(field)->name,
                     spec->width, spec->height, width, height);
}

static const struct digest *start_digest(const struct spec *spec, enum field field) {
    return field == FIELD_INIT ? &spec->init : &spec->mask;
}

/* By the first bytes of its file. */
static enum err start_file_check(const struct spec *spec, enum field field, const struct file_places *places, struct error *error) {
    enum { HEADER_BYTES = 64 };
    const char *path = file_places_find(places, start_digest(spec, field));
    struct bytes start = BYTES_INIT;
    uint32_t width, height;
    if (!path)
        return ERR_OK;
    enum err err = file_read_start(&start, path, HEADER_BYTES, error);
    if (!err && (err = png_size(&width, &height, start.data, start.size, error)) != ERR_OK)
        error_prefix(error, "%s: %s", catalog_field(field)->name, path);
    bytes_release(&start);
    return err ? err : start_size_check(spec, field, width, height, error);
}

enum err spec_starts_check(const struct spec *spec, const struct file_places *places, struct error *error) {
    enum err err = start_file_check(spec, FIELD_INIT, places, error);
    return err ? err : start_file_check(spec, FIELD_MASK, places, error);
}

/* The pixels of an object, as large as the job's picture; NULL for no object. */
static enum err start_find(const uint8_t **rgb, struct start_pictures *starts, const struct spec *spec, enum field field,
                           const struct file_places *places, struct error *error) {
    const struct digest *digest = start_digest(spec, field);
    struct bytes data = BYTES_INIT;
    struct picture picture = { 0 };
    const char *path;
    size_t at = 0;
    *rgb = NULL;
    if (digest_is_zero(digest))
        return ERR_OK;
    while (at < starts->count && !digest_equal(&starts->list[at].digest, digest))
        at++;
    if (at == starts->count) {
        enum err err = find_place(&path, places, digest, field, error);
        if (!err)
            err = file_read(&data, path, LIMIT_PICTURE, error);
        if (!err)
            err = png_decode(&picture, data.data, data.size, error);
        bytes_release(&data);
        if (err)
            return err;
        starts->list[starts->count++] = (struct start_picture){ *digest, picture };
    }
    const struct picture *found = &starts->list[at].picture;
    *rgb = found->rgb;
    return start_size_check(spec, field, found->width, found->height, error);
}

static enum err starts_read(struct start_pictures *starts, struct render_job *jobs, const struct spec *const *specs,
                            size_t count, const struct file_places *places, struct error *error) {
    enum err err = ERR_OK;
    starts->list = memory_get_array(2 * count, sizeof *starts->list);
    for (size_t i = 0; i < count && !err; i++) {
        err = start_find(&jobs[i].init, starts, specs[i], FIELD_INIT, places, error);
        if (!err)
            err = start_find(&jobs[i].mask, starts, specs[i], FIELD_MASK, places, error);
    }
    return err;
}

/* ---- batches -------------------------------------------------------------------------------------------------------- */

/* Jobs drawn one after the other, watched as one batch: each step is a share of one, and there is one beginning and one end. */
struct solo_watch {
    const struct render_watch *watch; /* or NULL */
    uint32_t done, count;             /* jobs */
};

static bool solo_progress(void *context, enum render_phase phase, uint32_t step, uint32_t steps) {
    const struct solo_watch *solo = context;
    uint32_t at = (solo->done * steps + (phase == RENDER_DECODE ? steps : step)) / solo->count;
    bool edge = phase == RENDER_TEXT ? solo->done == 0 : solo->done + 1 == solo->count;
    return !solo->watch || solo->watch->progress(solo->watch->context, edge ? phase : RENDER_STEP, at, steps);
}

/* Of the job that is being drawn. */
static uint32_t solo_wants(void *context) {
    const struct solo_watch *solo = context;
    const struct render_viewer *viewer = solo->watch->viewer;
    return viewer->wants(viewer->context) == solo->done ? 0 : PREVIEW_NONE;
}

static void solo_take(void *context, const struct render_preview *preview) {
    const struct solo_watch *solo = context;
    const struct render_viewer *viewer = solo->watch->viewer;
    struct render_preview placed = *preview;
    placed.place = solo->done;
    viewer->take(viewer->context, &placed);
}

/* Deterministic jobs where mates would show: each is a batch of its own, and all of them cost what they cost alone. */
static enum err render_alone(struct renderer *renderer, const struct render_job *jobs, size_t count,
                             const struct render_watch *watch, struct render_output *outputs, struct error *error) {
    struct solo_watch solo = { .watch = watch, .count = (uint32_t)count };
    const struct render_viewer viewer = { solo_wants, solo_take, &solo };
    const struct render_watch each = { solo_progress, &solo, watch && watch->viewer ? &viewer : NULL };
    enum err err = ERR_OK;
    for (size_t i = 0; i < count && !err; i++, solo.done++)
        err = renderer_render(renderer, &jobs[i], 1, &each, NULL, &outputs[i], error);
    return err;
}

enum err render_draw(struct rendered *out, struct renderer *renderer, const char *device_class,
                     const struct spec *const *specs, size_t count, const struct file_places *places,
                     const struct render_watch *watch, const char *trace, struct error *error) {
    uint64_t begin_ms = clock_monotonic_ms();
    struct render_job *jobs = memory_get_array(count, sizeof *jobs);
    struct render_output *outputs = memory_get_array(count, sizeof *outputs);
    for (size_t i = 0; i < count; i++)
        jobs[i] = job_of(specs[i]);
    struct start_pictures starts = { 0 };
    enum err err = starts_read(&starts, jobs, specs, count, places, error);
    bool alone = count > 1 && specs[0]->deterministic && !renderer_batch_invariant(renderer);
    if (!err)
        err = alone ? render_alone(renderer, jobs, count, watch, outputs, error)
                    : renderer_render(renderer, jobs, count, watch, trace, outputs, error);
    uint32_t share_ms = (uint32_t)((clock_monotonic_ms() - begin_ms) / count);
    for (size_t i = 0; i < count && !err; i++)
        out[i] = (struct rendered){ .error = outputs[i].error, .rgb = outputs[i].rgb, .width = outputs[i].width,
                                    .height = outputs[i].height, .device_class = device_class, .png = BYTES_INIT,
                                    .render_ms = share_ms };
    start_pictures_release(&starts);
    free(outputs);
    free(jobs);
    return err;
}

/* ---- PNG ------------------------------------------------------------------------------------------------------------ */

static enum err encode(struct bytes *png, const struct picture *picture, const struct spec *spec, const char *device_class,
                       struct error *error) {
    struct bytes canonical = BYTES_INIT;
    char cfg[32], cfg_rescale[32], strength[32], refiner_switch[32], model[DIGEST_HEX_SIZE], refiner[DIGEST_HEX_SIZE];
    spec_canonical(&canonical, spec);
    decimal_format(cfg, spec->cfg);
    decimal_format(cfg_rescale, spec->cfg_rescale);
    decimal_format(strength, spec->strength);
    decimal_format(refiner_switch, spec->refiner_switch);
    digest_hex(&spec->model, model);
    digest_hex(&spec->refiner, refiner);
    struct picture_job job = {
        .canonical = bytes_text(&canonical),
        .device_class = device_class,
        .prompt = spec->prompt,
        .negative = spec->negative,
        .sampler = sampler_name(spec->sampler),
        .schedule = schedule_name(spec->schedule),
        .cfg = cfg,
        .model_name_or_digest = model,
        .seed = spec->seed,
        .steps = spec->steps,
        .width = spec->width,
        .height = spec->height,
        .clip_skip = spec->clip_skip,
        .strength = digest_is_zero(&spec->init) ? NULL : strength,
        .cfg_rescale = spec->cfg_rescale.units == 0 ? NULL : cfg_rescale,
        .refiner = digest_is_zero(&spec->refiner) ? NULL : refiner,
        .refiner_switch = refiner_switch,
    };
    enum err err = png_encode_job(png, picture, &job, error);
    bytes_release(&canonical);
    return err;
}

void render_finish(struct rendered *rendered, const struct spec *spec) {
    struct picture picture = { rendered->width, rendered->height, rendered->rgb };
    struct bytes png = BYTES_INIT;
    if (rendered->error.code)
        return;
    if (encode(&png, &picture, spec, rendered->device_class, &rendered->error) == ERR_OK) {
        rendered->picture = digest_of(png.data, png.size);
        rendered->pixels = picture_pixel_digest(&picture);
        rendered->png = bytes_take(&png);
    }
    bytes_release(&png);
    picture_release(&picture);
    rendered->rgb = NULL;
}

