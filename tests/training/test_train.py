"""What the settings of `[training]` do to a run, and what ends one early."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.errors import DataError
from mmkit.loading.splits import read_split
from mmkit.model import Model
from mmkit.recipe import Recipe, load_recipe
from mmkit.training.metrics_log import rewind
from mmkit.training.train import train
from raising import raises
from runs import Notes, Stopper, equal, lines, weights

NO_DROPOUT = {"model.encoders.text.dropout": 0.0, "model.fuser.dropout": 0.0, "model.decoder.dropout": 0.0}


def without(recipe: Recipe, folder: Path, *splits: str) -> Recipe:
    """A copy of the recipe that lacks some splits."""
    sections = recipe.to_str().split("\n\n")
    kept = [s for s in sections if not any(s.startswith(f"[data.{split}]") for split in splits)]
    (folder / "fewer.cfg").write_text("\n\n".join(kept))
    return load_recipe(folder / "fewer.cfg")


# Settings


def test_accumulation_makes_the_same_updates(recipe, tmp_path):
    # Adam turns the rounding error in a gradient that is zero (a key's bias) into a step: leave those out.
    still = {"training.groups.still.pattern": r"key\.bias", "training.groups.still.learning_rate": 0.0}
    for parts in (1, 3):  # of 11, 11 and 10 examples: each weighs what it holds
        train(
            recipe(NO_DROPOUT | still, accumulate=parts, batch_size=32), tmp_path / str(parts), device="cpu"
        )
    one, three = weights(tmp_path / "1"), weights(tmp_path / "3")
    assert max(float((one[name].float() - three[name].float()).abs().max()) for name in one) < 1e-6
    losses = [[line["loss"] for line in lines(tmp_path / part) if "loss" in line] for part in ("1", "3")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_workers_make_the_same_batches(recipe, tmp_path):
    for workers in (0, 2):
        train(recipe(workers=workers), tmp_path / str(workers), device="cpu")
    assert equal(tmp_path / "0", tmp_path / "2")
    predictions = [(tmp_path / run / "predictions" / "test.jsonl").read_bytes() for run in ("0", "2")]
    assert predictions[0] == predictions[1]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_a_worker_is_the_part_s_own(recipe, tmp_path, monkeypatch, workers):
    def targets(*_: Any) -> None:
        raise DataError("this label is unknown", where="example 7", hint="know it")

    monkeypatch.setattr(CrfTagger, "targets", targets)
    with pytest.raises(DataError) as caught:
        train(recipe(workers=workers), tmp_path / "run", device="cpu")
    assert str(caught.value) == "example 7: this label is unknown\n  → know it"


def test_early_stopping_keeps_the_best_epoch(recipe, tmp_path):
    # Nothing is learnt, so that the first score is the best.
    summary = train(recipe(epochs=9, patience=2, learning_rate=0.0), tmp_path / "run", device="cpu")
    assert (summary["status"], summary["epochs"], summary["best_epoch"]) == ("stopped", 3, 1)
    assert [line["epoch"] for line in lines(tmp_path / "run") if line["split"] == "dev"] == [1, 2, 3]


@pytest.mark.parametrize(("ties", "best"), [("earlier", 1), ("later", 3)])
def test_of_equal_scores_the_one_asked_for_is_best(recipe, tmp_path, ties, best):
    summary = train(recipe(epochs=3, ties=ties, learning_rate=0.0), tmp_path / "run", device="cpu")
    assert summary["best_epoch"] == best


def test_scores_within_an_epoch_count(recipe, tmp_path):
    train(recipe(eval_every=8), tmp_path / "run", device="cpu")
    assert [line["step"] for line in lines(tmp_path / "run") if line["split"] == "dev"] == [8, 16, 20]


def test_scores_may_begin_in_a_later_epoch(recipe, tmp_path):
    train(recipe(epochs=2, batch_size=64, eval_from=2, eval_every=2), tmp_path / "run", device="cpu")
    scored = [line["epoch"] for line in lines(tmp_path / "run") if line["split"] == "dev"]
    assert set(scored) == {2} and len(scored) > 1


def test_only_every_second_epoch_may_be_scored(recipe, tmp_path):
    train(recipe(epochs=5, batch_size=64, eval_from=2, eval_epochs=2), tmp_path / "run", device="cpu")
    assert [line["epoch"] for line in lines(tmp_path / "run") if line["split"] == "dev"] == [2, 4]


def test_every_update_draws_anew_and_a_second_run_the_same(recipe, tmp_path, monkeypatch):
    seeds: list[int] = []
    forward = Model.forward

    def noting(model: Model, batch: Any) -> Any:
        if model.training:
            seeds.append(torch.initial_seed())
        return forward(model, batch)

    monkeypatch.setattr(Model, "forward", noting)
    for run in ("one", "two"):
        train(recipe(batch_size=32), tmp_path / run, device="cpu")
    half = len(seeds) // 2
    assert seeds[:half] == seeds[half:] and len(set(seeds)) == half > 5


@pytest.mark.parametrize("splits", [("dev",), ("test",), ("dev", "test")])
def test_splits_may_be_missing(recipe, tmp_path, splits):
    summary = train(without(recipe(epochs=2), tmp_path, *splits), tmp_path / "run", device="cpu")
    assert summary["status"] == "completed" and summary["best_epoch"] in (1, 2)
    assert summary["figures"].keys() == {"dev", "test"} - set(splits)
    assert "dev" not in splits or summary["best_epoch"] == 2
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_a_frozen_text_encoder_stays_as_it_is(recipe, tmp_path):
    group = {"training.groups.decoder.pattern": "^decoder", "training.groups.decoder.learning_rate": 1e-2}
    frozen = recipe({"model.encoders.text.frozen": True, **group})
    train(frozen, tmp_path / "run", device="cpu")
    backbone = load_file(Path(frozen.config["model"]["encoders"]["text"]["name"]) / "model.safetensors")
    trained = weights(tmp_path / "run")
    shared = [name for name in backbone if f"encoders.text.backbone.{name}" in trained]
    assert len(shared) > 20
    assert all(torch.equal(backbone[name], trained[f"encoders.text.backbone.{name}"]) for name in shared)


def test_bf16_trains_float32_weights(recipe, tmp_path):
    summary = train(recipe(epochs=3, precision="bf16", learning_rate=3e-3), tmp_path / "run", device="cpu")
    assert summary["precision"] == "bf16"
    assert summary["figures"]["test"]["spans.f1"] > 0.2
    assert {tensor.dtype for tensor in weights(tmp_path / "run").values()} <= {torch.float32, torch.int64}


def test_compiled_encoders_learn_the_same(recipe, tmp_path, monkeypatch):
    plain = train(recipe(NO_DROPOUT), tmp_path / "plain", device="cpu")
    compiled, compile_ = [], torch.compile

    def captured(function: Any, **options: Any) -> Any:
        compiled.append(function)
        return compile_(function, backend="eager", **options)  # traced and guarded, without generated code

    monkeypatch.setattr(torch, "compile", captured)
    summary = train(recipe(NO_DROPOUT, compile=True), tmp_path / "compiled", device="cpu")
    assert len(compiled) == 1, "the text encoder; the frozen one is read from the store"
    assert summary["figures"]["test"] == pytest.approx(plain["figures"]["test"], abs=0.02)
    one, other = weights(tmp_path / "plain"), weights(tmp_path / "compiled")
    assert one.keys() == other.keys()


def test_the_score_may_weigh_figures_and_labels(recipe, tmp_path):
    summary = train(
        recipe(epochs=2, score={"spans.f1": 1.0, "spans.recall.PER": 0.5}), tmp_path / "run", device="cpu"
    )
    scored = [
        line["spans.f1"] + 0.5 * line["spans.recall.PER"]
        for line in lines(tmp_path / "run")
        if line["split"] == "dev"
    ]
    assert summary["best_epoch"] == 1 + scored.index(max(scored))


@pytest.mark.parametrize("figure", ["spans.accuracy", "spans.accuracy.PER"])
def test_a_score_that_no_metric_gives_is_an_error_before_training(recipe, tmp_path, figure):
    with raises("recipe.unknown-score", match=figure) as caught:
        train(recipe(score=figure), tmp_path / "run", device="cpu")
    assert "spans.f1" in caught.value.hint
    assert not (tmp_path / "run").exists()


def test_stored_features_are_computed_once(recipe, tmp_path, monkeypatch):
    train(recipe(), tmp_path / "first", device="cpu")

    def fail(*_: Any) -> None:
        raise AssertionError("these features are stored")

    monkeypatch.setattr(ItemEncoder, "encode", fail)
    train(recipe(), tmp_path / "second", device="cpu")
    assert equal(tmp_path / "first", tmp_path / "second")


def test_pictures_that_are_read_in_every_epoch_are_looked_at_first(recipe, tmp_path):
    trainable = {"model.encoders.vision.frozen": False}
    data = shutil.copytree(recipe().config["data"]["dev"]["root"], tmp_path / "data")
    root = {f"data.{split}.root": str(data) for split in ("train", "dev", "test")}
    example = read_split(recipe(root), "dev").examples[3]
    Path(next(i.path for i in example.images if i.role == "photo")).write_bytes(b"")
    with raises("image.unusable", match=r"data\.dev: 1 of \d+ images cannot be used \(1 empty"):
        train(recipe(root | trainable), tmp_path / "refused", device="cpu")
    assert not (tmp_path / "refused" / "checkpoint").exists()
    notes = Notes()
    blank = recipe(root | trainable | {"data.missing_images": "blank"})
    train(blank, tmp_path / "run", device="cpu", hooks=[notes])
    assert any("1 empty: " in note and "blank images replace them" in note for note in notes.said)


def test_broken_pixels_that_a_batch_finds_are_told_with_what_to_do_without_them(recipe, tmp_path):
    data = shutil.copytree(recipe().config["data"]["train"]["root"], tmp_path / "data")
    root = {f"data.{split}.root": str(data) for split in ("train", "dev", "test")}
    example = read_split(recipe(root), "train").examples[3]
    photo = Path(next(i.path for i in example.images if i.role == "photo"))
    photo.write_bytes(photo.read_bytes()[:-200])  # the header is sound
    with raises("image.broken", match="missing_images = .blank."):
        train(recipe(root | {"model.encoders.vision.frozen": False}), tmp_path / "run", device="cpu")


def test_files_have_the_usual_permissions(recipe, tmp_path):
    before = os.umask(0o022)
    try:
        train(recipe(), tmp_path / "run", device="cpu")
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o644}


def test_rewinding_the_log_drops_what_came_later_and_half_a_line(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n')
    rewind(tmp_path, 12)
    assert log.read_text() == '{"step": 1}\n'
    log.write_text('{"step": 1}\n{"st')
    rewind(tmp_path, 100)
    assert log.read_text() == '{"step": 1}\n'


def test_data_that_changed_since_is_refused(recipe, tmp_path):
    loaded = recipe()
    root = Path(loaded.config["data"]["dev"]["root"])
    copy = tmp_path / "data"
    copy.mkdir()
    for path in root.iterdir():
        (copy / path.name).symlink_to(path)
    moved = recipe({f"data.{split}.root": str(copy) for split in ("train", "dev", "test")})
    with raises("training.interrupted"):
        train(moved, tmp_path / "run", device="cpu", hooks=[Stopper("dev")])
    file = copy / loaded.config["data"]["dev"]["file"]
    text = file.read_text()
    file.unlink()
    file.write_text(text.replace("B-PER", "B-LOC"))
    with raises("run.other-data", match=r"data\.dev"):
        train(moved, tmp_path / "run", device="cpu", resume=True)


def test_settings_that_do_not_matter_may_change_on_resuming(recipe, tmp_path):
    with raises("training.interrupted"):
        train(recipe(epochs=2), tmp_path / "run", device="cpu", hooks=[Stopper("dev")])
    with raises("run.other-recipe", match=r"training\.epochs was 2 and is 1"):
        train(recipe(epochs=1), tmp_path / "run", device="cpu", resume=True)
    changed = recipe(epochs=2, accumulate=2, log_every=5, eval_batch_size=16)
    assert train(changed, tmp_path / "run", device="cpu", resume=True)["status"] == "completed"


def test_a_missing_data_file_leaves_a_folder_that_can_be_used(recipe, tmp_path):
    with raises("file.missing"):
        train(recipe({"data.train.file": "none.txt"}), tmp_path / "run", device="cpu")
    assert train(recipe(), tmp_path / "run", device="cpu")["status"] == "completed"
