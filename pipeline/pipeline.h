/*
 * pipeline.h - from prompts and seeds to pixels: the one public header of the folder.
 *
 *   device (threads, kernels) -> model (immutable, shared) -> renderer (one run's memory, reused for every batch)
 *
 * Beside a renderer that draws, other threads may load, check and destroy other models of its device, measure them, and destroy other
 * renderers; everything else that a device, model or renderer does is one thread's at a time.
 *
 * Nothing here knows of files to be written, sweeps or sockets. A job's pixels do not depend on the number of threads, on what
 * was rendered before, or, where renderer_batch_invariant says so, on its batch mates.
 */
#ifndef PIPELINE_PIPELINE_H
#define PIPELINE_PIPELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { RENDER_RULES_FP32 = 1 }; /* raised when the same job would give other pixels: the `render` of canonical bytes */

struct device;
struct model;
struct renderer;

/* ---- device ----------------------------------------------------------------------------------------------------- */

/* "cpu", "reference", "cuda:0" or "cuda:GPU-..."; numerics "fp32", "bf16" or "fp16", as far as the device has it; threads 0: one a core this process
 * may use. */
MUST_USE enum err device_open(struct device **device, const char *name, const char *numerics, uint32_t threads,
                              struct error *error);
void device_close(struct device *device);
enum { DEVICE_NAME_SIZE = 64, DEVICES_MOST = 64 };
/* The names of this machine's cards ("cuda:GPU-..."), or "cpu" where there is none: how many. */
size_t device_list(char names[DEVICES_MOST][DEVICE_NAME_SIZE]);
const char *device_build(void); /* what was built in beside the CPU: "without CUDA" */
uint64_t device_memory(const struct device *device); /* bytes that models and runs may take: the card's, or the machine's */
bool device_can(const struct device *device, const char *numerics); /* may it be opened with these, too? */
const char *device_class(const struct device *device); /* the class within which bytes agree: "cpu x86-64-v4" */

/* ---- model ------------------------------------------------------------------------------------------------------ */

struct model_shape {
    const char *family;         /* "sd1", "sd2", "sdxl", "sdxl-refiner" */
    uint32_t pixels_per_latent; /* 8 for SD, 4 for the demo model: sizes must be multiples of it */
    uint32_t latent_channels;   /* 4 */
    uint32_t tokens;            /* 77 */
    uint32_t condition_width;   /* D */
    uint64_t parameters;        /* of U-Net, VAE and text encoders together */
    uint64_t weight_bytes;      /* prepared, on the device */
};

/* What a model is made of; borrowed. */
struct model_lora {
    const char *path;
    double weight;
};
struct model_embedding {
    const char *path;
    const char *word; /* what stands for it in a prompt */
};
struct model_files {
    const char *model;              /* a diffusers folder, or a single file */
    const char *vae;                /* a file in place of the model's own VAE, or NULL */
    const struct model_lora *loras; /* [lora_count], merged into the weights in this order */
    size_t lora_count;
    const struct model_embedding *embeddings; /* [embedding_count] */
    size_t embedding_count;
};

/* Checks every parameter's shape against the configs before it returns. */
MUST_USE enum err model_load_files(struct model **model, struct device *device, const struct model_files *files,
                                   struct error *error);
/* A model as it is. */
MUST_USE enum err model_load(struct model **model, struct device *device, const char *folder, struct error *error);
void model_destroy(struct model *model);
/* Whatever model_load_files would refuse, without preparing a weight: milliseconds, and no memory to speak of. */
MUST_USE enum err model_check_files(const struct model_files *files, struct error *error);
const struct model_shape *model_shape(const struct model *model);

/* ---- rendering -------------------------------------------------------------------------------------------------- */

/* What to draw; borrowed texts. Names as in DESIGN section 4. All jobs of a batch share what is marked *. */
struct render_job {
    const char *prompt;
    const char *negative;
    uint64_t seed;
    uint32_t width, height; /* * */
    uint32_t steps;         /* * */
    double cfg;             /* guided (cfg > 1) or not: * */
    double cfg_rescale;     /* 0..1: how far guidance is rescaled to the deviation of what the prompt says (Lin 2023) */
    const char *sampler;    /* * */
    const char *schedule;   /* * */
    const char *prediction; /* *  "epsilon", "v", "sample", whatever the model's config says; NULL: what that says */
    uint32_t clip_skip;     /* A1111's: 1 is the layer the model was trained with: the last, or with SDXL the one before */
    uint32_t vae_tiling;    /* * pixels a side of the tiles that the VAE decodes, 0: the picture in one piece */
    const uint8_t *init;    /* [height,width,3]: the picture to start from, or NULL: nothing but noise. All or none: * */
    const uint8_t *mask;    /* [height,width,3]: white where init is drawn anew. Models for inpainting want it; others keep
                             * init's latents where it is black. All or none: * */
    double strength;        /* * 0..1: how much of the way from noise is walked from init. 0 would be none and stands for 1 */
    double refiner_switch;  /* * 0..1, neither: the share of the way after which the renderer's refiner takes over, if it has one */
    bool philox;            /* noise of torch's CUDA generator, not of its CPU's */
};

enum render_phase { RENDER_TEXT, RENDER_STEP, RENDER_DECODE };

