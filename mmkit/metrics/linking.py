"""`mmkit.linking.v1`: accuracy and mean reciprocal rank of links, over candidates and the knowledge base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mmkit.data.types import Example, GoldRank, Prediction
from mmkit.errors import DataError, RecipeError
from mmkit.metrics.base import MEAN_RANK, Metric
from mmkit.metrics.bootstrap import f1_interval
from mmkit.metrics.f1 import pairs

OLD_NOTE = "mmkit.entity_matcher"
"""The note in which predictions once had the ranks of their gold entities. Such files can still be scored."""

TOP = (1, 3, 5, 10, 20)


class Linking(Metric):
    """How often the gold entity is among the best, and the means of 1 / rank and of ranks, over examples with one.

    A rank is 1 + the number of other entities that score at least as high: ties count against the model, and
    the gold entity never competes with itself. Scores, each `top1`, `top3`, `top5`, `top10`, `top20` and `mrr`:

    - `top1` ... `mrr`: among the example's candidates, to which the gold entity is added if it is missing (the
      published protocol). If an example lists none, among the whole knowledge base.
    - `strict_top1` ... `strict_mrr`: the same, but an entity missing from its candidates is not found;
      `recall` is the share of gold entities that are not missing.
    - `kb_top1` ... `kb_mrr`: among the whole knowledge base.
    - `mean_rank` and `kb_mean_rank`: the mean of the ranks, from 1 on, among the candidates and among the whole
      knowledge base. Lower is better. A mean rank is left out if one entity has no rank, or if it is not known.

    An entity that is not in the knowledge base is never found, but its example counts.

    `mmkit train` and `mmkit evaluate` take the ranks from the decoder. Saved predictions contain only links: these
    are ranked by their scores (without scores, by their order), and entities that are not listed rank below them. A
    score that such lists do not determine for all examples is left out: `mrr` if a gold entity is not in its list,
    `top20` if that list is shorter than 20, `kb_top1` if only candidates are listed. A prediction without any link
    finds nothing.

    `bootstrap` is the number of resamples for a 95 % interval of `top1`, given as `top1.low` and `top1.high`; 0 for
    no interval.
    """

    def __init__(self, bootstrap: int = 0) -> None:
        if bootstrap < 0:
            raise RecipeError(
                f"bootstrap is a number of resamples, not {bootstrap}",
                hint="0 for no interval",
                code="part.setting",
            )
        self.bootstrap = bootstrap
        self.reset()

    def reset(self) -> None:
        self._ranks: list[_Ranks] = []

    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        """Add the links of predictions. Raises `DataError` if one does not have one score for each link."""
        self._ranks += [
            _told(_noted(prediction.notes[OLD_NOTE], example))
            if OLD_NOTE in prediction.notes
            else _listed(prediction, example)
            for example, prediction in pairs(examples, predictions)
            if example.entity is not None
        ]

    def update_ranks(self, examples: Sequence[Example], ranks: Sequence[GoldRank]) -> None:
        """Add ranks that a decoder gave."""
        self._ranks += [
            _told(rank) for example, rank in zip(examples, ranks, strict=True) if example.entity is not None
        ]

    def compute(self) -> dict[str, float]:
        counts = self.example_counts()
        figures = {name: _mean(each[:, 0]) for name, each in counts.items()}
        if self.bootstrap and "top1" in figures:
            figures["top1.low"], figures["top1.high"] = f1_interval(counts["top1"], self.bootstrap)
        among, among_known, _, overall, overall_known = self._columns()
        return {
            **figures,
            **_mean_rank(among, among_known, MEAN_RANK),
            **_mean_rank(overall, overall_known, f"kb_{MEAN_RANK}"),
        }

    def example_counts(self) -> dict[str, NDArray[Any]]:
        """Of examples with a gold entity. One entity is given and one is wanted, so F1 is accuracy."""
        among, among_known, listed, overall, overall_known = self._columns()
        missed = listed == 0
        strict, strict_known = np.where(missed, np.inf, among), np.where(missed, 1.0, among_known)
        values = {
            **_values(among, among_known, ""),
            **({} if np.isnan(listed).any() else {"recall": listed}),
            **_values(strict, strict_known, "strict_"),
            **_values(overall, overall_known, "kb_"),
        }
        ones = np.ones(len(among))
        return {name: np.stack([each, ones, ones], axis=1) for name, each in values.items()}

    def _columns(self) -> NDArray[np.float64]:
        """The fields of `_Ranks`, `[5, N]`."""
        return np.array(self._ranks, dtype=np.float64).reshape(-1, len(_Ranks._fields)).T


class _Ranks(NamedTuple):
    """The gold entity's ranks in one example, infinite if it is not found. An unknown rank is at least this high."""

    among: float
    """Among the candidates, or the whole knowledge base if there are none."""
    among_known: bool
    listed: float
    """Whether it is one of them; not a number if unknown."""
    overall: float
    overall_known: bool


