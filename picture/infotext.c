/*
 * infotext.c - the farm's own texts in a PNG: AUTOMATIC1111's "parameters", the canonical job, the class of device.
 *
 * No "Version: ..." is written, though A1111 does: the bytes of a picture are a function of its job and class of device,
 * and an upgrade of seedfarm must not give the same job another digest.
 */
#include <inttypes.h>
#include <string.h>

#include "picture/picture.h"

enum { MODEL_HASH_LETTERS = 10 /* A1111's AutoV2 */ };

/* As A1111's quote(): json.dumps(text, ensure_ascii=False) where the text would break the list. */
static void add_quoted(struct bytes *out, const char *text) {
    if (!strpbrk(text, ",:\n")) {
        bytes_add_text(out, text);
        return;
    }
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    bytes_add_text(out, "\"");
    for (const char *p = text; *p; p++) {
        const char *escape = strchr(plain, *p);
        if (escape)
            bytes_add_format(out, "\\%c", letters[escape - plain]);
        else if ((uint8_t)*p < 0x20)
            bytes_add_format(out, "\\u%04x", (uint8_t)*p);
        else
            bytes_add(out, p, 1);
    }
    bytes_add_text(out, "\"");
}

static void add_pair(struct bytes *out, const char *key, const char *value) {
    if (!value || !*value)
        return;
    bytes_add_format(out, ", %s: ", key);
    add_quoted(out, value);
}

static void add_number(struct bytes *out, const char *key, uint64_t value) {
    bytes_add_format(out, ", %s: %" PRIu64, key, value);
}

/* A1111's labels for its ids; what it has no name for is shown as its own words, capitalised ("Trailing Karras"). */
static void add_schedule(struct bytes *out, const char *schedule) {
    static const struct {
        const char *id, *label;
    } special[] = { { "sgm_uniform", "SGM Uniform" }, { "kl_optimal", "KL Optimal" }, { "ddim", "DDIM" }, { "lcm", "LCM" } };
    struct bytes label = BYTES_INIT;
    bool begins = true;
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (strcmp(schedule, special[i].id) == 0)
            bytes_add_text(&label, special[i].label);
    for (const char *p = label.size ? "" : schedule; *p; p++) {
        char letter = *p == '_' || *p == '-' ? ' ' : *p;
        if (begins && letter >= 'a' && letter <= 'z')
            letter = (char)(letter - 'a' + 'A');
        bytes_add(&label, &letter, 1);
        begins = letter == ' ';
    }
    add_pair(out, "Schedule type", bytes_text(&label));
    bytes_release(&label);
}

static void add_model(struct bytes *out, const char *model) {
    struct digest digest;
    char hash[MODEL_HASH_LETTERS + 1] = "";
    if (!model)
        return;
    if (!digest_parse(&digest, model)) {
        add_pair(out, "Model", model);
        return;
    }
    memcpy(hash, model, MODEL_HASH_LETTERS);
    add_pair(out, "Model hash", hash);
}

void picture_parameters(struct bytes *out, const struct picture_job *job) {
    bytes_add_format(out, "%s\n", job->prompt);
    if (job->negative && *job->negative)
        bytes_add_format(out, "Negative prompt: %s\n", job->negative);
    bytes_add_format(out, "Steps: %" PRIu32, job->steps);
    add_pair(out, "Sampler", job->sampler);
    if (job->schedule)
        add_schedule(out, job->schedule);
    add_pair(out, "CFG scale", job->cfg);
    add_number(out, "Seed", job->seed);
    bytes_add_format(out, ", Size: %" PRIu32 "x%" PRIu32, job->width, job->height);
    add_model(out, job->model_name_or_digest);
    if (job->strength)
        add_pair(out, "Denoising strength", job->strength);
    if (job->clip_skip > 1)
        add_number(out, "Clip skip", job->clip_skip);
    add_pair(out, "RNG", "CPU");
    if (job->cfg_rescale)
        add_pair(out, "CFG Rescale phi", job->cfg_rescale);
    if (job->refiner) {
        add_pair(out, "Refiner", job->refiner);
        add_pair(out, "Refiner switch at", job->refiner_switch);
    }
}

enum err png_encode_job(struct bytes *out, const struct picture *picture, const struct picture_job *job,
                        struct error *error) {
    struct bytes parameters = BYTES_INIT;
    picture_parameters(&parameters, job);
    const struct picture_text texts[] = {
        { (char *)"parameters", (char *)bytes_text(&parameters) },
        { (char *)"seedfarm", (char *)job->canonical },
        { (char *)"seedfarm-device", (char *)job->device_class },
    };
    enum err err = png_encode(out, picture, texts, sizeof texts / sizeof *texts, error);
    bytes_release(&parameters);
    return err;
}
