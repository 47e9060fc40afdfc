"""`check_encoder`: an encoder's features, gradients, padding, bfloat16, and what it saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mmkit import registry
from mmkit.batch import Batch, Features
from mmkit.data.types import Example
from mmkit.encoders.base import Encoder
from mmkit.testing.capturing import check_captured, with_gradients
from mmkit.testing.checked import CheckedPart, detached, row, weighted_sum
from mmkit.testing.stand_ins import Views, plain_views, stand_in_examples, written_images

MARKERS = ("<s>", "</s>")
"""Special tokens that the check adds to every encoder."""


def check_encoder(
    encoder: str | Encoder,
    settings: Mapping[str, Any] | None = None,
    *,
    folder: Path,
    examples: Sequence[Example] | None = None,
    views: Views = plain_views,
    untrained: Sequence[str] = (),
    tolerance: float = 1e-4,
    rough: float = 0.1,
) -> None:
    """Check an encoder, which is not built, on examples with and without images.

    - It gives the features in `provides`, a row for each example; the main one (`pooled`, else `tokens`) is `dim` wide,
      and `mask` is of booleans.
    - `collate` gives CPU tensors, and `length` a number.
    - It gives the same when asked twice in evaluation mode; a frozen encoder has no other mode.
    - If it is trained, gradients reach each parameter, except those whose names begin with one of `untrained`.
    - If its class says that it can be captured in a CUDA graph (`captures`), features and gradients are recorded and
      repeated.
    - An example's features are the same alone and in a batch with longer examples and more images.
    - Under bfloat16 it runs, and the features are `rough`ly those of float32 (as a share of the norm).
    - Another one, built from the files that `save` wrote and with the same weights, gives the same.

    If the encoder is given by its name, `sample` gives stand-ins for pretrained weights. Files go into
    `folder`. Raises `AssertionError`.
    """
    examples = list(examples or written_images(stand_in_examples(), folder / "images"))
    if isinstance(encoder, str):
        cls: type[Encoder] = registry.get("encoders", encoder)
        overrides = cls.sample(folder / "stand-in", 1, examples)
        settings = {**(settings or {}), **overrides}
    checked: CheckedPart[Encoder] = CheckedPart("encoders", encoder, settings)
    torch.manual_seed(1)
    made = checked.fresh()
    made.build(MARKERS)
    if made.frozen:
        made.requires_grad_(False)
    made.eval()
    features = _features(made, examples, views)
    _shapes(checked, made, features, examples, views)
    checked.finite("features", features)
    checked.equal("evaluation mode", features, _features(made, examples, views), 0.0, "when asked twice")
    _training(checked, made, examples, views, untrained)
    batch, turned = (_batch(made, own, views) for own in (examples, examples[::-1]))
    made.train()
    check_captured(checked, made, batch, turned, lambda own: with_gradients(made(own.inputs["it"]), made))
    made.eval().zero_grad()
    for number, example in enumerate(examples):
        alone = _features(made, [example], views)
        when = f"when {example.id} stands beside longer examples"
        checked.equal("padding", alone, row(features, number, alone), tolerance, when)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        checked.close("bfloat16", features, _features(made, examples, views), rough)
    saved = folder / "saved"
    saved.mkdir(parents=True, exist_ok=True)
    made.save(saved)
    torch.manual_seed(2)
    other = checked.fresh()
    other.build(MARKERS, saved)
    other.load_state_dict(made.state_dict())
    found = _features(other.eval(), examples, views)
    checked.equal("saved encoder", features, found, tolerance, "after it was saved and built again")


def _batch(encoder: Encoder, examples: Sequence[Example], views: Views) -> Batch:
    return Batch(tuple(examples), {"it": encoder.collate(examples, [views(x) for x in examples])})


def _features(encoder: Encoder, examples: Sequence[Example], views: Views) -> Features:
    with torch.no_grad():
        return detached(encoder(encoder.collate(examples, [views(x) for x in examples])))


def _shapes(
    checked: CheckedPart[Encoder],
    encoder: Encoder,
    features: Features,
    examples: Sequence[Example],
    views: Views,
) -> None:
    promised = encoder.provides - {"prefix", "scores"}  # words for abilities, not names of features
    promised = frozenset(name for name in promised if not name.startswith("view:"))
    if lacking := sorted(promised - features.keys()):
        checked.fail("provides", f"it promises {', '.join(lacking)} but gives {', '.join(sorted(features))}")
    for name, value in features.items():
        rows = value.shape[0] if value.dim() else 0
        checked.must(rows == len(examples), "shapes", f"{name} has {rows} rows for {len(examples)} examples")
    main = next((name for name in ("pooled", "tokens") if name in features), None)
    if main is not None:
        found = features[main].shape[-1]
        checked.must(found == encoder.dim, "dim", f"{main} is {found} wide, dim says {encoder.dim}")
    if "mask" in features:
        dtype = features["mask"].dtype
        checked.must(dtype == torch.bool, "mask", f"it is of {dtype}, not of booleans")
    each = [views(example) for example in examples]
    for name, value in encoder.collate(examples, each).items():
        checked.must(value.device.type == "cpu", "collate", f"{name} is on {value.device}, not on the CPU")
    length = encoder.length(examples[0], each[0])
    checked.must(isinstance(length, int) and length >= 0, "length", f"it is {length!r}")


def _training(
    checked: CheckedPart[Encoder],
    encoder: Encoder,
    examples: Sequence[Example],
    views: Views,
    untrained: Sequence[str],
) -> None:
    encoder.train()
    if encoder.frozen:
        at = "a frozen encoder must stay in evaluation mode"
        checked.must(not any(m.training for m in encoder.modules()), "frozen", at)
        return
    weighted_sum(encoder(encoder.collate(examples, [views(x) for x in examples])).values()).backward()
    encoder.eval()
    checked.gradients(encoder, "", untrained)
    encoder.zero_grad()
