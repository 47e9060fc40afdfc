"""Synthetic images that show what a post is about: colours and layout differ by kind, everything else varies.

Kinds are the entity types and, for pairs of them, the relations of the MRE sample.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw

SIDE = 96
"""Width and height of a photo in pixels; crops are smaller."""

LOOKS = 14
"""The number of people that `portrait` can distinguish."""

Colour = tuple[int, int, int]
Draw = ImageDraw.ImageDraw

_SKIN = ((236, 188, 150), (205, 150, 110), (170, 115, 80), (225, 172, 130))
_HAIR = ((40, 28, 20), (90, 60, 30), (150, 110, 60), (60, 60, 66))
_LILAC = (196, 168, 208)
_PINK = (248, 160, 188)
_PITCH = (60, 150, 66)
_PAPER = (238, 236, 232)
_NIGHT = (22, 24, 52)
_WOOD = (150, 100, 60)
_SKY = (120, 186, 240)
_GRASS = (92, 160, 70)
_STONE = (128, 130, 138)
_RED = (214, 34, 40)
_GOLD = (238, 190, 40)

_LOOKS = (
    (214, 34, 40),
    (240, 140, 30),
    (236, 220, 50),
    (50, 160, 60),
    (40, 190, 200),
    (40, 70, 200),
    (130, 40, 170),
)
"""Backdrops of portraits, each plain and striped."""


def photo(kind: str, rng: Random) -> Image.Image:
    """A whole scene."""
    picture = Image.new("RGB", (SIDE, SIDE))
    _SCENES[kind](ImageDraw.Draw(picture), rng)
    return picture


def crop(kind: str, rng: Random) -> Image.Image:
    """A detail of such a scene, like a crop from a detector."""
    width, height = rng.randint(56, 80), rng.randint(56, 80)
    left, top = rng.randint(8, SIDE - width - 8), rng.randint(8, SIDE - height - 8)
    return photo(kind, rng).crop((left, top, left + width, top + height))


def portrait(look: int, rng: Random) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """A person whom the `look` of the scene identifies, and the face's box (left, top, right, bottom)."""
    picture = Image.new("RGB", (SIDE, SIDE))
    draw = ImageDraw.Draw(picture)
    colour, striped = _LOOKS[look % len(_LOOKS)], look // len(_LOOKS) % 2
    draw.rectangle((0, 0, SIDE, SIDE), _tint(colour, rng, 8))
    for y in range(rng.randint(0, 7), SIDE * striped, 14):
        draw.rectangle((0, y, SIDE, y + 6), (250, 250, 250))
    x, y, size = _near(48, rng), _near(40, rng), rng.randint(12, 15)
    _person(draw, x, y, size, Random(look))
    return picture, (x - size, y - 2 * size, x + size, y + 2 * size)


def save(picture: Image.Image, path: Path) -> None:
    """Write a JPEG; the bytes depend on the pixels alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "JPEG", quality=90)


def _tint(colour: Colour, rng: Random, spread: int = 16) -> Colour:
    red, green, blue = (min(255, max(0, c + rng.randint(-spread, spread))) for c in colour)
    return red, green, blue


def _backdrop(draw: Draw, colour: Colour, rng: Random) -> None:
    """The colour with some lighter and darker patches."""
    draw.rectangle((0, 0, SIDE, SIDE), _tint(colour, rng))
    for _ in range(rng.randint(2, 5)):
        x, y, size = rng.randint(0, SIDE), rng.randint(0, SIDE), rng.randint(8, 24)
        draw.ellipse((x - size, y - size, x + size, y + size), _tint(colour, rng, 24))


def _person(draw: Draw, x: float, y: float, size: float, rng: Random) -> None:
    """Head and shoulders; `size` is half the head's width."""
    skin, hair, shirt = rng.choice(_SKIN), rng.choice(_HAIR), (rng.randint(90, 220), 60, rng.randint(60, 120))
    draw.ellipse((x - 2.1 * size, y + 1.2 * size, x + 2.1 * size, y + 5 * size), shirt)
    draw.ellipse((x - 1.15 * size, y - 1.6 * size, x + 1.15 * size, y + size), hair)
    draw.ellipse((x - size, y - 1.1 * size, x + size, y + 1.4 * size), _tint(skin, rng, 10))
    for side in (-1, 1):
        eye = x + side * 0.4 * size
        draw.ellipse((eye - 2, y - 0.2 * size - 2, eye + 2, y - 0.2 * size + 2), (30, 30, 40))
    draw.arc((x - 0.5 * size, y, x + 0.5 * size, y + 0.9 * size), 20, 160, (140, 40, 40), 2)


