seedfarm_fuzzer(fuzz_safetensors fuzz_safetensors.c LINK weights base CORPUS corpus/safetensors)
