"""Weights of one run for the model of another: which tensors fit, and which rows belong to labels that both have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from mmkit.decoders.base import LabelAxes, Labels, label_lists


@dataclass(frozen=True)
class Tensors:
    """What one part gets of a run's tensors."""

    whole: dict[str, Tensor] = field(default_factory=dict)
    """By name in the model: tensors that are taken as they are."""
    rows: dict[str, Tensor] = field(default_factory=dict)
    """Tensors of which some rows (or columns) are taken, and the others are the model's own."""
    new: dict[str, str] = field(default_factory=dict)
    """Tensors of which nothing is taken, and why."""


def fitting(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> Tensors:
    """The tensors of `saved` that fit a model's `own`, by name, shape and type."""
    taken = Tensors()
    for name, tensor in own.items():
        if why := unlike(tensor, saved.get(name)):
            taken.new[name] = why
        else:
            taken.whole[name] = saved[name]
    return taken


def fitting_decoder(
    own: Mapping[str, Tensor],
    saved: Mapping[str, Tensor],
    labels: Labels,
    saved_labels: Labels,
    axes: Mapping[str, LabelAxes] | None,
    prefix: str,
) -> Tensors:
    """The same for a decoder's tensors, named with `prefix`; rows of labels are matched by the labels' names.

    `axes` are those of `Decoder.label_axes`. If labels differ, a tensor that the decoder does not name there is only
    taken if none of its dimensions can be one of labels.
    """
    if labels == saved_labels:
        return fitting(own, saved)
    if axes is None:
        why = "the labels differ, and this decoder does not say which rows belong to which label"
        return Tensors(new=dict.fromkeys(own, why))
    sizes = {len(value) for value in labels.values() if isinstance(value, list)}
    taken = Tensors()
    for name, tensor in own.items():
        other = saved.get(name)
        axis = axes.get(name.removeprefix(prefix))
        if axis is not None and other is not None and any(axis):
            if (matched := by_name(tensor, other, axis, labels, saved_labels)) is None:
                taken.new[name] = "no row of it belongs to a label that both have"
            else:
                taken.rows[name] = matched
        elif why := unlike(tensor, other):
            taken.new[name] = why
        elif axis is None and sizes & set(tensor.shape):
            taken.new[name] = "the labels differ, and its rows may belong to labels"
        else:
            taken.whole[name] = saved[name]
    return taken


def by_name(
    own: Tensor, saved: Tensor, axes: LabelAxes, labels: Labels, saved_labels: Labels
) -> Tensor | None:
    """`own` with the entries of `saved` for the labels that both have; None if there are none, or if shapes differ."""
    if own.dim() != len(axes) or saved.dim() != len(axes) or unlike(own, saved, shape=False):
        return None
    here, there = [], []
    for axis, key in enumerate(axes):
        if key is None:
            if own.shape[axis] != saved.shape[axis]:
                return None
            here.append(torch.arange(own.shape[axis]))
            there.append(here[-1])
            continue
        names, others = names_of(labels, key), names_of(saved_labels, key)
        if (len(names), len(others)) != (own.shape[axis], saved.shape[axis]):
            return None
        place = {name: i for i, name in enumerate(others)}
        both = [(i, place[name]) for i, name in enumerate(names) if name in place]
        if not both:
            return None
        here.append(torch.tensor([i for i, _ in both]))
        there.append(torch.tensor([i for _, i in both]))
    made = own.detach().clone()
    made[grid(here)] = saved[grid(there)].to(made)
    return made


def grid(indices: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Indices of all combinations, as numpy's `ix_`."""
    return tuple(
        i.view([-1 if n == axis else 1 for n in range(len(indices))]) for axis, i in enumerate(indices)
    )


def grown(own: Tensor, saved: Tensor, most: int) -> Tensor | None:
    """`own` with the first rows of `saved`, if they differ in the number of rows alone, and by at most `most`.

    These are embeddings of the same vocabulary with other special tokens behind it: of the rows that may be
    those of special tokens nothing is taken.
    """
    if own.dim() < 2 or own.shape[1:] != saved.shape[1:] or unlike(own, saved, shape=False):
        return None
    if abs(len(own) - len(saved)) > most or len(own) <= most:
        return None
    rows = min(len(own), len(saved)) - (most - abs(len(own) - len(saved)))
    made = own.detach().clone()
    made[:rows] = saved[:rows].to(made)
    return made


def unlike(own: Tensor, saved: Tensor | None, *, shape: bool = True) -> str:
    """Why a tensor cannot take the place of another; empty if it can."""
    if saved is None:
        return "the run has no such tensor"
    if shape and own.shape != saved.shape:
        return f"its shape is {tuple(own.shape)}, and {tuple(saved.shape)} in the run"
    if own.is_floating_point() != saved.is_floating_point():
        return f"its type is {own.dtype}, and {saved.dtype} in the run"
    return ""


def names_of(labels: Labels, key: str) -> list[str]:
    """The names under a key of `labels.json`; none if it holds something else."""
    return label_lists(labels).get(key, [])


def compared(labels: Labels, saved: Labels) -> Iterator[tuple[str, dict[str, list[str]]]]:
    """Of each kind of labels: those that both have, those that are new, and those of the run that are not used."""
    for key in dict.fromkeys([*labels, *saved]):
        names, others = names_of(labels, key), names_of(saved, key)
        if (key == "tags" and "types" in labels) or not (names or others):
            continue  # the tags are those of the types
        yield (
            key,
            {
                "taken": [name for name in names if name in others],
                "new": [name for name in names if name not in others],
                "left": [name for name in others if name not in names],
            },
        )


def as_counts(taken: Tensors) -> dict[str, Any]:
    """How many tensors, for `run.json`."""
    rows = {"in rows": len(taken.rows)} if taken.rows else {}
    return {"whole": len(taken.whole), **rows}
