"""What is predicted again for a report: with blank images, or while the parts show what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import mmkit
from mmkit import Example, Prediction
from mmkit.inspection import Inspection
from mmkit_report.scored import Scored

BLANK = "(blank images)"
"""What stands after a run's name in its view with blank images."""
ROUNDING = 1e-3
"""A smaller change of a score is that of another machine."""


@dataclass(frozen=True)
class View:
    """A column of a report: a run's predictions, as they were written or with blank images."""

    name: str
    scored: Scored
    changes: Sequence[float] | None = None
    """By how much each prediction differs from the written one, in a view with blank images."""
    shown: Sequence[Inspection] | None = None
    """What the parts show of each example; None if they were not asked, or show nothing."""


def views_of(
    scored: Scored, *, blank: bool, inspect: bool, device: str, note: Callable[[str], None]
) -> list[View]:
    """A run's view, and that with blank images if `blank`. With `inspect`, their parts show what they computed.

    Texts, contexts and candidates stay: annotators do not run again. `note` is told what cannot be shown. Raises what
    `mmkit.load` raises.
    """
    if not blank and not inspect:
        return [View(scored.name, scored)]
    model = mmkit.load(scored.results.folder, device=device)
    if inspect and not model.model.inspectable:
        note(
            f"{scored.name}: none of the model's parts shows what it computed, so that there is nothing to inspect"
        )
        inspect = False
    first = View(scored.name, scored)
    if inspect:
        predictions, shown = _predicted(model, scored.examples, inspect)
        moved = sum(change(*pair) > ROUNDING for pair in zip(scored.predictions, predictions, strict=True))
        if moved:
            note(
                f"{scored.name}: {moved:,} of {len(predictions):,} predictions are not exactly those that were "
                "written; what the parts show is of the new ones"
            )
        first = replace(first, shown=shown)
    if not blank:
        return [first]
    predictions, shown = _predicted(model, [_blanked(example) for example in scored.examples], inspect)
    changes = [change(*pair) for pair in zip(scored.predictions, predictions, strict=True)]
    results = replace(scored.results, predictions=predictions, figures={})
    return [first, View(f"{scored.name} {BLANK}", Scored(results), changes, shown)]


def _predicted(
    model: mmkit.Predictor, examples: Sequence[Example], inspect: bool
) -> tuple[list[Prediction], list[Inspection] | None]:
    items = model.model.items(examples)
    if not inspect:
        return model.inference.predict(items), None
    found = model.inference.inspect(items)
    return [prediction for prediction, _ in found], [tables for _, tables in found]


def _blanked(example: Example) -> Example:
    return replace(example, images=tuple(replace(image, path=None, box=None) for image in example.images))


def change(one: Prediction, other: Prediction) -> float:
    """By how much two predictions differ: 1 for each item that only one has, else the difference of its scores."""
    total = 0.0
    for kind, scores in (("spans", "span_scores"), ("relations", "relation_scores")):
        total += _change(_scored(one, kind, scores), _scored(other, kind, scores))
    return total + _change(_best(one), _best(other))


def _best(prediction: Prediction) -> dict[object, float]:
    """The best link and its score."""
    return dict(zip(prediction.links[:1], prediction.link_scores[:1] or (1.0,), strict=False))


def _scored(prediction: Prediction, kind: str, scores: str) -> dict[object, float]:
    items: Sequence[object] = getattr(prediction, kind)
    found: Sequence[float] = getattr(prediction, scores) or (1.0,) * len(items)
    return dict(zip(items, found, strict=False))


def _change(one: dict[object, float], other: dict[object, float]) -> float:
    both = one.keys() & other.keys()
    return len(one.keys() ^ other.keys()) + sum(abs(one[item] - other[item]) for item in both)
