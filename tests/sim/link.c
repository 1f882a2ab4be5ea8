/*
 * link.c - proto/link.h over a virtual network.
 *
 * A connection keeps order and loses nothing while it stands. It breaks (a process dies, a cable is cut, somebody is silent for too
 * long); each side sees that at its own time, and what one side sends before it sees it is lost without a word. What was on its way
 * arrives up to some message, or not at all. A connecting side tries again, later and later. Messages are really packed and unpacked.
 */
#include "proto/link.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/fault.h"
#include "tests/sim/sim.h"

enum { ROUTE_SIZE = 5 };
#define RECONNECT_US (100 * UINT64_C(1000))
#define RECONNECT_MOST_US (5 * SECOND)
#define SILENCE_US (10 * SECOND)

struct packet {
    struct bytes data;
    uint64_t arrives_us;
    struct packet *next;
};

struct pipe {
    struct packet *first, *last;
    size_t count;
};

struct connection {
    int node;                    /* of the side that connected */
    uint32_t number;             /* the route's */
    struct link *dealer, *router; /* NULL: that side has put it away */
    struct pipe to_router, to_dealer;
    bool cut;                    /* nothing that is sent arrives any more */
    uint64_t dealer_sees_us, router_sees_us; /* that it is cut */
    struct connection *next;
};

struct link {
    int node;
    bool router;
    struct connection *connection; /* DEALER: the one that stands, as far as it knows */
    uint64_t connect_us, back_off_us; /* DEALER: when it tries again */
    bool new_connection;           /* its socket has become writable */
    struct link *next;
};

static struct connection *connections;
static struct link *links;
static uint32_t connection_number;
static uint64_t partitioned_until_us[NODES];

/* ---- pipes ---------------------------------------------------------------------------------------------------------------- */

static void pipe_drop(struct pipe *pipe, size_t kept) {
    struct packet **place = &pipe->first, *last = NULL;
    for (; kept && *place; kept--) {
        last = *place;
        place = &last->next;
    }
    for (struct packet *packet = *place, *next; packet; packet = next) {
        next = packet->next;
        bytes_release(&packet->data);
        free(packet);
        pipe->count--;
    }
    *place = NULL;
    pipe->last = last;
}

static void pipe_add(struct pipe *pipe, struct bytes data) {
    struct packet *packet = memory_get(sizeof *packet);
    uint64_t most_us = chance(10) ? world.plan.slow_latency_us : world.plan.latency_us;
    packet->data = data;
    packet->arrives_us = world.now_us + 20 + dice(most_us);
    if (pipe->last && pipe->last->arrives_us > packet->arrives_us)
        packet->arrives_us = pipe->last->arrives_us;
    *(pipe->last ? &pipe->last->next : &pipe->first) = packet;
    pipe->last = packet;
    pipe->count++;
}

/* What has arrived stays; of the rest some more arrives. */
static void pipe_cut(struct pipe *pipe, bool some) {
    size_t arrived = 0, flying = 0;
    for (const struct packet *packet = pipe->first; packet; packet = packet->next)
        if (packet->arrives_us <= world.now_us)
            arrived++;
        else
            flying++;
    pipe_drop(pipe, arrived + (some ? (size_t)dice(flying + 1) : 0));
}

/* ---- connections -------------------------------------------------------------------------------------------------------- */

static struct link *find_router(void) {
    for (struct link *link = links; link; link = link->next)
        if (link->router)
            return link;
    return NULL;
}

static bool is_partitioned(int node) {
    return world.now_us < partitioned_until_us[node];
}

bool net_frozen(int node) {
    int worker = node - FIRST_WORKER;
    return worker >= 0 && worker < WORKERS_MOST && world.now_us < world.workers[worker].frozen_until_us;
}

static void cut(struct connection *connection, uint64_t dealer_sees_us, uint64_t router_sees_us, bool some) {
    if (connection->cut)
        return;
    trace("%s's connection %u breaks", node_name(connection->node), connection->number);
    connection->cut = true;
    connection->dealer_sees_us = dealer_sees_us;
    connection->router_sees_us = router_sees_us;
    pipe_cut(&connection->to_router, some);
    pipe_cut(&connection->to_dealer, some);
}

static void connect_link(struct link *link, struct link *router) {
    struct connection *connection = memory_get(sizeof *connection);
    *connection = (struct connection){ .node = link->node, .number = ++connection_number, .dealer = link, .router = router,
                                       .dealer_sees_us = NEVER, .router_sees_us = NEVER, .next = connections };
    connections = connection;
    link->connection = connection;
    link->connect_us = NEVER;
    link->back_off_us = RECONNECT_US;
    link->new_connection = true;
    trace("%s connects (%u)", node_name(link->node), connection->number);
}

