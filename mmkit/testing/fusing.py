"""`check_fuser`: a fuser's states, gradients, padding, blank images, bfloat16 and saved weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor

from mmkit.batch import Batch, Features
from mmkit.data.types import Example
from mmkit.encoders.base import Encoder
from mmkit.fusers.base import Fuser
from mmkit.fusers.needs import Needs
from mmkit.inspection import Inspects, inspected
from mmkit.testing.capturing import check_captured, with_gradients
from mmkit.testing.checked import CheckedPart, detached, row, weighted_sum
from mmkit.testing.stand_ins import (
    ImageEncoder,
    Views,
    batch_of,
    plain_views,
    stand_in_examples,
    stand_ins_for,
)


def check_fuser(
    fuser: str | Fuser,
    settings: Mapping[str, Any] | None = None,
    *,
    encoders: Mapping[str, Encoder] | None = None,
    examples: Sequence[Example] | None = None,
    views: Views | None = None,
    untrained: Sequence[str] = (),
    blanks: Literal["all", "beside", "none"] | bool = "all",
    tolerance: float = 1e-4,
    rough: float = 0.1,
) -> None:
    """Check a fuser, which is not built, between tiny encoders.

    - Every state in `provides` is there, in training at least; each has a row for each example, and is as wide as
      `dims` says.
    - It gives the same when asked twice in evaluation mode.
    - Gradients reach each of its parameters, except those whose names begin with one of `untrained`, and every
      encoder except those named there.
    - An example's states are the same alone and in a batch with longer examples and more images.
    - Where it asks an encoder of images for `mask`, what stands in blank places makes no difference. With
      `blanks="beside"` only blank places beside an image count: a fuser may read a blank where there is no image
      at all. Not checked with "none": a fuser may hand on what it is given.
    - If it shows what it did (`mmkit.inspection.Inspects`), it shows each example, and the states stay the same.
    - If its class says that it can be captured in a CUDA graph (`captures`), states and gradients are recorded and
      repeated.
    - Under bfloat16 it runs, and the states are `rough`ly those of float32 (as a share of the norm).
    - With its weights, another one made from the same settings gives the same.

    `encoders` by name are built already; by default stand-ins that fit `requires`. `views` are those of a decoder.
    Raises `AssertionError`; `ValueError` if no stand-in fits.
    """
    checked: CheckedPart[Fuser] = CheckedPart("fusers", fuser, settings)
    examples = list(examples or stand_in_examples())
    torch.manual_seed(1)
    made = checked.fresh()
    if encoders is None:
        encoders = stand_ins_for(made.requires())
        for encoder in encoders.values():
            encoder.build()
    seen = _Encoders(encoders, views or _with_extra_views(encoders))
    made.build(encoders)
    made.eval()
    states = seen.states(made, examples)
    checked.finite("states", states)
    checked.equal("evaluation mode", states, seen.states(made, examples), 0.0, "when asked twice")
    trained = _gradients(checked, made, seen, examples, untrained)
    _shapes(checked, made, {**trained, **states}, len(examples))
    _alone(checked, made, seen, examples, states, tolerance)
    if blanks not in ("none", False):
        _blanks(checked, made, seen, examples, states, tolerance, beside=blanks == "beside")
    if isinstance(made, Inspects):
        _inspects(checked, made, seen, examples, states)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        checked.close("bfloat16", states, seen.states(made, examples), rough)
    torch.manual_seed(2)
    other = checked.fresh()
    other.build(encoders)
    other.load_state_dict(made.state_dict())
    checked.equal(
        "saved weights", states, seen.states(other.eval(), examples), tolerance, "after weights were loaded"
    )


class _Encoders:
    def __init__(self, encoders: Mapping[str, Encoder], views: Views) -> None:
        self.encoders, self.views = encoders, views
        for encoder in encoders.values():
            encoder.eval()

    def states(self, fuser: Fuser, examples: Sequence[Example]) -> Features:
        with torch.no_grad():
            return detached(fuser(self.encoders, batch_of(self.encoders, examples, self.views)).tensors)


def _with_extra_views(encoders: Mapping[str, Encoder]) -> Views:
    """The plain view under the name of every view that an encoder reads."""
    names = {"text"}
    for encoder in encoders.values():
        names |= {getattr(encoder, "view", "text"), *getattr(encoder, "extra_views", ())}
    return lambda example: dict.fromkeys(names, plain_views(example)["text"])


def _shapes(checked: CheckedPart[Fuser], fuser: Fuser, states: Features, size: int) -> None:
    if lacking := sorted(fuser.provides - states.keys()):
        checked.fail("provides", f"it promises {', '.join(lacking)} but gives {', '.join(sorted(states))}")
    for name, value in states.items():
        rows = value.shape[0] if value.dim() else 0
        checked.must(rows == size, "shapes", f"{name} has {rows} rows for {size} examples")
    for name, width in fuser.dims.items():
        checked.must(name in states, "dims", f"it says how wide {name} is but does not give it")
        found = states[name].shape[-1]
        checked.must(found == width, "dims", f"{name} is {found} wide, dims says {width}")


def _gradients(
    checked: CheckedPart[Fuser],
    fuser: Fuser,
    seen: _Encoders,
    examples: Sequence[Example],
    untrained: Sequence[str],
) -> Features:
    """The states of training."""
    fuser.train()
    batch = batch_of(seen.encoders, examples, seen.views)
    batch.targets = {"stand-in": torch.zeros(len(examples))}  # some fusers ask whether there are any
    states = fuser(seen.encoders, batch)
    weighted_sum([*states.tensors.values(), *states.losses.values()]).backward()
    given = detached(states.tensors)
    checked.gradients(fuser, "", untrained)
    for name in fuser.requires():
        trained = [p for p in seen.encoders[name].parameters() if p.requires_grad and name not in untrained]
        reached = not trained or any(p.grad is not None for p in trained)
        checked.must(reached, "gradients", f"none reaches the encoder {name!r}")
    other = batch_of(seen.encoders, examples[::-1], seen.views)
    other.targets = batch.targets

    def repeated(own: Batch) -> Features:
        found = fuser(seen.encoders, own)
        return with_gradients({**found.tensors, **found.losses}, fuser)

    check_captured(checked, fuser, batch, other, repeated)
    fuser.eval()
    for module in (fuser, *seen.encoders.values()):
        module.zero_grad()
    return given


def _alone(
    checked: CheckedPart[Fuser],
    fuser: Fuser,
    seen: _Encoders,
    examples: Sequence[Example],
    states: Features,
    tolerance: float,
) -> None:
    for number, example in enumerate(examples):
        alone = seen.states(fuser, [example])
        when = f"when {example.id} stands beside longer examples"
        checked.equal("padding", alone, row(states, number, alone), tolerance, when)


def _blanks(
    checked: CheckedPart[Fuser],
    fuser: Fuser,
    seen: _Encoders,
    examples: Sequence[Example],
    states: Features,
    tolerance: float,
    beside: bool,
) -> None:
    for name, wanted in fuser.requires().items():
        encoder = seen.encoders[name]
        if "mask" not in Needs.of(wanted).features or not isinstance(encoder, ImageEncoder):
            continue
        hook = encoder.register_forward_hook(lambda module, inputs, features: _filled(features, beside))
        try:
            found = seen.states(fuser, examples)
        finally:
            hook.remove()
        when = f"with what stands where the encoder {name!r} has no image"
        checked.equal("blank images", states, found, tolerance, when)


def _inspects(
    checked: CheckedPart[Fuser],
    fuser: Inspects,
    seen: _Encoders,
    examples: Sequence[Example],
    states: Features,
) -> None:
    batch = replace(batch_of(seen.encoders, examples, seen.views), inspecting=True)
    with torch.inference_mode():
        found = cast(Fuser, fuser)(seen.encoders, batch)
        shown = inspected([fuser], found, batch)
    usual = {name: found[name] for name in states}
    checked.equal("inspect", states, detached(usual), 0.0, "when it also shows what it did")
    checked.must(any(shown), "inspect", "it shows nothing of any example")


def _filled(features: Features, beside: bool) -> Features:
    """Features with another value where nothing is real; with `beside`, only in rows where something is."""
    mask = features["mask"]
    if beside:
        mask = mask | ~mask.any(1, keepdim=True)

    def fill(value: Tensor) -> Tensor:
        blank = ~mask.view(*mask.shape, *[1] * (value.dim() - mask.dim()))
        return value.masked_fill(blank, 3.0) if value.is_floating_point() else value

    return {name: fill(value) for name, value in features.items()}
