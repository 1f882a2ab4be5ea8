"""The objects of the demo data set: emoji whose silhouette survives 64x64 pixels.

Used by scenes.py. On its own it prints how many of them the emoji list of this machine has, and which are missing.
"""
import argparse
import re

EMOJI_LIST = "/usr/share/unicode/emoji/emoji-test.txt"

# Unicode's name of an emoji, where it differs from the word that captions use for it.
RENAMED = {
    "red apple": "apple",
    "grapes": "bunch of grapes",
    "kiwi fruit": "kiwi",
    "ear of corn": "corn cob",
    "jack-o-lantern": "pumpkin",
    "cat face": "cat",
    "dog face": "dog",
    "tiger face": "tiger",
    "cow face": "cow",
    "pig face": "pig",
    "monkey face": "monkey",
    "honeybee": "bee",
    "lady beetle": "ladybug",
    "spouting whale": "whale",
    "tropical fish": "fish",
    "rabbit face": "rabbit",
    "mouse face": "mouse",
    "automobile": "car",
    "locomotive": "train",
    "umbrella with rain drops": "umbrella",
    "alarm clock": "clock",
    "closed book": "book",
    "wrapped gift": "gift",
    "high-heeled shoe": "shoe",
    "birthday cake": "cake",
    "soccer ball": "football",
    "full moon face": "moon",
    "sun with face": "sun",
    "deciduous tree": "tree",
}

SAME_NAME = (
    "banana", "cherries", "lemon", "pineapple", "watermelon", "strawberry", "pear", "avocado", "carrot", "broccoli",
    "mushroom", "fox", "bear", "panda", "koala", "lion", "frog", "chicken", "penguin", "owl", "wolf", "unicorn",
    "butterfly", "snail", "turtle", "octopus", "crab", "elephant", "eagle", "parrot", "flamingo", "bus", "tractor",
    "bicycle", "rocket", "helicopter", "sailboat", "house", "castle", "balloon", "guitar", "trumpet", "drum", "key",
    "light bulb", "crown", "top hat", "star", "palm tree", "cactus", "tulip", "rose", "sunflower", "maple leaf",
    "cloud", "snowman", "volcano", "doughnut", "hamburger", "pizza", "ice cream", "teapot", "robot", "ghost",
    "alien", "anchor",
)

WANTED = RENAMED | {name: name for name in SAME_NAME}

EMOJI_LINE = re.compile(r"^([0-9A-F ]+?)\s*; fully-qualified\s*# (\S+) E[\d.]+ (.+)$")


def read_emoji(path=EMOJI_LIST):
    """({word: characters} in the list's order, [words that the list lacks])."""
    found = {}
    with open(path, encoding="utf8") as lines:
        for line in lines:
            match = EMOJI_LINE.match(line)
            if not match or match.group(3) not in WANTED:
                continue
            word = WANTED[match.group(3)]
            if word not in found:
                found[word] = "".join(chr(int(code, 16)) for code in match.group(1).split())
    missing = [word for word in WANTED.values() if word not in found]
    return found, missing


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--emoji-list", default=EMOJI_LIST, help="Unicode's emoji-test.txt (%(default)s)")
    arguments = parser.parse_args()
    found, missing = read_emoji(arguments.emoji_list)
    print(f"{len(found)} objects, missing: {', '.join(missing) or 'none'}")


if __name__ == "__main__":
    main()
