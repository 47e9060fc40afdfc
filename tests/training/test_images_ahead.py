"""Images of the next batches are loaded by threads: the same predictions and errors, and few images in memory."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import mmkit
from mmkit.data.types import Example, Image
from mmkit.encoders import pictures
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.inference import ahead as module
from mmkit.inference import loader as loaders
from mmkit.inference.ahead import ImagesAhead
from mmkit.inference.loader import Loader, pick_threads

WORDS = ["Jordan", "met", "Paris", "Hilton", "in", "Rome", "again"]
LONG = 60
"""Seconds after which something that should have happened at once is given up."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(1)
    paths = [str(folder / f"{number}.png") for number in range(9)]
    for path in paths:
        Pillow.fromarray(draw.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return paths


@pytest.fixture
def predictor(tagger: Path) -> mmkit.Predictor:
    return mmkit.load(tagger, device="cpu")


@pytest.fixture
def posts(predictor: mmkit.Predictor, photos: list[str]) -> list[Example]:
    return [
        replace(predictor.example(WORDS[: 1 + number % 7], [photo]), id=f"post {number}")
        for number, photo in enumerate(photos)
    ]


def with_threads(predictor: mmkit.Predictor, threads: int) -> mmkit.Predictor:
    predictor.inference = replace(predictor.inference, threads=threads)
    return predictor


@pytest.mark.parametrize("batch_size", [1, 2, 9])
def test_predictions_are_the_same_to_the_bit(predictor, posts, batch_size):
    alone = list(with_threads(predictor, 0).stream(posts, batch_size))
    assert [example.id for example, _ in alone] == [post.id for post in posts]
    assert any(prediction.spans for _, prediction in alone)
    assert list(with_threads(predictor, 3).stream(posts, batch_size)) == alone


def test_threads_open_the_images_and_each_once(predictor, posts, photos, monkeypatch):
    opened: list[tuple[str | None, str]] = []
    monkeypatch.setattr(
        pictures,
        "open_image",
        lambda image: opened.append((image.path, threading.current_thread().name)) or Pillow.open(image.path),
    )
    list(with_threads(predictor, 3).stream(posts, 2))
    assert sorted(path for path, _ in opened) == photos
    assert all(name.startswith("mmkit-items") for _, name in opened)
    assert not any(thread.name.startswith("mmkit-items") for thread in threading.enumerate()), (
        "they have ended"
    )


@pytest.mark.parametrize("policy", ["error", "blank"])
def test_broken_images_are_told_as_without_threads(predictor, posts, policy, tmp_path):
    """Two are wrong: the error names the one whose batch comes first, not the one that is found first."""
    (tmp_path / "broken.png").write_bytes(b"no image")
    wrong = {2: str(tmp_path / "broken.png"), 6: str(tmp_path / "missing.png")}
    posts = [replace(x, images=(Image(wrong[n]),)) if n in wrong else x for n, x in enumerate(posts)]
    predictor.missing_images = policy

    def told(threads: int) -> object:
        predictor.replaced.clear()
        try:
            found = list(with_threads(predictor, threads).stream(posts, 2))
        except mmkit.MMKitError as error:
            return str(error), dict(predictor.replaced)
        return found, list(predictor.replaced.items())

    assert told(3) == told(0)
    assert ("post 6" in told(3)[0]) == (policy == "error"), "longer texts come first"


class Begun(ItemEncoder):
    """Says which images are wanted, and loads nothing."""

    def __init__(self, begun: list[str]) -> None:
        torch.nn.Module.__init__(self)
        self.begun = begun

    def build(self, special_tokens=(), saved=None): ...

    def save(self, folder): ...

    def describe(self):
        return {}

    def network(self, items):
        return items

    def to_load(self, examples):
        self.begun += [example.id for example in examples]
        return {}


@pytest.mark.parametrize(
    ("threads", "sizes", "begun_by_then"),
    [
        (1, [3, 3, 3, 3], [6, 9, 12, 12]),  # the batch itself and the next one
        (3, [3, 3, 3, 3], [9, 12, 12, 12]),  # two items a thread
        (4, [1] * 12, [9, 10, 11, 12, 12, 12, 12, 12, 12, 12, 12, 12]),
        (2, [9, 1, 1, 1], [12, 12, 12, 12]),
    ],
)
def test_few_images_are_in_memory(predictor, posts, threads, sizes, begun_by_then, monkeypatch):
    items = predictor.model.items((posts * 2)[: sum(sizes)])
    ends = np.cumsum(sizes)
    plan = [list(range(end - size, end)) for end, size in zip(ends, sizes, strict=True)]
    begun: list[str] = []
    monkeypatch.setattr(type(predictor.model), "reading", {"photos": Begun(begun)})
    ahead = ImagesAhead(predictor.model, items, plan, threads)
    seen = [len(begun) for _ in ahead.of(iter(plan))]
    assert seen == begun_by_then and begun == [item.question.id for item in items]
    ahead.close()


def test_an_interruption_ends_the_threads_and_drops_what_waits(predictor, posts, monkeypatch):
    """A thread that decodes ends its image; nothing is decoded for the batches that will not come."""
    decoding, may_end = threading.Event(), threading.Event()
    opened: list[str] = []

    def slow(image: Image) -> Pillow.Image:
        opened.append(image.path)
        if len(opened) > 2:  # of the second batch
            decoding.set()
            assert may_end.wait(LONG)
        return Pillow.open(image.path)

    def interrupted(batch: object) -> None:
        assert decoding.wait(LONG)
        raise KeyboardInterrupt

    class Closing(module.Ahead):
        def close(self) -> None:
            for batch in self._batches:
                for _, future in batch.values():
                    future.add_done_callback(lambda future: future.cancelled() and may_end.set())
            super().close()

    monkeypatch.setattr(module, "Ahead", Closing)
    monkeypatch.setattr(pictures, "open_image", slow)
    monkeypatch.setattr(predictor.model, "states", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(with_threads(predictor, 1).stream(posts, 2))
    assert len(opened) == 3, "one of the two images of the next batch"
    assert not any(thread.name.startswith("mmkit-items") for thread in threading.enumerate())


@pytest.mark.matrix
def test_a_pass_that_nobody_ends_does_not_keep_python_running(tagger, photos):
    code = """
import sys, mmkit
from mmkit.inference.loader import Loader
predictor = mmkit.load(sys.argv[1], device="cpu")
items = predictor.model.items([predictor.example("Jordan met Ada", [photo]) for photo in sys.argv[2:]])
left = Loader(predictor.model, items, 0, targets=False, threads=2)([[0, 1], [2, 3], [4, 5], [6, 7]])
next(left)
print("left")
"""
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tagger), *photos],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ended.returncode, ended.stdout) == (0, "left\n"), ended.stderr


