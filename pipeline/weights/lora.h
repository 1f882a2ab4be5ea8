/*
 * lora.h - LoRA files (Hu 2021): low-rank differences, merged into a model's weights as they are loaded.
 *
 *   W + weight * (alpha / rank) * up @ down       in f32; a convolution is the same on [out, in * kh * kw]
 *
 * Forms: kohya (lora_unet_, lora_te_, lora_te1_, lora_te2_; SDXL's LDM block names too), diffusers (.lora.down/.up,
 * .to_q_lora.down, .lora_linear_layer.down) and PEFT (.lora_A/.lora_B). A file's every key must find its place; DoRA, LoHa, LoKr
 * and the like are refused by name.
 */
#ifndef PIPELINE_WEIGHTS_LORA_H
#define PIPELINE_WEIGHTS_LORA_H

#include "base/error.h"
#include "pipeline/pipeline.h"
#include "pipeline/weights/weights.h"

enum { LORA_FILE_PARTS_LIMIT = 20000 };

struct loras;
struct lora_part; /* the difference of one weight */

MUST_USE enum err loras_open(struct loras **loras, const struct model_lora *files, size_t count, struct error *error);
/* One file from memory (tests, fuzzing); `data` must outlive the handle. */
MUST_USE enum err loras_open_memory(struct loras **loras, const void *data, size_t size, const char *name,
                                    struct error *error);
void loras_close(struct loras *loras);

/* Every part that belongs to this component finds its weight (component_tensor then gives the merged one); one whose shapes do
 * not fit is refused, both said. Until the component is closed the loras must stay open. */
MUST_USE enum err loras_attach(struct loras *loras, struct component *component, struct error *error);
/* After all components: ERR_INVALID names the first three keys that belong to no weight of the model, and how many there are. */
MUST_USE enum err loras_check_used(const struct loras *loras, struct error *error);

/* weights [out, in] += the part; in file order the parts of one weight are chained by lora_part_next. */
void lora_part_merge(float *weights, const struct lora_part *part);
const struct lora_part *lora_part_next(const struct lora_part *part);

#endif
