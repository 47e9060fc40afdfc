"""The models' thread: batches, the bounded queue, requests that are given up, and the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from mmkit.errors import MMKitError
from mmkit_serve.requests import Question
from mmkit_serve.runs import Ask, ServedRun
from mmkit_serve.worker import Observer, Worker
from serving import TEXT

SECONDS = 60.0


class Held:
    """A run whose first batch waits until `go` is set; it notes the batches."""

    batch_size = 4

    def __init__(self, name: str = "held") -> None:
        self.name, self.go, self.begun = name, threading.Event(), threading.Event()
        self.batches: list[list[str]] = []

    def told(self, asks: Sequence[Ask], batch_size: int) -> list[Any]:
        self.begun.set()
        assert self.go.wait(SECONDS)
        texts = [str(ask.question.text) for ask in asks]
        self.batches.append(texts)
        return [ValueError(text) if text == "wrong" else text.upper() for text in texts]


class Sizes(Observer):
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def batch(self, run: str, size: int, waited: Sequence[float], seconds: float) -> None:
        assert len(waited) == size and min(waited) >= 0 and seconds >= 0
        self.sizes.append(size)


def asks(*texts: str) -> list[Ask]:
    return [Ask(Question("input", text)) for text in texts]


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def worker(held: Held) -> Iterator[Worker]:
    worker = Worker(capacity=6, observer=Sizes())
    worker.start()
    yield worker
    held.go.set()
    worker.stop()


def begin(worker: Worker, run: Any) -> Future[Any]:
    """A first question, which the thread is busy with from now on."""
    [first] = worker.submit(run, asks("first"), SECONDS)
    assert run.begun.wait(SECONDS)
    return first


def test_what_waits_together_is_computed_together(worker: Worker, held: Held) -> None:
    first = begin(worker, held)
    rest = [f for text in "abcdef" for f in worker.submit(held, asks(text), SECONDS)]
    held.go.set()
    assert [f.result(SECONDS) for f in [first, *rest]] == ["FIRST", *"ABCDEF"]
    assert held.batches == [["first"], list("abcd"), list("ef")]
    assert worker.observer.sizes == [1, 4, 2]


def test_runs_are_not_mixed(worker: Worker, held: Held) -> None:
    other = Held("other")
    other.go.set()
    first = begin(worker, held)
    futures = [
        worker.submit(run, asks(text), SECONDS)[0] for run, text in [(held, "a"), (other, "b"), (held, "c")]
    ]
    held.go.set()
    assert [f.result(SECONDS) for f in [first, *futures]] == ["FIRST", "A", "B", "C"]
    assert held.batches == [["first"], ["a", "c"]] and other.batches == [["b"]]


def test_a_full_queue_refuses_all_or_nothing(worker: Worker, held: Held) -> None:
    begin(worker, held)
    worker.submit(held, asks(*"abcd"), SECONDS)
    with pytest.raises(MMKitError) as caught:
        worker.submit(held, asks(*"efg"), SECONDS)
    assert caught.value.code == "serve.queue-full" and worker.waiting == 4 and not worker.full
    worker.submit(held, asks(*"ef"), SECONDS)
    assert worker.full
    with pytest.raises(MMKitError, match="never fits"):
        worker.submit(held, asks(*"abcdefg"), SECONDS)


def test_what_would_be_answered_too_late_is_refused_at_once(
    held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch takes 10 seconds and an answer has 25: two batches may wait, and of a third the first text."""
    now = [0.0]
    monkeypatch.setattr("mmkit_serve.worker.time", SimpleNamespace(monotonic=lambda: now[0]))
    told = held.told

    def slow(found: Sequence[Ask], batch_size: int) -> list[Any]:
        answers = told(found, batch_size)
        now[0] += 10
        return answers

    monkeypatch.setattr(held, "told", slow)
    worker = Worker(capacity=100, patience=25)
    worker.start()
    held.go.set()
    assert worker.submit(held, asks("first"), 500)[0].result(SECONDS) == "FIRST"
    held.go.clear()
    held.begun.clear()
    waiting = worker.submit(held, asks("first"), 500)
    assert held.begun.wait(SECONDS)
    for text in "abcdefghi":
        assert not worker.full
        waiting += worker.submit(held, asks(text), 500)
    assert worker.full
    with pytest.raises(MMKitError) as caught:
        worker.submit(held, asks("j"), 500)
    assert caught.value.code == "serve.queue-full"
    held.go.set()
    assert [future.result(SECONDS) for future in waiting] == ["FIRST", *"ABCDEFGHI"]
    assert not worker.full
    worker.stop()


def test_what_was_given_up_is_not_computed(worker: Worker, held: Held) -> None:
    begin(worker, held)
    [kept], [given_up], [late] = (
        worker.submit(held, asks(t), s) for t, s in [("a", 60), ("b", 60), ("c", 0)]
    )
    assert given_up.cancel()
    held.go.set()
    assert kept.result(SECONDS) == "A"
    with pytest.raises(MMKitError) as caught:
        late.result(SECONDS)
    assert caught.value.code == "serve.timeout"
    assert held.batches == [["first"], ["a"]]


def test_one_error_is_its_own(worker: Worker, held: Held) -> None:
    held.go.set()
    good, wrong = worker.submit(held, asks("good", "wrong"), SECONDS)
    assert good.result(SECONDS) == "GOOD"
    with pytest.raises(ValueError, match="wrong"):
        wrong.result(SECONDS)
    assert worker.alive


def test_calls_are_made_in_the_thread(worker: Worker, held: Held) -> None:
    assert (
        worker.call(held, lambda: threading.current_thread().name, SECONDS).result(SECONDS) == "mmkit-model"
    )
    with pytest.raises(ZeroDivisionError):
        worker.call(held, lambda: 1 // 0, SECONDS).result(SECONDS)
    assert worker.alive


def test_an_idle_model_waits_a_little_for_others(held: Held) -> None:
    held.go.set()
    worker = Worker(capacity=10, batch_wait=SECONDS)
    worker.start()
    futures = [f for text in "abcd" for f in worker.submit(held, asks(text), SECONDS)]
    assert [f.result(SECONDS) for f in futures] == list("ABCD")  # a full batch waits no longer
    worker.submit(held, asks("e"), SECONDS)
    worker.stop()
    assert held.batches == [list("abcd"), ["e"]]


def test_the_end_comes_after_what_waits(held: Held) -> None:
    worker = Worker(capacity=10)
    worker.start()
    first = begin(worker, held)
    [last] = worker.submit(held, asks("last"), SECONDS)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    while worker.alive:
        pass
    with pytest.raises(MMKitError) as caught:
        worker.submit(held, asks("later"), SECONDS)
    assert caught.value.code == "serve.stopping"
    held.go.set()
    stopping.join(SECONDS)
    assert (first.result(0), last.result(0)) == ("FIRST", "LAST")


def test_one_question_cannot_spoil_a_batch(runs: dict[str, ServedRun], tmp_path, monkeypatch) -> None:
    run = runs["tagger"]
    stream = run.predictor.stream

    def fragile(examples: Sequence[Any], batch_size: int | None = None) -> Any:
        if any("poison" in x.text for x in examples):
            raise RuntimeError("a part of a plugin's")
        return stream(examples, batch_size)

    monkeypatch.setattr(run.predictor, "stream", fragile)
    good, spoilt, wrong, also = run.told(asks(TEXT, "poison", "", "Paris"), 8)
    assert isinstance(spoilt, RuntimeError) and isinstance(wrong, MMKitError)
    assert good.answer.text == TEXT and also.answer.text == "Paris"
