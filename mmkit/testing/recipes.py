"""`check_recipe`: a recipe trains on its sample, uses its images, and resumes to the same result."""

from __future__ import annotations

import math
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from mmkit.errors import Interrupted
from mmkit.hooks import hookimpl
from mmkit.inference.evaluate import evaluate
from mmkit.loading.sample import sampled
from mmkit.metrics.scoring import weighted_score
from mmkit.recipe import Recipe, load_recipe
from mmkit.testing.checked import Checked
from mmkit.training.train import train


def check_recipe(
    recipe: str | Path,
    overrides: Mapping[str, Any] | None = None,
    *,
    folder: Path,
    at_least: float | None = None,
    beats_blank: float | None = None,
    resumes: bool = True,
    split: str = "test",
    device: str = "cpu",
) -> dict[str, float]:
    """Check a recipe on its sample (`mmkit train RECIPE --sample`); runs go into `folder`. Returns the split's scores.

    - It loads, and the filled recipe loads to the same settings.
    - It trains, and its scores are finite; `training.score`, on `split`, is at least `at_least`.
    - The saved run, loaded again, has the same scores.
    - The score is higher than with blank images by `beats_blank`, if that is given.
    - A run that is interrupted after its second update and resumed has the same scores and weights, if `resumes`.

    Each of the last two trains again. Raises `AssertionError`, and whatever training raises.
    """
    loaded = load_recipe(recipe, overrides)
    checked = Checked(loaded.name)
    _filled(checked, loaded, folder)
    whole = train(sampled(loaded), folder / "run", device=device, quiet=True)
    checked.must(split in whole["figures"], "scores", f"the recipe has no split {split!r}")
    figures: dict[str, float] = whole["figures"][split]
    bad = sorted(name for name, value in figures.items() if not math.isfinite(value))
    checked.must(not bad, "scores", f"{', '.join(bad)} is not a finite number")
    name = loaded.training.score
    wanted = [name] if isinstance(name, str) else list(name)
    missing = sorted(set(wanted) - set(figures))
    checked.must(not missing, "scores", f"training.score is {name}, the scores are {sorted(figures)}")
    value = weighted_score(figures, name)
    if at_least is not None:
        checked.must(value >= at_least, "scores", f"{name} is {value:.4f}, below {at_least}")
    again, _ = evaluate(folder / "run", split, device=device)
    _same(checked, "saved run", figures, again, "after it was loaded")
    if beats_blank is not None:
        _pictures(checked, loaded, folder / "blank", value, beats_blank, split, device)
    if resumes:
        _resumes(checked, loaded, folder, whole["figures"], device)
    return figures


class _Interrupt:
    """Ctrl-C, once, after the second update."""

    def __init__(self) -> None:
        self.done = False

    @hookimpl
    def mmkit_step(self, step: int) -> None:
        if step >= 2 and not self.done:
            self.done = True
            signal.raise_signal(signal.SIGINT)


def _filled(checked: Checked, recipe: Recipe, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "filled.cfg"
    file.write_text(recipe.to_str(), encoding="utf-8")
    at = "the filled recipe loads to other settings"
    checked.must(load_recipe(file).config == recipe.config, "recipe", at)


def _pictures(
    checked: Checked, recipe: Recipe, folder: Path, score: float, margin: float, split: str, device: str
) -> None:
    """Train with blank images. The sample's settings are applied first, because they are settings of a reader."""
    blank = {f"data.{name}.blank_images": True for name in recipe.parts("data") if name != "entities"}
    figures = train(sampled(recipe).with_overrides(blank), folder, device=device, quiet=True)["figures"][
        split
    ]
    name = recipe.training.score
    blank_score = weighted_score(figures, name)
    found = f"{name} is {score:.4f} with its images and {blank_score:.4f} with blank ones"
    checked.must(score >= blank_score + margin, "images matter", f"{found}, which is not {margin} more")


def _resumes(
    checked: Checked, recipe: Recipe, folder: Path, whole: Mapping[str, Mapping[str, float]], device: str
) -> None:
    run = folder / "resumed"
    stop = _Interrupt()
    try:
        train(sampled(recipe), run, device=device, quiet=True, hooks=[stop])
    except Interrupted:
        resumed = train(sampled(recipe), run, device=device, quiet=True, resume=True)["figures"]
    else:
        checked.fail("resumes", "training has fewer than three updates, and cannot be interrupted")
    for split, figures in whole.items():
        _same(checked, "resumes", figures, resumed[split], f"on {split} after an interruption")
    left, right = (load_file(f / "model.safetensors") for f in (folder / "run", run))
    other = sorted(name for name in left if not torch.equal(left[name], right[name]))
    checked.must(not other, "resumes", f"weights are others after an interruption: {', '.join(other[:3])}")


def _same(
    checked: Checked, check: str, one: Mapping[str, float], other: Mapping[str, float], when: str
) -> None:
    checked.must(
        one.keys() == other.keys(), check, f"the scores are {sorted(one)} and {sorted(other)} {when}"
    )
    for name, value in one.items():
        found = f"{name} is {value:.6f}, and {other[name]:.6f} {when}"
        checked.must(math.isclose(value, other[name], abs_tol=1e-6), check, found)
