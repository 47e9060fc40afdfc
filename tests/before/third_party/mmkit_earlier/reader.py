"""`earlier.captions.v1`: captions whose names are marked in the text, each with a photo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from mmkit.data.lines import numbered_lines
from mmkit.data.reader import Reader
from mmkit.data.types import Example, Image, Span
from mmkit.errors import DataError
from mmkit.files import written_once

MENTION = re.compile(r"\[(?P<label>[A-Z]+) (?P<words>[^\]]+)\]")


class CaptionReader(Reader):
    """Reads lines of `photo TAB caption`, names in the caption marked as in `[PER Michael Jordan] is here`."""

    source: ClassVar[str] = "write one yourself: a line for each photo, beside the photos"

    def __iter__(self) -> Iterator[Example]:
        self.repairs.clear()
        for number, line in numbered_lines(self.path, self.source, self.repairs):
            if not line.strip():
                self.repairs["empty line skipped"] += 1
                continue
            photo, tab, caption = line.partition("\t")
            if not tab:
                raise DataError("there is no tab between photo and caption", where=f"{self.path}:{number}")
            tokens, spans = parse(caption)
            image = Image(None if self.blank_images else str(Path(self.root) / photo))
            yield Example.from_tokens(f"{self.file}:{number}", tokens, images=(image,), spans=spans)

    @classmethod
    def sample(cls, folder: Path, seed: int) -> dict[str, dict[str, Any]]:
        root = written_once(folder / f"captions-v1-{seed}", lambda target: write_sample(target, seed))
        return {split: {"root": str(root), "file": f"{split}.tsv"} for split in SIZES}


def parse(caption: str) -> tuple[list[str], tuple[Span, ...]]:
    """Tokens and spans of a caption with marked names."""
    tokens: list[str] = []
    spans: list[Span] = []
    end = 0
    for mention in MENTION.finditer(caption):
        tokens += caption[end : mention.start()].split()
        words = mention["words"].split()
        spans.append(Span(len(tokens), len(tokens) + len(words), mention["label"]))
        tokens += words
        end = mention.end()
    return tokens + caption[end:].split(), tuple(spans)


SIZES = {"train": 96, "dev": 24, "test": 24}
COLOURS = {"PER": (200, 40, 40), "LOC": (40, 40, 200)}
NAMES = ("Jordan", "Paris", "Florence", "Chelsea")
CAPTIONS = ("look at [{label} {name}] today", "with [{label} {name}] again", "[{label} {name}] this morning")


def write_sample(folder: Path, seed: int) -> None:
    """Captions that each occur with a photo whose middle is red (a person) and one where it is blue (a place)."""
    from PIL import Image as Pillow

    rng = Random(seed)
    for split, size in SIZES.items():
        lines = []
        for i in range(size):
            label = ("PER", "LOC")[i % 2]
            if i % 2 == 0:
                caption, name = rng.choice(CAPTIONS), rng.choice(NAMES)
            photo = f"{split}-{i}.png"
            colour = tuple(channel + rng.randrange(-30, 30) for channel in COLOURS[label])
            picture = Pillow.new("RGB", (32, 32), (rng.randrange(256),) * 3)
            picture.paste(colour, (8, 8, 24, 24))
            picture.save(folder / photo)
            lines.append(f"{photo}\t{caption.format(label=label, name=name)}\n")
        (folder / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
