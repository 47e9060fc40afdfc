"""Entities that a search engine proposes, with their exact cosines."""

from __future__ import annotations

import hashlib

import torch
from filelock import FileLock
from torch import Tensor

from mmkit.cache import cache_dir
from mmkit.decoders.cosines import best_of, check_finite
from mmkit.decoders.engines import EntityEngine, EntityVectors, Progress
from mmkit.encoders.entity_features import EntityFeatures
from mmkit.errors import MMKitError, PartError
from mmkit.files import explained
from mmkit.ops.losses import unit


class EngineIndex:
    """The nearest entities among those that an engine proposes: twice as many as are asked for."""

    def __init__(self, engine: EntityEngine, entities: EntityFeatures, said: str = "") -> None:
        self._engine, self._entities = engine, entities
        self.said = said
        """What the engine has to tell of how it was filled."""

    @classmethod
    def of(cls, engine: EntityEngine, entities: EntityFeatures, progress: Progress) -> EngineIndex:
        """Let the engine hold the entities. Processes that share a cache do so one after the other.

        Raises what `EntityEngine.fill` does.
        """
        place = hashlib.blake2b(engine.place().encode(), digest_size=16).hexdigest()
        folder = cache_dir("engines")
        with explained(folder, MMKitError):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / f"{place}.lock")
            lock.acquire()
        try:
            said = engine.fill(EntityVectors(entities), progress)
        finally:
            lock.release()
        return cls(engine, entities, said)

    def search(self, query: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cosines `[B, k]` (float32) and rows of the entities found near each `query [B, D]`, best first.

        Equal ones are in order of rows; k is at most the number of entities. Where the engine found fewer, rows are
        `NONE` and cosines -inf. Raises `DataError` for a query that is not finite, and `PartError` for a `k` that the
        engine cannot give.
        """
        check_finite(query, "of a query")
        k = min(k, len(self._entities))
        if k > self._engine.most:
            raise PartError(
                f"it finds at most {self._engine.most:,} entities of a mention, and the recipe asks for {k:,}",
                where=self._engine.place(),
                hint="lower `top` in [model.decoder], and `depth` in [model.entities]",
                code="part.search",
            )
        count = min(
            2 * k, len(self._entities), self._engine.most
        )  # twice: rounding may have moved the last ones
        vectors = unit(query.detach().float()).cpu().numpy()
        rows = torch.from_numpy(self._engine.near(vectors, count)).to(query.device)
        dead = ~query.any(1, keepdim=True)  # a zero vector is equally near to all
        rows = torch.where(dead, torch.arange(count, device=query.device), rows)
        return best_of(query, rows, self._entities, k)
