"""The files that PGIM's authors published: every count, and that posts and tags are the originals'."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from mmkit.data.conll import ConllImagesReader
from mmkit.data.fingerprints import known_mistake, known_variant
from mmkit.data.types import Example
from mmkit.loading.split import fingerprints
from mmkit_more.conll import ConllContextsReader
from mmkit_pgim.conll import ConllKnowledgeReader
from mmkit_pgim.notes import KNOWLEDGE

pytestmark = pytest.mark.real_data

LISTED = {  # posts, spans, `chunk without B- kept`, contexts that begin "Named entities:", the posts that are missing
    "2015/train": (3999, 6350, 186, 3971, ["33008"]),
    "2015/valid": (999, 1593, 53, 992, ["370925"]),
    "2015/test": (3256, 5204, 135, 3240, ["1418707"]),
    "2017/train": (3373, 6049, 0, 3359, []),
    "2017/valid": (723, 1324, 0, 717, []),
    "2017/test": (723, 1351, 0, 714, []),
}
LONGEST = {"2015/train": 198, "2015/valid": 181, "2015/test": 211, "2017/train": 173, "2017/valid": 167}
LONGEST["2017/test"] = 160


@pytest.fixture(scope="module", params=list(LISTED))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def reader_of(shared: Path, name: str) -> ConllKnowledgeReader:
    return ConllKnowledgeReader(str(shared / "data" / "pgim"), f"{name}.txt")


@pytest.fixture(scope="module")
def posts(shared: Path, name: str) -> list[Example]:
    return list(reader_of(shared, name))


def test_the_counts(shared: Path, name: str, posts: list[Example]) -> None:
    number, spans, orphans, begin, _ = LISTED[name]
    assert (len(posts), sum(len(x.spans) for x in posts)) == (number, spans)
    contexts = [x.notes[KNOWLEDGE] for x in posts]  # every post has one
    assert sum(context.startswith("Named entities:") for context in contexts) == begin
    assert max(len(context.split()) for context in contexts) + 1 == LONGEST[name]  # and the separator
    reader = reader_of(shared, name)
    assert len(list(reader)) == number
    assert dict(reader.repairs) == ({"chunk without B- kept": orphans} if orphans else {})


def test_posts_and_tags_are_the_originals(shared: Path, name: str, posts: list[Example]) -> None:
    year, split = name.split("/")
    original = list(ConllImagesReader(str(shared / "data" / f"twitter{year}"), f"{split}.txt", images=None))
    missing = LISTED[name][4]
    assert [x.id for x in original[len(posts) :]] == missing  # the last ones
    for ours, theirs in zip(posts, original, strict=False):
        assert (ours.tokens, ours.spans) == (theirs.tokens, theirs.spans)


def test_mores_reader_reads_the_same(shared: Path, name: str, posts: list[Example]) -> None:
    theirs = ConllContextsReader(str(shared / "data" / "pgim"), f"{name}.txt", context=KNOWLEDGE, images=None)
    assert list(theirs) == posts


def test_the_files_are_known(shared: Path, name: str) -> None:
    [file] = fingerprints(reader_of(shared, name))
    year, split = name.split("/")
    assert file["variant"].startswith(f"Twitter-{year} {split} with PGIM's contexts")
    assert known_mistake(file["sha256"]) is None


def test_the_old_valid_file_is_known_to_hold_the_test_posts() -> None:
    old = "c7b0828be738"
    assert "until 2024-11-10: the test posts" in (known_variant(old) or "")
    what, hint = known_mistake(old) or ("", "")
    assert "the test set" in what and "valid.txt" in hint


def test_posts_whose_photo_is_a_placeholder(shared: Path) -> None:
    """358 posts of Twitter-2017 have one caption, a man on a skateboard, and their contexts speak of it."""
    lines = (shared / "data" / "captions" / "BLIP2_17.txt").read_text(encoding="utf-8").splitlines()
    captions = dict(line.split(".jpg :", 1) for line in lines)
    caption, times = Counter(captions.values()).most_common(1)[0]
    placeholders = {post for post, own in captions.items() if own == caption}
    assert "skateboard" in caption and times == 358 and all(post.startswith("O_") for post in placeholders)
    found = []
    for split in ("train", "valid", "test"):
        posts = reader_of(shared, f"2017/{split}")
        original = ConllImagesReader(str(shared / "data" / "twitter2017"), f"{split}.txt", images=None)
        told = [
            "skateboard" in ours.notes[KNOWLEDGE]
            for ours, theirs in zip(posts, original, strict=True)
            if theirs.id.partition("#")[0] in placeholders
        ]
        found.append((len(told), sum(told)))
    assert [posts for posts, _ in found] == [250, 58, 50]
    assert sum(told for _, told in found) == 356
