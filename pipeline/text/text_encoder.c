/*
 * text_encoder.c - the parameters of a CLIPTextModel and its recording.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "pipeline/text/text_encoder.h"
#include "pipeline/weights/config.h"

static enum activation read_activation(struct config *config) {
    const char *name = config_text(config, "hidden_act", "quick_gelu");
    if (strcmp(name, "gelu") == 0) {
        return ACTIVATION_GELU;
    }
    config_want(config, "hidden_act", "\"quick_gelu\"");
    return ACTIVATION_GELU_QUICK;
}

enum err text_encoder_config_read(struct text_encoder_config *out, const json_t *json, const char *name,
                                  struct error *error) {
    /* Training's settings, the tokenizer's business, and what only names things. */
    static const char *const SKIPPED[] = {
        "architectures", "attention_dropout", "dropout", "bos_token_id", "pad_token_id", "dtype", "torch_dtype",
        "initializer_factor", "initializer_range", "transformers_version", "use_cache", "tie_word_embeddings", NULL
    };
    struct config config;
    config_init(&config, json, name);
    struct text_encoder_config read = {
        .vocabulary = config_u32(&config, "vocab_size", 49408, 2, TEXT_VOCABULARY_LIMIT),
        .positions = config_u32(&config, "max_position_embeddings", 77, 2, TEXT_POSITIONS_LIMIT),
        .width = config_u32(&config, "hidden_size", 512, 1, TEXT_WIDTH_LIMIT),
        .inner = config_u32(&config, "intermediate_size", 2048, 1, 8 * TEXT_WIDTH_LIMIT),
        .layers = config_u32(&config, "num_hidden_layers", 12, 1, TEXT_LAYERS_LIMIT),
        .heads = config_u32(&config, "num_attention_heads", 8, 1, TEXT_WIDTH_LIMIT),
        .projection = config_u32(&config, "projection_dim", 512, 1, TEXT_WIDTH_LIMIT),
        .end = (int32_t)config_u32(&config, "eos_token_id", 49407, 0, INT32_MAX),
        .epsilon = (float)config_real(&config, "layer_norm_eps", 1e-5, 0.0, 1.0),
        .activation = read_activation(&config),
    };
    config_want(&config, "model_type", "\"clip_text_model\"");
    config_skip(&config, SKIPPED);
    enum err err = config_finish(&config, error);
    if (err != ERR_OK) {
        return err;
    }
    if (read.width % read.heads != 0) {
        return error_set(error, ERR_INVALID, "%s: num_attention_heads: want a divisor of hidden_size %u, config.json has"
                         " %u", name, read.width, read.heads);
    }
    *out = read;
    return ERR_OK;
}

static struct text_layer load_text_layer(struct loader *loader, const struct text_encoder_config *config, uint32_t place) {
    static const char *const QKV[] = { "q_proj", "k_proj", "v_proj" };
    uint32_t width = config->width;
    char prefix[LAYER_NAME_LIMIT];
    layer_name(prefix, "text_model.encoder.layers.%u.self_attn", place);
    return (struct text_layer){
        .norm1 = load_norm(loader, width, "text_model.encoder.layers.%u.layer_norm1", place),
        .qkv = load_stack(loader, width, width, true, prefix, QKV, 3),
        .attention_out = load_linear(loader, width, width, true, "%s.out_proj", prefix),
        .norm2 = load_norm(loader, width, "text_model.encoder.layers.%u.layer_norm2", place),
        .inner = load_linear(loader, config->inner, width, true, "text_model.encoder.layers.%u.mlp.fc1", place),
        .outer = load_linear(loader, width, config->inner, true, "text_model.encoder.layers.%u.mlp.fc2", place),
    };
}

