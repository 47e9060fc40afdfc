"""What a prediction got right and wrong, item by item, in the kinds of errors that nervaluate counts.

The kinds follow SemEval-2013 task 9.1 (Segura-Bedmar et al.) as nervaluate reports them: its strict "incorrect" is
split into wrong label, wrong bounds, and both. Where a model also says which part of a photo shows a name, a span
whose bounds and label are right may have the wrong box (Yu et al., ACL 2023).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from mmkit import Example, Prediction, Region, Relation, Span

Kind = Literal[
    "right", "wrong label", "wrong bounds", "wrong label and bounds", "wrong box", "missed", "spurious"
]
What = Literal["span", "relation", "link"]

KINDS: tuple[Kind, ...] = (
    "right",
    "wrong label",
    "wrong bounds",
    "wrong label and bounds",
    "wrong box",
    "missed",
    "spurious",
)
"""All kinds, in the order in which they are shown. A missed item is gold only, a spurious one is predicted only."""

SameRegions = Callable[[Sequence[Region], Sequence[Region]], bool]
"""Whether predicted regions of a span count as right, given the gold ones and the predicted ones."""

Item = TypeVar("Item", Span, Relation)


@dataclass(frozen=True, slots=True)
class Finding:
    """One gold item, one predicted item, or a pair of them that belong together.

    `gold` and `predicted` are positions in the example's and the prediction's spans or relations; None if there is
    none. Of a link, `predicted` is the place of the predicted entity among the links, which is 0. `score` is that of
    the predicted item, in [0, 1]; None if it has none, or nothing is predicted.
    """

    what: What
    kind: Kind
    gold: int | None
    predicted: int | None
    gold_label: str | None
    predicted_label: str | None
    score: float | None

    @property
    def is_error(self) -> bool:
        return self.kind != "right"


def kinds_for(what: What, boxes: bool) -> tuple[Kind, ...]:
    """The kinds that findings about `what` can have, in the order of `KINDS`. `boxes`: boxes of spans are compared."""
    return KINDS if boxes and what == "span" else tuple(kind for kind in KINDS if kind != "wrong box")


def findings(
    example: Example,
    prediction: Prediction,
    none_labels: Collection[str] = (),
    same_regions: SameRegions | None = None,
) -> list[Finding]:
    """All findings of one example: spans, then relations, then the link.

    Relations with a label in `none_labels` say that there is none: given, they are no gold item; predicted, they are
    no predicted one. An example without a gold entity has no finding about links. With `same_regions`, a span that is
    right in bounds and label has to be right in its regions too; without it, regions are not looked at.
    """
    found = _matched("span", example.spans, prediction.spans, prediction.span_scores, _spans_overlap, ())
    if same_regions is not None:
        found = [_with_box(example, prediction, finding, same_regions) for finding in found]
    found += _matched(
        "relation",
        example.relations,
        prediction.relations,
        prediction.relation_scores,
        _relations_overlap,
        none_labels,
    )
    if example.entity is not None:
        found.append(_link(example.entity, prediction))
    return found


def kinds_of(found: Iterable[Finding]) -> Counter[Kind]:
    """How many findings there are of each kind."""
    return Counter(finding.kind for finding in found)


def _matched(
    what: What,
    gold: Sequence[Item],
    predicted: Sequence[Item],
    scores: Sequence[float],
    overlap: Callable[[Item, Item], bool],
    none_labels: Collection[str],
) -> list[Finding]:
    """Each predicted item with the gold item it stands for, in the order of the text, then the missed ones.

    First equal items find each other. Each other predicted item, in the order of the text, takes the first gold item
    that overlaps it and is still free, as nervaluate does. What a decoder lists twice counts once.
    """
    free = {j: item for j, item in enumerate(gold) if item.label not in none_labels}
    open_ = {i: item for i, item in enumerate(predicted) if item.label not in none_labels}
    open_ = {i: item for i, item in open_.items() if item not in predicted[:i]}
    free = {j: item for j, item in free.items() if item not in gold[:j]}
    pairs: dict[int, int | None] = {}
    exact = {item: j for j, item in free.items()}
    for i, item in open_.items():
        if item in exact:
            pairs[i] = exact[item]
            del free[exact[item]]
    in_order = sorted(free, key=lambda j: _place(gold[j]))
    for i in sorted(open_.keys() - pairs.keys(), key=lambda i: _place(predicted[i])):
        pairs[i] = next((j for j in in_order if j in free and overlap(free[j], open_[i])), None)
        if (taken := pairs[i]) is not None:
            del free[taken]
    found = []
    for i, pair in sorted(pairs.items()):
        score = scores[i] if i < len(scores) else None
        one, other = (None if pair is None else gold[pair]), predicted[i]
        found.append(
            Finding(what, _kind(one, other), pair, i, None if one is None else one.label, other.label, score)
        )
    return found + [Finding(what, "missed", j, None, free[j].label, None, None) for j in sorted(free)]


def _kind(gold: Span | Relation | None, predicted: Span | Relation) -> Kind:
    if gold is None:
        return "spurious"
    same_label, same_bounds = gold.label == predicted.label, _place(gold) == _place(predicted)
    if same_bounds:
        # a relation between the right words counts as right where only the types of its spans differ
        return "right" if same_label else "wrong label"
    return "wrong bounds" if same_label else "wrong label and bounds"


def _with_box(
    example: Example, prediction: Prediction, finding: Finding, same_regions: SameRegions
) -> Finding:
    """The finding, or that the box is wrong where all else about the span is right."""
    if finding.kind != "right" or finding.gold is None or finding.predicted is None:
        return finding
    gold, said = example.spans[finding.gold], prediction.spans[finding.predicted]
    return finding if same_regions(gold.regions, said.regions) else replace(finding, kind="wrong box")


def _place(item: Span | Relation) -> tuple[int, ...]:
    if isinstance(item, Span):
        return item.start, item.end
    return item.head.start, item.head.end, item.tail.start, item.tail.end


def _spans_overlap(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def _relations_overlap(one: Relation, other: Relation) -> bool:
    return _spans_overlap(one.head, other.head) and _spans_overlap(one.tail, other.tail)


def _link(entity: str, prediction: Prediction) -> Finding:
    if not prediction.links:
        return Finding("link", "missed", 0, None, entity, None, None)
    best = prediction.links[0]
    score = prediction.link_scores[0] if prediction.link_scores else None
    return Finding("link", "right" if best == entity else "wrong label", 0, 0, entity, best, score)


def severity(found: Iterable[Finding]) -> tuple[int, float]:
    """By how much an example is wrong: its errors, then the scores of what was wrongly predicted, together.

    So of two examples with equally many errors, the one about which the model was surer is worse.
    """
    errors = [finding for finding in found if finding.is_error]
    return len(errors), sum(finding.score or 0.0 for finding in errors)
