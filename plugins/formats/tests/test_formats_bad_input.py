"""Files that are cut, mixed up or wrong: one message each, and nothing is lost in silence."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from mmkit import DataError, Example, Mention, Relation, Span, build_part
from mmkit.data.expected import records

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


def record(spans: Any) -> dict[str, Any]:
    return {"text": TEXT, "spans": [{"start_char": s, "end_char": e, "label": x} for s, e, x in spans]}


def parquet(spans: Any) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([record(spans)]), file)
    return file.getvalue()


def webdataset(spans: Any) -> bytes:
    return tar({"0.json": json.dumps(record(spans)), "1.json": '{"text": "one more"}'})


def tar(members: dict[str, str]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as shard:
        for name, text in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            shard.addfile(member, io.BytesIO(text.encode()))
    return file.getvalue()


FORMATS: dict[str, Callable[[Any], str | bytes]] = {
    "doccano": doccano,
    "prodigy": prodigy,
    "label_studio": label_studio,
    "csv": csv,
    "brat": brat,
    "parquet": parquet,
    "webdataset": webdataset,
}


def write(name: str, folder: Path, content: str | bytes) -> Path:
    path = folder / {"brat": "x.ann", "spacy": "x.spacy"}.get(name, "x.file")
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(name: str, folder: Path, content: str | bytes, **settings: Any) -> list[Example]:
    path = write(name, folder, content)
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
    example, *_ = read(name, tmp_path, content, misaligned="drop")
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
    example, *_ = read(name, tmp_path, content, offsets=units)
    assert [example.tokens[span.start] for span in example.spans] == ["today"]


@pytest.mark.parametrize("name", FORMATS)
def test_overlapping_spans_are_read(tmp_path: Path, name: str) -> None:
    example, *_ = read(name, tmp_path, FORMATS[name]([(0, 13, "A"), (9, 24, "B")]))
    assert example.spans == (Span(0, 3, "A"), Span(2, 5, "B"))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_is_one_message(tmp_path: Path, name: str, share: float) -> None:
    content = FORMATS[name](SPANS)
    try:
        found = read(name, tmp_path, content[: int(len(content) * share)])
    except DataError as error:
        assert str(tmp_path / "x.") in str(error) and error.code
    else:  # cut between two annotations, or in the first line of a table, or in the zeros behind a tar file
        assert name == "webdataset" or (name in ("brat", "csv") and all(len(x.spans) <= 1 for x in found))
        assert name != "webdataset" or [len(x.spans) for x in found] == [2, 0]


def docbin(_: Any) -> bytes:
    spacy = pytest.importorskip("spacy")
    doc = spacy.blank("en")(TEXT)
    content: bytes = spacy.tokens.DocBin(docs=[doc]).to_bytes()
    return content


def jsonlines(spans: Any) -> str:
    return json.dumps(record(spans))


READERS = [*FORMATS, "conll", "spacy", "datasets"]
FILES = {**FORMATS, "spacy": docbin, "jsonl": jsonlines, "conll": lambda _: "Jordan\tB-PER\nwon\tO\n\n"}
LOOKS = {
    "doccano": "doccano",
    "prodigy": "prodigy",
    "label_studio": "label-studio|Label Studio",
    "csv": "formats.csv.v1",
    "brat": "formats.brat.v1",
    "parquet": "formats.parquet.v1",
    "webdataset": "formats.webdataset.v1",
    "conll": "CoNLL",
    "spacy": "formats.spacy.v1",
    "jsonl": "jsonl",
}


@pytest.mark.parametrize("given", FILES)
@pytest.mark.parametrize("wanted", READERS)
def test_files_that_are_mixed_up_are_refused(tmp_path: Path, wanted: str, given: str) -> None:
    if wanted == given or (wanted, given) == ("datasets", "parquet"):
        return
    if wanted == "spacy":
        pytest.importorskip("spacy")
    (tmp_path / "x.txt").write_text(TEXT, encoding="utf-8")
    path = write("brat" if wanted == "brat" else given, tmp_path, FILES[given](SPANS))
    with pytest.raises(DataError) as caught:
        list(records(reader(wanted, path)))
    error = caught.value
    assert str(path) in error.where and "\n" not in error.what and error.hint and len(error.what) < 300
    if wanted != "brat" and (given != "prodigy" or wanted in ("doccano", "label_studio")):
        assert re.search(LOOKS[given], error.hint)
    assert wanted == "brat" or "iconv" not in error.hint


@pytest.mark.parametrize("wanted", READERS)
@pytest.mark.parametrize(
    "content",
    [b"\x89PNG\r\n\x1a\n" + b"\0" * 30, gzip.compress(b"{}", mtime=0), b"\0" * 2000, b"<html>"],
    ids=["png", "gzip", "zeros", "html"],
)
def test_files_of_no_format_are_refused(tmp_path: Path, wanted: str, content: bytes) -> None:
    if wanted == "spacy":
        pytest.importorskip("spacy")
    (tmp_path / "x.txt").write_text(TEXT, encoding="utf-8")
    path = write(wanted, tmp_path, content)
    if wanted == "webdataset" and not content.strip(b"\0"):  # which is how an empty tar file looks
        made = reader(wanted, path)
        assert list(made) == [] and made.repairs == {"tar file without members": 1}
        return
    with pytest.raises(DataError) as caught:
        list(records(reader(wanted, path)))
    assert str(path) in caught.value.where and len(str(caught.value)) < 600


def test_a_tar_file_without_its_end_or_with_another_one_behind_it_is_refused(tmp_path: Path) -> None:
    content = webdataset(SPANS)
    whole = content.index(b"1.json")  # cut between two members
    with pytest.raises(DataError, match="no mark of its end"):
        read("webdataset", tmp_path, content[:whole])
    with pytest.raises(DataError, match="joined with cat"):
        read("webdataset", tmp_path, content + tar({"2.json": '{"text": "lost"}'}))
    assert len(read("webdataset", tmp_path, gzip.compress(content))) == 2


def test_columns_with_old_line_ends_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="old Mac line ends"):
        read("conll", tmp_path, "Jordan\tB-PER\rwon\tO\r\r")
    assert len(read("conll", tmp_path, "Jordan\tB-PER\r\nwon\tO\r\n\r\nx\tO\r")) == 2


LINKED = Example.from_tokens(
    "1",
    ["Jordan", "won"],
    mention=Mention("Jordan", Span(0, 1, "mention")),
    entity="Q1",
    candidates=("Q1", "Q2"),
)
CUT = Example("1", "Jordan", ("Jor", "dan"), ((0, 3), (3, 6)))
UNNAMED = Example.from_tokens("1", ["a", "b"], relations=(Relation(Span(0, 1, "x"), Span(1, 2, "y"), None),))


@pytest.mark.parametrize("name", [*(n for n in READERS if n != "webdataset")])
def test_what_is_not_written_is_counted(tmp_path: Path, name: str) -> None:
    if name == "spacy":
        pytest.importorskip("spacy")
    writer = build_part("writers", f"formats.{name}.v1", {})
    writer.write(tmp_path / "a", [LINKED])
    assert writer.losses == {"mention": 1, "entity of a mention": 1, "list of candidates": 1}
    writer.write(tmp_path / "b", [CUT])
    assert sum("own tokens" in what for what in writer.losses) == (
        name in ("label_studio", "doccano", "brat")
    )
    writer.write(tmp_path / "c", [UNNAMED])
    ends = {"end of a relation that is no span of the sentence, written as one": 2}
    said = {
        "brat": {"relation without a label, written as 'relation'": 1, **ends},
        **{other: {"relation": 1} for other in ("spacy", "conll", "datasets")},
        "label_studio": ends,
        "doccano": ends,
    }
    assert writer.losses == said.get(name, {})
    if ends.items() <= writer.losses.items():  # what was said is so
        [again] = reader(name, tmp_path / "c")
        assert again.spans == (Span(0, 1, "x"), Span(1, 2, "y"))


@pytest.mark.parametrize("name", ["parquet", "csv", "prodigy", "webdataset"])
def test_names_that_only_a_relation_has_become_no_entities(tmp_path: Path, name: str) -> None:
    writer = build_part("writers", f"formats.{name}.v1", {})
    writer.write(tmp_path / "a", [UNNAMED])
    [again] = reader(name, tmp_path / "a")
    assert (again.spans, again.relations) == ((), UNNAMED.relations)


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
        ("conll", "Mara B-PER\n\nJordan B-PE", "conll.cut", "cut off within 'PER'"),
        ("conll", "Mara NNP B-PER\nJordan NNP B-P", "conll.cut", "cut off within 'PER'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, name: str, content: str, code: str, said: str
) -> None:
    with pytest.raises(DataError) as caught:
        read(name, tmp_path, content)
    assert caught.value.code == code and said in str(caught.value)
    assert str(tmp_path / "x.") in caught.value.where


@pytest.mark.parametrize("end", ["B-PE\n", "B-PE ", "B-PE O", "B-PERSON"])
def test_columns_that_end_with_a_whole_tag_are_read(tmp_path: Path, end: str) -> None:
    [example] = read("conll", tmp_path, f"Mara B-PER O\nJordan {end}", tag_column=1)
    assert example.spans[1].label in ("PE", "PERSON")


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


def test_a_table_with_another_delimiter_is_told_the_setting(tmp_path: Path) -> None:
    content = "id;text\n1;look at Jordan\n"
    with pytest.raises(DataError) as refused:
        read("csv", tmp_path, content)
    assert refused.value.code == "formats.columns" and "--delimiter ';'" in refused.value.hint
    (example,) = read("csv", tmp_path, content, delimiter=";")
    assert (example.id, example.text) == ("1", "look at Jordan")
