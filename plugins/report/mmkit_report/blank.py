"""What the photos do: the same examples predicted with blank images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mmkit
from mmkit import Example, Prediction
from mmkit.inference.results import Results
from mmkit_report.scored import Scored


@dataclass(frozen=True)
class WithBlank:
    """A run's results with blank images, and by how much each prediction changed."""

    scored: Scored
    changes: list[float]


def with_blank(scored: Scored, device: str = "auto") -> WithBlank:
    """Predict the examples of a run again, with all images blank.

    Texts, contexts and candidates stay: annotators do not run again. Raises what `mmkit.load` raises.
    """
    model = mmkit.load(scored.results.folder, device=device)
    blank = [_blanked(example) for example in scored.examples]
    predictions = model.inference.predict(model.model.items(blank))
    results: Results = replace(scored.results, predictions=predictions, figures={})
    changes = [change(*pair) for pair in zip(scored.predictions, predictions, strict=True)]
    return WithBlank(Scored(results), changes)


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
