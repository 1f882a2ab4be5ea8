/*
 * checkpoint.h - a model in one file, as CompVis and Stability laid it out (SD 1, SD 2, SDXL base and refiner), and a VAE in a
 * file of its own: seen as the components, configurations and all, that diffusers would have made of it.
 *
 * Nothing in such a file says what it is: widths, depths and layers are read off the tensors' shapes; numbers of heads, norm
 * groups and scaling factors are the family's. A tensor `v_pred` means v-prediction, one called `ztsnr` zero terminal SNR;
 * without them a file predicts noise.
 */
#ifndef PIPELINE_WEIGHTS_CHECKPOINT_H
#define PIPELINE_WEIGHTS_CHECKPOINT_H

#include "pipeline/weights/weights.h"

struct checkpoint;

/* ERR_UNSUPPORTED: no layout that is known. ERR_CORRUPT: tensors that it must have are missing, or there are others (three named,
 * and how many there are). */
MUST_USE enum err checkpoint_open(struct checkpoint **checkpoint, const char *path, struct error *error);
MUST_USE enum err checkpoint_open_memory(struct checkpoint **checkpoint, const void *data, size_t size, const char *name,
                                         struct error *error);
void checkpoint_close(struct checkpoint *checkpoint);

/* A file that a folder of this model would hold ("model_index.json",
 * "tokenizer_2/tokenizer_config.json", "unet/config.json"); a new reference, or NULL: it would have none such. */
json_t *checkpoint_json(const struct checkpoint *checkpoint, const char *path);
bool checkpoint_predicts_v(const struct checkpoint *checkpoint); /* it holds a tensor `v_pred` */
bool checkpoint_ends_dark(const struct checkpoint *checkpoint);  /* it holds a tensor `ztsnr` */
/* As component_open; the checkpoint must stay open while the component is. */
MUST_USE enum err checkpoint_component(struct component **component, const struct checkpoint *checkpoint, const char *name,
                                       struct error *error);

/* A VAE from a file of diffusers' or LDM's layout. Widths and layers are the file's; what it cannot say (scaling, norm groups)
 * is taken from `own`, the configuration of the model's own VAE. */
MUST_USE enum err vae_file_open(struct component **component, const char *path, const json_t *own, struct error *error);

#endif
