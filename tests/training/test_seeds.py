"""`mmkit train --seeds`: a run for each seed, and the mean and deviation of their scores."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from statistics import mean, stdev

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import mmkit
from mmkit.cli import main
from mmkit.hooks import hookimpl
from mmkit.training.seeds import Spread, train_seeds
from raising import raises

ONCE = {"training.epochs": 1, "training.learning_rate": 0.003}


class StopIn:
    """Interrupts the run of a seed."""

    def __init__(self, seed: int) -> None:
        self.folder = f"seed-{seed}"

    @hookimpl
    def mmkit_step(self, run: Path, step: int) -> None:
        if run.name == self.folder and step == 3:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def folder(sample_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, of which the second was interrupted and went on."""
    folder = tmp_path_factory.mktemp("seeds") / "all"
    recipe = mmkit.load_recipe(sample_recipe, ONCE)
    with pytest.raises(mmkit.Interrupted, match=rf"--seeds 4,7 --resume --output {folder}"):
        train_seeds(recipe, [4, 7], folder, device="cpu", hooks=[StopIn(7)])
    first = (folder / "seed-4" / "model.safetensors").stat().st_mtime_ns
    assert list(json.loads((folder / "seeds.json").read_text())["runs"]) == ["4"]
    train_seeds(recipe, [4, 7], folder, device="cpu", resume=True)
    assert (folder / "seed-4" / "model.safetensors").stat().st_mtime_ns == first  # it was kept
    return folder


def command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_each_seed_is_a_run_of_its_own(folder: Path, sample_recipe: Path, tmp_path: Path) -> None:
    alone = mmkit.train(sample_recipe, {**ONCE, "recipe.seed": 7}, tmp_path / "alone", device="cpu")
    weights = "model.safetensors"
    assert (folder / "seed-7" / weights).read_bytes() == (alone.run / weights).read_bytes()
    assert (folder / "seed-4" / weights).read_bytes() != (alone.run / weights).read_bytes()


def test_means_and_deviations_are_those_of_the_runs(folder: Path) -> None:
    scores = json.loads((folder / "seeds.json").read_text())
    runs = [json.loads((folder / f"seed-{seed}" / "run.json").read_text())["figures"] for seed in (4, 7)]
    assert scores["runs"] == {"4": "seed-4", "7": "seed-7"}
    assert scores["figures"].keys() == {"dev", "test"}
    assert any(name.startswith("spans.f1.") for name in scores["figures"]["test"])  # of a label
    for split, names in scores["figures"].items():
        assert names.keys() == runs[0][split].keys() | runs[1][split].keys()
        for name, told in names.items():
            values = [own[split][name] for own in runs if name in own[split]]
            assert told["values"] == values
            assert told["mean"] == pytest.approx(mean(values))
            assert told["std"] == (pytest.approx(stdev(values)) if len(values) > 1 else None)


def test_the_command_prints_them_and_takes_further_seeds(
    folder: Path, sample_recipe: Path, tmp_path: Path
) -> None:
    output = shutil.copytree(folder, tmp_path / "more")
    shutil.rmtree(output / "seed-7")
    done = command(
        *("train", sample_recipe, "--seeds", "4,8", "--resume", "--output", output),
        *("--training.epochs", 1, "--training.learning_rate", 0.003, "--device", "cpu", "--quiet"),
    )
    assert done.exit_code == 0, done.output
    assert "mean ± standard deviation of 2 seeds" in " ".join(done.stdout.split())
    scores = json.loads((output / "seeds.json").read_text())
    f1 = scores["figures"]["test"]["spans.f1"]
    assert f"{100 * f1['mean']:.2f} ± {100 * f1['std']:.2f}" in done.stdout
    assert "PER" in done.stdout
    assert f"seed 4 (1 of 2): kept, {output / 'seed-4'}" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seeds", "1,x"], "--seeds are whole numbers with commas between them, not '1,x'"),
        (["--seeds", "1,1"], "seeds must be different numbers, not [1, 1]"),
        (["--seeds", "-1"], "recipe.seed"),
        (["--seeds", "1", "--recipe.seed", "3"], "--seeds and --recipe.seed cannot both be given"),
        (["--seeds", "1,2", "--resume"], "--resume needs --output"),
    ],
)
def test_wrong_seeds_are_refused_before_anything_is_trained(
    sample_recipe: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    output = [] if "--resume" in arguments else ["--output", tmp_path / "x"]
    done = command("train", sample_recipe, *arguments, *output)
    assert done.exit_code == 2
    assert said in " ".join(done.output.split())
    assert not (tmp_path / "x").exists()


def test_a_folder_with_something_else_is_refused(folder: Path, sample_recipe: Path, tmp_path: Path) -> None:
    recipe = mmkit.load_recipe(sample_recipe, ONCE)
    with raises("run.folder-taken", match="add --resume"):
        train_seeds(recipe, [4, 7], folder, device="cpu")
    with raises("run.folder-taken", match="this is one run"):
        train_seeds(recipe, [4, 7], folder / "seed-4", device="cpu", resume=True)
    other = recipe.with_overrides({"training.batch_size": 4})
    with raises("run.other-recipe", match=r"training\.batch_size was 16 and is 4"):
        train_seeds(other, [4, 7], folder, device="cpu", resume=True)


def test_runs_on_different_data_are_not_averaged(folder: Path, sample_recipe: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(folder, tmp_path / "changed"))
    facts = json.loads((output / "seed-7" / "run.json").read_text())
    facts["data"]["dev"]["files"][0]["sha256"] = "0" * 64
    (output / "seed-7" / "run.json").write_text(json.dumps(facts))
    with raises("run.other-data", match=r"seeds 4 and 7 had different data: data\.dev: "):
        train_seeds(mmkit.load_recipe(sample_recipe, ONCE), [4, 7], output, device="cpu", resume=True)


def test_what_takes_one_run_says_that_these_are_several(folder: Path) -> None:
    for function in (mmkit.load, mmkit.evaluate):
        with raises("run.several-seeds", match=rf"name one of them: {folder / 'seed-4'}, "):
            function(folder)
    done = command("evaluate", folder)
    assert done.exit_code == 2
    assert "holds the runs of several seeds" in " ".join(done.output.split())


def test_a_spread_of_mean_ranks_is_told_as_it_is() -> None:
    ranks = Spread((2.0, 4.0))
    assert ranks.told("linking.kb_mean_rank") == "3.00 ± 1.41"
    assert ranks.told("linking.kb_mrr") == str(ranks) == "300.00 ± 141.42"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_spread_is_in_percent(values: list[float]) -> None:
    spread = Spread(tuple(values))
    told = str(spread).split(" ± ")
    assert math.isclose(float(told[0]), 100 * mean(values), abs_tol=0.006)
    assert len(told) == (1 if len(values) == 1 else 2)
    assert (spread.std is None) == (len(values) == 1)
