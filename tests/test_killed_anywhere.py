"""Work that is killed at any change that it makes to files goes on, and ends with the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from killing import killed_everywhere

PRELUDE = """
import json, os, pathlib, shutil, sys
from kills import digests, everywhere, listed
from mmkit.cli import main
from mmkit.errors import RunError
from mmkit.recipe import load_recipe
from mmkit.training.train import train
import mmkit.encoders.transformer, mmkit.encoders.timm_pooled, mmkit.runs.folder

def shortened(recipe, folder):
    "Overrides that name the first sentences of the recipe's data."
    overrides = {}
    for split in ("train", "dev", "test"):
        reader = recipe.build(f"data.{split}")
        blocks = reader.path.read_text().split("\\n\\n")[:24]
        (folder / f"{split}.txt").write_text("\\n\\n".join(blocks) + "\\n\\n")
        images = os.path.join(reader.root, reader.images)
        overrides |= {f"data.{split}.root": str(folder), f"data.{split}.file": f"{split}.txt"}
        overrides |= {f"data.{split}.images": images, f"data.{split}.crops": None}
    return overrides

def remove(*paths):
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)

def command(*arguments):
    try:
        main([*map(str, arguments)])
    except SystemExit as end:
        assert not end.code, arguments

def trained(recipe, run, **settings):
    "A run of the shortened data, trained in another process."
    overrides = {f"training.{name}": value for name, value in settings.items()}
    loaded = load_recipe(recipe, {**shortened(load_recipe(recipe), run.parent), **overrides})
    child = os.fork()
    if child == 0:
        train(loaded, run, device="cpu")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    return loaded

folder = pathlib.Path(sys.argv[1])
os.environ["MMKIT_CACHE"] = str(folder / "cache")
"""

FILES = """
RUN = ["labels.json", "metrics.jsonl", "model.safetensors", "recipe.cfg", "run.json"]
RUN += ["encoders/text/config.json", "encoders/text/tokenizer.json", "encoders/text/tokenizer_config.json"]
RUN += ["encoders/vision/config.json"]
"""
"""What a completed run of the sample recipe holds beside predictions."""

TRAIN = (
    PRELUDE
    + FILES
    + """
run = folder / "run"
settings = {"training.epochs": 2, "training.batch_size": 8, "training.learning_rate": 3e-3}
settings |= {"training.checkpoint_every": 2}
loaded = load_recipe(sys.argv[2], {**shortened(load_recipe(sys.argv[2]), folder), **settings})
PREDICTIONS = ["predictions/dev.jsonl", "predictions/test.jsonl"]
PREDICTIONS += ["errors/dev.jsonl", "errors/test.jsonl"]  # mmkit-report writes them

def compare():
    facts = json.loads((run / "run.json").read_text())
    assert listed(run) == sorted(RUN + PREDICTIONS), listed(run)
    assert not [path for path in run.rglob("*") if path.is_dir() and not any(path.iterdir())]
    log = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    log = [{key: value for key, value in line.items() if key != "examples_per_second"} for line in log]
    files = [*(name for name in RUN if name not in ("run.json", "metrics.jsonl")), *PREDICTIONS]
    return digests(run, files), log, facts["figures"], facts["status"], facts.get("files")

def resume():
    try:
        train(loaded, run, resume=True, device="cpu")
    except RunError as error:
        if "complete" not in error.what:
            raise

everywhere(lambda: train(loaded, run, device="cpu"), lambda: remove(run), run, compare, resume)
"""
)

STORE = (
    PRELUDE
    + """
run = folder / "run"
loaded = load_recipe(sys.argv[2], {**shortened(load_recipe(sys.argv[2]), folder), "training.epochs": 1})

def work():
    remove(run)
    train(loaded, run, device="cpu")

def compare():
    left = [name for name in listed(folder / "cache") if not name.endswith((".safetensors", ".lock"))]
    assert not left, left
    return digests(run, ["model.safetensors"])

