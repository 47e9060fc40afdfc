"""A stand-in for a captioner, for `--sample`: it names the colour of a picture's edge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

FILE = "colour_names.json"

COLOURS = {
    "black": (22, 24, 52),
    "white": (238, 236, 232),
    "lilac": (196, 168, 208),
    "blue": (120, 186, 240),
    "brown": (150, 100, 60),
    "green": (92, 160, 70),
    "red": (214, 34, 40),
    "yellow": (238, 190, 40),
}


def save_colour_names(folder: Path) -> None:
    """Write what stands for the model's files."""
    (folder / FILE).write_text(json.dumps(COLOURS), encoding="utf-8")


def is_colour_names(name: str) -> bool:
    """Whether a model's name is the folder of such a stand-in."""
    return (Path(name) / FILE).is_file()


class ColourNames:
    """Captions such as "a blue picture": the nearest colour of the upper edge, which is a photo's background."""

    def __call__(self, pictures: Sequence[Pillow.Image], prompt: str, max_new_tokens: int) -> list[str]:
        return [f"a {self.nearest(picture)} picture" for picture in pictures]

    def nearest(self, picture: Pillow.Image) -> str:
        """The colour that is nearest to the median of the picture's uppermost rows."""
        pixels = np.asarray(picture.convert("RGB").resize((32, 32)), dtype=np.float64)
        edge = np.median(pixels[:4].reshape(-1, 3), axis=0)
        distance = {name: float(((edge - colour) ** 2).sum()) for name, colour in COLOURS.items()}
        return min(distance, key=distance.__getitem__)
