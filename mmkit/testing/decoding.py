"""`check_decoder`: a decoder's labels, losses, gradients, predictions, padding, bfloat16 and saved weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from mmkit.batch import Batch
from mmkit.data.types import Example, Prediction
from mmkit.decoders.base import Decoder, Labels
from mmkit.encoders.base import Encoder
from mmkit.errors import MMKitError
from mmkit.fusers.base import Fuser
from mmkit.model import Model
from mmkit.testing.capturing import check_captured, with_gradients
from mmkit.testing.checked import CheckedPart
from mmkit.testing.stand_ins import StateFuser, WordEncoder, stand_in_examples, stand_ins_for

UPDATES = 30


def check_decoder(
    decoder: str | Decoder,
    settings: Mapping[str, Any] | None = None,
    *,
    encoders: Mapping[str, Encoder] | None = None,
    fuser: Fuser | None = None,
    examples: Sequence[Example] | None = None,
    untrained: Sequence[str] = (),
    tolerance: float = 1e-4,
    rough: float = 0.1,
) -> None:
    """Check a decoder, which is not built, after a tiny text encoder and a fuser that passes on its states.

    - The labels from `fit` are JSON, and the decoder is built from them.
    - Losses are named finite scalars, and means: a batch twice over has the same.
    - Gradients reach the states and each of its parameters, except those whose names begin with one of `untrained`.
    - A few updates make the loss smaller.
    - There is a prediction for each example, in order, as JSON, with kinds that its `task` answers; each item has a
      score in [0, 1].
    - Predictions are the same when asked twice, and for an example alone and in a batch with longer ones.
    - If its class says that it can be captured in a CUDA graph (`captures`), an update is recorded and repeated.
    - Under bfloat16 it trains and predicts, and the losses are `rough`ly those of float32.
    - With its labels and weights, another one made from the same settings predicts the same.

    `encoders` by name, and `fuser`, are not built yet. By default the examples have spans, pairs and mentions. A
    decoder that links needs a knowledge base: `check_recipe` checks it. Raises `AssertionError`; `ValueError` if the
    stand-ins do not give what it requires.
    """
    checked: CheckedPart[Decoder] = CheckedPart("decoders", decoder, settings)
    examples = list(examples or stand_in_examples())
    model = _model(checked, encoders, fuser, examples)
    items = model.items(examples)
    model.train()
    batch = model.collate(items)
    for name, value in batch.targets.items():
        checked.must(value.device.type == "cpu", "targets", f"{name} is on {value.device}, not on the CPU")
    losses = _losses(checked, model, batch)
    torch.stack(list(losses.values())).sum().backward()
    checked.gradients(model.decoder, "", untrained)
    reached = any(p.grad is not None for e in model.named_encoders.values() for p in e.parameters())
    checked.must(reached, "gradients", "none reaches the states")
    check_captured(
        checked,
        model.decoder,
        batch,
        model.collate(items[::-1]),
        lambda own: with_gradients(model(own), model),
    )
    model.zero_grad()
    model.eval()
    _mean(checked, model, items, tolerance)
    _learns(checked, model, batch)
    exact, first = _losses(checked, model, batch), _predicted(checked, model, items)
    _same(checked, "evaluation mode", first, _predicted(checked, model, items), 0.0, "when asked twice")
    for number, item in enumerate(items):
        alone = _predicted(checked, model, [item])
        when = f"for {item.example.id} alone and beside longer examples"
        _same(checked, "padding", alone, first[number : number + 1], tolerance, when)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        checked.close("bfloat16", exact, _losses(checked, model, batch), rough)
        _predicted(checked, model, items)
    _reloaded(checked, model, items, first, tolerance)


def _model(
    checked: CheckedPart[Decoder],
    encoders: Mapping[str, Encoder] | None,
    fuser: Fuser | None,
    examples: Sequence[Example],
) -> Model:
    """The decoder in a model of stand-ins."""
    decoder = checked.fresh()
    if decoder.task.name == "links" or decoder.entity_encoder is not None:
        raise ValueError(
            f"{checked.name} links, and needs a knowledge base: check its recipe, with check_recipe"
        )
    if fuser is None:
        text = getattr(decoder, "text", "text")
        fuser = StateFuser(text if isinstance(text, str) else "text")
    if lacking := sorted(decoder.requires - fuser.provides - fuser.provides_in_training):
        raise ValueError(
            f"no stand-in gives the states {', '.join(lacking)}: give the check `fuser=StateFuser(also={lacking})`, "
            "or a fuser of your own where they are not states of subwords"
        )
    torch.manual_seed(1)
    labels = _labels(checked, decoder, examples)
    encoders = dict(encoders or stand_ins_for(fuser.requires()))
    view = next(iter(decoder.views(decoder.task.question(decoder.units(examples[0])[0]))))
    for encoder in encoders.values():
        if isinstance(encoder, WordEncoder) and encoder.view == "text":
            encoder.view = view
        encoder.build(decoder.special_tokens)
    fuser.build(encoders)
    decoder.build(fuser.dims, labels)
    decoder.connect(encoders)
    return Model(encoders, fuser, decoder, labels)


def _labels(checked: CheckedPart[Decoder], decoder: Decoder, examples: Sequence[Example]) -> Labels:
    labels = decoder.fit(iter(examples))
    try:
        read: Labels = json.loads(json.dumps(labels))
    except (TypeError, ValueError) as error:
        checked.fail("fit", f"the labels are not JSON ({error})")
    checked.must(
        read == labels,
        "fit",
        f"the labels {labels} are {read} after they were written as JSON and read again",
    )
    return read


def _losses(checked: CheckedPart[Decoder], model: Model, batch: Batch) -> dict[str, Tensor]:
    fuser = model.fuser
    before, fuser.training = fuser.training, fuser.training or bool(fuser.provides_in_training)
    try:  # a loss may need the states of training; layers stay as they are, and drop nothing
        losses = model(batch)
    finally:
        fuser.training = before
    checked.must(losses, "loss", "there is none")
    for name, value in losses.items():
        checked.must(value.dim() == 0, "loss", f"{name} is {list(value.shape)}, not a scalar")
    checked.finite("loss", losses)
    return dict(losses)


def _mean(checked: CheckedPart[Decoder], model: Model, items: Sequence[Any], tolerance: float) -> None:
    if model.decoder.compares_examples:
        return
    with torch.no_grad():
        once, twice = (_losses(checked, model, model.collate([*items] * n)) for n in (1, 2))
    for name, value in once.items():
        same = torch.allclose(value, twice[name], rtol=10 * tolerance, atol=tolerance)
        found = f"{name} is {value.item():.4g}, and {twice[name].item():.4g} of the same batch twice over"
        checked.must(same, "loss is a mean", found)


def _learns(checked: CheckedPart[Decoder], model: Model, batch: Batch) -> None:
    """A few updates, after which predictions are not random."""
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    history = []
    for _ in range(UPDATES):
        loss = torch.stack(list(_losses(checked, model, batch).values())).sum()
        history.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = f"it was {history[0]:.4g}, and {history[-1]:.4g} after {UPDATES} updates on four examples"
    checked.must(history[-1] < history[0], "the loss falls", found)


def _predicted(checked: CheckedPart[Decoder], model: Model, items: Sequence[Any]) -> list[Prediction]:
    batch = model.collate(items, targets=False)
    predictions = model.predict(batch)
    wanted, found = [x.id for x in batch.examples], [p.id for p in predictions]
    checked.must(wanted == found, "predictions", f"they are for {found}, the examples are {wanted}")
    for example, prediction in zip(batch.examples, predictions, strict=True):
        for kind in ("span", "relation", "link"):
            scores, count = getattr(prediction, f"{kind}_scores"), len(getattr(prediction, f"{kind}s"))
            at = f"{example.id} has {count} {kind}s but {len(scores)} scores"
            checked.must(len(scores) == count, "scores", at)
            outside = [score for score in scores if not 0 <= score <= 1]
            checked.must(not outside, "scores", f"{outside[:1]} of {example.id} is not in [0, 1]")
        try:
            model.decoder.task.answer(example, prediction)
            json.dumps(prediction.to_dict())
        except (MMKitError, TypeError) as error:
            checked.fail("predictions", f"that of {example.id} has no answer ({error})")
    return predictions


def _same(
    checked: CheckedPart[Decoder],
    check: str,
    left: Sequence[Prediction],
    right: Sequence[Prediction],
    tolerance: float,
    when: str,
) -> None:
    for one, other in zip(left, right, strict=True):
        same = replace(_plain(one), notes={}) == replace(_plain(other), notes={})
        checked.must(same, check, f"predictions differ {when}")
        for kind in ("span", "relation", "link"):
            pairs = zip(getattr(one, f"{kind}_scores"), getattr(other, f"{kind}_scores"), strict=True)
            apart = max((abs(a - b) for a, b in pairs), default=0.0)
            checked.must(apart <= tolerance, check, f"{kind} scores differ by {apart:.3g} {when}")


def _plain(prediction: Prediction) -> Prediction:
    return replace(prediction, span_scores=(), relation_scores=(), link_scores=())


def _reloaded(
    checked: CheckedPart[Decoder],
    model: Model,
    items: Sequence[Any],
    first: Sequence[Prediction],
    tolerance: float,
) -> None:
    torch.manual_seed(2)
    other = checked.fresh()
    other.build(model.fuser.dims, model.labels)
    other.connect(model.named_encoders)
    other.load_state_dict(model.decoder.state_dict())
    again = Model(model.named_encoders, model.fuser, other, model.labels).eval()
    found = _predicted(checked, again, items)
    _same(checked, "saved weights", first, found, tolerance, "after weights were loaded")
