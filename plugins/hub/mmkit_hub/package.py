"""Makes a package of a run: the files that predictions depend on, without paths of this machine, and a model card."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mmkit import Recipe, load_recipe
from mmkit.errors import RunError
from mmkit.files import explained, put_in_place, read_json, write_json
from mmkit.files.temporary import temporary_folder
from mmkit.runs.folder import COMPLETE, Run
from mmkit.runs.opening import open_run
from mmkit_hub.card import Wishes, card
from mmkit_hub.cleaning import check_no_paths, cleaned, cleaned_json, path_settings
from mmkit_hub.contents import BELOW, CARD, FILES, FORMAT, PACKAGE, RUN_JSON, allowed, listed
from mmkit_hub.entities import Entities, entity_settings, write_entities
from mmkit_hub.examples import check_examples, examples_of
from mmkit_hub.parts_needed import annotators, has_knowledge_base, networks_left_out, servers
from mmkit_hub.scores import scores_of

READY = (*COMPLETE, "imported")
"""The states of a run that can be packaged."""


@dataclass
class Package:
    """A package that was made, and what its maker should know."""

    folder: Path
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def make_package(
    source: str | Path,
    output: str | Path,
    *,
    wishes: Wishes | None = None,
    force: bool = False,
    with_frozen: bool = False,
    with_examples: bool = False,
) -> Package:
    """Write the package of the run in `source` into the new folder `output`, completely or not at all.

    `force` replaces a package that is there. `with_frozen` puts the weights of frozen networks into it that the run
    itself takes by name. `with_examples` allows the training examples that a run holds. Raises `RunError` for a run
    that is not complete or damaged, for a folder that is taken, for a run that nobody else could load, and for one with
    training examples that are not allowed.
    """
    wishes = wishes or Wishes()
    run, folder = Run(open_run(source)), Path(output).absolute()
    recipe = run.recipe()
    run.check()
    facts = run.facts()
    _check_ready(run, facts)
    _check_free(folder, run.folder, force)
    examples = examples_of(run)
    check_examples(run, examples, with_examples)
    with explained(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    made = Package(folder)
    with explained(folder), temporary_folder(folder.parent, folder.name) as temporary:
        inside = temporary / "package"
        inside.mkdir()
        _fill(made, run, recipe, facts, inside, with_frozen, wishes)
        scores = list(scores_of(run.folder))
        text = card(folder.name, recipe, read_json(inside / RUN_JSON), run.labels(), scores, wishes, examples)
        (inside / CARD).write_text(text, encoding="utf-8")
        check_no_paths(inside, run.folder)
        _replace(folder, inside, temporary / "old")
    made.notes += [f"the package {examples}"] if examples else []
    made.notes += [f"no intervals for the scores of {s.split}: {s.without}" for s in scores if s.without]
    return made


def _check_ready(run: Run, facts: Mapping[str, Any]) -> None:
    if facts.get("status") not in READY:
        raise RunError(
            f"the run is not complete: its status is {facts.get('status')!r}",
            where=run.folder,
            hint="finish it first: mmkit train RECIPE --resume --output FOLDER",
            code="hub.unfinished",
        )


def _check_free(folder: Path, run: Path, force: bool) -> None:
    """Raise `RunError` unless the package can stand at `folder`. Only a package is ever replaced."""
    if folder.resolve() == run.resolve() or run.resolve().is_relative_to(folder.resolve()):
        raise RunError(
            "the package would replace its own run",
            where=folder,
            hint="name another folder",
            code="hub.folder-taken",
        )
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    is_package = folder.is_dir() and (folder / RUN_JSON).is_file() and PACKAGE in Run(folder).facts_if_any()
    if not (force and is_package):
        raise RunError(
            "the folder is not empty" + ("" if is_package else ", and what is in it is no package"),
            where=folder,
            hint="add --force to replace the package" if is_package else "name another folder",
            code="hub.folder-taken",
        )


def _fill(
    made: Package,
    run: Run,
    recipe: Recipe,
    facts: Mapping[str, Any],
    inside: Path,
    with_frozen: bool,
    wishes: Wishes,
) -> None:
    """Everything but the card."""
    changes = path_settings(recipe)
    left = networks_left_out(recipe)
    target = Run(inside)
    if left and with_frozen:
        changes["training.save_frozen"] = True
        target.save_weights(run.model(recipe), True, run.weights_step())
    else:
        _check_can_be_fetched(run, left)
        shutil.copyfile(run.weights_file, target.weights_file)
    if wishes.entities_licence:
        entities = write_entities(recipe, inside)
        changes = {name: new for name, new in changes.items() if not name.startswith("data.entities.")}
        changes |= entity_settings()
        made.notes.append(_included(entities, wishes))
    target.recipe_file.write_text(recipe.with_overrides(changes).to_str(), encoding="utf-8")
    shutil.copyfile(run.labels_file, target.labels_file)
    for file in sorted(file for below in BELOW for file in (run.folder / below).rglob("*") if file.is_file()):
        name = file.relative_to(run.folder).as_posix()
        if allowed(name):
            _copy(file, inside / name)
        else:
            made.notes.append(f"left out: {name} (a package holds only files of data)")
    for name in ("encoders", "entities"):
        if (run.folder / name).is_dir():
            _same_folders(run.folder / name, inside / name)
    kept = {name: value for name, value in facts.items() if name != FILES}
    said = {"format": FORMAT, "made_with": f"mmkit-hub {version('mmkit-hub')}"}
    write_json(target.json_file, {**cleaned(kept), PACKAGE: said, **target.checksums()})
    made.files = target.facts()[FILES]
    listed(target.facts(), inside)  # what cannot be fetched again is not written
    made.notes += _notes(recipe, changes, [] if with_frozen else left, bool(wishes.entities_licence))


def _same_folders(source: Path, target: Path) -> None:
    """Make folders without files too: an encoder that keeps none still has one."""
    target.mkdir(exist_ok=True)
    for folder in source.iterdir():
        if folder.is_dir():
            (target / folder.name).mkdir(exist_ok=True)


def _copy(file: Path, target: Path) -> None:
    """A file of an encoder, without paths of this machine."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.name == "recipe.cfg":  # of a run that is an encoder
        inner = load_recipe(file)
        target.write_text(inner.with_overrides(path_settings(inner)).to_str(), encoding="utf-8")
    elif (text := cleaned_json(file)) is not None:
        target.write_text(text, encoding="utf-8")
    else:
        shutil.copyfile(file, target)


