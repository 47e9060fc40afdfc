"""Posts of Twitter10000 that a run was trained on: it is made of Twitter-2015 and Twitter-2017, split anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmkit.data.problems import Problem
from mmkit.runs.lineage import TrainedOn, fingerprints_of, trained_on
from mmkit_gmner.published import shared_posts, split_of


def seen_posts(data: Mapping[str, Any], runs: Sequence[Path]) -> dict[str, list[Problem]]:
    """Split → a warning for each run that was trained on some of its posts, with their number.

    The runs that `runs` build on or started from count too, as far as `run.json` says it, wherever their folders are.
    `data` is split → `{"files": [{"sha256": ...}]}`. Files are known by their fingerprints, so files that somebody
    changed are not.
    """
    found: dict[str, list[Problem]] = {}
    for name, about in data.items():
        if name == "train":
            continue
        split = next((split for sha in fingerprints_of(about) if (split := split_of(sha))), None)
        if split is not None:
            known = dict.fromkeys(about for run in runs for about in trained_on(run))
            problems = [problem for about in known for problem in _seen_by(about, split)]
            if problems:
                found[name] = problems
    return found


def _seen_by(known: TrainedOn, split: str) -> Iterator[Problem]:
    for sha in known.files:
        shared = shared_posts(split, sha)
        if shared is not None and shared[1]:
            file, count, posts = shared
            yield Problem(
                f"the run {known.run} was trained on {file}, which has {count:,} of the {posts:,} posts to be scored",
                hint="its scores are too good: train it on Twitter10000's own training split",
                code="gmner.seen",
                level="warning",
            )
