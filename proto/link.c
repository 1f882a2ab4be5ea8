/*
 * link.c - ZeroMQ with its options said. See link.h; the reasons are measured facts about libzmq 4.3.4:
 * a ROUTER without MANDATORY drops silently, LINGER and MAXMSGSIZE are unbounded by default, a DEALER without IMMEDIATE
 * queues to peers that are gone, MAXMSGSIZE is per frame (so a message is one frame here, and more are dropped).
 */
#include "proto/link.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <zmq.h>

#include "base/clock.h"

enum {
    LINGER_MS = 500,            /* for answers that are on their way when a process ends */
    QUEUE_MESSAGES = 1000,      /* to and from one peer; bytes are bounded by credit */
    /* Dead TCP connections are the kernel's to find. ZeroMQ's own heartbeats keep a timer a peer in one list that is searched
     * from its beginning: with a thousand idle peers that took a third of all the coordinator did. */
    KEEPALIVE_IDLE_S = 10, KEEPALIVE_INTERVAL_S = 5, KEEPALIVE_COUNT = 3,
    UNACKNOWLEDGED_MS = 25000,  /* the same where something is on its way */
    HANDSHAKE_MS = 5000,
    CONNECT_TIMEOUT_MS = 5000,
    RECONNECT_MS = 100,         /* doubling to ... */
    RECONNECT_MAX_MS = 5000
};

struct link {
    void *context;
    void *socket;
    void *monitor;          /* DEALER: tells connected from not, which EAGAIN alone does not */
    bool connected;
    bool router;
    uint64_t request;       /* number of the last question */
    char address[512];      /* for sentences */
};

/* ---- addresses ---------------------------------------------------------------------------------------------------- */

static enum err ipc_check(const char *address, struct error *error)
{
    const char *path = address + strlen("ipc://");
    size_t limit = sizeof ((struct sockaddr_un *)NULL)->sun_path - 1;

    if (*path == '\0' || strcmp(path, "*") == 0)
        return error_set(error, ERR_INVALID, "address \"%.200s\": want a path behind ipc://", address);
    if (strlen(path) > limit)
        return error_set(error, ERR_INVALID, "address \"%.300s\": the system takes socket paths of at most %zu bytes, this one has %zu",
                         address, limit, strlen(path));
    return ERR_OK;
}

/* Split "tcp://host:port"; host without its brackets. `wildcard`: may the port be "*" (the system picks one)? */
static enum err tcp_split(char host[256], bool *bracketed, const char *address, bool wildcard, struct error *error)
{
    const char *start = address + strlen("tcp://");
    const char *colon = strrchr(start, ':');
    *bracketed = *start == '[';
    size_t size = colon ? (size_t)(colon - start) : 0;

    if (!colon || size == 0 || size > 255 || (*bracketed && start[size - 1] != ']') ||
        (!*bracketed && memchr(start, ':', size)))
        return error_set(error, ERR_INVALID, "address \"%.200s\": want tcp://HOST:PORT", address);
    const char *port = colon + 1;
    if (!(wildcard && strcmp(port, "*") == 0)) {
        char *end;
        unsigned long number = strtoul(port, &end, 10);
        if (!isdigit((unsigned char)*port) || *end || strlen(port) > 5 || number < 1 || number > 65535)
            return error_set(error, ERR_INVALID, "address \"%.200s\": want a port of 1..65535, have \"%.20s\"", address, port);
    }
    size_t skip = *bracketed ? 1 : 0;
    memcpy(host, start + skip, size - 2 * skip);
    host[size - 2 * skip] = '\0';
    return ERR_OK;
}

static bool host_is_loopback(const char *host)
{
    unsigned parts[4];
    int end = 0;
    if (strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0)
        return true;
    return sscanf(host, "%3u.%3u.%3u.%3u%n", &parts[0], &parts[1], &parts[2], &parts[3], &end) == 4 && host[end] == '\0' &&
           parts[0] == 127 && parts[1] < 256 && parts[2] < 256 && parts[3] < 256;
}

static enum err address_check(const char *address, bool bind, struct error *error)
{
    char host[256];
    bool bracketed;

