seedfarm_test(test_upcast unit test_upcast.c ${CMAKE_SOURCE_DIR}/tests/golden/random_model.c
              LINK emulated pipeline weights base PkgConfig::JANSSON m)
