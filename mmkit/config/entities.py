"""The settings of `[model.entities]`, without the parts in its sections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class EntitySettings:
    """How a model computes and keeps its tensors of entities."""

    share: dict[str, str] = field(default_factory=dict)
    """Encoder of entities → the encoder of `[model.encoders]` whose network it uses, trained or not."""
    refresh: int = 1
    """If parts are trained: all entities are encoded again before every `refresh`-th evaluation in training."""
    dtype: Literal["float32", "float16"] = "float32"
    """The type in which tensors of entities are kept."""
    batch_size: int = 64
    """Entities that are encoded together."""
    block: int = 1024
    """Entities that are scored together."""
    depth: int = 100
    """Entities that a reranker sees: the best by the scorer."""
