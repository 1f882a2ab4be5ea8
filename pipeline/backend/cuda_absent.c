/*
 * cuda_absent.c - CUDA's devices in a build without CUDA: known by name, and refused with the reason.
 */
#include <string.h>

#include "pipeline/backend/op.h"

bool cuda_claims(const char *device) {
    return strcmp(device, "cuda") == 0 || strncmp(device, "cuda:", 5) == 0;
}

const char *cuda_build(void) {
    return "without CUDA";
}

enum err cuda_create(struct backend **backend, const char *device, enum dtype numerics, struct error *error) {
    (void)backend, (void)numerics;
    return error_set(error, ERR_UNSUPPORTED, "device \"%s\": this seedfarm was built without CUDA (cmake --preset cuda builds it "
                     "with); there is \"cpu\" and \"reference\"", device);
}

enum err cuda_list(struct device_name names[DEVICES_LIMIT], size_t *count, struct error *error) {
    (void)names;
    *count = 0;
    return error_set(error, ERR_UNSUPPORTED, "this seedfarm was built without CUDA");
}