everywhere(work, lambda: remove(folder / "cache", run), folder / "cache", compare)
"""
)

SAMPLE = (
    PRELUDE
    + """
from mmkit.data.sample import mner
from mmkit.loading.sample import sampled

mner.SPLITS = {split: (stem, 4) for split, (stem, _) in mner.SPLITS.items()}
cache = folder / "cache"

def compare():
    assert not [path for path in cache.rglob(".*") if path.suffix == ".tmp"]
    return digests(cache, [name for name in listed(cache) if not name.endswith(".lock")])

everywhere(lambda: sampled(load_recipe(sys.argv[2])), lambda: remove(cache), cache, compare)
"""
)

PREDICT = (
    PRELUDE
    + """
run, out = folder / "run", folder / "out"
trained(sys.argv[2], run, epochs=1)
(folder / "in.jsonl").write_text('{"text": "Jordan is in Paris"}\\n{"text": "again"}\\n')

def work():
    command("predict", run, "--input", folder / "in.jsonl", "--output", out / "found.jsonl", "--device", "cpu")

def compare():
    assert listed(out) == ["found.jsonl"]
    return digests(out, ["found.jsonl"])

everywhere(work, lambda: remove(out), out, compare)
"""
)

EVALUATE = (
    PRELUDE
    + FILES
    + """
run = folder / "run"
trained(sys.argv[2], run, epochs=1)
WRITTEN = ["predictions/test.jsonl", "evaluations/test.json", "errors/test.jsonl"]  # mmkit-report writes the last

def fresh():
    remove(run / "predictions", run / "evaluations", run / "errors")

def compare():
    assert listed(run) == sorted(RUN + WRITTEN), listed(run)
    return digests(run, [*RUN, *WRITTEN])

everywhere(lambda: command("evaluate", run, "--device", "cpu", "--quiet"), fresh, run, compare)
"""
)

IMPORT = (
    PRELUDE
    + FILES
    + """
import mmkit
from mmkit.runs.folder import Run, save_run

run, out = folder / "run", folder / "out"
loaded = trained(sys.argv[2], run, epochs=1)

def work():
    save_run(out, loaded, Run(run).model(loaded), {"imported_from": {"paper": "test"}})

def again():
    if not (out / "run.json").exists() or json.loads((out / "run.json").read_text())["status"] != "imported":
        work()

def compare():
    facts = json.loads((out / "run.json").read_text())
    assert listed(out) == sorted(name for name in RUN if name != "metrics.jsonl"), listed(out)
    names = [name for name in RUN if name not in ("metrics.jsonl", "run.json")]
    return digests(out, names), facts["status"], facts["imported_from"]

everywhere(work, lambda: remove(out), out, compare, again)
"""
)


@pytest.mark.matrix
def test_training_goes_on_wherever_it_was_killed(sample_recipe: Path, tmp_path: Path) -> None:
    found = killed_everywhere(TRAIN, tmp_path, sample_recipe)
    assert found["steps"] >= 60


@pytest.mark.matrix
def test_features_are_stored_wherever_it_was_killed(sample_recipe: Path, tmp_path: Path) -> None:
    found = killed_everywhere(STORE, tmp_path, sample_recipe)
    assert found["steps"] >= 5


@pytest.mark.matrix
def test_samples_are_drawn_wherever_it_was_killed(unsampled_recipe: Path, tmp_path: Path) -> None:
    found = killed_everywhere(SAMPLE, tmp_path, unsampled_recipe)
    assert found["steps"] >= 40


@pytest.mark.matrix
@pytest.mark.parametrize("script", [PREDICT, EVALUATE, IMPORT], ids=["predict", "evaluate", "import"])
def test_a_run_is_used_wherever_it_was_killed(script: str, sample_recipe: Path, tmp_path: Path) -> None:
    found = killed_everywhere(script, tmp_path, sample_recipe)
    assert found["steps"] >= 4