static void try_to_connect(struct link *link) {
    struct link *router = find_router();
    if (router && !is_partitioned(link->node) && !chance(50)) {
        connect_link(link, router);
        return;
    }
    link->connect_us = world.now_us + link->back_off_us;
    link->back_off_us = link->back_off_us * 2 < RECONNECT_MOST_US ? link->back_off_us * 2 : RECONNECT_MOST_US;
}

static void remove_dead(void) {
    for (struct connection **place = &connections; *place; ) {
        struct connection *connection = *place;
        bool dealer_done = !connection->dealer || (connection->dealer->connection != connection && !connection->to_dealer.first);
        bool router_done = !connection->router || (world.now_us >= connection->router_sees_us && !connection->to_router.first);
        if (!connection->cut || !dealer_done || !router_done) {
            place = &connection->next;
            continue;
        }
        *place = connection->next;
        pipe_drop(&connection->to_router, 0);
        pipe_drop(&connection->to_dealer, 0);
        free(connection);
    }
}

uint64_t net_next_us(void) {
    uint64_t next_us = NEVER;
    for (const struct link *link = links; link; link = link->next) {
        if (link->router)
            continue;
        uint64_t due_us = link->connection ? link->connection->dealer_sees_us : link->connect_us;
        if (due_us < next_us)
            next_us = due_us;
    }
    return next_us;
}

void net_step(void) {
    for (struct link *link = links; link; link = link->next) {
        if (link->router)
            continue;
        if (link->connection && world.now_us >= link->connection->dealer_sees_us) {
            link->connection = NULL;
            link->connect_us = world.now_us + link->back_off_us;
        }
        if (!link->connection && world.now_us >= link->connect_us)
            try_to_connect(link);
    }
    remove_dead();
}

void net_reset(int node) {
    for (struct connection *connection = connections; connection; connection = connection->next)
        if (connection->node == node)
            cut(connection, world.now_us + dice(SECOND / 10), world.now_us + dice(SECOND / 10), true);
}

void net_partition(int node, uint64_t until_us) {
    uint64_t long_us = world.now_us + SILENCE_US;
    partitioned_until_us[node] = until_us;
    if (until_us < long_us) { /* the connection outlives it: all comes late */
        for (struct connection *connection = connections; connection; connection = connection->next)
            for (int way = 0; way < 2 && connection->node == node; way++)
                for (struct packet *packet = way ? connection->to_dealer.first : connection->to_router.first; packet;
                     packet = packet->next)
                    if (packet->arrives_us > world.now_us && packet->arrives_us < until_us)
                        packet->arrives_us = until_us;
        return;
    }
    for (struct connection *connection = connections; connection; connection = connection->next)
        if (connection->node == node)
            cut(connection, world.now_us + dice(SILENCE_US), world.now_us + dice(SILENCE_US), false);
}

static uint64_t first_arrival_us(const struct pipe *pipe) {
    return pipe->first ? pipe->first->arrives_us : NEVER;
}

uint64_t net_due_us(int node) {
    uint64_t due_us = NEVER;
    for (const struct connection *connection = connections; connection; connection = connection->next) {
        if (node == COORDINATOR && connection->router && first_arrival_us(&connection->to_router) < due_us)
            due_us = first_arrival_us(&connection->to_router);
        if (node == connection->node && connection->dealer && first_arrival_us(&connection->to_dealer) < due_us)
            due_us = first_arrival_us(&connection->to_dealer);
    }
    for (const struct link *link = links; link; link = link->next)
        if (link->node == node && link->new_connection)
            due_us = world.now_us;
    return due_us;
}

void net_begin(void) {
    assert(!connections && !links);
    connection_number = 0;
    memset(partitioned_until_us, 0, sizeof partitioned_until_us);
}

void net_end(void) {
    world.now_us += 1000 * SECOND;
    remove_dead();
    assert(!connections && !links);
}

/* ---- link.h -------------------------------------------------------------------------------------------------------------- */

enum err address_check_bind(const char *address, struct error *error) {
    (void)address, (void)error;
    return ERR_OK;
}

enum err address_check_connect(const char *address, struct error *error) {
    (void)address, (void)error;
    return ERR_OK;
}

static struct link *link_add(bool router) {
    struct link *link = memory_get(sizeof *link);
    *link = (struct link){ .node = world.current, .router = router, .connect_us = router ? NEVER : world.now_us + dice(2000),
                           .back_off_us = RECONNECT_US, .next = links };
    links = link;
    return link;
}

enum err link_bind(struct link **link, const char *const *addresses, size_t count, struct error *error) {
    (void)addresses, (void)count, (void)error;
    *link = link_add(true);
    return ERR_OK;
}

