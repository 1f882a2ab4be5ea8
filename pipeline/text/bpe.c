/*
 * bpe.c - the merge table, and a heap of the pairs that wait to be joined.
 */
#include "pipeline/text/bpe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static const char SUFFIX[] = "</w>";

struct merge {
    int32_t left, right; /* left -1: an empty place */
    uint32_t rank;
    int32_t joined;
};

struct bpe {
    int32_t first[256]; /* token of a byte within a word */
    int32_t last[256];  /* token of a byte at its end */
    struct merge *table;
    size_t mask; /* table has mask + 1 places, at least twice the merges */
    uint32_t count, limit;
};

struct symbol {
    int32_t id; /* -1: joined into the one before */
    uint32_t before, behind;
};

#define NOBODY UINT32_MAX

struct candidate {
    uint32_t rank, place;
    int32_t left, right, joined;
};

struct heap {
    struct candidate *items;
    size_t count;
};

void ids_add(struct ids *ids, int32_t id) {
    if (ids->count == ids->capacity) {
        ids->capacity = ids->capacity ? 2 * ids->capacity : 128;
        ids->items = memory_grow(ids->items, ids->capacity, sizeof *ids->items);
    }
    ids->items[ids->count++] = id;
}

void ids_release(struct ids *ids) {
    free(ids->items);
    *ids = (struct ids)IDS_INIT;
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

/* GPT-2's alphabet: a printable Latin-1 byte stands for itself, the others for U+0100 on, in order. */
static size_t byte_letter(char out[3], unsigned byte) {
    unsigned letter = byte;
    if (byte <= 0x20)
        letter = 0x100 + byte;
    else if (byte >= 0x7f && byte <= 0xa0)
        letter = 0x121 + (byte - 0x7f);
    else if (byte == 0xad)
        letter = 0x143;
    if (letter < 0x80) {
        out[0] = (char)letter;
        return 1;
    }
    out[0] = (char)(0xc0 | letter >> 6);
    out[1] = (char)(0x80 | (letter & 0x3f));
    return 2;
}

static int32_t token_of(const json_t *vocabulary, const char *text, int32_t unknown) {
    const json_t *id = json_object_get(vocabulary, text);
    return id ? (int32_t)json_integer_value(id) : unknown;
}

struct bpe *bpe_create(const json_t *vocabulary, size_t merges, int32_t unknown) {
    struct bpe *bpe = memory_get(sizeof *bpe);
    size_t places = 16;
    while (places < 2 * merges)
        places *= 2;
    bpe->table = memory_get_array(places, sizeof *bpe->table);
    for (size_t i = 0; i < places; i++)
        bpe->table[i].left = -1;
    bpe->mask = places - 1;
    bpe->limit = (uint32_t)merges;
    for (unsigned byte = 0; byte < 256; byte++) {
        char letter[2 + sizeof SUFFIX];
        size_t size = byte_letter(letter, byte);
        letter[size] = '\0';
        bpe->first[byte] = token_of(vocabulary, letter, unknown);
        memcpy(letter + size, SUFFIX, sizeof SUFFIX);
        bpe->last[byte] = token_of(vocabulary, letter, unknown);
    }
    return bpe;
}

void bpe_destroy(struct bpe *bpe) {
    if (!bpe)
        return;
    free(bpe->table);
    free(bpe);
}

/* The place of a pair, or the empty place where it belongs. */
static struct merge *find_merge(const struct bpe *bpe, int32_t left, int32_t right) {
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15ull;
    size_t place = (size_t)(hash >> 32) & bpe->mask;
    while (bpe->table[place].left != -1 && (bpe->table[place].left != left || bpe->table[place].right != right))
        place = (place + 1) & bpe->mask;
    return &bpe->table[place];
}

enum err bpe_add_merge(struct bpe *bpe, const json_t *vocabulary, const char *left, size_t left_size, const char *right,
                       size_t right_size, struct error *error) {
    struct bytes text = BYTES_INIT;
    int32_t tokens[3];
    assert(bpe->count < bpe->limit);
    for (int i = 0; i < 3; i++) {
        bytes_clear(&text);
        if (i != 1)
            bytes_add(&text, left, left_size);
        if (i != 0)
            bytes_add(&text, right, right_size);
        tokens[i] = token_of(vocabulary, bytes_text(&text), -1);
        if (tokens[i] < 0) {
            enum err err = error_set(error, ERR_CORRUPT, "want tokens of the vocabulary, it has no \"%.128s\"",
                                     bytes_text(&text));
            bytes_release(&text);
            return err;
        }
    }
    bytes_release(&text);
    /* a pair listed twice has its later rank, as in the tokenizers library */
    *find_merge(bpe, tokens[0], tokens[1]) = (struct merge){ tokens[0], tokens[1], bpe->count++, tokens[2] };
    return ERR_OK;
}

/* ---- encoding --------------------------------------------------------------------------------------------------- */

static int sooner(const struct candidate *a, const struct candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->place < b->place;
}

static void heap_push(struct heap *heap, struct candidate item) {
    size_t at = heap->count++;
    for (; at > 0 && sooner(&item, &heap->items[(at - 1) / 2]); at = (at - 1) / 2)
        heap->items[at] = heap->items[(at - 1) / 2];
    heap->items[at] = item;
}

static struct candidate heap_pop(struct heap *heap) {
    struct candidate top = heap->items[0], item = heap->items[--heap->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && sooner(&heap->items[child + 1], &heap->items[child]))
            child++;
        if (!sooner(&heap->items[child], &item))
            break;
        heap->items[at] = heap->items[child];
    }
    heap->items[at] = item;
    return top;
}

