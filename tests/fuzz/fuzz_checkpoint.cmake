seedfarm_fuzzer(fuzz_checkpoint fuzz_checkpoint.c LINK weights CORPUS corpus/checkpoint)
