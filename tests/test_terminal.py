"""Data, paths and names control no terminal, whatever command shows them and however it is shown."""

from __future__ import annotations

import ast
import io
import json
import logging
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.progress import Progress, TextColumn
from rich.table import Table

from mmkit.cli import main, report
from mmkit.data.jsonlines import write_jsonl
from mmkit.data.types import Example, Prediction, Span
from mmkit.errors import DataError, Interrupted
from mmkit.recipe import load_recipe
from mmkit.terminal import echo, echo_traceback, quiet_controls
from mmkit.terminal.rendering import Terminal
from mmkit.training.console import ConsoleDisplay, results_tables
from mmkit.training.train import train

ROOT = Path(__file__).resolve().parents[1]

EVIL = "x\x1b]0;pwned\x07\x1b[2J\x9b31m\u202e\u2028\x07\x08\r"
"""A window's title, a cleared screen, a colour by one character, text that runs backwards, a bell, and more."""
MARKUP = "[bold]m[/bold][link=https://evil.org]l[/link][/]"
STYLES = re.compile(r"\x1b\[[0-9;]*m")
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def controlling(text: str) -> list[str]:
    """The characters of what is shown that control a terminal; line ends and tabs do no harm."""
    return CONTROLS.findall(text)


# The ways to a terminal


def test_a_line_is_shown_whole_and_controls_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"{EVIL} and\nmore \ud800")
    echo(EVIL, err=True)
    told = capsys.readouterr()
    assert controlling(told.out + told.err) == []
    assert "pwned" in told.out
    assert "and\nmore \\ud800" in told.out


