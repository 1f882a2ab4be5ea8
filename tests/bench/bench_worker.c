/*
 * bench_worker.c - real workers (worker/agent.h) that draw at once, for farm_rate.py: any number of agents in one process.
 *
 * Every picture is valid and its job's own: the job in its chunk, pixels made from the key. It is a pattern of eight bytes and
 * takes about 300 bytes where it is 8x8; with --noise it is stored noise with a last row of its own: 128x128 take 50 KB. What
 * those have in common is made, summed and hashed once, so that it is the farm that is measured.
 */
#include <getopt.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <openssl/evp.h>
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

enum { AGENTS_LIMIT = 4096 };

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

static const uint8_t signature[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };

static void add_header(struct bytes *png, const struct spec *spec) {
    uint8_t header[13] = { 0, 0, (uint8_t)(spec->width >> 8), (uint8_t)spec->width, 0, 0, (uint8_t)(spec->height >> 8),
                           (uint8_t)spec->height, 8, 2 /* RGB */ };
    bytes_add(png, signature, sizeof signature);
    add_chunk(png, "IHDR", header, sizeof header);
}

/* What all pictures of noise share, which is all but the last row: its bytes, and the sums and hashes as far as they reach. */
struct canvas {
    uint32_t width, height;
    struct bytes png;                    /* up to the last row's first pixel */
    uint32_t crc, adler;
    EVP_MD_CTX *file, *pixels;
};

/* What stays from one picture to the next. */
struct studio {
    z_stream deflate;
    bool noise;
    struct canvas canvas;
    EVP_MD_CTX *hash;
    struct bytes canonical, text, rows, packed; /* each picture's, kept for their memory */
};

static void must(bool holds) {
    if (!holds)
        abort();
}

static void studio_init(struct studio *studio, bool noise) {
    *studio = (struct studio){ .noise = noise };
    must(deflateInit2(&studio->deflate, 1, Z_DEFLATED, 9, 1, Z_DEFAULT_STRATEGY) == Z_OK);
    studio->hash = EVP_MD_CTX_new();
    studio->canvas.file = EVP_MD_CTX_new();
    studio->canvas.pixels = EVP_MD_CTX_new();
    must(studio->hash && studio->canvas.file && studio->canvas.pixels);
}

static void studio_release(struct studio *studio) {
    deflateEnd(&studio->deflate);
    EVP_MD_CTX_free(studio->hash);
    EVP_MD_CTX_free(studio->canvas.file);
    EVP_MD_CTX_free(studio->canvas.pixels);
    bytes_release(&studio->canvas.png);
    bytes_release(&studio->canonical);
    bytes_release(&studio->text);
    bytes_release(&studio->rows);
    bytes_release(&studio->packed);
}

static struct digest hash_on(struct studio *studio, const EVP_MD_CTX *begun, const void *data, size_t size) {
    struct digest digest;
    must(EVP_MD_CTX_copy_ex(studio->hash, begun) && EVP_DigestUpdate(studio->hash, data, size) &&
         EVP_DigestFinal_ex(studio->hash, digest.bytes, NULL));
    return digest;
}

static void add_text(struct studio *studio, struct bytes *png) {
    bytes_clear(&studio->text);
    bytes_add(&studio->text, "seedfarm", sizeof "seedfarm");
    bytes_add(&studio->text, studio->canonical.data, studio->canonical.size);
    add_chunk(png, "tEXt", studio->text.data, studio->text.size);
    add_chunk(png, "IEND", NULL, 0);
}

/* A pattern of eight bytes, deflated. */
static void draw_pattern(struct studio *studio, struct rendered *out, const struct spec *spec, const struct digest *key) {
    size_t stride = 3 * (size_t)spec->width;
    struct bytes pixels = BYTES_INIT;
    z_stream *stream = &studio->deflate;
    bytes_clear(&studio->rows);
    add_u32(&pixels, spec->width);
    add_u32(&pixels, spec->height);
    for (uint32_t y = 0; y < spec->height; y++) {
        bytes_add(&studio->rows, "", 1);
        for (size_t i = 0; i < stride; i += 8) /* sizes are multiples of 8 */
            bytes_add(&studio->rows, key->bytes, 8);
        bytes_add(&pixels, studio->rows.data + studio->rows.size - stride, stride);
    }
    deflateReset(stream);
    bytes_clear(&studio->packed);
    bytes_reserve(&studio->packed, deflateBound(stream, studio->rows.size));
    stream->next_in = studio->rows.data;
    stream->avail_in = (uInt)studio->rows.size;
    stream->next_out = studio->packed.data;
    stream->avail_out = (uInt)studio->packed.capacity;
    must(deflate(stream, Z_FINISH) == Z_STREAM_END);
    add_header(&out->png, spec);
    add_chunk(&out->png, "IDAT", studio->packed.data, stream->total_out);
    add_text(studio, &out->png);
    out->picture = digest_of(out->png.data, out->png.size);
    out->pixels = digest_of(pixels.data, pixels.size);
    bytes_release(&pixels);
}

