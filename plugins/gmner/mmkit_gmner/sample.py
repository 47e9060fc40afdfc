"""A small synthetic dataset in the published form: coloured squares in the photo are what the names stand for.

Each name has a colour. A name whose square is missing is not to be seen, and squares of other colours are in the photo
too, so that only the photo tells which names have a box, and where. The regions of a detector lie in `vinvl`, each
with features: the colours of its quarters.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from mmkit.data.images import open_image
from mmkit.data.sample import pictures
from mmkit.data.types import Box, Example, Image
from mmkit.files import written_once
from mmkit_gmner.overlap import iou

SPLITS = {"train": 320, "dev": 48, "test": 80}
SIDE = 96
FEATURES = 12
"""How many numbers a region's features have."""

NAMES = {
    "Michael Jordan": ("PER", (220, 30, 30)),
    "Ada": ("PER", (30, 60, 220)),
    "Chelsea": ("ORG", (30, 170, 60)),
    "Red Bull": ("ORG", (240, 220, 40)),
    "Rio": ("LOC", (20, 20, 20)),
    "Star Wars": ("OTHER", (250, 250, 250)),
}
"""Name → its type and the colour of its square."""

ABOUT = {"PER": "a person", "ORG": "a company", "LOC": "a town", "OTHER": "a film"}
"""What the context of a post says of names of each type."""

SENTENCES = (
    "look at {} !",
    "what a day with {} and {}",
    "{} again , as ever",
    "more of {} , less of {} please",
)

Square = tuple[str, Box]


