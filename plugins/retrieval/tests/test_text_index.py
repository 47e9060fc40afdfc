"""The text index against a BM25 of our own, odd queries, repeated and killed writing, and damaged files."""

from __future__ import annotations

import json
import math
import os
import random
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmkit_retrieval.corpora.article import Article
from mmkit_retrieval.retrieved import Retrieved
from mmkit_retrieval.text.text_files import identity
from mmkit_retrieval.text.text_index import TextIndex, TextWriter
from raising import raises

K1, B = 1.2, 0.75
LENGTHS = [
    length
    for length in range(2**12)
    if length < 40 or (length - 24) % (1 << max(0, (length - 24).bit_length() - 4)) == 0
]
"""The lengths that Lucene's one byte can tell apart: four significant bits of what is above 24."""


def kept(length: int) -> int:
    """A length as an index keeps it."""
    return max(known for known in LENGTHS if known <= length)


class BruteForce:
    """BM25 by the book, over whole lists: title and text of each paragraph, their scores added up."""

    def __init__(self, articles: Sequence[Article]) -> None:
        self.ids = [f"{a.id}#{n}" for a in articles for n in range(len(a.paragraphs))]
        titles = [words(a.title) for a in articles for _ in a.paragraphs]
        texts = [words(text) for a in articles for text in a.paragraphs]
        self.fields = [[Counter(some) for some in field] for field in (titles, texts)]
        self.lengths = [[kept(len(some)) for some in field] for field in (titles, texts)]

    def scores(self, query: str) -> dict[str, float]:
        """Scores of the paragraphs that share a word with the query."""
        total = dict.fromkeys(self.ids, 0.0)
        for field, lengths in zip(self.fields, self.lengths, strict=True):
            mean = sum(some.total() for some in field) / len(field)
            for word in words(query):
                n = sum(word in some for some in field)
                idf = math.log(1 + (len(field) - n + 0.5) / (n + 0.5))
                for id, some, length in zip(self.ids, field, lengths, strict=True):
                    norm = K1 * (1 - B + B * length / mean)
                    total[id] += idf * some[word] * (K1 + 1) / (some[word] + norm) if some[word] else 0.0
        return {id: score for id, score in total.items() if score > 0}


def words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


KNOWN = re.compile(r"(?<![^\x00-\x7f])\bw[1-7]?[0-9]\b(?![^\x00-\x7f])", re.ASCII)
"""Words of the index `drawn`; beside a character such as ² they are parts of other words."""


def article(id: str, *paragraphs: str, title: str = "") -> Article:
    return Article(id, title or f"Title {id}", paragraphs)


def drawn(seed: int, articles: int = 120, vocabulary: int = 80) -> list[Article]:
    """Articles of up to three paragraphs of 1 to 300 words, whose frequencies fall off as Zipf's."""
    draw = random.Random(seed)
    weights = [1 / (rank + 1) for rank in range(vocabulary)]

    def text(longest: int) -> str:
        return " ".join(f"w{n}" for n in draw.choices(range(vocabulary), weights, k=draw.randint(1, longest)))

    return [
        article(str(n), *(text(300) for _ in range(draw.randint(1, 3))), title=text(4))
        for n in range(articles)
    ]


def write(folder: Path, *puts: Sequence[Article]) -> Path:
    writer = TextWriter(folder)
    for articles in puts:
        writer.put(articles)
        writer.commit()
    writer.finish()
    writer.close()
    return folder


def texts(folder: Path) -> list[tuple[str, str]]:
    """All paragraphs that a search finds; each has the word `the`."""
    return sorted((hit.id, hit.text) for hit in TextIndex.open(folder).search(["the"], 1000)[0])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("index") / "text", drawn(0))


@pytest.fixture(scope="module")
def index(folder: Path) -> TextIndex:
    return TextIndex.open(folder)


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_bm25(tmp_path: Path, seed: int) -> None:
    articles = drawn(seed)
    index, brute = TextIndex.open(write(tmp_path / "text", articles)), BruteForce(articles)
    draw = random.Random(seed)
    queries = [" ".join(f"w{draw.randrange(90)}" for _ in range(draw.randint(1, 12))) for _ in range(40)]
    queries += ["w3 w3 w3 w50", "w79", "W1, w2: (w0)!"]
    for query, hits in zip(queries, index.search(queries, len(brute.ids)), strict=True):
        scores = brute.scores(query)
        assert {hit.id: hit.score for hit in hits} == pytest.approx(scores, rel=2e-6, abs=1e-6)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_the_best_are_found_without_looking_at_all(index: TextIndex) -> None:
    """A small `top` takes tantivy's short cut past paragraphs that cannot be among the best."""
    queries = [f"w{n} w{n * 7 % 80} w{n * 3 % 80}" for n in range(60)]
    whole = index.search(queries, len(index))
    for few, all_of_them in zip(index.search(queries, 5), whole, strict=True):
        assert [hit.score for hit in few] == pytest.approx([hit.score for hit in all_of_them[:5]])


