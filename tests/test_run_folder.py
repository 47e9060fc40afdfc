"""A trained run: what it holds, and that evaluate, predict and training's own test agree."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import mmkit
from editing import edited
from mmkit.cli import main
from mmkit.data.types import Image
from mmkit.hooks import hookimpl
from mmkit.inference.evaluate import evaluate
from mmkit.loading.splits import read_split
from mmkit.recipe import load_recipe
from mmkit.runs.folder import Run
from mmkit.runs.weights import load_tensors, read_metadata, save_tensors
from mmkit.training.train import train
from raising import raises


class Recorder:
    """A tracker as a third party would write it."""

    def __init__(self):
        self.calls = []

    @hookimpl
    def mmkit_run_start(self, total_steps):
        self.calls.append(("start", total_steps))

    @hookimpl
    def mmkit_step(self, step):
        self.calls.append(("step", step))

    @hookimpl
    def mmkit_evaluated(self, split, figures, best):
        self.calls.append(("evaluated", split, figures["spans.f1"], best))

    @hookimpl
    def mmkit_checkpoint(self, best):
        self.calls.append(("checkpoint", best))

    @hookimpl
    def mmkit_run_end(self, status):
        self.calls.append(("end", status))


@pytest.fixture(scope="module")
def recorder():
    return Recorder()


@pytest.fixture(scope="module")
def run(sample_recipe, recorder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    recipe = load_recipe(sample_recipe, {"training.epochs": 5, "training.learning_rate": 3e-3})
    train(recipe, folder, device="cpu", hooks=[recorder])
    return folder


def facts(run):
    return json.loads((run / "run.json").read_text())


def test_the_folder_holds_what_the_documentation_says(run):
    expected = {
        "recipe.cfg",
        "labels.json",
        "model.safetensors",
        "encoders",
        "metrics.jsonl",
        "predictions",
        "errors",  # of mmkit-report
        "run.json",
    }
    assert {p.name for p in run.iterdir()} == expected
    assert {p.name for p in (run / "encoders").iterdir()} == {"text", "vision"}
    found = facts(run)
    assert found["format"] == 1 and found["status"] == "completed" and found["seed"] == 7
    assert (
        found["data"]["train"]["records"] == 320 and len(found["data"]["train"]["files"][0]["sha256"]) == 64
    )
    assert found["peak_memory_bytes"]["resident"] > 0 and found["seconds"] > 0
    assert found["figures"]["test"]["spans.f1"] > 0.5
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines if line["split"] != "train"] == ["dev"] * 5 + ["test"]
    assert all({"split", "epoch", "step"} <= line.keys() for line in lines)


def test_hooks_see_the_run_in_order(run, recorder):
    calls = recorder.calls
    assert calls[0] == ("start", 100) and calls[-1] == ("end", "completed")
    assert [step for kind, step, *_ in calls if kind == "step"] == list(range(1, 101))
    best = max(call[2] for call in calls if call[:2] == ("evaluated", "dev"))
    assert best == facts(run)["figures"]["dev"]["spans.f1"]
    assert ("checkpoint", True) in calls and ("checkpoint", False) in calls


def test_the_filled_recipe_trains_again_to_the_same_result(run, tmp_path):
    train(load_recipe(run / "recipe.cfg"), tmp_path / "again", device="cpu")
    first, second = (load_file(folder / "model.safetensors") for folder in (run, tmp_path / "again"))
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert facts(run)["figures"] == facts(tmp_path / "again")["figures"]


def test_evaluate_agrees_with_training_to_the_bit(run, tmp_path):
    figures, predictions = evaluate(run, "test", device="cpu", output=tmp_path)
    assert figures == facts(run)["figures"]["test"]
    assert (tmp_path / "predictions/test.jsonl").read_bytes() == (run / "predictions/test.jsonl").read_bytes()
    assert len(predictions) == 80


def test_alone_and_in_batches_labels_agree_and_scores_are_close(run):
    predictor = mmkit.load(run, device="cpu")
    examples = read_split(predictor.recipe, "test").examples[:24]
    together = predictor.predict_batch(examples)
    assert together == predictor.predict_batch(examples)
    for example, expected in zip(examples, together, strict=True):
        (alone,) = predictor.predict_batch([example])
        assert alone.spans == expected.spans
        assert alone.span_scores == pytest.approx(expected.span_scores, abs=1e-5)
    assert any(prediction.spans for prediction in together)


def test_offsets_point_into_the_text(run):
    predictor = mmkit.load(run, device="cpu")
    example = next(e for e in read_split(predictor.recipe, "test").examples if e.spans)
    result = predictor.predict(example.text, [i for i in example.images if i.role == "photo"])
    assert result["text"] == example.text
    assert result["entities"]
    for entity in result["entities"]:
        assert example.text[entity["start_char"] : entity["end_char"]] == entity["text"]
        assert " ".join(result["tokens"][entity["start"] : entity["end"]]) == entity["text"]
        assert 0 < entity["score"] <= 1


def test_predict_streams_jsonlines(run, tmp_path):
    examples = read_split(load_recipe(run / "recipe.cfg"), "test").examples[:7]
    records = [{"text": e.text, "images": [i.path for i in e.images if i.role == "photo"]} for e in examples]
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    header = '{"format": 1, "kind": "examples"}\n'
    source.write_text(header + "".join(json.dumps(record) + "\n" for record in records))
    done = CliRunner().invoke(main, ["predict", str(run), "--input", str(source), "--output", str(target)])
    assert done.exit_code == 0, done.output
    results = [json.loads(line) for line in target.read_text().splitlines()]
    assert [result["text"] for result in results] == [example.text for example in examples]


def test_a_missing_picture_is_an_error_or_a_blank_as_asked(run):
    predictor = mmkit.load(run, device="cpu")
    with raises("image.missing", match=r"gone\.jpg"):
        predictor.predict("Jordan again", ["gone.jpg"])
    predictor.missing_images = "blank"
    blank = predictor.predict("Jordan again", [Image(None)])
    assert predictor.predict("Jordan again", ["gone.jpg"])["entities"] == blank["entities"]


def test_a_sentence_longer_than_the_encoder_keeps_its_tail_as_unlabelled(run):
    predictor = mmkit.load(run, device="cpu")
    result = predictor.predict(["Jordan"] * 3000)
    assert len(result["tokens"]) == 3000
    assert all(entity["end"] <= 600 for entity in result["entities"])


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_sentence_is_an_error(run, text):
    with raises("input.no-words"):
        mmkit.load(run, device="cpu").predict(text)


def test_unseen_gold_labels_count_as_missed(run, tmp_path):
    recipe = load_recipe(run / "recipe.cfg")
    root = recipe.config["data"]["test"]["root"]
    shutil.copytree(root, tmp_path / "data")
    file = tmp_path / "data" / recipe.config["data"]["test"]["file"]
    file.write_text(file.read_text().replace("-PER", "-DEITY"))
    figures, _ = evaluate(
        run,
        "test",
        recipe=recipe.with_overrides({"data.test.root": str(tmp_path / "data")}),
        device="cpu",
        output=tmp_path,
    )
    assert figures["spans.recall.DEITY"] == 0.0
    assert figures["spans.f1"] < facts(run)["figures"]["test"]["spans.f1"]


# Damage


def copy_of(run, tmp_path):
    return shutil.copytree(run, tmp_path / "copy")


@pytest.mark.parametrize("size", [0, 5, 1000])
def test_a_truncated_weights_file_is_one_message(run, tmp_path, size):
    folder = copy_of(run, tmp_path)
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:size])
    done = CliRunner().invoke(main, ["predict", str(folder), "--text", "Jordan"])
    assert done.exit_code == 2
    assert "damaged" in done.output and "model.safetensors" in done.output and "Traceback" not in done.output


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("labels.json", "run.missing-file"),
        ("model.safetensors", "run.missing-file"),
        ("recipe.cfg", "run.not-a-run"),
    ],
)
def test_a_missing_file_is_named(run, tmp_path, name, code):
    folder = copy_of(run, tmp_path)
    (folder / name).unlink()
    with raises(code, match=name):
        mmkit.load(folder, device="cpu")


def test_a_misspelt_folder_has_a_near_miss(run, tmp_path):
    folder = copy_of(run, tmp_path)
    with raises("run.not-a-run", match=f"did you mean {folder}") as caught:
        mmkit.load(folder.with_name("cpoy"), device="cpu")
    assert "no such folder" in str(caught.value)
    with raises("run.not-a-run", match="name the folder that"):
        mmkit.load(tmp_path / "elsewhere" / "run", device="cpu")


def test_a_missing_folder_of_an_encoder_is_named(run, tmp_path):
    folder = copy_of(run, tmp_path)
    shutil.rmtree(folder / "encoders" / "text")
    with raises("run.missing-file", match="encoders/text"):
        mmkit.load(folder, device="cpu")


def test_edited_labels_do_not_load(run, tmp_path):
    folder = copy_of(run, tmp_path)
    labels = json.loads((folder / "labels.json").read_text())
    labels["types"] = labels["types"][:-1]
    labels["tags"] = labels["tags"][:-2]
    (folder / "labels.json").write_text(json.dumps(labels))
    with raises("run.changed-file", match=r"labels\.json is damaged: it has [\d,]+ bytes, and had"):
        mmkit.load(folder, device="cpu")
    edited(folder, "labels.json")
    with raises("run.weights-do-not-fit"):
        mmkit.load(folder, device="cpu")


FILES = ["labels.json", "model.safetensors", "encoders/text/tokenizer.json", "encoders/vision/config.json"]


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_of_what_predictions_depend_on_is_found(run, tmp_path, name):
    folder = copy_of(run, tmp_path)
    data = bytearray((folder / name).read_bytes())
    data[-9] ^= 1
    (folder / name).write_bytes(data)
    with raises("run.changed-file", match=f"{name} is damaged: its contents") as caught:
        mmkit.load(folder, device="cpu")
    assert "copy the file again" in caught.value.hint and f'take {name} out of "files"' in caught.value.hint


def test_run_json_has_the_checksums_of_all_that_predictions_depend_on(run):
    listed = facts(run)["files"]
    assert {"recipe.cfg", "encoders/text/config.json", *FILES} <= listed.keys()
    for name, entry in listed.items():
        data = (run / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_a_recipe_that_was_edited_on_purpose_is_used_once_that_is_said(run, tmp_path):
    folder = copy_of(run, tmp_path)
    text = (folder / "recipe.cfg").read_text().replace("eval_batch_size = 64", "eval_batch_size = 32")
    (folder / "recipe.cfg").write_text(text)
    with raises("run.changed-recipe", match=r"recipe\.cfg was changed") as caught:
        mmkit.load(folder, device="cpu")
    assert 'on purpose, take recipe.cfg out of "files" in run.json' in caught.value.hint
    edited(folder, "recipe.cfg")
    assert mmkit.load(folder, device="cpu").recipe.training.eval_batch_size == 32


def test_a_listed_file_that_is_gone_is_named(run, tmp_path):
    folder = copy_of(run, tmp_path)
    (folder / "encoders/text/tokenizer_config.json").unlink()
    with raises("run.missing-file", match=r"encoders/text/tokenizer_config\.json"):
        mmkit.load(folder, device="cpu")


@pytest.mark.parametrize("change", [lambda f: f.unlink(), lambda f: f.write_text('{"format": 1}')])
def test_runs_of_before_have_no_checksums_and_load(run, tmp_path, change):
    folder = copy_of(run, tmp_path)
    change(folder / "run.json")
    (folder / "recipe.cfg").write_text((folder / "recipe.cfg").read_text() + "\n# a note\n")
    assert mmkit.load(folder, device="cpu").predict("Jordan again")["text"] == "Jordan again"


@pytest.mark.parametrize("files", ["x", [1], {"labels.json": 3}, {"labels.json": {"bytes": "1"}}])
def test_checksums_that_are_none_are_one_message(run, tmp_path, files):
    folder = copy_of(run, tmp_path)
    (folder / "run.json").write_text(json.dumps({**facts(run), "files": files}))
    with raises("run.damaged", match=r"run\.json is damaged"):
        mmkit.load(folder, device="cpu")


def test_an_output_folder_that_is_taken_is_refused(run, sample_recipe):
    with raises("run.folder-taken"):
        train(load_recipe(sample_recipe), run, device="cpu")
    with raises("run.complete"):
        train(load_recipe(run / "recipe.cfg"), run, resume=True, device="cpu")


def test_an_output_folder_that_cannot_be_made_is_one_message(sample_recipe, tmp_path):
    (tmp_path / "file").write_text("")
    done = CliRunner().invoke(main, ["train", str(sample_recipe), "--output", str(tmp_path / "file" / "run")])
    assert done.exit_code == 2
    assert "cannot write" in done.output and "Traceback" not in done.output


def test_resuming_with_another_recipe_is_refused(sample_recipe, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(sample_recipe, folder / "recipe.cfg")
    changed = load_recipe(sample_recipe, {"training.learning_rate": 5e-4})
    with raises("run.other-recipe", match=r"training\.learning_rate was 0\.001 and is 0\.0005"):
        train(changed, folder, resume=True, device="cpu")


def test_other_data_does_not_replace_a_runs_results(run):
    recipe = load_recipe(run / "recipe.cfg", {"data.test.max_crops": 0})
    with raises("run.other-data", match="not what the run was made with"):
        evaluate(run, "test", recipe=recipe, device="cpu")


def test_evaluating_within_an_epoch_changes_no_update(sample_recipe, tmp_path):
    losses = []
    for every in (0, 3):
        settings = {"training.epochs": 1, "training.log_every": 4, "training.eval_every": every}
        train(load_recipe(sample_recipe, settings), tmp_path / str(every), device="cpu")
        lines = map(json.loads, (tmp_path / str(every) / "metrics.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in lines if line["split"] == "train"])
    assert losses[0] == losses[1]
    assert len(losses[0]) == 5


def test_equal_weights_are_equal_files(tmp_path):
    tensors = {name: torch.arange(4.0) for name in ("b", "a", "c")}
    for i in range(8):
        save_tensors(tmp_path / str(i), tensors, {"step": "3", "mmkit": "0.1", "x": "ü"})
    assert len({(tmp_path / str(i)).read_bytes() for i in range(8)}) == 1
    assert read_metadata(tmp_path / "0") == {"step": "3", "mmkit": "0.1", "x": "ü"}
    assert torch.equal(load_tensors(tmp_path / "0")["b"], tensors["b"])


def test_what_a_killed_beginning_left_is_no_run(tmp_path):
    for name in (".writable", ".recipe.cfg.abc.tmp", "..writable.x.tmp"):
        (tmp_path / name).touch()
    (tmp_path / ".model.safetensors.abc.tmp").mkdir()
    (tmp_path / ".model.safetensors.abc.tmp" / ".tmpAbCdEf").touch()
    run = Run(tmp_path)
    assert run.is_empty() and Run(tmp_path / "none").is_empty()
    run.create()
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine.txt").touch()
    with raises("run.folder-taken"):
        run.create()
