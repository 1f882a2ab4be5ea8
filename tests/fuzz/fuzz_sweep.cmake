seedfarm_fuzzer(fuzz_sweep fuzz_sweep.c LINK proto CORPUS corpus/sweep)
