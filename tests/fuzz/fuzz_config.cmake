seedfarm_fuzzer(fuzz_config fuzz_config.c LINK text denoise image base m CORPUS corpus/config)
