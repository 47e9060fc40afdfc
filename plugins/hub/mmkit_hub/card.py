"""The model card of a package: `README.md` with the Hub's front matter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from mmkit import Recipe
from mmkit.annotators.makers import makers_in, told
from mmkit.decoders.base import label_lists
from mmkit.metrics.scoring import weights_of
from mmkit_hub.parts_needed import annotators, has_knowledge_base, networks_left_out, required
from mmkit_hub.scores import RESAMPLES, SplitScores

TO_FILL_IN = "TO FILL IN"
"""What stands in a card where only a person knows what to say."""
NO_LICENCE = "unknown"
"""The Hub's word for a licence that nobody has named."""
PIPELINES = {"entities": "token-classification"}
"""Task → the Hub's name for it, where there is one that says the same."""
METRICS = {"f1": "f1", "precision": "precision", "recall": "recall", "top1": "accuracy"}
SHOWN = 30
"""Labels of a kind that are named; more are counted."""


@dataclass(frozen=True)
class Wishes:
    """What the maker of a package says of it."""

    licence: str = ""
    """Its identifier on the Hub, such as `apache-2.0`."""
    languages: Sequence[str] = ()
    """ISO 639 codes."""
    datasets: Sequence[str] = ()
    """Names of data sets on the Hub."""
    entities_licence: str = ""
    """The identifier of the knowledge base's licence: with it, the knowledge base is part of the package."""


