"""Prediction and evaluation with a trained run: pairs, annotators, labels nobody knows, what is written where."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import catalogue
import pytest
from click.testing import CliRunner

import mmkit
from editing import edited
from json_schema import violations
from mmkit import registry
from mmkit.annotators.base import Annotator
from mmkit.cli import main
from mmkit.data.types import Entity, Example
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_split
from mmkit.recipe import load_recipe
from mmkit.runs.folder import Run
from mmkit.tasks import PairAnswer
from mmkit.training.train import train
from predicting import mmkit_predict
from raising import raises

HEADER = '{"format": 1, "kind": "examples"}\n'


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """A run that classifies pairs, on text alone."""
    folder = tmp_path_factory.mktemp("runs") / "classifier"
    recipe = sampled(load_recipe("text_only_mnre")).with_overrides(
        {"training.epochs": 1, "training.eval_from": 1}
    )
    train(recipe, folder, device="cpu")
    return folder


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Forget what a test registers in this process."""
    before = dict(catalogue.REGISTRY)
    yield
    catalogue.REGISTRY.clear()
    catalogue.REGISTRY.update(before)


def with_section(recipe: Path, section: str) -> Path:
    """The recipe file of a run with a section more."""
    recipe.write_text(recipe.read_text() + "\n" + section)
    edited(recipe.parent, "recipe.cfg")
    return recipe


# Pairs


def test_a_pair_on_the_command_line(classifier):
    done = mmkit_predict(
        classifier, "--text", "Jordan meets Paris .", "--head", "Jordan", "--tail", "Paris", "--json"
    )
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    (relation,) = result["relations"]
    assert (relation["head"]["text"], relation["tail"]["text"]) == ("Jordan", "Paris")
    assert (relation["tail"]["start"], relation["tail"]["start_char"], relation["tail"]["end_char"]) == (
        2,
        13,
        18,
    )
    assert relation["label"] in Run(classifier).labels()["relations"]
    assert 0 < relation["score"] <= 1
    assert (
        "→"
        in mmkit_predict(
            classifier, "--text", "Jordan meets Paris", "--head", "Jordan", "--tail", "Paris"
        ).stdout
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "as --head and --tail"),
        (["--head", "Jordan"], "both head and tail"),
        (["--head", "Jordan", "--tail", "Rome"], "'Rome' does not occur in the text"),
    ],
)
def test_a_pair_that_is_not_there_is_one_message(classifier, arguments, message):
    done = mmkit_predict(classifier, "--text", "Jordan meets Paris", *arguments)
    assert done.exit_code == 2
    assert message in done.output and "Traceback" not in done.output


def test_a_pair_for_a_tagger_is_refused(tagger):
    done = mmkit_predict(tagger, "--text", "Jordan meets Paris", "--head", "Jordan", "--tail", "Paris")
    assert done.exit_code == 2 and "classifies no pairs" in done.output


def test_a_run_s_help_lists_what_its_task_asks_for(classifier, tagger):
    own = mmkit_predict(classifier, "--help").stdout
    assert "--head WORDS" in own and "--tail WORDS" in own and "--mention" not in own
    assert "--head" not in mmkit_predict(tagger, "--help").stdout
    of_all = CliRunner().invoke(main, ["predict", "--help"]).stdout
    assert all(option in of_all for option in ("--head WORDS", "--mention WORDS", "--candidate ID"))


