/* showing.c - one question and the batch that it is about, under a mutex. */
#include "worker/showing.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

struct showing {
    struct post *post; /* borrowed */
    pthread_mutex_t mutex; /* of everything below */
    bool asked;
    uint64_t request;
    struct digest key;
    const struct lease *lease; /* whose batch is being drawn; NULL: none is */
    const size_t *picked;      /* [count] */
    size_t count;
};

struct showing *showing_create(struct post *post) {
    struct showing *showing = memory_get(sizeof *showing);
    showing->post = post;
    pthread_mutex_init(&showing->mutex, NULL);
    return showing;
}

void showing_destroy(struct showing *showing) {
    if (!showing)
        return;
    pthread_mutex_destroy(&showing->mutex);
    free(showing);
}

/* The place of the wanted job in the batch; PREVIEW_NONE: nothing is wanted, or another job. Under the mutex. */
static uint32_t wanted_place(const struct showing *showing) {
    for (size_t i = 0; showing->asked && showing->lease && i < showing->count; i++)
        if (digest_equal(&showing->lease->keys[showing->picked[i]], &showing->key))
            return (uint32_t)i;
    return PREVIEW_NONE;
}

/* Under the mutex. */
static void refuse(struct showing *showing, enum err code, const char *why) {
    struct note note = { .type = NOTE_SHOWN, .request = showing->request };
    error_set(&note.error, code, "%s", why);
    showing->asked = false;
    post_send(showing->post, &note);
}

void showing_ask(struct showing *showing, uint64_t request, const struct digest *key) {
    pthread_mutex_lock(&showing->mutex);
    showing->asked = true;
    showing->request = request;
    showing->key = *key;
    if (wanted_place(showing) == PREVIEW_NONE)
        refuse(showing, ERR_NOT_FOUND, "it waits for its model or its turn, or is finished and on its way");
    pthread_mutex_unlock(&showing->mutex);
}

void showing_begin(struct showing *showing, const struct lease *lease, const size_t *picked, size_t count) {
    pthread_mutex_lock(&showing->mutex);
    showing->lease = lease;
    showing->picked = picked;
    showing->count = count;
    pthread_mutex_unlock(&showing->mutex);
}

static uint32_t wants(void *context) {
    struct showing *showing = context;
    pthread_mutex_lock(&showing->mutex);
    uint32_t place = wanted_place(showing);
    pthread_mutex_unlock(&showing->mutex);
    return place;
}

static void take(void *context, const struct render_preview *preview) {
    struct showing *showing = context;
    pthread_mutex_lock(&showing->mutex);
    if (wanted_place(showing) != preview->place) { /* it was asked over meanwhile */
        pthread_mutex_unlock(&showing->mutex);
        return;
    }
    if (!preview->rgb) {
        refuse(showing, ERR_UNSUPPORTED, "its model's VAE is of a kind whose latents no colours are known for");
    } else {
        size_t size = (size_t)preview->width * preview->height * 3;
        struct note note = { .type = NOTE_SHOWN, .request = showing->request,
                             .preview = { .key = showing->key, .step = preview->step, .steps = preview->steps,
                                          .width = preview->width, .height = preview->height,
                                          .rgb = memcpy(memory_get(size), preview->rgb, size) } };
        showing->asked = false;
        post_send(showing->post, &note);
    }
    pthread_mutex_unlock(&showing->mutex);
}

struct render_viewer showing_viewer(struct showing *showing) {
    return (struct render_viewer){ wants, take, showing };
}

void showing_end(struct showing *showing) {
    pthread_mutex_lock(&showing->mutex);
    if (showing->asked)
        refuse(showing, ERR_NOT_FOUND, "its drawing has ended");
    showing->lease = NULL;
    pthread_mutex_unlock(&showing->mutex);
}
