seedfarm_fuzzer(fuzz_lora fuzz_lora.c LINK weights CORPUS corpus/lora)
