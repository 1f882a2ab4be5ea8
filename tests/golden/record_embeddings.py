"""Record embeddings (textual inversion) with the diffusers library: tests/golden/embeddings/MODEL.{json,safetensors}, and the files
themselves, tests/golden/embeddings/MODEL-FILE.safetensors.

    V/bin/python tests/golden/record_embeddings.py        (V: a virtual environment with tests/golden/requirements.txt)

Replayed by tests/golden/test_extras.c. The oracle is diffusers' load_textual_inversion, and maybe_convert_prompt for words of several
vectors. Models are those of families.py: of one text encoder; of two, pooled at the largest id (eos_token_id 2) and at the end.
"""
import shutil
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import families
from record_families import case, draw, ids_of, keep, load

HERE = Path(__file__).resolve().parent
FOLDER = HERE / "embeddings"


def rows(name, *shape):
    return families.fill(f"{name}.embedding.weight", shape)


# file: word, tensors
SD1 = {
    "frog": ("frog-style", {"emb_params": rows("frog", 3, 32).half()}),
    "ink": ("<ink>", {"<ink>": rows("ink", 32)}),
    "mood": ("Mood", {"<mood>": rows("mood", 1, 32).bfloat16()}),
}


def pair(name, count, first, second):
    return {"clip_l": rows(name + ".l", count, first), "clip_g": rows(name + ".g", count, second).half()}


SUBJECTS = {
    "sd1-a": SD1,
    "sdxl-a": {"frog": ("frog-style", pair("frog", 3, 24, 32)), "ink": ("<ink>", pair("ink", 1, 24, 32))},
    "sdxl-b": {"frog": ("frog-style", pair("frog", 2, 16, 40))},
}


def cases_of(name):
    words = [[f"{name}-{file}.safetensors", word] for file, (word, _) in SUBJECTS[name].items()]
    more = "<ink>" if len(words) > 1 else "frog-style"
    cases = [
        case("Euler", "leading", 40, 24, 4, 5.0, prompt=f"a painting of a frog-style, {more}", seed=1, full=True),
        case("DPM++ 2M", "trailing", 24, 40, 4, 4.0, prompt="neon FROG", negative=f"{more}{more}, frog-style blue", seed=2),
        case("DDIM", "leading", 40, 24, 3, 5.0, prompt=f"xfrog-stylex mood {more}", negative="frog", seed=3,
             clip_skip=1 if name == "sdxl-b" else 2),
        case("Euler", "trailing", 40, 24, 3, 1.0, prompt="a red " * 37 + "frog-style frog-style", seed=4, full=True),
    ]
    return [job | {"embeddings": words} for job in cases]


def add(pipe, name):
    """The files, and their words in the pipeline."""
    encoders = [getattr(pipe, part, None) for part in ("text_encoder", "text_encoder_2")]
    tokenizers = [getattr(pipe, part, None) for part in ("tokenizer", "tokenizer_2")]
    for file, (word, tensors) in SUBJECTS[name].items():
        path = FOLDER / f"{name}-{file}.safetensors"
        save_file(tensors, path)
        if "clip_l" not in tensors:
            pipe.load_textual_inversion(str(path), token=word)
            continue
        held = load_file(path)
        for key, encoder, tokenizer in zip(("clip_l", "clip_g"), encoders, tokenizers):
            pipe.load_textual_inversion(held[key], token=word, text_encoder=encoder, tokenizer=tokenizer)


def main():
    FOLDER.mkdir(exist_ok=True)
    work = Path(tempfile.mkdtemp())
    for name in SUBJECTS:
        families.make(name, work / name)
        pipe = load(work / name, families.MODELS[name]["kind"])
        add(pipe, name)
        cases = cases_of(name)
        last = [int(ids[0, 75]) for ids in ids_of(pipe, cases[-1]["prompt"])]
        assert all(i >= families.VOCABULARY for i in last), last  # cut within a word
        keep(name, cases, draw(name, cases, pipe), "embeddings")
    shutil.rmtree(work)


if __name__ == "__main__":
    with torch.no_grad():
        main()
