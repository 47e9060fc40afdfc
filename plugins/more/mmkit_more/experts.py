"""Checks of a mixture's experts: trained runs whose decoders score the same labels."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from mmkit.data.types import Example
from mmkit.decoders.base import Decoder
from mmkit.encoders.abilities import GivesScores
from mmkit.encoders.base import Encoder
from mmkit.errors import DataError, RecipeError

D = TypeVar("D", bound=Decoder)


def check_names(experts: Sequence[str], where: str) -> None:
    """Raise `RecipeError` unless these are names of two or more experts."""
    if len(experts) < 2 or len(set(experts)) < len(experts):
        raise RecipeError(
            f"a mixture needs two or more different experts, not {list(experts)}",
            where=where,
            hint="name the encoders that read the runs",
            code="more.few-experts",
        )


def decoders_of(
    experts: Sequence[str],
    encoders: Mapping[str, Encoder],
    kind: type[D],
    labels: Callable[[D], Sequence[str]],
    wanted: str,
) -> tuple[D, ...]:
    """The decoders of the experts, in order; `labels` gives the labels of one, `wanted` is the required kind.

    They belong to the encoders, so a decoder may keep them in a tuple, but not as its own modules. Raises
    `RecipeError` for experts that are not those of the fuser, whose decoder is of another kind, or whose labels or
    their order differ.
    """
    if set(experts) != set(encoders):
        raise RecipeError(
            f"the decoder mixes {', '.join(experts)}, but the fuser mixes {', '.join(encoders)}",
            where="model.decoder.experts",
            hint="name the same experts in the fuser and in the decoder",
            code="more.other-experts",
        )
    found = []
    for name in experts:
        encoder = encoders[name]
        decoder = encoder.scoring_decoder() if isinstance(encoder, GivesScores) else None
        if not isinstance(decoder, kind):
            raise RecipeError(
                f"the run's decoder is a {type(decoder).__name__}, but the mixture needs {wanted}",
                where=f"model.encoders.{name}",
                hint="name a run that was trained with one",
                code="more.expert-decoder",
            )
        found.append(decoder)
    _check_labels({name: labels(decoder) for name, decoder in zip(experts, found, strict=True)})
    return tuple(found)


def _check_labels(labels: Mapping[str, Sequence[str]]) -> None:
    (first, expected), *others = labels.items()
    for name, own in others:
        if list(own) != list(expected):
            raise RecipeError(
                f"the experts do not have the same labels: {first!r} has {', '.join(expected)}; "
                f"{name!r} has {', '.join(own)}",
                where=f"model.encoders.{name}",
                hint="train the runs with the same labels, in the same order and scheme",
                code="more.expert-labels",
            )


def check_data(experts: Sequence[str], decoders: Sequence[Decoder], examples: Sequence[Example]) -> None:
    """Raise `DataError` for training examples that an expert cannot read, such as those without its contexts."""
    for name, decoder in zip(experts, decoders, strict=True):
        try:
            decoder.check(examples)
        except DataError as error:
            what = f"the expert {name!r} cannot read the data: {error.what}"
            raise DataError(what, where=error.where, hint=error.hint, code="more.expert-data") from error


def check_known(learnt: Collection[str], known: Collection[str], what: str) -> None:
    """Raise `RecipeError` if the training data has labels that are unknown to the experts."""
    unknown = sorted(set(learnt) - set(known))
    if unknown:
        raise RecipeError(
            f"the training data has {what} that the experts do not know: {', '.join(unknown)}",
            where="model.decoder",
            hint=f"they were trained on {', '.join(sorted(known))}",
            code="more.unknown-labels",
        )


def mix(log_weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """log Σₖ λₖ exp(valueₖ), `[B, ...]`, of `log_weights [B, E]` and E values `[B, ...]`."""
    stack = torch.stack(list(values), dim=1)
    return (log_weights.view(*log_weights.shape, *[1] * (stack.dim() - 2)) + stack).logsumexp(1)
