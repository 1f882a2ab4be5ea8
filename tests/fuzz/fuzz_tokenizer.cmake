seedfarm_fuzzer(fuzz_tokenizer fuzz_tokenizer.c LINK text base CORPUS corpus/tokenizer)
