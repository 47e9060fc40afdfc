"""The command line: listing and describing parts, and what every error looks like."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import catalogue
import click
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from mmkit import __version__, hooks, registry
from mmkit.cli import COMMANDS, main
from mmkit.errors import DataError, Interrupted
from mmkit.metrics.base import Metric


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def shell(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mmkit", *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def part() -> Iterator[str]:
    """A metric of this process, with awkward characters in its docstring."""
    before = dict(catalogue.REGISTRY)

    @registry.metrics.register("t.odd.v1")
    class Odd(Metric):
        """Counts [bold]odd[/bold] things."""

        def __init__(self, start: int, names: list[str] | None = None, rate: float = 1e-5) -> None: ...
        def reset(self) -> None: ...
        def update(self, examples: object, predictions: object) -> None: ...
        def compute(self) -> dict[str, float]:
            return {}

    yield "t.odd.v1"
    catalogue.REGISTRY.clear()
    catalogue.REGISTRY.update(before)


# -- list-components and describe ----------------------------------------------------------------------------


def test_every_part_is_a_line_that_is_not_cut() -> None:
    listed = run("list-components")
    assert listed.exit_code == 0
    lines = listed.stdout.splitlines()
    for component in registry.components():
        named = [
            line for line in lines if line.startswith(component.name + " ")
        ]  # a format: reader and writer
        line = next(line for line in named if component.registry in line)
        for said in (component.registry, component.package, component.version, component.description):
            assert said in line


def test_on_a_terminal_parts_are_grouped_and_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmkit.cli.components.console", lambda: Console(highlight=False, width=80))
    listed = run("list-components").stdout
    lines = listed.splitlines()
    assert len(lines) <= 3 * len(registry.components()) + len(registry.ALL)
    assert max(map(len, lines)) <= 80
    assert set(registry.ALL) >= {line.rstrip() for line in lines if not line.startswith(" ")}
    for component in registry.components():
        assert component.name in listed
        assert component.description in " ".join(listed.split())


def test_listing_as_json() -> None:
    listed = json.loads(run("list-components", "--registry", "readers", "--json").stdout)
    jsonl = next(c for c in listed if c["name"] == "mmkit.jsonl.v1")
    assert jsonl == {
        "name": "mmkit.jsonl.v1",
        "registry": "readers",
        "package": "mmkit-core",
        "version": __version__,
        "target": "mmkit.data.jsonl:JsonlReader",
        "description": jsonl["description"],
        "problem": "",
    }
    assert jsonl["description"]
    assert {c["registry"] for c in listed} == {"readers"}


LIGHT = {"catalogue", "click", "filelock", "pluggy", "rich"}
"""The packages that a listing may import: those of a command line and of registries."""


def test_listing_imports_no_heavy_package() -> None:
    """It answers at once (half a second of CPU time), because it imports only what prints a table."""
    code = (
        "import json, sys; from mmkit.cli import main\n"
        "try: main(['list-components'])\nexcept SystemExit as end: assert not end.code\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in json.loads(done.stderr)}
    ours = {name for name in packages if name.startswith(("mmkit", "_", "zz"))}
    assert packages - ours - set(sys.stdlib_module_names) <= LIGHT


@pytest.mark.usefixtures("part")
def test_markup_in_a_docstring_is_printed_as_it_is() -> None:
    assert "Counts [bold]odd[/bold] things." in run("list-components", "--registry", "metrics").stdout


def test_an_unknown_registry_gives_near_misses() -> None:
    result = run("list-components", "--registry", "fuser")
    assert result.exit_code == 2
    assert "did you mean 'fusers'" in result.stderr


def test_describing_a_part(part: str) -> None:
    shown = run("describe", part)
    assert shown.exit_code == 0
    for said in (
        part,
        "@metrics",
        registry.HERE,
        f"{Path(__file__).name}:",
        "Counts [bold]odd[/bold] things.",
    ):
        assert said in shown.stdout
    rows = [line.split(maxsplit=2) for line in shown.stdout.splitlines()[-3:]]
    assert [row[0] for row in rows] == ["start", "names", "rate"]
    assert [row[1] for row in rows] == ["int", "list[str]", "float"]
    assert "required" in rows[0][2]
    assert "1e-05" in rows[2][2]


def test_describing_as_json(part: str) -> None:
    about = json.loads(run("describe", part, "--json").stdout)
    assert about["name"] == part
    assert about["docstring"] == "Counts [bold]odd[/bold] things."
    assert about["file"] == __file__
    assert about["line"] > 0
    assert about["parameters"] == [
        {"name": "start", "type": "int", "required": True},
        {"name": "names", "type": "list[str] | None", "required": False, "default": None},
        {"name": "rate", "type": "float", "required": False, "default": 1e-5},
    ]


def test_describing_a_misspelt_part() -> None:
    result = run("describe", "mmkit.jsnl.v1")
    assert result.exit_code == 2
    assert "did you mean 'mmkit.jsonl.v1'" in result.stderr


def test_a_described_parts_paragraphs_are_wrapped_anew() -> None:
    shown = run("describe", "mmkit.jsonl.v1").stdout
    assert "Relative image paths are relative to `root`. A record needs only `text`" in shown
    assert "(or `tokens`), and `images` may be a list of paths" in shown.replace("\n", "|")


# -- the group -----------------------------------------------------------------------------------------------


def test_help_lists_every_command_without_importing_any() -> None:
    code = (
        "import sys\nfrom mmkit.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        "own = [m for m in sys.modules if m.startswith('mmkit.cli.') and m != 'mmkit.cli.options']\n"
        "assert not own, 'commands were imported'\n"
        "assert not {'torch', 'transformers', 'timm'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for command in COMMANDS:
        line = next(line for line in done.stdout.splitlines() if line.strip().startswith(command + " "))
        assert len(line.split()) > 2


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert "Usage:" in result.stdout


def test_a_misspelt_command_gives_near_misses() -> None:
    result = run("trian", "x.cfg")
    assert result.exit_code == 2
    assert "there is no command 'trian'; did you mean 'train'" in result.stderr


def test_version() -> None:
    assert __version__ in run("--version").stdout


class Plugin:
    """A plugin with a command for each way in which one can end."""

    @hooks.hookimpl
    def mmkit_commands(self, cli: click.Group) -> None:
        @cli.command("t-end")
        @click.argument("how")
        def end(how: str) -> None:
            """End in some way."""
            raise {
                "data": DataError("bad [line]", where="x.txt:3", hint="mend it"),
                "bug": ZeroDivisionError("oh"),
                "interrupted": KeyboardInterrupt(),
                "saved": Interrupted("stopped; everything is saved"),
                "exit": click.exceptions.Exit(7),
                "usage": click.UsageError("no such thing"),
            }[how]


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(main, "plugins_loaded", False)
    commands = dict(main.commands)
    with hooks.registered(Plugin()):
        yield
    main.commands = commands


@pytest.mark.usefixtures("plugin")
def test_a_plugins_command_is_listed_and_run() -> None:
    assert "End in some way." in run("--help").stdout
    assert run("t-end", "exit").exit_code == 7


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("how", "code", "says"),
    [
        ("data", 2, "error: x.txt:3: bad [line]\n  → mend it"),
        ("bug", 1, "unexpected error: ZeroDivisionError: oh"),
        ("interrupted", 130, "interrupted"),
        ("saved", 130, "everything is saved"),
        ("usage", 2, "no such thing"),
    ],
)
def test_errors_are_one_message_without_a_traceback(how: str, code: int, says: str) -> None:
    result = run("t-end", how)
    assert result.exit_code == code
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("how", ["data", "bug"])
def test_debug_shows_the_traceback(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for result in (run("--debug", "t-end", how), run("t-end", how, "--debug")):
        assert "Traceback" in result.stderr
        assert result.exit_code == {"data": 2, "bug": 1}[how]
    monkeypatch.setenv("MMKIT_DEBUG", "1")
    assert "Traceback" in run("t-end", how).stderr


def test_a_plugin_whose_command_hook_fails_is_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        @hooks.hookimpl
        def mmkit_commands(self, cli: click.Group) -> None:
            raise OSError("no [disk]")

    monkeypatch.setattr(main, "plugins_loaded", False)
    monkeypatch.setattr(hooks, "broken", {})
    with hooks.registered(Failing()):
        result = run("list-components", "--registry", "readers")
    assert result.exit_code == 0
    assert "mmkit.jsonl.v1" in result.stdout
    assert result.stderr.count("no [disk]") == 1
    assert result.stderr.startswith("warning: plugin ")
    assert len(result.stderr.splitlines()) == 1


def test_output_that_nobody_reads_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m mmkit list-components --json | head -n 1; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "[\n"
    assert not done.stderr


def test_both_ways_to_start_the_module() -> None:
    assert __version__ in shell("--version").stdout
    done = subprocess.run(
        [sys.executable, "-m", "mmkit.cli", "--version"], capture_output=True, text=True, check=True
    )
    assert __version__ in done.stdout
