"""A file of a format, read and written again, is the same file: nothing that the format holds is lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmkit import Example, Relation, Span, build_part
from mmkit.data.tokenize import tokenize

WORD = st.sampled_from(["Jordan", "café", "🎉", "🇩🇪", "東京", "don't", "#win", "a", "New", "York", "!", "1️⃣"])
LABEL = st.sampled_from(["PER", "LOC", "B-side"])
PLAIN = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4)
MORE = st.dictionaries(st.sampled_from(["comment", "source", "n"]), PLAIN, max_size=2)
in_files = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read(name: str, path: Path, **given: Any) -> list[Example]:
    return list(
        build_part("readers", f"formats.{name}.v1", {"root": str(path.parent), "file": path.name, **given})
    )


def write(name: str, path: Path, examples: list[Example], **given: Any) -> dict[str, int]:
    writer = build_part("writers", f"formats.{name}.v1", given)
    writer.write(path, examples)
    return dict(writer.losses)


@st.composite
def sentences(draw: st.DrawFn, gaps: bool = True) -> tuple[str, list[tuple[int, int]]]:
    """A text, and the bounds of spans in it that lie side by side."""
    words = draw(st.lists(WORD, min_size=1, max_size=6))
    text = "".join(word + (draw(st.sampled_from([" ", "  "])) if gaps else " ") for word in words).rstrip(" ")
    _, offsets = tokenize(text)
    cuts = sorted(draw(st.sets(st.integers(0, len(offsets)), max_size=5)))
    pairs = [(offsets[a][0], offsets[b - 1][1]) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    return text, pairs


def lines(records: list[Any]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


@st.composite
def doccano(draw: st.DrawFn, number: int = 0) -> dict[str, Any]:
    text, spans = draw(sentences())
    record = {
        "id": number,
        "text": text,
        **draw(MORE),
        "Comments": draw(st.lists(st.text(max_size=3), max_size=1)),
    }
    form = draw(st.sampled_from(["label", "labels", "entities", "whole", "none"]))
    if form == "whole":
        return {**record, "label": draw(st.lists(LABEL, min_size=1, max_size=2))}
    if form in ("label", "labels"):
        return {**record, form: [[*span, draw(LABEL)] for span in spans]}
    if form == "none":
        return record
    entities = [
        {"id": 7 + i, "label": draw(LABEL), "start_offset": s, "end_offset": e}
        for i, (s, e) in enumerate(spans)
    ]
    relations = []
    if entities:
        ends = st.sampled_from([e["id"] for e in entities])
        relations = [{"id": 3, "from_id": draw(ends), "to_id": draw(ends), "type": "of"}]
    return {**record, "entities": entities, "relations": relations}


@st.composite
def prodigy(draw: st.DrawFn) -> dict[str, Any]:
    text, spans = draw(sentences())
    task: dict[str, Any] = {"text": text, "meta": draw(MORE), "_input_hash": 12, "answer": "accept"}
    tokens, offsets = tokenize(text)
    starts, ends = {s: i for i, (s, _) in enumerate(offsets)}, {e: i for i, (_, e) in enumerate(offsets)}
    counted = draw(st.booleans())
    if counted:
        task["tokens"] = [
            {"text": t, "start": s, "end": e, "id": i, "ws": text[e : e + 1] == " "}
            for i, (t, (s, e)) in enumerate(zip(tokens, offsets, strict=True))
        ]
    places = [
        {"start": s, "end": e, **({"token_start": starts[s], "token_end": ends[e]} if counted else {})}
        for s, e in spans
    ]
    if draw(st.booleans()):
        task["spans"] = [{**place, "label": draw(LABEL), **draw(MORE)} for place in places]
        if counted and task["spans"]:
            head, child = (
                {k: x[k] for k in (*places[0], "label")} for x in (task["spans"][0], task["spans"][-1])
            )
            bounds = {"head": head["token_end"], "child": child["token_end"]}
            task["relations"] = [
                {**bounds, "head_span": head, "child_span": child, "label": "of", "color": "red"}
            ]
    if draw(st.booleans()):
        task["options"], task["accept"] = [{"id": "yes", "text": "Yes"}], ["yes"]
    return task


@st.composite
def label_studio(draw: st.DrawFn) -> dict[str, Any]:
    text, spans = draw(sentences())
    results: list[dict[str, Any]] = [
        {
            "id": f"r{i}",
            "from_name": "ner",
            "to_name": "post",
            "type": "labels",
            "origin": "manual",
            "value": {"start": s, "end": e, "text": text[s:e], "labels": [draw(LABEL)]},
        }
        for i, (s, e) in enumerate(spans)
    ]
    if results:
        ends = st.sampled_from([r["id"] for r in results])
        more = draw(st.sampled_from([{"labels": ["of"]}, {}]))
        way = draw(st.sampled_from(["right", "left", "bi"]))
        results.append(
            {"from_id": draw(ends), "to_id": draw(ends), "type": "relation", "direction": way, **more}
        )
    if draw(st.booleans()):
        chosen = {"choices": draw(st.lists(LABEL, min_size=1, max_size=2))}
        results.append(
            {"id": "c", "from_name": "mood", "to_name": "post", "type": "choices", "value": chosen}
        )
        box = {"x": 1.5, "y": 2, "width": 3, "height": 4, "rotation": 0, "rectanglelabels": ["PER"]}
        results.append(
            {"id": "b", "from_name": "box", "to_name": "image", "type": "rectanglelabels", "value": box}
        )
    annotation = {"id": 5, "completed_by": 1, "was_cancelled": False, "lead_time": 2.5, "result": results}
    data = {"text": text, "image": "/data/upload/1/ab-x.jpg", **draw(MORE)}
    others = draw(st.sampled_from([[], [{**annotation, "id": 6, "was_cancelled": True, "result": []}]]))
    given = [annotation] if draw(st.booleans()) else []
    return {"id": 9, "data": data, "meta": draw(MORE), "annotations": [*given, *others], "predictions": []}


def stored(name: str, tmp_path: Path, content: str, **settings: Any) -> tuple[str, str]:
    """A file's content, and what is written of what was read."""
    path, again = tmp_path / f"a.{name}", tmp_path / f"b.{name}"
    path.write_text(content, encoding="utf-8")
    assert write(name, again, read(name, path, **settings)) == {}
    return content, again.read_text(encoding="utf-8")


