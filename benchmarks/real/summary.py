"""Finished runs as one result: means over seeds, differences from the first arm, intervals, and what is missing."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from finished import RESAMPLES, Finished

from mmkit.metrics.bootstrap import f1_interval
from mmkit_report.statistics.paired import holm, paired

if TYPE_CHECKING:
    from arms import Arm, Study


def write_summary(path: Path, study: Study, found: Sequence[Finished]) -> dict[str, Any]:
    """Write what is there of a study; arms without a run are in it too."""
    by_arm = {arm.name: sorted((x for x in found if x.arm == arm.name), key=_seed) for arm in study.arms}
    base, *others = study.arms
    rows = [_row(arm, by_arm[arm.name], study.score) for arm in study.arms]
    for row, arm in zip(rows[1:], others, strict=True):
        if both := shared(by_arm[base.name], by_arm[arm.name]):
            row["difference"] = difference(*both, study.score) | {"from": base.name}
    told = [row["difference"] for row in rows if "difference" in row]
    for one, corrected in zip(told, holm([x["p_randomisation"] for x in told]), strict=True):
        one["p_holm"] = corrected
    content = {
        "study": study.name,
        "title": study.title,
        "score": study.score,
        "data": next((x.content["data"] for x in found), {}),
        "encoders": next((x.content["encoders"] for x in found), {}),
        "machines": _distinct([x.content["machine"]["cpu"] for x in found]),
        "arms": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".part")
    written.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    written.replace(path)
    return content


def _seed(run: Finished) -> int:
    return run.seed


def _row(arm: Arm, runs: Sequence[Finished], score: str) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": arm.name, "told": arm.told, "seeds": [run.seed for run in runs]}
    if not runs:
        return row
    low, high = f1_interval(np.mean([run.counts for run in runs], axis=0), RESAMPLES)
    return row | {
        "dev": _spread([run.content["scores"]["dev"][score] for run in runs]),
        "test": _spread([run.content["scores"]["test"][score] for run in runs]),
        "interval": [low, high],
        "labels": _labels(runs),
        "kinds": {
            kind: _mean([run.content["kinds"][kind] for run in runs]) for kind in runs[0].content["kinds"]
        },
        "calibration_error": _mean([run.content["calibration_error"] or 0.0 for run in runs]),
        "seconds": _mean([run.content["seconds"] for run in runs]),
    }


def _labels(runs: Sequence[Finished]) -> dict[str, dict[str, float]]:
    """Mean F1 of each gold label, and how many gold items it has."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        for label in run.content["labels"]:
            found.setdefault(label["group"], []).append(label)
    return {
        name: {"f1": sum(x["f1"] or 0.0 for x in each) / len(runs), "gold": each[0]["gold"]}
        for name, each in sorted(found.items())
    }


def shared(
    base: Sequence[Finished], other: Sequence[Finished]
) -> tuple[list[Finished], list[Finished]] | None:
    """The runs of both arms that have the same seeds, in the same order."""
    seeds = {run.seed for run in base} & {run.seed for run in other}
    if not seeds:
        return None
    return [x for x in base if x.seed in seeds], [x for x in other if x.seed in seeds]


def difference(base: Sequence[Finished], other: Sequence[Finished], score: str) -> dict[str, Any]:
    """The paired difference; an example's counts are means over the seeds, as in `mmkit compare`."""
    before, after = (np.mean([run.counts for run in runs], axis=0) for runs in (base, other))
    each = [
        b.content["scores"]["test"][score] - a.content["scores"]["test"][score]
        for a, b in zip(base, other, strict=True)
    ]
    return {**paired(before, after, RESAMPLES)._asdict(), "each": each, "seeds": [run.seed for run in base]}


def _spread(values: Sequence[float]) -> dict[str, Any]:
    return {
        "mean": _mean(values),
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "each": list(values),
    }


def _mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def _distinct(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(values))
