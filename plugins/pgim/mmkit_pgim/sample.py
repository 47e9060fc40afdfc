"""Synthetic posts with answers in the form of the authors' processed files: only the answer says what a name is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from mmkit.data.sample import names
from mmkit.files import written_once

SIZES = {"train": 240, "dev": 60, "test": 80}
"""Split → number of posts, a multiple of the number of types."""

FILES = {"train": "train.txt", "dev": "valid.txt", "test": "test.txt"}


def answered_posts(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The sample as `pgim.conll.v1` reads it: each split's constructor overrides."""
    root = written_once(folder / f"answered-v1-{seed}", lambda target: _write(target, seed))
    return {split: {"root": str(root), "file": file, "images": None} for split, file in FILES.items()}


def answer(name: str, kind: str, rng: Random) -> str:
    """An answer as a chat model gives it: the entity with its kind in words, and a reason."""
    word = names.KIND_WORDS[kind]
    reason = rng.choice(("The sentence mentions", "The image shows"))
    return f"Named entities: 1. {name} ( {word} ) Reasoning: {reason} {name}, a {word} ."


def _write(folder: Path, seed: int) -> None:
    """Lines end in CR LF and the context's words carry X, as in the authors' files."""
    rng = Random(seed)
    for split, size in SIZES.items():
        blocks = ["".join(f"{line}\r\n" for line in block) for block in _blocks(size, rng)]
        (folder / FILES[split]).write_bytes("".join(f"{block}\r\n" for block in blocks).encode())


def _blocks(size: int, rng: Random) -> Iterator[list[str]]:
    """Every sentence occurs with an answer of each kind."""
    for _ in range(size // len(names.TYPES)):
        name, template = rng.choice(names.AMBIGUOUS), rng.choice(names.ONE_NAME)
        body, bounds = names.filled(template, [name])
        tokens, before = names.framed(body, rng)
        for kind in rng.sample(names.TYPES, len(names.TYPES)):
            tags = ["O"] * len(tokens)
            for start, end in bounds:
                tags[before + start] = f"B-{kind}"
                tags[before + start + 1 : before + end] = [f"I-{kind}"] * (end - start - 1)
            words = ["<EOS>", *answer(name, kind, rng).split()]
            yield [f"{w}\t{t}" for w, t in zip(tokens, tags, strict=True)] + [f"{w}\tX" for w in words]
