"""The settings of `[model.entities]`, beside the parts that stand in its sections."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass
class EntitySettings:
    """How what a model makes of entities is computed and kept."""

    share: dict[str, str] = field(default_factory=dict)
    """Encoder of entities → the encoder of `[model.encoders]` whose network it uses, trained or not."""
    refresh: int = 1
    """Where parts are trained: every entity is encoded anew for each `refresh`-th evaluation of a training."""
    dtype: Literal["float32", "float16"] = "float32"
    """In which tensors of entities are kept."""
    batch_size: int = 64
    """Entities that are encoded at once."""
    block: int = 1024
    """Entities that are scored at once."""
    depth: int = 100
    """Entities that a reranker sees: the best by the scorer."""