def sample(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """Each split's constructor overrides."""
    root = written_once(folder / f"grounded-v4-{seed}", lambda target: write(target, Random(seed)))
    shared = {"root": str(root), "images": "images", "boxes": "xml"}
    return {
        split: shared | {"file": f"txt/{split}.txt", "contexts": f"contexts/{split}.txt"} for split in SPLITS
    }


def write(folder: Path, rng: Random) -> None:
    """Posts, photos, boxes and a detector's regions; equal seeds give equal bytes."""
    for name in ("txt", "contexts", "xml", "images", "vinvl"):
        (folder / name).mkdir()
    number = 10_000
    for split, count in SPLITS.items():
        blocks, contexts = [], []
        for _ in range(count):
            number += 1
            sentence = rng.choice(SENTENCES)
            named = rng.sample(sorted(NAMES), sentence.count("{}"))
            squares = _squares(named, rng)
            _draw(folder / "images" / f"{number}.jpg", squares, rng)
            own = [square for square in squares if square[0] in named]
            if own:
                (folder / "xml" / f"{number}.xml").write_text(_voc(str(number), own), encoding="utf-8")
            _detect(folder / "images" / f"{number}.jpg", [box for _, box in squares], rng)
            columns = _columns(sentence, named)
            blocks.append(f"IMGID:{number}\n{columns}\n")
            told = " ".join(f"{name} is {ABOUT[NAMES[name][0]]} ." for name in named)
            contexts.append(f"{columns}<EOS>\tX\n" + "".join(f"{word}\tX\n" for word in told.split()) + "\n")
        (folder / "contexts" / f"{split}.txt").write_text("".join(contexts), encoding="utf-8")
        (folder / "txt" / f"{split}.txt").write_text("\n".join(blocks) + "\n", encoding="utf-8")


def _squares(named: Sequence[str], rng: Random) -> list[Square]:
    """The squares in a photo: of each name with a chance of a half (rarely two of it), and of one or two others."""
    shown = [name for name in named if rng.random() < 0.5]
    shown += [name for name in shown if rng.random() < 0.1]
    others = rng.sample(sorted(NAMES.keys() - set(named)), rng.choice((1, 2)))
    placed: list[Square] = []
    for name in [*shown, *others]:
        while True:
            side, left, top = rng.randint(20, 30), rng.randint(0, SIDE - 30), rng.randint(0, SIDE - 30)
            box = (float(left), float(top), float(left + side), float(top + side))
            if all(iou(box, other) == 0 for _, other in placed):
                break
        placed.append((name, box))
    return placed


def _draw(path: Path, squares: Sequence[Square], rng: Random) -> None:
    from PIL import Image, ImageDraw

    grey = rng.randint(110, 160)
    picture = Image.new("RGB", (SIDE, SIDE), (grey, grey, grey))
    for name, box in squares:
        colour = tuple(min(255, max(0, channel + rng.randint(-12, 12))) for channel in NAMES[name][1])
        left, top, right, bottom = box
        ImageDraw.Draw(picture).rectangle((left, top, right - 1, bottom - 1), colour)
    pictures.save(picture, path)


def _detect(photo: Path, boxes: Sequence[Box], rng: Random) -> None:
    """The regions of a detector: every square, a little shifted, and one place that shows nothing; the best first."""
    import numpy as np

    left, top = rng.randint(0, SIDE - 24), rng.randint(0, SIDE - 24)
    shifted = [[side + rng.randint(-2, 2) for side in box] for box in boxes]
    found = [*(sorted(shifted)), [left, top, left + 24, top + 24]]
    regions = np.clip(np.array(found, dtype=np.float32), 0, SIDE)
    with (photo.parents[1] / "vinvl" / f"{photo.name}.npz").open("wb") as file:
        np.savez(
            file,
            num_boxes=np.array(len(found)),
            box_features=_colours(photo, regions.tolist()),
            bounding_boxes=regions,
            scores=np.linspace(0.9, 0.3, len(found), dtype=np.float32),
            objects=np.array(["square"] * len(found)),
        )


def _colours(photo: Path, boxes: Sequence[Sequence[float]]) -> Any:
    """`[n, FEATURES]`: red, green and blue of each quarter of each region, in [0, 1]; zeros for an empty region."""
    import numpy as np

    picture = open_image(Image(str(photo)))
    found = np.zeros((len(boxes), FEATURES), dtype=np.float32)
    for row, (left, top, right, bottom) in enumerate(boxes):
        if left < right and top < bottom:
            quarters = picture.resize((2, 2), box=(left, top, right, bottom))
            found[row] = np.asarray(quarters, dtype=np.float32).reshape(FEATURES) / 255
    return found


def _columns(sentence: str, named: Sequence[str]) -> str:
    """The lines of a sentence."""
    lines, names = [], iter(named)
    for part in sentence.split():
        if part != "{}":
            lines.append(f"{part}\tO\n")
            continue
        name = next(names)
        for i, word in enumerate(name.split()):
            lines.append(f"{word}\t{'I' if i else 'B'}-{NAMES[name][0]}\n")
    return "".join(lines)


def _voc(name: str, squares: Sequence[Square]) -> str:
    """The boxes as labelImg writes them."""
    objects = "".join(
        f"<object><name>{words}</name><bndbox>"
        + "".join(
            f"<{side}>{at:.0f}</{side}>"
            for side, at in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        )
        + "</bndbox></object>\n"
        for words, box in squares
    )
    size = f"<size><width>{SIDE}</width><height>{SIDE}</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>{name}.jpg</filename>\n{size}\n{objects}</annotation>\n"


def regions_of(examples: Sequence[Example], folder: Path) -> Path:
    """The folder with a detector's regions for photos: that beside the sample's photos, or `folder`, which is filled.

    Photos of other samples get their four quarters as regions.
    """
    import numpy as np

    photos = {str(x.images[0].path) for x in examples if x.images and x.images[0].path is not None}
    for photo in photos:
        beside = Path(photo).parents[1] / "vinvl"
        if (beside / f"{Path(photo).stem}.jpg.npz").is_file():
            return beside
    folder.mkdir(parents=True, exist_ok=True)
    for photo in sorted(photos):
        width, height = open_image(Image(photo)).size
        x, y = width // 2, height // 2
        quarters = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
        np.savez(
            folder / f"{Path(photo).stem}.jpg.npz",
            bounding_boxes=np.array(quarters, dtype=np.float32),
            box_features=_colours(Path(photo), quarters),
        )
    return folder
