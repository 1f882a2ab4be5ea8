"""Step 1 of the recipe: render the demo data set once, as uint8 scenes and their captions.

Some pairs of object and style are held out: they are never rendered. README.md lists the steps.
"""
import argparse
import functools
import hashlib
import json
from multiprocessing import Pool

import numpy as np

import scenes

PARTS = 40
FIRST_SEED = 1000

HELD_OUT = {
    ("frog", "van gogh painting"),
    ("penguin", "neon sign"),
    ("rocket", "mosaic"),
    ("castle", "watercolor"),
    ("cat", "blueprint"),
    ("pizza", "pixel art"),
    ("owl", "pencil sketch"),
}


def held_out(word, style):
    """The named pairs and, by hash, one in twenty of the others."""
    if style == "plain":
        return False
    number = int(hashlib.sha256(f"{word}|{style}".encode()).hexdigest(), 16)
    return (word, style) in HELD_OUT or number % 20 == 0


def with_article(words):
    return ("an " if words[0] in "aeiou" else "a ") + words


def ground_phrase(style, color, rng):
    """How a caption names the ground, if at all."""
    phrase = ""
    if style not in scenes.WITHOUT_GROUND:
        last = f" in front of a {color} wall" if style == "plain" else f" on {color}"
        phrase = rng.choice([f" on a {color} background", f", {color} background", last])
    return "" if rng.random() < .12 else phrase


def caption(word, style, color, rng):
    ground = ground_phrase(style, color, rng)
    thing = word if word.endswith(("cherries", "grapes")) else with_article(word)
    if style == "plain":
        phrases = [f"{thing}", f"an emoji of {thing}", f"a picture of {thing}", f"{word}"]
    elif style == "pixel art":
        phrases = [f"pixel art of {thing}", f"{thing}, pixel art", f"{thing} in pixel art style"]
    elif style == "van gogh painting":
        phrases = [f"a van gogh painting of {thing}", f"{thing} in the style of van gogh",
                   f"{thing}, van gogh painting", f"a painting of {thing} by van gogh"]
    else:
        phrases = [f"{with_article(style)} of {thing}", f"{thing}, {style}", f"{style} {word}",
                   f"{thing} as {with_article(style)}"]
    return rng.choice([phrase + ground for phrase in phrases])


def render_part(task, font, emoji_list):
    """One process's share: (pixels [count,64,64,3], captions, [(word, style, colour)])."""
    seed, count = task
    rng = np.random.default_rng(seed)
    objects = scenes.load_objects(font, emoji_list)
    names = sorted(objects)
    images = np.zeros((count, scenes.SIDE, scenes.SIDE, 3), np.uint8)
    captions, facts = [], []
    for i in range(count):
        word, style, color = scenes.choose(names, rng)
        while held_out(word, style):
            word, style, color = scenes.choose(names, rng)
        images[i] = scenes.draw(objects, word, style, color, rng)
        captions.append(str(caption(word, style, color, rng)))
        facts.append((word, style, color))
    return images, captions, facts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scenes", type=int, default=60000, help="how many (%(default)s)")
    parser.add_argument("--prefix", default="data", help="begins the names of the files written (%(default)s)")
    parser.add_argument("--processes", type=int, default=2, help="at once; does not change the result (%(default)s)")
    parser.add_argument("--font", default=scenes.FONT, help="Noto Color Emoji (%(default)s)")
    parser.add_argument("--emoji-list", default=scenes.EMOJI_LIST, help="Unicode's emoji-test.txt (%(default)s)")
    arguments = parser.parse_args()
    tasks = [(FIRST_SEED + part, arguments.scenes // PARTS) for part in range(PARTS)]
    render = functools.partial(render_part, font=arguments.font, emoji_list=arguments.emoji_list)
    with Pool(arguments.processes) as pool:
        parts = pool.map(render, tasks, chunksize=1)
    images = np.concatenate([part[0] for part in parts])
    captions = sum((part[1] for part in parts), [])
    facts = sum((part[2] for part in parts), [])
    np.save(f"{arguments.prefix}_images.npy", images)
    with open(f"{arguments.prefix}_captions.json", "w") as file:
        json.dump({"captions": captions, "meta": facts}, file)
    print(images.shape, len(captions), captions[:10])


if __name__ == "__main__":
    main()
