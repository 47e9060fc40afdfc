"""What annotators need and do not find is said by `check`, unless their results are stored or nothing is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mmkit.annotators.base import Annotator
from mmkit.annotators.name_candidates import NameCandidates
from mmkit.annotators.run import annotate
from mmkit.checking.annotating import not_computable
from mmkit.data.types import Entity, Example, Mention
from mmkit.errors import MMKitError, PartError, gathered


class Asking(Annotator):
    """Needs what `lacks` says, and annotates every sentence but those of one word."""

    def __init__(self, *lacks: str) -> None:
        self.lacks = lacks

    def check_computable(self) -> None:
        if self.lacks:
            raise gathered([PartError(f"there is no {thing}") for thing in self.lacks])

    def fingerprint(self) -> str:
        return "Asking"

    def key(self, x: Any) -> str:
        return x.text if len(x.tokens) > 1 else ""

    def annotate(self, batch: Sequence[Any]) -> list[Any]:
        return [len(x.tokens) for x in batch]

    def apply(self, x: Any, result: Any) -> Example:
        return replace(x, notes={"length": result})


class OfEntities(Asking):
    over = "entities"

    def key(self, x: Any) -> str:
        return "" if x.description else x.id


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


def sentences(*texts: str) -> list[Example]:
    return [Example.from_tokens(f"x{i}", text.split()) for i, text in enumerate(texts)]


def test_everything_that_is_missing_is_said_with_its_section() -> None:
    asked = {
        "annotators.a": Asking("key", "address"),
        "annotators.b": Asking(),
        "annotators.c": Asking("index"),
    }
    assert not_computable(asked, [[], sentences("a b")], ()) == [
        "[annotators.a] there is no key",
        "[annotators.a] there is no address",
        "[annotators.c] there is no index",
    ]


def test_nothing_is_said_where_nothing_is_to_be_done() -> None:
    assert not_computable({"annotators.a": Asking("key")}, [sentences("one", "two")], ()) == []


def test_nothing_is_said_where_all_results_are_stored() -> None:
    known, more = sentences("a b", "c d"), sentences("e f")
    annotate(Asking(), known)
    assert not_computable({"annotators.a": Asking("key")}, [known], ()) == []
    assert not_computable({"annotators.a": Asking("key")}, [known, more], ())


def test_entities_are_looked_at_for_annotators_of_entities() -> None:
    told, silent = Entity("Q1", "a", description="d"), Entity("Q2", "b")
    asked = {"annotators.a": OfEntities("key")}
    assert not_computable(asked, [sentences("a b")], [told]) == []
    assert not_computable(asked, [[]], [told, silent]) == ["[annotators.a] there is no key"]


def test_candidates_need_a_knowledge_base() -> None:
    x = Example.from_tokens("x", ["a", "b"], mention=Mention("a"))
    (said,) = not_computable({"annotators.c": NameCandidates()}, [[x]], ())
    assert said.startswith("[annotators.c] ") and "[data.entities]" in said
    assert not_computable({"annotators.c": NameCandidates()}, [[x]], [Entity("Q1", "a")]) == []
    with pytest.raises(MMKitError):
        annotate(NameCandidates(), [x])


class ByNote(Asking):
    """Its result depends on what `Asking` notes."""

    def fingerprint(self) -> str:
        return "ByNote"

    def key(self, x: Any) -> str:
        return f"{x.text} {x.notes.get('length')}" if len(x.tokens) > 1 else ""

    def apply(self, x: Any, result: Any) -> Example:
        return replace(x, notes={**x.notes, "again": result})


def test_an_annotator_is_given_what_those_before_it_have_stored() -> None:
    both = {"annotators.a": Asking("key"), "annotators.b": ByNote("index")}
    known, more = sentences("a b", "c d"), sentences("e f")
    annotate(ByNote(), annotate(Asking(), known))
    assert not_computable(both, [known], ()) == []
    assert not_computable({**both, "annotators.a": Asking()}, [known], ()) == []
    annotate(Asking(), more)
    assert not_computable(both, [known, more], ()) == ["[annotators.b] there is no index"]
    assert not_computable({"annotators.b": ByNote("index")}, [known], ()) == [
        "[annotators.b] there is no index"
    ]
