"""`mmkit predict`: one sentence, or a file of them."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mmkit.cli.formats import (
    JSONLINES,
    format_option,
    of_options,
    reader_of,
    reader_setting_option,
    say_losses,
    setting_option,
    settings_given,
    writer_of,
)
from mmkit.cli.options import (
    as_json,
    device_option,
    executor_from,
    network_option,
    quiet_libraries,
    run_argument,
)
from mmkit.cli.predict_files import is_of_files, predict_into_folder
from mmkit.cli.task_options import TASK, TaskCommand, given_to, task_of
from mmkit.terminal import echo
from mmkit.terminal.notes import capped

if TYPE_CHECKING:
    from mmkit.data.reader import Reader
    from mmkit.data.types import Entity, Example, Prediction
    from mmkit.data.writer import Writer
    from mmkit.encoders.items import MissingPolicy
    from mmkit.tasks import Answer, Task


@click.command(cls=TaskCommand)
@run_argument
@click.option("--text", help="A sentence.")
@click.option("--image", "images", multiple=True, help="An image of the sentence; may be repeated.")
@click.option(
    "--entities",
    type=click.Path(path_type=Path),
    help="For a model that links: a knowledge base in jsonlines (made by `mmkit convert`) instead of the one "
    "it was trained with.",
)
@click.option(
    "--search",
    metavar="VALUE",
    help="For a model that links: how it finds entities, instead of its recipe's model.decoder.search: exact, faiss, "
    "or a search engine in JSON.",
)
@click.option(
    "--input",
    "input_",
    type=click.Path(path_type=Path),
    help="Examples: jsonlines, or see --reader. With a folder as --output also a folder, or a pattern in quotes.",
)
@click.option("--reader", metavar="NAME", help="The reader of --input if it is not jsonlines, such as conll.")
@reader_setting_option
@click.option(
    "--images",
    "pictures",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The folder of the images that --input names, if they are elsewhere.",
)
@click.option("--split", help="Examples of a split of the run's own recipe, such as test.")
@click.option(
    "--output",
    "output_",
    type=click.Path(),
    help="Where to write jsonlines: a file, or a folder (FOLDER/) for one file for each file of --input. "
    "Default: the screen.",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    help="Processes that predict the files of --input into the folder --output. Default: 1.",
)
@click.option(
    "--strict", is_flag=True, help="Stop at a broken record in files, in place of writing it to errors.jsonl."
)
@format_option
@setting_option
@click.option(
    "--missing-images",
    type=click.Choice(["error", "blank"]),
    help="Whether missing images are an error or become blank. Default: error; with --split, as in training.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Default: the recipe's eval_batch_size.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after this many examples.")
@click.option("--json", "json_", is_flag=True, help="Print JSON instead of a table.")
@click.option("--schema", is_flag=True, help="Only print the JSON schema of this run's answers.")
@device_option
@network_option
@click.pass_context
def predict(
    context: click.Context,
    /,
    run: Path,
    text: str | None,
    images: tuple[str, ...],
    entities: Path | None,
    search: str | None,
    input_: Path | None,
    reader: str | None,
    reader_settings: tuple[str, ...],
    pictures: Path | None,
    split: str | None,
    output_: str | None,
    workers: int | None,
    strict: bool,
    format_: str | None,
    settings: tuple[str, ...],
    missing_images: MissingPolicy | None,
    batch_size: int | None,
    limit: int | None,
    json_: bool,
    schema: bool,
    device: str,
    allow_network: bool,
    **options: Any,
) -> None:
    """Extract with the trained model in the folder RUN, from --text, from --input or from a --split.

    Other inputs that a model needs are among the options below: a pair for a relation classifier, a mention for a
    linker. A line of --input needs `text` (or `tokens`) and may have `id`, `images` and the model's inputs:
    `relations`, `mention` and `candidates`. With --format, --output is a file of the named tool: the predictions are
    annotations that can be corrected there.

    With a folder as --output, or --workers, each file of --input gets one file of predictions. If this is stopped or
    killed, the same command goes on. Broken records go to errors.jsonl in the folder.
    """
    task = context.meta.get(TASK) or task_of(run)
    given = given_to(options)
    task.check_names(given, "input")
    if entities is not None:
        task.check_entities(entities)
    if schema:
        echo(as_json(task.schema()))
        return
    if sum(source is not None for source in (text, input_, split)) != 1:
        raise click.UsageError("give one of --text, --input and --split")
    if (format_ or settings) and output_ is None:
        raise click.UsageError("--format and --setting go with --output")
    if settings and not format_:
        raise click.UsageError("--setting goes with --format")
    if reader is not None and input_ is None:
        raise click.UsageError("--reader goes with --input")
    if reader_settings and input_ is None:
        raise click.UsageError("--reader-setting goes with --input")
    if pictures is not None and input_ is None:
        raise click.UsageError("--images goes with --input; an image of --text is given with --image")
    if text is None and (images or given):
        own = " and ".join(["--image", *(i.flag for i in task.inputs)])
        raise click.UsageError(f"{own} go with --text")
    if text is not None:
        task.check_given(given, "input")
    searched = None if search is None else searched_by(search)
    quiet_libraries()
    executor = executor_from(context)
    of_files = input_ is not None and is_of_files(input_, output_, workers, reader, format_)
    if input_ is not None and (executor is not None or of_files):
        if limit is not None or json_:
            raise click.UsageError("--limit and --json do not go with a folder of predictions")
        predict_into_folder(
            run,
            input_,
            output_,
            workers=workers,
            reader=reader,
            format=format_,
            settings=settings,
            reader_settings=reader_settings,
            images=pictures,
            missing_images=missing_images,
            batch_size=batch_size,
            strict=strict,
            device=device,
            entities=entities,
            search=searched,
            allow_network=allow_network,
            executor=executor,
        )
        return
    if workers is not None or executor is not None:
        option = "--workers" if executor is None else executor.option
        raise click.UsageError(f"{option} goes with --input")
    output = None if output_ is None else Path(output_)
    import mmkit
    from mmkit.access.network import without_network
    from mmkit.cli.predict_output import check_output
    from mmkit.data.convert import folder_of, moved, refuse_own_file
    from mmkit.data.expected import records
    from mmkit.data.inside import copied_from_outside
    from mmkit.inference.lacks import Lacks
    from mmkit.loading.splits import check_split, read_split

    writer = writer_of(format_, settings) if format_ is not None else None
    if output is not None:
        check_output(output, format_)
    predictor = mmkit.load(
        run, device=device, entities=entities, search=searched, allow_network=allow_network
    )
    if isinstance(predictor.recipe.settings("model.decoder").get("search"), Mapping):  # what an engine tells
        for note in predictor.notes:
            echo(note, err=True)
    if split is not None:
        check_split(predictor.recipe, split)
    if missing_images is not None:
        predictor.missing_images = missing_images
    elif split is not None:  # as in training and evaluation
        predictor.missing_images = predictor.recipe.config["data"]["missing_images"]
    examples: Iterator[Example]
    source: Reader | None = None
    if text is not None:
        examples = iter([predictor.example(text, images, **given)])
    elif split is not None:
        with without_network(run, allow=allow_network):
            source = predictor.recipe.build(f"data.{split}")
            examples = iter(read_split(predictor.recipe, split).examples)
    elif input_ is not None:
        with of_options():
            how = settings_given(reader_settings, "--reader-setting")
            source = reader_of(reader or JSONLINES, input_, how, pictures)
        examples = only_examples(records(source), input_)
    found = predictor.stream(itertools.islice(examples, limit), batch_size)
    found = found if input_ is None else with_folder_named(found)
    copied: dict[str | None, None] = {}
    if output is not None:  # with paths that are right from its folder
        if source is not None:
            refuse_own_file(source, output)
        if writer is not None and writer.copies_images and source is not None:
            found = noted(found, copied)
        folder = folder_of(output)
        found = ((moved(example, folder), prediction) for example, prediction in found)
    lacks = Lacks()
    found, kept = itertools.tee(found) if writer is not None else (found, iter(()))
    answers = lacks.counted(predictor.answer(example, prediction) for example, prediction in found)
    if output is not None and writer is not None:  # both go on in step: one pair is kept at a time
        write_annotations(output, writer, task, (pair for pair, _ in zip(kept, answers, strict=True)))
    elif output is not None:
        write(output, answers)
    elif json_:
        for answer in answers:
            echo(as_json(answer.to_dict(), indent=2 if text is not None else None))
    else:
        show(task, answers)
    for line in lacks.lines() if text is None else ():
        echo(line, err=True)
    if source is not None and (said := copied_from_outside(copied, source.picture_folders(), str(output))):
        echo(said, err=True)
    used = (f"a blank image was used instead of {path}: {why}" for path, why in predictor.replaced.items())
    for line in capped(used):
        echo(line, err=True)


def searched_by(value: str) -> Any:
    """The value of --search: JSON, or a word."""
    from mmkit.recipe import parse_overrides

    return parse_overrides([f"--search={value}"])["search"]


def noted(
    found: Iterable[tuple[Example, Prediction]], paths: dict[str | None, None]
) -> Iterator[tuple[Example, Prediction]]:
    """The pairs; the paths of the examples' images are put into `paths` as they are given."""
    for example, prediction in found:
        paths.update(dict.fromkeys(image.path for image in example.images))
        yield example, prediction


