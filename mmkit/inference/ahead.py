"""Images of the next batches of a plan, loaded by threads while the network computes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, TypeVar

from mmkit.encoders.ahead import Ahead
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.model import Item, Model

T = TypeVar("T")


class ImagesAhead:
    """Loads the images of a plan's batches before the batches are collated, which finds them and waits for no file.

    Nothing else changes: batches are the same, in the same order, and an error is raised when its batch is collated.
    Beside the batch that is collated, the images of the next one are in memory, and of more while these are fewer than
    two items a thread.
    """

    def __init__(
        self, model: Model, items: Sequence[Item], plan: Sequence[Sequence[int]], threads: int
    ) -> None:
        self._encoders = [encoder for encoder in model.reading.values() if isinstance(encoder, ItemEncoder)]
        self._items, self._plan, self._threads = items, plan, threads
        self._ahead = Ahead(threads)
        self._begun = 0
        """Batches."""

    def of(self, batches: Iterator[T]) -> Iterator[T]:
        """`batches`, which collates the plan's batches one by one, with their images loaded ahead."""
        for number in range(len(self._plan)):
            while self._begun < len(self._plan) and self._wants(number):
                self._ahead.begin(self._calls(self._plan[self._begun]))
                self._begun += 1
            with self._ahead.oldest():
                batch = next(batches)
            yield batch

    def close(self) -> None:
        """End the threads; one that decodes an image finishes it."""
        self._ahead.close()

    def _wants(self, number: int) -> bool:
        """Whether a further batch is to be begun when the batch `number` is collated."""
        beyond = self._plan[number + 1 : self._begun]
        return not beyond or sum(map(len, beyond)) < 2 * self._threads

    def _calls(self, chosen: Sequence[int]) -> dict[Hashable, Callable[[], Any]]:
        questions = [self._items[i].question for i in chosen]
        return {key: call for encoder in self._encoders for key, call in encoder.to_load(questions).items()}
