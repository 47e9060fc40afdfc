"""Files that are cut, mixed up or wrong: one message each, and nothing is lost in silence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mmkit import DataError, Example, Span, build_part

TEXT = "Jordan's back in Chicago 🎉 today"
SPANS = [(0, 6, "PER"), (17, 24, "LOC")]


def reader(name: str, path: Path, **settings: Any) -> Any:
    return build_part(
        "readers", f"formats.{name}.v1", {"root": str(path.parent), "file": path.name, **settings}
    )


def doccano(spans: Any) -> str:
    return json.dumps({"id": 1, "text": TEXT, "label": [list(span) for span in spans]})


def prodigy(spans: Any) -> str:
    return json.dumps({"text": TEXT, "spans": [{"start": s, "end": e, "label": x} for s, e, x in spans]})


def label_studio(spans: Any) -> str:
    results = [
        {"id": f"r{i}", "type": "labels", "value": {"start": s, "end": e, "labels": [x]}}
        for i, (s, e, x) in enumerate(spans)
    ]
    return json.dumps([{"id": 1, "data": {"text": TEXT}, "annotations": [{"result": results}]}])


def csv(spans: Any) -> str:
    cell = json.dumps([{"start_char": s, "end_char": e, "label": x} for s, e, x in spans])
    return f'text,spans\n"{TEXT}","{cell.replace(chr(34), chr(34) * 2)}"\n'


def brat(spans: Any) -> str:
    return "".join(f"T{i}\t{x} {s} {e}\n" for i, (s, e, x) in enumerate(spans, 1))


FORMATS = {"doccano": doccano, "prodigy": prodigy, "label_studio": label_studio, "csv": csv, "brat": brat}


def read(name: str, folder: Path, content: str, **settings: Any) -> list[Example]:
    path = folder / ("x.ann" if name == "brat" else "x.file")
    path.write_text(content, encoding="utf-8")
    (folder / "x.txt").write_text(TEXT, encoding="utf-8")
    read.reader = reader(name, path, **settings)  # type: ignore[attr-defined]
    return list(read.reader)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    ("span", "code"),
    [
        ((6, 0), "offsets.reversed"),
        ((3, 3), "offsets.empty"),
        ((0, 99), "offsets.outside"),
        ((0, 3), "offsets.misaligned"),
    ],
)
def test_a_wrong_span_is_one_message(tmp_path: Path, name: str, span: tuple[int, int], code: str) -> None:
    content = FORMATS[name]([*SPANS, (*span, "PER")])
    with pytest.raises(DataError) as caught:
        read(name, tmp_path, content)
    assert caught.value.code == code and str(tmp_path / "x.") in caught.value.where and caught.value.hint
    [example] = read(name, tmp_path, content, misaligned="drop")
    assert len(example.spans) == 2
    assert sum(count for why, count in read.reader.repairs.items() if "left out" in why) == 1  # type: ignore[attr-defined]


def test_wrong_records_are_kept_for_one_report_where_that_is_wanted(tmp_path: Path) -> None:
    records = [(1, "Jordan won", [0, 6]), (2, "Lisbon won", [0, 3]), (1, "Mara won", [0, 4]), (3, " ", [])]
    lines = [
        json.dumps({"id": id, "text": text, "label": [[*span, "PER"]] if span else []})
        for id, text, span in [*records, (4, "Kofi won", [0, 4])]
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    made = reader("doccano", path)
    with pytest.raises(DataError) as caught:
        list(made)
    assert caught.value.code == "offsets.misaligned"
    made.errors = []
    assert [example.id for example in made] == ["1", "4"]
    assert [(error.code, error.where) for error in made.errors] == [
        ("offsets.misaligned", f"{path}:2"),
        ("data.duplicate-id", f"{path}:3"),
        ("data.empty-sentence", f"{path}:4"),
    ]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("units", ["bytes", "utf-16"])
def test_offsets_in_other_units_are_recognised(tmp_path: Path, name: str, units: str) -> None:
    before = TEXT[: TEXT.index("today")]
    start = len(before.encode()) if units == "bytes" else len(before.encode("utf-16-le")) // 2
    content = FORMATS[name]([(start, start + 5, "TIME")])
    with pytest.raises(DataError) as caught:
        read(name, tmp_path, content)
    assert caught.value.code == "offsets.units" and f'offsets = "{units}"' in caught.value.hint
    [example] = read(name, tmp_path, content, offsets=units)
    assert [example.tokens[span.start] for span in example.spans] == ["today"]


@pytest.mark.parametrize("name", FORMATS)
def test_overlapping_spans_are_read(tmp_path: Path, name: str) -> None:
    [example] = read(name, tmp_path, FORMATS[name]([(0, 13, "A"), (9, 24, "B")]))
    assert example.spans == (Span(0, 3, "A"), Span(2, 5, "B"))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_is_one_message(tmp_path: Path, name: str, share: float) -> None:
    content = FORMATS[name](SPANS)
    try:
        found = read(name, tmp_path, content[: int(len(content) * share)])
    except DataError as error:
        assert str(tmp_path / "x.") in str(error) and error.code
    else:  # cut between two annotations, or in the first line of a table
        assert name in ("brat", "csv") and all(len(x.spans) <= 1 for x in found)


@pytest.mark.parametrize("wanted", ["doccano", "prodigy", "label_studio", "csv", "conll", "parquet", "spacy"])
@pytest.mark.parametrize("given", ["doccano", "prodigy", "label_studio", "csv", "brat"])
def test_files_that_are_mixed_up_are_refused(tmp_path: Path, wanted: str, given: str) -> None:
    if wanted == given or {wanted, given} == {"doccano", "prodigy"}:
        return
    if wanted == "spacy":
        pytest.importorskip("spacy")
    with pytest.raises(DataError) as caught:
        read(wanted, tmp_path, FORMATS[given](SPANS))
    error = caught.value
    assert str(tmp_path / "x.file") in error.where and "\n" not in error.what
    assert error.hint or error.code == "json.syntax"
    if wanted == "doccano" and given == "label_studio":
        assert "--reader label-studio" in str(error)


def test_doccano_and_prodigy_are_told_apart(tmp_path: Path) -> None:
    spans = [{"start": 0, "end": 6, "label": "PER"}]
    task = {"text": TEXT, "tokens": [{"text": "Jordan", "start": 0, "end": 6, "id": 0}], "spans": spans}
    with pytest.raises(DataError, match="--reader prodigy"):
        read("doccano", tmp_path, json.dumps(task))
    with pytest.raises(DataError, match="--reader doccano"):
        read("prodigy", tmp_path, doccano(SPANS))


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("doccano", '{"text": "a", "entities": [], "relations": [{"from_id": 1, "to_id": 2}]}', "formats.no-such-span",
         "joins the entity 1"),
        ("doccano", '{"text": "a", "label": [[0, 1]]}', "json.wrong-type", "[start, end, label]"),
        ("prodigy", '{"text": "ab", "tokens": [{"text": "b", "start": 0, "end": 1}]}', "formats.tokens", "'b'"),
        ("label_studio", '[{"id": 1, "annotator": 1, "annotation_id": 2}]', "formats.json-min", "JSON-MIN"),
        ("label_studio", '[{"data": {"a": "x y", "b": "y z"}, "annotations": [{"result": []}]}]', "formats.no-text",
         "not clear"),
        ("label_studio", '[{"data": {"text": "a"}, "annotations": [{"result": [{"type": "relation", "from_id": "x", '
         '"to_id": "y"}]}]}]', "formats.no-such-span", "'x'"),
        ("brat", "T1\tPER 0 6;9 13\tJordan back\n", "formats.discontinuous", "T1 is a discontinuous span"),
        ("brat", "T1\tPER 0 6\tJordon\n", "offsets.words", "says 'Jordon'"),
        ("brat", "nonsense\n", "formats.brat-line", "nonsense"),
        ("brat", "R1\tof Arg1:T1 Arg2:T2\n", "formats.no-such-span", "T1, which does not exist"),
        ("csv", "post,label\na,b\n", "formats.other-format", "no column 'text'"),
        ("csv", "text,image\na\n", "formats.columns", "1 cells, but the table has 2 columns"),
        ("csv", 'text\n"a\n', "formats.csv", "not CSV"),
        ("conll", "Jordan\n\n", "formats.columns", "a line without a tag"),
        ("conll", "Jordan\tX-PER\n\n", "conll.unknown-tag", "X-PER"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, name: str, content: str, code: str, said: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(name, tmp_path, content)
    assert caught.value.code == code and said in str(caught.value)
    assert str(tmp_path / "x.") in caught.value.where


def test_discontinuous_spans_of_brat_can_be_left_out(tmp_path: Path) -> None:
    content = "T1\tPER 0 6;9 13\tx\nT2\tLOC 17 24\tChicago\nR1\tof Arg1:T1 Arg2:T2\n"
    [example] = read("brat", tmp_path, content, misaligned="drop")
    assert [s.label for s in example.spans] == ["LOC"]
    assert read.reader.repairs == {  # type: ignore[attr-defined]
        "discontinuous span left out": 1,
        "relation left out with a span that is": 1,
    }


@pytest.mark.parametrize("name", ["conll", "datasets"])
def test_spans_that_overlap_cannot_be_columns(tmp_path: Path, name: str) -> None:
    example = Example.from_tokens("17", ["a", "b", "c"], spans=(Span(0, 2, "A"), Span(1, 3, "B")))
    with pytest.raises(DataError) as caught:
        build_part("writers", f"formats.{name}.v1", {}).write(tmp_path / "x", [example])
    assert caught.value.code == "formats.overlap" and caught.value.where == "17"
    assert not (tmp_path / "x").exists()