def _skyline(draw: Draw, rng: Random) -> None:
    """Sky, a row of buildings or hills, and grass."""
    _backdrop(draw, _SKY, rng)
    horizon = rng.randint(50, 60)
    for x in range(0, SIDE, 16):
        height, colour = rng.randint(6, 26), _tint(_STONE, rng)
        shape = draw.rectangle if rng.random() < 0.6 else draw.ellipse
        shape((x, horizon - height, x + rng.randint(10, 22), horizon + 10), colour)
    draw.rectangle((0, horizon, SIDE, SIDE), _tint(_GRASS, rng))


def _sign(draw: Draw, x: int, y: int, size: int, rng: Random) -> None:
    """A striped logo, `size` is half its width."""
    draw.rectangle((x - size, y - size, x + size, y + size), _tint(_RED, rng))
    for k in range(-size + 4, size, 9):
        stripe = (
            (x + k, y - size, x + k + 3, y + size) if size % 2 else (x - size, y + k, x + size, y + k + 3)
        )
        draw.rectangle(stripe, (255, 255, 255))


def _trophy(draw: Draw, x: int, y: int, size: int, rng: Random) -> None:
    """A golden cup, `size` is half its width."""
    gold = _tint(_GOLD, rng)
    draw.ellipse((x - 1.4 * size, y - size, x + 1.4 * size, y + 0.4 * size), outline=gold, width=4)
    draw.pieslice((x - size, y - 2 * size, x + size, y + size), 0, 180, gold)
    draw.rectangle((x - 4, y + size - 2, x + 4, y + 1.6 * size), gold)
    draw.rectangle((x - 0.7 * size, y + 1.5 * size, x + 0.7 * size, y + 2 * size), gold)


def _near(middle: int, rng: Random, spread: int = 8) -> int:
    return middle + rng.randint(-spread, spread)


def _one_person(draw: Draw, rng: Random) -> None:
    _backdrop(draw, _LILAC, rng)
    _person(draw, _near(48, rng), _near(40, rng), rng.randint(16, 23), rng)


def _logo(draw: Draw, rng: Random) -> None:
    _backdrop(draw, _PAPER, rng)
    _sign(draw, _near(48, rng), _near(48, rng), rng.randint(24, 34), rng)


def _prize(draw: Draw, rng: Random) -> None:
    _backdrop(draw, _NIGHT, rng)
    _trophy(draw, _near(48, rng), _near(42, rng), rng.randint(15, 22), rng)


def _couple(draw: Draw, rng: Random) -> None:
    _backdrop(draw, _PINK, rng)
    for x in (36, 60):
        _person(draw, _near(x, rng, 3), _near(44, rng, 5), rng.randint(11, 14), rng)
    x, y = _near(48, rng), _near(12, rng, 4)
    draw.polygon([(x - 9, y), (x, y + 11), (x + 9, y), (x + 4, y - 5), (x, y), (x - 4, y - 5)], (220, 20, 60))


def _team_mates(draw: Draw, rng: Random) -> None:
    _backdrop(draw, _PITCH, rng)
    draw.line((48, 0, 48, SIDE), (240, 240, 240), 3)
    draw.ellipse((30, 30, 66, 66), outline=(240, 240, 240), width=3)
    for x in (20, 76):
        _person(draw, _near(x, rng, 4), _near(44, rng), rng.randint(9, 12), rng)


def _headquarters(draw: Draw, rng: Random) -> None:
    _skyline(draw, rng)
    _sign(draw, _near(48, rng), _near(46, rng, 6), rng.randint(18, 24), rng)


def _prizes(draw: Draw, rng: Random) -> None:
    _backdrop(draw, _NIGHT, rng)
    for x in (26, 70):
        _trophy(draw, _near(x, rng, 4), _near(44, rng), rng.randint(11, 15), rng)


def _lunch(draw: Draw, rng: Random) -> None:
    """A plate on a wooden table: it shows nothing about the names."""
    _backdrop(draw, _WOOD, rng)
    x, y, size = _near(48, rng), _near(48, rng), rng.randint(22, 32)
    draw.ellipse((x - size, y - size, x + size, y + size), (232, 232, 224))
    for _ in range(4):
        a, b = _near(x, rng, size // 2), _near(y, rng, size // 2)
        draw.ellipse((a - 7, b - 6, a + 7, b + 6), _tint((190, 120, 50), rng, 40))


_SCENES: dict[str, Callable[[Draw, Random], None]] = {
    "PER": _one_person,
    "LOC": _skyline,
    "ORG": _logo,
    "OTHER": _prize,
    "/per/per/couple": _couple,
    "/per/per/peer": _team_mates,
    "/org/loc/locate_at": _headquarters,
    "/misc/misc/part_of": _prizes,
    "None": _lunch,
}

KINDS = tuple(_SCENES)
"""The kinds that `photo` and `crop` can draw."""
