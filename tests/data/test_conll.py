from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from mmkit.data.conll import ConllImagesReader
from mmkit.data.expected import records
from mmkit.data.tags import OUTSIDE, chunks
from mmkit.data.types import ORPHANS, Example, Image, Span
from mmkit.errors import DataError
from raising import raises

TWO = "IMGID:7\nJordan\tB-PER\nMichael\tI-PER\nscores\tO\n\nIMGID:8\nin\tO\nParis\tB-LOC\n"


def reader_of(tmp_path: Path, content: str | bytes, **options: Any) -> ConllImagesReader:
    (tmp_path / "x.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return ConllImagesReader(str(tmp_path), "x.txt", **options)


def test_posts_become_examples(tmp_path: Path) -> None:
    first, second = reader_of(tmp_path, TWO)
    photo = Image(str(tmp_path / "images" / "7.jpg"))
    spans = (Span(0, 2, "PER"),)
    assert first == Example.from_tokens("7", ["Jordan", "Michael", "scores"], images=(photo,), spans=spans)
    assert (second.id, second.spans) == ("8", (Span(1, 2, "LOC"),))


def test_only_newlines_end_lines_and_tokens_may_be_odd(tmp_path: Path) -> None:
    odd = ["\u2028", "a\u0085b", "\xa0", "\u200d", "x\x0by", "c\rd", "", "a b"]
    content = "IMGID:1\r\n" + "".join(f"{token}\tO\r\n" for token in odd) + "\r\n"
    reader = reader_of(tmp_path, content)
    [example] = reader
    assert example.tokens == tuple(odd)
    assert reader.repairs == {"token without characters": 1}


def test_white_space_may_stand_for_the_tab(tmp_path: Path) -> None:
    [example] = reader_of(tmp_path, "IMGID:1\nParis   B-LOC\n \t\n")
    assert (example.tokens, example.spans) == (("Paris",), (Span(0, 1, "LOC"),))


def test_labels_can_be_renamed(tmp_path: Path) -> None:
    content = "IMGID:1\nA\tB-OTHER\nB\tI-OTHER\nC\tB-PER\n"
    [example] = reader_of(tmp_path, content, rename={"OTHER": "MISC"})
    assert example.spans == (Span(0, 2, "MISC"), Span(2, 3, "PER"))


ORPHANED = "IMGID:1\na\tI-PER\nb\tI-PER\nc\tB-LOC\nd\tI-PER\n"


def test_orphan_tags_open_spans_that_notes_list(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, ORPHANED)
    [example] = reader
    assert example.spans == (Span(0, 2, "PER"), Span(2, 3, "LOC"), Span(3, 4, "PER"))
    assert example.notes == {ORPHANS: [[0, 2], [3, 4]]}
    assert reader.repairs == {"chunk without B- kept": 2}


def test_orphan_tags_can_be_dropped_or_refused(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, ORPHANED, orphan_tags="drop")
    [example] = reader
    assert (example.spans, example.notes) == ((Span(2, 3, "LOC"),), {})
    assert reader.repairs == {"chunk without B- dropped": 2}
    content = "IMGID:1\na\tO\n\nIMGID:2\na\tB-LOC\nb\tI-PER\n"
    with raises("conll.orphan-tag", match=r"x\.txt:6: `I-PER` without a `B-PER`"):
        list(reader_of(tmp_path, content, orphan_tags="error"))


@pytest.mark.parametrize("prefixes", ["BI", "BIES"])
@given(data=st.data())
def test_chunks_are_those_of_seqeval(prefixes: str, data: st.DataObject) -> None:
    known = ["O", *(f"{prefix}-{label}" for prefix in prefixes for label in ("PER", "LOC"))]
    tags = data.draw(st.lists(st.sampled_from(known), max_size=12))
    parsed = [OUTSIDE if t == "O" else (t[0], t[2:]) for t in tags]
    spans, orphans = chunks(parsed)
    assert [(s.label, s.start, s.end - 1) for s in spans] == get_entities(tags)
    assert orphans == [s for s in spans if tags[s.start].startswith(("I-", "E-"))]


def test_what_was_mended_is_counted_anew_each_time(tmp_path: Path) -> None:
    content = "\ufeffIMGID:1\n\nIMGID:2\nIMGID:3\na\tO\nIMGID:3\nb\tO\n\n\n\n"
    reader = reader_of(tmp_path, content)
    for _ in range(2):
        assert [x.id for x in reader] == ["3", "3#2"]
        assert reader.repairs == {
            "byte order mark dropped": 1,
            "empty sentence skipped": 2,
            "sentence not ended by an empty line": 1,
            "repeated post given its own id": 1,
        }


def test_text_alone_needs_no_post(tmp_path: Path) -> None:
    first, second = reader_of(tmp_path, "a\tO\n\nIMGID:9\nb\tO\n", images=None)
    assert (first.id, first.images) == ("x:1", ())
    assert (second.id, second.images) == ("9", ())


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        ("IMGID:1\nParis\n", "conll.columns", r"x\.txt:2: .*'Paris'"),
        ("IMGID:1\nParis\t\n", "conll.columns", r"x\.txt:2: "),
        ("IMGID:1\nEU NNP I-NP I-ORG\n", "conll.columns", r"x\.txt:2: .* 4 "),
        ("IMGID:1\na\tb\tO\n", "conll.columns", r"x\.txt:2: .* 3 "),
        ("IMGID:1\na\tO\nb\tQ-PER\n", "conll.unknown-tag", r"x\.txt:3: .*'Q-PER'"),
        ("IMGID:1\na\tB-\n", "conll.unknown-tag", r"x\.txt:2: .*'B-'"),
        ("IMGID:1\na\tB- PER\n", "conll.unknown-tag", r"x\.txt:2: .*'B- PER'"),
        ("IMGID:1\na\to\n", "conll.tag-form", r"x\.txt:2: .*'o'"),
        ("IMGID:\na\tO\n", "conll.no-image-name", r"x\.txt:1: .*`IMGID:`"),
        ("IMGID:1\na\tO\n\nb\tO\n", "conll.no-image-line", r"x\.txt:4: .*`IMGID:`"),
        (b"IMGID:1\ncaf\xe9\tO\n", "file.not-utf8", r"x\.txt:2: .*0xe9 .* 4 .* 12 "),
        (b"\xef\xbb\xbf\xff\n", "file.not-utf8", r"x\.txt:1: .*0xff .* 4 .* 4 "),
        (b"\xff\xfeI\x00", "file.not-utf8", r"x\.txt:1: .*0xff .* 1"),
    ],
)
def test_a_wrong_file_says_file_line_and_reason(
    tmp_path: Path, content: str | bytes, code: str, says: str
) -> None:
    with raises(code, match=says) as error:
        list(reader_of(tmp_path, content))
    assert str(error.value).startswith(str(tmp_path / "x.txt"))


