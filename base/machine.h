/* machine.h - what this process may use of the machine it runs on. */
#ifndef BASE_MACHINE_H
#define BASE_MACHINE_H

#include <stdint.h>

uint32_t machine_cores(void);  /* those in the process's affinity mask; at least 1 */
uint64_t machine_memory(void); /* bytes: seven eighths of what is built in, the rest is the system's */

#endif