    if (strlen(address) >= sizeof ((struct link *)NULL)->address)
        return error_set(error, ERR_INVALID, "address \"%.60s...\": want at most %zu bytes, have %zu", address,
                         sizeof ((struct link *)NULL)->address - 1, strlen(address));
    if (strncmp(address, "ipc://", 6) == 0)
        return ipc_check(address, error);
    if (strncmp(address, "tcp://", 6) != 0)
        return error_set(error, ERR_INVALID, "address \"%.200s\": want ipc://PATH or tcp://HOST:PORT", address);
    enum err code = tcp_split(host, &bracketed, address, bind, error);
    if (code != ERR_OK)
        return code;
    if (bind && !host_is_loopback(host))
        return error_set(error, ERR_INVALID, "address \"%.200s\": without keys only ipc and loopback may be listened on "
                         "(tcp://127.0.0.1:PORT), \"%.100s\" is neither", address, host);
    if (!bind && (strcmp(host, "*") == 0 || strcmp(host, "0.0.0.0") == 0))
        return error_set(error, ERR_INVALID, "address \"%.200s\": want a host to connect to, \"%s\" is every one", address, host);
    return ERR_OK;
}

enum err address_check_bind(const char *address, struct error *error)
{
    return address_check(address, true, error);
}

enum err address_check_connect(const char *address, struct error *error)
{
    return address_check(address, false, error);
}

/* ---- making links ------------------------------------------------------------------------------------------------- */

static void option(void *socket, int name, int value)
{
    int rc = zmq_setsockopt(socket, name, &value, sizeof value);
    assert(rc == 0); /* constants of ours that the library knows */
    (void)rc;
}

static struct link *link_create(int type)
{
    struct link *link = memory_get(sizeof *link);
    int64_t largest = LIMIT_MESSAGE;
    link->router = type == ZMQ_ROUTER;
    link->context = zmq_ctx_new();
    assert(link->context);
    link->socket = zmq_socket(link->context, type);
    if (!link->socket) {
        link_destroy(link);
        return NULL;
    }
    zmq_setsockopt(link->socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest);
    option(link->socket, ZMQ_LINGER, LINGER_MS);
    option(link->socket, ZMQ_SNDHWM, QUEUE_MESSAGES);
    option(link->socket, ZMQ_RCVHWM, QUEUE_MESSAGES);
    option(link->socket, ZMQ_TCP_KEEPALIVE, 1);
    option(link->socket, ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S);
    option(link->socket, ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_INTERVAL_S);
    option(link->socket, ZMQ_TCP_KEEPALIVE_CNT, KEEPALIVE_COUNT);
    option(link->socket, ZMQ_TCP_MAXRT, UNACKNOWLEDGED_MS);
    option(link->socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_MS);
    option(link->socket, ZMQ_IPV6, 0);
    if (link->router) {
        option(link->socket, ZMQ_ROUTER_MANDATORY, 1);
        option(link->socket, ZMQ_ROUTER_HANDOVER, 0);
    } else {
        option(link->socket, ZMQ_IMMEDIATE, 1);
        option(link->socket, ZMQ_CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS);
        option(link->socket, ZMQ_RECONNECT_IVL, RECONNECT_MS);
        option(link->socket, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
    }
    return link;
}

/* "localhost" is 127.0.0.1 here: zmq_bind wants numbers. */
static void address_numeric(char out[512], const char *address)
{
    static const char name[] = "tcp://localhost:";
    if (strncmp(address, name, sizeof name - 1) == 0)
        snprintf(out, 512, "tcp://127.0.0.1:%s", address + sizeof name - 1);
    else
        snprintf(out, 512, "%s", address);
}

enum err link_bind(struct link **link, const char *const *addresses, size_t count, struct error *error)
{
    struct link *made = NULL;
    enum err code = ERR_OK;

