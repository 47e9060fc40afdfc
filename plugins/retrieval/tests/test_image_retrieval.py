"""Image retrieval as an annotator: whose photo finds what, what is left out, and what is computed anew."""

from __future__ import annotations

import logging
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mmkit.annotators.run import annotate
from mmkit.data.sample import pictures
from mmkit.data.types import SOURCES, Example, Image, Span
from mmkit.encoders.clip_sample import write_tiny_clip
from mmkit_retrieval.annotators.contexts import IMAGE_CONTEXT
from mmkit_retrieval.annotators.image_retrieval import ImageRetrieval
from mmkit_retrieval.corpora.article import Article, CaptionedImage
from mmkit_retrieval.pictures.image_writer import ImageWriter
from raising import raises

BY = "retrieval.pictures.v1"
KINDS = ("PER", "LOC", "ORG", "OTHER")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    return str(write_tiny_clip(folder / "tiny", 3, [Example.from_tokens(w, [w]) for w in ("who", "is")]))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Kind → a drawn scene of it."""
    folder, rng = tmp_path_factory.mktemp("photos"), Random(4)
    for kind in KINDS:
        pictures.photo(kind, rng).save(folder / f"{kind}.png")
    return {kind: str(folder / f"{kind}.png") for kind in KINDS}


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, clip: str, photos: dict[str, str]) -> str:
    out = tmp_path_factory.mktemp("index")
    build(out, clip, [article(kind, path) for kind, path in photos.items()])
    return str(out)


def article(id: str, path: str, lead: str = "") -> Article:
    return Article(
        id, f"About {id}", (lead or f"The lead of {id}.",), (), (CaptionedImage(path, f"Seen: {id}."),)
    )


def build(out: Path, clip: str, articles: list[Article]) -> None:
    writer = ImageWriter(out / "images", clip, None, "cpu")
    writer.put(articles)
    writer.finish()
    writer.close()


def post(id: str, *images: Image, text: str = "look at this") -> Example:
    return Example.from_tokens(id, text.split(), images=images)


def test_the_photo_finds_its_article(index: str, photos: dict[str, str]) -> None:
    posts = [
        post(kind, Image(None, "object"), Image(path), Image(photos["PER"])) for kind, path in photos.items()
    ]
    for kind, x in zip(KINDS, annotate(ImageRetrieval(index, top=1), posts), strict=True):
        assert x.notes[IMAGE_CONTEXT] == f"Seen: {kind}. The lead of {kind}."
        (source,) = x.notes[SOURCES]
        assert source["score"] == pytest.approx(1, abs=2e-3)
        assert {**source, "score": 1} == {
            "by": BY,
            "id": f"{kind}#0",
            "article": kind,
            "title": f"About {kind}",
            "text": f"The lead of {kind}.",
            "score": 1,
            "caption": f"Seen: {kind}.",
            "image": photos[kind],
        }


def test_contexts_are_the_best_first_and_cut(index: str, photos: dict[str, str]) -> None:
    (x,) = annotate(ImageRetrieval(index, top=3), [post("a", Image(photos["LOC"]))])
    scores = [source["score"] for source in x.notes[SOURCES]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    whole = x.notes[IMAGE_CONTEXT].split()
    (cut,) = annotate(ImageRetrieval(index, top=3, max_words=5), [post("a", Image(photos["LOC"]))])
    assert cut.notes[IMAGE_CONTEXT].split() == whole[:5] == ["Seen:", "LOC.", "The", "lead", "of"]


def test_a_box_is_what_is_looked_at(index: str, photos: dict[str, str]) -> None:
    box = (0.0, 0.0, 20.0, 20.0)
    whole, corner = annotate(
        ImageRetrieval(index, top=1),
        [post("a", Image(photos["ORG"])), post("b", Image(photos["ORG"], box=box))],
    )
    assert whole.notes[SOURCES][0]["score"] > corner.notes[SOURCES][0]["score"]


def test_the_post_itself_is_no_context(tmp_path: Path, clip: str, photos: dict[str, str]) -> None:
    build(
        tmp_path / "out",
        clip,
        [article("PER", photos["PER"], lead="Look  at THIS"), article("b", photos["LOC"])],
    )
    posts = [post("a", Image(photos["PER"])), post("b", Image(photos["PER"]), text="something else")]
    leaked, other = annotate(ImageRetrieval(str(tmp_path / "out"), top=1), posts)
    assert [source["article"] for source in leaked.notes[SOURCES]] == ["b"]
    assert [source["article"] for source in other.notes[SOURCES]] == ["PER"]


def test_posts_without_a_photo_stay_and_unreadable_ones_are_reported(
    index: str, tmp_path: Path, photos: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    broken, missing = tmp_path / "broken.png", tmp_path / "missing.png"
    broken.write_bytes(b"no picture")
    posts = [
        post("none", Image(photos["PER"], "object")),
        post("blank", Image(None)),
        post("broken", Image(str(broken))),
        post("missing", Image(str(missing))),
        post("good", Image(photos["PER"])),
    ]
    for _ in range(2):  # the second time from the store
        annotator = ImageRetrieval(index)
        with caplog.at_level(logging.WARNING):
            annotated = annotate(annotator, posts)
        assert annotated[:4] == posts[:4]
        assert IMAGE_CONTEXT in annotated[4].notes
        assert set(annotator.unreadable) == {str(broken), str(missing)}
        assert "missing.png: no such image; it has no retrieved context" in caplog.text
        caplog.clear()


def test_nothing_is_computed_twice(
    index: str, photos: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = post("a", Image(photos["PER"]))
    first = annotate(ImageRetrieval(index), [x, post("b", *x.images)])
    assert first[0].notes == first[1].notes
    monkeypatch.setattr(ImageRetrieval, "prepare", lambda self, device: pytest.fail("it is in the store"))
    assert annotate(ImageRetrieval(index), [x]) == first[:1]
    assert annotate(ImageRetrieval(index), first[:1]) == first[:1], "its own note is replaced, not doubled"


def test_results_are_those_of_the_index_as_it_is_now(
    tmp_path: Path, clip: str, photos: dict[str, str]
) -> None:
    build(tmp_path / "out", clip, [article("a", photos["PER"])])
    annotator, x = ImageRetrieval(str(tmp_path / "out"), top=1), post("x", Image(photos["PER"]))
    before = annotate(annotator, [x])[0].notes[IMAGE_CONTEXT]
    build(tmp_path / "out", clip, [article("a", photos["PER"], lead="New.")])
    assert annotate(annotator, [x])[0].notes[IMAGE_CONTEXT] == "Seen: a. New." != before
    shutil.rmtree(tmp_path / "out" / "images")
    build(tmp_path / "out", str(write_tiny_clip(tmp_path / "other", 9, [])), [article("b", photos["PER"])])
    (found,) = annotate(annotator, [x])[0].notes[SOURCES]
    assert found["article"] == "b" and found["score"] == pytest.approx(1, abs=2e-3)


def test_settings_that_change_results_change_the_fingerprint(index: str, clip: str) -> None:
    prints = [
        ImageRetrieval(index, **settings).fingerprint()
        for settings in ({}, {"top": 3}, {"max_words": 9}, {"clip": clip}, {"precision": "bfloat16"})
    ]
    assert len(set(prints)) == len(prints)
    assert ImageRetrieval(index, batch_size=3).fingerprint() == prints[0]


def test_another_clip_is_refused(index: str, tmp_path: Path, photos: dict[str, str], clip: str) -> None:
    x = post("a", Image(photos["PER"]))
    (tmp_path / "elsewhere").symlink_to(clip)
    assert annotate(ImageRetrieval(index, clip=str(tmp_path / "elsewhere")), [x]) != [x]
    other = str(write_tiny_clip(tmp_path / "other", 9, []))
    with raises("retrieval.other-clip", match="it gives other vectors") as caught:
        annotate(ImageRetrieval(index, clip=other), [x])
    assert clip in caught.value.hint
    with raises("retrieval.other-clip", match="width 8, but those of the index have 256"):
        annotate(ImageRetrieval(index, clip=narrow(tmp_path / "narrow", clip)), [x])


def narrow(folder: Path, clip: str) -> str:
    """A CLIP with a smaller projection, saved to `folder`."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    config = CLIPConfig.from_pretrained(clip)
    config.projection_dim = 8
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessor.from_pretrained(clip).save_pretrained(folder)
    return str(folder)


