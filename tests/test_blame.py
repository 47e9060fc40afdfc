"""An unexpected error inside a part names the part, its package and its version."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mmkit.cli.blame import blame
from mmkit.decoders.crf_tagger import CrfTagger
from mmkit.decoders.tagger import Tagger

HOOKS = """
import click
from mmkit.hooks import hookimpl
from mmkit.metrics.base import Metric

class Odd(Metric):
    def reset(self): ...
    def update(self, examples, predictions): ...
    def compute(self): return {"one": 1 / 0}

@click.command()
def fail():
    Odd().compute()

@click.command()
def fall():
    raise KeyError("gone")

@hookimpl
def mmkit_commands(cli):
    cli.add_command(fail)
    cli.add_command(fall)
"""

ENTRIES = """[mmkit]
odd = mmkit_odd

[mmkit_metrics]
odd.metric.v1 = mmkit_odd:Odd
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A plugin as pip would have installed it."""
    (tmp_path / "mmkit_odd.py").write_text(HOOKS)
    info = tmp_path / "mmkit_odd-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mmkit-odd\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (info / "top_level.txt").write_text("mmkit_odd\n")
    return tmp_path


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("fail", "odd.metric.v1 of mmkit-odd 0.3 failed in compute: ZeroDivisionError: division by zero"),
        ("fall", "mmkit-odd 0.3 failed in fall: KeyError: 'gone'"),
    ],
)
def test_the_part_is_named(plugin: Path, command: str, said: str) -> None:
    code = f"import sys; sys.path.append({str(plugin)!r}); from mmkit.cli import main; main([{command!r}])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert f"unexpected error: {said}" in result.stderr
    assert "--debug" in result.stderr and "Traceback" not in result.stderr


def raised(function: object, *arguments: object) -> BaseException:
    try:
        function(*arguments)  # type: ignore[operator]
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_part_of_the_core_is_named_by_the_method_that_its_base_class_has() -> None:
    error = raised(CrfTagger(types=["PER"]).emissions, None)
    assert CrfTagger.emissions is Tagger.emissions
    assert blame(error).startswith("mmkit.crf_tagger.v1 of mmkit")
    assert "failed in emissions: " in blame(error)


def test_an_error_of_no_part_is_told_as_it_is() -> None:
    assert blame(raised(int, "x")) == "ValueError: invalid literal for int() with base 10: 'x'"
