/*
 * catalog.c - the table of fields and the names behind them. See catalog.h.
 */
#include "proto/catalog.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const sampler_names[] = {"Euler", "Euler a", "DDIM", "DPM++ 2M", "LCM", NULL};
static const char *const schedule_names[] = {
    "automatic", "uniform", "karras", "exponential", "sgm_uniform", "simple", "kl_optimal", "align_your_steps", "beta", "ddim",
    "leading", "leading-karras", "leading-exponential", "leading-beta",
    "trailing", "trailing-karras", "trailing-exponential", "trailing-beta",
    "linspace", "linspace-karras", "linspace-exponential", "linspace-beta", "lcm", NULL};
_Static_assert(sizeof schedule_names / sizeof *schedule_names == SCHEDULE_COUNT + 1, "every schedule, and NULL");
static const char *const rng_names[] = {"cpu", "nv", NULL};
static const char *const syntax_names[] = {"plain", NULL};
static const char *const predicts_names[] = {"model", "epsilon", "v", "sample", NULL};
static const char *const numerics_names[] = {"fp32", "bf16", "fp16", "auto", NULL};
static const char *const truth_names[] = {"false", "true", NULL};

static const struct field_info fields[FIELD_COUNT] = {
    [FIELD_MODEL] = {FIELD_MODEL, "model", TYPE_MODEL, "demo", NULL, NULL, NULL, NULL,
        "a diffusers folder, a name of the models folder, or a model's digest", false},
    [FIELD_VAE] = {FIELD_VAE, "vae", TYPE_FILE, "", "", NULL, NULL, NULL,
        "a VAE of its own, instead of the model's: a safetensors file", true},
    [FIELD_LORA] = {FIELD_LORA, "lora", TYPE_FILES, "", "", "-100", "100", NULL,
        "LoRAs and their weights: \"ink:0.8+frog\"; safetensors files", true},
    [FIELD_EMBEDDING] = {FIELD_EMBEDDING, "embedding", TYPE_FILES, "", "", NULL, NULL, NULL,
        "textual inversions and their words: \"style.safetensors:word\"; without a word it is the file's name", true},
    [FIELD_REFINER] = {FIELD_REFINER, "refiner", TYPE_MODEL, "", "", NULL, NULL, NULL,
        "a second model that walks the end of the way, such as SDXL's refiner: named as model is", true},
    [FIELD_SIZE] = {FIELD_SIZE, "size", TYPE_SIZE, "512x512", NULL, NULL, NULL, NULL,
        "width x height in pixels; where it is not given, the model's own", false},
    [FIELD_VAE_TILING] = {FIELD_VAE_TILING, "vae_tiling", TYPE_U32, "0", "0", "0", "16384", NULL,
        "decode in overlapping tiles of so many pixels a side, in less memory; 0: in one piece; \"within 12G\": the largest "
        "that keep one picture in so much memory, 0 if it fits whole", true},
    [FIELD_NUMERICS] = {FIELD_NUMERICS, "numerics", TYPE_NAME, "fp32", "fp32", NULL, NULL, numerics_names,
        "the arithmetic: fp32, or on a GPU bf16 or fp16; auto: as the farm is configured, fixed when a sweep is submitted", false},
    [FIELD_DETERMINISTIC] = {FIELD_DETERMINISTIC, "deterministic", TYPE_NAME, "false", "false", NULL, NULL, truth_names,
        "true: the same bytes whatever is drawn beside it, on a GPU too, which then draws it alone; a CPU always does", true},
    [FIELD_RNG] = {FIELD_RNG, "rng", TYPE_NAME, "cpu", "cpu", NULL, NULL, rng_names,
        "where noise comes from: cpu is torch's CPU generator, nv that of its CUDA generator", false},
    [FIELD_SYNTAX] = {FIELD_SYNTAX, "syntax", TYPE_NAME, "plain", "plain", NULL, NULL, syntax_names,
        "how a prompt is read: plain takes every character as it stands", false},
    [FIELD_CLIP_SKIP] = {FIELD_CLIP_SKIP, "clip_skip", TYPE_U32, "1", "1", "1", "12", NULL,
        "which of the text encoder's layers to listen to, counted from the last (1)", false},
    [FIELD_PREDICTION] = {FIELD_PREDICTION, "prediction", TYPE_NAME, "model", "model", NULL, NULL, predicts_names,
        "what the model says of a noisy picture, where its own configuration is wrong: epsilon, v or sample", true},
    [FIELD_SAMPLER] = {FIELD_SAMPLER, "sampler", TYPE_NAME, "Euler", NULL, NULL, NULL, sampler_names,
        "how a step is taken; \"DPM++ 2M Karras\" gives sampler and schedule", false},
    [FIELD_SCHEDULE] = {FIELD_SCHEDULE, "schedule", TYPE_NAME, "automatic", NULL, NULL, NULL, schedule_names,
        "which noise levels are visited: automatic (the sampler's choice), A1111's (karras, beta, ...) or diffusers' (trailing, leading-karras, ...)", false},
    [FIELD_STEPS] = {FIELD_STEPS, "steps", TYPE_U32, "20", NULL, "1", "1000", NULL,
        "how many steps from noise to picture", false},
    [FIELD_CFG] = {FIELD_CFG, "cfg", TYPE_DECIMAL, "7", NULL, "0", "100", NULL,
        "how strongly the prompt is followed; 1 is no guidance", false},
    [FIELD_CFG_RESCALE] = {FIELD_CFG_RESCALE, "cfg_rescale", TYPE_DECIMAL, "0", "0", "0", "1", NULL,
        "how far guidance is rescaled to the contrast of what the prompt alone says; 0 is not at all", true},
    [FIELD_INIT] = {FIELD_INIT, "init", TYPE_FILE, "", "", NULL, NULL, NULL,
        "a picture to start from: a PNG file", true},
    [FIELD_MASK] = {FIELD_MASK, "mask", TYPE_FILE, "", "", NULL, NULL, NULL,
        "a picture that is white where init may change: a PNG file", true},
    [FIELD_STRENGTH] = {FIELD_STRENGTH, "strength", TYPE_DECIMAL, "1", "1", "0.001", "1", NULL,
        "how much of the way from noise is walked from init: the less, the more of it stays", true},
    [FIELD_REFINER_SWITCH] = {FIELD_REFINER_SWITCH, "refiner_switch", TYPE_DECIMAL, "0.8", "0.8", "0.001", "0.999", NULL,
        "the share of the way, from noise on, after which the refiner takes over", true},
    [FIELD_NEGATIVE] = {FIELD_NEGATIVE, "negative", TYPE_TEXT, "", "", NULL, NULL, NULL,
        "what the picture should not be", false},
    [FIELD_PROMPT] = {FIELD_PROMPT, "prompt", TYPE_TEXT, "", NULL, NULL, NULL, NULL,
        "what the picture should be", false},
    [FIELD_SEED] = {FIELD_SEED, "seed", TYPE_U64, "0", NULL, "0", "18446744073709551615", NULL,
        "names the noise to start from; \"random\" or -1 draws one at submission", false},
};

