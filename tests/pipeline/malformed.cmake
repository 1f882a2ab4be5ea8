seedfarm_test(test_malformed unit test_malformed.c LINK pipeline weights base)
