/*
 * transformer.c - self attention, cross attention and a gated MLP, each behind a norm and added to its input.
 */
#include <assert.h>

#include "pipeline/denoise/transformer.h"

static const float LAYER_EPSILON = 1e-5f; /* torch's LayerNorm; no config names it */
static const float GROUP_EPSILON = 1e-6f; /* Transformer2DModel's own, not the config's norm_eps */

static struct transformer_block load_block(struct loader *loader, uint32_t channels, uint32_t condition_width,
                                           const char *prefix) {
    static const char *const QKV[] = { "to_q", "to_k", "to_v" };
    uint32_t c = channels;
    char self[LAYER_NAME_LIMIT], cross[LAYER_NAME_LIMIT];
    layer_name(self, "%s.attn1", prefix);
    layer_name(cross, "%s.attn2", prefix);
    return (struct transformer_block){
        .norm1 = load_norm(loader, c, "%s.norm1", prefix),
        .self_qkv = load_stack(loader, c, c, false, self, QKV, 3),
        .self_out = load_linear(loader, c, c, true, "%s.to_out.0", self),
        .norm2 = load_norm(loader, c, "%s.norm2", prefix),
        .cross_q = load_linear(loader, c, c, false, "%s.to_q", cross),
        .cross_kv = load_stack(loader, c, condition_width, false, cross, QKV + 1, 2),
        .cross_out = load_linear(loader, c, c, true, "%s.to_out.0", cross),
        .norm3 = load_norm(loader, c, "%s.norm3", prefix),
        .inner = load_linear(loader, 8 * c, c, true, "%s.ff.net.0.proj", prefix),
        .outer = load_linear(loader, c, 4 * c, true, "%s.ff.net.2", prefix),
    };
}

void load_transformer(struct transformer *transformer, struct loader *loader, const struct transformer_options *options,
                      const char *prefix) {
    uint32_t c = options->channels;
    assert(options->depth <= TRANSFORMER_DEPTH_LIMIT);
    transformer->channels = c;
    transformer->heads = options->heads;
    transformer->depth = options->depth;
    transformer->norm = load_norm(loader, c, "%s.norm", prefix);
    if (options->linear_projection) {
        transformer->project_in = load_linear(loader, c, c, true, "%s.proj_in", prefix);
        transformer->project_out = load_linear(loader, c, c, true, "%s.proj_out", prefix);
    } else {
        transformer->project_in = load_pointwise(loader, c, c, "%s.proj_in", prefix);
        transformer->project_out = load_pointwise(loader, c, c, "%s.proj_out", prefix);
    }
    for (uint32_t i = 0; i < options->depth; i++) {
        char block[LAYER_NAME_LIMIT];
        layer_name(block, "%s.transformer_blocks.%u", prefix, i);
        transformer->blocks[i] = load_block(loader, c, options->condition_width, block);
        transformer->blocks[i].cross = options->first_cross + i;
    }
}

/* [slots,T,1,2c] */
struct tensor cross_memory_bind(struct program *program, const struct cross_memory *memory, uint32_t cross,
                                uint32_t channels) {
    assert(cross < memory->crosses);
    return program_bind_own(program, memory->buffers[cross], 0, memory->slots, memory->tokens, 1, 2 * channels);
}

void record_prompt_keys(struct program *program, const struct transformer *transformer, struct tensor condition,
                        const struct cross_memory *memory, uint32_t slot) {
    uint32_t width = 2 * transformer->channels;
    size_t element = dtype_size(backend_numerics(program_backend(program)));
    assert(slot < memory->slots && condition.n == 1 && condition.h == memory->tokens);
    for (uint32_t i = 0; i < transformer->depth; i++) {
        const struct transformer_block *block = &transformer->blocks[i];
        size_t offset = (size_t)slot * memory->tokens * width * element;
        struct tensor out = program_bind_own(program, memory->buffers[block->cross], offset, 1, memory->tokens, 1, width);
        op_linear_into(program, out, condition, block->cross_kv.weight, NULL, ACTIVATION_NONE, TENSOR_NONE);
    }
}

/* x [n,h*w,1,c] -> [n,h*w,1,c] */
static struct tensor record_block(struct program *program, const struct transformer_block *block, uint32_t heads,
                                  struct tensor x, struct tensor keys_values, struct tensor slots) {
    uint32_t c = x.c;
    struct tensor hidden = record_layer_norm(program, block->norm1, x, LAYER_EPSILON);
    struct tensor qkv = record_linear(program, block->self_qkv, hidden, ACTIVATION_NONE, TENSOR_NONE);
    hidden = op_attention(program, tensor_slice(qkv, 0, c), tensor_slice(qkv, c, c), tensor_slice(qkv, 2 * c, c),
                          TENSOR_NONE, heads, false);
    x = record_linear(program, block->self_out, hidden, ACTIVATION_NONE, x);

    hidden = record_layer_norm(program, block->norm2, x, LAYER_EPSILON);
    struct tensor query = record_linear(program, block->cross_q, hidden, ACTIVATION_NONE, TENSOR_NONE);
    hidden = op_attention(program, query, tensor_slice(keys_values, 0, c), tensor_slice(keys_values, c, c), slots, heads,
                          false);
    x = record_linear(program, block->cross_out, hidden, ACTIVATION_NONE, x);

    hidden = record_layer_norm(program, block->norm3, x, LAYER_EPSILON);
    hidden = record_linear(program, block->inner, hidden, ACTIVATION_GEGLU, TENSOR_NONE);
    return record_linear(program, block->outer, hidden, ACTIVATION_NONE, x);
}

struct tensor record_transformer(struct program *program, const struct transformer *transformer, struct tensor x,
                                 const struct cross_memory *memory, struct tensor slots, uint32_t norm_groups) {
    struct norm_options norm = { .groups = norm_groups, .epsilon = GROUP_EPSILON };
    struct tensor hidden = tensor_tokens(record_group_norm(program, transformer->norm, x, norm, false));
    hidden = record_linear(program, transformer->project_in, hidden, ACTIVATION_NONE, TENSOR_NONE);
    for (uint32_t i = 0; i < transformer->depth; i++) {
        const struct transformer_block *block = &transformer->blocks[i];
        struct tensor keys_values = cross_memory_bind(program, memory, block->cross, x.c);
        hidden = record_block(program, block, transformer->heads, hidden, keys_values, slots);
    }
    hidden = record_linear(program, transformer->project_out, hidden, ACTIVATION_NONE, tensor_tokens(x));
    return tensor_picture(hidden, x.h, x.w);
}
