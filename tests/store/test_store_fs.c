/* test_store_fs.c - the store suite on a store in a folder. */
#include "tests/store/store_suite.h"

int main(void) {
    return store_suite_run(false);
}