/* What the model believes a picture of the batch to become, by a linear map of its latents: a pixel a latent, or a few of them. */
enum { PREVIEW_SIDE = 128 /* at most */, PREVIEW_NONE = UINT32_MAX };
struct render_preview {
    uint32_t place;         /* of the job in the batch */
    uint32_t step, steps;   /* behind which it was taken, of how many */
    uint32_t height, width;
    const uint8_t *rgb;     /* [height,width,3], valid during the call; NULL: the colours of this model's latents are not known */
};

/* Who looks at previews, called from the rendering thread. No pixel depends on it. */
struct render_viewer {
    uint32_t (*wants)(void *context); /* asked after every step while none is under way: whose, or PREVIEW_NONE */
    /* As soon as it is there, at the latest after the last step. */
    void (*take)(void *context, const struct render_preview *preview);
    void *context;
};

/* Called between phases and after every step, from the rendering thread. Returning false cancels (ERR_CANCELLED). */
struct render_watch {
    bool (*progress)(void *context, enum render_phase phase, uint32_t step, uint32_t steps);
    void *context;
    const struct render_viewer *viewer; /* or NULL */
};

/* One picture: rgb is [height,width,3] u8, owned by the caller (render_output_release). A picture that came out as NaN
 * or Inf has error.code ERR_NUMERIC and no rgb; its batch mates are fine. */
struct render_output {
    struct error error;
    uint8_t *rgb;
    uint32_t width, height;
};
void render_output_release(struct render_output *output);

/* What decides how much memory a batch takes. */
struct render_size {
    uint32_t width, height, batch;
    bool guided;
    bool started; /* from pictures, which are encoded first, each in one piece */
    uint32_t vae_tiling;
    bool refined; /* render_memory: a refiner walks on, and decodes */
};
enum { TILING_MOST = 1024, TILING_LEAST = 256 }; /* tilings that memory is offered: these, and what is halfway between */
/* Memory of a run beside the weights, known before any work. */
MUST_USE enum err render_memory(uint64_t *bytes, struct model *model, const struct render_size *size, struct error *error);

/* The same before a model is loaded: predicted from the shapes in its files. No weight is read, nothing is computed. Of a `device`,
 * or NULL: of none in particular, in fp32, which is the same on every machine; a real one needs notes beside: megabytes a thread. */
struct memory_need {
    uint64_t weights; /* model_shape's weight_bytes */
    uint64_t run;     /* render_memory */
    uint64_t process; /* all else that a process holds: code, threads' scratch, tokenizers */
};
/* `refiner` (or NULL): what renderer_refine will be given. The need is that of both together, then: they are held at once. */
MUST_USE enum err model_memory(struct memory_need *need, struct device *device, const struct model_files *files,
                               const struct model_files *refiner, const struct render_size *size, struct error *error);
/* The same, and ERR_MEMORY where weights and run want more than `budget_bytes` (0: no bound): both values, how much is missing, and
 * what would fit by the same plan: the largest smaller batch; else, of one picture, a vae_tiling, and the largest smaller size of
 * the same aspect. */
MUST_USE enum err model_memory_check(struct memory_need *need, struct device *device, const struct model_files *files,
                                     const struct model_files *refiner, const struct render_size *size, uint64_t budget_bytes,
                                     struct error *error);

/* budget_bytes bounds what the renderer may hold at once (0: no bound): a batch that needs more is ERR_MEMORY, both
 * values said, before work starts. */
MUST_USE enum err renderer_create(struct renderer **renderer, struct model *model, uint64_t budget_bytes,
                                  struct error *error);
void renderer_destroy(struct renderer *renderer);
/* What it holds now: prompts, recorded runs and their scratch; its refiner's too. */
uint64_t renderer_held(const struct renderer *renderer);
/* Another bound from the next batch on. */
void renderer_bound(struct renderer *renderer, uint64_t budget_bytes);

/* From here on the renderer's jobs are handed on to `refiner` (its latents must be of the same kind) where their refiner_switch says.
 * The budget is for both. */
MUST_USE enum err renderer_refine(struct renderer *renderer, struct model *refiner, struct error *error);

/* Do a job's pixels not depend on what is drawn beside it? Always on a CPU; never on a card, whose libraries choose their
 * algorithms by the size of the whole batch. */
bool renderer_batch_invariant(const struct renderer *renderer);

/* Draw `count` jobs as one batch into outputs[count]. `trace` (may be NULL; count must be 1 then) is a path for the
 * safetensors file of DESIGN section 4. Fails as a whole only before work, on cancel, on memory, or where the device fails
 * (ERR_DEVICE: for good). */
MUST_USE enum err renderer_render(struct renderer *renderer, const struct render_job *jobs, size_t count,
                                  const struct render_watch *watch, const char *trace, struct render_output *outputs,
                                  struct error *error);

/* One decode or encode alone, for benches and picture starts. latents [h,w,4] scaled as the U-Net sees them. */
MUST_USE enum err renderer_decode(struct renderer *renderer, const float *latents, uint32_t width, uint32_t height,
                                  struct render_output *output, struct error *error);
/* rgb [height,width,3] u8 -> the posterior's mean and log variance [h,w,2*4], unscaled. */
MUST_USE enum err renderer_encode(struct renderer *renderer, float *moments, const uint8_t *rgb, uint32_t width,
                                  uint32_t height, struct error *error);

#endif
