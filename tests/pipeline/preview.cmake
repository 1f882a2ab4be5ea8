# Previews of pictures that are being drawn: on the CPU, and on an emulated card beside it.
seedfarm_test(test_preview golden test_preview.c preview_kit.c LINK pipeline base m)
seedfarm_test(test_preview_card golden test_preview_card.c preview_kit.c LINK emulated pipeline base m)
