"""Search engines that stand outside of this process, on a server for example, and find entities near a mention.

`search` of `mmkit.entity_matcher.v1` names one, with its settings; the hook `mmkit_search_engines` brings it. An engine
only proposes entities. Their cosines are computed here, from the stored features, so scores are those of exact search.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmkit import hooks
from mmkit.config.packages import engine_hint, listed_engines
from mmkit.config.parameters import parameters
from mmkit.config.values import Problems, construct, fit_arguments
from mmkit.encoders.entity_features import EntityFeatures, identity_of, norms
from mmkit.errors import PartError, did_you_mean
from mmkit.ops.losses import unit

SETTING = "model.decoder.search"
"""The setting of a linker that says how it finds entities."""

Progress = Callable[[int, int], None]
"""Called with how many entities the engine has, and how many there are."""


class EntityVectors:
    """The vectors of all entities of a knowledge base, as an engine takes them: of length 1, or zero."""

    def __init__(self, features: EntityFeatures) -> None:
        self._features = features
        self.width = features.dim
        self.identity = identity_of(features)
        """A name for their content. It changes when a vector, or the order, changes."""

    def __len__(self) -> int:
        return len(self._features)

    def blocks(self, size: int, first: int = 0) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(row, vectors `[n, D]`) of consecutive rows from `first` on, at most `size` of them together.

        Raises `DataError` for vectors that are not finite.
        """
        for at, stored in self._features.blocks():
            for block in stored[max(0, first - at) :].split(size):
                row = max(at, first)
                if len(block):
                    norms(block, row)
                    yield row, unit(block.float()).cpu().numpy()
                first = max(first, row + len(block))


class EntityEngine(ABC):
    """Finds entities by the inner product of vectors. The constructor takes settings, and contacts nobody.

    A stranger's recipe may name any server: call `mmkit.access.network.check_network` before it is contacted, and take
    keys from the environment alone (`mmkit.access.servers`).
    """

    most: ClassVar[int] = 1_000
    """The largest number of entities that one search finds."""

    @abstractmethod
    def place(self) -> str:
        """Where it searches, for messages, and to tell engines apart. It must not contain credentials."""

    def check(self) -> None:  # noqa: B027 - some engines need nothing
        """Raise `PartError` if it cannot be used here, because a package is missing for example. Contacts nobody."""

    @abstractmethod
    def fill(self, entities: EntityVectors, progress: Progress) -> str:
        """Make sure that `near` looks among exactly these entities; nothing is to be done if it does so already.

        Of the processes of a machine, one calls it at a time. What a killed process sent is not sent again. Returns
        what the user should know: that other entities were replaced, say. Raises `DataError` if that fails.
        """

    @abstractmethod
    def near(self, vectors: NDArray[np.float32], count: int) -> NDArray[np.int64]:
        """Rows `[B, count]` of the entities whose inner products with `vectors [B, D]`, of length 1, are the largest.

        They come in any order, each once; -1 stands where it finds no more. `count` is at most `most` and the number of
        entities. Raises `DataError` if the engine fails, and if it was filled with other entities meanwhile.
        """


def known_engines() -> dict[str, str]:
    """The engines that plugins bring: name → `"module:Class"`."""
    found = hooks.call_each("mmkit_search_engines")
    return {name: target for _, engines in found for name, target in engines.items()}


def engine_of(settings: Mapping[str, Any]) -> EntityEngine:
    """The engine that `settings` name as `engine`, with the other settings.

    Raises `PartError` if there is none of this name, if it cannot be loaded, and for settings that it does not take.
    """
    known = known_engines()
    name, own = settings.get("engine"), {k: v for k, v in settings.items() if k != "engine"}
    if name not in known:
        what = "`engine` is missing" if name is None else f"there is no search engine {name!r}"
        near = did_you_mean(str(name), {*known, *listed_engines()})
        raise PartError(
            what, where=SETTING, hint=engine_hint(str(name or "milvus")) or near, code="part.search-engine"
        )
    engine: type[EntityEngine] = hooks.load_class(
        f"the search engine {name!r} cannot be loaded",
        f"{name!r} is no search engine: its class must derive from mmkit.decoders.engines.EntityEngine",
        known[name],
        EntityEngine,
        code="plugin.search-engine",
    )
    takes, problems = parameters(engine), Problems()
    fitted = fit_arguments(own, takes, SETTING, problems)
    if problems.found:
        said = "\n  ".join(f"{p.path}: {p}" for p in problems.found)
        raise PartError(said, where=name, code="part.invalid")
    try:
        built: EntityEngine = engine(**{k: construct(value, takes[k].hint) for k, value in fitted.items()})
    except ValueError as error:
        raise PartError(str(error), where=SETTING, code="part.refused") from error
    return built
