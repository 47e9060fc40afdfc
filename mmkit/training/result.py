"""The result of a training, as `mmkit.train` returns it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmkit.errors import RunError, one_line
from mmkit.files import parsed_json
from mmkit.metrics.scoring import weights_of
from mmkit.recipe import Recipe
from mmkit.training.metrics_log import NAME


@dataclass(frozen=True, eq=False, repr=False)
class Result(Mapping[str, Any]):
    """A trained run: its folder, its scores, and how it came to them.

    It can also be read like `run.json`, as a dictionary: `result["best_epoch"]`.
    """

    run: Path
    """The run folder, for `mmkit.load` and `mmkit.evaluate`."""
    facts: Mapping[str, Any]
    """The content of `run.json`."""
    recipe: Recipe
    """The recipe that was trained, with all its overrides."""

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """The scores of the best epoch by split: `result.figures["dev"]["spans.f1"]`."""
        found: dict[str, dict[str, float]] = self.facts["figures"]
        return found

    @property
    def history(self) -> list[dict[str, Any]]:
        """The run's `metrics.jsonl`, a dictionary for each line, in order.

        Each has `split`, `epoch` (from 1) and `step` (updates made). Those of `split` "train" have the mean `loss`
        since the last such line, each named loss, the `learning_rate` and `examples_per_second`; those of other splits
        have scores. Raises `RunError` if the file is missing or damaged.
        """
        path = self.run / NAME
        try:
            return [parsed_json(line) for line in path.read_bytes().splitlines()]
        except (OSError, ValueError) as error:
            raise RunError(
                f"the log of the run cannot be read: {one_line(error)}", where=path, code="run.damaged"
            ) from error

    def __getitem__(self, key: str) -> Any:
        return self.facts[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.facts)

    def __len__(self) -> int:
        return len(self.facts)

    def __repr__(self) -> str:
        facts = self.facts
        told = f"{facts['status']} after {facts['epochs']} epochs and {facts['updates']:,} updates"
        best = f"; the best epoch is {facts['best_epoch']}" if "dev" in self.figures else ""
        lines = [f"mmkit.Result in {self.run}", f"  {told}{best}"]
        names = weights_of(self.recipe.training.score)
        for split, scores in self.figures.items():
            chosen = [name for name in names if name in scores] or list(scores)[:SHOWN]
            lines.append(f"  {split}: " + ", ".join(f"{name} {scores[name]:.4f}" for name in chosen))
        return "\n".join(lines)


SHOWN = 3
"""Scores of a split that a `repr` shows if none decides which epoch is best."""
