"""Entity linking as a user tries it: train, check, evaluate, predict, from the command line and Python."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import mmkit
from mmkit.cli import main
from mmkit.data.jsonl import write_jsonl
from mmkit.data.kb_json import KbJsonReader
from mmkit.hooks import hookimpl
from mmkit.inference.evaluate import evaluate
from mmkit.loading.sample import sampled
from mmkit.loading.splits import read_splits
from mmkit.recipe import Recipe, load_recipe
from mmkit.runs.folder import Run
from mmkit.training.train import train
from raising import raises


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


class Listener:
    """Keeps what a run tells."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.progress: list[str] = []

    @hookimpl
    def mmkit_note(self, message: str) -> None:
        self.notes.append(message)

    @hookimpl
    def mmkit_progress(self, label: str) -> None:
        self.progress.append(label)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    overrides = {"training.epochs": 3, "training.batch_size": 64, "model.decoder.negatives": "random"}
    return sampled(load_recipe("text_only_wikimel")).with_overrides(overrides)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("linking") / "run"
    train(recipe, folder, device="cpu", quiet=True)
    return folder


@pytest.fixture(scope="module")
def model(run):
    return mmkit.load(run, device="cpu")


def test_a_run_says_what_it_was_linked_to(run):
    facts = Run(run).facts()
    assert facts["data"]["entities"]["records"] == 56
    figures = facts["figures"]["test"]
    assert {"linking.top1", "linking.mrr", "linking.recall", "linking.kb_top1"} <= figures.keys()
    assert figures["linking.recall"] == 1.0


def test_evaluating_gives_the_same_figures(run):
    before = Run(run).facts()["figures"]["test"]
    assert command("evaluate", run, "--device", "cpu").exit_code == 0
    after = json.loads((run / "evaluations/test.json").read_text(encoding="utf-8"))
    assert {name: after[name] for name in before} == before


def test_evaluating_reads_the_knowledge_base_once(run, monkeypatch):
    read = []
    original = KbJsonReader.files
    monkeypatch.setattr(KbJsonReader, "files", lambda reader: read.append(reader) or original(reader))
    evaluate(run, device="cpu")
    assert len(read) == 1


def test_links_have_names_and_descriptions(model):
    links = model.link("look at Jordan !", "Jordan", top=3)
    assert len(links) == 3
    scores = [link["score"] for link in links]
    assert scores == sorted(scores, reverse=True) and all(0 <= score <= 1 for score in scores)
    known = {entity.id: entity for entity in model.model.entities}
    for link in links:
        assert link["name"] == known[link["entity"]].name
        assert link["description"] == known[link["entity"]].description


def test_a_mention_may_be_tokens_or_words_that_the_text_lacks(model):
    by_words = model.link("look at Jordan !", "Jordan")
    assert model.link("look at Jordan !", (2, 3)) == by_words
    assert model.link(["look", "at", "Jordan", "!"], (2, 3)) == by_words
    assert model.link("look at this !", "Jordan") != by_words


def test_candidates_are_all_that_is_chosen_from(model):
    ids = [entity.id for entity in model.model.entities][10:14]
    links = model.link("look at Jordan !", "Jordan", candidates=ids)
    assert {link["entity"] for link in links} == set(ids)
    with raises("input.unknown-entity", match="no entity 'Q0'"):
        model.link("look at Jordan !", "Jordan", candidates=["Q0"])


def test_alone_or_batched_the_links_are_the_same(model, recipe):
    examples = read_splits(recipe, ["test"])["test"].examples[:20]
    batched = model.predict_batch(examples)
    for example, together in zip(examples, batched, strict=True):
        (alone,) = model.predict_batch([example])
        assert alone.links == together.links
        assert alone.link_scores == pytest.approx(together.link_scores, abs=1e-5)


def test_the_command_prints_entities_with_scores_names_and_descriptions(run, model):
    done = command("predict", run, "--text", "look at Jordan !", "--mention", "Jordan", "--device", "cpu")
    assert done.exit_code == 0, done.output
    best = model.link("look at Jordan !", "Jordan")[0]
    assert "Jordan is" in done.stdout
    assert f"{best['score']:.3f}  {best['entity']}  {best['name']}" in done.stdout
    found = json.loads(
        command("predict", run, "--text", "look at Jordan !", "--mention", "Jordan", "--json").stdout
    )
    assert found["mention"] == "Jordan" and found["links"][0] == best