def test_a_missing_file_says_where_the_dataset_comes_from(tmp_path: Path) -> None:
    with raises("file.missing", match=r"train\.txt: no such data file\n.*https://github\.com/jefferyYu/UMT"):
        list(ConllImagesReader(str(tmp_path), "train.txt"))
    with raises("file.unreadable"):
        list(ConllImagesReader(str(tmp_path.parent), tmp_path.name))


WORDS = st.sampled_from(
    ["IMGID:", "IMGID:1", "a", "\t", "O", "B-PER", "I-", " ", "\n", "\n\n", "\r\n", "\u2028", "é"]
)


@given(st.one_of(st.binary(max_size=60), st.lists(WORDS, max_size=20).map(lambda w: "".join(w).encode())))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_any_bytes_are_read_or_refused_with_file_and_line(tmp_path: Path, content: bytes) -> None:
    try:
        list(reader_of(tmp_path, content))
    except DataError as error:
        name, line = error.where.rsplit(":", 1)
        assert name == str(tmp_path / "x.txt")
        assert 1 <= int(line) <= content.count(b"\n") + 1


TABLE = {"7.jpg": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]}


@pytest.mark.parametrize("key", ["7.jpg", "7", 0])
def test_crops_come_from_a_table_of_torch_by_name_or_index(tmp_path: Path, key: str | int) -> None:
    torch.save({key: TABLE["7.jpg"]}, tmp_path / "t.pth")
    reader = reader_of(tmp_path, TWO, crops="t.pth", crop_images="cut")
    first, second = reader
    crops = [Image(str(tmp_path / "cut" / f"{n}.jpg"), "object") for n in "abc"]
    assert first.images == (Image(str(tmp_path / "images" / "7.jpg")), *crops)
    assert len(second.images) == 1
    assert reader.files() == [tmp_path / "x.txt", tmp_path / "t.pth"]


def test_crops_come_from_json_too_and_can_be_fewer_or_blank(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(TABLE))
    first, _ = reader_of(tmp_path, TWO, crops="t.json", max_crops=1)
    assert [i.role for i in first.images] == ["photo", "object"]
    first, second = reader_of(tmp_path, TWO, crops="t.json", max_crops=2, blank_images=True)
    assert first.images == (Image(None), Image(None, "object"), Image(None, "object"))
    assert second.images == (Image(None),)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.json", b"{"),
        ("t.json", b"[]"),
        ("t.json", b'{"a": "b"}'),
        ("t.json", b'{"a": [1]}'),
        ("t.json", b"\xff"),
        ("t.json", b"[" * 100_000),
        ("t.pth", b""),
        ("t.pth", b"not torch"),
        ("t.pth", b"\x80\x02"),
    ],
)
def test_a_wrong_crop_table_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}(:1)?: .*crop table") as error:
        list(reader_of(tmp_path, TWO, crops=name))
    assert "a crop table maps" in error.value.hint


