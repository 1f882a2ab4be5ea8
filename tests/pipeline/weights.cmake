# safetensors, component folders, tokenizer, noise
seedfarm_test(test_safetensors unit test_safetensors.c LINK weights base)
seedfarm_test(test_component unit test_component.c LINK weights base)
seedfarm_test(test_tokenizer golden test_tokenizer.c LINK text base)
seedfarm_test(test_noise golden test_noise.c LINK denoise weights base m)
