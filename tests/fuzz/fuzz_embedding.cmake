seedfarm_fuzzer(fuzz_embedding fuzz_embedding.c LINK weights CORPUS corpus/embedding)
