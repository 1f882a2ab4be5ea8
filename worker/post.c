/* post.c - a list under a mutex, and an eventfd. */
#include "worker/post.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/bytes.h"

struct post {
    pthread_mutex_t mutex;
    struct note *first, **last;
    int fd;
};

enum err post_create(struct post **out, struct error *error) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return error_errno(error, "an eventfd");
    struct post *post = memory_get(sizeof *post);
    pthread_mutex_init(&post->mutex, NULL);
    post->last = &post->first;
    post->fd = fd;
    *out = post;
    return ERR_OK;
}

void note_free(struct note *note) {
    if (note) {
        free(note->keys);
        free(note->preview.rgb);
    }
    free(note);
}

void post_destroy(struct post *post) {
    if (!post)
        return;
    for (struct note *note = post_next(post); note; note = post_next(post))
        note_free(note);
    pthread_mutex_destroy(&post->mutex);
    close(post->fd);
    free(post);
}

void post_wake(struct post *post) {
    uint64_t one = 1;
    ssize_t put = write(post->fd, &one, sizeof one); /* fails only where the count is full, and then it is readable */
    (void)put;
}

void post_calm(struct post *post) {
    uint64_t count;
    ssize_t got = read(post->fd, &count, sizeof count); /* fails where nobody woke us */
    (void)got;
}

int post_fd(const struct post *post) {
    return post->fd;
}

void post_send(struct post *post, const struct note *note) {
    struct note *copy = memory_get(sizeof *copy);
    *copy = *note;
    copy->next = NULL;
    pthread_mutex_lock(&post->mutex);
    *post->last = copy;
    post->last = &copy->next;
    pthread_mutex_unlock(&post->mutex);
    post_wake(post);
}

/* Would another worker fail in the same way? Then the jobs are to blame, else this worker. */
static bool blames_jobs(enum err code) {
    switch (code) {
    case ERR_INVALID:
    case ERR_NOT_FOUND:
    case ERR_UNSUPPORTED:
    case ERR_CORRUPT:
    case ERR_MEMORY:
    case ERR_NUMERIC:
    case ERR_INTERNAL:
        return true;
    default:
        return false;
    }
}

void post_failure(struct post *post, const struct lease *lease, const struct digest *keys, size_t count,
                  const struct error *error) {
    struct note note = { .type = NOTE_FAILED, .lease_id = lease->id, .epoch = lease->epoch, .error = *error };
    if (keys && blames_jobs(error->code)) {
        note.keys = memory_get_array(count, sizeof *keys);
        memcpy(note.keys, keys, count * sizeof *keys);
        note.count = count;
    }
    post_send(post, &note);
}

struct note *post_next(struct post *post) {
    pthread_mutex_lock(&post->mutex);
    struct note *note = post->first;
    if (note) {
        post->first = note->next;
        if (!post->first)
            post->last = &post->first;
    }
    pthread_mutex_unlock(&post->mutex);
    return note;
}
