"""What a training told its trackers, read back with each tool's own reader."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import mmkit
from runs import Stopper, lines
from wandb_file import items, records

PLACE = ("split", "epoch", "step")


def expected(run: Path) -> Iterator[tuple[str, int, float]]:
    """(name, step, value) of everything in `metrics.jsonl`."""
    for line in lines(run):
        for name, value in line.items():
            if name not in PLACE:
                yield f"{line['split']}/{name}", line["step"], value


def figures(run: Path) -> set[tuple[str, int, float]]:
    """Those that are the same in every run."""
    return {x for x in expected(run) if not x[0].endswith("_per_second")}


def interrupted_and_resumed(recipe: mmkit.Recipe, run: Path) -> None:
    """A run that is interrupted when its first epoch was scored, and then goes on."""
    with pytest.raises(mmkit.Interrupted):
        mmkit.train(recipe, output=run, device="cpu", hooks=[Stopper("dev")])
    mmkit.train(recipe, output=run, device="cpu", resume=True)


# -- TensorBoard ---------------------------------------------------------------------------------------------


def events(run: Path) -> Any:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(run / "trackers/tensorboard"), {"scalars": 0, "tensors": 0}).Reload()


def scalars(found: Any) -> list[tuple[str, int, float]]:
    return [(tag, x.step, x.value) for tag in found.Tags()["scalars"] for x in found.Scalars(tag)]


def text(found: Any, tag: str) -> str:
    (event,) = found.Tensors(f"{tag}/text_summary")
    return event.tensor_proto.string_val[0].decode()


def test_tensorboard(recipe, tmp_path):
    mmkit.train(recipe("tensorboard"), output=tmp_path / "run", device="cpu")
    found = events(tmp_path / "run")
    written = {(name, step): value for name, step, value in scalars(found)}
    assert written == {(n, s): pytest.approx(v, rel=1e-6) for n, s, v in expected(tmp_path / "run")}
    assert len(written) == len(scalars(found))
    told = "".join(f"    {line}\n" for line in (tmp_path / "run/recipe.cfg").read_text().splitlines())
    assert text(found, "recipe") == told
    assert text(found, "status") == "completed"
    labels = text(found, "dev/labels").splitlines()
    assert labels[0].startswith("| label | spans.precision |")
    assert [row.split(" | ")[0] for row in labels[2:]] == ["| LOC", "| ORG", "| OTHER", "| PER"]
    rows = text(found, "dev/predictions").splitlines()
    assert len(rows) == 22 and rows[0] == "| id | photos | gold | predicted |"
    assert any(r"\](PER)" in row for row in rows)  # a bracket is no link of Markdown


def test_tensorboard_goes_on_with_a_resumed_run(recipe, tmp_path):
    interrupted_and_resumed(recipe("tensorboard"), tmp_path / "run")
    assert len(list((tmp_path / "run/trackers/tensorboard").glob("events.*"))) == 2
    found = [x for x in scalars(events(tmp_path / "run")) if not x[0].endswith("_per_second")]
    mmkit.train(recipe("tensorboard"), output=tmp_path / "whole", device="cpu")
    wanted = [x for x in scalars(events(tmp_path / "whole")) if not x[0].endswith("_per_second")]
    assert sorted(found) == sorted(wanted)


# -- MLflow --------------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Any:
    """A function that opens the store of a run."""
    import mlflow

    return lambda run: mlflow.MlflowClient(tracking_uri=(run / "trackers/mlflow/mlruns").as_uri())


def the_run(store: Any) -> Any:
    (experiment,) = (e for e in store.search_experiments() if e.name != "Default")
    (run,) = store.search_runs([experiment.experiment_id])
    return run


def history(store: Any, run: Any) -> list[tuple[str, int, float]]:
    names = run.data.metrics
    return [
        (name, m.step, m.value) for name in names for m in store.get_metric_history(run.info.run_id, name)
    ]


def test_mlflow(recipe, tmp_path, client):
    loaded = recipe("mlflow")
    mmkit.train(loaded, output=tmp_path / "run", device="cpu")
    store = client(tmp_path / "run")
    run = the_run(store)
    assert sorted(history(store, run)) == sorted(expected(tmp_path / "run"))
    assert [run.info.run_name, run.info.status] == ["run", "FINISHED"]
    assert run.data.tags["mmkit.status"] == "completed"
    assert run.data.params["training.epochs"] == "2"
    assert run.data.params["model.decoder.decoders"] == "mmkit.crf_tagger.v1"
    artifacts = (
        tmp_path / "run/trackers/mlflow/mlruns" / run.info.experiment_id / run.info.run_id / "artifacts"
    )
    assert (artifacts / "recipe.txt").read_text() == loaded.to_str()
    table = json.loads((artifacts / "dev/predictions.json").read_text())
    assert table["columns"] == ["id", "photos", "gold", "predicted"] and len(table["data"]) == 20
    assert (artifacts / "test/labels.json").exists()


def test_mlflow_goes_on_with_a_resumed_run(recipe, tmp_path, client):
    interrupted_and_resumed(recipe("mlflow"), tmp_path / "run")
    store = client(tmp_path / "run")
    run = the_run(store)
    assert run.info.status == "FINISHED"
    found = sorted(x for x in history(store, run) if not x[0].endswith("_per_second"))
    mmkit.train(recipe(), output=tmp_path / "whole", device="cpu")
    assert found == sorted(figures(tmp_path / "whole"))


def test_mlflow_without_its_server_ends_with_a_warning(recipe, tmp_path, client, monkeypatch):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://me:hunter2hunter2@127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        from runs import Notes

        notes = Notes()
        result = mmkit.train(recipe("mlflow", epochs=1), output=tmp_path / "run", device="cpu", hooks=[notes])
    assert result["status"] == "completed"
    (warning,) = (note for note in notes.said if "'mlflow'" in note)
    assert "training goes on without it" in warning and "hunter2" not in warning


# -- Weights & Biases ----------------------------------------------------------------------------------------


def rows(found: list[Any]) -> list[dict[str, Any]]:
    """The rows of the history."""
    return [items(r.history.item) for r in found if r.WhichOneof("record_type") == "history"]


def values(history: list[dict[str, Any]]) -> list[tuple[str, int, float]]:
    """(name, step, value) of every number in the rows."""
    return [
        (name, row["step"], value)
        for row in history
        for name, value in row.items()
        if "/" in name and not isinstance(value, dict)
    ]


def test_wandb_offline(recipe, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    loaded = recipe("wandb")
    with socket.socket() as proxy:  # whoever wants to leave the machine comes here
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.setblocking(False)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
        mmkit.train(loaded, output=tmp_path / "run", device="cpu")
        with pytest.raises(BlockingIOError):
            proxy.accept()
    folder = tmp_path / "run/trackers/wandb"
    found = records(folder)
    history = rows(found)
    assert sorted(values(history)) == sorted(expected(tmp_path / "run"))
    (begun,) = (r.run for r in found if r.WhichOneof("record_type") == "run")
    config = items(begun.config.update)
    assert [begun.project, begun.display_name] == [loaded.name, "run"]
    assert config["training"]["epochs"] == 2
    assert begun.run_id == json.loads((folder / "mmkit.json").read_text())["id"]
    tables = [name for row in history for name, value in row.items() if isinstance(value, dict)]
    assert sorted(tables) == ["dev/labels", "dev/predictions", "test/labels"]
    (file,) = folder.glob("wandb/offline-run-*/files/media/table/dev/predictions*.json")
    assert len(json.loads(file.read_text())["data"]) == 20
    (told,) = folder.glob("wandb/offline-run-*/files/recipe.txt")
    assert told.read_text() == loaded.to_str()
    summaries = [items(r.summary.update) for r in found if r.WhichOneof("record_type") == "summary"]
    assert [summary["status"] for summary in summaries if "status" in summary][-1] == "completed"
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert not [file for file in files if b"0123456789" * 4 in file.read_bytes()]


def test_wandb_goes_on_with_a_resumed_run(recipe, tmp_path):
    pytest.importorskip("wandb")
    interrupted_and_resumed(recipe("wandb"), tmp_path / "run")
    found = records(tmp_path / "run/trackers/wandb")
    assert len({r.run.run_id for r in found if r.WhichOneof("record_type") == "run"}) == 1
    history = rows(found)
    assert [row["_step"] for row in history] == list(range(1, len(history) + 1))
    kept = sorted(x for x in values(history) if not x[0].endswith("_per_second"))
    mmkit.train(recipe(), output=tmp_path / "whole", device="cpu")
    assert kept == sorted(figures(tmp_path / "whole"))


# -- Trackio -------------------------------------------------------------------------------------------------


def test_trackio(recipe, tmp_path, monkeypatch):
    pytest.importorskip("trackio.sqlite_storage", reason="trackio refuses the newest Pillow")
    from trackio import sqlite_storage

    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path)
    interrupted_and_resumed(recipe("trackio"), tmp_path / "mine")
    (database,) = tmp_path.glob("*.db")
    storage = sqlite_storage.SQLiteStorage
    (name,) = storage.get_runs(database.stem)
    assert name.startswith("mine-")
    kept = [
        (metric, row["step"], value)
        for row in storage.get_logs(database.stem, name)
        for metric, value in row.items()
        if "/" in metric and not isinstance(value, dict) and not metric.endswith("_per_second")
    ]
    mmkit.train(recipe(), output=tmp_path / "whole", device="cpu")
    assert sorted(kept) == sorted(figures(tmp_path / "whole"))
