"""The authors' files, with contexts behind the sentences, and files without any."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities
from seqeval.scheme import IOBES, Entities

from mmkit.data.conll import ConllImagesReader
from mmkit.data.mnre import MnreReader
from mmkit.data.types import ORPHANS, Example, Image, Relation, Span
from mmkit.errors import DataError
from mmkit_more.conll import ConllContextsReader
from mmkit_more.mnre import MnreContextsReader
from mmkit_more.tagger import ContextTagger
from raising import raises
from real_photos import SPLITS, TWITTER, instances, linked, tweets, with_photo

NOTE = "more.text_context"
REPAIRS_OF_EOS = {
    "before": "<EOS> tagged O before a context dropped",
    "word": "<EOS> without a context kept as a word",
    "none": "context without <EOS> before it",
    "alone": "context without a sentence skipped",
}


def reader_of(tmp_path: Path, content: str | bytes, **options: Any) -> ConllContextsReader:
    (tmp_path / "x.txt").write_bytes(content if isinstance(content, bytes) else content.encode())
    return ConllContextsReader(str(tmp_path), "x.txt", **options)


def block(*lines: str, post: str = "7") -> str:
    return "\n".join([f"IMGID:{post}", *("\t".join(line.split()) for line in lines), "", ""])


SENTENCE = ("Jordan B-PER", "Michael I-PER", "scores O")


@pytest.mark.parametrize("pad", ["X", "B-X", "I-X", "E-X", "S-X"])
def test_a_context_becomes_a_note(tmp_path: Path, pad: str) -> None:
    content = block(*SENTENCE, f"<EOS> {pad}", f"Jordan {pad}", f"<EOS> {pad}", f"IMGID:3 {pad}")
    reader = reader_of(tmp_path, content + block("in O", "Paris B-LOC", post="8"))
    first, second = reader
    assert first == Example.from_tokens(
        "7",
        ["Jordan", "Michael", "scores"],
        images=(Image(str(tmp_path / "images" / "7.jpg")),),
        spans=(Span(0, 2, "PER"),),
        notes={NOTE: "Jordan <EOS> IMGID:3"},
    )
    assert (second.tokens, second.spans, second.notes) == (("in", "Paris"), (Span(1, 2, "LOC"),), {})
    assert not reader.repairs


def test_padding_labels_can_be_mixed_and_the_note_named(tmp_path: Path) -> None:
    content = block(*SENTENCE, "<EOS> B-X", "a I-X", "b X")
    [example] = reader_of(tmp_path, content, context="more.image_context")
    assert example.notes == {"more.image_context": "a b"}
    text = ContextTagger(context="more.image_context").views(example)["text"]
    assert text.words == ("Jordan", "Michael", "scores", "<EOS>", "a", "b")


def test_a_separator_with_nothing_behind_it_is_no_context(tmp_path: Path) -> None:
    [example] = reader_of(tmp_path, block(*SENTENCE, "<EOS> X"))
    assert (len(example.tokens), example.notes) == (3, {})


def test_tags_may_be_bioes(tmp_path: Path) -> None:
    lines = ["a S-LOC", "b B-PER", "c I-PER", "d E-PER", "e O", "f S-ORG", "g S-ORG", "<EOS> S-X", "h S-X"]
    [example] = reader_of(tmp_path, block(*lines), rename={"ORG": "GROUP"})
    spans = (Span(0, 1, "LOC"), Span(1, 4, "PER"), Span(5, 6, "GROUP"), Span(6, 7, "GROUP"))
    assert (example.spans, example.notes) == (spans, {NOTE: "h"})


def test_orphans_of_bioes_are_listed_dropped_or_refused(tmp_path: Path) -> None:
    content = block("a S-PER", "b I-PER", "c E-PER", "d E-LOC", "<EOS> X", "e X")
    [example] = reader_of(tmp_path, content)
    assert example.spans == (Span(0, 1, "PER"), Span(1, 3, "PER"), Span(3, 4, "LOC"))
    assert example.notes == {NOTE: "e", ORPHANS: [[1, 3], [3, 4]]}
    [example] = reader_of(tmp_path, content, orphan_tags="drop")
    assert (example.spans, example.notes) == ((Span(0, 1, "PER"),), {NOTE: "e"})
    with raises("conll.orphan-tag", match=r"x\.txt:3: `I-PER` without a `B-PER`"):
        list(reader_of(tmp_path, content, orphan_tags="error"))
    with raises("conll.orphan-tag", match=r"x\.txt:2: `E-LOC`"):
        list(reader_of(tmp_path, block("d E-LOC"), orphan_tags="error"))


BIOES = [f"{prefix}-{label}" for prefix in "BIES" for label in ("PER", "LOC")]


@given(st.lists(st.sampled_from(["O", *BIOES]), min_size=1, max_size=10))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_spans_are_those_of_seqeval(tmp_path: Path, tags: list[str]) -> None:
    [example] = reader_of(tmp_path, block(*(f"w {tag}" for tag in tags), "<EOS> X", "c X"))
    assert [(s.label, s.start, s.end - 1) for s in example.spans] == get_entities(tags)
    strict = {(e.tag, e.start, e.end) for e in Entities([tags], IOBES).entities[0]}
    assert strict <= {(s.label, s.start, s.end) for s in example.spans}


@pytest.mark.parametrize(
    ("lines", "tokens", "note", "repair"),
    [
        (["a O", "<EOS> O", "b X"], ("a",), "b", "before"),
        (["a O", "b X"], ("a",), "b", "none"),
        (["<EOS> O", "a O", "<EOS> X", "b X"], ("<EOS>", "a"), "b", "word"),
        (["a O", "<EOS> O"], ("a", "<EOS>"), None, "word"),
        (["a O", "<EOS> O", "b O"], ("a", "<EOS>", "b"), None, "word"),
    ],
)
def test_what_is_unusual_is_counted(
    tmp_path: Path, lines: list[str], tokens: tuple[str, ...], note: str | None, repair: str
) -> None:
    reader = reader_of(tmp_path, block(*lines))
    for _ in range(2):
        [example] = reader
        assert (example.tokens, example.notes.get(NOTE)) == (tokens, note)
        assert reader.repairs == {REPAIRS_OF_EOS[repair]: 1}


@pytest.mark.parametrize("lines", [["<EOS> X", "a X"], ["a X"], ["<EOS> O", "a X"], ["<EOS> X"]])
def test_a_context_without_a_sentence_is_skipped_and_counted(tmp_path: Path, lines: list[str]) -> None:
    reader = reader_of(tmp_path, block(*lines) + block("b O", post="8"))
    assert [x.id for x in reader] == ["8"]
    assert reader.repairs[REPAIRS_OF_EOS["alone"]] == 1


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        (
            block("a O", "<EOS> X", "b X", "c O"),
            "more.context-tag",
            r"x\.txt:5: .*'O'",
        ),
        (block("a O", "<EOS> X", "c B-PER"), "more.context-tag", r"x\.txt:4: .*'B-PER'"),
        (block("a X", "b O"), "more.context-tag", r"x\.txt:3: .*'O'"),
        (block("a O", "<EOS> B-PER", "c X"), "more.separator-tag", r"x\.txt:3: .*'B-PER'"),
        (block("a B-PER", "<EOS> I-PER"), "more.separator-tag", r"x\.txt:3: .*'I-PER'"),
        (block("a Q-PER"), "conll.unknown-tag", r"x\.txt:2: .*'Q-PER'"),
        (block("a x"), "conll.unknown-tag", r"x\.txt:2: .*'x'"),
        (block("a"), "conll.columns", r"x\.txt:2: "),
        ("a\tO\n<EOS>\tX\n", "conll.no-image-line", r"x\.txt:1: .*`IMGID:`"),
    ],
)
def test_a_wrong_file_says_file_line_and_reason(tmp_path: Path, content: str, code: str, says: str) -> None:
    with raises(code, match=says) as error:
        list(reader_of(tmp_path, content))
    assert str(error.value).startswith(f"{tmp_path / 'x.txt'}:")


def test_lines_are_counted_without_posts_too(tmp_path: Path) -> None:
    content = "a\tO\n\na\tO\n<EOS>\tX\nb\tO\n"
    with raises("more.context-tag", match=r"x\.txt:5: the tag 'O'(.|\n)*began on line 4"):
        list(reader_of(tmp_path, content, images=None))


def test_images_can_be_blank(tmp_path: Path) -> None:
    [example] = reader_of(tmp_path, block(*SENTENCE, "<EOS> X", "c X"), blank_images=True)
    assert (example.images, example.notes) == ((Image(None),), {NOTE: "c"})


WORDS = st.sampled_from(
    [
        "IMGID:1",
        "a",
        "\t",
        "O",
        "B-PER",
        "E-PER",
        "X",
        "S-X",
        "<EOS>",
        "<EOS>\tX\n",
        "b\tX\n",
        "a\tO\n",
        " ",
        "\n",
    ]
)


@given(st.one_of(st.binary(max_size=60), st.lists(WORDS, max_size=20).map(lambda w: "".join(w).encode())))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)
def test_any_bytes_are_read_or_refused_with_file_and_line(tmp_path: Path, content: bytes) -> None:
    try:
        for example in reader_of(tmp_path, content, images=None):
            assert example.tokens
    except DataError as error:
        name, line = error.where.rsplit(":", 1)
        assert name == str(tmp_path / "x.txt")
        assert 1 <= int(line) <= content.count(b"\n") + 1


# MNRE

RECORD: dict[str, Any] = {
    "token": ["Jordan", "in", "Paris"],
    "h": {"name": "Jordan", "pos": [0, 1]},
    "t": {"name": "Paris", "pos": [2, 3]},
    "img_id": "p.jpg",
    "relation": "r",
}


def mnre_of(tmp_path: Path, *records: Any, **options: Any) -> MnreContextsReader:
    (tmp_path / "x.txt").write_text("".join(f"{record!r}\n" for record in records), encoding="utf-8")
    return MnreContextsReader(str(tmp_path), "x.txt", **options)


def with_context(*context: str) -> dict[str, Any]:
    return RECORD | {"token": [*RECORD["token"], *context]}


def test_mnre_contexts_become_notes(tmp_path: Path) -> None:
    reader = mnre_of(tmp_path, RECORD, with_context("<EOS>", "a", "<EOS>", "b"), with_context("<EOS>"))
    plain, first, empty = reader
    assert first.tokens == plain.tokens == empty.tokens == tuple(RECORD["token"])
    assert first.relations == (Relation(Span(0, 1, "head"), Span(2, 3, "tail"), "r"),)
    assert [x.notes for x in (plain, first, empty)] == [{}, {NOTE: "a <EOS> b"}, {}]
    assert first.images == (Image(str(tmp_path / "images" / "p.jpg")),)
    assert not reader.repairs
    [named] = mnre_of(tmp_path, with_context("<EOS>", "a"), context="mine", blank_images=True)
    assert (named.notes, named.images) == ({"mine": "a"}, (Image(None),))


def test_mnre_spans_in_the_context_are_refused(tmp_path: Path) -> None:
    record = with_context("<EOS>", "Paris") | {"t": {"name": "Paris", "pos": [4, 5]}}
    with raises("data.span-outside", match=r"x\.txt:2: 't' lies at tokens \[4, 5\) of a sentence of 3"):
        list(mnre_of(tmp_path, RECORD, record))
    with raises("more.no-sentence", match=r"x\.txt:1"):
        list(mnre_of(tmp_path, RECORD | {"token": ["<EOS>", "a"]}))


TOKENS = st.lists(st.sampled_from(["a", "<EOS>", ""]), max_size=6)
BOUNDS = st.lists(st.integers(-1, 7), min_size=2, max_size=2)


@given(tokens=TOKENS, head=BOUNDS, tail=BOUNDS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_mnre_spans_lie_in_the_sentence_or_the_line_is_refused(
    tmp_path: Path, tokens: list[str], head: list[int], tail: list[int]
) -> None:
    end = tokens.index("<EOS>") if "<EOS>" in tokens else len(tokens)
    fits = all(0 <= start < stop <= end for start, stop in (head, tail))
    record = RECORD | {"token": tokens, "h": {"name": "", "pos": head}, "t": {"name": "", "pos": tail}}
    reader = mnre_of(tmp_path, record)
    if not fits:
        with pytest.raises(DataError, match=r"x\.txt:1: "):
            list(reader)
        return
    [example] = reader
    assert example.tokens == tuple(tokens[:end])
    assert example.notes.get(NOTE, "") == " ".join(tokens[end + 1 :])


def test_a_missing_file_says_where_the_data_come_from(tmp_path: Path) -> None:
    for reader in (ConllContextsReader, MnreContextsReader):
        with raises("file.missing", match="AdaSeq"):
            list(reader(str(tmp_path), "train.txt"))


# The published data, which have no contexts


@pytest.mark.real_data
@pytest.mark.parametrize("dataset", ["twitter2015", "twitter2017"])
@pytest.mark.parametrize("file", ["train.txt", "valid.txt", "test.txt"])
def test_published_tweets_are_read_as_by_the_core(shared: Path, dataset: str, file: str) -> None:
    root = str(shared / "data" / dataset)
    ours, cores = ConllContextsReader(root, file), ConllImagesReader(root, file)
    assert list(ours) == list(cores)
    assert ours.repairs == cores.repairs


@pytest.mark.real_data
def test_published_tweets_with_contexts_keep_their_spans(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "twitter2015" / "valid.txt"
    blocks = source.read_text(encoding="utf-8").rstrip("\n").split("\n\n")
    contexts = ["".join(f"\n{w}\tB-X" for w in ("<EOS>", "context", str(i))) for i in range(len(blocks))]
    text = "\n\n".join(map("".join, zip(blocks, contexts, strict=True)))
    found = list(reader_of(tmp_path, text + "\n", images=None))
    cores = list(ConllImagesReader(str(source.parent), source.name, images=None))
    assert [(x.id, x.tokens, x.spans) for x in found] == [(x.id, x.tokens, x.spans) for x in cores]
    assert [x.notes[NOTE] for x in found] == [f"context {i}" for i in range(len(blocks))]


@pytest.mark.real_data
def test_published_relations_are_read_as_by_the_core(shared: Path) -> None:
    root = str(shared / "data" / "mnre")
    ours, cores = MnreContextsReader(root, "val.txt"), MnreReader(root, "val.txt")
    assert list(ours) == list(cores)
    assert ours.repairs == cores.repairs


@pytest.mark.real_data
@pytest.mark.matrix
def test_original_photos_meet_their_sentences(shared: Path, tmp_path: Path) -> None:
    photos = linked(shared, tmp_path)
    met = []
    for dataset in TWITTER:
        for split in SPLITS["twitter"]:
            root = shared / "data" / dataset
            reader = ConllContextsReader(str(root), f"{split}.txt", images=str(photos / dataset))
            said = tweets(root / f"{split}.txt")
            for example, file in with_photo(reader):
                assert list(example.tokens) == said[file.stem]
                met.append(file)
    assert len(set(met)) == 30
    for split in SPLITS["mnre"]:
        root = shared / "data" / "mnre"
        contexts = MnreContextsReader(str(root), f"{split}.txt", images=str(photos / "mnre"))
        said_of = instances(root / f"{split}.txt")
        for example, file in with_photo(contexts):
            assert example.tokens in said_of[file.name]
            met.append(file)
    assert len(set(met)) == 69


@pytest.mark.real_data
@pytest.mark.matrix
@pytest.mark.parametrize(("year", "counts"), [("2015", (3999, 999, 3256)), ("2017", (3373, 723, 723))])
def test_published_contexts_are_read(shared: Path, year: str, counts: tuple[int, ...]) -> None:
    for file, count in zip(("train.txt", "valid.txt", "test.txt"), counts, strict=True):
        examples = list(ConllContextsReader(str(shared / "data" / "pgim" / year), file, images=None))
        assert len(examples) == sum(bool(x.notes.get(NOTE)) for x in examples) == count