def test_milvus_gives_the_same_notes(index: str, tmp_path: Path, photos: dict[str, str]) -> None:
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    from mmkit_retrieval.pictures.image_index import ImageIndex
    from mmkit_retrieval.servers.milvus import upload

    url = str(tmp_path / "milvus.db")
    upload(ImageIndex.open(Path(index) / "images"), url, "pictures", "FLAT")
    posts = [post(kind, Image(path)) for kind, path in photos.items()]
    served = ImageRetrieval("pictures", top=3, engine="milvus", url=url)
    for theirs, ours in zip(
        annotate(served, posts), annotate(ImageRetrieval(index, top=3), posts), strict=True
    ):
        assert theirs.notes[IMAGE_CONTEXT] == ours.notes[IMAGE_CONTEXT]
        assert [s["id"] for s in theirs.notes[SOURCES]] == [s["id"] for s in ours.notes[SOURCES]]


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"top": 0}, "part.setting", "top"),
        ({"max_words": 0}, "part.setting", "max_words"),
        ({"engine": "milvus"}, "retrieval.engine-setting", "`url`"),
        ({"url": "http://milvus:19530"}, "retrieval.engine-setting", "`url`"),
        ({"engine": "milvus", "url": "http://me:secret@milvus:19530"}, "retrieval.credentials", ""),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], code: str, says: str) -> None:
    with raises(code, match=says):
        ImageRetrieval("index", **settings)


def test_an_index_that_is_not_there_is_named(tmp_path: Path, photos: dict[str, str]) -> None:
    with raises("retrieval.no-index") as caught:
        annotate(ImageRetrieval(str(tmp_path)), [post("a", Image(photos["PER"]))])
    assert "mmkit retrieval build-index" in caught.value.hint


def test_what_is_needed_to_search_is_found_before_it_is_searched(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ImageRetrieval(index).check_computable()
    with raises("encoder.unloadable", match=r"nowhere.*there is no such folder"):
        ImageRetrieval(index, clip=str(tmp_path / "nowhere")).check_computable()
    file = str(tmp_path / "none.db")
    with raises("retrieval.no-milvus-lite"):
        ImageRetrieval("wiki", engine="milvus", url=file).check_computable()
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with raises("part.needs-package"):
        ImageRetrieval("wiki", engine="milvus", url="http://localhost:19530").check_computable()


def test_the_sample_runs_offline(tmp_path: Path, photos: dict[str, str]) -> None:
    posts = [
        replace(post(kind, Image(path), text=f"{kind} here"), spans=(Span(0, 1, "MISC"),))
        for kind, path in photos.items()
    ]
    overrides = ImageRetrieval.sample(tmp_path / BY, 5, posts)
    assert ImageRetrieval.sample(tmp_path / BY, 5, posts) == overrides
    (x,) = annotate(ImageRetrieval(**overrides), [post("a", Image(photos["LOC"]))])
    assert x.notes[IMAGE_CONTEXT].startswith("LOC , MISC . LOC : MISC .")
    assert len(x.notes[SOURCES]) == len(photos)
