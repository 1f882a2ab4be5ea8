seedfarm_fuzzer(fuzz_json fuzz_json.c LINK base CORPUS corpus/json)
