"""The problems of a recipe's data: one list, which `mmkit check` shows and which training checks first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mmkit.checking.labels import absence_problems, label_problems, labelled
from mmkit.checking.report import SplitReport, stopping
from mmkit.data.fingerprints import known_mistake
from mmkit.data.image_report import SHOWN, ImageReport, scan_images
from mmkit.data.problems import At, Problem, counted
from mmkit.data.types import Entity, Example, Image
from mmkit.encoders.base import Encoder
from mmkit.encoders.item_encoder import ItemEncoder
from mmkit.encoders.transformer_words import TransformerWords
from mmkit.errors import DataError, MMKitError
from mmkit.files import tidy
from mmkit.fit import Parts
from mmkit.hooks import call_each
from mmkit.loading.split import ENTITIES, Split
from mmkit.metrics.base import Metric
from mmkit.metrics.scoring import known_figures, metrics_of, of_perfect_predictions, weights_of
from mmkit.recipe import Recipe
from mmkit.tasks import Task
from mmkit.terminal.notes import few

Chosen = Callable[[Example | Entity], Sequence[Image]]


def examine(
    recipe: Recipe,
    parts: Parts,
    splits: Mapping[str, Split],
    *,
    training: bool = True,
    annotated: bool = True,
    pictures: bool = True,
    all_pictures: bool = False,
    decode: bool = False,
    run: Path | None = None,
) -> dict[str, SplitReport]:
    """The content of the splits, and all problems that training would refuse or that a user should know about.

    `run` is the folder of the run that is to be scored, if one is.
    The splits may be some of the recipe's splits; without `training` none of them is trained on. Unless `annotated`,
    the recipe's annotators have not run. `pictures`: check the images that the model reads; with `all_pictures` the
    others are counted too, without messages. `decode`: decode each image instead of reading its header.
    """
    task: Task = parts.decoder.task
    base = splits[ENTITIES].entities if ENTITIES in splits else ()
    metrics = metrics_of(recipe)
    reports = {}
    for name, split in splits.items():
        report = reports[name] = _counts(split, task)
        _files(report)
        trained_on = training and name == "train"
        if name != ENTITIES:
            _records(report, recipe, parts, base, annotated, trained_on, trained_on or not training)
            if not trained_on:
                _scoring(report, recipe, metrics, task, training, annotated)
        if pictures:
            _pictures(report, recipe, parts, all_pictures, decode)
    if "train" in reports:
        _compare(reports)
    _ask_plugins(reports, recipe, parts, run)
    return reports


def _ask_plugins(reports: Mapping[str, SplitReport], recipe: Recipe, parts: Parts, run: Path | None) -> None:
    """Add what plugins know about the data, and about the runs that take part (the hook `mmkit_data_read`)."""
    runs = list(dict.fromkeys([*([run] if run else ()), *runs_of(recipe, parts)]))
    data = {name: report.split.origin for name, report in reports.items()}
    for _, found in call_each("mmkit_data_read", recipe=recipe, data=data, runs=runs):
        for split, problems in found.items():
            for problem in problems:
                reports[split].add(problem)


def runs_of(recipe: Recipe, parts: Parts) -> list[Path]:
    """The folders of the runs that the recipe's encoders build on, and of the one that training starts from."""
    built_on = [getattr(part, "run", None) for part in parts.encoder_sections.values() if part.is_run]
    return [Path(folder) for folder in (*built_on, recipe.training.init_from) if folder]


def refuse(reports: Mapping[str, SplitReport], recipe: Recipe) -> None:
    """Raise one `DataError` for all problems that stop training, if there are any."""
    found = stopping(reports.values())
    if not found:
        return
    lines = [f"data.{split}: {said}" for split, _, said in found]
    codes = {code for _, code, _ in found}
    code = codes.pop() if len(codes) == 1 else "data.problems"
    if len(found) == 1:
        what, _, hint = lines[0].partition("\n  → ")
        raise DataError(what, hint=hint, code=code)
    told = "\n  ".join(line.replace("\n", "\n  ") for line in lines)
    raise DataError(f"{len(found)} problems stop training:\n  {told}", where=recipe.path, code=code)


def warnings_of(reports: Mapping[str, SplitReport]) -> list[str]:
    """What a user should know about, as lines."""
    return [f"data.{name}: warning: {said}" for name, report in reports.items() for said in report.warnings]


