"""`mmkit score`: score predictions that come from elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from mmkit.cli.options import OVERRIDABLE, as_json, overrides_from, print_figures
from mmkit.terminal import echo


@click.command(context_settings=OVERRIDABLE)
@click.argument("gold", type=click.Path(path_type=Path))
@click.argument("predictions", type=click.Path(path_type=Path))
@click.option(
    "--metric", "name", required=True, metavar="NAME", help="A registered metric; its settings follow."
)
@click.option(
    "--in-order",
    is_flag=True,
    help="Pair examples and predictions by their positions in the files, not by their ids.",
)
@click.option("--json", "json_", is_flag=True, help="Print the scores as JSON.")
@click.pass_context
def score(
    context: click.Context, gold: Path, predictions: Path, name: str, in_order: bool, json_: bool
) -> None:
    """Score PREDICTIONS against GOLD with any metric.

    The metric's settings follow its name: --metric mmkit.joint_f1.v1 --match string

    GOLD is what `mmkit convert` writes. PREDICTIONS are a run's predictions/<split>.jsonl, the --output of `mmkit
    predict`, or canonical jsonlines from elsewhere. Either may be a file in a form that a
    plugin reads. `mmkit list-components --registry metrics` shows the metrics, `mmkit describe NAME` their settings.
    """
    from mmkit.inference.score import score_files
    from mmkit.metrics.base import is_share
    from mmkit.metrics.scoring import nothing_to_score
    from mmkit.registry import build_part

    metric = build_part("metrics", name, overrides_from(context))

    def warn(message: str) -> None:
        echo(f"warning: {message}", err=True)

    figures, examples = score_files(gold, predictions, metric, in_order=in_order, note=warn)
    if json_:
        echo(as_json({"metric": name, "examples": examples, **figures}))
        return
    if unscored := nothing_to_score({name: metric}, {f"{name}.{figure}": 0.0 for figure in figures}):
        echo(unscored, err=True)
    short = name.split(".")[-2] if "." in name else name  # joint_f1 of mmkit.joint_f1.v1
    unit = "%" if all(map(is_share, figures)) else "%, or a rank"
    print_figures({unit: {f"{short}.{figure}": value for figure, value in figures.items()}}, predictions.name)
