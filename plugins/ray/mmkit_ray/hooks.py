"""Hooks: the option `--ray [ADDRESS]` of `mmkit predict` and `mmkit annotate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmkit.hooks import hookimpl

if TYPE_CHECKING:
    import click

COMMANDS = {
    "predict": "Predict the files of --input on a Ray cluster",
    "annotate": "Compute what is not stored on a Ray cluster",
}
"""Command → the first words of the option's help."""


@hookimpl
def mmkit_command_options(command: click.Command) -> None:
    if command.name not in COMMANDS:
        return
    from click import Option

    command.params.append(
        Option(
            ["--ray"],
            metavar="[ADDRESS]",
            is_flag=False,
            flag_value="local",
            expose_value=False,
            callback=_chosen,
            help=f"{COMMANDS[command.name]}: HOST:PORT, or `auto` for the one on this machine. "
            "Without ADDRESS, one that is started here for this command.",
        )
    )


def _chosen(context: click.Context, parameter: click.Parameter, address: str | None) -> None:
    """Let the command use Ray if the option is given."""
    if address is None:
        return
    from mmkit.inference.executor import EXECUTOR
    from mmkit_ray.executor import RayExecutor

    context.meta[EXECUTOR] = RayExecutor(address)