/* One stored block (RFC 1951, 3.2.4) in an IDAT chunk. */
static void make_canvas(struct canvas *canvas, const struct spec *spec) {
    size_t stride = 3 * (size_t)spec->width, size = (stride + 1) * spec->height;
    uint64_t state = 1;
    must(size <= UINT16_MAX);
    canvas->width = spec->width;
    canvas->height = spec->height;
    bytes_clear(&canvas->png);
    add_header(&canvas->png, spec);
    add_u32(&canvas->png, (uint32_t)(size + 11));
    size_t chunk = canvas->png.size;
    bytes_add_text(&canvas->png, "IDAT");
    bytes_add(&canvas->png, (uint8_t[]){ 0x78, 1, 1, (uint8_t)size, (uint8_t)(size >> 8), (uint8_t)~size, (uint8_t)(~size >> 8) }, 7);
    size_t rows = canvas->png.size;
    must(EVP_DigestInit_ex(canvas->pixels, EVP_sha256(), NULL));
    uint8_t shape[8] = { 0, 0, (uint8_t)(spec->width >> 8), (uint8_t)spec->width, 0, 0, (uint8_t)(spec->height >> 8),
                         (uint8_t)spec->height };
    must(EVP_DigestUpdate(canvas->pixels, shape, sizeof shape));
    for (uint32_t y = 0; y + 1 < spec->height; y++) {
        bytes_add(&canvas->png, "", 1);
        for (size_t i = 0; i < stride; i += sizeof state) {
            state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            bytes_add(&canvas->png, &state, sizeof state);
        }
        must(EVP_DigestUpdate(canvas->pixels, canvas->png.data + canvas->png.size - stride, stride));
    }
    bytes_add(&canvas->png, "", 1);
    canvas->crc = libdeflate_crc32(0, canvas->png.data + chunk, canvas->png.size - chunk);
    canvas->adler = libdeflate_adler32(1, canvas->png.data + rows, canvas->png.size - rows);
    must(EVP_DigestInit_ex(canvas->file, EVP_sha256(), NULL));
    must(EVP_DigestUpdate(canvas->file, canvas->png.data, canvas->png.size));
}

/* The canvas, and a last row of the job's own. */
static void draw_noise(struct studio *studio, struct rendered *out, const struct spec *spec, const struct digest *key) {
    struct canvas *canvas = &studio->canvas;
    size_t stride = 3 * (size_t)spec->width;
    if (canvas->width != spec->width || canvas->height != spec->height)
        make_canvas(canvas, spec);
    size_t shared = canvas->png.size;
    bytes_reserve(&out->png, shared + stride + studio->canonical.size + 100);
    bytes_add(&out->png, canvas->png.data, shared);
    for (size_t i = 0; i < stride; i += 8)
        bytes_add(&out->png, key->bytes, 8);
    uint8_t *row = out->png.data + shared;
    add_u32(&out->png, libdeflate_adler32(canvas->adler, row, stride));
    add_u32(&out->png, libdeflate_crc32(canvas->crc, row, stride + 4));
    add_text(studio, &out->png);
    out->picture = hash_on(studio, canvas->file, row, out->png.size - shared);
    out->pixels = hash_on(studio, canvas->pixels, row, stride);
}

static void draw_one(struct studio *studio, struct rendered *out, const struct spec *spec) {
    *out = (struct rendered){ .png = BYTES_INIT, .render_ms = 1 };
    bytes_clear(&studio->canonical);
    spec_canonical(&studio->canonical, spec);
    struct digest key = digest_of(studio->canonical.data, studio->canonical.size);
    (studio->noise ? draw_noise : draw_pattern)(studio, out, spec, &key);
}

static enum err load(void *context, const struct spec *spec, const struct file_places *places, struct error *error) {
    (void)context, (void)spec, (void)places, (void)error;
    return ERR_OK;
}

static enum err draw(void *context, struct rendered *out, const struct spec *const *specs, size_t count,
                     const struct file_places *places, const struct render_watch *watch, struct error *error) {
    struct studio *studio = context;
    (void)places;
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
    options.painter = (struct painter){ .context = &hand->studio, .device_class = "bench", .load = load, .draw = draw };
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