def test_a_new_pass_ends_the_one_before(predictor, posts):
    model = predictor.model
    items = model.items(posts)
    loader = Loader(model, items, 0, targets=False, threads=2)
    left = loader([[0, 1], [2, 3], [4, 5]])
    next(left)
    (batch,) = loader([[6, 7]])
    expected = model.collate([items[6], items[7]], targets=False)
    for name, own in expected.inputs.items():
        assert own.keys() == batch.inputs[name].keys()
        assert all(torch.equal(own[key], batch.inputs[name][key]) for key in own)
    loader.close()
    assert not any(thread.name.startswith("mmkit-items") for thread in threading.enumerate())


def test_the_number_of_threads(predictor, monkeypatch):
    model = predictor.model
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 6)
    assert pick_threads(0, model) == 0 and pick_threads(3, model) == 3
    assert pick_threads("auto", model, there=16) == 6  # the network computes on the same cores
    assert pick_threads("auto", model, there=4) == 4
    assert pick_threads("auto", model, there=1) == 0
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert pick_threads("auto", model, there=16) == 0
    monkeypatch.setattr(type(model), "device", torch.device("cuda"))
    assert pick_threads("auto", model, there=16) == 16  # torch's threads have nothing to do there
    monkeypatch.setattr(loaders, "cores", lambda: 5)
    assert pick_threads("auto", model) == 5
    monkeypatch.setattr(type(model), "reading", {})
    assert pick_threads("auto", model, there=16) == 0  # it reads no images
