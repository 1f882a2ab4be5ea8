/* Resolved sweeps (JSON) as they come over the network. */
#include <stdlib.h>

#include "proto/sweep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sweep sweep;
    struct error error;
    uint64_t places;

    if (sweep_parse(&sweep, data, size, &error) != ERR_OK)
        return 0;
    if (sweep_places(&places, &sweep, &error) != ERR_OK || sweep_jobs(&sweep) > places || sweep_jobs(&sweep) == 0)
        abort();
    for (uint64_t i = 0; i < 3; i++) {
        struct spec spec;
        uint64_t index = i == 0 ? 0 : i == 1 ? places - 1 : places / 2;
        /* Without its tables a job may fail; excluded places need not be jobs. */
        if (!sweep_excluded(&sweep, index) && sweep_job(&spec, &sweep, index, &error) == ERR_OK)
            spec_release(&spec);
    }
    sweep_release(&sweep);
    return 0;
}
