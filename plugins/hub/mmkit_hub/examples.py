"""Training examples that a run keeps in `labels.json`, as some decoders do to show them to a model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mmkit.errors import RunError
from mmkit.files import read_json
from mmkit.runs.folder import Run
from mmkit_hub.contents import BELOW

PHOTO = "data:image/"
"""How a photo begins that stands in JSON."""


def examples_of(run: Run) -> str:
    """What the run holds of its training data, as `holds 3 training examples with 2 photos`; empty if nothing.

    Whatever is no name, number or list of these counts as an example. The runs that are its encoders are read too.
    """
    kept = [value for file in _label_files(run) for value in _examples(read_json(file))]
    if not kept:
        return ""
    photos = sum(text.startswith(PHOTO) for text in _texts(kept))
    told = f"holds {len(kept):,} training example{'s' * (len(kept) != 1)}"
    return f"{told} with {photos:,} photo{'s' * (photos != 1)}"


def check_examples(run: Run, examples: str, wanted: bool) -> None:
    """Raise `RunError` if the run holds training examples that are not wanted in the package."""
    if examples and not wanted:
        raise RunError(
            f"the run {examples} in labels.json, which everybody who gets the package can read",
            where=run.folder,
            hint="if you may share them, add --with-examples; or train without them (of mmkit-vlm: shots.number = 0)",
            code="hub.examples",
        )


def _label_files(run: Run) -> list[Path]:
    below = [file for folder in BELOW for file in sorted((run.folder / folder).rglob("labels.json"))]
    return [run.labels_file, *below]


def _examples(labels: Any) -> Iterator[Any]:
    for value in labels.values() if isinstance(labels, dict) else [labels]:
        yield from (x for x in (value if isinstance(value, list) else [value]) if isinstance(x, dict | list))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    inside: Iterable[Any] = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    )
    for one in inside:
        yield from _texts(one)
