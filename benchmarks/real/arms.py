"""What a study on real data is made of: arms (recipes that differ in one thing), each trained with several seeds.

A run that is finished leaves one JSON file, so a script that is stopped or killed goes on where it was: with the next
arm, or in the middle of a training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finished import Finished, read_finished, write_finished

from mmkit.recipe import Recipe, load_recipe
from mmkit.runs.folder import Run
from mmkit.training.resume import is_finished
from mmkit.training.train import train


@dataclass(frozen=True)
class Arm:
    """One way to train. `settings` are what it changes in the study's recipe, by dotted name; no paths."""

    name: str
    told: str
    """What is special about it, in a few words, for tables."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    recipe: str = ""
    """A shipped recipe or a file, without the study's settings and backbones; empty: the study's."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Setting → the one of `Study.paths` whose folder it is given."""
    experts: Mapping[str, str] = field(default_factory=dict)
    """Encoder → the arm whose run (with the same seed) it reads."""
    origin: Study | None = None
    """The study whose runs these are, if it is another one with the same examples."""


@dataclass(frozen=True)
class Study:
    """Arms that are compared with the first of them, trained on the same data with the same seeds."""

    name: str
    title: str
    recipe: str
    settings: Mapping[str, Any]
    """What every arm changes in the recipe."""
    paths: Mapping[str, Any]
    """Settings that name folders of this machine. They are not in results, fingerprints of the files are."""
    encoders: Mapping[str, Path]
    """The folders of the pretrained encoders."""
    arms: Sequence[Arm]
    score: str = "spans.f1"

    def arm(self, name: str) -> Arm:
        """The arm of this name."""
        return next(arm for arm in self.arms if arm.name == name)

    def told(self, arm: Arm) -> dict[str, Any]:
        """The settings of an arm without any path."""
        return {**({} if arm.recipe else self.settings), **arm.settings}

    def recipe_of(self, arm: Arm, seed: int, runs: Path) -> Recipe:
        """The recipe of one run; `runs` is the folder of all runs."""
        experts = {
            f"model.encoders.{name}.run": str(folder_of(self, self.arm(other), seed, runs))
            for name, other in arm.experts.items()
        }
        named = {setting: self.paths[path] for setting, path in arm.paths.items()}
        paths = {k: v for k, v in self.paths.items() if not (arm.recipe and k.startswith("backbones."))}
        overrides = {**paths, **self.told(arm), **named, **experts, "recipe.seed": seed}
        return load_recipe(arm.recipe or self.recipe, overrides)


def folder_of(study: Study, arm: Arm, seed: int, runs: Path) -> Path:
    """Where one run is: runs of several seeds of an arm lie in one folder, which `mmkit compare` takes as one."""
    return runs / (arm.origin or study).name / arm.name / f"seed{seed}"


def result_of(study: Study, arm: Arm, seed: int, results: Path) -> Path:
    """Where the result of one run is."""
    return results / (arm.origin or study).name / f"{arm.name}_seed{seed}.json"


def make(
    study: Study, arms: Sequence[Arm], seeds: Sequence[int], runs: Path, results: Path
) -> Iterator[Finished]:
    """Every run that is wanted, seed after seed; those with a result are only read."""
    for seed in seeds:
        for arm in arms:
            path = result_of(study, arm, seed, results)
            if path.exists():
                yield read_finished(path, arm.origin or study, arm)
                continue
            folder = trained(study, arm, seed, runs)
            yield write_finished(path, arm.origin or study, arm, folder)


def made(study: Study, results: Path) -> list[Finished]:
    """Every result that is there."""
    return [
        read_finished(path, arm.origin or study, arm)
        for arm in study.arms
        for path in sorted(result_of(study, arm, 0, results).parent.glob(f"{arm.name}_seed*.json"))
    ]


def trained(study: Study, arm: Arm, seed: int, runs: Path) -> Path:
    """The folder of a complete run, which is trained, or trained further, if it must be; its experts first."""
    for other in arm.experts.values():
        trained(study, study.arm(other), seed, runs)
    owner = arm.origin or study
    folder = folder_of(owner, arm, seed, runs)
    recipe = owner.recipe_of(arm, seed, runs)
    if not is_finished(Run(folder), recipe):
        print(f"{owner.name}: {arm.name}, seed {seed}", flush=True)
        train(recipe, folder, resume=True, quiet=True)
    return folder
