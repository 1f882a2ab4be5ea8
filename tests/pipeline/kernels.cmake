seedfarm_test(op_suite unit op_suite.c op_cases.c op_expect.c LINK backend)
