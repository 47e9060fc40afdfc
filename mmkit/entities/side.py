"""The entity side of a model: encoders and a fuser that make tensors of entities, and the scorer that compares them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from mmkit.batch import Batch, Features
from mmkit.config.entities import EntitySettings
from mmkit.data.types import Entity
from mmkit.encoders.base import Encoder
from mmkit.encoders.threads import loading
from mmkit.entities.linked import RERANKER
from mmkit.entities.one_vector import OneVector
from mmkit.errors import PartError
from mmkit.fusers.base import Fuser
from mmkit.fusers.checked import checked_states
from mmkit.scorers.base import Scorer


class EntitySide(nn.Module):
    """Encoders → fuser → scorer, over entities.

    `lent` encoders belong to the model and are saved with it; this module does not hold their weights. So a recipe
    without `[model.entities]`, whose decoder names an encoder of `[model.encoders]`, is a simple case of this.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        fuser: Fuser,
        scorer: Scorer,
        reranker: Scorer | None = None,
        settings: EntitySettings | None = None,
        *,
        lent: bool = False,
    ) -> None:
        super().__init__()
        self.lent = dict(encoders) if lent else {}
        self.encoders = nn.ModuleDict({} if lent else encoders)
        self.fuser, self.scorer, self.reranker = fuser, scorer, reranker
        self.settings = settings or EntitySettings()
        self.refresh = self.settings.refresh
        """Evaluations in training for each computing of all entities; 1 once the results are scored."""
        self._checked = False

    @property
    def named_encoders(self) -> dict[str, Encoder]:
        """All encoders by name, as the fuser takes them."""
        return self.lent or self.own_encoders

    @property
    def own_encoders(self) -> dict[str, Encoder]:
        """The encoders that are saved with this side."""
        return cast(dict[str, Encoder], dict(self.encoders.items()))

    @property
    def scorers(self) -> list[Scorer]:
        """The scorer, and the one that ranks the best again, if there is one."""
        return [self.scorer] if self.reranker is None else [self.scorer, self.reranker]

    @property
    def parts(self) -> list[nn.Module]:
        """The modules that decide an entity's tensors."""
        return [*self.named_encoders.values(), self.fuser, *self.scorers]

    @property
    def trained(self) -> bool:
        """Whether an update changes the entities' tensors."""
        return any(p.requires_grad for part in self.parts for p in part.parameters())

    @property
    def only_vectors(self) -> Encoder | None:
        """The single encoder whose vector and cosine find an entity, if there is nothing else."""
        simple = (
            isinstance(self.fuser, OneVector) and self.scorer.vectors is not None and self.reranker is None
        )
        return next(iter(self.named_encoders.values())) if simple else None

    def share(self, encoders: Mapping[str, Encoder]) -> None:
        """Let encoders of entities use the networks of `encoders` of examples, as the settings say.

        Raises `PartError` for two encoders that differ.
        """
        for name, other in self.settings.share.items():
            share_network(
                self.named_encoders[name], encoders[other], f"model.entities.encoders.{name}", other
            )

    def collate(self, entities: Sequence[Entity]) -> dict[str, Features]:
        """Inputs of the encoders on the CPU, by their names."""
        views: list[dict[str, Any]] = [{} for _ in entities]
        return {name: encoder.collate(entities, views) for name, encoder in self.named_encoders.items()}

    def encoded(
        self, batches: Iterable[Sequence[Entity]], device: torch.device, threads: int
    ) -> Iterator[Features]:
        """The tensors that the scorer keeps of each batch of entities, in order; `threads` collate the next batches."""
        with loading(threads) as pool:
            waiting: deque[tuple[Sequence[Entity], Future[dict[str, Features]]]] = deque()
            for batch in batches:
                waiting.append((batch, pool.submit(self.collate, batch)))
                if len(waiting) > threads:
                    yield self._one(*waiting.popleft(), device)
            while waiting:
                yield self._one(*waiting.popleft(), device)

    def _one(
        self, entities: Sequence[Entity], collated: Future[dict[str, Features]], device: torch.device
    ) -> Features:
        inputs = {
            name: {key: tensor.to(device, non_blocking=True) for key, tensor in tensors.items()}
            for name, tensors in collated.result().items()
        }
        tensors: Features = self(entities, inputs)
        return tensors

    def forward(self, entities: Sequence[Entity], inputs: Mapping[str, Features]) -> Features:
        """The tensors that scorer and reranker keep of `entities`, from collated inputs on this module's device."""
        batch = Batch(cast(Any, tuple(entities)), dict(inputs))
        if self._checked:
            tensors = self.fuser(self.named_encoders, batch).tensors
        else:
            tensors = checked_states(
                self.named_encoders, self.fuser, batch, section="model" if self.lent else "model.entities"
            ).tensors
            self._checked = True
        kept = dict(self.scorer.entity(tensors))
        if self.reranker is not None:
            kept |= {RERANKER + name: tensor for name, tensor in self.reranker.entity(tensors).items()}
        return kept

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """All parts in evaluation mode, without gradients, during a block; also within inference mode."""
        modes = [part.training for part in self.parts]
        for part in self.parts:
            part.eval()
        try:
            with torch.inference_mode(False), torch.no_grad():
                yield
        finally:
            for part, mode in zip(self.parts, modes, strict=True):
                part.train(mode)

    def state(self) -> tuple[tuple[int, int], ...]:
        """A value that changes when a weight is replaced or written to."""
        tensors = (tensor for part in self.parts for tensor in part.state_dict().values())
        return tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)


def share_network(encoder: Encoder, other: Encoder, where: str, name: str) -> None:
    """Let `encoder` use the modules and parameters of `other` instead of its own.

    Raises `PartError` unless both have the same ones, by name and shape.
    """
    own, theirs = ({k: v.shape for k, v in e.state_dict().items()} for e in (encoder, other))
    if own != theirs:
        raise PartError(
            f"it cannot share the network of model.encoders.{name}, which is a different network",
            where=where,
            hint="give both the same part and the same checkpoint, or leave it out of `share`",
            code="recipe.shared-network",
        )
    if encoder.frozen != other.frozen:
        raise PartError(
            f"it shares the network of model.encoders.{name}, but only one of them is frozen",
            where=where,
            hint="set `frozen` to the same value in both",
            code="recipe.shared-network",
        )
    for child, module in other.named_children():
        setattr(encoder, child, module)
    for own_name, tensor in [*other.named_parameters(recurse=False), *other.named_buffers(recurse=False)]:
        setattr(encoder, own_name, tensor)
