"""A recipe's annotators: each is built once a run, whatever the number of splits."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import catalogue
import pytest

from mmkit import registry
from mmkit.annotators.base import Annotator, MadeBy
from mmkit.annotators.pictures import PictureAnnotator
from mmkit.data.types import Entity, Example, Image
from mmkit.loading.annotation import Annotation
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.recipe import Recipe, load_recipe


class Heavy(Annotator):
    """Loads a model when it is first needed, and notes how many entities it could choose among."""

    made: ClassVar[list[Heavy]] = []
    writes = ("table",)

    def __init__(self, table: str | None = None) -> None:
        self.table, self.loaded, self.finished = table, 0, 0
        self._model: object | None = None
        self.made.append(self)

    def fingerprint(self) -> str:
        return "heavy"

    def key(self, x: Example) -> str:
        return x.id

    def prepare(self, device: str) -> None:
        if self._model is None:
            self._model, self.loaded = object(), self.loaded + 1

    def annotate(self, batch: Sequence[Example]) -> list[int]:
        return [len(self.entities)] * len(batch)

    def apply(self, x: Example, result: int) -> Example:
        return replace(x, notes={**x.notes, "entities": result})

    def made_by(self, result: int) -> MadeBy:
        return MadeBy("asked", "told", f"build of {result}", 20, 3)

    def finish(self) -> None:
        self.finished += 1


class HeavyOnEntities(Heavy):
    """The same of entities, which it describes."""

    over = "entities"

    def fingerprint(self) -> str:
        return "heavy on entities"

    def apply(self, x: Entity, result: int) -> Entity:  # type: ignore[override]
        return replace(x, description="described")


@pytest.fixture(autouse=True)
def heavy() -> Iterator[None]:
    """The annotators above, registered as long as a test runs."""
    registered = {"test.heavy.v1": Heavy, "test.heavy_on_entities.v1": HeavyOnEntities}
    for name, part in registered.items():
        registry.annotators.register(name, func=part)
    Heavy.made.clear()
    yield
    for name in registered:
        catalogue.REGISTRY.pop((*registry.annotators.namespace, name))


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    linking = sampled(load_recipe("text_only_wikimel"))  # made in the cache that all tests share
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "recipe.cfg"
    parts = "\n[annotators.first]\n@annotators = {}\n\n[annotators.second]\n@annotators = {}\n"
    names = '"test.heavy_on_entities.v1"', '"test.heavy.v1"\ntable = "table.json"'
    file.write_text(linking.to_str() + parts.format(*names), encoding="utf-8")
    return load_recipe(file)


def test_each_annotator_is_built_once_and_loads_its_model_once(recipe):
    splits = read_splits(recipe, recipe.parts("data"))
    assert [type(annotator) for annotator in Heavy.made] == [HeavyOnEntities, Heavy]
    assert [annotator.loaded for annotator in Heavy.made] == [1, 1]
    assert Heavy.made[1].finished == 3  # once a split of examples
    size = len(splits["entities"].entities)
    assert size > 0
    for name in ("train", "dev", "test"):
        assert {x.notes["entities"] for x in splits[name].examples} == {size}
    assert {entity.description for entity in splits["entities"].entities} == {"described"}
    for name, annotator, size_seen in (("entities", "first", 0), ("dev", "second", size)):
        count = len(splits[name])
        maker = {"model": "asked", "told": "told", "build": f"build of {size_seen}"}
        counts = {"results": count, "counted": count, "prompt_tokens": 20 * count, "answer_tokens": 3 * count}
        assert splits[name].origin["made_by"] == {annotator: [{**maker, **counts}]}
        said = f"data.{name}: {annotator}: {count} results of asked (told, build of {size_seen}); "
        assert any(line.startswith(said) for line in splits[name].notes())


def test_progress_says_what_is_annotated(recipe):
    told: list[tuple[str, int, int]] = []
    read_splits(recipe, recipe.parts("data"), progress=lambda *said: told.append(said))
    labels = list(dict.fromkeys(label for label, _, _ in told))
    assert labels == [
        "first (entities from 0 on)",
        "second (train)",
        "second (dev)",
        "second (test)",
    ]


def test_where_nothing_is_to_be_written_no_file_is_named(recipe):
    writing, reading = Annotation.of(recipe), Annotation.of(recipe, writing=False)
    assert [annotation.annotators["second"].table for annotation in (writing, reading)] == [
        "table.json",
        None,
    ]


class Looks(PictureAnnotator):
    """Opens every picture."""

    def fingerprint(self) -> str:
        return "looks"

    def key(self, x: Example) -> str:
        return x.id

    def annotate(self, batch: Sequence[Example]) -> list[Any]:
        results: list[list[Any]] = [[] for _ in batch]
        for x, result in zip(batch, results, strict=True):
            list(self.opened(enumerate(x.images), result))
        return results

    def apply(self, x: Example, result: Any) -> Example:
        self.remember(x.images, result)
        return x


def test_a_picture_is_reported_once_however_many_splits_follow(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))
    annotation = Annotation({"looks": Looks()})
    with caplog.at_level(logging.WARNING):
        for split in ("train", "dev", "test"):
            missing = Image(str(tmp_path / f"{split}.jpg"))
            annotation.annotated([Example(split, "", (), (), (missing,))], called=split)
    named = [
        next(s for s in ("train", "dev", "test") if f"{s}.jpg" in message) for message in caplog.messages
    ]
    assert named == ["train", "dev", "test"]