_Static_assert(LIMIT_STEPS == 1000, "the maximum of the field table says the same");

/* Fields that DESIGN promises and a later version brings. */
static const char *const later_fields[] = {
    "variation_seed", "variation_strength", "eta", "hires", "hires_steps",
    "hires_upscaler", "hires_strength", "tiling", "eta_noise_seed_delta", "control", NULL};

/* What other programs call a field. */
static const struct { const char *foreign; enum field field; } foreign_fields[] = {
    {"negative_prompt", FIELD_NEGATIVE}, {"cfg_scale", FIELD_CFG}, {"guidance_scale", FIELD_CFG}, {"scale", FIELD_CFG},
    {"num_inference_steps", FIELD_STEPS}, {"width", FIELD_SIZE}, {"height", FIELD_SIZE}, {"resolution", FIELD_SIZE},
    {"sampler_name", FIELD_SAMPLER}, {"scheduler", FIELD_SCHEDULE}, {"checkpoint", FIELD_MODEL}, {"ckpt", FIELD_MODEL},
    {"generator", FIELD_RNG}, {"caption", FIELD_PROMPT}, {"text", FIELD_PROMPT}, {"precision", FIELD_NUMERICS},
    {"loras", FIELD_LORA}, {"init_image", FIELD_INIT}, {"mask_image", FIELD_MASK}, {"sd_vae", FIELD_VAE},
    {"denoising_strength", FIELD_STRENGTH}, {"guidance_rescale", FIELD_CFG_RESCALE},
    {"cfg_rescale_multiplier", FIELD_CFG_RESCALE}, {"prediction_type", FIELD_PREDICTION}, {"image", FIELD_INIT},
    {"refiner_checkpoint", FIELD_REFINER}, {"refiner_switch_at", FIELD_REFINER_SWITCH},
    {"denoising_end", FIELD_REFINER_SWITCH}, {"denoising_start", FIELD_REFINER_SWITCH}, {"high_noise_frac", FIELD_REFINER_SWITCH},
    {"textual_inversion", FIELD_EMBEDDING}, {"embeddings", FIELD_EMBEDDING},
};

