"""`mmkit.linking.v1`: accuracy and mean reciprocal rank of entity links, over candidates and over everything."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkit.data.types import Example, Prediction
from mmkit.errors import DataError, RecipeError
from mmkit.metrics.base import Metric
from mmkit.metrics.bootstrap import f1_interval
from mmkit.metrics.f1 import pairs

NOTE = "mmkit.entity_matcher"
"""Note key under which a prediction brings its ranks."""

TOP = (1, 5, 10, 20)


class Linking(Metric):
    """How often the gold entity is among the best, and the mean of 1 / rank, over examples that have one.

    A rank is 1 + the number of other entities that score at least as high: ties count against the model, and
    the gold entity never competes with itself. Figures, each `top1`, `top5`, `top10`, `top20` and `mrr`:

    - `top1` ... `mrr`: among the example's candidates, the gold entity put among them where it is missing (the
      protocol of published figures). Where an example lists none, among the whole knowledge base.
    - `strict_top1` ... `strict_mrr`: the same, but an entity missing from its candidates is not found;
      `recall` is the share of those that are not missing.
    - `kb_top1` ... `kb_mrr`: among the whole knowledge base.

    An entity that the knowledge base lacks is never found, and counts. Ranks are those that the matcher noted. A
    prediction of another origin is ranked by its `links` and their scores (without scores, by their order), and
    what it does not list is not found. `bootstrap` is the number of resamples for a 95 % interval of `top1`, given
    as `top1.low` and `top1.high`; 0 makes none.
    """

    def __init__(self, bootstrap: int = 0) -> None:
        if bootstrap < 0:
            raise RecipeError(
                f"bootstrap is a number of resamples, not {bootstrap}", hint="0 for no interval"
            )
        self.bootstrap = bootstrap
        self.reset()

    def reset(self) -> None:
        self._ranks: list[_Ranks] = []

    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        self._ranks += [
            _noted(prediction.notes[NOTE], example)
            if NOTE in prediction.notes
            else _listed(prediction, example)
            for example, prediction in pairs(examples, predictions)
            if example.entity is not None
        ]

    def compute(self) -> dict[str, float]:
        among, found, everywhere = np.array(self._ranks, dtype=np.float64).reshape(-1, 3).T
        figures = {
            **_rates(among, ""),
            "recall": _mean(found),
            **_rates(np.where(found, among, np.inf), "strict_"),
            **_rates(everywhere, "kb_"),
        }
        if self.bootstrap:
            ones = np.ones(len(among), dtype=np.int64)  # one entity is given and one sought: F1 is accuracy
            counts = np.stack([(among <= 1).astype(np.int64), ones, ones], axis=1)
            figures["top1.low"], figures["top1.high"] = f1_interval(counts, self.bootstrap)
        return figures


class _Ranks(NamedTuple):
    """The gold entity's ranks in one example, infinite where it cannot be found."""

    among: float
    """Among the candidates, or everything where there are none."""
    found: bool
    """Whether it is one of them."""
    everywhere: float


def _noted(note: Any, example: Example) -> _Ranks:
    """The ranks of a matcher's note. Raises `DataError` where it has none."""
    try:
        everywhere = _or_infinite(note["knowledge_base"]["rank"])
        if "candidates" not in note:
            return _Ranks(everywhere, everywhere < np.inf, everywhere)
        candidates = note["candidates"]
        return _Ranks(_or_infinite(candidates["rank"]), bool(candidates["found"]), everywhere)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the note {NOTE!r} of its prediction lacks ranks",
            where=example.id,
            hint="predict anew, or leave the note out to be scored by the links",
        ) from error


def _or_infinite(rank: int | None) -> float:
    if rank is None:
        return np.inf
    if rank < 1:
        raise ValueError(f"rank {rank}")
    return float(rank)


def _listed(prediction: Prediction, example: Example) -> _Ranks:
    """Ranks by what a prediction lists. Raises `DataError` if it has other than one score a link."""
    scores = prediction.link_scores or tuple(-float(i) for i in range(len(prediction.links)))
    if len(scores) != len(prediction.links):
        raise DataError(f"{len(prediction.links)} links but {len(scores)} scores", where=example.id)
    links: dict[str, float] = {}
    for link, score in zip(prediction.links, scores, strict=True):
        links[link] = max(score, links.get(link, score))
    everywhere = _rank(links, example.entity, links.keys())
    if not example.candidates:
        return _Ranks(everywhere, everywhere < np.inf, everywhere)
    candidates = frozenset(example.candidates)
    return _Ranks(_rank(links, example.entity, candidates), example.entity in candidates, everywhere)


def _rank(links: dict[str, float], gold: str | None, among: AbstractSet[str]) -> float:
    """The rank of `gold` among those of the other links that count."""
    if gold is None or gold not in links:
        return np.inf
    own = links[gold]
    return 1.0 + sum(score >= own for link, score in links.items() if link != gold and link in among)


def _rates(ranks: NDArray[np.float64], prefix: str) -> dict[str, float]:
    """Accuracy within the best of each length, and mean reciprocal rank; 0 over nothing."""
    return {
        **{f"{prefix}top{k}": _mean(ranks <= k) for k in TOP},
        f"{prefix}mrr": _mean(1.0 / ranks),
    }


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else 0.0
