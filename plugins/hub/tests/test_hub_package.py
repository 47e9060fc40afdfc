"""A package predicts as its run does, names nothing of this machine, and has a card that the Hub can read."""

from __future__ import annotations

import getpass
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from huggingface_hub import ModelCard

import mmkit
from mmkit import Entity, Image
from mmkit.cli import main
from mmkit.data.kb_jsonl import KbJsonlReader
from mmkit.files import write_json
from mmkit.runs.folder import Run
from mmkit_hub.card import Wishes
from mmkit_hub.cleaning import cleaned
from mmkit_hub.contents import allowed, listed
from mmkit_hub.entities import write_entities
from mmkit_hub.package import make_package
from raising import raises

TEXT = "look at Jordan in Chicago !"


def command(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def answers(run: Path, **options: object) -> list[dict[str, object]]:
    model = mmkit.load(run, device="cpu", **options)  # type: ignore[arg-type]
    texts = [TEXT, "nothing here", "Kobe Bryant met LeBron James in Los Angeles"]
    return [answer.to_dict() for answer in model.predict_many(texts)]


def test_it_loads_and_predicts_as_the_run(tagger, packaged):
    assert answers(packaged) == answers(tagger)
    assert (packaged / "model.safetensors").read_bytes() == (tagger / "model.safetensors").read_bytes()
    Run(packaged).check()


def test_it_holds_what_predictions_need_and_no_more(tagger, packaged):
    files = {path.relative_to(packaged).as_posix() for path in packaged.rglob("*") if path.is_file()}
    run = set(Run(tagger).facts()["files"])
    assert files == run | {"run.json", "README.md"}
    assert {file.name for file in listed(Run(packaged).facts(), packaged)} == run
    assert (tagger / "predictions/test.jsonl").exists()  # these stay where they are


def test_it_names_nothing_of_this_machine(packaged):
    home, user = str(Path.home()), getpass.getuser()
    for file in packaged.rglob("*"):
        if file.is_file() and file.suffix != ".safetensors":
            text = file.read_text(encoding="utf-8")
            assert home + "/" not in text and "/tmp/" not in text and f"/{user}/" not in text, file
    recipe = Run(packaged).recipe()
    assert not Path(recipe.config["data"]["train"]["root"]).is_absolute()
    assert not Path(recipe.config["model"]["encoders"]["text"]["name"]).is_absolute()


def test_facts_stay_but_for_paths(tagger, packaged):
    before, after = Run(tagger).facts(), Run(packaged).facts()
    assert after["figures"] == before["figures"] and after["versions"] == before["versions"]
    pairs = zip(before["data"]["train"]["files"], after["data"]["train"]["files"], strict=True)
    for old, new in pairs:
        assert new["sha256"] == old["sha256"] and new["file"] == Path(old["file"]).name


def test_the_card_is_one_of_the_hubs(tagger, packaged):
    card = ModelCard.load(packaged / "README.md")
    assert card.data.license == "apache-2.0" and card.data.language == ["en"]
    assert card.data.library_name == "mmkit" and card.data.pipeline_tag == "token-classification"
    assert {"mmkit", "entities"} <= set(card.data.tags)
    recorded = Run(tagger).figures()
    told = {(r.dataset_split, r.metric_name): r.metric_value for r in card.data.eval_results}
    assert told["test", "spans.f1"] == pytest.approx(recorded["test"]["spans.f1"], abs=1e-6)
    assert told["dev", "spans.f1"] == pytest.approx(recorded["dev"]["spans.f1"], abs=1e-6)


def test_the_card_tells_scores_with_intervals_data_and_versions(tagger, packaged):
    text, facts = (packaged / "README.md").read_text(encoding="utf-8"), Run(tagger).facts()
    row = re.search(r"\| test \| spans\.f1 \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", text)
    assert row is not None
    value, low, high = map(float, row.groups())
    assert low <= value <= high and low < high
    assert value == pytest.approx(facts["figures"]["test"]["spans.f1"], abs=1e-4)
    for file in facts["data"]["train"]["files"]:
        assert file["sha256"] in text
    assert f"| torch | {facts['versions']['torch']} |" in text and "| best epoch |" in text
    assert 'mmkit.load("hf://USER/NAME@COMMIT")' in text and "TO FILL IN" in text


def test_scores_without_their_data_have_no_interval_and_say_so(tagger, tmp_path):
    run = shutil.copytree(tagger, tmp_path / "run")
    shutil.rmtree(run / "predictions")
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    model = {"model": "/home/me/lm", "build": "`[7](x)`", "results": 3}
    facts["data"]["test"]["made_by"] = {"knowledge": [model]}
    (run / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    made = make_package(run, tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "- `test, knowledge: 3 results of lm ('[7](x)')`" in text
    assert "No intervals for test: the run keeps no predictions of this split." in text
    assert re.search(r"\| test \| spans\.f1 \| [\d.]+ \|  \|", text)
    assert any("no intervals for the scores of test" in note for note in made.notes)


def test_predictions_that_do_not_fit_the_scores_give_no_interval(tagger, tmp_path):
    run = shutil.copytree(tagger, tmp_path / "run")
    lines = (run / "predictions/test.jsonl").read_text(encoding="utf-8").splitlines()
    emptied = [lines[0], *(json.dumps({**json.loads(line), "spans": []}) for line in lines[1:])]
    (run / "predictions/test.jsonl").write_text("\n".join(emptied) + "\n", encoding="utf-8")
    make_package(run, tmp_path / "out")
    assert "do not give the recorded spans." in (tmp_path / "out/README.md").read_text(encoding="utf-8")


def test_without_a_licence_the_card_says_so(tagger, tmp_path):
    make_package(tagger, tmp_path / "out")
    assert ModelCard.load(tmp_path / "out/README.md").data.license == "unknown"


def test_a_folder_that_is_taken_is_refused(tagger, tmp_path):
    out = tmp_path / "out"
    assert command("package", tagger, out).exit_code == 0
    before = (out / "run.json").read_bytes()
    done = command("package", tagger, out)
    assert done.exit_code == 2 and "hub.folder-taken" in done.output and "--force" in done.output
    (out / "note.txt").write_text("mine")
    assert command("package", tagger, out, "--force").exit_code == 0
    assert (out / "run.json").read_bytes() == before and not (out / "note.txt").exists()


def test_force_replaces_nothing_but_a_package(tagger, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    with raises("hub.folder-taken"):
        make_package(tagger, tmp_path / "mine", force=True)
    for place in (tagger, tagger.parent):
        with raises("hub.folder-taken"):
            make_package(tagger, place, force=True)
    assert (tmp_path / "mine/thesis.txt").exists() and (tagger / "recipe.cfg").exists()


def test_a_failure_leaves_nothing_behind(tagger, tmp_path, monkeypatch):
    monkeypatch.setattr("mmkit_hub.package.card", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        make_package(tagger, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("status", ["unfinished", "failed", None])
def test_a_run_that_is_not_complete_is_refused(tagger, tmp_path, status):
    run = shutil.copytree(tagger, tmp_path / "run")
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (run / "run.json").write_text(json.dumps({**facts, "status": status}), encoding="utf-8")
    with raises("hub.unfinished"):
        make_package(run, tmp_path / "out")


def test_a_damaged_run_is_refused(tagger, tmp_path):
    run = shutil.copytree(tagger, tmp_path / "run")
    with (run / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with raises("run.changed-file"):
        make_package(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_files_of_an_encoder_are_left_out_and_told(tagger, tmp_path):
    run = shutil.copytree(tagger, tmp_path / "run")
    (run / "encoders/text/model.py").write_text("print('hello')")
    (run / "encoders/text/weights.bin").write_bytes(b"\x80\x04")
    done = command("package", run, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "left out: encoders/text/model.py" in done.output and "encoders/text/weights.bin" in done.output
    assert not list((tmp_path / "out").rglob("*.py")) and not list((tmp_path / "out").rglob("*.bin"))


@pytest.mark.parametrize("where", ["labels.json", "encoders/text/labels.json"])
def test_training_examples_are_included_only_on_demand(tagger, tmp_path, where):
    run = Run(shutil.copytree(tagger, tmp_path / "run"))
    photo = "data:image/jpeg;base64,c2VjcmV0"
    shots = [{"text": "a secret post", "pictures": [photo, photo]}, {"text": "another", "pictures": []}]
    write_json(run.folder / where, {**run.labels(), "shots": shots})
    write_json(run.json_file, {**run.facts(), **run.checksums()})
    done = command("package", run.folder, tmp_path / "out")
    assert done.exit_code == 2 and "hub.examples" in done.output and "--with-examples" in done.output
    assert not (tmp_path / "out").exists()
    done = command("package", run.folder, tmp_path / "out", "--with-examples")
    assert done.exit_code == 0, done.output
    assert "the package holds 2 training examples with 2 photos" in done.output
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "**The package holds 2 training examples with 2 photos.**" in card
    assert "secret" not in card and "c2VjcmV0" not in card and "shots" not in card


def test_a_run_without_training_examples_says_nothing_of_them(packaged):
    assert "training example" not in (packaged / "README.md").read_text(encoding="utf-8")


# Runs that need more than their own files


@pytest.fixture(scope="module")
def unsaved(tmp_path_factory, tagger_recipe) -> Path:
    """A tagger with frozen networks that its run does not keep."""
    folder = tmp_path_factory.mktemp("unsaved") / "run"
    settings = {
        "training.epochs": 1,
        "training.save_frozen": False,
        "model.encoders.text.frozen": True,
        "model.encoders.vision.frozen": True,
    }
    mmkit.train(mmkit.sampled(tagger_recipe), settings, output=folder, device="cpu")
    return folder


def test_frozen_networks_of_this_machine_must_be_included(unsaved, tmp_path):
    done = command("package", unsaved, tmp_path / "out")
    assert done.exit_code == 2 and "hub.frozen-not-saved" in done.output and "--with-frozen" in done.output
    done = command("package", unsaved, tmp_path / "out", "--with-frozen")
    assert done.exit_code == 0, done.output
    assert answers(tmp_path / "out") == answers(unsaved)
    assert Run(tmp_path / "out").recipe().training.save_frozen


def test_frozen_networks_of_the_hub_are_told(unsaved, tmp_path, monkeypatch):
    from mmkit_hub.parts_needed import Network

    monkeypatch.setattr(Network, "is_local", False)  # as if their names were the Hub's
    made = make_package(unsaved, tmp_path / "out")
    assert any("model.encoders.text takes the frozen network" in note for note in made.notes)
    assert "allow_network=True" in (tmp_path / "out/README.md").read_text(encoding="utf-8")


def test_a_linker_says_that_its_knowledge_base_is_not_included(linker, tmp_path):
    done = command("package", linker, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "not included: the knowledge base" in done.output
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert 'entities="kb.jsonl"' in text
    assert ModelCard.load(tmp_path / "out/README.md").data.pipeline_tag is None  # the Hub has no such task
    kb = tmp_path / "kb.jsonl"
    kb.write_text(
        '{"format": 1, "kind": "entities"}\n'
        '{"id": "Q1", "name": "Michael Jordan", "description": "a basketball player"}\n'
        '{"id": "Q2", "name": "Jordan", "description": "a country in Asia"}\n',
        encoding="utf-8",
    )
    found = [mmkit.load(run, "cpu", kb).link(TEXT, "Jordan") for run in (linker, tmp_path / "out")]
    assert found[0] == found[1] and {link.entity for link in found[0]} == {"Q1", "Q2"}


# Paths


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/home/somebody/data/train.txt", "train.txt"),
        ("~/models/bert", "bert"),
        ("C:\\Users\\somebody\\data", "data"),
        ("file:///srv/data/kb.json", "kb.json"),
        ("bert-base-uncased", "bert-base-uncased"),
        ("data/twitter2015", "data/twitter2015"),
        ("https://example.org/a/b", "https://example.org/a/b"),
        ("https://me:secret@example.org/a?api_key=secret", "https://***@example.org/a?api_key=***"),
        ("/", "/"),
        ("a /b/c", "a /b/c"),
        ("", ""),
    ],
)
def test_paths_are_shortened(text, kept):
    assert cleaned(text) == kept
    assert cleaned({"a": [text, {"b": text}], "c": 1}) == {"a": [kept, {"b": kept}], "c": 1}


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("recipe.cfg", True),
        ("encoders/text/tokenizer.json", True),
        ("encoders/text/encoders/image/config.json", True),
        ("../recipe.cfg", False),
        ("encoders/../../x.json", False),
        ("/encoders/x.json", False),
        ("encoders/.hidden.json", False),
        ("encoders\\x.json", False),
        ("encoders/text/model.py", False),
        ("encoders/text/pytorch_model.bin", False),
        ("encoders/text/model.pt", False),
        ("other/config.json", False),
        ("other.json", False),
        ("encoders/" + "a" * 300 + ".json", False),
        ("encoders/a\n.json", False),
        ("", False),
    ],
)
def test_what_a_package_may_hold(name, fits):
    assert allowed(name) is fits


# The knowledge base of a run that links


@pytest.fixture(scope="module")
def with_entities(linker, tmp_path_factory) -> tuple[Path, str]:
    """The linker's package with its knowledge base, and what the command said."""
    folder = tmp_path_factory.mktemp("packages") / "linker"
    done = command("package", linker, folder, "--entities-license", "cc0-1.0")
    assert done.exit_code == 0, done.output
    return folder, done.output


def test_a_linker_links_with_the_knowledge_base_in_its_package(linker, with_entities, monkeypatch, tmp_path):
    folder, said = with_entities
    assert (
        "included: the knowledge base, " in said and "licence cc0-1.0" in said and "data.entities" not in said
    )
    monkeypatch.chdir(tmp_path)  # nothing depends on where it is loaded
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    found = [mmkit.load(run, "cpu").link(TEXT, "Jordan") for run in (linker, moved)]
    assert found[0] == found[1] and len(found[0]) > 1
    with (moved / "knowledge/entities.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"id": "Q0", "name": "Jordan"}\n')
    with raises("run.changed-file", match="knowledge"):
        mmkit.load(moved, "cpu")


def test_its_recipe_and_card_name_the_knowledge_base(with_entities):
    folder, _ = with_entities
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "`knowledge/entities.jsonl` (licence `cc0-1.0`)" in text and 'COMMIT")' in text
    section = mmkit.load_recipe(folder / "recipe.cfg").config["data"]["entities"]
    assert (section["root"], section["file"]) == ("knowledge", "entities.jsonl")
    assert Run(folder).recipe().config["data"]["entities"]["root"] == str(folder / "knowledge")


def test_without_its_knowledge_base_a_linker_says_how_to_give_one(linker, tmp_path, monkeypatch):
    made = make_package(linker, tmp_path / "out")
    assert any("--entities kb.jsonl" in note and "--entities-license ID" in note for note in made.notes)
    monkeypatch.chdir(tmp_path)
    with raises("file.missing", match="entities=") as caught:
        mmkit.load(tmp_path / "out", "cpu")
    assert "--entities" in str(caught.value)


def test_a_run_that_does_not_link_has_no_knowledge_base_to_include(tagger, tmp_path):
    with raises("hub.no-entities"):
        make_package(tagger, tmp_path / "out", wishes=Wishes(entities_licence="cc0-1.0"))
    assert list(tmp_path.iterdir()) == []


def test_images_of_entities_are_not_included(linker, tmp_path, monkeypatch):
    """A model that does not look at them links without them; for another, the knowledge base is refused."""
    recipe = Run(linker).recipe()
    pictured = [
        Entity("Q1", "Jordan", images=(Image("a.png"), Image("b.png"))),
        Entity("Q2", "Michael Jordan", description="a player"),
    ]
    monkeypatch.setattr("mmkit.data.kb_json.KbJsonReader.__iter__", lambda self: iter(pictured))
    found = write_entities(recipe, tmp_path)
    assert (found.count, found.images) == (2, 2)
    reader = KbJsonlReader(str(tmp_path / "knowledge"), "entities.jsonl")
    assert list(reader) == [replace(pictured[0], images=()), pictured[1]]
    looking = Wishes(entities_licence="cc0-1.0")
    monkeypatch.setattr("mmkit.encoders.item_encoder.ItemEncoder.pictures_read", lambda self, x: x.images)
    with raises("hub.entity-images", match="--entities kb.jsonl"):
        make_package(linker, tmp_path / "out", wishes=looking)