def card(
    name: str,
    recipe: Recipe,
    facts: Mapping[str, Any],
    labels: Mapping[str, Any],
    scores: Sequence[SplitScores],
    wishes: Wishes,
    examples: str = "",
) -> str:
    """The text of the card. `facts` are those of the package's `run.json`, without paths of this machine.

    `examples` says which training examples the package holds.
    """
    task = recipe.build("model.decoder").task
    sections = {
        "What it does": _task(recipe, task, labels),
        "Load it": _loading(recipe, wishes),
        "Intended use": _to_fill(),
        "Scores": _scores(scores),
        "Data": _data(facts, examples),
        "Training": _training(recipe, facts),
        "Licence": [_licence(wishes)],
    }
    lines = ["---", _front_matter(name, task.name, facts, scores, wishes), "---", "", f"# {name}", ""]
    if facts.get("tiny"):
        lines += [
            "**This is a trial with untrained stand-ins for the pretrained networks: its answers mean nothing.**",
            "",
        ]
    for title, body in sections.items():
        lines += [f"## {title}", "", *body, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _front_matter(
    name: str, task: str, facts: Mapping[str, Any], scores: Sequence[SplitScores], wishes: Wishes
) -> str:
    results = [
        EvalResult(
            task_type=PIPELINES.get(task, task.replace(" ", "-")),
            task_name=task,
            dataset_type=(wishes.datasets or ["unknown"])[0],
            dataset_name=_dataset(facts, some.split),
            dataset_split=some.split,
            metric_type=METRICS.get(score.name.partition(".")[2], score.name.partition(".")[2]),
            metric_name=score.name,
            metric_value=round(score.value, 6),
        )
        for some in scores
        for score in some.scores
    ]
    data = ModelCardData(
        license=wishes.licence or NO_LICENCE,
        language=list(wishes.languages) or None,
        library_name="mmkit",
        tags=["mmkit", "multimodal", "information-extraction", task.replace(" ", "-")],
        pipeline_tag=PIPELINES.get(task),
        datasets=list(wishes.datasets) or None,
        model_name=name,
        eval_results=results or None,
    )
    return str(data.to_yaml())


def _dataset(facts: Mapping[str, Any], split: str) -> str:
    files = _files(facts, split)
    return ", ".join(f"{file} (sha256 {sha256[:12]})" for file, sha256, _ in files[:3]) or "not recorded"


def _files(facts: Mapping[str, Any], split: str) -> list[tuple[str, str, str]]:
    """Name, SHA-256 and variant of a split's data files."""
    data = facts.get("data")
    origin = data.get(split) if isinstance(data, dict) else None
    files = origin.get("files") if isinstance(origin, dict) else None
    rows = [file for file in files or () if isinstance(file, dict)]
    return [
        (_last(file.get("file", "")), str(file.get("sha256", "")), str(file.get("variant") or ""))
        for file in rows
    ]


def _last(path: object) -> str:
    return str(path).replace("\\", "/").rpartition("/")[2]


def _task(recipe: Recipe, task: Any, labels: Mapping[str, Any]) -> Iterator[str]:
    about = recipe.config.get("about") or {}
    yield f"Task: {task.name}."
    yield ""
    for name in ("task", "dataset", "paper"):
        if isinstance(about.get(name), str) and about[name]:
            yield f"- {name}: {_plain(about[name])}"
    for kind, names in label_lists(labels).items():
        if names and not (kind == "tags" and "types" in labels):
            more = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
            yield f"- {len(names):,} {kind}: {', '.join(_code(n) for n in names[:SHOWN])}{more}"
    for name in recipe.parts("model.encoders"):
        settings = recipe.settings(f"model.encoders.{name}")
        network = settings.get("name")
        part = recipe.part(f"model.encoders.{name}", "encoders")
        yield f"- encoder {_code(name)}: {_code(part)}" + (
            f", {_code(_last(network) if str(network).startswith('/') else network)}"
            if isinstance(network, str)
            else ""
        )


def _code(text: object) -> str:
    """Text from data as code in Markdown, on one line."""
    return "`" + " ".join(str(text).replace("`", "'").split()) + "`"


def _plain(text: str) -> str:
    """Text from a recipe on one line, without Markdown's own signs."""
    return " ".join(text.replace("<", "&lt;").replace("|", "\\|").split())


def _loading(recipe: Recipe, wishes: Wishes) -> Iterator[str]:
    packages = ", ".join(_code(package) for package in ["mmkit-core", "mmkit-hub", *required(recipe)])
    yield f"It needs the packages {packages}."
    lacking = has_knowledge_base(recipe) and not wishes.entities_licence
    entities = ', entities="kb.jsonl"' if lacking else ""
    yield from ("", "```python", "import mmkit", "")
    yield f'model = mmkit.load("hf://USER/NAME@COMMIT"{entities})'
    yield "print(model)  # the task, its labels and inputs"
    yield from (
        "```",
        "",
        "Name the whole commit, so that the files cannot change. Nothing in the package is run as code.",
    )
    left = networks_left_out(recipe)
    if left:
        names = ", ".join(dict.fromkeys(_code(network) for network in left))
        yield ""
        yield (
            f"The package does not hold the weights of these frozen networks: {names}. "
            "Add `allow_network=True` the first time: they are then fetched from the Hub."
        )
    if has_knowledge_base(recipe) and not lacking:
        yield ""
        yield (
            f"It links to the entities of its knowledge base, `knowledge/entities.jsonl` (licence "
            f'`{wishes.entities_licence}`), or to others: `entities="kb.jsonl"`.'
        )
    if lacking:
        yield ""
        yield (
            "The knowledge base is not included, nor are its images, features and candidates. Give one of your own: a "
            "jsonlines file of entities, which `mmkit convert` makes of other formats."
        )
    for section, part in annotators(recipe).items():
        yield ""
        settings = ", ".join(
            f"{name} = {_code(value)}"
            for name, value in recipe.settings(section).items()
            if isinstance(value, str) and not value.startswith("/")
        )
        yield f"The annotator {_code(part)} works for each prediction; what it reads is not included" + (
            f" ({settings})." if settings else "."
        )


def _to_fill() -> list[str]:
    return [
        f"- Who should use it, and for what: {TO_FILL_IN}",
        f"- What it should not be used for: {TO_FILL_IN}",
        f"- Known limits and biases of the data: {TO_FILL_IN}",
    ]


def _licence(wishes: Wishes) -> str:
    if wishes.licence:
        return f"`{wishes.licence}`. The data and the pretrained networks have licences of their own: {TO_FILL_IN}"
    return (
        f"{TO_FILL_IN}: write its identifier into `license` at the top of this file (such as `apache-2.0`), and say "
        "here what the licences of the data and of the pretrained networks allow."
    )


def _scores(scores: Sequence[SplitScores]) -> Iterator[str]:
    if not any(some.scores for some in scores):
        yield "The run has no scores."
        return
    yield "| split | score | value | 95 % interval |"
    yield "|---|---|---|---|"
    for some in scores:
        for score in some.scores:
            interval = "" if score.interval is None else f"{score.interval[0]:.4f} to {score.interval[1]:.4f}"
            yield f"| {some.split} | {score.name} | {score.value:.4f} | {interval} |"
    if any(score.interval for some in scores for score in some.scores):
        yield ""
        yield f"Intervals are percentile bootstrap intervals over examples ({RESAMPLES:,} resamples), of one run."
    for some in scores:
        if some.without:
            yield ""
            yield f"No intervals for {some.split}: {some.without}."


def _data(facts: Mapping[str, Any], examples: str) -> Iterator[str]:
    if examples:
        yield f"**The package {examples}.** Whoever loads it can read them: {TO_FILL_IN} (may they be shared?)"
        yield ""
    data = facts.get("data")
    if not isinstance(data, dict) or not data:
        yield "The run does not say what it was trained on."
        return
    yield "| split | records | file | variant | SHA-256 |"
    yield "|---|---|---|---|---|"
    for split, origin in data.items():
        records = origin.get("records", "") if isinstance(origin, dict) else ""
        for file, sha256, variant in _files(facts, split):
            yield f"| {split} | {records} | {_code(file)} | {variant} | `{sha256}` |"
    made = [
        f"- {_code(line)}"
        for split, origin in data.items()
        for name, makers in makers_in(origin).items()
        for line in told(f"{split}, {name}", makers)
    ]
    if made:
        yield from ("", "Annotators added to the data what models made:", "", *made)


def _training(recipe: Recipe, facts: Mapping[str, Any]) -> Iterator[str]:
    settings = recipe.training
    chosen = ", ".join(weights_of(settings.score))
    rows = {
        "recipe": facts.get("recipe"),
        "seed": facts.get("seed"),
        "optimizer": settings.optimizer,
        "learning rate": f"{settings.learning_rate:g}",
        "batch size": settings.batch_size,
        "epochs": facts.get("epochs"),
        "best epoch": f"{facts.get('best_epoch')} (by {chosen} on dev)" if facts.get("best_epoch") else None,
        "updates": facts.get("updates"),
        "precision": facts.get("precision"),
        "device": facts.get("device_name"),
        "seconds": facts.get("seconds"),
        "Python": facts.get("python"),
    }
    versions = facts.get("versions")
    rows |= versions if isinstance(versions, dict) else {}
    yield "| | |"
    yield "|---|---|"
    for name, value in rows.items():
        if value not in (None, ""):
            yield f"| {name} | {_plain(str(value))} |"
    yield ""
    yield "All settings are in `recipe.cfg`, all facts in `run.json`."
