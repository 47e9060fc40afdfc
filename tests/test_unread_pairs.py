"""Pairs with words beyond the length limit are counted by every command, and no windows are offered for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mmkit.checking.unread import unread
from mmkit.cli import main
from mmkit.data.problems import Problem
from mmkit.data.types import CUT, Example, Prediction, Relation, Span
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.encoders.base import Encoder
from mmkit.encoders.transformer import TransformerEncoder
from mmkit.inference.lacks import Lacks
from mmkit.model import make_items
from mmkit.tasks.base import remarks
from mmkit.tasks.link import LinkTask
from mmkit.tasks.pair import PairTask

WORDS = ["look", "at", "Mara", "Okafor", "in", "Lisbon"]
RECIPE = """
[recipe]
format = 1

[data.train]
@readers = "mmkit.jsonl.v1"
root = "."
file = "train.jsonl"

[data.dev]
@readers = "mmkit.jsonl.v1"
root = "."
file = "train.jsonl"

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "bert"
max_length = 16

[model.fuser]
@fusers = "mmkit.text_only.v1"

[model.decoder]
@decoders = "mmkit.pair_classifier.v1"

[metrics.relations]
@metrics = "mmkit.relation_f1.v1"

[training]
epochs = 1
score = "relations.f1"
"""


def record(id: str, between: int, label: str) -> dict[str, Any]:
    """A sentence with a pair whose tail stands so many words behind its head."""
    tokens = ["Mara", *["at"] * between, "Lisbon"]
    pair = [
        {"start": at, "end": at + 1, "label": kind} for at, kind in ((0, "PER"), (len(tokens) - 1, "LOC"))
    ]
    return {"id": id, "tokens": tokens, "relations": [{"head": pair[0], "tail": pair[1], "label": label}]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipe and its data: of six pairs two are cut off."""
    folder = tmp_path_factory.mktemp("pairs")
    TransformerEncoder.sample(folder / "bert", 1, [Example.from_tokens("x", WORDS * 2)])
    lengths = [1, 2, 3, 4, 30, 40]
    records = [record(f"p{i}", length, ("None", "in")[i % 2]) for i, length in enumerate(lengths)]
    (folder / "train.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "mine.cfg").write_text(RECIPE)
    return folder


def test_every_command_counts_them(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(folder)
    run = str(tmp_path / "run")
    cut = "2 of 6 texts are longer than model.encoders.text can read (16 subwords): 2 of 6 relations are cut off"
    for call in (
        ["check", "mine.cfg"],
        ["train", "mine.cfg", "--output", run],
        ["evaluate", run, "--split", "dev"],
    ):
        said = CliRunner().invoke(main, call).output
        assert cut in " ".join(said.split()), said
        assert "window" not in said
    said = (
        CliRunner()
        .invoke(main, ["predict", run, "--input", "train.jsonl", "--output", str(tmp_path / "x")])
        .output
    )
    assert "2 of 6 texts are longer" in said and "the words of 2 pairs are not read whole" in said
    text = " ".join(["Mara", *["at"] * 30, "Lisbon"])
    said = (
        CliRunner()
        .invoke(main, ["predict", run, "--text", text, "--head", "Mara", "--tail", "Lisbon"])
        .output
    )
    assert "words of the pair" in " ".join(said.split())


def test_windows_are_refused_with_the_setting(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    said = CliRunner().invoke(main, ["check", "mine.cfg", "--model.encoders.text.window_overlap", "4"]).output
    assert "leave out window_overlap" in said


def pair(*ends: int) -> tuple[Example, Prediction]:
    """An example of 20 words of which 10 are read, with a pair for each end."""
    relations = tuple(Relation(Span(0, 1, "A"), Span(end - 1, end, "B"), "r") for end in ends)
    note = {CUT: [{"encoder": "text", "limit": 12, "token": 10}]}
    x = Example.from_tokens("x", ["w"] * 20, relations=relations)
    return x, Prediction("x", relations=relations, relation_scores=(1.0,) * len(ends), notes=note)


@pytest.mark.parametrize(
    ("ends", "said"),
    [((10,), ""), ((11,), "words of the pair;"), ((5, 11, 20), "words of 2 pairs;")],
)
def test_a_pair_is_read_whole_up_to_the_cut(ends: tuple[int, ...], said: str) -> None:
    answer = PairTask().answered(*pair(*ends), ())
    [remark] = remarks(answer)
    assert said in remark if said else "pair" not in remark
    assert "the last 10 words of the text" in remark


def test_mentions_are_counted_as_well() -> None:
    task = LinkTask()
    notes = {CUT: [{"encoder": "text", "limit": 12, "token": 1, "mention": True}]}
    x = Example.from_tokens("x", ["at", "Mara"])
    lacks = Lacks()
    list(lacks.counted([task.answered(x, Prediction("x", notes=notes), ())] * 3))
    assert "the words of 3 mentions are not read whole" in next(lacks.lines())


def test_windows_are_offered_only_by_an_encoder_that_has_them(folder: Path) -> None:
    encoder, decoder = TransformerEncoder(str(folder / "bert"), max_length=16), CrfTagger()
    assert encoder.build_tokenizer()
    x = Example.from_tokens("x", WORDS * 5, spans=(Span(20, 21, "LOC"),))
    items = make_items(decoder, {"text": encoder}, [x])
    for reader, offered in ((encoder, True), (Encoder, False)):
        [problem] = unread(items, decoder, {"text": reader}, pictures=False)  # type: ignore[dict-item]
        assert isinstance(problem, Problem) and "1 of 1 spans" in problem.what
        assert ("window_overlap" in problem.hint) == offered