def _counts(split: Split, task: Task) -> SplitReport:
    labels: dict[str, Counter[str]] = {}
    for example in split.examples:
        for kind, label in task.labels(example):
            labels.setdefault(kind, Counter())[label] += 1
    lengths = [len(example.tokens) for example in split.examples]
    return SplitReport(split, labels, sum(lengths), max(lengths, default=0))


def _files(report: SplitReport) -> None:
    """Warn of published files that are known to be wrong."""
    for file in report.split.files:
        if mistake := known_mistake(file["sha256"]):
            what, hint = mistake
            told = f"{tidy(file['file'])} ({file['variant']}): {what}"
            report.add(Problem(told, hint=hint, code="data.known-mistake"), "warning")


def _records(
    report: SplitReport,
    recipe: Recipe,
    parts: Parts,
    base: Sequence[Entity],
    annotated: bool,
    trained_on: bool,
    alone: bool,
) -> None:
    """What the task and the decoder find in a split of examples, and its labels; `alone`: no other is compared."""
    split, task = report.split, parts.decoder.task
    level = "error" if trained_on else "warning"
    survey = task.survey(split.examples, base)
    report.lines, report.facts = survey.lines, survey.facts
    settings = recipe.config["data"].get(split.name, {})
    absent, labels = _absent(recipe), labelled(task, split.examples)
    found: list[tuple[str | Problem, str]] = [(problem, "error") for problem in survey.refused]
    if annotated:
        found += [(problem, "error") for problem in _unreadable(split, parts)]
    found += [(problem, level) for problem in survey.problems]
    for examined in parts.decoder.examine(split.examples, annotated=annotated):
        if trained_on or examined.at:  # the others are about training data as a whole
            found.append((report.renaming(examined, settings), level))
    found += [(problem, level) for problem in label_problems(labels, absent)]
    if trained_on and not any(degree == "error" and _level(problem) == "error" for problem, degree in found):
        found += [(problem, "error") for problem in _unfit(recipe, split)]
    found += [(warning, "warning") for warning in survey.warnings]
    if alone:
        found += [(problem, "warning") for problem in absence_problems(labels, absent)]
    for problem, degree in found:
        if degree == "error" or _code(problem) not in report.codes:
            report.add(problem, degree)


def _unreadable(split: Split, parts: Parts) -> Iterator[Problem]:
    """What encoders of items need in examples and do not find: notes that are missing or of another kind."""
    lent = {} if parts.entity_side is None else parts.entity_side.lent
    for name, encoder in parts.encoders.items():
        if name in lent or not isinstance(encoder, ItemEncoder) or encoder.is_run:
            continue
        refused: dict[tuple[str, str, str], list[At]] = {}
        for example in split.examples:
            try:
                encoder.source.identity(example)
            except DataError as error:
                refused.setdefault((error.what, error.hint, error.code), []).append((example.id, None))
        for (what, hint, code), at in refused.items():
            yield Problem(f"model.encoders.{name}: {what} (of {counted(len(at), 'example')})", at, hint, code)


def _level(problem: str | Problem) -> str:
    return problem.level if isinstance(problem, Problem) else "error"


def _code(problem: str | Problem) -> str:
    return problem.code if isinstance(problem, Problem) else ""


def _unfit(recipe: Recipe, split: Split) -> list[Problem]:
    """The labels that a decoder refuses to learn from, if its `examine` does not report them."""
    try:
        recipe.build("model.decoder").fit(split.examples)
    except MMKitError as error:
        known = any(example.id == error.where for example in split.examples)
        at = [(error.where, None)] if known else []
        return [Problem(error.what, at, error.hint, error.code)]
    return []


def _absent(recipe: Recipe) -> dict[str, str]:
    """The settings that name the label of pairs without a relation → that label."""
    sections = {
        "model.decoder": recipe.config["model"]["decoder"],
        **{f"metrics.{name}": settings for name, settings in recipe.config["metrics"].items()},
    }
    named = {f"{at}.none_label": settings.get("none_label") for at, settings in sections.items()}
    return {setting: label for setting, label in named.items() if isinstance(label, str)}


