"""What some decoders can do besides predicting: protocols, checked with `isinstance`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from mmkit.batch import Features, States
from mmkit.data.types import Example, GoldRank
from mmkit.entities.linked import LinkedEntities
from mmkit.scorers.base import Scorer


@runtime_checkable
class RanksGold(Protocol):
    """A decoder that gives the ranks of the gold entities.

    Only the evaluation calls it, after `decode`, with the states of the same forward pass. `decode` itself does not
    use gold entities.
    """

    def rank(self, states: States, examples: Sequence[Example]) -> list[GoldRank]:
        """The rank of each example's gold entity; the examples are the batch's, in order, with their gold."""
        ...


@runtime_checkable
class AnswersTogether(Protocol):
    """A decoder to which many examples cost less together: an answer reads the whole knowledge base, for instance.

    States that it keeps are collected over several batches and joined. `rank`, if the evaluation asks for it, is then
    called before `decode`, with the same states, and `decode` gets a batch of examples without inputs.
    """

    def kept(self, states: States) -> States | None:
        """The tensors `[B, ...]` that `decode` and `rank` read, of the same shape in every batch but for B.

        None if each batch is to be answered at once.
        """
        ...

    def collective(self) -> bool:
        """Whether all processes must ask at the same time, because each of them holds a part of the answer.

        Then `decode` and `rank` are called equally often in all of them, also with no examples. Each call must do the
        same number of searches, whatever its examples are.
        """
        ...


@runtime_checkable
class ScoresLabels(Protocol):
    """A decoder whose scores of labels another model can read, through `mmkit.run.v1`."""

    score_names: frozenset[str]
    """The names in `scores`; empty if its settings, or a subclass, give scores that others cannot read."""

    def scores(self, states: States) -> Features:
        """A classifier's `logits [B, R]`; a tagger's `emissions [B, W, K]` of words, zero beyond `lengths [B]`."""
        ...


@runtime_checkable
class LinksEntities(Protocol):
    """A decoder that links to the entities of a knowledge base."""

    entity_encoder: str | None
    """The encoder of `[model.encoders]` that reads entities, in a recipe without `[model.entities]`."""

    def link_to(self, entities: LinkedEntities) -> None:
        """Take the entities, after `build` and before the first batch."""
        ...

    def check_scorer(self, scorer: Scorer) -> None:
        """Raise `PartError` for a scorer with which it cannot be trained or cannot rank."""
        ...


@runtime_checkable
class PreparesSearch(Protocol):
    """A decoder that searches among the entities through an index, which may have to be filled first."""

    def prepare_search(self, progress: Callable[[int, int], None]) -> list[str]:
        """Fill it, after `link_to` and before the first batch. Returns notes for the user.

        `progress` is called with how many entities are in the index, and how many there are.
        """
        ...
