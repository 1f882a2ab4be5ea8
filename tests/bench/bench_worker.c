/*
 * bench_worker.c - real workers (worker/agent.h) that draw at once, for farm_rate.py: any number of agents in one process.
 *
 * Every picture is valid and its job's own: the job in its chunk, pixels made from the key. It is a pattern of eight bytes and
 * takes about 300 bytes where it is 8x8; with --noise it is noise, stored: 128x128 take 50 KB.
 */
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "base/log.h"
#include "worker/agent.h"

static const char help[] =
    "usage: bench_worker --coordinator ADDR --cache DIR --models DIR [--agents N] [--batch N] [--noise]\n";

enum { AGENTS_LIMIT = 4096, PNG_HEAD = 33, CHUNK_FRAME = 12 };

/* ---- pictures --------------------------------------------------------------------------------------------------------- */

static void add_u32(struct bytes *out, uint32_t value) {
    bytes_add(out, (uint8_t[]){ (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value }, 4);
}

static void add_chunk(struct bytes *png, const char *type, const void *data, size_t size) {
    add_u32(png, (uint32_t)size);
    size_t begin = png->size;
    bytes_add_text(png, type);
    bytes_add(png, data, size);
    add_u32(png, (uint32_t)crc32(0, png->data + begin, (uInt)(png->size - begin)));
}

/* What stays from one picture to the next. */
struct studio {
    z_stream deflate;
    bool noise;
    struct bytes canonical, text, rows, packed, hashed; /* each picture's, kept for their memory */
};

static void studio_init(struct studio *studio, bool noise) {
    *studio = (struct studio){ .noise = noise };
    if (deflateInit2(&studio->deflate, noise ? 0 : 1, Z_DEFLATED, 9, 1, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
}

static void studio_release(struct studio *studio) {
    deflateEnd(&studio->deflate);
    bytes_release(&studio->canonical);
    bytes_release(&studio->text);
    bytes_release(&studio->rows);
    bytes_release(&studio->packed);
    bytes_release(&studio->hashed);
}

/* rows: [height, 1 + 3*width], filter 0; hashed: width, height and the pixels alone. */
static void make_pixels(struct studio *studio, const struct spec *spec, const struct digest *key) {
    uint64_t state;
    size_t stride = 3 * (size_t)spec->width;
    bytes_clear(&studio->rows);
    bytes_clear(&studio->hashed);
    bytes_reserve(&studio->rows, (stride + 1) * spec->height + 8);
    bytes_reserve(&studio->hashed, stride * spec->height + 8);
    add_u32(&studio->hashed, spec->width);
    add_u32(&studio->hashed, spec->height);
    memcpy(&state, key->bytes, sizeof state);
    for (uint32_t y = 0; y < spec->height; y++) {
        uint8_t *row = studio->rows.data + studio->rows.size;
        *row++ = 0;
        for (size_t i = 0; i < stride; i += 8) { /* the last step may run over: there are 8 bytes more */
            if (studio->noise)
                state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            memcpy(row + i, &state, sizeof state);
        }
        studio->rows.size += stride + 1;
        bytes_add(&studio->hashed, row, stride);
    }
}

static void pack_pixels(struct studio *studio) {
    z_stream *stream = &studio->deflate;
    deflateReset(stream);
    bytes_clear(&studio->packed);
    bytes_reserve(&studio->packed, deflateBound(stream, studio->rows.size));
    stream->next_in = studio->rows.data;
    stream->avail_in = (uInt)studio->rows.size;
    stream->next_out = studio->packed.data;
    stream->avail_out = (uInt)studio->packed.capacity;
    if (deflate(stream, Z_FINISH) != Z_STREAM_END)
        abort();
    studio->packed.size = stream->total_out;
}

static void draw_one(struct studio *studio, struct rendered *out, const struct spec *spec) {
    static const uint8_t signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    struct bytes *png = &out->png;
    uint8_t header[13] = { 0, 0, (uint8_t)(spec->width >> 8), (uint8_t)spec->width, 0, 0, (uint8_t)(spec->height >> 8),
                           (uint8_t)spec->height, 8, 2 /* RGB */ };
    *out = (struct rendered){ .png = BYTES_INIT, .render_ms = 1 };
    bytes_clear(&studio->canonical);
    spec_canonical(&studio->canonical, spec);
    struct digest key = digest_of(studio->canonical.data, studio->canonical.size);
    make_pixels(studio, spec, &key);
    pack_pixels(studio);
    bytes_clear(&studio->text);
    bytes_add(&studio->text, "seedfarm", sizeof "seedfarm");
    bytes_add(&studio->text, studio->canonical.data, studio->canonical.size);
    bytes_reserve(png, PNG_HEAD + 3 * CHUNK_FRAME + studio->text.size + studio->packed.size);
    bytes_add(png, signature, sizeof signature);
    add_chunk(png, "IHDR", header, sizeof header);
    add_chunk(png, "tEXt", studio->text.data, studio->text.size);
    add_chunk(png, "IDAT", studio->packed.data, studio->packed.size);
    add_chunk(png, "IEND", NULL, 0);
    out->picture = digest_of(png->data, png->size);
    out->pixels = digest_of(studio->hashed.data, studio->hashed.size);
}

static enum err load(void *context, const struct digest *model, const char *folder, struct error *error) {
    (void)context, (void)model, (void)folder, (void)error;
    return ERR_OK;
}

static enum err draw(void *context, struct rendered *out, const struct spec *const *specs, size_t count,
                     const struct render_watch *watch, struct error *error) {
    struct studio *studio = context;
    if (!watch->progress(watch->context, RENDER_STEP, 1, specs[0]->steps))
        return error_set(error, ERR_CANCELLED, "told to stop");
    for (size_t i = 0; i < count; i++)
        draw_one(studio, &out[i], specs[i]);
    return ERR_OK;
}

/* ---- agents ----------------------------------------------------------------------------------------------------------- */

struct hand {
    struct studio studio;
    struct agent *agent;
    char *name, *cache;
    pthread_t thread;
};

static struct hand hands[AGENTS_LIMIT];

static void die(const char *what, const char *why) {
    fprintf(stderr, "bench_worker: %s: %s\n", what, why);
    exit(1);
}

static void *run_hand(void *argument) {
    struct error error;
    if (agent_run(((struct hand *)argument)->agent, &error) != ERR_OK)
        die("an agent", error.message);
    return NULL;
}

static void start_hand(struct hand *hand, const struct agent_options *common, uint32_t number, bool noise) {
    struct agent_options options = *common;
    struct error error;
    studio_init(&hand->studio, noise);
    hand->name = text_format("bench-%" PRIu32, number);
    hand->cache = text_format("%s/%" PRIu32, common->cache, number);
    options.name = hand->name;
    options.cache = hand->cache;
    options.painter = (struct painter){ &hand->studio, "bench", load, draw };
    if (agent_create(&hand->agent, &options, &error) != ERR_OK)
        die(hand->name, error.message);
    if (pthread_create(&hand->thread, NULL, run_hand, hand) != 0)
        die(hand->name, "no thread for it");
}

static void end_hand(struct hand *hand) {
    agent_stop(hand->agent);
    pthread_join(hand->thread, NULL);
    agent_destroy(hand->agent);
    studio_release(&hand->studio);
    free(hand->name);
    free(hand->cache);
}

int main(int argc, char **argv) {
    static const struct option table[] = {
        { "coordinator", required_argument, NULL, 'c' }, { "cache", required_argument, NULL, 'd' },
        { "models", required_argument, NULL, 'm' },      { "agents", required_argument, NULL, 'a' },
        { "batch", required_argument, NULL, 'b' },       { "noise", no_argument, NULL, 'n' },
        { NULL, 0, NULL, 0 },
    };
    struct agent_options options = { .host = "here", .device = "cpu", .threads = 1, .batch = 256 };
    unsigned long agents = 1;
    bool noise = false;
    sigset_t ends;
    int which;
    for (int option; (option = getopt_long(argc, argv, "", table, NULL)) != -1;)
        switch (option) {
        case 'c': options.coordinator = optarg; break;
        case 'd': options.cache = optarg; break;
        case 'm': options.models = optarg; break;
        case 'a': agents = strtoul(optarg, NULL, 10); break;
        case 'b': options.batch = (uint32_t)strtoul(optarg, NULL, 10); break;
        case 'n': noise = true; break;
        default: fputs(help, stderr); return 2;
        }
    if (!options.coordinator || !options.cache || agents < 1 || agents > AGENTS_LIMIT || !options.batch) {
        fputs(help, stderr);
        return 2;
    }
    log_open(STDERR_FILENO, LOG_INFO, "worker");
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    for (uint32_t i = 0; i < agents; i++)
        start_hand(&hands[i], &options, i, noise);
    sigwait(&ends, &which);
    for (uint32_t i = 0; i < agents; i++)
        end_hand(&hands[i]);
    return 0;
}
