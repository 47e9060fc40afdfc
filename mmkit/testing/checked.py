"""A part under check: how a fresh one is made, and how a failed check is reported."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, NoReturn, TypeVar

import torch
from torch import Tensor, nn

from mmkit import registry

Part = TypeVar("Part")


class Checked:
    """The part under check; messages call it `name`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fail(self, check: str, found: str) -> NoReturn:
        """Raise `AssertionError`."""
        raise AssertionError(f"{self.name}: {check}: {found}")

    def must(self, right: object, check: str, found: str) -> None:
        """Fail unless `right`."""
        if not right:
            self.fail(check, found)

    def equal(
        self, check: str, left: Mapping[str, Tensor], right: Mapping[str, Tensor], tolerance: float, when: str
    ) -> None:
        """Fail unless both hold the same tensors; floats may differ by `tolerance`, relative beyond 1."""
        if left.keys() != right.keys():
            self.fail(check, f"the names are {sorted(left)} and {sorted(right)} {when}")
        for name, value in left.items():
            other = right[name]
            if value.shape != other.shape:
                self.fail(check, f"{name} is {list(value.shape)} and {list(other.shape)} {when}")
            if not value.is_floating_point():
                self.must(torch.equal(value, other), check, f"{name} differs {when}")
            elif not torch.allclose(value.float(), other.float(), rtol=tolerance, atol=tolerance):
                apart = (value.float() - other.float()).abs().max().item()
                self.fail(check, f"{name} differs by up to {apart:.3g} {when}")

    def finite(self, check: str, tensors: Mapping[str, Tensor]) -> None:
        """Fail for tensors that contain an infinite value or one that is not a number."""
        for name, value in tensors.items():
            if value.is_floating_point() and not value.isfinite().all():
                self.fail(check, f"{name} has values that are not finite")

    def close(
        self, check: str, exact: Mapping[str, Tensor], rough: Mapping[str, Tensor], within: float
    ) -> None:
        """Fail if `rough` differs too much from `exact`: the norm of the difference is beyond `within` of the value's
        norm."""
        self.finite(check, rough)
        for name, value in exact.items():
            if not value.is_floating_point():
                continue
            norm, apart = value.float().norm().item(), (value.float() - rough[name].float()).norm().item()
            if apart > within * max(norm, 1e-3):
                self.fail(check, f"{name} differs from float32 by {apart / max(norm, 1e-3):.1%} of its norm")

    def gradients(self, module: nn.Module, prefix: str, untrained: Sequence[str] = ()) -> None:
        """Fail for parameters of a part that a backward pass left without a gradient, or without a finite one."""
        check = "gradients"
        trained = [
            (f"{prefix}{name}", p)
            for name, p in module.named_parameters()
            if p.requires_grad and not any(name.startswith(start) for start in untrained)
        ]
        if lost := [name for name, p in trained if p.grad is None]:
            self.fail(check, f"none reaches {', '.join(lost[:5])}{' and others' if lost[5:] else ''}")
        for name, p in trained:
            self.must(p.grad is None or p.grad.isfinite().all(), check, f"that of {name} is not finite")


class CheckedPart(Checked, Generic[Part]):
    """A part of one station, given by its registered name and settings, or unbuilt. `fresh` makes a new one, not
    built."""

    def __init__(self, station: str, part: str | Part, settings: Mapping[str, Any] | None = None) -> None:
        if isinstance(part, str):
            super().__init__(part)
            self._part: Part | None = None
        elif settings is not None:
            raise ValueError("settings belong to a part that is given by its name")
        else:
            super().__init__(type(part).__name__)
            self._part = copy.deepcopy(part)
        self.station, self.settings = station, dict(settings or {})

    def fresh(self) -> Part:
        """Another one of it."""
        if self._part is not None:
            return copy.deepcopy(self._part)
        made: Part = registry.build_part(self.station, self.name, self.settings)
        return made


def row(tensors: Mapping[str, Tensor], index: int, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One example's part of a batch's tensors, without the padding that the example alone (`like`) does not have."""
    cut = {}
    for name, value in tensors.items():
        own = value[index : index + 1]
        shape = like[name].shape if name in like else own.shape
        if len(shape) == own.dim():
            for dimension, size in enumerate(shape):
                own = own.narrow(dimension, 0, min(size, own.shape[dimension]))
        cut[name] = own
    return cut


def detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies without gradients."""
    return {name: value.detach().clone() for name, value in tensors.items()}


def weighted_sum(tensors: Iterable[Tensor]) -> Tensor:
    """A scalar whose gradient differs from element to element, for a backward pass without a task."""
    generator = torch.Generator().manual_seed(5)
    parts = [
        (t.float() * torch.randn(t.shape, generator=generator)).sum()
        for t in tensors
        if t.is_floating_point() and t.requires_grad
    ]
    return torch.stack(parts).sum() if parts else torch.zeros((), requires_grad=True)
