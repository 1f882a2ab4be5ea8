"""Steps 2 to 7 of the recipe, one stage a call: vocab, vae, clip, latents, unet, decoder, in this order.

Run it in the folder that holds data_images.npy and data_captions.json, made by dataset.py. README.md lists the steps.
"""
import argparse

MINUTES = {"vae": 14, "clip": 8, "unet": 88, "decoder": 14}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=["vocab", "vae", "clip", "latents", "unet", "decoder"])
    defaults = ", ".join(f"{stage} {minutes}" for stage, minutes in MINUTES.items())
    parser.add_argument("minutes", type=float, nargs="?", help=f"how long to train ({defaults})")
    arguments = parser.parse_args()
    minutes = arguments.minutes or MINUTES.get(arguments.stage)
    if arguments.stage == "vocab":
        import vocabulary
        return vocabulary.train()

    # Imported here: the help and the vocabulary need no torch.
    import autoencoder
    import clip_model
    import denoiser
    import training

    training.begin()
    if arguments.stage == "vae":
        autoencoder.train(minutes)
    elif arguments.stage == "clip":
        clip_model.train(minutes)
    elif arguments.stage == "latents":
        denoiser.encode()
    elif arguments.stage == "unet":
        denoiser.train(minutes)
    else:
        autoencoder.train_decoder(minutes)


if __name__ == "__main__":
    main()
