"""Errors: their codes, and the page that lists them."""

from __future__ import annotations

import importlib.util
import pickle
import re
from pathlib import Path
from types import ModuleType

import pytest

from mmkit import errors
from mmkit.errors import DataError, ImageError, MMKitError

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r"[a-z0-9]+\.[a-z0-9]+(-[a-z0-9]+)*")


@pytest.fixture(scope="module")
def made() -> ModuleType:
    """The script that writes the page."""
    spec = importlib.util.spec_from_file_location("make_errors", ROOT / "docs/site/errors.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def classes() -> dict[str, type[MMKitError]]:
    return {name: x for name, x in vars(errors).items() if isinstance(x, type) and issubclass(x, MMKitError)}


def test_the_page_is_what_the_source_says(made):
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), (
        "run `make docs` (python docs/site/errors.py)"
    )


def test_every_code_is_documented_once(made):
    documented = re.findall(r"^\| `([a-z0-9.-]+)` \|", made.PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(set(documented)) == len(documented)
    assert set(documented) == {site.code for site in made.sites()}


def test_codes_have_one_form_and_a_known_area(made):
    for site in made.sites():
        assert CODE.fullmatch(site.code), site
        assert site.code.partition(".")[0] in made.AREAS, site


def test_plugins_begin_codes_of_their_own_with_their_name(made):
    core = {site.code for site in made.sites() if site.place.startswith("mmkit/")}
    for site in made.sites():
        if site.place.startswith("plugins/") and site.code not in core:
            assert site.code.partition(".")[0] == site.place.split("/")[1], site


def test_every_class_is_listed_with_the_code_of_errors_that_have_none(made):
    assert made.CLASSES.keys() == classes().keys()
    for name, error in classes().items():
        assert made.CLASSES[name][0] == error("x").code


def test_an_error_has_its_class_s_code_or_its_own():
    assert DataError("x").code == "data" and ImageError("x").code == "image"
    assert DataError("x", code="file.missing").code == "file.missing"
    assert DataError.code == "data", "an error's own code is not its class's"


def test_an_error_keeps_its_code_elsewhere_and_through_a_process():
    error = ImageError("no such image", where="a.jpg", hint="fetch it", code="image.missing")
    moved = error.at("x.txt:3: a.jpg")
    assert type(moved) is ImageError and moved.code == "image.missing"
    assert str(moved) == "x.txt:3: a.jpg: no such image\n  → fetch it"
    assert str(error.at("b", "or not")) == "b: no such image\n  → or not"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.code) == (str(error), error.code)
