"""`mmkit.predict_files` and `mmkit predict --output FOLDER`: files in, files out, broken records apart."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import mmkit
from mmkit.cli import main
from mmkit.errors import Interrupted
from mmkit.inference.shards import plan, pool, work
from predicting import Telling, answers, posts, text_tagger, write_lines, written
from raising import raises


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_tagger(tmp_path_factory.mktemp("tagger"))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PART", 400)
    monkeypatch.setattr(work, "CHUNK", 4)
    monkeypatch.setattr(work, "RECORDS", 5)


def predict(run: Path, given: object, output: Path, **options: Any) -> mmkit.PredictedFiles:
    return mmkit.predict_files(run, given, output, device="cpu", **options)  # type: ignore[arg-type]


def command(run: Path, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["predict", str(run), "--device", "cpu", *map(str, arguments)])


def refused(code: str, *arguments: Any, **options: Any) -> str:
    """What the error of this code says, when these files are predicted."""
    with raises(code) as caught:
        predict(*arguments, **options)
    return str(caught.value)


def labels(lines: list[dict[str, Any]]) -> list[Any]:
    return [
        (line["id"], line["text"], [(e["start"], e["end"], e["label"]) for e in line["entities"]])
        for line in lines
    ]


def test_a_long_file_gives_the_answers_of_one_process_in_order(run, tmp_path):
    source = write_lines(tmp_path / "posts.jsonl", posts(40), header=True)
    assert command(run, "--input", source, "--output", tmp_path / "whole.jsonl").exit_code == 0
    telling = Telling()
    done = predict(run, source, tmp_path / "out", hooks=[telling])
    assert done.files == (tmp_path / "out/posts.jsonl",) and done.computed == done.predictions == 40
    found = labels(answers(done.files[0]))
    assert found == labels(answers(tmp_path / "whole.jsonl"))
    assert any(entities for _, _, entities in found)
    assert telling.progress[-1] == (40, 40) and len(telling.progress) > 5
    assert set(written(tmp_path / "out")) == {"posts.jsonl"}
    again = predict(run, source, tmp_path / "out")
    assert again.computed == 0 and again.predictions == 40


def test_folders_and_equal_names_are_kept_apart(run, tmp_path):
    for name in ("a/x.jsonl", "b/x.jsonl", "b/x.ndjson", "errors.jsonl"):
        write_lines(tmp_path / "in" / name, posts(2, name))
    (tmp_path / "in/photo.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "in/.hidden").write_text("x")
    telling = Telling()
    predict(run, tmp_path / "in", tmp_path / "in/out", hooks=[telling])
    found = written(tmp_path / "in/out")
    assert set(found) == {"a/x.jsonl", "b/x.jsonl.jsonl", "b/x.ndjson.jsonl", "errors.jsonl.jsonl"}
    assert [line["id"] for line in answers(tmp_path / "in/out/b/x.ndjson.jsonl")] == [
        "b/x.ndjson0",
        "b/x.ndjson1",
    ]
    assert any("photo.jpg" in note for note in telling.notes)
    some = command(run, "--input", tmp_path / "in/[ab]/*.jsonl", "--output", tmp_path / "some")
    assert some.exit_code == 0 and "4 predictions in 2 files" in some.output
    assert set(written(tmp_path / "some")) == {"a/x.jsonl", "b/x.jsonl"}


BROKEN = ["{not json", '{"text": 3}', '{"id": "ok"}', json.dumps({"text": "y" * 5000, "x": "\ud800"})]


def test_broken_records_are_written_apart(run, tmp_path):
    records: list[Any] = [*posts(9), *BROKEN, *posts(9, "q")]
    source = write_lines(tmp_path / "posts.jsonl", records)
    with source.open("ab") as file:
        file.write(b"\xff\xfe\n" + json.dumps({"id": "last", "text": "Mara"}).encode())
    done = predict(run, source, tmp_path / "out")
    assert done.errors == 5 and done.errors_file == tmp_path / "out/errors.jsonl"
    assert [line["id"] for line in answers(done.files[0])] == [
        *(f"p{i}" for i in range(9)),
        *(f"q{i}" for i in range(9)),
        "last",
    ]
    errors = answers(tmp_path / "out/errors.jsonl")
    assert [error["line"] for error in errors] == [10, 11, 12, 13, 23]
    assert [error["code"] for error in errors][:2] == ["json.syntax", "json.wrong-type"]
    assert errors[-1]["code"] == "file.not-utf8" and {error["file"] for error in errors} == {str(source)}
    assert errors[1]["raw"] == '{"text": 3}' and len(errors[3]["raw"]) < 2100
    assert all(error["message"] for error in errors)


def test_a_part_may_have_broken_records_alone(run, tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "PART", 1)
    source = write_lines(tmp_path / "posts.jsonl", [*posts(2), "{not json", *posts(1, "q")])
    done = predict(run, source, tmp_path / "out")
    assert (done.predictions, done.errors) == (3, 1)
    only = write_lines(tmp_path / "only.jsonl", ["{not json"])
    assert predict(run, only, tmp_path / "none").errors == 1


def test_strict_stops_at_a_broken_record(run, tmp_path):
    source = write_lines(tmp_path / "posts.jsonl", [*posts(20), BROKEN[1]])
    stopped = command(run, "--input", source, "--output", f"{tmp_path}/out/", "--strict")
    assert stopped.exit_code == 2 and "posts.jsonl:21" in stopped.output
    assert written(tmp_path / "out") == {}
    assert predict(run, source, tmp_path / "out").errors == 1
    assert "posts.jsonl" in refused("predict.broken-records", run, source, tmp_path / "out", strict=True)


def test_records_with_missing_pictures(tagger, tmp_path):
    pictures = {1: "gone.jpg", 4: "empty.jpg"}
    (tmp_path / "empty.jpg").touch()
    records = [{**one, "images": [pictures[i]]} if i in pictures else one for i, one in enumerate(posts(7))]
    source = write_lines(tmp_path / "posts.jsonl", records)
    done = predict(tagger, source, tmp_path / "out")
    assert (done.predictions, done.errors) == (5, 2)
    errors = answers(tmp_path / "out/errors.jsonl")
    assert [error["line"] for error in errors] == [2, 5] and "gone.jpg" in errors[0]["raw"]
    assert [error["code"] for error in errors] == ["image.missing", "image.empty"]
    telling = Telling()
    done = predict(tagger, source, tmp_path / "blank", missing_images="blank", hooks=[telling])
    assert (done.predictions, done.errors) == (7, 0)
    assert any("a blank image was used instead of" in note and "gone.jpg" in note for note in telling.notes)


def test_a_picture_that_an_old_encoder_replaced_is_an_error_too(tagger, tmp_path, monkeypatch):
    def excuse(self, error):
        self.replaced[error.where] = error.what

    monkeypatch.setattr("mmkit.encoders.items.MissingImages.excuse", excuse)
    source = write_lines(tmp_path / "posts.jsonl", [*posts(2), {**posts(1)[0], "images": ["gone.jpg"]}])
    assert predict(tagger, source, tmp_path / "out").errors == 1
    (error,) = answers(tmp_path / "out/errors.jsonl")
    assert error["message"] == "no such image" and error["code"] == "image"


def test_what_was_stopped_goes_on_with_the_same_bytes(run, tmp_path):
    write_lines(tmp_path / "in/a.jsonl", [*posts(30), *BROKEN])
    write_lines(tmp_path / "in/b.jsonl", posts(30))
    whole = predict(run, tmp_path / "in", tmp_path / "whole")
    assert whole.computed == 64
    for moment in (1, 4, 9):
        out = tmp_path / f"out{moment}"
        with pytest.raises(Interrupted, match="the same command goes on"):
            predict(run, tmp_path / "in", out, hooks=[Telling(moment, KeyboardInterrupt())])
        kept = [json.loads(path.read_text())["records"] for path in out.glob(".predict/parts/*/*.json")]
        kept += [json.loads(path.read_text())["records"] for path in out.glob(".predict/done/*.json")]
        done = predict(run, tmp_path / "in", out)
        assert done.computed == 64 - sum(kept), "what was done is not done again"
        assert written(out) == written(tmp_path / "whole")


def test_what_differs_is_refused(run, tmp_path):
    source = write_lines(tmp_path / "in/a.jsonl", posts(3))
    out = tmp_path / "out"
    predict(run, tmp_path / "in", out)
    os.utime(source, ns=(1, 1))  # touched, with the same content
    assert predict(run, tmp_path / "in", out).computed == 0
    said = refused("predict.changed", run, tmp_path / "in", out, batch_size=7)
    assert "--batch-size was not given and is now 7" in said
    write_lines(source, posts(4))
    write_lines(tmp_path / "in/b.jsonl", posts(1))
    said = refused("predict.changed", run, tmp_path / "in", out)
    assert f"{source} has changed" in said and "b.jsonl is new" in said
    assert len(answers(out / "a.jsonl")) == 3
    assert refused("predict.same-folder", run, source, tmp_path / "in")


@pytest.mark.parametrize("name", ["a.jsonl", "errors.jsonl", "photo.jpg", "posts/may.jsonl"])
def test_a_folder_with_files_of_the_user_is_not_touched(run, tmp_path, name):
    source = write_lines(tmp_path / "a.jsonl", posts(3))
    mine = tmp_path / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert name.partition("/")[0] in refused("predict.exists", run, source, tmp_path / "mine")
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_an_empty_folder_and_hidden_files_are_no_obstacle(run, tmp_path):
    source = write_lines(tmp_path / "a.jsonl", posts(3))
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.gitignore").write_text("*")
    assert predict(run, source, tmp_path / "out").predictions == 3
    assert (tmp_path / "out/.gitignore").read_text() == "*"


def test_files_that_cannot_be_read_do_not_stop_the_others(run, tmp_path):
    write_lines(tmp_path / "in/a.jsonl", posts(3))
    write_lines(tmp_path / "in/b.jsonl", ['{"format": 2, "kind": "entities"}', '{"id": "Q1", "name": "x"}'])
    write_lines(tmp_path / "in/c.jsonl", [])
    said = refused("predict.files-failed", run, tmp_path / "in", tmp_path / "out")
    assert "1 of 3 files" in said and "b.jsonl" in said and "entities" in said
    assert {name: len(data.splitlines()) for name, data in written(tmp_path / "out").items()} == {
        "a.jsonl": 3,
        "c.jsonl": 0,
    }
    write_lines(tmp_path / "in/b.jsonl", posts(2))
    done = predict(run, tmp_path / "in", tmp_path / "out")
    assert (done.computed, done.predictions) == (2, 5)
    (tmp_path / "in/notes.txt").write_text("\0\1")
    assert "notes.txt" in refused("predict.unknown-format", run, tmp_path / "in", tmp_path / "new")
    assert refused("predict.no-input", run, tmp_path / "in/*.csv", tmp_path / "new")


def test_other_formats_in_and_out(run, tmp_path):
    pytest.importorskip("mmkit_formats")
    write_lines(tmp_path / "in/a.jsonl", posts(13))
    convert = CliRunner().invoke
    for name in ("b.parquet", "c.tar"):
        form = "parquet" if name.endswith("parquet") else "webdataset"
        files = [str(tmp_path / "in/a.jsonl"), str(tmp_path / "in" / name)]
        made = convert(main, ["convert", *files, "--reader", "jsonl", "--format", form])
        assert made.exit_code == 0, made.output
    whole = predict(run, tmp_path / "in", tmp_path / "out")
    assert [path.name for path in whole.files] == ["a.jsonl", "b.jsonl", "c.jsonl"]
    first, *others = [labels(answers(path)) for path in whole.files]
    assert len(first) == 13 and others == [first, first]
    tables = predict(run, tmp_path / "in/*.*", tmp_path / "tables", format="parquet")
    assert [path.name for path in tables.files] == ["a.parquet", "b.parquet", "c.parquet"]
    for path in tables.files:
        read = list(mmkit.read(path, "parquet"))
        assert [(x.id, [(s.start, s.end, s.label) for s in x.spans]) for x in read] == [
            (id, entities) for id, _, entities in first
        ]
    out = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        predict(run, tmp_path / "in", out, hooks=[Telling(6, KeyboardInterrupt())])
    predict(run, tmp_path / "in", out)
    assert written(out) == written(tmp_path / "out")
    assert refused("predict.format", run, tmp_path / "in", tmp_path / "brat", format="brat")


DYING = """
import os, pathlib, signal
from mmkit.inference.shards import work
whole = work.Work.do
def do(self, task):
    {when}
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, task)
work.Work.do = do
from mmkit.inference.shards.worker import main
main()
"""


@pytest.mark.matrix
def test_a_worker_that_ends_is_replaced(run, tmp_path, monkeypatch):
    write_lines(tmp_path / "in/a.jsonl", posts(20))
    write_lines(tmp_path / "in/b.jsonl", posts(20))
    predict(run, tmp_path / "in", tmp_path / "whole")
    marker = tmp_path / "died"
    once = f"marker = pathlib.Path({str(marker)!r})\n"
    once += "    if task.part == 1 and not marker.exists() and not marker.touch():"
    monkeypatch.setattr(pool, "COMMAND", DYING.format(when=once))
    telling = Telling()
    done = predict(run, tmp_path / "in", tmp_path / "out", workers=2, hooks=[telling])
    assert done.computed == 40 and marker.exists()
    assert any("SIGKILL" in note and "tried again" in note for note in telling.notes)
    assert {k: labels(answers(tmp_path / "out" / k)) for k in written(tmp_path / "out")} == {
        k: labels(answers(tmp_path / "whole" / k)) for k in written(tmp_path / "whole")
    }


def test_settings_of_the_reader(run, tmp_path):
    """Gold spans that a reader refuses as it is, and a table with other names: both are predicted with its settings."""
    inside = {"id": "a", "text": "Mara sings", "spans": [{"start_char": 0, "end_char": 2, "label": "PER"}]}
    source = write_lines(tmp_path / "posts.jsonl", [json.dumps(inside), *posts(9)])
    done = predict(run, source, tmp_path / "as-it-is")
    assert (done.errors, done.predictions) == (1, 9)
    done = predict(run, source, tmp_path / "dropped", reader_settings={"misaligned": "drop"})
    assert (done.errors, done.predictions) == (0, 10)
    assert answers(done.files[0])[0]["text"] == "Mara sings"
    said = refused("predict.changed", run, source, tmp_path / "dropped")
    assert "misaligned" in said
    misspelt = refused("part.invalid", run, source, tmp_path / "none", reader_settings={"misalinged": "drop"})
    assert "misaligned" in misspelt and not (tmp_path / "none").exists()
    one = command(run, "--input", source, "--output", tmp_path / "one.jsonl")
    assert one.exit_code == 2 and "--reader-setting misaligned=VALUE" in one.output
    setting = "--reader-setting", "misaligned=drop"
    assert command(run, "--input", source, "--output", tmp_path / "one.jsonl", *setting).exit_code == 0
    assert labels(answers(tmp_path / "one.jsonl")) == labels(answers(done.files[0]))
    many = command(run, "--input", source, "--output", f"{tmp_path}/many/", *setting)
    assert many.exit_code == 0 and "10 predictions" in many.output
    assert command(run, "--text", "Mara sings", *setting).exit_code == 2


def test_options_that_do_not_go_together(run, tmp_path):
    source = write_lines(tmp_path / "a.jsonl", posts(1))
    assert command(run, "--text", "a", "--workers", 2).exit_code == 2
    assert command(run, "--input", source, "--workers", 2).exit_code == 2
    assert command(run, "--input", source, "--output", f"{tmp_path}/out/", "--limit", 3).exit_code == 2
    assert command(run, "--input", tmp_path / "none*.jsonl", "--output", tmp_path / "out").exit_code == 2
