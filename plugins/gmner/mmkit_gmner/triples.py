"""`gmner.triples.v1`: precision, recall and F1 of names with their types and their boxes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from numpy.typing import NDArray

from mmkit.data.problems import Problem
from mmkit.data.strings import need_positions, without_positions
from mmkit.data.types import Example, Prediction, Region
from mmkit.errors import PartError
from mmkit.metrics.base import Metric
from mmkit.metrics.f1 import F1Counts, pairs, rates
from mmkit_gmner.mentions import Named, named
from mmkit_gmner.overlap import best_iou
from mmkit_gmner.regions import regions_in


class GroundedTriples(Metric):
    """F1 of grounded entities (Yu et al., ACL 2023): names, their types, and the regions that show them.

    - `mner`: right if its place and its type are right.
    - `eeg`: its place and its region; the type does not matter.
    - `gmner`: its place, its type and its region.

    A region is right if it overlaps with any of the gold ones by `threshold` or more (intersection over union), or if
    there is no gold one and none was predicted. Of several predicted regions of a name, the first counts.

    With `match` "position", names are compared by the places of their words. With "string" they are compared by their
    words, and each gold name of a sentence is used once, as in the published script of RiVEG; so predictions without
    positions can be scored too.

    Scores: for each of the three `gmner_f1`, `gmner_precision`, `gmner_recall` (micro) and `gmner_macro_f1`, the mean
    over types; with `per_type`, `gmner_f1.PER` and so on; with `bootstrap`, a number of resamples, the bounds of a 95 %
    interval, `gmner_f1.low` and `gmner_f1.high`. Among the names whose place and type are right: `visible_f1`, F1 of
    whether they are to be seen, and `region_accuracy`, the share of right boxes where both sides have one.
    `coverage`: the share of names to be seen that one of the example's object images (an annotator's proposals) shows;
    there is no such score where no example has any.
    """

    kinds = ("gmner", "mner", "eeg")

    def __init__(
        self,
        match: Literal["position", "string"] = "position",
        threshold: float = 0.5,
        bootstrap: int = 0,
        per_type: bool = True,
    ) -> None:
        if not 0 < threshold <= 1:
            raise PartError(
                f"threshold is an overlap, above 0 and up to 1, not {threshold}", code="part.setting"
            )
        self.match, self.threshold, self.bootstrap, self.per_type = match, threshold, bootstrap, per_type
        self.strings = match == "string"
        self.reset()

    def reset(self) -> None:
        self._counts = {
            kind: F1Counts(bootstrap=self.bootstrap, per_label=self.per_type) for kind in self.kinds
        }
        self._visible = [0, 0, 0]  # right, predicted, gold, among names of the right type
        self._boxes = [0, 0]  # right, compared
        self._covered = [0, 0]  # shown by a proposal, to be seen
        self._proposed = False  # whether any example has proposals

    def update(self, examples: Sequence[Example], predictions: Sequence[Prediction]) -> None:
        for example, prediction in pairs(examples, predictions):
            if not self.strings:
                need_positions(example.id, example.notes, prediction.notes)
            gold, found = (named(example, told, self.strings) for told in (example, prediction))
            typed = _matched(gold, found, _same_type)
            self._add("mner", gold, found, typed)
            self._add("eeg", gold, found, _matched(gold, found, self._same_region))
            self._add("gmner", gold, found, _matched(gold, found, self._same))
            for i, j in typed.items():
                self._ground(gold[j], found[i])
            self._cover(example, gold)

    def examine(self, examples: Sequence[Example]) -> Iterable[Problem]:
        if not self.strings:
            yield from without_positions(examples)

    def compute(self) -> dict[str, float]:
        every = {kind: counts.figures() for kind, counts in self._counts.items()}
        figures = {f"{kind}_f1": own["f1"] for kind, own in every.items()}  # a line has little room
        figures["visible_f1"] = rates(*self._visible)["f1"]
        figures["region_accuracy"] = _share(*self._boxes)
        figures["coverage"] = _share(*self._covered) if self._proposed else math.nan
        for kind, own in every.items():
            for name, value in own.items():
                if "." not in name or name.startswith("f1."):  # only the F1 of a type
                    figures[f"{kind}_{name}"] = value
        return figures

    def example_counts(self) -> dict[str, NDArray[Any]]:
        return {f"{kind}_f1": counts.by_example() for kind, counts in self._counts.items()}

    def same_regions(self, gold: Sequence[Region], found: Sequence[Region]) -> bool:
        """Whether regions of a name count as right: the first one of `found` decides, or that there is none."""
        if not gold or not found:
            return not gold and not found
        return best_iou(found[0], gold) >= self.threshold

    def _same_region(self, gold: Named, found: Named) -> bool:
        if not gold.visible or not found.visible:
            return gold.visible == found.visible
        return bool(found.regions) and self.same_regions(gold.regions, found.regions)

    def _same(self, gold: Named, found: Named) -> bool:
        return _same_type(gold, found) and self._same_region(gold, found)

    def _add(self, kind: str, gold: Sequence[Named], found: Sequence[Named], right: dict[int, int]) -> None:
        """Count an example's names; those that are right are one item on both sides, with the gold type."""
        of_gold = {(name.label, "gold", i) for i, name in enumerate(gold)}
        of_found = {
            (gold[right[i]].label, "gold", right[i]) if i in right else (name.label, "found", i)
            for i, name in enumerate(found)
        }
        self._counts[kind].add(of_gold, of_found)

    def _ground(self, gold: Named, found: Named) -> None:
        """Count whether a name of the right type has a region, and the right one."""
        both = gold.visible and found.visible
        for place, value in enumerate((both, found.visible, gold.visible)):
            self._visible[place] += value
        if both and found.region is not None:
            self._boxes[0] += self._same_region(gold, found)
            self._boxes[1] += 1

    def _cover(self, example: Example, gold: Sequence[Named]) -> None:
        self._proposed |= any(image.role == "object" and image.box is not None for image in example.images)
        regions = [region for _, region in regions_in(example) if region is not None]
        for name in gold:
            if name.regions:
                best = max((best_iou(region, name.regions) for region in regions), default=0.0)
                self._covered[0] += best >= self.threshold
                self._covered[1] += 1


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _same_type(gold: Named, found: Named) -> bool:
    return gold.label == found.label


def _matched(
    gold: Sequence[Named], found: Sequence[Named], same: Callable[[Named, Named], bool]
) -> dict[int, int]:
    """Place of a found name → that of the gold one that it gets right, each of which is used once."""
    free: dict[Any, list[int]] = {}
    for j, name in enumerate(gold):
        free.setdefault(name.place, []).append(j)
    right: dict[int, int] = {}
    for i, name in enumerate(found):
        own = free.get(name.place, [])
        fitting = [j for j in own if same(gold[j], name)]
        if fitting:
            right[i] = fitting[0]
            own.remove(fitting[0])
    return right
