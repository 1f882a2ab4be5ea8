/*
 * hash.c - SHA-256 by libcrypto.
 *
 * Looking the algorithm up and making a context cost more than hashing a job: both are done once, the context once a thread.
 */
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"

enum { FILE_PIECE = 1 << 20 };

static pthread_once_t prepared = PTHREAD_ONCE_INIT;
static pthread_key_t context_key; /* frees a thread's context when it ends */
static const EVP_MD *sha256;
static _Thread_local EVP_MD_CTX *own_context;

static void context_free(void *context) {
    EVP_MD_CTX_free(context);
}

static void prepare(void) {
    int failed = pthread_key_create(&context_key, context_free);
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    assert(!failed && sha256);
    (void)failed;
}

static EVP_MD_CTX *context_make(void) {
    pthread_once(&prepared, prepare);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int ok = context && EVP_DigestInit_ex(context, sha256, NULL) == 1;
    assert(ok);
    (void)ok;
    return context;
}

struct digest digest_of(const void *data, size_t size) {
    struct digest digest;
    if (!own_context) {
        own_context = context_make();
        pthread_setspecific(context_key, own_context);
    }
    int ok = EVP_DigestInit_ex(own_context, NULL, NULL) == 1 && EVP_DigestUpdate(own_context, data, size) == 1 &&
             EVP_DigestFinal_ex(own_context, digest.bytes, NULL) == 1;
    assert(ok);
    (void)ok;
    return digest;
}

void digest_hex(const struct digest *digest, char hex[DIGEST_HEX_SIZE]) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < DIGEST_SIZE; i++) {
        hex[2 * i] = digits[digest->bytes[i] >> 4];
        hex[2 * i + 1] = digits[digest->bytes[i] & 15];
    }
    hex[2 * DIGEST_SIZE] = '\0';
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

bool digest_parse(struct digest *digest, const char *hex) {
    struct digest parsed;
    for (int i = 0; i < DIGEST_SIZE; i++) {
        int high = hex_value(hex[2 * i]);
        int low = high < 0 ? -1 : hex_value(hex[2 * i + 1]);
        if (low < 0)
            return false;
        parsed.bytes[i] = (uint8_t)(high << 4 | low);
    }
    if (hex[2 * DIGEST_SIZE] != '\0')
        return false;
    *digest = parsed;
    return true;
}

int digest_compare(const struct digest *a, const struct digest *b) {
    return memcmp(a->bytes, b->bytes, DIGEST_SIZE);
}

bool digest_equal(const struct digest *a, const struct digest *b) {
    return digest_compare(a, b) == 0;
}

bool digest_is_zero(const struct digest *digest) {
    static const struct digest zero;
    return digest_equal(digest, &zero);
}

void hasher_init(struct hasher *hasher) {
    hasher->context = context_make();
}

void hasher_add(struct hasher *hasher, const void *data, size_t size) {
    int ok = EVP_DigestUpdate(hasher->context, data, size);
    assert(ok == 1);
    (void)ok;
}

struct digest hasher_finish(struct hasher *hasher) {
    struct digest digest;
    int ok = EVP_DigestFinal_ex(hasher->context, digest.bytes, NULL);
    assert(ok == 1);
    (void)ok;
    hasher_release(hasher);
    return digest;
}

void hasher_release(struct hasher *hasher) {
    EVP_MD_CTX_free(hasher->context);
    hasher->context = NULL;
}

enum err digest_of_file(struct digest *digest, uint64_t *size, const char *path, struct error *error) {
    struct hasher hasher;
    uint64_t total = 0;
    enum err err = ERR_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(error, "%s", path);
    uint8_t *buffer = memory_get(FILE_PIECE);
    hasher_init(&hasher);
    for (;;) {
        ssize_t got = read(fd, buffer, FILE_PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            err = error_errno(error, "%s", path);
        if (got <= 0)
            break;
        hasher_add(&hasher, buffer, (size_t)got);
        total += (uint64_t)got;
    }
    if (err) {
        hasher_release(&hasher);
    } else {
        *digest = hasher_finish(&hasher);
        if (size)
            *size = total;
    }
    free(buffer);
    close(fd);
    return err;
}
