"""Station 2, the annotator: adds notes, pictures, candidates or descriptions, offline and cached."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from mmkit.data.types import Entity, Example


class Annotator(ABC):
    """Works on batches of examples or entities. A result is JSON, stored under `key`, never computed twice.

    `prepare` loads models; it is called only when something is missing from the store.
    """

    over: ClassVar[Literal["examples", "entities"]] = "examples"
    writes: ClassVar[tuple[str, ...]] = ()
    """Constructor arguments that name files or folders to write; predicting sets them to None."""
    batch_size: int = 8

    @abstractmethod
    def fingerprint(self) -> str:
        """A string that changes whenever results would: part version, model name, settings."""

    @abstractmethod
    def key(self, x: Any) -> str:
        """A hash of what the result for `x` is computed from (the text, the picture's bytes)."""

    def prepare(self, device: str) -> None:  # noqa: B027 - a hook, not an abstract method
        """Load what `annotate` needs, unless an earlier call did."""

    @abstractmethod
    def annotate(self, batch: Sequence[Any]) -> list[Any]:
        """A JSON result for each of `batch`. Raise `MMKitError` to stop; results so far stay stored."""

    @abstractmethod
    def apply(self, x: Any, result: Any) -> Example | Entity:
        """`x` with its result put in (`dataclasses.replace`)."""

    def finish(self) -> None:  # noqa: B027 - a hook, not an abstract method
        """Called after the last `apply` of a split: write what is kept outside the store."""