    for (size_t i = 0; i < count && code == ERR_OK; i++)
        code = address_check_bind(addresses[i], error);
    if (code != ERR_OK)
        return code;
    made = link_create(ZMQ_ROUTER);
    if (!made)
        return error_errno(error, "no socket to listen with");
    for (size_t i = 0; i < count; i++) {
        char numeric[512];
        address_numeric(numeric, addresses[i]);
        option(made->socket, ZMQ_IPV6, strchr(numeric, '[') != NULL); /* as it is at each bind */
        if (zmq_bind(made->socket, numeric) != 0) {
            int why = errno == ENODEV ? EADDRNOTAVAIL : errno; /* libzmq's word for an address of no interface */
            code = error_set(error, ERR_IO, "address \"%.300s\": cannot listen there: %s", addresses[i], zmq_strerror(why));
            link_destroy(made);
            return code;
        }
    }
    size_t size = sizeof made->address;
    if (zmq_getsockopt(made->socket, ZMQ_LAST_ENDPOINT, made->address, &size) != 0)
        made->address[0] = '\0';
    *link = made;
    return ERR_OK;
}

enum err link_connect(struct link **link, const char *address, struct error *error)
{
    static const char monitor_address[] = "inproc://monitor"; /* inproc names live in the context, which is the link's own */
    enum err code = address_check_connect(address, error);
    if (code != ERR_OK)
        return code;
    struct link *made = link_create(ZMQ_DEALER);
    if (!made)
        return error_errno(error, "no socket to connect with");
    snprintf(made->address, sizeof made->address, "%s", address);
    char numeric[512];
    address_numeric(numeric, address);
    option(made->socket, ZMQ_IPV6, strchr(numeric, '[') != NULL);
    if (zmq_socket_monitor(made->socket, monitor_address, ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0 ||
        !(made->monitor = zmq_socket(made->context, ZMQ_PAIR)) || zmq_connect(made->monitor, monitor_address) != 0 ||
        zmq_connect(made->socket, numeric) != 0) {
        code = error_set(error, ERR_IO, "address \"%.300s\": cannot connect: %s", address, zmq_strerror(errno));
        link_destroy(made);
        return code;
    }
    option(made->monitor, ZMQ_LINGER, 0);
    *link = made;
    return ERR_OK;
}

void link_destroy(struct link *link)
{
    if (!link)
        return;
    if (link->monitor)
        zmq_close(link->monitor);
    if (link->socket)
        zmq_close(link->socket);
    while (zmq_ctx_term(link->context) != 0 && errno == EINTR)
        continue;
    free(link);
}

void *link_socket(struct link *link)
{
    return link->socket;
}

const char *link_address(const struct link *link)
{
    return link->address;
}

/* ---- sending ------------------------------------------------------------------------------------------------------ */

/* Read what the monitor has said since last time. An event is two frames: a number and an address. */
static bool link_connected(struct link *link)
{
    zmq_msg_t frame;
    zmq_msg_init(&frame);
    while (zmq_msg_recv(&frame, link->monitor, ZMQ_DONTWAIT) >= 0) {
        uint16_t event = 0;
        if (zmq_msg_size(&frame) >= sizeof event)
            memcpy(&event, zmq_msg_data(&frame), sizeof event);
        link->connected = event == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
        while (zmq_msg_more(&frame) && zmq_msg_recv(&frame, link->monitor, ZMQ_DONTWAIT) >= 0)
            continue;
    }
    zmq_msg_close(&frame);
    return link->connected;
}

static enum err send_failed(struct link *link, const struct message *message, struct error *error)
{
    const char *name = message_type_name(message->type);
    if (errno == EHOSTUNREACH)
        return error_set(error, ERR_UNREACHABLE, "message %s: its receiver is gone", name);
    if (errno == EAGAIN && !link->router && !link_connected(link))
        return error_set(error, ERR_UNREACHABLE, "%s: nobody answers there (message %s)", link->address, name);
    if (errno == EAGAIN)
        return error_set(error, ERR_LIMIT, "message %s: want at most %d waiting to be sent, the queue is full", name, QUEUE_MESSAGES);
    return error_set(error, ERR_IO, "message %s: cannot be sent: %s", name, zmq_strerror(errno));
}

static void frame_free(void *data, void *hint)
{
    (void)hint;
    free(data);
}

/* `flags` beside DONTWAIT; retries what a signal interrupted. */
static int frame_send(zmq_msg_t *frame, struct link *link, int flags)
{
    int rc;
    do
        rc = zmq_msg_send(frame, link->socket, ZMQ_DONTWAIT | flags);
    while (rc < 0 && errno == EINTR);
    return rc;
}

enum err link_send(struct link *link, const struct route *to, const struct message *message, struct error *error)
{
    struct bytes packed = BYTES_INIT;
    zmq_msg_t frame;

    assert(link->router == (to != NULL));
    message_encode(&packed, message);
    if (packed.size > LIMIT_MESSAGE) {
        enum err code = error_set(error, ERR_INTERNAL, "message %s: want at most %d bytes, have %zu",
                                  message_type_name(message->type), LIMIT_MESSAGE, packed.size);
        bytes_release(&packed);
        return code;
    }
    if (to) {
        zmq_msg_init_size(&frame, to->size);
        memcpy(zmq_msg_data(&frame), to->bytes, to->size);
        if (frame_send(&frame, link, ZMQ_SNDMORE) < 0) {
            enum err code = send_failed(link, message, error);
            zmq_msg_close(&frame);
            bytes_release(&packed);
            return code;
        }
    }
    struct bytes taken = bytes_take(&packed);
    zmq_msg_init_data(&frame, taken.data, taken.size, frame_free, NULL); /* moved: a picture is not copied again */
    if (frame_send(&frame, link, 0) < 0) {
        enum err code = send_failed(link, message, error);
        zmq_msg_close(&frame);
        return code;
    }
    return ERR_OK;
}

/* ---- receiving ---------------------------------------------------------------------------------------------------- */

/* One frame: 1 got, 0 none there, -1 failed. */
static int frame_receive(zmq_msg_t *frame, struct link *link)
{
    for (;;) {
        if (zmq_msg_recv(frame, link->socket, ZMQ_DONTWAIT) >= 0)
            return 1;
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return -1;
    }
}

/* Drop what is left of a message of several frames; how many frames that was. */
static size_t frames_drop(zmq_msg_t *frame, struct link *link)
{
    size_t dropped = 0;
    while (zmq_msg_more(frame) && frame_receive(frame, link) == 1)
        dropped++;
    return dropped;
}

enum err link_receive(bool *got, struct route *from, struct message *message, struct link *link, struct error *error)
{
    zmq_msg_t frame;
    struct route sender = {.size = 0};
    enum err code = ERR_OK;