@given(records=st.lists(doccano(), min_size=1, max_size=3))
@in_files
def test_doccano(tmp_path: Path, records: list[dict[str, Any]]) -> None:
    before, after = stored("doccano", tmp_path, lines([{**r, "id": i} for i, r in enumerate(records)]))
    found, wanted = ([json.loads(x) for x in text.strip("\n").split("\n")] for text in (after, before))
    assert found == wanted


@given(tasks=st.lists(prodigy(), min_size=1, max_size=3))
@in_files
def test_prodigy(tmp_path: Path, tasks: list[dict[str, Any]]) -> None:
    _, after = stored("prodigy", tmp_path, lines(tasks))
    assert [json.loads(x) for x in after.strip("\n").split("\n")] == tasks


@given(tasks=st.lists(label_studio(), min_size=1, max_size=3))
@in_files
def test_label_studio(tmp_path: Path, tasks: list[dict[str, Any]]) -> None:
    tasks = [{**task, "id": i} for i, task in enumerate(tasks)]
    _, after = stored("label_studio", tmp_path, json.dumps(tasks), unannotated="keep")
    assert json.loads(after) == tasks


@given(
    sentences(gaps=False),
    st.sampled_from(["BIO", "IOB1", "BIOES", "BILOU", "BMES"]),
    st.booleans(),
    st.data(),
)
@in_files
def test_conll(tmp_path: Path, sentence: Any, scheme: str, columns: bool, data: st.DataObject) -> None:
    example = drafted("1", *sentence, data)
    write("conll", tmp_path / "a.conll", [example], scheme=scheme)
    [again] = read("conll", tmp_path / "a.conll")
    if scheme == "IOB1":  # as a file this small does not tell
        assert [(s.start, s.end) for s in again.spans] == [(s.start, s.end) for s in example.spans]
        return
    assert (again.id, again.tokens, again.spans) == ("1", example.tokens, tuple(sorted(example.spans)))
    content = (tmp_path / "a.conll").read_text(encoding="utf-8")
    rows = [
        line.replace("\t", "\tNN\t") if columns and "\t" in line else line for line in content.split("\n")
    ]
    before, after = stored("conll", tmp_path, "-DOCSTART- -X- O\n\n# said = x\n" + "\n".join(rows))
    assert after == before


def drafted(
    id: str, text: str, spans: list[tuple[int, int]], data: st.DataObject, related: bool = False
) -> Example:
    tokens, offsets = tokenize(text)
    starts, ends = {s: i for i, (s, _) in enumerate(offsets)}, {e: i + 1 for i, (_, e) in enumerate(offsets)}
    found = tuple(Span(starts[s], ends[e], data.draw(LABEL)) for s, e in spans)
    relations = (Relation(found[0], found[-1], "of"),) if found and related else ()
    return Example(id, text, tokens, offsets, spans=found, relations=relations)


@pytest.mark.parametrize("name", ["brat", "spacy", "parquet", "csv", "datasets", "webdataset", "doccano", "prodigy",
                                  "label_studio"])  # fmt: skip
@given(sentences=st.lists(sentences(), min_size=1, max_size=3), data=st.data())
@in_files
def test_examples_come_back(
    tmp_path_factory: Any, name: str, sentences: list[Any], data: st.DataObject
) -> None:
    if name == "spacy":
        pytest.importorskip("spacy")
    folder = tmp_path_factory.mktemp("x")
    related = name not in ("spacy", "datasets")
    examples = [drafted(f"id-{i}", *sentence, data, related) for i, sentence in enumerate(sentences)]
    assert write(name, folder / "a", examples) == {}
    again = read(name, folder / "a")
    for one, other in zip(sorted(again, key=lambda x: x.id), examples, strict=True):
        same = ("id", "text", "tokens", "offsets", "spans", "relations", "images")
        assert [getattr(one, key) for key in same] == [getattr(other, key) for key in same]
    assert write(name, folder / "b", again) == {}
    assert content(folder / "b") == content(folder / "a")


def content(path: Path) -> dict[str, bytes]:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}
