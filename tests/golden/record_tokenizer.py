"""Record transformers' CLIPTokenizer: tests/golden/tokenizer.jsonl, replayed by tests/pipeline/test_tokenizer.c.

    python tests/golden/record_tokenizer.py        (transformers installed)

Also writes tests/golden/tokenizer-json/, a tiny tokenizer in the tokenizer.json form that transformers 5 saves, whose
padding token is "!" with id 0 as SD 2's is, and tests/golden/tokenizer-sd1/, the same words in the files that SD 1
folders hold. A line of the record: the folder's name, the text, all 77 ids, and how many tokens were cut.
"""
import json
import os
import random
import shutil

from transformers import CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
DEMO = os.path.join(HERE, "..", "..", "models", "demo", "tokenizer")
START, END = "<|startoftext|>", "<|endoftext|>"

TEXTS = [
    "", " ", "   \t\n ", "\u3000\u00a0\u2028", "a", "A", "a frog", "a frog in the style of Van Gogh",
    "A FROG, IN THE STYLE OF VAN GOGH!",
    "hello world!", "hello  world  !!", "it's a dog's life; they've said I'm we'll you'd don't they're",
    "IT'S 'S 'RE 'Re 'lL x'T", "'''s ''ll 'x 's's",
    "1234567890", "3.14159 and 1,000,000", "v1.5-pruned_emaonly", "(masterpiece:1.2), [[bad]] {a|b} <lora:x:0.8>",
    "a, b; c: d. e? f! g/h\\i",
    "!@#$%^&*()_+-=[]{};':\",./<>?`~|\\", "!", "!!", "a!", "! a !", "...", "--", "__init__", "C++",
    "e-mail@example.com https://example.com/a?b=c#d",
    "\x01\x02\x1f\x7f control \x1c\x1d bytes", "tab\there\nnew\r\nline\x0bvt\x0cff\x85nel",
    "zero\u200bwidth\ufeffbom\u200djoiner\u00adsoft",
    "naïve café Ångström", "nai\u0308ve cafe\u0301 A\u030angstro\u0308m", "\u212b \u2126 \u212a", "ﬁ ﬂ ﬀ ﬃ ĳ ǆ ſt",
    "İstanbul ısı I i", "ΟΔΥΣΣΕΥΣ Σίσυφος ς σ Σ", "Straße STRASSE ẞ ß GROẞ",
    "ÀÉÎÕÜ àéîõü ÆŒØ æœø", "Привет, мир! ПРИВЕТ", "שלום עולם", "שָׁלוֹם", "مرحبا بالعالم ١٢٣٤", "नमस्ते दुनिया १२३",
    "สวัสดีชาวโลก ๑๒๓", "こんにちは世界 カタカナ ﾊﾝｶｸ ガ ガ", "你好，世界！一二三 ①②③ ㊀ ㎏", "안녕하세요 세계",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "Ⅷ ⅷ ½ ¼ ² ³ ₄ 𝟘𝟙 𝔸𝔹ℂ 𝒜", "１２３ ＡＢＣ ａｂｃ！", "😀 😀😀 👩‍👩‍👧‍👦 🇩🇪 👍🏽 ❤️ ☃", "a😀b 1😀2",
    "«guillemets» „quotes“ ‘single’ — – …", "a\u0300\u0316\u0334 a\u0334\u0316\u0300 q\u0307\u0323 q\u0323\u0307",
    "\u0344 \u0958 \u2adc \ufb1d \U0001d15e", "x\u0898\u0316 x\u0316\u0898 \U00011935\U00011930 \U00011938",
    "ᲀ ᲁ ᲊ Ᲊ Ა ა Ꟍꟍ꟎ Ƛ \ua7cb\ua7dc", "\U00010d50\U00010d51 \U00010d70 \U00010d40 \U00016ea0 \U0002ebf0 \U00013460",
    "\U000f0000 \ue000 \uffff \U0010ffff", START, END, START + "a frog" + END, "a" + END + "b", END + END,
    START.upper(), "<|EndOfText|> x <|endoftext|>y", "<|endoftext", "|endoftext|>", "<|startoftext|",
    "!<|endoftext|>!",
    "<|end\u00adoftext|>", "x <|ENDOFTEXT|>!? <|STARTOFTEXT|>'s", "</w>", "a</w>", "Ġ Ċ Ā ā", "frogfrogfrog",
    "supercalifragilisticexpialidocious", "x" * 300, "word " * 100, "a " * 74, "a " * 75, "a " * 76, "a " * 75 + END,
    "!" * 200, "1" * 80,
    "0123456789 " * 12, "é" * 120, "世" * 100, " leading", "trailing ", "a\u2028b\u2029c\u202fd\u205fe\u1680f\u180eg",
    "<cat-toy> a <CAT-TOY> <cat-toy>s", "Red Green blue", "CamelCaseWords andUPPERlower", "a\tb", "\n", "\u0301",
    "'", "''", "'s", "s'", "\"'s\"", "don’t it’s",
]


