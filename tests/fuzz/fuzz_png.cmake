seedfarm_fuzzer(fuzz_png fuzz_png.c LINK picture PkgConfig::ZLIB CORPUS corpus/png)