@pytest.mark.parametrize(
    "error",
    [
        DataError(EVIL, where=EVIL, hint=EVIL),
        Interrupted(EVIL),
        ValueError(EVIL),
        OSError(28, EVIL, EVIL),
        click.UsageError(EVIL),
        click.BadParameter(EVIL, param_hint=EVIL),
        click.FileError(EVIL, EVIL),
    ],
)
def test_an_error_controls_nothing(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    assert report(error) in (1, 2, 130)
    told = capsys.readouterr()
    assert told.out == ""
    assert "pwned" in told.err
    assert controlling(told.err) == []


def test_a_traceback_controls_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        echo_traceback(error)
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert "pwned" in told
    assert controlling(told) == []


def test_log_lines_and_warnings_control_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("t.evil")
    handler = logging.StreamHandler()
    log.addHandler(handler)
    try:
        with quiet_controls(), warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.showwarning = _shown_plainly
            log.warning("%s: %s", EVIL, "what is wrong")
            warnings.warn(EVIL, stacklevel=1)
    finally:
        log.removeHandler(handler)
    told = capsys.readouterr().err
    assert told.count("pwned") >= 2
    assert controlling(told) == []
    assert logging.getLogRecordFactory() is logging.LogRecord


def _shown_plainly(message, category, filename, lineno, file=None, line=None) -> None:  # type: ignore[no-untyped-def]
    """As Python shows warnings, which pytest otherwise collects."""
    print(warnings.formatwarning(message, category, filename, lineno, line), file=logging.sys.stderr)  # type: ignore[attr-defined]


def test_tables_bars_and_styles_control_nothing_beyond_themselves() -> None:
    file = io.StringIO()
    terminal = Terminal(file=file, force_terminal=True, color_system="truecolor", width=120)
    table = Table(title="t", show_lines=True)
    table.add_column(EVIL)
    table.add_row(EVIL)
    terminal.print(table, "[bold]kept[/bold]", EVIL, f"[red]{EVIL}[/red]")
    terminal.print(EVIL, markup=False, highlight=False, soft_wrap=True)
    with Progress(TextColumn("{task.description}", markup=False), console=terminal, transient=True) as bars:
        bars.add_task(EVIL, total=1)
        bars.refresh()
    told = file.getvalue()
    assert "\x1b[1mkept" in told, "styles of its own stay"
    assert "]0;pwned" in told
    assert not re.search(r"\x1b\]|\x1b\[2J|\x07|\x9b|\u202e|\u2028", told.replace("\x1b[2K", ""))


def test_a_runs_display_shows_data_as_they_are() -> None:
    file = io.StringIO()
    display = ConsoleDisplay(Terminal(file=file, width=400), results=Terminal(file=file, width=400))
    display.mmkit_note(f"{EVIL} {MARKUP}")
    display.say(f"{EVIL} {MARKUP}")
    display.mmkit_progress(f"{EVIL} {MARKUP}", 1, 1)
    figures = {f"{MARKUP}{EVIL}": {"spans.f1": 0.5, f"spans.f1.{MARKUP}{EVIL}": 0.5}}
    for table in results_tables(figures, f"{MARKUP}{EVIL}"):
        display.results.print(table)
    told = file.getvalue()
    assert controlling(told) == []
    assert told.count("[link=https://evil.org]") >= 6


def test_progress_tells_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    display = ConsoleDisplay(Terminal(file=file, width=400))
    for seconds, done in ((100.0, 1000), (120.0, 3000), (125.0, 3500), (140.0, 5000)):
        monkeypatch.setattr("mmkit.training.console.time.monotonic", lambda seconds=seconds: seconds)
        display.mmkit_progress("posts", done, 5000)
    display.mmkit_progress("rows", 7, 0)
    assert file.getvalue().splitlines() == [
        "posts: 1000 of 5000",
        "posts: 3000 of 5000 (100.0/s, 0:00:20 left)",
        "posts: 5000 of 5000 (100.0/s)",
    ]


def test_a_live_display_shows_data_as_they_are() -> None:
    file = io.StringIO()
    display = ConsoleDisplay(Terminal(file=file, force_terminal=True, width=400))
    display.mmkit_progress(f"{MARKUP}{EVIL}", 0, 2)
    display.close()
    told = file.getvalue()
    assert "[link=https://evil.org]" in told
    assert not re.search(r"\x1b\]|\x07|\x9b|\u202e", told)


# Commands

RECIPE = """
[recipe]
format = 1

[data.train]
@readers = "mmkit.jsonl.v1"
root = "."
file = "FILE"

[model.encoders.text]
@encoders = "mmkit.transformer.v1"
name = "no such model"

[model.fuser]
@fusers = "mmkit.text_only.v1"

[model.decoder]
@decoders = "mmkit.crf_tagger.v1"

[training]
epochs = 1
"""


@pytest.fixture(scope="module")
def tagger(sample_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tagger"
    train(load_recipe(sample_recipe, {"training.epochs": 1}), folder, device="cpu")
    return folder


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files whose names and contents would control a terminal."""
    name = "x\x1b]0;pwned\x07\u202e"
    monkeypatch.chdir(tmp_path)
    label = MARKUP + EVIL
    examples = [
        Example.from_tokens(f"{EVIL}{n}", ["look", EVIL, MARKUP], spans=(Span(0, 1, label),))
        for n in range(2)
    ]
    write_jsonl(tmp_path / f"{name}.jsonl", examples, "examples")
    predictions = [Prediction(x.id, spans=x.spans) for x in examples]
    write_jsonl(tmp_path / "found.jsonl", predictions, "predictions")
    header = '{"format": 1, "kind": "examples"}\n'
    evil, markup = json.dumps(EVIL), json.dumps(MARKUP)
    (tmp_path / "key.jsonl").write_text(f'{header}{{"text": "a", {evil}: 1}}\n')
    (tmp_path / "photo.jsonl").write_text(f'{header}{{"text": "a", "images": [{evil}]}}\n')
    (tmp_path / "text.jsonl").write_text(f'{header}{{"id": {evil}, "text": {evil}}}\n{{"text": {markup}}}\n')
    (tmp_path / f"{name}.cfg").write_text(RECIPE.replace("FILE", f"{name}.jsonl"))
    (tmp_path / "unknown.cfg").write_text(f"{RECIPE}\nkey\x1b]0;pwned\x07 = 3\n")
    (tmp_path / "value.cfg").write_text(RECIPE.replace('"FILE"', json.dumps(f"{EVIL}.jsonl")))
    (tmp_path / "part.cfg").write_text(RECIPE.replace('"mmkit.jsonl.v1"', json.dumps(EVIL)))
    (tmp_path / "raw.conll").write_text(f"IMGID:1\nlook{EVIL}\tB-{EVIL}\textra\n\n")
    return tmp_path


NAME = "x\x1b]0;pwned\x07\u202e"
COMMANDS: tuple[Sequence[str], ...] = (
    ("check", f"{NAME}.cfg"),
    ("check", f"{NAME}.cfg", "--json"),
    ("check", "unknown.cfg"),
    ("check", "value.cfg"),
    ("check", "part.cfg"),
    ("check", f"{NAME}.missing"),
    ("check", f"{NAME}.cfg", f"--{NAME}", NAME),
    ("train", f"{NAME}.cfg", "--output", "out"),
    ("train", "unknown.cfg", "--output", f"out{NAME}"),
    ("annotate", f"{NAME}.cfg"),
    ("convert", f"{NAME}.jsonl", f"{NAME}.out", "--reader", "mmkit.jsonl.v1"),
    ("convert", "key.jsonl", "out.jsonl", "--reader", "mmkit.jsonl.v1"),
    ("convert", "raw.conll", "out.jsonl", "--reader", "mmkit.conll_images.v1"),
    ("convert", "raw.conll", "out.jsonl", "--reader", NAME),
    ("convert", "raw.conll", "out.jsonl"),
    ("score", f"{NAME}.jsonl", "found.jsonl", "--metric", "mmkit.span_f1.v1"),
    ("score", f"{NAME}.jsonl", "found.jsonl", "--metric", "mmkit.span_f1.v1", "--json"),
    ("score", "key.jsonl", "found.jsonl", "--metric", "mmkit.span_f1.v1"),
    ("score", f"{NAME}.jsonl", f"{NAME}.no", "--metric", NAME),
    ("predict", "RUN", "--text", EVIL),
    ("predict", "RUN", "--text", MARKUP),
    ("predict", "RUN", "--text", EVIL, "--json"),
    ("predict", "RUN", "--text", "a", "--image", f"{NAME}.jpg"),
    ("predict", "RUN", "--text", "a", "--image", f"{NAME}.jpg", "--missing-images", "blank"),
    ("predict", "RUN", "--input", "text.jsonl"),
    ("predict", "RUN", "--input", "text.jsonl", "--json"),
    ("predict", "RUN", "--input", "text.jsonl", "--output", f"{NAME}.out"),
    ("predict", "RUN", "--input", "photo.jsonl"),
    ("predict", "RUN", "--input", "key.jsonl"),
    ("predict", NAME, "--text", "a"),
    ("predict", "RUN", "--split", NAME),
    ("predict", "RUN", "--text", "a", f"--{NAME}"),
    ("evaluate", NAME),
    ("evaluate", "RUN", "--split", NAME),
    ("describe", NAME),
    ("list-components", "--registry", NAME),
    ("new-plugin", NAME),
    ("import-checkpoint", NAME, f"{NAME}.pth", "out"),
    (NAME,),
)


@pytest.mark.parametrize(
    "command",
    COMMANDS,
    ids=[f"{n} {c[0]}".encode("ascii", "replace").decode() for n, c in enumerate(COMMANDS)],
)
@pytest.mark.parametrize("debug", [False, True])
def test_a_command_controls_no_terminal(
    command: Sequence[str], debug: bool, hostile: Path, tagger: Path
) -> None:
    arguments = [str(tagger) if word == "RUN" else word for word in command]
    done = CliRunner().invoke(main, [*(["--debug"] if debug else []), *arguments])
    assert done.exit_code in (0, 1, 2), done.output
    assert controlling(done.output) == []
    assert "unexpected error" not in done.output


@pytest.mark.parametrize("name", ["bad.jsonl", "posts.jsonl"])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_the_shared_cases_control_nothing(name: str, more: Sequence[str], tagger: Path) -> None:
    case = ROOT.parent / "shared" / "cases" / "faults" / "terminal" / name
    if not case.exists():
        pytest.skip("the shared cases are not beside the project")
    done = CliRunner().invoke(main, ["predict", str(tagger), "--input", str(case), *more])
    assert done.exit_code in (0, 2), done.output
    assert "pwned" in done.output
    assert controlling(done.output) == []


def test_json_for_a_terminal_is_the_same_json(hostile: Path, tagger: Path) -> None:
    """`--output` may be a terminal, and a file may be shown on one."""
    command = ["predict", str(tagger), "--input", "text.jsonl", "--output"]
    done = CliRunner().invoke(main, [*command, "out.jsonl"])
    assert done.exit_code == 0, done.output
    content = (hostile / "out.jsonl").read_bytes().decode()
    assert controlling(content) == []
    first, second = map(json.loads, content.splitlines())
    assert first["id"] == EVIL
    assert second["text"] == MARKUP
    screen, terminal = os.openpty()
    done = CliRunner().invoke(main, [*command, os.ttyname(terminal)])
    assert done.exit_code == 0, done.output
    assert os.read(screen, 100_000).decode().replace("\r\n", "\n") == content
    os.close(terminal)
    os.close(screen)


def test_commands_print_in_these_ways_alone() -> None:
    """What a command prints goes through `mmkit.terminal` and `mmkit.terminal.rendering`."""
    files = [*ROOT.glob("mmkit/**/*.py"), *ROOT.glob("plugins/*/mmkit_*/**/*.py")]
    allowed = {"mmkit/terminal/__init__.py", "mmkit/terminal/rendering.py", "mmkit/cli/__init__.py"}
    other = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node.func)}"
        for file in files
        if str(file.relative_to(ROOT)) not in allowed
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("print", "click.echo", "click.secho", "Console", "sys.stdout.write")
    ]
    assert other == []