const struct field_info *catalog_field(enum field field)
{
    return &fields[field];
}

bool field_is_file(enum field field)
{
    return fields[field].type == TYPE_FILE || fields[field].type == TYPE_FILES;
}

size_t word_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t rows[3][LONGEST + 1]; /* of the letter before the last one, of the last one, of this one */
    size_t a_size = strnlen(a, LONGEST), b_size = strnlen(b, LONGEST);

    for (size_t j = 0; j <= b_size; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t *row = rows[i % 3], *above = rows[(i - 1) % 3], *second = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            size_t best = above[j - 1] + (x != y);
            best = above[j] + 1 < best ? above[j] + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            bool swapped = i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) && y == tolower((unsigned char)a[i - 2]);
            row[j] = swapped && second[j - 2] + 1 < best ? second[j - 2] + 1 : best;
        }
    }
    return rows[a_size % 3][b_size];
}

enum err catalog_find(enum field *field, const char *name, struct error *error)
{
    const char *nearest = fields[0].name;
    size_t best = SIZE_MAX;

    for (int i = 0; i < FIELD_COUNT; i++)
        if (strcmp(name, fields[i].name) == 0) {
            *field = fields[i].field;
            return ERR_OK;
        }
    for (int i = 0; i < FIELD_COUNT; i++) {
        size_t distance = word_distance(name, fields[i].name);
        if (distance < best) {
            best = distance;
            nearest = fields[i].name;
        }
    }
    for (size_t i = 0; later_fields[i]; i++)
        if (strcmp(name, later_fields[i]) == 0)
            return error_set(error, ERR_UNSUPPORTED, "field \"%s\" is not in this version", name);
    for (size_t i = 0; i < sizeof foreign_fields / sizeof *foreign_fields; i++)
        if (strcmp(name, foreign_fields[i].foreign) == 0)
            nearest = fields[foreign_fields[i].field].name;
    return error_set(error, ERR_INVALID, "unknown field \"%.80s\": the nearest known one is \"%s\"", name, nearest);
}

/* ---- names of values ---------------------------------------------------------------------------------------------- */

const char *sampler_name(enum sampler sampler) { return sampler_names[sampler]; }
const char *schedule_name(enum schedule schedule) { return schedule_names[schedule]; }
const char *rng_name(enum rng rng) { return rng_names[rng]; }
const char *syntax_name(enum syntax syntax) { return syntax_names[syntax]; }
const char *predicts_name(enum predicts predicts) { return predicts_names[predicts]; }
const char *numerics_name(enum numerics numerics) { return numerics_names[numerics]; }

enum { NAMES_SIZE = 512 }; /* bytes of any list of names, in a sentence */

enum schedule schedule_automatic(enum sampler sampler)
{
    switch (sampler) {
    case SAMPLER_DDIM:
        return SCHEDULE_DDIM;
    case SAMPLER_DPMPP_2M:
        return SCHEDULE_KARRAS;
    case SAMPLER_LCM:
        return SCHEDULE_LCM;
    default:
        return SCHEDULE_UNIFORM;
    }
}

/* Samplers that have a schedule, a bit each. */
static unsigned schedule_samplers(enum schedule schedule)
{
    enum {
        CURVED = 1 << SAMPLER_EULER | 1 << SAMPLER_DPMPP_2M, /* diffusers' with use_karras_sigmas and its like */
        K_DIFFUSION = CURVED | 1 << SAMPLER_EULER_A,
        SPACED = K_DIFFUSION | 1 << SAMPLER_DDIM,
        ALL = (1 << SAMPLER_COUNT) - 1
    };
    switch (schedule) {
    case SCHEDULE_AUTOMATIC: return ALL;
    case SCHEDULE_LCM: return 1 << SAMPLER_LCM;
    case SCHEDULE_DDIM:
    case SCHEDULE_LEADING:
    case SCHEDULE_TRAILING:
    case SCHEDULE_LINSPACE: return SPACED;
    default: return schedule < SCHEDULE_LEADING ? K_DIFFUSION : CURVED;
    }
}

enum err schedule_check(enum schedule schedule, enum sampler sampler, struct error *error)
{
    char list[NAMES_SIZE];
    size_t at = 0;

    if (schedule_samplers(schedule) & 1u << sampler)
        return ERR_OK;
    for (int i = 0; i < SCHEDULE_COUNT && at < sizeof list; i++)
        if (schedule_samplers((enum schedule)i) & 1u << sampler)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", schedule_names[i]);
    return error_set(error, ERR_INVALID, "schedule: want one that sampler %s has (%s), \"%s\" is none of them",
                     sampler_names[sampler], list, schedule_names[schedule]);
}