def test_the_run_may_stand_behind_its_options(classifier):
    arguments = ["--text", "Jordan meets Paris", "--head", "Jordan", "--tail", "Paris", "--json"]
    done = CliRunner().invoke(main, ["predict", *arguments, str(classifier), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["relations"][0]["head"]["text"] == "Jordan"


def test_a_misspelt_option_is_told_the_right_one(classifier):
    done = mmkit_predict(classifier, "--text", "Jordan meets Paris", "--haed", "Jordan", "--tail", "Paris")
    assert done.exit_code == 2 and "--head" in done.output


@pytest.mark.parametrize("arguments", [["--split", "nowhere"], ["--text", "", "--image", "none.jpg"], []])
def test_what_a_model_cannot_do_is_said_first(tagger, arguments):
    done = mmkit_predict(tagger, *arguments, "--mention", "Jordan")
    assert done.exit_code == 2
    assert (
        "links no mentions, so mention means nothing" in done.output and "input.not-for-task" in done.output
    )


def test_entities_for_a_model_that_links_nothing_are_refused_before_they_are_read(tagger, tmp_path):
    done = mmkit_predict(tagger, "--text", "Jordan", "--entities", tmp_path / "none.jsonl")
    assert done.exit_code == 2 and "answers from no knowledge base" in done.output


def test_another_search_for_a_model_that_links_nothing_is_refused(tagger, tmp_path):
    for asked in (
        lambda: mmkit.load(tagger, search="exact"),
        lambda: mmkit.predict_files(tagger, tmp_path / "posts.jsonl", tmp_path / "out", search="exact"),
    ):
        with raises("input.not-for-task", match="it searches in none"):
            asked()


def test_what_is_printed_is_of_the_schema(classifier, tagger):
    for run, pair in ((classifier, ["--head", "Jordan", "--tail", "Paris"]), (tagger, [])):
        schema = json.loads(mmkit_predict(run, "--schema").stdout)
        answer = json.loads(mmkit_predict(run, "--text", "Jordan meets Paris", *pair, "--json").stdout)
        assert list(violations(answer, schema)) == []


def test_an_answer_is_read_as_a_dictionary_and_as_a_dataclass(classifier):
    predictor = mmkit.load(classifier, device="cpu")
    found = predictor.predict("Jordan meets Paris", head="Jordan", tail=(2, 3))
    assert isinstance(found, PairAnswer)
    assert found["relations"][0]["label"] == found.relations[0].label == found.relations[0]["label"]
    assert json.loads(json.dumps(found.to_dict())) == found


def test_several_sentences_are_no_tokens(tagger):
    predictor = mmkit.load(tagger, device="cpu")
    with raises("input.text") as caught:
        predictor.predict(["Jordan scores again", "Paris is hot"])
    assert "predict_many" in caught.value.hint
    assert predictor.predict("Jordan scores", None) == predictor.predict("Jordan scores", [None])


def test_escape_sequences_do_not_reach_the_terminal(tagger, tmp_path):
    record = {"id": "1", "text": "a", "tokens": ["\x1b[31mJordan", "\x9b2J"], "images": []}
    record["text"] = " ".join(record["tokens"])
    (tmp_path / "in.jsonl").write_text(HEADER + json.dumps(record) + "\n")
    for form in ([], ["--json"]):
        done = mmkit_predict(tagger, "--input", tmp_path / "in.jsonl", *form)
        assert done.exit_code == 0, done.output
        assert not set(done.stdout) & {"\x1b", "\x9b"}
        assert "Jordan" in done.stdout
    assert json.loads(done.stdout)["tokens"] == record["tokens"]
    done = mmkit_predict(tagger, "--text", "Jordan", "--image", "\x1b]0;x\x07.jpg")
    assert done.exit_code == 2 and "\x1b" not in done.output


def test_text_that_is_no_unicode_is_refused(tagger):
    with raises("input.not-unicode"):
        mmkit.load(tagger, device="cpu").predict("caf\udce9 Paris")


def test_pairs_from_a_file_need_no_label_and_may_have_an_unknown_one(classifier, tmp_path):
    span = {name: {"start": at, "end": at + 1, "label": "PER"} for name, at in (("a", 0), ("b", 2), ("c", 4))}
    records = [
        {"tokens": ["Ada", ",", "Bob", ",", "Cy"], "relations": [{"head": span["a"], "tail": span["b"]}]},
        {
            "id": "two",
            "tokens": ["Ada", ",", "Bob", ",", "Cy"],
            "relations": [
                {"head": span["a"], "tail": span["b"], "label": "/never/heard/of"},
                {"head": span["c"], "tail": span["b"]},
            ],
        },
    ]
    file = tmp_path / "in.jsonl"
    file.write_text(HEADER + "".join(json.dumps(record) + "\n" for record in records))
    done = mmkit_predict(classifier, "--input", file, "--json")
    assert done.exit_code == 0, done.output
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [result["id"] for result in results] == ["in:2", "two#0", "two#1"]
    assert [r["relations"][0]["head"]["text"] for r in results] == ["Ada", "Ada", "Cy"]
    assert results[0]["relations"] == results[1]["relations"], "the label it came with changes nothing"


# Tagging


def test_unknown_gold_labels_change_no_prediction(tagger):
    predictor = mmkit.load(tagger, device="cpu")
    examples = [e for e in read_split(predictor.recipe, "test").examples if e.spans][:5]
    odd = [
        dataclasses.replace(e, spans=tuple(dataclasses.replace(s, label="DEITY") for s in e.spans))
        for e in examples
    ]
    assert predictor.predict_batch(odd) == predictor.predict_batch(examples)


def test_text_may_go_to_a_file_and_a_split_is_what_training_scored(tagger, tmp_path):
    done = mmkit_predict(tagger, "--text", "Jordan again", "--output", tmp_path / "text.jsonl")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "text.jsonl").read_text())["text"] == "Jordan again"
    done = mmkit_predict(tagger, "--split", "test", "--output", tmp_path / "test.jsonl")
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in (tmp_path / "test.jsonl").read_text().splitlines()]
    scored = [
        json.loads(line) for line in (tagger / "predictions" / "test.jsonl").read_text().splitlines()[1:]
    ]
    assert [result["id"] for result in found] == [prediction["id"] for prediction in scored]
    for result, prediction in zip(found, scored, strict=True):
        spans = [{key: entity[key] for key in ("start", "end", "label")} for entity in result["entities"]]
        assert spans == prediction.get("spans", [])


