"""Readers on their own samples, and what readers read besides: crops of images, and stored knowledge bases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fuzzing.target import Target, below, drained
from mmkit import registry
from mmkit.data.reader import Reader
from mmkit.errors import MMKitError


def has_sample(name: str) -> bool:
    """Whether a reader draws a sample of its own, which is what is damaged."""
    return registry.get("readers", name).sample.__func__ is not Reader.sample.__func__  # type: ignore[attr-defined]


def reader(folder: Path, name: str) -> Target:
    """A reader on its own sample."""
    part = registry.get("readers", name)
    splits = part.sample(folder / "sample", 7)  # type: ignore[attr-defined]
    settings = _complete(name, next(iter(splits.values())))

    def read() -> None:
        reader = registry.build_part("readers", name, settings)
        drained(reader)
        for reason, count in reader.repairs.items():
            assert isinstance(reason, str) and count >= 0

    read()
    reader = registry.build_part("readers", name, settings)
    known = [path for path in reader.files() if path.is_file()]
    return Target(known * 3 + below(folder), read, folder)


def _complete(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """A sample's settings, with the file that a recipe would have named where the sample names none."""
    if "file" in settings:
        return settings
    for path in sorted(Path(settings["root"]).glob("*.json")):
        try:
            if drained(registry.build_part("readers", name, {**settings, "file": path.name})):
                return {**settings, "file": path.name}
        except MMKitError:
            continue
    raise LookupError(f"no file of the sample of {name} is read by it")


def crops(folder: Path, _: str) -> Target:
    """A CoNLL file beside a table of crops and boxes."""
    name = "mmkit.conll_images.v1"
    splits = registry.get("readers", name).sample(folder / "sample", 7)  # type: ignore[attr-defined]
    settings = splits["train"]

    def read() -> None:
        drained(registry.build_part("readers", name, settings))

    read()
    tables = [path for path in below(folder) if path.suffix == ".json"]
    return Target(tables or below(folder), read, folder)


def knowledge(folder: Path, _: str) -> Target:
    """A stored knowledge base, as it lies in the cache."""
    from mmkit.data.knowledge import KnowledgeBase
    from mmkit.data.types import Entity

    entities = [Entity(f"Q{n}", f"name {n}", description="x" * n, aliases=(f"alias {n}",)) for n in range(50)]
    KnowledgeBase.build(folder / "base", entities)

    def read() -> None:
        base = KnowledgeBase(folder / "base")
        base.rows(["Q1", "Q49", "Q50"])
        drained(base)

    read()
    return Target(below(folder), read, folder)
