"""What a report says about how a run was made: recipe, data, versions, and the curves of its training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmkit.annotators.makers import makers_in, told
from mmkit.data.lines import numbered_lines
from mmkit.files import parsed_json
from mmkit.metrics.base import is_share
from mmkit.terminal.notes import few
from mmkit_report.comparison import flattened
from mmkit_report.scored import Scored

POINTS = 400
"""The most points of a curve. Longer curves are thinned out evenly."""

FACTS = (
    *("status", "started", "seconds", "epochs", "updates", "best_epoch", "seed", "device", "device_name"),
    *("precision", "python", "git_commit"),
)
"""What of `run.json` is shown, in this order."""
NO_LOSS = frozenset({"split", "epoch", "step", "examples_per_second", "learning_rate"})


def about(scored: Scored, note: Callable[[str], None]) -> dict[str, Any]:
    """As JSON: facts, versions, data files, settings, curves, alarms. `note` is told what is left out."""
    facts = scored.results.facts
    return {
        "facts": {
            "run": scored.name,
            **{name: facts[name] for name in FACTS if facts.get(name) is not None},
            **_made_by(facts),
        },
        "versions": {str(k): str(v) for k, v in _mapping(facts.get("versions")).items()},
        "files": [
            {"split": split, **{key: file.get(key) for key in ("file", "sha256", "variant")}}
            for split, files in _files(scored).items()
            for file in files
        ],
        "settings": flattened(scored.recipe.config),
        "alarms": [str(alarm) for alarm in facts.get("alarms") or ()],
        "curves": curves(scored.results.folder / "metrics.jsonl", note),
    }


def _made_by(facts: Mapping[str, Any]) -> dict[str, str]:
    """Which models made what annotators added, by split and annotator."""
    return {
        f"{split}: {name}": "; ".join(line for line in told(name, makers))
        for split, origin in _mapping(facts.get("data")).items()
        for name, makers in makers_in(origin).items()
    }


def _files(scored: Scored) -> dict[str, list[Mapping[str, Any]]]:
    data = _mapping(scored.results.facts.get("data"))
    found: dict[str, list[Mapping[str, Any]]] = {
        str(split): [dict(file) for file in _mapping(origin).get("files") or () if isinstance(file, dict)]
        for split, origin in data.items()
    }
    return {**found, scored.split: list(scored.results.files)}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def curves(path: Path, note: Callable[[str], None]) -> list[dict[str, Any]]:
    """The training losses and the scores of each split, by step, without mean ranks, which are no shares.

    `note` is told of lines that cannot be read.
    """
    found: dict[tuple[str, str], list[tuple[int, float]]] = {}
    lines = numbered_lines(path) if path.is_file() else ()
    unread: list[int] = []
    for number, line in lines:
        try:
            row = parsed_json(line)
            step, split = row["step"], str(row["split"])
        except (ValueError, LookupError, TypeError):
            unread.append(number)
            continue
        for name, value in row.items():
            shown = name not in NO_LOSS and (split == "train" or (name.count(".") == 1 and is_share(name)))
            if shown and type(value) in (int, float) and math.isfinite(value) and type(step) is int:
                found.setdefault((split, name), []).append((step, float(value)))
    if unread:
        note(f"{path}: lines that cannot be read are left out of the curves: {few(list(map(str, unread)))}")
    return [
        {"split": split, "name": name, "points": _thinned(points)}
        for (split, name), points in found.items()
        if split == "train" or len(points) > 1
    ]


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    every = max(1, math.ceil(len(points) / POINTS))
    return [point for i, point in enumerate(points) if i % every == 0 or i == len(points) - 1]
