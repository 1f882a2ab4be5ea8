/*
 * yaml.c - a sweep file as a small tree, from libyaml's events. Aliases are never followed (a few lines of them can stand
 * for gigabytes), and the number of nodes and their depth are bounded before memory is taken.
 */
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "proto/sweep_parts.h"

enum { YAML_DEPTH_LIMIT = 16 };

struct yaml_reader {
    yaml_parser_t parser;
    const char *name;
    size_t nodes;
    struct error *error;
};

void yaml_release(struct yaml_node *node)
{
    for (size_t i = 0; i < node->count; i++)
        yaml_release(&node->items[i]);
    free(node->items);
    free(node->text);
    memset(node, 0, sizeof *node);
}

static enum err refuse(struct yaml_reader *reader, size_t line, enum err code, const char *what)
{
    return error_set(reader->error, code, "%s:%zu: %s", reader->name, line + 1, what);
}

static enum err next_event(yaml_event_t *event, struct yaml_reader *reader)
{
    if (yaml_parser_parse(&reader->parser, event))
        return ERR_OK;
    const yaml_parser_t *parser = &reader->parser;
    size_t line = parser->problem_mark.line;
    return error_set(reader->error, ERR_INVALID, "%s:%zu: not valid YAML: %s%s%s", reader->name, line + 1,
                     parser->context ? parser->context : "", parser->context ? ": " : "",
                     parser->problem ? parser->problem : "unreadable");
}

static struct yaml_node *item_add(struct yaml_node *node, size_t *room)
{
    if (node->count == *room) {
        *room = *room ? 2 * *room : 4;
        node->items = memory_grow(node->items, *room, sizeof *node->items);
    }
    struct yaml_node *item = &node->items[node->count++];
    memset(item, 0, sizeof *item);
    return item;
}

static enum err scalar_read(struct yaml_node *node, const yaml_event_t *event, struct yaml_reader *reader)
{
    const char *text = (const char *)event->data.scalar.value;
    size_t size = event->data.scalar.length;
    if (memchr(text, 0, size))
        return refuse(reader, event->start_mark.line, ERR_INVALID, "want text, not a NUL character");
    node->kind = YAML_SCALAR;
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = text_copy_size(text, size);
    return ERR_OK;
}

static enum err key_check(const struct yaml_node *map, const struct yaml_node *key, struct yaml_reader *reader)
{
    if (key->kind != YAML_SCALAR)
        return refuse(reader, key->line - 1, ERR_INVALID, "want a word as a key");
    for (size_t i = 0; i + 2 < map->count; i += 2)
        if (strcmp(map->items[i].text, key->text) == 0)
            return error_set(reader->error, ERR_INVALID, "%s:%u: \"%.80s\" is given twice, first in line %u", reader->name, key->line,
                             key->text, map->items[i].line);
    return ERR_OK;
}

static enum err node_read(struct yaml_node *node, yaml_event_t *event, int depth, struct yaml_reader *reader);

/* What is inside a list or map, up to its end. */
static enum err items_read(struct yaml_node *node, yaml_event_type_t end, int depth, struct yaml_reader *reader)
{
    size_t room = 0;
    for (;;) {
        yaml_event_t event;
        enum err code = next_event(&event, reader);
        if (code != ERR_OK)
            return code;
        if (event.type == end) {
            yaml_event_delete(&event);
            return ERR_OK;
        }
        struct yaml_node *item = item_add(node, &room);
        code = node_read(item, &event, depth + 1, reader);
        yaml_event_delete(&event);
        if (code == ERR_OK && node->kind == YAML_MAP && node->count % 2 == 1)
            code = key_check(node, item, reader);
        if (code == ERR_OK && node->kind == YAML_MAP && node->count > 2 * 1000)
            code = refuse(reader, item->line - 1, ERR_LIMIT, "want at most 1000 keys in one place, have more");
        if (code != ERR_OK)
            return code;
    }
}

static enum err node_read(struct yaml_node *node, yaml_event_t *event, int depth, struct yaml_reader *reader)
{
    size_t line = event->start_mark.line;
    const yaml_char_t *anchor = NULL, *tag = NULL;

    node->line = (uint32_t)line + 1;
    if (++reader->nodes > LIMIT_SWEEP_VALUES)
        return error_set(reader->error, ERR_LIMIT, "%s:%zu: want at most %d values written out, have more (prompts may come from a file)",
                         reader->name, line + 1, LIMIT_SWEEP_VALUES);
    if (depth > YAML_DEPTH_LIMIT)
        return error_set(reader->error, ERR_LIMIT, "%s:%zu: want at most %d lists in each other, have more", reader->name, line + 1,
                         YAML_DEPTH_LIMIT);
    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return refuse(reader, line, ERR_INVALID, "aliases (*name) are not read: write the value again");
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default:
        return refuse(reader, line, ERR_INVALID, "want a value");
    }
    if (anchor)
        return refuse(reader, line, ERR_INVALID, "anchors (&name) are not read: write the value where it belongs");
    if (tag)
        return refuse(reader, line, ERR_INVALID, "tags (!name) are not read");
    if (event->type == YAML_SCALAR_EVENT)
        return scalar_read(node, event, reader);
    bool list = event->type == YAML_SEQUENCE_START_EVENT;
    node->kind = list ? YAML_LIST : YAML_MAP;
    return items_read(node, list ? YAML_SEQUENCE_END_EVENT : YAML_MAPPING_END_EVENT, depth, reader);
}

/* The next event must be of this type. */
static enum err event_expect(yaml_event_type_t type, const char *what, struct yaml_reader *reader)
{
    yaml_event_t event;
    enum err code = next_event(&event, reader);
    if (code != ERR_OK)
        return code;
    if (event.type != type)
        code = refuse(reader, event.start_mark.line, ERR_INVALID, what);
    yaml_event_delete(&event);
    return code;
}

enum err yaml_parse(struct yaml_node *root, const void *data, size_t size, const char *name, struct error *error)
{
    struct yaml_reader reader = {.name = name, .error = error};
    struct yaml_node read = {0};
    yaml_event_t event;

    if (!yaml_parser_initialize(&reader.parser))
        return error_set(error, ERR_MEMORY, "%s: no memory to read it", name);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, data, size);
    enum err code = event_expect(YAML_STREAM_START_EVENT, "want YAML", &reader);
    if (code == ERR_OK)
        code = event_expect(YAML_DOCUMENT_START_EVENT, "the file is empty", &reader);
    if (code == ERR_OK)
        code = next_event(&event, &reader);
    if (code == ERR_OK) {
        code = node_read(&read, &event, 1, &reader);
        yaml_event_delete(&event);
    }
    if (code == ERR_OK)
        code = event_expect(YAML_DOCUMENT_END_EVENT, "want one document", &reader);
    if (code == ERR_OK)
        code = event_expect(YAML_STREAM_END_EVENT, "want one document, here a second one begins", &reader);
    yaml_parser_delete(&reader.parser);
    if (code == ERR_OK)
        *root = read;
    else
        yaml_release(&read);
    return code;
}
