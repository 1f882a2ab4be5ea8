"""Writes tests/fuzz/corpus/png and tests/picture/expected.txt: every colour type, depth and interlacing of PNG, made with
zlib alone, and the digest of the pixels that each must give. Run it in this folder when a case is added."""
import hashlib
import os
import struct
import zlib

CORPUS = "../fuzz/corpus/png"
WIDTH, HEIGHT = 13, 9
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def sample(x, y, c, depth):
    """A pattern with all bits in use; 16-bit values are 257 times an 8-bit one, so that rounding has no choice."""
    value = (x * 37 + y * 59 + c * 83 + x * y) & 0xff
    return value * 257 if depth == 16 else value >> (8 - depth)


def pack(samples, depth):
    if depth == 16:
        return b"".join(struct.pack(">H", s) for s in samples)
    bits = "".join(format(s, "0%db" % depth) for s in samples)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


def rows(colour, depth, interlace):
    passes = ADAM7 if interlace else [(0, 0, 1, 1)]
    out = b""
    for x0, y0, dx, dy in passes:
        for y in range(y0, HEIGHT, dy):
            line = [sample(x, y, c, depth) for x in range(x0, WIDTH, dx) for c in range(CHANNELS[colour])]
            if line:
                out += b"\0" + pack(line, depth)
    return out


def palette(n):
    return [((i * 29) & 255, (i * 71 + 5) & 255, (255 - i * 13) & 255) for i in range(n)]


def over_white(rgb, alpha):
    return tuple((v * alpha + 255 * (255 - alpha) + 127) // 255 for v in rgb)


def expected(colour, depth, clear):
    top = (1 << depth) - 1
    out = b""
    for y in range(HEIGHT):
        for x in range(WIDTH):
            s = [sample(x, y, c, depth) for c in range(CHANNELS[colour])]
            v = [q * 255 // top for q in s]
            alpha = 255
            if colour == 3:
                rgb = palette(1 << depth)[s[0]]
                alpha = clear[s[0]] if clear and s[0] < len(clear) else 255
            elif colour in (0, 4):
                rgb = (v[0],) * 3
            else:
                rgb = tuple(v[:3])
            if colour in (4, 6):
                alpha = v[-1]
            if clear and colour in (0, 2) and s == clear:
                alpha = 0
            out += bytes(over_white(rgb, alpha))
    return hashlib.sha256(struct.pack(">II", WIDTH, HEIGHT) + out).hexdigest()


def png(colour, depth, interlace=0, clear=None, before=b"", size=(WIDTH, HEIGHT)):
    out = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlace))
    out += before
    if colour == 3:
        out += chunk(b"PLTE", b"".join(map(bytes, palette(1 << depth))))
    if clear:
        out += chunk(b"tRNS", bytes(clear) if colour == 3 else b"".join(struct.pack(">H", s) for s in clear))
    return out + chunk(b"IDAT", zlib.compress(rows(colour, depth, interlace))) + chunk(b"IEND", b"")


def main():
    os.makedirs(CORPUS, exist_ok=True)
    good = {}
    for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
        for depth in depths:
            for interlace in (0, 1):
                name = "colour%d-depth%d%s" % (colour, depth, "-interlaced" if interlace else "")
                good[name] = (png(colour, depth, interlace), expected(colour, depth, None))
    for colour, depth, clear in ((0, 8, [sample(3, 2, 0, 8)]), (2, 8, [sample(3, 2, c, 8) for c in range(3)]),
                                 (3, 4, [0, 128, 255, 7])):
        good["colour%d-depth%d-clear" % (colour, depth)] = (png(colour, depth, 0, clear), expected(colour, depth, clear))
    with open("expected.txt", "w") as names:
        for name in sorted(good):
            names.write("%s %s\n" % (name, good[name][1]))
    files = {name: data for name, (data, _) in good.items()}
    packed = zlib.compress("größe, 漢字".encode())
    files["texts"] = png(2, 8, before=chunk(b"tEXt", b"Title\0gr\xf6\xdfe\nline") +
                         chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"packed \xe9")) +
                         chunk(b"iTXt", b"Author\0\0\0de\0Autor\0" + "漢字".encode()) +
                         chunk(b"iTXt", b"packed\0\1\0\0\0" + packed) + chunk(b"tEXt", b"empty\0"))
    files["bad-bomb"] = png(2, 8, before=chunk(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(b"a" * (3 << 20)), 9)))
    files["bad-utf8"] = png(2, 8, before=chunk(b"iTXt", b"Author\0\0\0\0\0\xff\xfe"))
    files["bad-huge"] = png(2, 8, size=(8192, 8192))
    files["bad-wide"] = png(2, 8, size=(16385, 1))
    files["bad-crc"] = files["colour2-depth8"][:60] + b"!" + files["colour2-depth8"][61:]
    files["bad-cut"] = files["colour2-depth8"][:-30]
    for name, data in files.items():
        with open(os.path.join(CORPUS, name + ".png"), "wb") as out:
            out.write(data)


main()