enum err text_encoder_load(struct text_encoder *encoder, struct component *component, bool pooled,
                           struct backend *backend, struct error *error) {
    struct text_encoder_config config;
    enum err err = text_encoder_config_read(&config, component_config(component), component_name(component), error);
    if (err != ERR_OK) {
        return err;
    }
    *encoder = (struct text_encoder){ .config = config };
    struct loader *loader = &encoder->loader;
    loader_init(loader, component, backend, backend_numerics(backend));
    encoder->tokens = load_table(loader, config.vocabulary, config.width, "text_model.embeddings.token_embedding");
    encoder->positions = load_table(loader, config.positions, config.width, "text_model.embeddings.position_embedding");
    encoder->layers = memory_get_array(config.layers, sizeof *encoder->layers);
    for (uint32_t i = 0; i < config.layers; i++) {
        encoder->layers[i] = load_text_layer(loader, &config, i);
    }
    encoder->final_norm = load_norm(loader, config.width, "text_model.final_layer_norm");
    if (pooled) {
        encoder->projection = load_linear(loader, config.projection, config.width, false, "text_projection");
    } else {
        component_excuse(component, "text_projection.weight");
    }
    err = loader_finish(loader, error);
    if (err != ERR_OK) {
        text_encoder_release(encoder);
    }
    return err;
}

enum err text_encoder_add(struct text_encoder *encoder, const float *rows, uint32_t count, struct error *error) {
    assert(encoder->added == NULL);
    return load_made_table(&encoder->added, &encoder->loader, rows, count, encoder->config.width, error);
}

void text_encoder_release(struct text_encoder *encoder) {
    loader_release(&encoder->loader);
    free(encoder->layers);
    *encoder = (struct text_encoder){ 0 };
}

/* x [n,T,1,D] -> [n,T,1,D] */
static struct tensor record_text_layer(struct program *program, const struct text_layer *layer,
                                       const struct text_encoder_config *config, struct tensor x) {
    uint32_t width = config->width;
    struct tensor hidden = record_layer_norm(program, layer->norm1, x, config->epsilon);
    struct tensor qkv = record_linear(program, layer->qkv, hidden, ACTIVATION_NONE, TENSOR_NONE); /* [n,T,1,3D] */
    hidden = op_attention(program, tensor_slice(qkv, 0, width), tensor_slice(qkv, width, width),
                          tensor_slice(qkv, 2 * width, width), TENSOR_NONE, config->heads, true);
    x = record_linear(program, layer->attention_out, hidden, ACTIVATION_NONE, x);
    hidden = record_layer_norm(program, layer->norm2, x, config->epsilon);
    hidden = record_linear(program, layer->inner, hidden, config->activation, TENSOR_NONE);
    return record_linear(program, layer->outer, hidden, ACTIVATION_NONE, x);
}

uint32_t text_encoder_end(const struct text_encoder *encoder, const int32_t *ids, uint32_t count) {
    uint32_t place = 0;
    if (encoder->config.end == 2) { /* configs of old said 2 whatever the id was: transformers takes the largest id's place */
        for (uint32_t i = 1; i < count; i++) {
            place = ids[i] > ids[place] ? i : place;
        }
        return place;
    }
    while (place < count && ids[place] != encoder->config.end) {
        place++;
    }
    return place < count ? place : 0; /* as transformers, for a text without end */
}

struct text_states text_encoder_record(struct program *program, const struct text_encoder *encoder, struct tensor ids,
                                       uint32_t skip, bool norm) {
    const struct text_encoder_config *config = &encoder->config;
    bool pooled = encoder->projection.weight != NULL;
    assert(skip < config->layers);
    struct text_states states = { .projected = TENSOR_NONE };
    struct tensor x = op_embed(program, ids, encoder->tokens, encoder->added, encoder->positions);
    uint32_t last = pooled ? config->layers : config->layers - skip;
    for (uint32_t i = 0; i < last; i++) {
        x = record_text_layer(program, &encoder->layers[i], config, x);
        if (i + 1 + skip == config->layers) {
            states.hidden = norm ? record_layer_norm(program, encoder->final_norm, x, config->epsilon) : x;
        }
    }
    if (pooled) {
        x = record_layer_norm(program, encoder->final_norm, x, config->epsilon);
        states.projected = record_linear(program, encoder->projection, x, ACTIVATION_NONE, TENSOR_NONE);
    }
    return states;
}