/* If the symbol at `place` and its neighbour are a learned pair, they wait for their turn. */
static void consider(struct heap *heap, const struct bpe *bpe, const struct symbol *symbols, uint32_t place) {
    if (place == NOBODY || symbols[place].behind == NOBODY)
        return;
    int32_t left = symbols[place].id, right = symbols[symbols[place].behind].id;
    const struct merge *merge = find_merge(bpe, left, right);
    if (merge->left != -1)
        heap_push(heap, (struct candidate){ merge->rank, place, left, right, merge->joined });
}

void bpe_encode(struct ids *out, const struct bpe *bpe, const uint8_t *word, size_t size) {
    struct symbol *symbols = memory_get_array(size, sizeof *symbols);
    /* every join considers two new pairs, and there are size - 1 joins at most */
    struct heap heap = { memory_get_array(3 * size, sizeof *heap.items), 0 };
    for (uint32_t i = 0; i < size; i++)
        symbols[i] = (struct symbol){ i + 1 < size ? bpe->first[word[i]] : bpe->last[word[i]], i ? i - 1 : NOBODY,
                                      i + 1 < size ? i + 1 : NOBODY };
    for (uint32_t i = 0; i < size; i++)
        consider(&heap, bpe, symbols, i);
    while (heap.count > 0) {
        struct candidate next = heap_pop(&heap);
        struct symbol *symbol = &symbols[next.place];
        if (symbol->id != next.left || symbol->behind == NOBODY || symbols[symbol->behind].id != next.right)
            continue; /* one of the two was joined with another since */
        struct symbol *eaten = &symbols[symbol->behind];
        symbol->id = next.joined;
        symbol->behind = eaten->behind;
        eaten->id = -1;
        if (symbol->behind != NOBODY)
            symbols[symbol->behind].before = next.place;
        consider(&heap, bpe, symbols, symbol->before);
        consider(&heap, bpe, symbols, next.place);
    }
    for (uint32_t i = 0; i != NOBODY; i = symbols[i].behind)
        ids_add(out, symbols[i].id);
    free(heap.items);
    free(symbols);
}
