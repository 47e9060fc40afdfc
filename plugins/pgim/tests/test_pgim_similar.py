"""Examples for a prompt: the most similar posts of a pool, never the post itself, the most similar last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from transformers import CLIPModel, CLIPProcessor

from mmkit import load
from mmkit.annotators.run import annotate
from mmkit.data.types import SOURCES, Example, Image
from mmkit.testing import check_annotator, train_on_sample
from mmkit_pgim.notes import EXAMPLES
from mmkit_pgim.pool import read_answers, read_pool
from mmkit_pgim.similar import SimilarPosts
from mmkit_pgim.stand_ins import save_similar
from mmkit_pgim.vectors import ClipVectors, RunVectors
from raising import raises

POOL = {"1": "Ann in Rome", "2": "Bob at home", "3": "Eve and Bob", "4": "Kim again"}
TOWARDS = {  # the vectors of texts
    "Ann in Rome": (1, 0, 0),
    "Bob at home": (0, 1, 0),
    "Eve and Bob": (0, 1, 0),
    "Kim again": (0, 0, 1),
    "Bob is here": (0.1, 0.9, 0.3),
    "nobody": (1, 1, 1),
}


@pytest.fixture(autouse=True)
def _own(own_environment: None) -> None: ...


class ByText(SimilarPosts):
    """Compares posts by the vectors of the table."""

    def prepare(self, device: str) -> None:
        self._vectors = Table()
        self._pool_vectors = self._vectors.of([x for x, _ in self.answered])


class Table:
    def of(self, posts: list[Example]) -> Any:
        return np.array([TOWARDS[x.text] for x in posts], dtype=np.float64)


def settings(folder: Path, pool: dict[str, str] = POOL, **others: Any) -> dict[str, Any]:
    """The files of a pool without photos."""
    blocks = [
        f"IMGID:{post}\n" + "".join(f"{word}\tO\n" for word in text.split()) for post, text in POOL.items()
    ]
    (folder / "train.txt").write_text("\n".join(blocks) + "\n", encoding="utf-8")
    (folder / "pool.txt").write_text(
        "".join(f"{p}\r\nanswer {t}\r\n" for p, t in pool.items()), encoding="utf-8"
    )
    return {"pool": str(folder / "pool.txt"), "posts": str(folder / "train.txt"), "images": None, **others}


def post(text: str, id: str = "x") -> Example:
    return Example.from_tokens(id, text.split())


def found(annotator: SimilarPosts, *posts: Example) -> list[list[str]]:
    return [[e["id"] for e in x.notes[EXAMPLES]] for x in annotate(annotator, posts)]


def test_the_most_similar_stand_last_and_ties_go_by_the_pool(tmp_path: Path) -> None:
    annotator = ByText(**settings(tmp_path, n=3))
    (x,) = annotate(annotator, [post("Bob is here")])
    assert [e["id"] for e in x.notes[EXAMPLES]] == [
        "4",
        "3",
        "2",
    ]  # 2 and 3 are equal, and 2 is first in the pool
    assert x.notes[EXAMPLES][-1] == {
        "id": "2",
        "text": "Bob at home",
        "caption": "",
        "answer": "answer Bob at home",
    }
    assert [(s["id"], s["score"]) for s in x.notes[SOURCES]] == [("2", 0.9), ("3", 0.9), ("4", 0.3)]
    assert all(s["by"] == "pgim.similar.v1" for s in x.notes[SOURCES])
    assert found(annotator, post("nobody")) == [["3", "2", "1"]]  # all are equal


def test_another_order_of_the_pool_decides_ties_anew(tmp_path: Path) -> None:
    backwards = dict(reversed(POOL.items()))
    assert found(ByText(**settings(tmp_path, backwards, n=2)), post("nobody")) == [["3", "4"]]


def test_a_post_is_never_its_own_example(tmp_path: Path) -> None:
    annotator = ByText(**settings(tmp_path, n=9))
    own = [post(text, id) for id, text in POOL.items()]
    again = post("Bob is here", "2#2")  # the same post once more
    quoted = post("Kim again", "another")
    for x, ids in zip([*own, again, quoted], found(annotator, *own, again, quoted), strict=True):
        assert x.id.partition("#")[0] not in ids
        assert len(ids) == 3
    assert found(annotator, quoted) == [["3", "2", "1"]]
    spaced = Example.from_text("another", " Kim\tagain")
    assert SimilarPosts._best(annotator, spaced, [1.0] * 4) == [[0, 1.0], [1, 1.0], [2, 1.0]]


def test_the_pool_is_part_of_the_fingerprint(tmp_path: Path) -> None:
    one = SimilarPosts(**settings(tmp_path, clip="a/b")).fingerprint()
    assert SimilarPosts(**settings(tmp_path, clip="a/b", captioner="x/y")).fingerprint() == one
    for other in ({"n": 4}, {"clip": "c/d"}, {"revision": "1"}):
        assert SimilarPosts(**settings(tmp_path, **{"clip": "a/b", **other})).fingerprint() != one
    assert SimilarPosts(**settings(tmp_path, {"1": "other"}, clip="a/b")).fingerprint() != one


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "no posts"),
        ("1\nanswer\n2\n", "the post 2 has no answer"),
        ("1\nanswer\n1\nanswer\n", r"pool\.txt:3: a second answer for the post 1"),
        ("1 2\nanswer\n", r"pool\.txt:1: not the id"),
    ],
)
def test_broken_pools_are_named(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "pool.txt").write_text(text, encoding="utf-8")
    with raises("pgim.pool-line", match=match):
        read_answers(tmp_path / "pool.txt")


def test_posts_of_the_pool_that_are_not_there_are_named(tmp_path: Path) -> None:
    given = settings(tmp_path, {"1": "a", "77": "b"})
    with raises("pgim.pool-posts", match="1 of 2 posts .*: 77"):
        read_pool(given["pool"], given["posts"], None)
    with raises("pgim.pool-posts"):
        SimilarPosts(**given).check_there()
    with raises("pgim.no-run", match="umt_twitter15"):
        SimilarPosts(**settings(tmp_path, run=str(tmp_path / "nothing"))).check_there()
    with raises("part.setting"):
        SimilarPosts(**settings(tmp_path, n=0))


def test_clip_compares_texts_and_photos(tmp_path: Path) -> None:
    posts = [post("Ann in Rome", "a"), post("Bob at home", "b"), post("Ann in Rome", "none")]
    pictures = [Pillow.new("RGB", (64, 48), colour) for colour in ((200, 30, 30), (30, 40, 220))]
    for x, picture in zip(posts, pictures, strict=False):
        picture.save(tmp_path / f"{x.id}.png")
    posts = [
        Example.from_tokens(x.id, x.tokens, images=(Image(str(tmp_path / f"{x.id}.png")),)) for x in posts
    ]  # the last one's photo is missing
    name = save_similar(tmp_path / "sample", 1, posts)["clip"]
    vectors = ClipVectors(name).of(posts)
    model, processor = CLIPModel.from_pretrained(name).eval(), CLIPProcessor.from_pretrained(name)
    with torch.inference_mode():
        texts = model.text_model(**processor(text=[x.text for x in posts], return_tensors="pt", padding=True))
        texts = torch.nn.functional.normalize(model.text_projection(texts.pooler_output), dim=1)
        images = model.vision_model(**processor(images=pictures, return_tensors="pt"))
        images = torch.nn.functional.normalize(model.visual_projection(images.pooler_output), dim=1)
    images = torch.cat([images, torch.zeros_like(images[:1])])
    expected = (texts @ texts.T + images @ images.T) / 2
    assert np.abs(vectors @ vectors.T - expected.numpy()).max() < 1e-5


def test_the_contract(tmp_path: Path) -> None:
    check_annotator("pgim.similar.v1", folder=tmp_path)


@pytest.mark.matrix
def test_a_run_compares_posts_by_the_mean_of_its_states_of_words(tmp_path: Path) -> None:
    train_on_sample("text_only_twitter15", tmp_path / "run", {"training.epochs": 1, "training.eval_from": 1})
    posts = [post("look at Jordan !", "a"), post("so happy about Paris this week", "b"), post("Jordan", "c")]
    vectors = RunVectors(str(tmp_path / "run")).of(posts)
    model = load(tmp_path / "run").model
    for x, vector in zip(posts, vectors, strict=True):
        batch = model.collate(model.items([x]), targets=False).to(model.device)
        with torch.inference_mode():
            states = model.states(batch).tensors
        mean = states["tokens"][0, states["first_subword"][0]].double().mean(0)
        assert np.abs(vector - (mean / mean.norm()).cpu().numpy()).max() < 1e-4
    annotator = SimilarPosts(**settings(tmp_path, run=str(tmp_path / "run"), n=2))
    annotator.check_there()
    assert [len(ids) for ids in found(annotator, *posts)] == [2, 2, 2]