    zmq_msg_init(&frame);
    int rc = frame_receive(&frame, link);
    if (rc == 1 && link->router) {
        sender.size = (uint8_t)zmq_msg_size(&frame); /* at most 255 in ZMTP */
        memcpy(sender.bytes, zmq_msg_data(&frame), sender.size);
        if (!zmq_msg_more(&frame)) {
            code = error_set(error, ERR_CORRUPT, "message: want one frame, have none");
            goto done;
        }
        rc = frame_receive(&frame, link);
    }
    if (rc < 0) {
        code = error_set(error, ERR_IO, "receiving: %s", zmq_strerror(errno));
        goto done;
    }
    if (rc == 0) {
        *got = false;
        goto done;
    }
    if (zmq_msg_more(&frame)) {
        size_t dropped = frames_drop(&frame, link);
        code = error_set(error, ERR_CORRUPT, "message: want one frame, have %zu", dropped + 1);
        goto done;
    }
    code = message_decode(message, zmq_msg_data(&frame), zmq_msg_size(&frame), error);
    if (code == ERR_OK)
        *got = true;
done:
    if (from && (sender.size || code == ERR_OK))
        *from = sender;
    zmq_msg_close(&frame);
    return code;
}

enum err link_wait(bool *ready, struct link *link, uint32_t timeout_ms, struct error *error)
{
    zmq_pollitem_t item = {.socket = link->socket, .events = ZMQ_POLLIN};
    int rc = zmq_poll(&item, 1, (long)timeout_ms);
    if (rc < 0 && errno != EINTR)
        return error_set(error, ERR_IO, "waiting: %s", zmq_strerror(errno));
    *ready = rc > 0 && (item.revents & ZMQ_POLLIN);
    return ERR_OK;
}

/* ---- question and answer ------------------------------------------------------------------------------------------ */

static enum err no_answer(const struct link *link, uint32_t timeout_ms, struct error *error)
{
    return error_set(error, ERR_UNREACHABLE, "coordinator at %s: no answer within %u ms", link->address, timeout_ms);
}

/* Send once there is somebody to send to. */
static enum err ask_send(struct link *link, const struct message *question, uint64_t deadline_ms, uint32_t timeout_ms,
                         struct error *error)
{
    for (;;) {
        uint64_t now_ms = clock_monotonic_ms();
        if (now_ms >= deadline_ms)
            return no_answer(link, timeout_ms, error);
        zmq_pollitem_t item = {.socket = link->socket, .events = ZMQ_POLLOUT};
        int rc = zmq_poll(&item, 1, (long)(deadline_ms - now_ms));
        if (rc < 0 && errno != EINTR)
            return error_set(error, ERR_IO, "waiting: %s", zmq_strerror(errno));
        if (rc <= 0)
            continue;
        enum err code = link_send(link, NULL, question, error);
        if (code != ERR_UNREACHABLE && code != ERR_LIMIT)
            return code;
    }
}

enum err link_ask(struct message *answer, struct link *link, struct message *question, uint32_t timeout_ms,
                  struct error *error)
{
    uint64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    question->request = ++link->request;
    enum err code = ask_send(link, question, deadline_ms, timeout_ms, error);

    while (code == ERR_OK) {
        struct message read;
        bool got = false;
        uint64_t now_ms = clock_monotonic_ms();
        if (now_ms >= deadline_ms)
            return no_answer(link, timeout_ms, error);
        code = link_wait(&got, link, (uint32_t)(deadline_ms - now_ms), error);
        if (code != ERR_OK || !got)
            continue;
        code = link_receive(&got, NULL, &read, link, error);
        if (code != ERR_OK || !got)
            continue;
        if (read.request != link->request) {
            message_release(&read); /* the answer to a question that was given up */
            continue;
        }
        if (read.type != MESSAGE_REFUSED) {
            *answer = read;
            return ERR_OK;
        }
        code = error_set(error, read.refused.code, "%s", read.refused.text);
        message_release(&read);
    }
    return code;
}
