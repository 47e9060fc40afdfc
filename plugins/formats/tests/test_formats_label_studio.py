"""Label Studio: which annotation is read, where images are, predictions as pre-annotations and their correction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmkit import DataError, Example, Image, Relation, Span, build_part
from mmkit.data.types import SCORES


def reader(folder: Path, tasks: Any, **settings: Any) -> Any:
    (folder / "tasks.json").write_text(json.dumps(tasks), encoding="utf-8")
    return build_part(
        "readers", "formats.label_studio.v1", {"root": str(folder), "file": "tasks.json", **settings}
    )


def annotation(label: str, **more: Any) -> dict[str, Any]:
    value = {"start": 0, "end": 6, "text": "Jordan", "labels": [label]}
    return {"result": [{"id": "a", "type": "labels", "value": value}], "completed_by": 1, **more}


def task(*annotations: Any, **data: Any) -> dict[str, Any]:
    return {"id": 7, "data": {"text": "Jordan scores", **data}, "annotations": list(annotations)}


@pytest.mark.parametrize(
    ("annotations", "settings", "label", "said"),
    [
        ([annotation("A", updated_at="2024-01-02"), annotation("B", updated_at="2024-01-01")], {}, "A",
         "task with 2 annotations, of which the newest is read"),
        ([annotation("A", updated_at="2024-01-02"), annotation("B", ground_truth=True)], {}, "B",
         "task with 2 annotations, of which ground truth is read"),
        ([annotation("A"), annotation("B", was_cancelled=True)], {}, "A", "annotation that its annotator skipped"),
        ([annotation("A"), annotation("B", completed_by={"id": 2, "email": "b@x.org"})], {"annotator": "b@x.org"}, "B",
         None),
    ],
)  # fmt: skip
def test_which_annotation_is_read_is_said(
    tmp_path: Path, annotations: Any, settings: Any, label: str, said: str | None
) -> None:
    tasks = reader(tmp_path, [task(*annotations)], **settings)
    [example] = tasks
    assert example.id == "7" and [s.label for s in example.spans] == [label]
    assert tasks.repairs == ({said: 1} if said else {})


def test_tasks_without_an_annotation_are_left_out_or_kept(tmp_path: Path) -> None:
    tasks = reader(tmp_path, [task()])
    assert list(tasks) == [] and tasks.repairs == {"task without an annotation left out": 1}
    [example] = reader(tmp_path, [task()], unannotated="keep")
    assert example.tokens == ("Jordan", "scores")


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("/data/upload/3/1a2b-x.jpg", "images/1a2b-x.jpg"),
        ("/data/upload/3/1a2b-x.jpg", "media/upload/3/1a2b-x.jpg"),
        ("/data/local-files/?d=photos/my%20cat.jpg", "photos/my cat.jpg"),
        ("https://example.org/a/b.png?size=2", "images/b.png"),
        ("photos/c.webp", "photos/c.webp"),
    ],
)
def test_images_are_found(tmp_path: Path, address: str, file: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_bytes(b"x")
    [example] = reader(tmp_path, [task(annotation("A"), image=address)])
    assert [Path(str(image.path)) for image in example.images] == [tmp_path / file]


def test_an_image_that_is_not_there_keeps_its_address(tmp_path: Path) -> None:
    [example] = reader(tmp_path, [task(annotation("A"), pic="https://example.org/b.png")])
    assert example.images == (Image("https://example.org/b.png"),)
    [example] = reader(tmp_path, [task(annotation("A"), image="/data/upload/3/x.jpg")], blank_images=True)
    assert example.images == (Image(None),)


def test_predictions_are_corrected_and_are_data_again(tmp_path: Path) -> None:
    spans = (Span(0, 1, "PER"), Span(2, 3, "LOC"))
    (tmp_path / "a b.jpg").write_bytes(b"x")
    silver = Example.from_tokens(
        "17",
        ["Jordan", "left", "Chicago"],
        spans=spans,
        relations=(Relation(*spans, "left"),),
        images=(Image("a b.jpg"),),
        notes={SCORES: {"spans": [0.75, 0.5], "relations": [0.25]}},
    )
    writer = build_part("writers", "formats.label_studio.v1", {"labels": "ner"})
    writer.write(tmp_path / "tasks.json", [silver])
    [written] = json.loads((tmp_path / "tasks.json").read_text())
    assert written["data"] == {"text": silver.text, "id": "17", "image": "/data/local-files/?d=a%20b.jpg"}
    [prediction] = written["predictions"]
    assert (prediction["model_version"], prediction["score"]) == ("mmkit", 0.5)
    assert [r.get("score") for r in prediction["result"]] == [0.75, 0.5, 0.25]
    assert {r["from_name"] for r in prediction["result"][:2]} == {"ner"}
    corrected = prediction["result"][:2]
    corrected[1]["value"]["labels"] = ["ORG"]
    [example] = reader(tmp_path, [{**written, "id": 3, "annotations": [{"result": corrected}]}])
    assert example.id == "17" and example.spans == (Span(0, 1, "PER"), Span(2, 3, "ORG"))
    assert example.images == (Image(str(tmp_path / "a b.jpg")),) and SCORES not in example.notes


def test_an_image_outside_the_served_folder_is_refused(tmp_path: Path) -> None:
    example = Example.from_tokens("17", ["a"], images=(Image("/elsewhere/x.jpg"),))
    writer = build_part("writers", "formats.label_studio.v1", {})
    with pytest.raises(DataError) as caught:
        writer.write(tmp_path / "tasks.json", [example])
    assert caught.value.code == "formats.outside" and not (tmp_path / "tasks.json").exists()
