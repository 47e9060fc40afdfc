"""Hooks: where the recipes are, and the account of a model's answers after an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmkit.data.types import Prediction
from mmkit.files import check_inside, write_json
from mmkit.hooks import hookimpl, recipes_of
from mmkit.terminal import echo


@hookimpl
def mmkit_recipe_folders() -> list[Path]:
    return recipes_of(__file__)


@hookimpl
def mmkit_scored(folder: Path, split: str, predictions: Sequence[Prediction]) -> None:
    """Write `vlm/<split>.json` and say what it says: answers that could be used, what was dropped, tokens and cost."""
    from mmkit_vlm.account import account, told

    found = account(predictions)
    if found is None:
        return
    path = folder / "vlm" / f"{split}.json"
    check_inside(folder, path.parent, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    for line in told(split, found):
        echo(line, err=True)