/* A word that is read as value `value` of a field; UNSUPPORTED: understood, but not in this version. */
enum { UNSUPPORTED = -1 };
struct alias { const char *word; int value; };

/* A1111's names are the canonical ones; here stand those of ComfyUI and diffusers, and A1111's others. */
static const struct alias sampler_aliases[] = {
    {"k_euler", SAMPLER_EULER}, {"EulerDiscrete", SAMPLER_EULER}, {"EulerDiscreteScheduler", SAMPLER_EULER},
    {"euler_ancestral", SAMPLER_EULER_A}, {"Euler Ancestral", SAMPLER_EULER_A}, {"euler_a", SAMPLER_EULER_A},
    {"k_euler_a", SAMPLER_EULER_A}, {"k_euler_ancestral", SAMPLER_EULER_A},
    {"EulerAncestralDiscrete", SAMPLER_EULER_A}, {"EulerAncestralDiscreteScheduler", SAMPLER_EULER_A},
    {"DDIMScheduler", SAMPLER_DDIM},
    {"dpmpp_2m", SAMPLER_DPMPP_2M}, {"k_dpmpp_2m", SAMPLER_DPMPP_2M}, {"DPMSolverMultistep", SAMPLER_DPMPP_2M},
    {"DPMSolverMultistepScheduler", SAMPLER_DPMPP_2M},
    {"Heun", UNSUPPORTED}, {"HeunDiscreteScheduler", UNSUPPORTED}, {"LMS", UNSUPPORTED},
    {"LMSDiscreteScheduler", UNSUPPORTED}, {"DPM2", UNSUPPORTED}, {"DPM2 a", UNSUPPORTED}, {"dpm_2", UNSUPPORTED},
    {"dpm_2_ancestral", UNSUPPORTED}, {"KDPM2DiscreteScheduler", UNSUPPORTED},
    {"KDPM2AncestralDiscreteScheduler", UNSUPPORTED}, {"DPM++ SDE", UNSUPPORTED}, {"dpmpp_sde", UNSUPPORTED},
    {"DPMSolverSDEScheduler", UNSUPPORTED}, {"DPMSolverSinglestepScheduler", UNSUPPORTED},
    {"DPM++ 2M SDE", UNSUPPORTED}, {"dpmpp_2m_sde", UNSUPPORTED}, {"DPM++ 2M SDE Heun", UNSUPPORTED},
    {"dpmpp_2m_sde_heun", UNSUPPORTED}, {"DPM++ 3M SDE", UNSUPPORTED}, {"dpmpp_3m_sde", UNSUPPORTED},
    {"DPM++ 2S a", UNSUPPORTED}, {"dpmpp_2s_ancestral", UNSUPPORTED}, {"DPM fast", UNSUPPORTED},
    {"dpm_fast", UNSUPPORTED}, {"DPM adaptive", UNSUPPORTED}, {"dpm_adaptive", UNSUPPORTED},
    {"Restart", UNSUPPORTED}, {"UniPC", UNSUPPORTED}, {"uni_pc", UNSUPPORTED}, {"uni_pc_bh2", UNSUPPORTED},
    {"UniPCMultistepScheduler", UNSUPPORTED}, {"LCMScheduler", SAMPLER_LCM},
    {"PLMS", UNSUPPORTED}, {"PNDM", UNSUPPORTED}, {"PNDMScheduler", UNSUPPORTED}, {"DDIM CFG++", UNSUPPORTED},
    {"DDPM", UNSUPPORTED}, {NULL, 0}};
static const struct alias schedule_aliases[] = {
    {"ddim_uniform", SCHEDULE_DDIM},
    {"normal", SCHEDULE_UNIFORM},             /* the same levels, in A1111 and ComfyUI */
    {"polyexponential", SCHEDULE_EXPONENTIAL}, /* with A1111's rho, 1 */
    {"SGM Uniform", SCHEDULE_SGM_UNIFORM}, {"SGMUniform", SCHEDULE_SGM_UNIFORM}, {"KL Optimal", SCHEDULE_KL_OPTIMAL},
    {"Leading Karras", SCHEDULE_LEADING_KARRAS}, {"Leading Exponential", SCHEDULE_LEADING_EXPONENTIAL},
    {"Leading Beta", SCHEDULE_LEADING_BETA}, {"Trailing Karras", SCHEDULE_TRAILING_KARRAS},
    {"Trailing Exponential", SCHEDULE_TRAILING_EXPONENTIAL}, {"Trailing Beta", SCHEDULE_TRAILING_BETA},
    {"Linspace Karras", SCHEDULE_LINSPACE_KARRAS}, {"Linspace Exponential", SCHEDULE_LINSPACE_EXPONENTIAL},
    {"Linspace Beta", SCHEDULE_LINSPACE_BETA},
    {"Align Your Steps", SCHEDULE_ALIGN_YOUR_STEPS}, {"AYS", SCHEDULE_ALIGN_YOUR_STEPS},
    {"linear_quadratic", UNSUPPORTED}, {"turbo", UNSUPPORTED}, {NULL, 0}};