enum err link_connect(struct link **link, const char *address, struct error *error) {
    (void)address, (void)error;
    *link = link_add(false);
    return ERR_OK;
}

void link_destroy(struct link *link) {
    if (!link)
        return;
    for (struct connection *connection = connections; connection; connection = connection->next) {
        if (connection->dealer == link || connection->router == link)
            cut(connection, world.now_us + dice(SECOND / 50), world.now_us + dice(SECOND / 50), true);
        if (connection->dealer == link)
            connection->dealer = NULL;
        if (connection->router == link)
            connection->router = NULL;
    }
    for (struct link **place = &links; *place; place = &(*place)->next)
        if (*place == link) {
            *place = link->next;
            break;
        }
    free(link);
    remove_dead();
}

void *link_socket(struct link *link) {
    return link;
}

const char *link_address(const struct link *link) {
    (void)link;
    return "sim";
}

static struct connection *find_route(const struct link *router, const struct route *route) {
    uint32_t number;
    memcpy(&number, route->bytes + 1, sizeof number);
    for (struct connection *connection = connections; connection; connection = connection->next)
        if (connection->number == number && connection->router == router)
            return connection;
    return NULL;
}

static enum err send_to(struct connection *connection, struct pipe *pipe, const struct message *message, struct error *error) {
    struct bytes data = BYTES_INIT;
    if (pipe->count >= world.plan.queue_limit)
        return error_set(error, ERR_LIMIT, "message %s: the queue is full", message_type_name(message->type));
    message_encode(&data, message);
    assert(data.size <= LIMIT_MESSAGE);
    if (connection->cut) {
        bytes_release(&data);
        return ERR_OK; /* into the void: it has not seen yet that nobody is there */
    }
    pipe_add(pipe, data);
    if (is_partitioned(connection->node) && pipe->last->arrives_us < partitioned_until_us[connection->node])
        pipe->last->arrives_us = partitioned_until_us[connection->node];
    return ERR_OK;
}

enum err link_send(struct link *link, const struct route *to, const struct message *message, struct error *error) {
    struct connection *connection = to ? find_route(link, to) : link->connection;
    enum err err;
    assert(link->router == (to != NULL));
    if (link->node == COORDINATOR && world.dead)
        return ERR_OK;
    if (!connection || (to && world.now_us >= connection->router_sees_us))
        return error_set(error, ERR_UNREACHABLE, "message %s: its receiver is gone", message_type_name(message->type));
    err = send_to(connection, to ? &connection->to_dealer : &connection->to_router, message, error);
    if (to && !err)
        history_sent(connection->node, message);
    return err;
}

/* The pipe whose first message arrived first. */
static struct pipe *next_pipe(struct connection **from, const struct link *link) {
    struct pipe *next = NULL;
    for (struct connection *connection = connections; connection; connection = connection->next) {
        struct pipe *pipe = link->router ? &connection->to_router : &connection->to_dealer;
        if ((link->router ? connection->router : connection->dealer) != link || first_arrival_us(pipe) > world.now_us)
            continue;
        if (!next || pipe->first->arrives_us < next->first->arrives_us) {
            next = pipe;
            *from = connection;
        }
    }
    return next;
}

enum err link_receive(bool *got, struct route *from, struct message *message, struct link *link, struct error *error) {
    struct connection *connection = NULL;
    struct pipe *pipe = next_pipe(&connection, link);
    link->new_connection = false;
    *got = pipe != NULL;
    if (!pipe)
        return ERR_OK;
    struct packet *packet = pipe->first;
    if (!(pipe->first = packet->next))
        pipe->last = NULL;
    pipe->count--;
    enum err err = message_decode(message, packet->data.data, packet->data.size, error);
    bytes_release(&packet->data);
    free(packet);
    if (err) {
        broken("a message to %s does not unpack: %s", node_name(link->node), error->message);
        return err;
    }
    if (from && link->router) {
        *from = (struct route){ .size = ROUTE_SIZE };
        memcpy(from->bytes + 1, &connection->number, sizeof connection->number);
    }
    if (link->router) {
        fault_echo(connection->node, message);
        history_heard(connection->node, message);
    }
    return ERR_OK;
}

enum err link_wait(bool *ready, struct link *link, uint32_t timeout_ms, struct error *error) {
    struct connection *from;
    (void)timeout_ms, (void)error;
    *ready = next_pipe(&from, link) != NULL;
    return ERR_OK;
}

enum err link_ask(struct message *answer, struct link *link, struct message *question, uint32_t timeout_ms,
                  struct error *error) {
    (void)answer, (void)link, (void)question, (void)timeout_ms;
    return error_set(error, ERR_UNSUPPORTED, "nobody waits for an answer here");
}
