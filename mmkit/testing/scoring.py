"""`check_metric`: a metric's scores of right and wrong predictions, and changes that must not affect them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmkit.data.types import Example, Prediction
from mmkit.metrics.base import Metric, is_share
from mmkit.testing.checked import CheckedPart
from mmkit.testing.stand_ins import stand_in_examples

Pairs = Sequence[tuple[Example, Prediction]]


def check_metric(
    metric: str | Metric,
    settings: Mapping[str, Any] | None = None,
    *,
    examples: Sequence[Example] | None = None,
    right: Sequence[Prediction] | None = None,
    wrong: Sequence[Prediction] | None = None,
    ordered: bool = False,
) -> None:
    """Check a metric on predictions that are all right, all wrong, and mixed.

    - Scores are numbers in [0, 1], or not a number (NaN) where there is nothing to score. Mean ranks are 1 or more.
    - No score is lower for right predictions than for wrong ones, and at least one is higher.
    - `compute` gives the same when it is called twice, and the same after `reset` as a new metric.
    - Batches make no difference, and neither does the order, unless it is `ordered`.

    `right` predictions are made with `Prediction.of` by default, and `wrong` ones find nothing. Raises
    `AssertionError`.
    """
    checked: CheckedPart[Metric] = CheckedPart("metrics", metric, settings)
    examples = list(examples or stand_in_examples())
    wrong = list(wrong or (Prediction(example.id) for example in examples))
    right = list(right or (Prediction.of(example) for example in examples))
    good, bad = list(zip(examples, right, strict=True)), list(zip(examples, wrong, strict=True))
    mixed = [*good[:1], *bad[1:]]  # no half, which right and wrong ones together are too
    made = checked.fresh()
    _rates(checked, made.compute(), "of no examples")
    best, worst = (
        _figures(checked, made, good, "of right predictions"),
        _figures(checked, made, bad, "of wrong ones"),
    )
    both = sorted(
        name
        for name in best.keys() & worst.keys()
        if not math.isnan(best[name]) and not math.isnan(worst[name])
    )
    for name in both:
        found = f"{name} is {best[name]:.4g} of right predictions and {worst[name]:.4g} of wrong ones"
        checked.must(best[name] >= worst[name], "higher is better", found)
    at = f"no score of {both or 'none'} is higher for right predictions than for wrong ones"
    checked.must(any(best[name] > worst[name] for name in both), "higher is better", at)
    once = _figures(checked, made, mixed, "of mixed predictions")
    _same(checked, "asked twice", once, made.compute(), "when compute is called again")
    _same(checked, "reset", once, _figures(checked, checked.fresh(), mixed, ""), "in a new metric")
    singly = checked.fresh()
    for example, prediction in mixed:
        singly.update([example], [prediction])
        singly.compute()
    _same(checked, "batches", once, singly.compute(), "when examples come one by one")
    if not ordered:
        back = _figures(checked, made, mixed[::-1], "")
        _same(checked, "order", once, back, "when examples come in another order")


def _figures(checked: CheckedPart[Metric], metric: Metric, pairs: Pairs, of: str) -> dict[str, float]:
    metric.reset()
    metric.update([example for example, _ in pairs], [prediction for _, prediction in pairs])
    found = dict(metric.compute())
    _rates(checked, found, of)
    return found


def _rates(checked: CheckedPart[Metric], figures: Mapping[str, float], of: str) -> None:
    for name, value in figures.items():
        share = is_share(name)
        fits = isinstance(value, int | float) and (0 <= value <= 1 if share else 1 <= value < math.inf)
        allowed = "in [0, 1]" if share else "from 1 on"
        checked.must(fits or math.isnan(value), "rates", f"{name} {of} is {value!r}, not a number {allowed}")


def _same(
    checked: CheckedPart[Metric], check: str, one: Mapping[str, float], other: Mapping[str, float], when: str
) -> None:
    checked.must(
        one.keys() == other.keys(), check, f"the scores are {sorted(one)} and {sorted(other)} {when}"
    )
    for name, value in one.items():
        nothing = math.isnan(value) and math.isnan(other[name])
        same = nothing or math.isclose(value, other[name], rel_tol=1e-9, abs_tol=1e-12)
        checked.must(same, check, f"{name} is {value:.6g} and {other[name]:.6g} {when}")