static const struct alias rng_aliases[] = {{"gpu", RNG_NV}, {"cuda", RNG_NV}, {"philox", RNG_NV}, {NULL, 0}};
static const struct alias predicts_aliases[] = {
    {"v_prediction", PREDICTS_V}, {"v-prediction", PREDICTS_V}, {"eps", PREDICTS_EPSILON}, {"x0", PREDICTS_SAMPLE},
    {"original_sample", PREDICTS_SAMPLE}, {"flow_prediction", UNSUPPORTED}, {"flow", UNSUPPORTED}, {NULL, 0}};
static const struct alias syntax_aliases[] = {{"a1111", UNSUPPORTED}, {"comfyui", UNSUPPORTED}, {NULL, 0}};
static const struct alias numerics_aliases[] = {
    {"float32", NUMERICS_FP32}, {"bfloat16", NUMERICS_BF16}, {"float16", NUMERICS_FP16},
    {"half", NUMERICS_FP16}, {NULL, 0}};

static const struct alias truth_aliases[] = {{"no", 0}, {"yes", 1}, {"off", 0}, {"on", 1}, {"0", 0}, {"1", 1}, {NULL, 0}};

static const struct alias *field_aliases(enum field field)
{
    switch (field) {
    case FIELD_SAMPLER: return sampler_aliases;
    case FIELD_SCHEDULE: return schedule_aliases;
    case FIELD_RNG: return rng_aliases;
    case FIELD_SYNTAX: return syntax_aliases;
    case FIELD_PREDICTION: return predicts_aliases;
    case FIELD_DETERMINISTIC: return truth_aliases;
    default: return numerics_aliases;
    }
}

/* The value of a word of `size` bytes, UNSUPPORTED, or -2 for one that nobody knows. */
static int name_value(enum field field, const char *word, size_t size)
{
    const char *const *names = fields[field].names;
    for (int i = 0; names[i]; i++)
        if (strlen(names[i]) == size && strncasecmp(names[i], word, size) == 0)
            return i;
    for (const struct alias *alias = field_aliases(field); alias->word; alias++)
        if (strlen(alias->word) == size && strncasecmp(alias->word, word, size) == 0)
            return alias->value;
    return -2;
}

static void names_list(char *out, size_t size, const char *const *names)
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; names[i] && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%s", i ? ", " : "", names[i]);
}

static enum err name_refuse(enum field field, const char *text, bool known, struct error *error)
{
    char list[NAMES_SIZE];
    names_list(list, sizeof list, fields[field].names);
    return error_set(error, known ? ERR_UNSUPPORTED : ERR_INVALID, "%s: \"%.80s\" is %s; there %s %s",
                     fields[field].name, text, known ? "not in this version" : "not known",
                     fields[field].names[1] ? "are" : "is", list);
}

enum err catalog_name_parse(unsigned *value, enum field field, const char *text, struct error *error)
{
    int found = name_value(field, text, strlen(text));
    if (found < 0)
        return name_refuse(field, text, found == UNSUPPORTED, error);
    *value = (unsigned)found;
    return ERR_OK;
}

enum err sampler_parse(enum sampler *sampler, enum schedule *schedule, const char *text, struct error *error)
{
    size_t size = strlen(text);
    int found = name_value(FIELD_SAMPLER, text, size);
    if (found >= 0) {
        *sampler = (enum sampler)found;
        return ERR_OK;
    }
    bool known = found == UNSUPPORTED;
    /* "DPM++ 2M Karras", "dpmpp_2m_karras": the last words are a schedule. */
    for (size_t at = size; !known && at-- > 1;) {
        if (text[at] != ' ' && text[at] != '_')
            continue;
        int first = name_value(FIELD_SAMPLER, text, at);
        int second = name_value(FIELD_SCHEDULE, text + at + 1, size - at - 1);
        if (first == -2 || second == -2)
            continue;
        if (first == UNSUPPORTED || second == UNSUPPORTED) {
            known = true;
            break;
        }
        *sampler = (enum sampler)first;
        *schedule = (enum schedule)second;
        return ERR_OK;
    }
    return name_refuse(FIELD_SAMPLER, text, known, error);
}
