seedfarm_fuzzer(fuzz_table fuzz_table.c LINK proto CORPUS corpus/table)
