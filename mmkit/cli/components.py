"""`mmkit list-components` and `mmkit describe`: which parts there are, and what each takes."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import click
from rich.console import RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmkit import registry
from mmkit.cli.options import as_json as to_json
from mmkit.config.packages import DISTRIBUTION
from mmkit.config.parameters import Parameter, parameters, type_name
from mmkit.errors import PartError
from mmkit.registry import Component
from mmkit.terminal import echo
from mmkit.terminal.rendering import Terminal

WIDE = 10_000
"""Columns of output that is not a terminal: nothing is wrapped or cut, each part is one line."""


@click.command("list-components")
@click.option("--registry", "only", metavar="NAME", help=f"Only one of: {', '.join(registry.ALL)}.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a list of objects.")
@click.option("--check", is_flag=True, help="Import every part, in a separate process, and say which fail.")
def list_components(only: str | None, as_json: bool, check: bool) -> None:
    """List every registered part, with the package it comes from.

    With --check the exit code is 2 if any part cannot be used.
    """
    components = registry.components(only)
    if check:
        components = _checked(components)
    broken = [component for component in components if component.problem]
    if as_json:
        echo(to_json([dataclasses.asdict(c) for c in components]))
    else:
        out = console()
        for lines in [_table(components)] if out.width == WIDE else _listing(components, out.width):
            out.print(lines)
    if check and broken:
        names = ", ".join(f"{c.name} ({c.package})" for c in broken)
        raise PartError(
            f"{len(broken)} of {len(components)} parts cannot be used: {names}", code="part.broken-parts"
        )


def _checked(components: list[Component]) -> list[Component]:
    from mmkit.cli.import_check import check_imports

    failures = check_imports(components)
    return [dataclasses.replace(c, problem=failures.get((c.registry, c.name), c.problem)) for c in components]


def _listing(components: list[Component], width: int) -> Iterator[RenderableType]:
    """For a terminal: each registry has a heading, and each part its description beside or below it."""
    names = max((len(c.name) for c in components), default=0)
    for station, parts in itertools.groupby(components, key=lambda c: c.registry):
        yield f"[bold]{station}[/bold]"
        for c in parts:
            package = (
                ""
                if c.package == DISTRIBUTION
                else f" [dim]({escape(f'{c.package} {c.version}'.strip())})[/dim]"
            )
            line = f"  {escape(c.name):{names}}  {_about(c)}{package}"
            if len(Text.from_markup(line)) <= width:
                yield line
            else:
                yield f"  {escape(c.name)}{package}"
                yield Padding(_about(c), (0, 0, 0, 6))


def _about(component: Component) -> str:
    problem = f"[red]broken:[/red] {escape(component.problem)}"
    return problem if component.problem else escape(component.description)


def _table(components: list[Component]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("Part", "Registry", "Package"):
        table.add_column(column, no_wrap=True, overflow="fold")
    table.add_column("Description", overflow="fold")
    for c in components:
        table.add_row(escape(c.name), c.registry, escape(f"{c.package} {c.version}".strip()), _about(c))
    return table


@click.command()
@click.argument("name")
@click.option(
    "--registry", "only", metavar="NAME", help="Of a format, which has a reader and a writer: writers."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one object.")
def describe(name: str, only: str | None, as_json: bool) -> None:
    """Show what a part does, its parameters with types and defaults, and where its source is."""
    if only is None:
        station, part = registry.find(name)
    else:
        station, part = only, registry.get(only, registry.registry_of(only).full_name(name))
        name = registry.registry_of(only).full_name(name)
    component = next(c for c in registry.components(station) if c.name == name)
    arguments = parameters(part)
    task = getattr(part, "task", None)
    file, line = _source(part)
    docstring = inspect.getdoc(part) or ""
    if as_json:
        about = {
            **dataclasses.asdict(component),
            "docstring": docstring,
            "file": file,
            "line": line,
            "parameters": [_as_json(p) for p in arguments.values()],
            **({"task": task.describe()} if task is not None else {}),
        }
        echo(to_json(about))
        return
    out = console()
    out.print(
        f"[bold]{escape(name)}[/bold]  @{station}, {escape(f'{component.package} {component.version}')}"
    )
    out.print(f"{escape(file)}:{line}", style="dim", soft_wrap=True)
    out.print(f"\n{escape(_unwrapped(docstring))}\n")
    out.print(_parameter_table(arguments) if arguments else "It takes no parameters.")
    if task is not None:
        out.print(f"\n{escape(_about_task(task.describe()))}")


def _about_task(task: Mapping[str, Any]) -> str:
    """What a decoder's task is, in words."""
    asked = ["a sentence", "pictures", *(f"{i['option']} ({i['help']})" for i in task["inputs"])]
    metrics = f" Metrics that fit: {', '.join(task['metrics'])}." if task["metrics"] else ""
    return f"It finds {task['name']}. It is given {', '.join(asked[:-1])} and {asked[-1]}.{metrics}"


def _unwrapped(docstring: str) -> str:
    """The docstring with each paragraph on one line, to be wrapped again; lists and indented text stay."""
    paragraphs = docstring.split("\n\n")
    return "\n\n".join(
        p if re.search(r"^(\s|[-*|>]|\d+\.)", p, re.MULTILINE) else p.replace("\n", " ") for p in paragraphs
    )


def _parameter_table(arguments: dict[str, Parameter]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Parameter", no_wrap=True)
    table.add_column("Type", overflow="fold")
    table.add_column("Default", overflow="fold")
    for p in arguments.values():
        default = "required" if p.required else repr(p.default)
        table.add_row(escape(p.name), escape(type_name(p.hint)), escape(default))
    return table


def _as_json(parameter: Parameter) -> dict[str, Any]:
    described = {"name": parameter.name, "type": type_name(parameter.hint), "required": parameter.required}
    return described if parameter.required else {**described, "default": parameter.default}


def _source(part: type) -> tuple[str, int]:
    try:
        return inspect.getsourcefile(part) or "", inspect.getsourcelines(part)[1]
    except (OSError, TypeError):  # made in a notebook, or compiled
        return "", 0


def console() -> Terminal:
    """Standard output: as wide as the terminal, or as wide as the text if there is no terminal."""
    return Terminal(highlight=False, width=None if sys.stdout.isatty() else WIDE)
