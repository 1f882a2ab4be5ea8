"""Captioned scenes made by program: one object, one ground colour, one drawing style, 64x64 RGB.

Used by dataset.py. On its own it draws one sheet, a row a style, to look at.

Styles are image filters. Each takes a scene and a random generator and returns pixels [64,64,3] as floats of 0..255.
"""
import argparse
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from emoji_objects import EMOJI_LIST, read_emoji

FONT = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"
FONT_SIZE = 109  # the one size that the bitmap font has
GLYPH = (136, 128)
SIDE = 64

COLORS = {
    "white": (245, 245, 245),
    "red": (214, 48, 49),
    "orange": (243, 139, 42),
    "yellow": (250, 211, 72),
    "green": (74, 160, 84),
    "teal": (42, 157, 143),
    "blue": (58, 110, 200),
    "purple": (128, 74, 170),
    "pink": (244, 154, 186),
    "black": (30, 30, 36),
    "brown": (130, 86, 54),
    "gray": (140, 144, 150),
}


@dataclass
class Scene:
    """One object placed before a ground, not yet drawn in a style."""

    image: np.ndarray  # [64,64,3] the object before its ground
    alpha: np.ndarray  # [64,64] 0..1, where the object is
    cut: np.ndarray    # [64,64,3] the object before white


def load_objects(font=FONT, emoji_list=EMOJI_LIST):
    """{word: RGBA glyph}."""
    face = ImageFont.truetype(font, FONT_SIZE)
    objects = {}
    for word, characters in read_emoji(emoji_list)[0].items():
        glyph = Image.new("RGBA", GLYPH, (0, 0, 0, 0))
        ImageDraw.Draw(glyph).text((0, 0), characters, font=face, embedded_color=True)
        objects[word] = glyph
    return objects


def compose(glyph, color, rng):
    """Place the glyph at a random size and position before a ground that darkens a little downwards."""
    scale = rng.uniform(0.66, 0.92)
    width = int(round(SIDE * scale))
    height = int(round(width * GLYPH[1] / GLYPH[0]))
    small = glyph.resize((width, height), Image.LANCZOS)
    x = int(rng.integers(1, max(2, SIDE - width)))
    y = int(rng.integers(1, max(2, SIDE - height)))
    layer = np.zeros((SIDE, SIDE, 4), np.float32)
    layer[y:y + height, x:x + width] = np.asarray(small, np.float32)[:SIDE - y, :SIDE - x]
    alpha = layer[..., 3:] / 255
    rgb = np.where(alpha > 0, layer[..., :3], 0)
    rows = np.mgrid[0:SIDE, 0:SIDE][0] / SIDE
    ground = np.array(COLORS[color], np.float32) * (1.06 - 0.12 * rows[..., None])
    image = np.clip(ground * (1 - alpha) + rgb * alpha, 0, 255)
    return Scene(image, alpha[..., 0], rgb * alpha + 255 * (1 - alpha))


def edges(image):
    """Strength of edges, 0..1: the strongest of the three channels."""
    pixels = image.astype(np.float32)
    strongest = 0
    for channel in range(3):
        smooth = ndimage.gaussian_filter(pixels[..., channel], .7)
        strongest = np.maximum(strongest, np.hypot(ndimage.sobel(smooth, 0), ndimage.sobel(smooth, 1)))
    return np.clip(strongest / 260, 0, 1)


def value_noise(rng, octaves=((4, 1.), (8, .5))):
    """Smooth noise [64,64]: a sum of coarse random grids, each (cells, weight), blown up."""
    total = 0
    for cells, weight in octaves:
        grid = rng.standard_normal((cells + 1, cells + 1))
        total = total + weight * ndimage.zoom(grid, SIDE / (cells + 1), order=3)[:SIDE, :SIDE]
    return total


# ---- styles ---------------------------------------------------------------------------------------------------------


def plain(scene, rng):
    return scene.image


def pencil_sketch(scene, rng):
    line = edges(scene.cut)
    shade = (1 - scene.cut.mean(-1) / 255) * scene.alpha
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    hatch = (columns + rows) % 4 < 2
    gray = 244 - 190 * line - 60 * shade * hatch + rng.normal(0, 3, (SIDE, SIDE))
    paper = np.array([1, .99, .96])
    return np.repeat(np.clip(gray, 0, 255)[..., None], 3, 2) * paper


def pixel_art(scene, rng):
    block = 4
    cells = SIDE // block
    small = scene.image.reshape(cells, block, cells, block, 3).mean((1, 3))
    small = np.round(small / 42) * 42
    return np.kron(small, np.ones((block, block, 1)))


def mosaic(scene, rng):
    stones = 260
    centres = rng.uniform(0, SIDE, (stones, 2))
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    distance = (rows[..., None] - centres[:, 0]) ** 2 + (columns[..., None] - centres[:, 1]) ** 2
    stone = distance.argmin(-1)
    flat = stone.ravel()
    size = np.maximum(np.bincount(flat, minlength=stones), 1)
    picture = np.zeros((SIDE, SIDE, 3))
    for channel in range(3):
        picture[..., channel] = (np.bincount(flat, scene.image[..., channel].ravel(), stones) / size)[stone]
    nearest = np.partition(distance, 1, -1)
    gap = np.sqrt(nearest[..., 1]) - np.sqrt(nearest[..., 0])
    picture = np.nan_to_num(picture)
    return np.where((gap < 0.55)[..., None], picture * .45 + 40, picture)


