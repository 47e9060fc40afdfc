"""The command line. Starting it imports no command, and neither torch nor transformers."""

from __future__ import annotations

import contextlib
import errno
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click

from mmkit import __version__, hooks
from mmkit.config import sources
from mmkit.errors import Interrupted, MMKitError, Terminated, did_you_mean, printable
from mmkit.terminal import LINES, echo, echo_traceback, error_line, quiet_controls
from mmkit.terminal.elastic import hand_over, is_main

COMMANDS = {
    "train": "mmkit.cli.train:train",
    "evaluate": "mmkit.cli.evaluate:evaluate",
    "predict": "mmkit.cli.predict:predict",
    "score": "mmkit.cli.score:score",
    "check": "mmkit.cli.check:check",
    "annotate": "mmkit.cli.data:annotate",
    "convert": "mmkit.cli.data:convert",
    "import-checkpoint": "mmkit.cli.data:import_checkpoint",
    "init": "mmkit.cli.init:init",
    "list-recipes": "mmkit.cli.recipes:list_recipes",
    "list-components": "mmkit.cli.components:list_components",
    "describe": "mmkit.cli.components:describe",
    "new-plugin": "mmkit.cli.new_plugin:new_plugin",
}
"""Command → where its click command is, imported when it is called."""

INTERRUPTED = 130
BROKEN_PIPE = 141
"""The exit code that a shell gives for a program that SIGPIPE ended."""


class LazyGroup(click.Group):
    """Imports a subcommand when it is called, adds plugins' commands, and prints errors."""

    plugins_loaded = False
    warned: frozenset[str] = frozenset()

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.with_options: set[str] = set()
        """The commands to which plugins have added their options."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        self.load_plugins()
        return [*COMMANDS, *(name for name in super().list_commands(ctx) if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in COMMANDS:
            module, _, attribute = COMMANDS[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            self.let_plugins_add_options(cmd_name, command)
            return command
        self.load_plugins()
        return super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"there is no command {name!r}; {did_you_mean(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands by their docstrings' first lines, read from source: help imports none of them."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.commands.get(name)
            summary = command.get_short_help_str(100) if command else sources.find(COMMANDS[name]).summary
            rows.append((name, summary))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def load_plugins(self) -> None:
        """Let plugins add their commands (once), and warn about plugins that cannot be loaded."""
        if self.plugins_loaded:
            return
        self.plugins_loaded = True
        for _ in hooks.call_each("mmkit_commands", cli=self):
            pass
        self.warn_of_broken_plugins()

    def let_plugins_add_options(self, name: str, command: click.Command) -> None:
        """Let plugins add options to a command (once), and warn about plugins that cannot."""
        if name in self.with_options:
            return
        self.with_options.add(name)
        for _ in hooks.call_each("mmkit_command_options", command=command):
            pass
        self.warn_of_broken_plugins()

    def warn_of_broken_plugins(self) -> None:
        """One line for each plugin that cannot be used, once."""
        for name in hooks.broken.keys() - self.warned:
            error_line("warning:", f"plugin {name!r} cannot be used: {hooks.broken[name]}", "yellow")
        self.warned = frozenset(hooks.broken)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        """Run a command and exit: 2 for an error the user can fix, 1 for a bug, 130 if interrupted.

        `--debug`, anywhere on the line, or `MMKIT_DEBUG=1` shows the traceback of an error.
        """
        args = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in args or os.environ.get("MMKIT_DEBUG", "0") not in ("", "0")
        args = [arg for arg in args if arg != "--debug"]
        extra["standalone_mode"] = False
        try:
            with _cleaning_up(), quiet_controls():
                result = super().main(args, *rest, **extra)
            code = result if isinstance(result, int) else 0
            sys.stdout.flush()  # a full disk shows here, not when Python ends
        except Terminated as stopped:
            echo("stopped by SIGTERM", err=True)
            sys.exit(stopped.code)
        except Exception as error:
            if debug and not isinstance(error, click.ClickException | click.Abort):
                echo_traceback(error)
            code = report(error)
        self.warn_of_broken_plugins()
        sys.exit(code)


def report(error: Exception) -> int:
    """Print an error as one message on standard error; returns the exit code."""
    match error:
        case Interrupted():  # not an error: the user asked for it
            if is_main():
                echo(error, err=True)
            return error.exit_code
        case MMKitError():
            _say("error:", error, error.code)
            return error.exit_code
        case click.ClickException():
            if not hand_over(f"error: {error.format_message()}"):
                shown = io.StringIO()
                error.show(shown)
                echo(
                    shown.getvalue().rstrip("\n"), err=True
                )  # it may name files, whose names may be anything
            return error.exit_code
        case BrokenPipeError():  # the reader of the output has ended (`| head`)
            _drop_output()
            return BROKEN_PIPE
        case OSError() if error.errno in (errno.ENOSPC, errno.EDQUOT):
            _drop_output()
            what = "the disk is full" if error.errno == errno.ENOSPC else "the disk quota is used up"
            where = f"{error.filename}: " if error.filename else "standard output: "
            _say("error:", f"{where}cannot write: {what}\n  → free some space, or write elsewhere")
            return 2
        case click.Abort():  # click's form of Ctrl-C
            echo("interrupted", err=True)
            return INTERRUPTED
    from mmkit.cli.blame import blame  # reads what is registered, which takes a while

    advice = "run again with --debug to see the traceback, and send it to the package's author"
    _say("unexpected error:", f"{blame(error)}\n  → {advice}")
    return 1


def _say(title: str, text: object, code: str = "") -> None:
    """An error on standard error; under torchrun, where that prints it."""
    after = f"\n  [{code}]" if code else ""
    if hand_over(printable(f"{title} {text}{after}", keep=LINES)):
        return
    error_line(title, text)
    if code:
        dim = click.style(f"[{code}]", dim=True)
        click.echo(f"  {dim}", err=True)


@contextlib.contextmanager
def _cleaning_up() -> Iterator[None]:
    """Let SIGTERM end the program by an exception. Training has its own handler, which saves first."""

    def end(number: int, _frame: object) -> None:
        raise Terminated(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _drop_output() -> None:
    """Keep Python from writing the rest to a standard output that is closed or full."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=True)
@click.version_option(__version__, prog_name="mmkit")
@click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the traceback of an error (or MMKIT_DEBUG=1)."
)
def main() -> None:
    """Assemble, train and use multimodal information-extraction models.

    reader → annotators → encoders → fuser → decoder → metrics
    """
    main.load_plugins()
