/* test_store_mem.c - the store suite on a store in memory. */
#include "tests/store/store_suite.h"

int main(void) {
    return store_suite_run(true);
}