@pytest.mark.parametrize("name", ["photo.jpg", "notes.txt", "mine.jsonl"])
@pytest.mark.parametrize("format_", [[], ["--format", "jsonl"]])
def test_a_file_of_the_user_is_not_replaced_by_predictions(tagger, tmp_path, name, format_):
    mine, record = tmp_path / name, {"id": "1", "text": "Jordan again", "tokens": ["Jordan", "again"]}
    mine.write_text(json.dumps(record) + "\n")
    source = tmp_path / "mine.jsonl"
    source.write_text(json.dumps(record) + "\n")
    before = mine.read_bytes()
    done = mmkit_predict(tagger, "--input", source, "--output", mine, *format_)
    if format_ and name == "notes.txt":  # a writer's own file may have any name
        assert done.exit_code == 0, done.output
        return
    assert done.exit_code == 2 and str(mine) in done.output
    assert mine.read_bytes() == before


def test_predictions_are_replaced_by_predictions(tagger, classifier, tmp_path):
    for run, more in (tagger, []), (classifier, ["--head", "Jordan", "--tail", "Paris"]):
        for text in "Jordan meets Paris", "Paris meets Jordan":
            done = mmkit_predict(run, "--text", text, *more, "--output", tmp_path / f"{run.name}.jsonl")
            assert done.exit_code == 0, done.output
        assert json.loads((tmp_path / f"{run.name}.jsonl").read_text())["text"] == text


@pytest.mark.parametrize(
    "arguments", [[], ["--text", "a", "--split", "test"], ["--split", "test", "--head", "a"]]
)
def test_arguments_that_do_not_go_together(tagger, arguments):
    assert mmkit_predict(tagger, *arguments).exit_code == 2


# Annotators


class Shouting(Annotator):
    """Notes a sentence in capitals."""

    def fingerprint(self) -> str:
        return "shouting"

    def key(self, x: Example) -> str:
        return x.text

    def annotate(self, batch: Sequence[Example]) -> list[Any]:
        return [x.text.upper() for x in batch]

    def apply(self, x: Example, result: Any) -> Example:
        return dataclasses.replace(x, notes={**x.notes, "t.shouted": result})


class OfEntities(Shouting):
    """Would fail on an example."""

    over: ClassVar[Any] = "entities"

    def key(self, x: Any) -> str:
        raise AssertionError("this is for entities")


def test_annotators_of_examples_run_before_prediction(tagger, tmp_path):
    registry.annotators.register("t.shouting.v1", func=Shouting)
    registry.annotators.register("t.of_entities.v1", func=OfEntities)
    folder = shutil.copytree(tagger, tmp_path / "run")
    sections = [f'[annotators.{name}]\n@annotators = "t.{name}.v1"\n' for name in ("shouting", "of_entities")]
    with_section(folder / "recipe.cfg", "\n".join(sections))
    predictor = mmkit.load(folder, device="cpu")
    (example, prediction) = next(predictor.stream(read_split(predictor.recipe, "test").examples[:1]))
    assert example.notes["t.shouted"] == example.text.upper()
    assert prediction == mmkit.load(tagger, device="cpu").predict_batch([example])[0]