def test_a_file_of_mentions_is_linked(run, tmp_path):
    lines = [
        {"format": 1, "kind": "examples"},
        {"text": "look at Jordan !", "mention": {"text": "Jordan"}},
        {"text": "more of Paris", "mention": {"text": "Paris"}, "candidates": ["Q1001", "Q1002"]},
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    done = command("predict", run, "--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines())
    assert 2 < len(first["links"]) <= 20  # what the recipe's annotator proposes
    assert {link["entity"] for link in second["links"]} == {"Q1001", "Q1002"}


def test_what_is_missing_or_means_nothing_is_said(run, tmp_path, sample_recipe):
    done = command("predict", run, "--text", "look at Jordan !")
    assert done.exit_code == 2 and "--mention" in done.output
    done = command("predict", run, "--split", "test", "--mention", "Jordan")
    assert done.exit_code == 2 and "go with --text" in done.output
    tagger = train(
        load_recipe(sample_recipe, {"training.epochs": 1}), tmp_path / "tagger", device="cpu", quiet=True
    )
    assert tagger["status"] == "completed"
    done = command("predict", tmp_path / "tagger", "--text", "look at Jordan !", "--mention", "Jordan")
    assert done.exit_code == 2 and "links no mentions" in done.output


def test_entities_are_no_examples(run, recipe, tmp_path):
    for verb in ("evaluate", "predict"):
        done = command(verb, run, "--split", "entities")
        assert done.exit_code == 2 and "holds entities, not examples" in done.output
        done = command(verb, run, "--split", "tset")
        assert done.exit_code == 2 and "did you mean 'test'" in done.output
    entities = read_splits(recipe, ["entities"])["entities"].entities
    write_jsonl(tmp_path / "kb.jsonl", entities, "entities")
    done = command("predict", run, "--input", tmp_path / "kb.jsonl")
    assert done.exit_code == 2 and "give the file as --entities" in done.output


def test_check_finds_entities_that_are_not_there(recipe, tmp_path):
    sound = command("check", "text_only_wikimel", "--sample")
    assert sound.exit_code == 0, sound.output
    assert "56 entities" in sound.output and "candidate recall" in sound.output
    root = Path(recipe.config["data"]["entities"]["root"])
    known = json.loads((root / "property.json").read_text(encoding="utf-8"))
    lacking = dict(list(known.items())[10:])
    (tmp_path / "less.json").write_text(json.dumps(lacking), encoding="utf-8")
    less = ["--data.entities.root", tmp_path, "--data.entities.file", "less.json"]
    less += ["--data.entities.names", root / "names.json", "--data.entities.aliases", root / "aliases.json"]
    done = command("check", "text_only_wikimel", "--sample", *less)
    assert done.exit_code == 1
    assert "the knowledge base lacks 10 entities of" in done.output
    report = json.loads(command("check", "text_only_wikimel", "--sample", "--json", *less).output)
    assert len(report["train"]["linking"]["unknown"]) == 10


def test_training_on_an_entity_that_is_not_there_names_the_mention(recipe, tmp_path):
    root = Path(recipe.config["data"]["entities"]["root"])
    known = json.loads((root / "property.json").read_text(encoding="utf-8"))
    (tmp_path / "less.json").write_text(json.dumps(dict(list(known.items())[10:])), encoding="utf-8")
    less = recipe.with_overrides(
        {
            "data.entities.root": str(tmp_path),
            "data.entities.file": "less.json",
            "data.entities.names": str(root / "names.json"),
            "data.entities.aliases": str(root / "aliases.json"),
        }
    )
    heard = Listener()
    with raises(
        "task.no-entity", match=r"the knowledge base lacks 10 entities of 120 mentions: .* and 117 more\n"
    ):
        train(less, tmp_path / "run", device="cpu", quiet=True, hooks=[heard])
    assert not heard.progress  # before anything is computed


def test_mentions_whose_entity_is_not_there_are_told_of_before_they_count_as_wrong(recipe, tmp_path):
    examples = read_splits(recipe, ["test"])["test"].examples
    lost = [replace(x, entity="Q0") if i < 7 else x for i, x in enumerate(examples)]
    write_jsonl(tmp_path / "test.jsonl", lost, "examples")
    text = re.sub(r"(?s)\[data\.test\].*?\n\n", "", recipe.to_str())
    text += f'\n[data.test]\n@readers = "mmkit.jsonl.v1"\nroot = "{tmp_path}"\nfile = "test.jsonl"\n'
    (tmp_path / "lost.cfg").write_text(text, encoding="utf-8")
    heard = Listener()
    facts = train(
        load_recipe(tmp_path / "lost.cfg", {"training.epochs": 1}),
        tmp_path / "run",
        device="cpu",
        quiet=True,
        hooks=[heard],
    )
    said = (
        f"data.test: warning: the knowledge base lacks 1 entity of 7 mentions: Q0: {tmp_path}/test.jsonl:2 "
    )
    assert any(note.startswith(said) for note in heard.notes)
    assert facts["figures"]["test"]["linking.kb_top20"] <= 1 - 7 / len(lost)
    assert said in command("evaluate", tmp_path / "run").output


def test_notes_that_nobody_wrote_are_told_of(recipe, tmp_path):
    heard = Listener()
    unwritten = {
        "model.encoders.text.source": "note:profile",
        "model.encoders.entity.source": "note:profile",
        "training.epochs": 1,
    }
    train(recipe.with_overrides(unwritten), tmp_path / "run", device="cpu", quiet=True, hooks=[heard])
    assert any("model.encoders.text" in n and "no example has what" in n for n in heard.notes)
    assert any("model.encoders.entity" in n and "no entity has what" in n for n in heard.notes)


def test_widths_that_do_not_fit_are_refused(recipe, tmp_path):
    with raises("recipe.query-width", match=r"set model\.fuser\.dim to"):
        train(recipe.with_overrides({"model.fuser.dim": 48}), tmp_path / "run", device="cpu", quiet=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model.encoders.entity.source": "mention"}, "model.encoders.entity: an entity has no text source"),
        ({"model.encoders.text.source": "name"}, "model.encoders.text: an example has no text source 'name'"),
        ({"model.decoder.entities": "mention"}, "add another encoder for that"),
        ({"model.decoder.entities": "entitty"}, "did you mean 'entity'"),
    ],
)
def test_encoders_that_read_the_wrong_records_are_refused(recipe, tmp_path, changes, message):
    with raises("recipe.parts-do-not-fit") as caught:
        train(recipe.with_overrides(changes), tmp_path / "run", device="cpu", quiet=True)
    assert message in str(caught.value)


def test_entities_may_be_read_by_an_encoder_that_is_trained(recipe, tmp_path):
    trained = recipe.with_overrides(
        {
            "training.epochs": 1,
            "model.encoders.entity.frozen": False,
            "model.encoders.mention.frozen": False,
        }
    )
    facts = train(trained, tmp_path / "run", device="cpu", quiet=True)
    again = mmkit.load(tmp_path / "run", device="cpu")
    assert facts["status"] == "completed"
    examples = read_splits(trained, ["test"])["test"].examples
    saved = (tmp_path / "run/predictions/test.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    for line, found in zip(saved, again.predict_batch(examples), strict=True):
        assert json.loads(line)["links"] == list(found.links)


def test_candidates_of_an_annotator_are_there_for_prediction_too(recipe, tmp_path):
    lists = {f"data.{split}.candidates": None for split in ("train", "dev", "test")}
    named = recipe.with_overrides({**lists, "annotators.candidates.top": 3, "training.epochs": 1})
    train(named, tmp_path / "run", device="cpu", quiet=True)
    links = mmkit.load(tmp_path / "run", device="cpu").link("look at Jordan !", "Jordan")
    assert len(links) == 3 and all("Jordan" in link["name"] for link in links)


def test_a_trained_model_links_to_a_knowledge_base_of_one_s_own(run, tmp_path):
    lines = [
        {"id": "a", "name": "Jordan river", "description": "a river"},
        {"id": "b", "name": "Air Jordan", "description": "a shoe"},
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    links = mmkit.load(run, entities=tmp_path / "mine.jsonl").link("look at Jordan !", "Jordan")
    assert {link["name"] for link in links} == {"Jordan river", "Air Jordan"}
    mention = ["--text", "look at Jordan !", "--mention", "Jordan"]
    done = command("predict", run, *mention, "--entities", tmp_path / "mine.jsonl")
    assert links[0]["name"] in done.stdout
    done = command("predict", run, *mention, "--entities", tmp_path / "none.jsonl")
    assert done.exit_code == 2 and "none.jsonl" in done.output


def test_results_with_other_entities_need_a_place_of_their_own(run, recipe, tmp_path):
    done = command("evaluate", run, "--data.entities.file", "brief.json")
    assert done.exit_code == 2 and "data.entities is not what the run was made with" in done.output
    done = command("evaluate", run, "--data.entities.file", "brief.json", "--output", tmp_path / "brief")
    assert done.exit_code == 0, done.output


def test_a_linker_does_not_go_on_with_other_micro_batches(recipe, tmp_path):
    class Stop:
        @hookimpl
        def mmkit_step(self, step: int) -> None:
            if step == 2:
                raise KeyboardInterrupt

    with raises("training.interrupted"):
        train(recipe, tmp_path / "run", device="cpu", quiet=True, hooks=[Stop()])
    changed = recipe.with_overrides({"training.accumulate": 2})
    with raises("run.other-recipe", match=r"training\.accumulate was 1 and is 2"):
        train(changed, tmp_path / "run", device="cpu", quiet=True, resume=True)


def test_a_run_is_asked_with_another_search(run, model, tmp_path):
    """The recipe's own search is replaced for one command, and a folder of predictions belongs to one search."""
    asked = ("look at Jordan", "Jordan")
    assert mmkit.load(run, device="cpu", search="exact").link(*asked) == model.link(*asked)
    posts, found = tmp_path / "posts.jsonl", tmp_path / "found"
    posts.write_text('{"text": "look at Jordan", "mention": {"text": "Jordan"}}\n', encoding="utf-8")
    words = ["predict", run, "--input", posts, "--output", f"{found}/", "--device", "cpu"]
    assert command(*words, "--search", "exact").exit_code == 0
    assert len((found / "posts.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    other = command(*words)
    assert other.exit_code == 2 and "--search was exact and is now not given" in other.output
    misspelt = command("predict", run, "--text", asked[0], "--mention", asked[1], "--search", "fais")
    assert (
        misspelt.exit_code == 2 and "model.decoder.search" in misspelt.output and "faiss" in misspelt.output
    )
