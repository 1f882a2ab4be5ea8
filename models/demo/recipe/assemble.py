"""Step 8 of the recipe: put the trained parts together as one diffusers folder in fp16.

Run it where `model` and `clip` are. The whole CLIP model, text and image, lies beside the pipeline's parts, for scores.
"""
import argparse
import shutil


def scheduler():
    from diffusers import PNDMScheduler
    return PNDMScheduler(
        beta_start=.00085,
        beta_end=.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1000,
        steps_offset=1,
        set_alpha_to_one=False,
        skip_prk_steps=True,
    )


def pipeline():
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained("model/vae"),
        text_encoder=CLIPTextModel.from_pretrained("model/text_encoder"),
        tokenizer=CLIPTokenizer.from_pretrained("model/tokenizer"),
        unet=UNet2DConditionModel.from_pretrained("model/unet"),
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", help="the folder to write")
    arguments = parser.parse_args()

    # Imported here and above: the help needs no torch.
    import torch
    from transformers import CLIPModel

    pipeline().to(torch.float16).save_pretrained(arguments.out, safe_serialization=True)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(f"model/tokenizer/{name}", f"{arguments.out}/tokenizer/{name}")
    CLIPModel.from_pretrained("clip").half().save_pretrained(f"{arguments.out}/clip")


if __name__ == "__main__":
    main()
