seedfarm_test(test_malformed unit test_malformed.c ../golden/random_model.c LINK pipeline weights base PkgConfig::JANSSON m)
