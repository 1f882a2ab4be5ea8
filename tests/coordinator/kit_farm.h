/* kit_farm.h - a farm without sockets for the scheduler's tests: a queue, a scheduler, some workers, and a clock in hand. */
#ifndef TESTS_COORDINATOR_KIT_FARM_H
#define TESTS_COORDINATOR_KIT_FARM_H

#include "tests/coordinator/kit.h"

#include "coordinator/schedule.h"
#include "coordinator/why.h"

enum { FARM_WORKERS = 64 };

extern const struct digest frog_model, owl_model;

struct farm {
    struct queue queue;
    struct bloom *bloom;
    struct scheduler scheduler;
    struct worker *workers[FARM_WORKERS];
    uint64_t now_ms; /* begins at 1000000 */
    struct digest asked[4 * PAGE_MOST];
    size_t asked_count;
};

/* Workers "w1".. with this batch; numerics fp32, memory unknown. */
void farm_init(struct farm *farm, uint32_t workers, uint32_t batch);
void farm_release(struct farm *farm);
void farm_here(struct farm *farm, uint32_t worker /* from 1 */, uint32_t batch, uint64_t memory_bytes, uint32_t numerics);
struct order *farm_order(struct farm *farm, const char *user, struct sweep *sweep);
bool farm_page(struct farm *farm, uint32_t wanted);  /* one page, resolved; false: none was wanted */
void farm_pages(struct farm *farm, uint32_t wanted); /* as many as are wanted */
struct lease *farm_grant(struct farm *farm, uint32_t worker, uint32_t room);
/* A picture comes, and is committed. */
void farm_deliver(struct farm *farm, uint32_t worker, const struct digest *key, uint32_t render_ms);
void farm_deliver_lease(struct farm *farm, uint32_t worker, struct lease *lease, uint32_t render_ms); /* all of it */
void farm_settle(struct farm *farm); /* marks and losses become durable */
struct digest farm_key(const struct order *order, uint64_t index);

#endif