def neon_sign(scene, rng):
    tube = edges(scene.cut) ** .8
    alpha = scene.alpha[..., None]
    hue = np.where(alpha > 0, scene.cut, 255)
    mean = (scene.cut * alpha).sum((0, 1)) / max(scene.alpha.sum(), 1)
    mean = mean / mean.max() * 255
    color = .5 * mean + .5 * hue
    glow = ndimage.gaussian_filter(tube, 2.4)
    night = np.array([14, 10, 26])
    return night + color * tube[..., None] * 1.0 + mean * glow[..., None] * .9


def van_gogh_painting(scene, rng):
    """Strokes along a swirling field: noise and colours are averaged along its lines."""
    gradient_y, gradient_x = np.gradient(ndimage.gaussian_filter(value_noise(rng), 2))
    length = np.hypot(gradient_y, gradient_x) + 1e-6
    along_y, along_x = gradient_x / length, -gradient_y / length
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    noise = ndimage.gaussian_filter(rng.standard_normal((SIDE, SIDE)), .6) * 2.2
    colors = np.zeros((SIDE, SIDE, 3))
    strokes = np.zeros((SIDE, SIDE))
    for place in np.linspace(-4, 4, 9):
        far = [np.clip(rows + along_y * place, 0, SIDE - 1), np.clip(columns + along_x * place, 0, SIDE - 1)]
        near = [np.clip(rows + along_y * place * .4, 0, SIDE - 1), np.clip(columns + along_x * place * .4, 0, SIDE - 1)]
        strokes += ndimage.map_coordinates(noise, far, order=1)
        for channel in range(3):
            colors[..., channel] += ndimage.map_coordinates(scene.image[..., channel], near, order=1)
    colors /= 9
    strokes = (strokes / (strokes.std() + 1e-6))[..., None]
    sky = np.array([36, 70, 150])
    star = np.array([240, 200, 80])
    ground = (1 - ndimage.gaussian_filter(scene.alpha, .8))[..., None]
    swirl = sky + np.clip(strokes, -1.5, 2.5) * np.array([26, 34, 40]) + (strokes > 1.5) * (star - sky) * .6
    return colors * (1 - ground) + (0.82 * swirl + .18 * colors) * ground + (strokes * 15) * (1 - ground)


def watercolor(scene, rng):
    soft = np.stack([ndimage.gaussian_filter(scene.cut[..., channel], 1.0) for channel in range(3)], -1)
    alpha = ndimage.gaussian_filter(scene.alpha, 1.2)
    grain = value_noise(rng, ((6, 1.), (12, .6), (24, .4)))[..., None]
    tint = scene.image[0, 0] * .35 + 255 * .65
    paper = np.array([250, 246, 238]) + grain * 2
    picture = paper * (1 - alpha[..., None] * .95) + (soft * .95 + 14) * (alpha[..., None] * .95)
    halo = np.clip(ndimage.gaussian_filter(scene.alpha, 6) - alpha * .6, 0, 1)[..., None] * .8
    picture = picture * (1 - halo) + tint * halo + grain * 6 * alpha[..., None]
    rim = edges(np.repeat(alpha[..., None] * 255, 3, 2))
    return picture - rim[..., None] * 22


def blueprint(scene, rng):
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    grid = (columns % 8 == 0) | (rows % 8 == 0)
    paper = np.array([24, 66, 140])
    return paper + grid[..., None] * np.array([16, 22, 28]) + edges(scene.cut)[..., None] * np.array([225, 190, 118])


STYLES = {
    "plain": plain,
    "pencil sketch": pencil_sketch,
    "pixel art": pixel_art,
    "mosaic": mosaic,
    "neon sign": neon_sign,
    "van gogh painting": van_gogh_painting,
    "watercolor": watercolor,
    "blueprint": blueprint,
}

# Styles that do not show the ground's colour, so that captions do not name it.
WITHOUT_GROUND = {"pencil sketch", "neon sign", "blueprint", "van gogh painting"}


def choose(names, rng):
    """A random (object, style, colour)."""
    word = names[rng.integers(len(names))]
    style = list(STYLES)[rng.integers(len(STYLES))]
    color = list(COLORS)[rng.integers(len(COLORS))]
    return word, style, color


def draw(objects, word, style, color, rng):
    """Pixels [64,64,3] u8."""
    scene = compose(objects[word], color, rng)
    return np.clip(STYLES[style](scene, rng), 0, 255).astype(np.uint8)


def sheet(objects, rng, columns=14):
    """A row a style; frogs first, then anything."""
    names = list(objects)
    rows = []
    for style in STYLES:
        row = []
        for column in range(columns):
            word = "frog" if column == 0 else names[rng.integers(len(names))]
            color = list(COLORS)[rng.integers(len(COLORS))]
            row.append(draw(objects, word, style, color, rng))
        rows.append(np.concatenate(row, 1))
    return np.concatenate(rows, 0)


def main():
    parser = argparse.ArgumentParser(description="Draw one sheet of scenes, a row a style.")
    parser.add_argument("--font", default=FONT, help="Noto Color Emoji (%(default)s)")
    parser.add_argument("--emoji-list", default=EMOJI_LIST, help="Unicode's emoji-test.txt (%(default)s)")
    parser.add_argument("-o", "--output", default="scenes.png", help="the sheet (%(default)s)")
    arguments = parser.parse_args()
    objects = load_objects(arguments.font, arguments.emoji_list)
    begin = time.time()
    picture = sheet(objects, np.random.default_rng(0))
    scenes = picture.shape[0] * picture.shape[1] / SIDE ** 2
    print(f"{(time.time() - begin) / scenes * 1e3:.1f} ms a scene, {len(objects)} objects")
    Image.fromarray(picture).save(arguments.output)


if __name__ == "__main__":
    main()
