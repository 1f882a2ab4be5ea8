/* kit_farm.c - see kit_farm.h. */
#include "tests/coordinator/kit_farm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct digest frog_model = { { 1 } }, owl_model = { { 2 } };

void farm_here(struct farm *farm, uint32_t worker, uint32_t batch, uint64_t memory_bytes, uint32_t numerics) {
    const struct worker_facts facts = { .batch = batch, .memory_bytes = memory_bytes, .numerics = numerics };
    char name[16];
    snprintf(name, sizeof name, "w%u", worker);
    farm->workers[worker - 1] = schedule_worker(&farm->scheduler, name);
    schedule_worker_here(&farm->scheduler, farm->workers[worker - 1], &facts);
}

void farm_init(struct farm *farm, uint32_t workers, uint32_t batch) {
    memset(farm, 0, sizeof *farm);
    farm->now_ms = 1000000;
    queue_init(&farm->queue);
    farm->bloom = bloom_create(1000);
    schedule_init(&farm->scheduler, &farm->queue, farm->bloom, 0, 256);
    for (uint32_t i = 1; i <= workers; i++)
        farm_here(farm, i, batch, 0, 0);
}

void farm_release(struct farm *farm) {
    schedule_release(&farm->scheduler);
    bloom_destroy(farm->bloom);
    queue_release(&farm->queue);
}

struct order *farm_order(struct farm *farm, const char *user, struct sweep *sweep) {
    struct order *order = kit_order(&farm->queue, farm->queue.count + 1, user, sweep);
    free(order->user);
    order->user = text_copy(user);
    return order;
}

bool farm_page(struct farm *farm, uint32_t wanted) {
    struct page page;
    if (!schedule_take_page(&page, &farm->scheduler, wanted))
        return false;
    page_resolve(&page);
    assert_true(farm->asked_count + page.count <= sizeof farm->asked / sizeof *farm->asked);
    schedule_add_page(farm->asked, &farm->asked_count, &farm->scheduler, &page);
    return true;
}

void farm_pages(struct farm *farm, uint32_t wanted) {
    while (farm_page(farm, wanted)) {
    }
}

struct lease *farm_grant(struct farm *farm, uint32_t worker, uint32_t room) {
    return schedule_grant(&farm->scheduler, farm->workers[worker - 1], room, farm->now_ms);
}

void farm_deliver(struct farm *farm, uint32_t worker, const struct digest *key, uint32_t render_ms) {
    schedule_delivered(&farm->scheduler, farm->workers[worker - 1], key, render_ms, farm->now_ms);
    schedule_commit_begin(&farm->scheduler, key);
    const struct flight *flight = schedule_find(&farm->scheduler, key);
    for (uint32_t p = 0; flight && p < flight->place_count; p++)
        order_set_done(flight->places[p].order, flight->places[p].index);
    schedule_committed(&farm->scheduler, key);
}

void farm_deliver_lease(struct farm *farm, uint32_t worker, struct lease *lease, uint32_t render_ms) {
    for (uint32_t left = lease->count; left--;) { /* the last one ends it */
        struct digest key = lease->flights[0]->key;
        farm_deliver(farm, worker, &key, render_ms);
    }
}

void farm_settle(struct farm *farm) {
    struct scheduler *scheduler = &farm->scheduler;
    for (size_t i = 0; i < scheduler->mark_count; i++)
        order_set_done(scheduler->marks[i].order, scheduler->marks[i].index);
    scheduler->mark_count = 0;
    for (size_t i = 0; i < scheduler->loss_count; i++) {
        order_set_failed(scheduler->losses[i].place.order, scheduler->losses[i].place.index);
        free(scheduler->losses[i].text);
    }
    scheduler->loss_count = 0;
}

struct digest farm_key(const struct order *order, uint64_t index) {
    struct spec spec;
    struct error error;
    assert_ok(sweep_job(&spec, order->sweep, index, &error), error);
    struct digest key = spec_key(&spec);
    spec_release(&spec);
    return key;
}
