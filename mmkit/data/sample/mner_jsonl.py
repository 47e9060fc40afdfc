"""The MNER sample in canonical jsonlines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmkit.data.conll import ConllImagesReader
from mmkit.data.convert import convert
from mmkit.data.sample.mner import SPLITS, overrides, write
from mmkit.files import written_once


def jsonl_sample(folder: Path, seed: int) -> dict[str, dict[str, Any]]:
    """The sample as `mmkit.jsonl.v1` reads it: each split's constructor overrides."""
    root = written_once(folder / f"tweets-jsonl-v1-{seed}", lambda target: _write(target, seed))
    return {split: {"root": str(root), "file": f"{stem}.jsonl"} for split, (stem, _) in SPLITS.items()}


def _write(folder: Path, seed: int) -> None:
    write(folder, seed)
    for settings in overrides(folder).values():
        reader = ConllImagesReader(**settings)
        convert(reader, folder / f"{reader.path.stem}.jsonl")
