"""Work that is killed at any step of what it writes goes on, and ends with the same bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from killing import EVERYWHERE

HARNESS = (
    EVERYWHERE
    + """
import hashlib, json, pathlib, shutil, traceback

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

def digests(folder, names):
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}

def in_a_child(work, moment, folders):
    "Fork, do the work there, and say how the child ended and how many steps it made."
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            kills = Kills(folders, moment)
            work()
            code = 0
            os.write(write, json.dumps([kills.passed, kills.kinds]).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read) as pipe:
        return os.waitstatus_to_exitcode(status), pipe.read()

def everywhere(work, again, fresh, folders, compare):
    "Kill `work` at each step, do it `again`, and compare with what an undisturbed run gives."
    fresh()
    code, said = in_a_child(work, 0, folders)
    assert code == 0
    (steps, kinds), expected = json.loads(said), compare()
    for moment in range(1, steps + 1):
        fresh()
        code, _ = in_a_child(work, moment, folders)
        assert code in (-9, 0), (moment, code)  # 0: it made a step less this time
        code, _ = in_a_child(again, 0, folders)
        assert code == 0, f"killed at step {moment}: it cannot go on"
        assert compare() == expected, f"killed at step {moment}: another result"
    print(json.dumps({"steps": steps, "kinds": kinds}))
"""
)

TRAIN = (
    HARNESS
    + """
import torch
from mmkit.errors import RunError
from mmkit.recipe import load_recipe
from mmkit.training.train import train
import mmkit.encoders.transformer, mmkit.encoders.timm_pooled, mmkit.runs.folder

recipe, folder = sys.argv[1], pathlib.Path(sys.argv[2])
run = folder / "run"
settings = {"training.epochs": 2, "training.batch_size": 8, "training.learning_rate": 3e-3}
loaded = load_recipe(recipe, {**shortened(load_recipe(recipe), folder), **settings})

def fresh():
    shutil.rmtree(run, ignore_errors=True)

def compare():
    facts = json.loads((run / "run.json").read_text())
    assert not list(run.rglob("*.tmp")) and not (run / "checkpoint").exists()
    files = ["model.safetensors", "labels.json", "recipe.cfg", "predictions/dev.jsonl", "predictions/test.jsonl"]
    return digests(run, files), facts["figures"], facts["status"]

def resume():
    try:
        train(loaded, run, resume=True, device="cpu")
    except RunError as error:
        if "complete" not in error.what:
            raise

everywhere(lambda: train(loaded, run, device="cpu"), resume, fresh, [str(run)], compare)
"""
)

STORE = (
    HARNESS
    + """
from mmkit.recipe import load_recipe
from mmkit.training.train import train
import mmkit.encoders.transformer, mmkit.encoders.timm_pooled

recipe, folder = sys.argv[1], pathlib.Path(sys.argv[2])
os.environ["MMKIT_CACHE"] = str(folder / "cache")
loaded = load_recipe(recipe, {**shortened(load_recipe(recipe), folder), "training.epochs": 1})
run = folder / "run"

def fresh():
    shutil.rmtree(folder / "cache", ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True)

def work():
    shutil.rmtree(run, ignore_errors=True)
    train(loaded, run, device="cpu")

def compare():
    return digests(run, ["model.safetensors"])

everywhere(work, work, fresh, [str(folder / "cache")], compare)
"""
)


def killed_everywhere(script: str, *arguments: object) -> dict[str, int]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1500)
    assert result.returncode == 0, result.stderr[-3000:]
    found: dict[str, int] = json.loads(result.stdout.splitlines()[-1])
    return found


@pytest.mark.matrix
def test_training_goes_on_wherever_it_was_killed(sample_recipe: Path, tmp_path: Path) -> None:
    found = killed_everywhere(TRAIN, sample_recipe, tmp_path)
    assert found["steps"] >= 60


@pytest.mark.matrix
def test_features_are_stored_wherever_it_was_killed(sample_recipe: Path, tmp_path: Path) -> None:
    found = killed_everywhere(STORE, sample_recipe, tmp_path)
    assert found["steps"] >= 5
