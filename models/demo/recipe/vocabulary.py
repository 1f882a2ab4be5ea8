"""CLIP's byte-pair vocabulary, learned on the captions. Used by train.py (stage vocab)."""
import json
import os
import re

CAPTIONS = "data_captions.json"
TOKENIZER = "model/tokenizer"
START, END = "<|startoftext|>", "<|endoftext|>"
WORD = re.compile(r"[a-z]+|[0-9]|[^\sa-z0-9]+")


def byte_letters():
    """GPT-2's printable stand-in for each byte, as {byte: letter}: printable bytes first, as themselves."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in letters]
    for number, byte in enumerate(others):
        letters[byte] = chr(256 + number)
    return letters


def count_words(letters):
    """{word as a tuple of letters, the last one marked: how often captions have it}."""
    with open(CAPTIONS) as file:
        captions = json.load(file)["captions"]
    words = {}
    for text in captions:
        for word in WORD.findall(text.lower()):
            key = tuple(letters[byte] for byte in word.encode())
            key = key[:-1] + (key[-1] + "</w>",)
            words[key] = words.get(key, 0) + 1
    return words


def best_pair(words):
    """The most frequent neighbours, the last in order among equals; None when every word is one token."""
    pairs = {}
    for word, count in words.items():
        for pair in zip(word, word[1:]):
            pairs[pair] = pairs.get(pair, 0) + count
    if not pairs:
        return None
    return max(pairs, key=lambda pair: (pairs[pair], pair))


def merge_pair(word, pair):
    merged = []
    place = 0
    while place < len(word):
        if word[place:place + 2] == pair:
            merged.append(word[place] + word[place + 1])
            place += 2
        else:
            merged.append(word[place])
            place += 1
    return tuple(merged)


def learn(size):
    """(tokens, merges): at most `size` tokens, the two special ones included."""
    letters = byte_letters()
    words = count_words(letters)
    base = list(letters.values())
    tokens = base + [letter + "</w>" for letter in base]
    merges = []
    while len(tokens) + 2 < size:
        pair = best_pair(words)
        if pair is None:
            break
        merges.append(pair)
        tokens.append("".join(pair))
        counts = {}
        for word, count in words.items():
            merged = merge_pair(word, pair)
            counts[merged] = counts.get(merged, 0) + count
        words = counts
    return tokens + [START, END], merges


def save(tokens, merges):
    os.makedirs(TOKENIZER, exist_ok=True)
    with open(f"{TOKENIZER}/vocab.json", "w") as file:
        json.dump({token: number for number, token in enumerate(tokens)}, file, ensure_ascii=False)
    with open(f"{TOKENIZER}/merges.txt", "w") as file:
        file.write("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": 77,
        "bos_token": START,
        "eos_token": END,
        "unk_token": END,
        "pad_token": END,
        "errors": "replace",
        "do_lower_case": True,
        "add_prefix_space": False,
    }
    with open(f"{TOKENIZER}/tokenizer_config.json", "w") as file:
        json.dump(config, file, indent=1)


def train(size=1024):
    tokens, merges = learn(size)
    save(tokens, merges)
    print(len(tokens), "tokens", len(merges), "merges")
