/*
 * double.h - stand-ins for the two neighbours of a worker: what draws, and the coordinator.
 *
 * The painter double draws instantly (or as slowly as told), the same bytes for the same job. The coordinator double is a
 * real ROUTER on a real ipc path that does only what the test says; offers alone it answers by itself.
 */
#ifndef TESTS_WORKER_DOUBLE_H
#define TESTS_WORKER_DOUBLE_H

#include <stdatomic.h>

#include "proto/link.h"
#include "worker/agent.h"

/* ---- painter -------------------------------------------------------------------------------------------------------- */

struct double_painter {
    atomic_uint step_ms;       /* a step takes so long */
    atomic_uint finish_ms;     /* a picture's PNG takes so long */
    atomic_bool hold;          /* no PNG comes to its end */
    atomic_bool blind;         /* shows no previews; else a pixel: the place of the job in its batch */
    atomic_bool colourless;    /* its previews have no pixels */
    atomic_uint most;          /* a batch of more is ERR_MEMORY; 0: no bound */
    atomic_ullong bad_seed;    /* comes out as NaN; 0: none */
    atomic_ullong worse_seed;  /* fails its whole batch; 0: none */
    atomic_bool hold_loading;  /* nothing that is loaded ahead comes to its end */
    atomic_uint loads, prepares, batches, jobs, largest; /* counts */
    atomic_bool loading_ahead; /* now */
    atomic_ullong begin_ns, end_ns, drawing_ns; /* first draw's begin, last one's end, and time in all of them */
    atomic_uint finishing, together; /* pictures being finished now, and at once at most */
};
struct painter double_painter(struct double_painter *painter);
void double_png(struct bytes *png, const struct spec *spec); /* what it draws: no real PNG, but the same every time */

/* ---- jobs ----------------------------------------------------------------------------------------------------------- */

void double_spec(struct spec *spec, const struct digest *model, uint64_t seed, uint32_t steps);
struct digest double_key(const struct digest *model, uint64_t seed, uint32_t steps);

/* ---- coordinator ---------------------------------------------------------------------------------------------------- */

struct double_coordinator {
    char address[120];
    struct link *link;
    struct route worker;   /* who wrote last */
    uint32_t heartbeat_ms, liveness_ms;
    uint64_t credit_bytes;
    bool has_all;          /* offers are answered by "have it" instead of "wanted" */
};
void coordinator_open(struct double_coordinator *coordinator, const char *address);
void coordinator_close(struct double_coordinator *coordinator);
/* The next message of this type; others are dropped on the way. Fails the test after 10 s (20 under sanitizers). */
void coordinator_expect(struct message *message, struct double_coordinator *coordinator, enum message_type type);
/* The next message of any type, or false after timeout_ms. */
bool coordinator_hear(struct message *message, struct double_coordinator *coordinator, uint32_t timeout_ms);
void coordinator_say(struct double_coordinator *coordinator, const struct message *message);
/* Hello is expected and welcomed. */
void coordinator_welcome(struct double_coordinator *coordinator);
void coordinator_assign(struct double_coordinator *coordinator, uint64_t lease, const struct digest *model,
                        uint64_t first_seed, size_t count, uint32_t steps);
void coordinator_acknowledge(struct double_coordinator *coordinator, const struct message *results);

/* ---- a place -------------------------------------------------------------------------------------------------------- */

char *place_create(void); /* a fresh folder in /tmp */
void place_remove(char *place); /* with everything in it; frees */
size_t place_count(const char *folder); /* entries */
/* A folder that passes for a model: three small files, one of `extra` bytes. */
void model_create(const char *folder, size_t extra);

#endif
