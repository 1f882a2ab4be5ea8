/* fault.h - what goes wrong, and when it ends. */
#ifndef TESTS_SIM_FAULT_H
#define TESTS_SIM_FAULT_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/message.h"

uint64_t fault_next_us(void); /* when the next one strikes */
void fault_strike(void);
void fault_heal(void); /* nothing goes wrong any more, and everybody comes back */
/* A message that the coordinator is about to hear from this node: perhaps it is made an old one. */
void fault_echo(int node, struct message *message);
/* What a machine that loses its power does to a folder of unsynced files: some are gone, some torn. `all`: empties it. */
void fault_tear_outbox(const char *folder, bool all);

#endif
