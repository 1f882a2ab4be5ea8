# The CUDA backend, emulated. Labelled golden, not unit: the thread sanitizer does not know its fibers.
seedfarm_test(emulated_suite golden emulated_suite.c op_cases.c LINK emulated backend m)
seedfarm_test(emulated_op_test golden op_test.c LINK emulated denoise backend m)
target_compile_definitions(emulated_op_test PRIVATE DEVICE="emulated:0")
