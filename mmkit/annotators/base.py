"""Station 2, the annotator: adds notes, images, candidates or descriptions before training; results are stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mmkit.data.types import Entity, Example

if TYPE_CHECKING:
    from mmkit.annotators.makers import Maker


@dataclass(frozen=True, slots=True)
class Failed:
    """Instead of a result that could not be computed, although others can: it is not stored, but listed."""

    reason: str


@dataclass(frozen=True, slots=True)
class MadeBy:
    """The model that made a result, as a run keeps it (`Annotator.made_by`)."""

    model: str
    """The name by which it was asked for: a server's name for it, a name on the Hub, or a folder."""
    told: str = ""
    """What the model that answered is called by its server, which may be another name; empty: it does not say."""
    build: str = ""
    """What is known of its version: a server's build, a revision on the Hub, or a hash of a folder's files."""
    prompt_tokens: int | None = None
    """Tokens that it read for this result; None: not known."""
    answer_tokens: int | None = None
    """Tokens that it wrote for it; None: not known."""


class Annotator(ABC):
    """Works on batches of examples or entities. A result is JSON, stored under `key`, and never computed twice.

    `prepare` loads models; it is called only if a result is not in the store.
    """

    over: ClassVar[Literal["examples", "entities"]] = "examples"
    writes: ClassVar[tuple[str, ...]] = ()
    """Constructor arguments that name files or folders to write; for prediction they are set to None."""
    batch_size: int = 8
    keep_going: bool = False
    """If true, records whose result `Failed` stay as they are and are only listed in `failures`; else they are an
    error."""
    entities: Sequence[Entity] = ()
    """The recipe's knowledge base, set before the first call (empty for annotators that work on it)."""
    failures: Mapping[str, str] = MappingProxyType({})
    """Record id → why it has no result; set again by each run."""
    makers: Sequence[Maker] = ()
    """The models that made the results, and how many; set again by each run."""

    @classmethod
    def sample(cls, folder: Path, seed: int, examples: Sequence[Example]) -> dict[str, Any]:
        """Save tiny stand-ins for pretrained models to `folder`; return constructor overrides for `--sample`."""
        return {}

    def check_there(self) -> None:  # noqa: B027 - a hook, not an abstract method
        """Raise `MMKitError` if something that it reads, such as an index, is not on this machine. Loads nothing."""

    def check_computable(self) -> None:  # noqa: B027 - a hook, not an abstract method
        """Raise `MMKitError` if results that are not stored cannot be computed on this machine.

        A package may be missing, a key or a server's address, or a model of the Hub. `mmkit check` asks for it. Loads
        nothing, and contacts no server but the Hub, for a list of files.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A string that changes whenever results would: part version, model name, settings."""

    @abstractmethod
    def key(self, x: Any) -> str:
        """A hash of everything from which the result for `x` is computed (the text, the image's bytes).

        Empty if `x` needs no annotation: nothing is computed for it, and it stays as it is.
        """

    def prepare(self, device: str) -> None:  # noqa: B027 - a hook, not an abstract method
        """Load what `annotate` needs, unless an earlier call did."""

    @abstractmethod
    def annotate(self, batch: Sequence[Any]) -> list[Any]:
        """A JSON result, or `Failed`, for each of `batch`. Raise `MMKitError` to stop; results so far stay stored."""

    @abstractmethod
    def apply(self, x: Any, result: Any) -> Example | Entity:
        """`x` with its result (made with `dataclasses.replace`)."""

    def made_by(self, result: Any) -> MadeBy | None:
        """The model that made a result; None: no model did, or the recipe alone says all of it.

        It is asked for each distinct result of a split, also for those of the store. They are counted in `run.json`.
        """
        return None

    def finish(self) -> None:  # noqa: B027 - a hook, not an abstract method
        """Called after the last `apply` of each split, to write files outside the store."""
