"""Runs compared: scores, whether a difference is more than chance, what differs in recipes, and which examples flip."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmkit import RunError
from mmkit.inference.results import Known
from mmkit.runs.opening import address_of
from mmkit_report.same_data import check_same_data
from mmkit_report.scored import Scored, read_all
from mmkit_report.statistics.paired import Paired, holm, paired

RESAMPLES = 10_000
UNTOLD = ("about.", "sample.", "paths.")
"""What changes nothing by itself."""


@dataclass(frozen=True)
class Group:
    """Runs that are compared as one: a run, or runs of one recipe with several seeds."""

    name: str
    runs: Sequence[Scored]

    @cached_property
    def counts(self) -> dict[str, NDArray[np.float64]]:
        """Score → the counts of each example, averaged over the runs, so that groups of any size compare."""
        counted = [run.example_counts for run in self.runs]
        shared = [name for name in counted[0] if all(name in each for each in counted)]
        return {name: np.mean([each[name] for each in counted], axis=0) for name in shared}

    def figure(self, name: str) -> Spread | None:
        """A score over the runs; None if one of them does not have it."""
        values = [run.figures[name] for run in self.runs if name in run.figures]
        return Spread.of(values) if len(values) == len(self.runs) else None

    def rights(self) -> NDArray[np.float64]:
        """`[N]`: the share of the runs that have no error in an example."""
        right = [[not any(f.is_error for f in found) for found in run.findings] for run in self.runs]
        mean: NDArray[np.float64] = np.mean(np.array(right, dtype=np.float64), axis=0)
        return mean


@dataclass(frozen=True)
class Spread:
    """A score over several runs. `std` is the sample standard deviation, not a number for a single run."""

    mean: float
    std: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        std = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
        return cls(float(np.mean(values)), std, len(values))


@dataclass(frozen=True)
class Flips:
    """The ids of examples that the base has right and the other wrong (`lost`), and the reverse (`gained`)."""

    gained: list[str]
    lost: list[str]


@dataclass(frozen=True)
class Comparison:
    """Groups of runs; all but the first are compared with the first, the base."""

    split: str
    examples: int
    groups: Sequence[Group]
    figures: Sequence[str]
    tests: Mapping[str, Sequence[Paired]]
    """Score → its test in each group but the first."""
    corrected: Mapping[str, Sequence[float]]
    """Score → the p-values of approximate randomisation, corrected for the number of groups (Holm, 1979)."""
    settings: Mapping[str, Sequence[Any]]
    """Dotted name → its value in each group, of settings that differ; `MISSING` where there is no such setting."""
    flips: Sequence[Flips] = field(default_factory=list)
    """Of each group but the first."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        rows = []
        for i, group in enumerate(self.groups):
            spreads = {name: group.figure(name) for name in self.figures}
            row: dict[str, Any] = {
                "name": group.name,
                "runs": [run.name for run in group.runs],
                "figures": {name: _spread(spread) for name, spread in spreads.items() if spread},
            }
            if i:
                row["against"] = self.groups[0].name
                row["tests"] = {
                    name: {**tests[i - 1]._asdict(), "p_randomisation_holm": self.corrected[name][i - 1]}
                    for name, tests in self.tests.items()
                }
                row["flips"] = asdict(self.flips[i - 1])
            rows.append(row)
        settings = {name: [_setting(value) for value in values] for name, values in self.settings.items()}
        return {"split": self.split, "examples": self.examples, "groups": rows, "settings": settings}


MISSING = object()
"""What a recipe has for a setting that it does not have."""


def _setting(value: Any) -> Any:
    return {"missing": True} if value is MISSING else {"value": value}


def _spread(spread: Spread) -> dict[str, Any]:
    return {"mean": spread.mean, "std": None if math.isnan(spread.std) else spread.std, "runs": spread.runs}


def compare(
    folders: Sequence[str | Path],
    split: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    resamples: int = RESAMPLES,
) -> Comparison:
    """Compare runs, or folders of runs, on one split; each with the first.

    Raises `RunError` if they were not scored on the same data, or if there are fewer than two groups.
    """
    groups = read_groups(folders, split, overrides)
    if len(groups) < 2:
        raise RunError(
            "there is nothing to compare with",
            where=folders[0] if folders else "",
            hint="name two or more runs, or folders of runs",
            code="report.one-run",
        )
    check_same_data([run for group in groups for run in group.runs])
    base, *others = groups
    names = list(dict.fromkeys(name for group in groups for run in group.runs for name in run.figures))
    tests = {
        name: [paired(base.counts[name], other.counts[name], resamples) for other in others]
        for name in base.counts
        if all(name in other.counts for other in others)
    }
    return Comparison(
        split=split,
        examples=len(base.runs[0].examples),
        groups=groups,
        figures=[name for name in names if name.count(".") == 1],
        tests=tests,
        corrected={name: holm([test.p_randomisation for test in found]) for name, found in tests.items()},
        settings=differing([group.runs for group in groups]),
        flips=[_flips(base, other) for other in others],
    )


def read_groups(
    folders: Sequence[str | Path], split: str, overrides: Mapping[str, Any] | None = None
) -> list[Group]:
    """The runs in each folder. Data that several runs share are read once."""
    known: Known = {}
    return [
        Group(address_of(folder) or str(folder), read_all(folder, split, overrides, known))
        for folder in folders
    ]


def differing(groups: Sequence[Sequence[Scored]]) -> dict[str, list[Any]]:
    """The settings in which groups differ: dotted name → one value for each group.

    Where a setting differs within a group too (the seed), its values are a list.
    """
    flat = [[flattened(run.recipe.config) for run in runs] for runs in groups]
    names = dict.fromkeys(name for group in flat for config in group for name in config)
    found: dict[str, list[Any]] = {}
    for name in names:
        values = []
        for group in flat:
            own = _distinct([config.get(name, MISSING) for config in group])
            values.append(own[0] if len(own) == 1 else own)
        if len(_distinct(values)) > 1 and not name.startswith(UNTOLD):
            found[name] = values
    return found


def flattened(config: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """A recipe's settings by dotted name."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        dotted = f"{within}.{name}" if within else name
        flat |= flattened(value, dotted) if isinstance(value, dict) and value else {dotted: value}
    return flat


def _distinct(values: Sequence[Any]) -> list[Any]:
    """Each value once, in order. True and 1 are different settings."""
    found: list[Any] = []
    for value in values:
        if not any(type(value) is type(other) and value == other for other in found):
            found.append(value)
    return found


def _flips(base: Group, other: Group) -> Flips:
    """Examples that most runs of one group have right, and most runs of the other do not."""
    before, after = base.rights() > 0.5, other.rights() > 0.5
    ids = [example.id for example in base.runs[0].examples]
    return Flips(
        gained=[ids[i] for i in np.flatnonzero(after & ~before)],
        lost=[ids[i] for i in np.flatnonzero(before & ~after)],
    )
