/* schedule_parts.h - what the scheduler's own files share. Private to them. */
#ifndef COORDINATOR_SCHEDULE_PARTS_H
#define COORDINATOR_SCHEDULE_PARTS_H

#include "coordinator/schedule.h"

/* ---- schedule.c -------------------------------------------------------------------------------------------------------- */

void schedule_notice(struct scheduler *schedule); /* sweeps that are new in the queue */
bool docket_is_open(const struct docket *docket); /* its sweep is active */
/* Put it into its user's lists, or take it out, as its sweep and its jobs are. */
void docket_update(struct scheduler *schedule, struct docket *docket);
void schedule_bump(struct scheduler *schedule);   /* something has changed that may give a worker a job */
/* Count the worker's pace anew, after any change of it. */
void schedule_count_worker(struct scheduler *schedule, struct worker *worker);
void schedule_revoke(struct scheduler *schedule, const struct lease *lease);

/* Can the worker take jobs of this class, whatever its state? What forbids it, if anything does: */
enum bar { BAR_NONE, BAR_NUMERICS, BAR_MEMORY };
enum bar schedule_bar(const struct scheduler *schedule, const struct worker *worker, const struct spec *spec);
bool flight_failed_on(const struct flight *flight, const struct worker *worker);
/* A worker that is here and could take the job, and has not failed it; NULL: none. */
const struct worker *schedule_untried(const struct scheduler *schedule, const struct flight *flight);

/* ---- flights.c --------------------------------------------------------------------------------------------------------- */

/* Takes spec and canonical. It is in no state yet. */
struct flight *flight_add(struct scheduler *schedule, const struct digest *key, struct spec *spec, char **canonical);
void flight_free(struct flight *flight);
void flight_add_place(struct scheduler *schedule, struct flight *flight, struct order *order, uint32_t index);
void flight_choose_docket(struct scheduler *schedule, struct flight *flight); /* of its places' */
void flight_ask(struct scheduler *schedule, struct flight *flight);
void flight_ready(struct scheduler *schedule, struct flight *flight, bool in_front);
void flight_wait(struct scheduler *schedule, struct flight *flight, uint64_t again_ms); /* BACK_OFF */
/* Out of its lane, the back-off or the asked ones, if it is there. */
void flight_take(struct scheduler *schedule, struct flight *flight);
void flight_remove(struct scheduler *schedule, struct flight *flight); /* out of everything, its leases too; frees it */
void schedule_wake_due(struct scheduler *schedule, uint64_t now_ms);   /* back-offs that are over */

void flight_join(struct flight *flight, struct lease *lease);
/* Out of one lease, which ends with its last flight. */
void flight_leave(struct scheduler *schedule, struct flight *flight, struct lease *lease);
/* It has left a lease and comes back, unless it is in another one: committing, gone if nobody wants it, lost if it has failed
 * often enough, else ready at again_ms (it failed) or at once (0: it did not). */
void flight_back(struct scheduler *schedule, struct flight *flight, uint64_t again_ms);
/* All jobs of the lease come back in their order, at no charge; ends it. */
void lease_return(struct scheduler *schedule, struct lease *lease);

/* ---- grant.c ----------------------------------------------------------------------------------------------------------- */

/* The job was handed out before anything was measured, all but free: its user is charged now that something is. */
void grant_settle(struct scheduler *schedule, struct flight *flight, const struct worker *worker);

/* ---- tail.c ------------------------------------------------------------------------------------------------------------ */

/* Will the others end all that waits before this worker would end one job like `flight`? */
bool tail_holds_back(const struct scheduler *schedule, const struct worker *worker, const struct flight *flight,
                     uint64_t now_ms);
/* Jobs of another worker's lease that this one is expected to end clearly sooner. 0: none. */
uint32_t tail_copy(struct flight *copies[LIMIT_BATCH], const struct scheduler *schedule, const struct worker *worker,
                   uint32_t room, uint64_t now_ms);
/* When its leases should be over; now_ms where it has none; 0: unknown. */
uint64_t tail_free_ms(const struct worker *worker, uint64_t now_ms);

#endif