def test_a_crop_table_executes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"7.jpg": Evil()}, tmp_path / "t.pth")
    with raises("crops.unreadable", match="would run code"):
        list(reader_of(tmp_path, TWO, crops="t.pth"))
    assert not (tmp_path / "executed").exists()
    with raises("crops.missing"):
        list(reader_of(tmp_path, TWO, crops="missing.pth"))


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("file", "tweets", "orphans", "chunk_counts"),
    [
        ("train.txt", 4000, 186, {"PER": 2285, "LOC": 2135, "OTHER": 975, "ORG": 957}),
        ("valid.txt", 1000, 53, {"PER": 567, "LOC": 543, "ORG": 251, "OTHER": 233}),
        ("test.txt", 3257, 135, {"PER": 1873, "LOC": 1720, "ORG": 860, "OTHER": 754}),
    ],
)
def test_twitter2015_is_read_as_published_figures_count_it(
    shared: Path, file: str, tweets: int, orphans: int, chunk_counts: dict[str, int]
) -> None:
    reader = ConllImagesReader(str(shared / "data" / "twitter2015"), file)
    examples = list(reader)
    assert len(examples) == len({e.id for e in examples}) == tweets
    assert reader.repairs == {"chunk without B- kept": orphans}
    assert sum(len(e.notes.get(ORPHANS, ())) for e in examples) == orphans
    assert Counter(s.label for e in examples for s in e.spans) == chunk_counts


@pytest.mark.real_data
def test_twitter2015_train_has_all_its_tokens(shared: Path) -> None:
    examples = list(ConllImagesReader(str(shared / "data" / "twitter2015"), "train.txt"))
    assert sum(len(e.tokens) for e in examples) == 64_439
    assert sum(t.startswith("http") for e in examples for t in e.tokens) == 5_209


@pytest.mark.real_data
@pytest.mark.parametrize(("file", "tweets"), [("train.txt", 3373), ("valid.txt", 723), ("test.txt", 723)])
def test_twitter2017_is_clean(shared: Path, file: str, tweets: int) -> None:
    reader = ConllImagesReader(str(shared / "data" / "twitter2017"), file)
    examples = list(reader)
    assert len(examples) == tweets
    assert not reader.repairs
    if file == "test.txt":
        counts = Counter(s.label for e in examples for s in e.spans)
        assert counts == {"PER": 621, "ORG": 395, "LOC": 178, "MISC": 157}


MARA = (Span(0, 2, "PER"), Span(3, 4, "LOC"))
CASES = Path(__file__).parents[3] / "shared" / "cases" / "E2-conll"


def lines_of(rows: str, glue: str = "\t") -> str:
    return "".join(line.replace(" ", glue) + "\n" for line in rows.split(" / "))


@pytest.mark.parametrize(
    ("content", "repair"),
    [
        (lines_of("Mara B-PER / Okafor E-PER / visits O / Lisbon S-LOC / . O"), ""),
        (lines_of("Mara B-PER / Okafor L-PER / visits O / Lisbon U-LOC / . O"), ""),
        (
            lines_of("Mara B-PER / Okafor I-PER / visits O / Lisbon B-LOC / . O").replace("\n", " \n"),
            "blanks or tabs",
        ),
        (
            lines_of("Mara B-PER / Okafor I-PER / visits O / Lisbon B-LOC / . O").replace("\n", "\t\n"),
            "blanks or tabs",
        ),
        (lines_of("Mara B-PER / Okafor I-PER / visits O / Lisbon B-LOC / . O", "\t\t"), "blanks or tabs"),
        (lines_of("Mara B-PER / Okafor I-PER / visits O / Lisbon B-LOC / . O", "\t "), "blanks or tabs"),
        (
            "-DOCSTART-\tO\n\n" + lines_of("Mara B-PER / Okafor I-PER / visits O / Lisbon B-LOC / . O"),
            "-DOCSTART-",
        ),
        (
            "-DOCSTART- -X- O\n\n" + lines_of("Mara B-PER / Okafor I-PER / visits O / Lisbon B-LOC / . O"),
            "-DOCSTART-",
        ),
    ],
)
def test_quirks_of_conll_files_are_read_and_counted(tmp_path: Path, content: str, repair: str) -> None:
    (tmp_path / "train.txt").write_text(content)
    reader = ConllImagesReader(str(tmp_path), "train.txt", images=None)
    (example,) = reader
    assert (example.spans, example.tokens[:2]) == (MARA, ("Mara", "Okafor"))
    assert not example.notes
    assert any(repair in said for said in reader.repairs) if repair else not reader.repairs