def with_folder_named(found: Iterable[tuple[Example, Prediction]]) -> Iterator[tuple[Example, Prediction]]:
    """The pairs. The error of a missing image says that its folder can be named."""
    from mmkit.errors import ImageError
    from mmkit.inference.predictor import or_elsewhere

    try:
        yield from found
    except ImageError as error:
        if error.code != "image.missing":
            raise
        raise error.at(error.where, or_elsewhere(error.hint)) from error


def only_examples(records: Iterable[Example | Entity], source: Path) -> Iterator[Example]:
    """The records of a file. Raises `DataError` if it holds entities, and says how its reader gets a setting."""
    from mmkit.data.types import Example
    from mmkit.errors import DataError

    try:
        for record in records:
            if not isinstance(record, Example):
                raise DataError(
                    "the file holds entities, not examples",
                    where=source,
                    hint="to link to these entities, give the file as --entities",
                    code="file.wrong-kind",
                )
            yield record
    except DataError as error:
        named = next((name for name in ("misaligned", "offsets") if f"{name} = " in error.hint), "")
        if not named:
            raise
        raise error.at(error.where, f"{error.hint} (as --reader-setting {named}=VALUE)") from error


def write(output: Path, answers: Iterable[Answer]) -> None:
    """The answers as jsonlines, in a file that appears when all of them are in it."""
    from mmkit.files import atomic

    count = 0
    with atomic(output) as file:
        for answer in answers:
            file.write(as_json(answer.to_dict(), indent=None) + "\n")
            count += 1
    echo(f"{count} predictions written to {output}", err=True)


def write_annotations(
    output: Path, writer: Writer, task: Task, found: Iterable[tuple[Example, Prediction]]
) -> None:
    """The predictions as annotations of their examples, in a writer's format."""
    from mmkit.data.answers import silver

    count = 0

    def annotated() -> Iterator[Example]:
        nonlocal count
        for example, prediction in found:
            count += 1
            yield silver(task.question(example), prediction)

    writer.write(output, annotated())
    echo(f"{count} predictions written to {output}", err=True)
    say_losses(writer)


def show(task: Task, answers: Iterable[Answer]) -> None:
    """Answers for a person, as their task shows them."""
    from mmkit.terminal.rendering import Terminal

    console = Terminal(highlight=False, soft_wrap=True, file=sys.stdout)
    for answer in answers:
        task.render(answer, console)
