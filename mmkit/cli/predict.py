"""`mmkit predict`: one sentence, or a file of them."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import click

from mmkit.cli.options import as_json, device_option, quiet_libraries

if TYPE_CHECKING:
    from mmkit.data.types import Entity, Example
    from mmkit.encoders.base import MissingImages


SHOWN = 5
"""Links that are printed; JSON has all of them."""


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--text", help="A sentence.")
@click.option("--image", "images", multiple=True, help="A picture of the sentence; may be repeated.")
@click.option("--head", help="For relations: the head's words, as they stand in the text.")
@click.option("--tail", help="For relations: the tail's words.")
@click.option("--mention", help="For linking: the words to link; they need not stand in the text.")
@click.option(
    "--candidate", "candidates", multiple=True, help="For linking: an entity's id; may be repeated."
)
@click.option(
    "--entities",
    type=click.Path(path_type=Path),
    help="For linking: a knowledge base of jsonlines (`mmkit convert` makes them) in place of the one trained with.",
)
@click.option("--input", "input_", type=click.Path(path_type=Path), help="Examples as jsonlines.")
@click.option("--split", help="Examples of a split of the run's own recipe (test, say).")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Where to write jsonlines; default the screen."
)
@click.option(
    "--missing-images",
    type=click.Choice(["error", "blank"]),
    help="Whether blank ones stand in for them. Default: error, or with --split as in training.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Default: the recipe's eval_batch_size.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many examples.")
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")
@device_option
def predict(
    run: Path,
    text: str | None,
    images: tuple[str, ...],
    head: str | None,
    tail: str | None,
    mention: str | None,
    candidates: tuple[str, ...],
    entities: Path | None,
    input_: Path | None,
    split: str | None,
    output: Path | None,
    missing_images: MissingImages | None,
    batch_size: int | None,
    limit: int | None,
    json_: bool,
    device: str,
) -> None:
    """Extract with the trained model in the folder RUN, from --text, from --input or from a --split.

    A line of --input needs `text` (or `tokens`) and may have `id`, `images` and, for relations, `relations`, for
    linking, `mention` and `candidates`.
    """
    if sum(source is not None for source in (text, input_, split)) != 1:
        raise click.UsageError("give one of --text, --input and --split")
    if text is None and (images or head or tail or mention is not None or candidates):
        raise click.UsageError("--image, --head, --tail, --mention and --candidate go with --text")
    quiet_libraries()
    import mmkit
    from mmkit.data.jsonl import JsonlReader
    from mmkit.loading.splits import check_split, read_split

    predictor = mmkit.load(run, device=device, entities=entities)
    if split is not None:
        check_split(predictor.recipe, split)
    if missing_images is not None:
        predictor.missing_images = missing_images
    elif split is not None:  # as in training and evaluation
        predictor.missing_images = predictor.recipe.config["data"]["missing_images"]
    examples: Iterator[Example]
    if text is not None:
        given = {"head": head, "tail": tail, "mention": mention, "candidates": candidates}
        examples = iter([predictor.task.example(text, images, given, predictor.model.entities)])
    elif split is not None:
        examples = iter(read_split(predictor.recipe, split).examples)
    elif input_ is not None:
        examples = only_examples(JsonlReader(root=str(input_.parent), file=input_.name), input_)
    found = predictor.stream(itertools.islice(examples, limit), batch_size)
    results = (predictor.answer(example, prediction).to_dict() for example, prediction in found)
    if output is not None:
        write(output, results)
    else:
        for result in results:
            if json_:
                click.echo(as_json(result) if text is not None else json.dumps(result, ensure_ascii=False))
            else:
                show(result)
    for path, reason in predictor.replaced.items():
        click.echo(f"a blank picture stood in for {path}: {reason}", err=True)


def only_examples(records: Iterable[Example | Entity], source: Path) -> Iterator[Example]:
    """The records of a file. Raises `DataError` if it holds entities."""
    from mmkit.data.types import Example
    from mmkit.errors import DataError

    for record in records:
        if not isinstance(record, Example):
            raise DataError(
                "the file holds entities, not examples",
                where=source,
                hint="to link to these entities, give the file as --entities",
                code="file.wrong-kind",
            )
        yield record


def write(output: Path, results: Iterable[dict[str, Any]]) -> None:
    """The results as jsonlines, in a file that appears when all of them are in it."""
    from mmkit.files import atomic

    count = 0
    with atomic(output) as file:
        for result in results:
            file.write(json.dumps(result, ensure_ascii=False) + "\n")
            count += 1
    click.echo(f"{count} predictions written to {output}", err=True)


def show(result: dict[str, Any]) -> None:
    """One result for a person: the sentence, and a line for everything found in it."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, soft_wrap=True, file=sys.stdout)
    console.print(f"[bold]{escape(result['text'])}[/bold]")
    for path in result["images"]:
        console.print(f"  [dim]{escape(path or 'a blank picture')}[/dim]")
    for entity in result.get("entities", ()):
        bounds = f"tokens {entity['start']}:{entity['end']}, characters {entity['start_char']}:{entity['end_char']}"
        console.print(
            f"  [green]{escape(entity['label'])}[/green] {escape(entity['text'])}  ({bounds})  {entity['score']:.3f}"
        )
    for relation in result.get("relations", ()):
        head, tail = escape(relation["head"]["text"]), escape(relation["tail"]["text"])
        console.print(
            f"  {head} → [green]{escape(str(relation['label']))}[/green] → {tail}  {relation['score']:.3f}"
        )
    if "links" in result:
        console.print(f"  {escape(result['mention'] or 'the picture')} is")
    for link in result.get("links", ())[:SHOWN]:
        name = f"{escape(link['name'])}  " if "name" in link else ""
        about = escape(shorten(link.get("description", ""), 70, placeholder=" ..."))
        console.print(
            f"  {link['score']:.3f}  [green]{escape(link['entity'])}[/green]  {name}[dim]{about}[/dim]"
        )
    if not (result.get("entities") or result.get("relations") or result.get("links")):
        console.print("  [dim]nothing found[/dim]")
    for source in result.get("sources", ()):
        about = shorten(source.get("caption") or source.get("text") or "", 70, placeholder=" ...")
        number = source.get("score")
        told = f"{number:.3f}" if isinstance(number, int | float) else "     "
        console.print(
            f"  [dim]{told}[/dim]  [cyan]{escape(str(source.get('title', '')))}[/cyan]  "
            f"[dim]{escape(about)}  ({escape(str(source.get('by', '')))})[/dim]"
        )
