"""Threads that load items: how many, what they drop when they are ended, and results for the batch that asks."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest
import torch
from torch import Tensor

from mmkit.data.types import Example, Image
from mmkit.encoders import threads
from mmkit.encoders.ahead import Ahead, result_of
from mmkit.encoders.items import BLANK, ItemSource, MissingImages
from mmkit.encoders.threads import cores, load_ahead, loading
from mmkit.errors import ImageError

LONG = 60
"""Seconds after which something that should have happened at once is given up."""


@pytest.mark.parametrize(
    ("there", "processes", "threads_each"),
    [(12, "", 12), (12, "4", 3), (2, "4", 1), (64, "2", 16), (1, "", 1)],
)
def test_processes_of_one_training_share_the_cores(there, processes, threads_each, monkeypatch):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(there)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert cores() == threads_each


class Stopped(BaseException):
    """As Ctrl-C."""


def test_what_waits_for_a_thread_is_dropped_at_the_end_of_the_block():
    begun, may_end = threading.Event(), threading.Event()
    made: list[str] = []

    def first() -> None:
        begun.set()
        may_end.wait(LONG)
        made.append("first")

    with pytest.raises(Stopped), loading(1) as pool:
        running, waiting = pool.submit(first), pool.submit(made.append, "second")
        waiting.add_done_callback(lambda _: may_end.set())  # it is dropped before the first has ended
        assert begun.wait(LONG)
        raise Stopped
    assert waiting.cancelled() and running.done() and made == ["first"]


class Numbers(ItemSource[Image, Tensor]):
    """A picture's path is a number; "missing" does not exist, "broken" is an error, and `on_load` is called first."""

    pictures = True

    def __init__(self, drops_blanks: bool = False, on_load=lambda path: None) -> None:
        self.drops_blanks, self.on_load = drops_blanks, on_load

    def items(self, x, missing):
        return [self._item(image, missing) for image in x.images] or [(BLANK, self.blank())]

    def _item(self, image, missing):
        if image.path == "missing":
            missing.excuse(ImageError("no such image", where="missing"))
            return BLANK, self.blank()
        return (BLANK, image) if image.path is None else (f"key of {image.path}", image)

    def identity(self, x):
        return x.images

    def blank(self):
        return Image(None)

    def load(self, raw):
        self.on_load(raw.path)
        if raw.path == "broken":
            raise ImageError("the image is broken", where="broken")
        return torch.tensor(float(raw.path or 0))

    def stack(self, loaded):
        return {"numbers": torch.stack(list(loaded))}


def post(*paths: str | None) -> Example:
    return Example("x", "a", ("a",), ((0, 1),), images=tuple(Image(path) for path in paths))


def test_no_more_than_so_many_items_are_loaded_ahead():
    """The consumer counts what was loaded or begun when it gets an item."""
    begun: list[str] = []
    raws = {str(number): Image(str(number)) for number in range(20)}
    source = Numbers(on_load=begun.append)
    with loading(3) as pool:
        for taken, (key, item) in enumerate(load_ahead(source, raws, pool, 5)):
            assert key == str(taken) and float(item) == taken
            assert len(begun) <= taken + 1 + 5
    assert sorted(begun, key=int) == list(raws)


BATCHES = {
    "whole": [post("1"), post("2"), post("3")],
    "blank": [post("1"), post(None), post()],
    "missing": [post("1"), post("missing"), post("broken")],
    "broken": [post("1"), post("broken"), post("missing")],
}


@pytest.mark.parametrize("policy", ["error", "blank"])
@pytest.mark.parametrize("drops_blanks", [False, True])
@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_a_batch_is_the_same_with_its_items_loaded_ahead(batch, drops_blanks, policy):
    def outcome(ahead: Ahead | None):
        source, missing = Numbers(drops_blanks), MissingImages(policy)
        try:
            if ahead is None:
                made = source.collate(batch, missing)
            else:
                ahead.begin(source.to_load(batch, missing))
                with ahead.oldest():
                    made = source.collate(batch, missing)
        except ImageError as error:
            return str(error), list(missing.replaced.items())
        tensors = {name: tensor.tolist() for name, tensor in made.tensors().items()}
        return tensors, list(missing.replaced.items())

    ahead = Ahead(2)
    assert outcome(ahead) == outcome(None)
    ahead.close()


def test_an_item_that_a_thread_has_loaded_is_not_loaded_again():
    places: list[str] = []
    source = Numbers(on_load=lambda path: places.append(threading.current_thread().name))
    batch, missing, ahead = [post("1"), post("2")], MissingImages(), Ahead(2)
    ahead.begin(source.to_load(batch, missing))
    with ahead.oldest():
        source.collate(batch, missing)
    assert len(places) == 2 and all(name.startswith("mmkit-items") for name in places)
    source.collate(batch, missing)
    assert places[2:] == ["MainThread"] * 2, "results are for one batch"
    ahead.close()


def test_results_are_offered_to_their_own_batch():
    ahead = Ahead(1)
    ahead.begin({"a": lambda: 1})
    ahead.begin({"a": lambda: 2, "b": lambda: 3})
    assert result_of("a") is None
    with ahead.oldest():
        assert result_of("a") == 1 and result_of("b") is None
    with ahead.oldest():
        assert result_of("a") == 2 and result_of("b") == 3
    assert result_of("a") is None
    ahead.close()


def test_threads_see_the_context_of_who_asks_and_no_other_thread_sees_the_results():
    setting = ContextVar("setting", default="none")
    token, ahead = setting.set("asked"), Ahead(1)
    ahead.begin({"setting": setting.get})
    setting.reset(token)
    with ahead.oldest(), ThreadPoolExecutor(1) as other:
        assert result_of("setting") == "asked"
        assert other.submit(result_of, "setting").result() is None
    ahead.close()