def _scoring(
    report: SplitReport,
    recipe: Recipe,
    metrics: Mapping[str, Metric],
    task: Task,
    training: bool,
    annotated: bool,
) -> None:
    """What prevents the scoring of a split; for `dev`, also whether it has what `training.score` counts.

    Without annotations it cannot be said that other scores have nothing to count.
    """
    examples = report.split.examples
    said: dict[str, Problem] = {}
    for metric in metrics.values():
        said |= {problem.what: problem for problem in metric.examine(examples)}
    for problem in said.values():
        report.add(problem)
    figures = None if said else of_perfect_predictions(metrics, examples, task.right)
    if figures is None:
        return
    wanted = weights_of(recipe.training.score) if training and report.split.name == "dev" else {}
    missing = [name for name in wanted if name not in figures]
    others = [name for name in known_figures(metrics) if name not in figures]
    if others and not missing and annotated:
        what = f"no example has anything that {few(others)} count, so there is no such score"
        report.add(Problem(what, code="data.nothing-to-score"), "warning")
    if missing:
        problem = Problem(
            f"training.score is {' + '.join(missing)}, but no example of dev has anything that it counts",
            hint="add labels to dev, or choose a score for labels that it has",
            code="data.nothing-to-score",
        )
        report.add(problem)


def _pictures(report: SplitReport, recipe: Recipe, parts: Parts, all_pictures: bool, decode: bool) -> None:
    """The problems of a split's images, and of the boxes in them."""
    split = report.split
    chosen = _chosen(recipe, parts, split.name == ENTITIES)
    if chosen is None and not all_pictures:
        return
    report.images = scan_images(split.examples or split.entities, decode, of=chosen or (lambda x: x.images))
    if chosen is None:
        return
    level = "warning" if recipe.config["data"]["missing_images"] == "blank" else "error"
    if report.images.bad:
        hint = (
            'or set [data] missing_images = "blank": blank images then replace them'
            if level == "error"
            else ""
        )
        problem = Problem(
            _unusable(recipe, split.name, report.images, level), hint=hint, code="image.unusable"
        )
        report.add(problem, level)
        report.full += report.images.listed()
        report.shortened |= any(len(names) > SHOWN for names in report.images.names.values())
    for problem in report.images.boxes:
        report.add(problem, level)


def _chosen(recipe: Recipe, parts: Parts, of_entities: bool) -> Chosen | None:
    """The images of a record that a model reads; None if it reads no images."""
    side = parts.entity_side
    lent = {} if side is None else side.lent
    if of_entities:
        encoders: list[Encoder] = [] if side is None else [*lent.values(), *side.own_encoders.values()]
    else:
        encoders = [encoder for name, encoder in parts.encoders.items() if name not in lent]
    sources = [
        encoder.source if isinstance(encoder, ItemEncoder) else None for encoder in encoders if _sees(encoder)
    ]
    everything = bool(recipe.parts("annotators"))
    if not sources and not (everything and not of_entities):
        return None

    def chosen(x: Example | Entity) -> Sequence[Image]:
        own = [None if source is None else source.chosen(x) for source in sources]
        if everything or any(images is None for images in own):
            return x.images
        wanted = {image for images in own for image in images or ()}
        return [image for image in x.images if image in wanted]

    return chosen


def _sees(encoder: Encoder) -> bool:
    """Whether an encoder may read images."""
    if isinstance(encoder, ItemEncoder) and not encoder.is_run:
        return encoder.source.pictures
    return not isinstance(encoder, TransformerWords)


def _unusable(recipe: Recipe, split: str, images: ImageReport, level: str) -> str:
    said = f"{images.bad} of {images.total} images cannot be used ({images.faults()})"
    if level == "warning":
        said += "; blank images replace them"
    if images.photos and images.photos_missing == images.photos:
        said += f"; none of the photos exist: {_folder_hint(recipe, split)}"
    return said


def _folder_hint(recipe: Recipe, split: str) -> str:
    """The setting of the recipe that says where a split's photos are."""
    if "images" in recipe.config.get("paths", {}):
        return "is --paths.images right?"
    settings = recipe.config["data"][split]
    name = "images" if "images" in settings else "root"
    return f"is --data.{split}.{name} right?" if name in settings else "is the path to them right?"


def _compare(reports: Mapping[str, SplitReport]) -> None:
    """Labels and sentences of the other splits, beside those of `train`."""
    train = reports["train"]
    texts = {example.text for example in train.split.examples}
    for name, report in reports.items():
        if name in ("train", ENTITIES):
            continue
        for kind, counts in report.labels.items():
            unseen = sorted(set(counts) - set(train.labels.get(kind, ())))
            if unseen and train.split.examples:
                report.add(f"{kind} labels that train never shows: {', '.join(unseen)}", "warning")
        leaked = [(x.id, None) for x in report.split.examples if x.text and x.text in texts]
        if leaked:
            stand = counted(len(leaked), "sentence is", "sentences are")
            report.add(Problem(f"{stand} also in train", leaked, code="data.leak"), "warning")
