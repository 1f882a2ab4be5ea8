seedfarm_test(op_suite unit op_suite.c op_cases.c op_expect.c LINK backend)
seedfarm_test(op_test unit op_test.c LINK denoise backend)
