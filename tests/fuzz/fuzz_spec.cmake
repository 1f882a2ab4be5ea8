seedfarm_fuzzer(fuzz_spec fuzz_spec.c LINK proto CORPUS corpus/spec)
