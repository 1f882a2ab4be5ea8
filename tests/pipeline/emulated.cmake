# The CUDA backend, emulated. Labelled golden, not unit: the thread sanitizer does not know its fibers.
seedfarm_test(emulated_suite golden emulated_suite.c op_cases.c LINK emulated backend m)
seedfarm_test(emulated_op_test golden op_test.c op_kit.c LINK emulated denoise backend m)
seedfarm_test(emulated_step_test golden step_test.c op_kit.c LINK emulated denoise backend m)
target_compile_definitions(emulated_op_test PRIVATE DEVICE="emulated:0")
target_compile_definitions(emulated_step_test PRIVATE DEVICE="emulated:0")
