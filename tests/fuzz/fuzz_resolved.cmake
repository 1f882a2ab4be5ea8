seedfarm_fuzzer(fuzz_resolved fuzz_resolved.c LINK proto CORPUS corpus/resolved)
