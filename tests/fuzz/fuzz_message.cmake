seedfarm_fuzzer(fuzz_message fuzz_message.c LINK proto CORPUS corpus/message)
