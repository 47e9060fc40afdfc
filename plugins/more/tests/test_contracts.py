"""The parts keep their stations' contracts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixtures import expert_of
from mmkit.data.types import Example
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.pair_classifier import PairClassifier
from mmkit.testing import check_annotator, check_decoder, check_fuser, check_reader, stand_in_examples
from mmkit_more.contexts import TEXT_CONTEXT
from mmkit_more.mixture import Mixture
from mmkit_more.two_views import TwoViews


def posts() -> list[Example]:
    """Examples with contexts."""
    return [replace(x, notes={TEXT_CONTEXT: f"{x.tokens[0]} is known"}) for x in stand_in_examples()]


def test_the_reader_of_sentences(tmp_path: Path) -> None:
    broken = ["IMGID:1\na\n", "IMGID:1\na\tQ-PER\n", "IMGID:1\na\tO\n<EOS>\tX\nb\tO\n"]
    repaired = ["IMGID:1\na\tO\n<EOS>\tO\nb\tX\n\n", "IMGID:1\na\tO\nb\tX\n\n"]
    check_reader("more.conll.v1", folder=tmp_path, broken=broken, repaired=repaired)


def test_the_reader_of_pairs(tmp_path: Path) -> None:
    check_reader("more.mnre.v1", folder=tmp_path, broken=["{}\n", "no record\n"])


@pytest.mark.parametrize("name", ["more.text_retrieval.v1", "more.image_retrieval.v1"])
def test_the_annotators(name: str, tmp_path: Path) -> None:
    check_annotator(name, folder=tmp_path)


def test_the_fuser_of_two_views() -> None:
    check_fuser("more.two_views.v1")


@pytest.mark.parametrize("name", ["more.crf_tagger.v1", "more.pair_classifier.v1"])
@pytest.mark.parametrize("two_views", [False, True])
def test_the_decoders(name: str, two_views: bool) -> None:
    fuser: dict[str, Any] = {"fuser": TwoViews()} if two_views else {}
    check_decoder(name, {"two_views": two_views}, examples=posts(), **fuser)


EXPERTS = ("text", "image")


@pytest.mark.parametrize("kind", [CrfTagger, PairClassifier])
@pytest.mark.parametrize("hidden", [0, 5])
def test_the_fuser_of_experts(kind: Any, hidden: int) -> None:
    experts = {name: expert_of(kind(), stand_in_examples()) for name in EXPERTS}
    check_fuser("more.mixture.v1", {"hidden": hidden}, encoders=experts)


@pytest.mark.parametrize(
    ("name", "kind"), [("more.mixture_tagger.v1", CrfTagger), ("more.mixture_classifier.v1", PairClassifier)]
)
def test_the_mixtures(name: str, kind: Any) -> None:
    experts = {name: expert_of(kind(), stand_in_examples()) for name in EXPERTS}
    check_decoder(name, encoders=experts, fuser=Mixture())
