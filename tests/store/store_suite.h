/* store_suite.h - what every kind of store must do, written once. */
#ifndef TESTS_STORE_SUITE_H
#define TESTS_STORE_SUITE_H

#include <stdbool.h>

/* Runs the suite on stores in fresh folders, or on "mem:". Returns the number of failures. */
int store_suite_run(bool in_memory);

#endif