def _check_can_be_fetched(run: Run, left: Sequence[Any]) -> None:
    local = [network for network in left if network.is_local]
    if local:
        raise RunError(
            f"the run does not hold the weights of {local[0].section} (save_frozen = false), and takes them from a "
            "folder of this machine, which nobody else has",
            where=run.folder,
            hint="add --with-frozen to put them into the package",
            code="hub.frozen-not-saved",
        )


def _included(entities: Entities, wishes: Wishes) -> str:
    said = f"included: the knowledge base, {entities.count:,} entities, {entities.bytes / 1e6:,.1f} MB"
    unseen = f"; without its {entities.images:,} images, which the model does not look at" * bool(
        entities.images
    )
    return f"{said}, licence {wishes.entities_licence}{unseen}"


def _notes(recipe: Recipe, changes: Mapping[str, Any], left: Sequence[Any], with_entities: bool) -> list[str]:
    """What whoever shares the run should know: what is not in the package."""
    notes = [f"not included: {n.section} takes the frozen network {n} from the Hub" for n in left]
    if left:
        notes.append("whoever loads the package adds --allow-network once, or you make it with --with-frozen")
    if has_knowledge_base(recipe) and not with_entities:
        notes.append(
            "not included: the knowledge base, its images, features and candidates, because mmkit does not know its "
            "licence; whoever loads the package names one: --entities kb.jsonl (entities=... in Python). If you may "
            "hand it on: --entities-license ID includes its texts"
        )
    notes += [f"not included: what {part} ({section}) reads" for section, part in annotators(recipe).items()]
    notes += [
        f"the recipe names a server, which everybody will see: {s} = {address}"
        for s, address in servers(recipe)
    ]
    paths = [name for name in changes if name not in ("training.save_frozen", *entity_settings())]
    if paths:
        notes.append(
            f"paths of this machine were shortened to their last part, and credentials taken out: {', '.join(paths)}"
        )
    return notes


def _replace(folder: Path, inside: Path, old: Path) -> None:
    """Put the finished package in place; what was there is kept until the new one stands."""
    if folder.exists():
        folder.rename(old)
    try:
        put_in_place(inside, folder, lambda: False)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
