"""Which models made an annotator's results, counted for `run.json` and for the user."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from mmkit.annotators.base import MadeBy
from mmkit.errors import printable
from mmkit.terminal.notes import capped


@dataclass(frozen=True, slots=True)
class Maker:
    """A model, and how many results it made; tokens are those of the `counted` results for which they are known."""

    model: str
    told: str = ""
    build: str = ""
    results: int = 0
    counted: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0

    @property
    def name(self) -> str:
        """The model in words: how it was asked for, and what it says of itself if that is something else."""
        told = self.told if self.told != self.model else ""
        said = ", ".join(printable(text) for text in (told, self.build) if text)
        return f"{printable(self.model)} ({said})" if said else printable(self.model)

    def __str__(self) -> str:
        said = f"{self.results:,} result{'' if self.results == 1 else 's'} of {self.name}"
        if not self.counted:
            return said
        part = f" (for {self.counted:,} of them)" if self.counted < self.results else ""
        return f"{said}; {self.prompt_tokens:,} tokens asked, {self.answer_tokens:,} answered{part}"

    def to_json(self) -> dict[str, Any]:
        """As JSON, without what is empty."""
        return {name: value for name, value in asdict(self).items() if value}


def makers_of(made: Iterable[MadeBy | None]) -> list[Maker]:
    """The models that made these results, in the order of their first; a result that no model made does not count."""
    return joined([_of_one(by) for by in made if by is not None])


def joined(makers: Iterable[Maker]) -> list[Maker]:
    """Each model once, with the sums."""
    found: dict[tuple[str, str, str], Maker] = {}
    for each in makers:
        key = (each.model, each.told, each.build)
        before = found.get(key, Maker(*key))
        found[key] = replace(
            before,
            results=before.results + each.results,
            counted=before.counted + each.counted,
            prompt_tokens=before.prompt_tokens + each.prompt_tokens,
            answer_tokens=before.answer_tokens + each.answer_tokens,
        )
    return list(found.values())


def told(at: str, makers: Iterable[Maker]) -> Iterator[str]:
    """Lines for the user: the models that made most results first; `at` says of what."""
    most_first = sorted(makers, key=lambda maker: -maker.results)
    yield from (f"{at}: {line}" for line in capped(map(str, most_first)))


def makers_in(origin: Any) -> dict[str, list[Maker]]:
    """The makers by annotator of a split, from what `run.json` says of it; what is in another form is left out."""
    made_by = origin.get("made_by") if isinstance(origin, dict) else None
    found = made_by.items() if isinstance(made_by, dict) else ()
    return {str(name): [*_read(makers)] for name, makers in found if isinstance(makers, list)}


def _read(makers: list[Any]) -> Iterator[Maker]:
    kinds = {each.name: type(each.default) for each in fields(Maker)} | {"model": str}
    for maker in makers:
        given = maker if isinstance(maker, dict) else {}
        kept: dict[str, Any] = {name: x for name, x in given.items() if type(x) is kinds.get(name)}
        if kept.get("model"):
            yield Maker(**kept)


def _of_one(by: MadeBy) -> Maker:
    known = by.prompt_tokens is not None and by.answer_tokens is not None
    tokens = (by.prompt_tokens or 0, by.answer_tokens or 0) if known else (0, 0)
    return Maker(by.model, by.told, by.build, 1, int(known), *tokens)