class Scribbling(Shouting):
    """Writes where its settings say."""

    writes: ClassVar[tuple[str, ...]] = ("path",)

    def __init__(self, path: str | None = None) -> None:
        self.path = path

    def annotate(self, batch: Sequence[Example]) -> list[Any]:
        if self.path:
            Path(self.path).write_text("written")
        return super().annotate(batch)


def test_a_run_cannot_make_prediction_write(tagger, tmp_path):
    registry.annotators.register("t.scribbling.v1", func=Scribbling)
    folder = shutil.copytree(tagger, tmp_path / "run")
    target = tmp_path / "elsewhere.txt"
    with_section(
        folder / "recipe.cfg",
        f'[annotators.scribbling]\n@annotators = "t.scribbling.v1"\npath = "{target}"\n',
    )
    predictor = mmkit.load(folder, device="cpu")
    (example, _) = next(predictor.stream(read_split(predictor.recipe, "test").examples[:1]))
    assert example.notes["t.shouted"] == example.text.upper()
    assert not target.exists()


# Knowledge bases


class Linker(CrfTagger):
    """A tagger that remembers which entities there are."""

    def build(self, dims: Any, labels: Any, entities: Sequence[Entity] = ()) -> None:
        super().build(dims, labels, entities)
        self.known = [entity.id for entity in entities]


def test_a_run_with_a_knowledge_base_gives_it_to_the_decoder(tagger, tmp_path):
    registry.decoders.register("t.linker.v1", func=Linker)
    folder = shutil.copytree(tagger, tmp_path / "run")
    (tmp_path / "kb.jsonl").write_text(
        '{"format": 1, "kind": "entities"}\n{"id": "Q41421", "name": "Jordan"}\n'
    )
    section = f'[data.entities]\n@readers = "mmkit.jsonl.v1"\nroot = "{tmp_path}"\nfile = "kb.jsonl"\n'
    recipe = with_section(folder / "recipe.cfg", section)
    recipe.write_text(recipe.read_text().replace("mmkit.crf_tagger.v1", "t.linker.v1"))
    assert Run(folder).model().decoder.known == ["Q41421"]


# Predictions as data


def test_predictions_are_examples_again(tagger, tmp_path):
    answers, silver = tmp_path / "answers.jsonl", tmp_path / "silver.jsonl"
    arguments = ("--split", "test", "--limit", 5)
    assert mmkit_predict(tagger, *arguments, "--output", answers).exit_code == 0
    done = mmkit_predict(tagger, *arguments, "--output", silver, "--format", "jsonl")
    assert done.exit_code == 0 and "5 predictions written" in done.stderr
    told, written = list(mmkit.read(answers)), list(mmkit.read(silver))
    assert any(x.spans for x in told)
    for one, other in zip(told, written, strict=True):
        same = ("id", "tokens", "spans", "images")
        assert [getattr(one, name) for name in same] == [getattr(other, name) for name in same]
        scores = other.notes["mmkit.scores"]["spans"] if other.spans else []
        assert one.notes.get("mmkit.scores", {}).get("spans", []) == pytest.approx(scores, abs=1e-6)
        assert all(Path(image.path).is_file() for image in one.images)
    done = mmkit_predict(tagger, "--input", answers, "--output", tmp_path / "again.jsonl")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "again.jsonl").read_bytes() == answers.read_bytes()


def test_a_format_needs_a_file_and_a_reader_an_input(tagger):
    done = mmkit_predict(tagger, "--text", "Jordan", "--format", "jsonl")
    assert done.exit_code == 2 and "--format and --setting go with --output" in done.stderr
    done = mmkit_predict(tagger, "--text", "Jordan", "--output", "out.jsonl", "--setting", "header=false")
    assert done.exit_code == 2 and "--setting goes with --format" in done.stderr
    done = mmkit_predict(tagger, "--text", "Jordan", "--reader", "jsonl")
    assert done.exit_code == 2 and "--reader goes with --input" in done.stderr
