"""What the packages of this repository carry: each its own recipes, and the mark that they are typed."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
from collections import Counter
from pathlib import Path
from zipfile import ZipFile

import pytest

from mmkit.recipe import load_recipe
from mmkit.recipe_names import known_recipes

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = [ROOT, *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml"))]
RECIPES = sorted(file.name for file in (ROOT / "recipes").glob("*.cfg"))


def build(package: Path, target: str, folder: Path) -> Path:
    """The wheel or sdist of a package."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(folder)]
    subprocess.run(command, cwd=package, check=True, stdout=subprocess.DEVNULL)
    (built,) = folder.iterdir()
    return built


def name_of(package: Path) -> str:
    """The Python package in a distribution."""
    tables = tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))
    (name,) = tables["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return str(name)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Module of a package → the files of its wheel."""
    found = {}
    for package in PACKAGES:
        with ZipFile(build(package, "wheel", tmp_path_factory.mktemp("wheel"))) as wheel:
            found[name_of(package)] = wheel.namelist()
    return found


def test_every_recipe_is_in_the_wheel_of_its_package_alone(wheels: dict[str, list[str]]) -> None:
    at = {f"{name}/recipes/": files for name, files in wheels.items()}
    carried = {
        folder: [file.removeprefix(folder) for file in files if file.startswith(folder)]
        for folder, files in at.items()
    }
    assert Counter(name for names in carried.values() for name in names) == Counter(RECIPES)
    assert {name.partition("_")[0] for name in carried.pop("mmkit/recipes/")} == {"text"}
    for folder, names in carried.items():
        word = folder.removeprefix("mmkit_").partition("/")[0]
        assert {name.partition("_")[0] for name in names} <= {word}


def test_every_package_says_that_it_is_typed(wheels: dict[str, list[str]]) -> None:
    assert [name for name, files in wheels.items() if f"{name}/py.typed" not in files] == []


def test_a_wheel_built_from_the_sdist_carries_the_recipes_too(tmp_path: Path) -> None:
    package = ROOT / "plugins" / "tesga"
    with tarfile.open(build(package, "sdist", tmp_path / "sdist")) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    with ZipFile(build(unpacked, "wheel", tmp_path / "wheel")) as wheel:
        names = [Path(file).name for file in wheel.namelist() if file.startswith("mmkit_tesga/recipes/")]
    assert names == [name for name in RECIPES if name.startswith("tesga_")]


def test_copies_of_a_recipe_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the core is installed from its wheel and a plugin from the repository, say."""
    for recipe in ("text_only_mnre.cfg", "tesga_mnre.cfg"):
        (tmp_path / recipe).write_bytes((ROOT / "recipes" / recipe).read_bytes())
    monkeypatch.setattr("mmkit.recipe_names.recipe_folders", lambda: [tmp_path, ROOT / "recipes"])
    assert [len(files) for files in known_recipes().values()] == [1] * len(RECIPES)
    assert load_recipe("text_only_mnre").path == tmp_path / "text_only_mnre.cfg"