def test_a_hit_says_what_it_is(tmp_path: Path) -> None:
    corpus = [article("7", "Nothing.", "A river in Jordan.", title="Yarmouk"), article("8", "A river.")]
    (hit,) = TextIndex.open(write(tmp_path / "text", corpus)).search(["#Jordan"], 3)[0]
    assert hit == Retrieved("7#1", "7", "Yarmouk", "A river in Jordan.", hit.score)


@pytest.mark.parametrize("query", ["beyonce", "BEYONCÉ", "#Beyoncé's", "Beyonce\u0301"[:7]])
def test_case_accents_and_punctuation_do_not_matter(tmp_path: Path, query: str) -> None:
    index = TextIndex.open(write(tmp_path / "text", [article("1", "Beyoncé sings"), article("2", "Others")]))
    assert [hit.article for hit in index.search([query], 5)[0]] == ["1"]


def test_words_of_any_script_are_found(tmp_path: Path) -> None:
    index = TextIndex.open(
        write(tmp_path / "text", [article("1", "Москва, столица"), article("2", "서울 東京")])
    )
    found = index.search(["москва", "東京", "x" * 41], 5)
    assert [[hit.article for hit in hits] for hits in found] == [["1"], ["2"], []]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.text(max_size=60) | st.text("w0123456789 \"'()[]{}:*?~^+-&|!\\/<>#@", max_size=60), max_size=4
    )
)
@example(
    ["w1 AND", "OR w1", "NOT", 'w1 "w2', "title:w1", "w1^9", "w1~", "[w1 TO w2}", "*", "IN [", "text:(w1"]
)
@example(["²W0", "w0²", "w0\u093e"])
@example(["😀 w1 👩‍👩‍👧", "!!! ... ???", "", " \t\n", "\x00w1\x00", "\ud800 w1", "w1" * 5000])
def test_any_text_is_a_query_of_plain_words(index: TextIndex, queries: list[str]) -> None:
    for query, hits in zip(queries, index.search(queries, 3, threads=1), strict=True):
        known = KNOWN.findall(query.lower())
        same = index.search([" ".join(known)], 3)[0]
        assert hits or not known
        if len(known) == len(words(query)) and query.isascii():
            assert hits == same


def test_operators_are_words(tmp_path: Path) -> None:
    index = TextIndex.open(write(tmp_path / "text", [article("1", "and or not"), article("2", "cats")]))
    found = index.search(["cats AND nothing", "NOT cats", "-cats", "title:cats", '"cats dogs"'], 5)
    assert [sorted(hit.article for hit in hits) for hits in found] == [
        ["1", "2"],
        ["1", "2"],
        ["2"],
        ["1", "2"],
        ["2"],
    ]


def test_a_query_of_ten_thousand_words(index: TextIndex) -> None:
    long = " ".join(f"w{n}" for n in range(10_000))
    assert index.search([long], 5) == index.search([" ".join(f"w{n}" for n in range(80))], 5)


def test_threads_change_nothing(index: TextIndex) -> None:
    queries = [f"w{n % 80} w{n % 7}" for n in range(100)]
    assert index.search(queries, 5, threads=4) == index.search(queries, 5, threads=1)
    assert index.search([], 5) == []


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    index = TextIndex.open(write(tmp_path / "text", []))
    assert (len(index), index.search(["w1"], 5)) == (0, [[]])


def test_putting_twice_is_putting_once(tmp_path: Path) -> None:
    first, second = article("1", "the cat", "the dog"), article("12", "the bird")
    folder = write(tmp_path / "text", [first, second], [second], [first, first])
    assert texts(folder) == [("1#0", "the cat"), ("1#1", "the dog"), ("12#0", "the bird")]
    assert len(TextIndex.open(folder)) == 3


