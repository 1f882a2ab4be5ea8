/*
 * layout.h - one table per foreign layout: its parameters' names into those of diffusers.
 *
 * LDM is the layout of CompVis' and Stability's single files. Their LoRAs (kohya, SDXL) use the same names with '_' in the place
 * of '.'; `separator` says which. Names may go on behind what is mapped (".weight", ".lora_down.weight"); false: none of ours.
 */
#ifndef PIPELINE_WEIGHTS_LAYOUT_H
#define PIPELINE_WEIGHTS_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

enum { LAYOUT_NAME_LIMIT = 256 };

/* "input_blocks.4.1.proj_in.weight" -> "down_blocks.1.attentions.0.proj_in.weight" with 2 residual layers a block. */
bool layout_unet_name(char out[LAYOUT_NAME_LIMIT], const char *name, char separator, uint32_t layers);
/* "decoder.up.3.block.0.nin_shortcut.weight" -> "decoder.up_blocks.0.resnets.0.conv_shortcut.weight" of 4 levels. */
bool layout_vae_name(char out[LAYOUT_NAME_LIMIT], const char *name, uint32_t levels);
/* "transformer.resblocks.0.ln_1.weight" -> "text_model.encoder.layers.0.layer_norm1.weight". Fused projections keep the name
 * "...self_attn.in_proj_weight" or "..._bias". */
bool layout_open_clip_name(char out[LAYOUT_NAME_LIMIT], const char *name);

#endif
