"""`mmkit train --seeds`: one recipe with several seeds, a run for each, and the mean and deviation of their scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from accelerate.utils import broadcast_object_list

from mmkit.errors import Interrupted, RecipeError, RunError
from mmkit.files import write_json
from mmkit.hooks import registered
from mmkit.inference.devices import make_accelerator
from mmkit.metrics.base import shown
from mmkit.recipe import Recipe, RecipeSource, load_recipe
from mmkit.runs.folder import SEEDS_FILE, Run, default_folder
from mmkit.training.launch import Launch
from mmkit.training.result import Result
from mmkit.training.resume import is_finished
from mmkit.training.train import train

FORMAT = 1


@dataclass(frozen=True)
class Spread:
    """A score of several runs."""

    values: tuple[float, ...]
    """In the order of the seeds; runs that do not have the score are left out."""

    @property
    def mean(self) -> float:
        """Their arithmetic mean."""
        return fmean(self.values)

    @property
    def std(self) -> float | None:
        """Their sample standard deviation (n − 1 in the denominator); None for a single value."""
        return stdev(self.values) if len(self.values) > 1 else None

    def __str__(self) -> str:
        """In percent: `71.20 ± 0.85`."""
        return self.told("")

    def told(self, name: str) -> str:
        """In percent, if it is the spread of a score of this name; that of a mean rank as it is."""
        return shown(name, self.mean) + ("" if self.std is None else f" ± {shown(name, self.std)}")

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return {"mean": self.mean, "std": self.std, "values": list(self.values)}


@dataclass(frozen=True)
class SeedResults:
    """The runs of several seeds."""

    folder: Path
    """`seed-1`, `seed-2`, ... are the run folders in it; `seeds.json` has the scores."""
    runs: Mapping[int, Result]
    """By seed."""

    @property
    def figures(self) -> dict[str, dict[str, Spread]]:
        """By split and name: the scores of the runs, each of its own best epoch, without NaN."""
        splits = dict.fromkeys(split for run in self.runs.values() for split in run.figures)
        return {split: self._of(split) for split in splits}

    def _of(self, split: str) -> dict[str, Spread]:
        scores = [run.figures.get(split, {}) for run in self.runs.values()]
        names = dict.fromkeys(name for own in scores for name in own)
        found = {
            name: tuple(own[name] for own in scores if name in own and math.isfinite(own[name]))
            for name in names
        }
        return {name: Spread(values) for name, values in found.items() if values}

    def to_json(self) -> dict[str, Any]:
        """The content of `seeds.json`."""
        figures = {
            split: {name: spread.to_json() for name, spread in scores.items()}
            for split, scores in self.figures.items()
        }
        first = next(iter(self.runs.values()))
        runs = {str(seed): run.run.name for seed, run in self.runs.items()}
        return {"format": FORMAT, "recipe": first.recipe.name, "runs": runs, "figures": figures}


def train_seeds(
    recipe: RecipeSource,
    seeds: Sequence[int],
    output: str | Path | None = None,
    *,
    resume: bool = False,
    device: str = "auto",
    quiet: bool = False,
    hooks: Sequence[object] = (),
) -> SeedResults:
    """Train `recipe` once for each of `seeds`, into `output/seed-<seed>`, and write `output/seeds.json`.

    With `resume`, runs that are finished are kept, one that was interrupted goes on, and the others are trained; there
    may be more seeds than before. Other arguments are as for `train`; settings are given to `load_recipe`, or to
    `sampled`. Raises `MMKitError` as `train` does, and
    `RunError` for runs on different data.
    """
    if len(set(seeds)) < len(seeds) or not seeds:
        raise RecipeError(
            f"seeds must be different numbers, not {list(seeds)}",
            where="seeds",
            hint="for example 1, 2, 3",
            code="run.seed-numbers",
        )
    recipe = load_recipe(recipe)
    recipes = {seed: recipe.with_overrides({"recipe.seed": seed}) for seed in seeds}
    main = make_accelerator(device).is_main_process
    folder = Path(broadcast_object_list([str(output or default_folder(recipe))])[0])
    launch = Launch.of_all()
    again = main and output is not None and launch.restarts > 0 and _began(folder, launch)
    resume = resume or bool(broadcast_object_list([again])[0])
    if main:
        _open(folder, resume)
    results: dict[int, Result] = {}
    for number, (seed, own) in enumerate(recipes.items(), 1):
        run = Run(folder / f"seed-{seed}")
        done = bool(broadcast_object_list([main and resume and is_finished(run, own)])[0])
        if main:
            _tell(f"seed {seed} ({number} of {len(seeds)}): {'kept, ' if done else ''}{run.folder}", hooks)
        if done:
            results[seed] = Result(run.folder, run.facts(), own)
        else:
            results[seed] = _train(own, run.folder, resume, device, quiet, hooks, folder, seeds)
        if main:
            _check_same_data(results)
            write_json(folder / SEEDS_FILE, SeedResults(folder, results).to_json())
    return SeedResults(folder, results)


def _train(
    recipe: Recipe,
    run: Path,
    resume: bool,
    device: str,
    quiet: bool,
    hooks: Sequence[object],
    folder: Path,
    seeds: Sequence[int],
) -> Result:
    """One run; if it is interrupted, the error says how to go on with all of them."""
    try:
        return train(recipe, run, resume=resume, device=device, quiet=quiet, hooks=hooks)
    except Interrupted as error:
        numbers = ",".join(map(str, seeds))
        hint = f"resume with the same command and --seeds {numbers} --resume --output {folder}"
        stopped = error.at(error.where, hint)
        stopped.exit_code = error.exit_code
        raise stopped from None


def _open(folder: Path, resume: bool) -> None:
    """Make the folder, or see that it can hold the runs. Raises `RunError`."""
    if Run(folder).recipe_file.exists():
        raise RunError(
            "this is one run, not a folder of several seeds",
            where=folder,
            hint="name another --output for --seeds",
            code="run.folder-taken",
        )
    if not resume:
        Run(folder).create()


def _began(folder: Path, launch: Launch) -> bool:
    """Whether torchrun began all the runs in a folder before it started the processes again."""
    runs = [Run(run) for run in folder.glob("seed-*")]
    return all(map(launch.began, runs)) if runs else Run(folder).is_empty()


def _tell(message: str, hooks: Sequence[object]) -> None:
    with registered(*hooks) as plugins:
        plugins.hook.mmkit_note(message=message)


def _check_same_data(results: Mapping[int, Result]) -> None:
    """Raise `RunError` if a kept run was trained or scored on other data than the first."""
    files = {seed: _files(run) for seed, run in results.items()}
    (first, expected), *others = files.items()
    for seed, found in others:
        differ = sorted(f"{split}: {name}" for split, name in {*expected} ^ {*found})
        differ += [f"{at[0]}: {at[1]}" for at in expected if at in found and found[at] != expected[at]]
        if differ:
            raise RunError(
                f"the runs of seeds {first} and {seed} had different data: data.{differ[0]}",
                where=results[seed].run,
                hint="remove the older run and repeat with --resume, or train into another --output",
                code="run.other-data",
            )


def _files(run: Result) -> dict[tuple[str, str], str]:
    """Checksums of a run's data files by split and path."""
    data = run.facts.get("data", {})
    return {(name, f["file"]): f["sha256"] for name, origin in data.items() for f in origin.get("files", ())}