@pytest.mark.parametrize("column", [3, -1])
def test_a_setting_says_which_column_holds_the_tag(tmp_path: Path, column: int) -> None:
    rows = "Mara NNP B-NP B-PER\nOkafor NNP I-NP I-PER\nvisits VBZ B-VP O\nLisbon NNP B-NP B-LOC\n. . O O\n"
    (tmp_path / "train.txt").write_text("-DOCSTART- -X- -X- O\n\n" + rows)
    (example,) = ConllImagesReader(str(tmp_path), "train.txt", images=None, tag_column=column)
    assert example.spans == MARA
    with raises("conll.columns", match=r"train\.txt:3: .*4") as caught:
        list(ConllImagesReader(str(tmp_path), "train.txt", images=None))
    assert "tag_column = -1" in caught.value.hint
    with raises("conll.columns", match="9"):
        list(ConllImagesReader(str(tmp_path), "train.txt", images=None, tag_column=9))


def test_a_photo_line_with_a_tag_names_the_photo(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("IMGID:101\tO\n" + lines_of("Mara B-PER / visits O"))
    reader = ConllImagesReader(str(tmp_path), "train.txt", images="photos")
    (example,) = reader
    assert (example.id, example.tokens) == ("101", ("Mara", "visits"))
    assert reader.repairs == {"IMGID: line with a tag": 1}


def test_a_type_of_two_words_is_a_type(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("Mara\tB-Job Title\nOkafor\tI-Job Title\n")
    (example,) = ConllImagesReader(str(tmp_path), "train.txt", images=None)
    assert example.spans == (Span(0, 2, "Job Title"),)


def test_iob1_is_recognised(tmp_path: Path) -> None:
    block = lines_of("Mara I-PER / Okafor I-PER / Lisbon B-PER / sees O / Rome I-LOC") + "\n"
    (tmp_path / "train.txt").write_text(block * 15)
    reader = ConllImagesReader(str(tmp_path), "train.txt", images=None)
    examples = list(reader)
    assert examples[0].spans == (Span(0, 2, "PER"), Span(2, 3, "PER"), Span(4, 5, "LOC"))
    assert not examples[0].notes
    assert reader.repairs == {"file read as IOB1, in which an I- tag begins a span": 1}
    (tmp_path / "train.txt").write_text(block * 15 + lines_of("Rome B-LOC"))  # BIO, with many unopened spans
    reader = ConllImagesReader(str(tmp_path), "train.txt", images=None)
    first, *_ = reader
    assert first.notes[ORPHANS] == [[0, 2], [4, 5]]
    assert reader.repairs["chunk without B- kept"] == 30


def test_carriage_returns_alone_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_bytes(b"Mara\tB-PER\rOkafor\tI-PER\r\r")
    with pytest.raises(DataError) as caught:
        list(ConllImagesReader(str(tmp_path), "train.txt", images=None))
    assert "carriage return" in caught.value.hint


@pytest.mark.real_data
@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are not beside the project")
@pytest.mark.parametrize("path", sorted(CASES.glob("*.txt")), ids=lambda path: path.stem)
def test_the_cases_of_conll_files(path: Path) -> None:
    columns = {"docstart4": -1, "ls": -1}.get(path.stem)
    with_photo = path.stem in ("docstart_imgid", "img_tab")
    reader = ConllImagesReader(
        str(path.parent), path.name, images="photos" if with_photo else None, tag_column=columns
    )
    if path.stem == "cr":
        with pytest.raises(DataError):
            list(reader)
        return
    examples = list(reader)
    assert examples and all("DOCSTART" not in " ".join(example.tokens) for example in examples)
    assert examples[0].spans and examples[0].tokens[0] == "Mara"


@pytest.mark.parametrize(
    ("tag", "meant"),
    [
        ("b-PER", "B-PER"),
        ("e-PER", "E-PER"),
        ("B_PER", "B-PER"),
        ("PER-B", "B-PER"),
        ("PER_I", "I-PER"),
        ("o", "O"),
    ],
)
def test_tags_that_are_written_in_another_way_say_how(tag: str, meant: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(f"Mara\t{tag}\nvisits\tO\n\n")
    reader = ConllImagesReader(str(tmp_path), "x.txt", images=None)
    with pytest.raises(DataError) as caught:
        list(records(reader))
    assert caught.value.code == "conll.tag-form"
    assert f"write '{meant}' for '{tag}'" in caught.value.hint and "looks like" not in caught.value.hint


@pytest.mark.parametrize("tag", ["X-PER", "PER", "-PER", "B-"])
def test_what_is_no_tag_stays_unknown(tag: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(f"Mara\t{tag}\nvisits\tO\n\n")
    with raises("conll.unknown-tag"):
        list(ConllImagesReader(str(tmp_path), "x.txt", images=None))