def test_an_article_takes_the_place_of_its_older_self(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", [article("1", "the cat", "the dog"), article("2", "the bird")])
    write(folder, [article("1", "the fish")])
    assert texts(folder) == [("1#0", "the fish"), ("2#0", "the bird")]


def test_removing(tmp_path: Path) -> None:
    writer = TextWriter(tmp_path / "text")
    writer.put([article(id, "the cat", "the dog") for id in "abc"])
    writer.remove(["b", "never there"])
    writer.commit()
    assert len(writer) == 4
    writer.remove(["a"])
    writer.finish()
    writer.close()
    assert texts(tmp_path / "text") == [("c#0", "the cat"), ("c#1", "the dog")]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["put", "remove", "commit", "lose"]), st.integers(0, 4), st.integers(0, 3)),
        max_size=12,
    )
)
def test_an_index_holds_what_was_last_put(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    folder = tmp_path_factory.mktemp("steps") / "text"
    writer = TextWriter(folder)
    now: dict[str, list[tuple[str, str]]] = {}
    durable: dict[str, list[tuple[str, str]]] = {}
    for what, id, count in steps:
        if what == "put":
            writer.put([article(str(id), *(f"the {count} {n}" for n in range(count)))])
            now[str(id)] = [(f"{id}#{n}", f"the {count} {n}") for n in range(count)]
        elif what == "remove":
            writer.remove([str(id)])
            now.pop(str(id), None)
        elif what == "commit":
            writer.commit()
            durable = dict(now)
        else:
            writer.close()
            writer = TextWriter(folder)
            now = dict(durable)
        assert len(writer) == sum(map(len, durable.values()))
    writer.finish()
    assert texts(folder) == sorted(pair for pairs in now.values() for pair in pairs)


def test_files_of_a_finished_index_have_the_same_permissions(folder: Path) -> None:
    modes = {path.stat().st_mode for path in folder.iterdir() if path.suffix != ".lock"}
    assert len(modes) == 1


def test_what_was_not_committed_is_lost_and_nothing_else(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", [article("1", "the cat")])
    before = identity(folder)
    writer = TextWriter(folder)
    writer.put([article("1", "the dog"), article("2", "the bird")])
    writer.close()
    assert (texts(folder), identity(folder)) == ([("1#0", "the cat")], before)


def test_blank_paragraphs_are_counted_but_not_found(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", [article("1", "the cat", " \n", "", "the dog")])
    assert texts(folder) == [("1#0", "the cat"), ("1#3", "the dog")]


def test_half_a_surrogate_pair_becomes_a_question_mark(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", [article("1", "the \ud800cat", title="\udc00")])
    assert texts(folder) == [("1#0", "the ?cat")]


@pytest.mark.parametrize("id", ["x" * 1001, "\ud800"])
def test_an_id_that_cannot_be_found_again_is_refused(tmp_path: Path, id: str) -> None:
    with raises("retrieval.article-id"):
        TextWriter(tmp_path / "text").put([article(id, "the cat")])


def test_two_writers_at_once_are_refused(tmp_path: Path) -> None:
    writer = TextWriter(tmp_path / "text")
    with raises("retrieval.locked"):
        TextWriter(tmp_path / "text")
    writer.close()
    TextWriter(tmp_path / "text").close()


def test_the_identity_changes_with_the_contents_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", [article("1", "the cat"), article("2", "the dog")])
    seen = [identity(folder)]
    write(folder)
    assert TextIndex.open(folder).identity == identity(folder) == seen[0]
    for put, removed in (([article("3", "the bird")], []), ([], ["2"]), ([article("1", "the fish")], [])):
        writer = TextWriter(folder)
        writer.put(put)
        writer.remove(removed)
        writer.commit()
        writer.close()
        seen.append(identity(folder))
    assert len(set(seen)) == 4


def test_an_open_index_does_not_see_what_is_added(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", [article("1", "the cat")])
    index = TextIndex.open(folder)
    write(folder, [article("2", "the dog")])
    assert [hit.id for hit in index.search(["the"], 5)[0]] == ["1#0"]
    assert len(texts(folder)) == 2


def _segment_files(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.iterdir() if re.fullmatch(r"[0-9a-f]{32}(\.\d+)?\.\w+", path.name)
    )


@pytest.fixture(scope="module")
def with_deletions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write(tmp_path_factory.mktemp("deletions") / "text", drawn(1, 20))
    writer = TextWriter(folder)
    writer.remove(["3"])
    writer.commit()
    writer.close()
    return folder


@pytest.mark.parametrize("part", ["idx", "term", "store", "fieldnorm", "fast", "pos", "del", "json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "emptied", "flipped"])
def test_damage_is_found_on_opening(tmp_path: Path, with_deletions: Path, part: str, damage: str) -> None:
    folder = Path(shutil.copytree(with_deletions, tmp_path / "text"))
    names = [*_segment_files(folder), "meta.json"]
    path = next(folder / name for name in names if name.endswith(f".{part}"))
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "flipped":
        data[len(data) // 3] ^= 255
        path.write_bytes(data)
    else:
        os.truncate(path, len(data) - 1 if damage == "truncated" else 0)
        if part == "json" and damage == "truncated":
            os.truncate(path, len(data) // 2)
    with raises("retrieval.index-damaged", match=re.escape(path.name)) as error:
        TextIndex.open(folder)
    assert "build-index" in error.value.hint
    if damage != "flipped":
        with raises("retrieval.index-damaged"):
            TextWriter(folder)


def test_folders_that_are_no_index_are_named(tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        with raises("retrieval.no-index"):
            TextIndex.open(folder)
    (tmp_path / "notes.txt").touch()
    with raises("retrieval.folder-taken"):
        TextWriter(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_other_formats_and_fields_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "text", [article("1", "the cat")])
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    meta["schema"][3]["options"]["stored"] = False
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    (folder / "format.json").write_text('{"format": 1}', encoding="utf-8")
    for opened in (TextIndex.open, TextWriter):
        with raises("retrieval.index-unreadable", match="schema"):
            opened(folder)
    (folder / "format.json").write_text('{"format": 2}', encoding="utf-8")
    for opened in (TextIndex.open, TextWriter):
        with raises("retrieval.index-format", match="has format 2"):
            opened(folder)


def test_a_writer_killed_before_its_first_commit_can_begin_again(tmp_path: Path) -> None:
    folder = tmp_path / "text"
    TextWriter(folder).close()
    for path in folder.iterdir():
        if path.name != "format.json":
            path.unlink()
    assert texts(write(folder, [article("1", "the cat")])) == [("1#0", "the cat")]