def _told(rank: GoldRank) -> _Ranks:
    """Ranks that are already computed."""
    among, overall = (np.inf if r is None else float(r) for r in (rank.among, rank.overall))
    return _Ranks(among, True, rank.listed, overall, True)


def _noted(note: Any, example: Example) -> GoldRank:
    """The ranks in an old prediction's note. Raises `DataError` if it has none."""
    try:
        overall = note["knowledge_base"]["rank"]
        if "candidates" not in note:
            return GoldRank(overall, overall is not None, overall)
        candidates = note["candidates"]
        return GoldRank(candidates["rank"], bool(candidates["found"]), overall)
    except (KeyError, TypeError, DataError) as error:
        raise DataError(
            f"the note {OLD_NOTE!r} of its prediction lacks ranks",
            where=example.id,
            hint="predict again, or remove the note to score by the links",
            code="predictions.no-ranks",
        ) from error


def _listed(prediction: Prediction, example: Example) -> _Ranks:
    """Ranks from a prediction's links. Raises `DataError` if it does not have one score for each link."""
    scores = prediction.link_scores or tuple(-float(i) for i in range(len(prediction.links)))
    if len(scores) != len(prediction.links):
        raise DataError(
            f"{len(prediction.links)} links but {len(scores)} scores",
            where=example.id,
            code="predictions.link-scores",
        )
    if not prediction.links:
        listed = float(example.entity in example.candidates) if example.candidates else np.nan
        return _Ranks(np.inf, True, listed, np.inf, True)
    links: dict[str, float] = {}
    for link, score in zip(prediction.links, scores, strict=True):
        links[link] = max(score, links.get(link, score))
    overall = _place(links, example.entity)
    if not example.candidates:
        return _Ranks(*overall, 1.0 if example.entity in links else np.nan, *overall)
    candidates = frozenset(example.candidates)
    if links.keys() <= candidates:
        overall = overall[0], False  # other entities are not listed
    rivals = {link: score for link, score in links.items() if link in candidates or link == example.entity}
    return _Ranks(*_place(rivals, example.entity), float(example.entity in candidates), *overall)


def _place(links: Mapping[str, float], gold: str | None) -> tuple[float, bool]:
    """The rank of `gold` by the scores of `links`; if it is not one of them, its lowest possible rank, and False."""
    if gold is not None and gold in links:
        return 1.0 + sum(score >= links[gold] for link, score in links.items() if link != gold), True
    return 1.0 + len(links), False


def _values(
    ranks: NDArray[np.float64], known: NDArray[np.float64], prefix: str
) -> dict[str, NDArray[np.float64]]:
    """Each example's share in accuracy within the best of each length, and in mean reciprocal rank, as far as known."""
    sure = known.astype(bool)
    found = {f"{prefix}top{k}": (ranks <= k).astype(float) for k in TOP if (sure | (ranks > k)).all()}
    return found | ({f"{prefix}mrr": 1.0 / ranks} if sure.all() else {})


def _mean_rank(ranks: NDArray[np.float64], known: NDArray[np.float64], name: str) -> dict[str, float]:
    """The mean rank under its name, if there are ranks and all of them are known."""
    whole = len(ranks) and known.astype(bool).all() and np.isfinite(ranks).all()
    return {name: float(ranks.mean())} if whole else {}


def _mean(values: NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else np.nan