def made_up(count):
    """Random texts out of pieces that meet in odd ways; fixed by the seed."""
    rng = random.Random(4)
    pieces = ["a", "photo", "of", "the", "Frog", "STYLE", "!", "'s", "'ll", "'D", "1", "42", "é", "e\u0301", "İ",
        "Σ", "ß", "世界", "😀", " ", "  ", "\n", "-", ",", ".",
              "(", ")", "<|", "|>", END, START, "<|EndOfText|>", "\u0316", "\u0301", "½", "٣", "\u200b", "_",
              "watercolour", "van", "gogh", "</w>"]
    return ["".join(rng.choice(pieces) + rng.choice(["", "",
        " "]) for _ in range(rng.randrange(1, 24))) for _ in range(count)]


def tiny_words():
    """A vocabulary and merges of our own: all byte letters in both forms, and a few learned words."""
    letters = [chr(b) for b in list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))]
    letters += [chr(256 + n) for n in range(256 - len(letters))]
    merges = [("f", "r"), ("o", "g</w>"), ("fr", "og</w>"), ("a", "n"), ("v", "an</w>"), ("a", "n</w>"), ("g", "o"),
        ("go", "g"), ("h", "</w>"), ("t", "h"), ("th", "e</w>"),
              ("Ã", "©</w>"), ("Ã", "©"), ("!", "!</w>"), ("s", "t"), ("1", "2</w>"), ("'", "s</w>")]
    merges = [pair for pair in merges if pair[1] != "</w>"]
    vocab = {}
    for token in letters + [letter + "</w>" for letter in letters] + [a + b for a, b in merges] + [START, END]:
        vocab.setdefault(token, len(vocab))
    return vocab, merges


def save_json(folder):
    vocab, merges = tiny_words()
    made = CLIPTokenizer(vocab=vocab, merges=merges, pad_token="!", model_max_length=77)
    made.add_tokens(["<cat-toy>"])
    made.save_pretrained(folder)


def save_sd1(folder):
    """As SD 1 folders are: vocab.json, merges.txt, special_tokens_map.json with a padding token that is a plain text."""
    vocab, merges = tiny_words()
    special = lambda text: {"content": text, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    files = {
        "vocab.json": json.dumps(vocab),
        "merges.txt": "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges),
        "special_tokens_map.json": json.dumps({"bos_token": special(START), "eos_token": special(END),
        "pad_token": END, "unk_token": special(END)}),
        "tokenizer_config.json": json.dumps({"model_max_length": 77, "tokenizer_class": "CLIPTokenizer",
        "pad_token": END,
                                             "bos_token": {"__type": "AddedToken", **special(START)}, "eos_token": {"__type": "AddedToken", **special(END)}}),
    }
    for name, text in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
            out.write(text)


def main():
    folders = {"demo": DEMO}
    for name, save in (("tokenizer-json", save_json), ("tokenizer-sd1", save_sd1)):
        folders[name] = os.path.join(HERE, name)
        shutil.rmtree(folders[name], ignore_errors=True)
        os.makedirs(folders[name])
        save(folders[name])
    with open(os.path.join(HERE, "tokenizer.jsonl"), "w", encoding="utf-8") as out:
        for name, folder in folders.items():
            tokenizer = CLIPTokenizer.from_pretrained(folder)
            for text in TEXTS + made_up(150 if name == "demo" else 40):
                ids = tokenizer(text, padding="max_length", truncation=True, max_length=77).input_ids
                cut = max(0, len(tokenizer(text).input_ids) - 77)
                out.write(json.dumps({"folder": name, "text": text, "ids": ids, "cut": cut}, ensure_ascii=True, separators=(",",
                    ":")) + "\n")


main()
