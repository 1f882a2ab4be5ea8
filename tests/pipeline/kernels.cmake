seedfarm_test(op_suite unit op_suite.c op_cases.c op_expect.c LINK backend)
seedfarm_test(op_test unit op_test.c op_kit.c LINK denoise backend)
seedfarm_test(step_test unit step_test.c op_kit.c LINK denoise backend)
