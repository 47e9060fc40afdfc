"""`[training] init_from`: a model begins with the weights of another run, as far as they fit.

What is taken is decided part by part: a part must be the same, an encoder must also be made of the same pretrained
network. Of fuser, decoder and scorers single tensors are taken, of an encoder all or none. The run may be anybody's:
its recipe names installed parts, its weights are safetensors, and nobody is contacted for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmkit.access.network import without_network
from mmkit.config.values import shown
from mmkit.decoders.base import Labels
from mmkit.errors import MMKitError, RecipeError, RunError
from mmkit.fit import Parts
from mmkit.model import Model
from mmkit.recipe import Recipe
from mmkit.runs.folder import COMPLETE, Run
from mmkit.runs.integrity import described
from mmkit.runs.taking import Tensors, as_counts, compared, fitting, fitting_decoder, grown
from mmkit.runs.weights import load_tensors, tensor_names

SETTING = "training.init_from"
KEY = "init_from"
"""The key in `run.json`."""
READY = (*COMPLETE, "imported")
"""The states of a run whose weights do not change any more."""

GENERAL = (
    "frozen",
    "store",
    "feature_dtype",
    "feature_precision",
    "max_length",
    "window_overlap",
    "drop_lone_spaces",
    "dropout",
    "attention_dropout",
    "attention",
)
"""Settings of an encoder that do not say which network it is."""
NAMES = ("name", "revision", "run")
"""Those that do, if there is a `name` or a `run`."""

ENCODERS = {"encoders": "model.encoders", "entity_side.encoders": "model.entities.encoders"}
"""Prefix of names of tensors → section of encoders."""
OTHERS = {
    "fuser": ("model.fuser", "fusers"),
    "decoder": ("model.decoder", "decoders"),
    "entity_side.fuser": ("model.entities.fuser", "fusers"),
    "entity_side.scorer": ("model.entities.scorer", "scorers"),
    "entity_side.reranker": ("model.entities.reranker", "scorers"),
}

OTHER_SECTIONS = {section for section, _ in OTHERS.values()}
SHOWN = 6
"""The number of reasons that a message names."""


@dataclass(frozen=True)
class Taken:
    """What a model was given by a run, and what is new in it."""

    folder: Path
    parts: dict[str, Tensors]
    """By section of the recipe: of every part that has tensors."""
    new: dict[str, str]
    """Parts of which nothing is taken, and why."""
    left: tuple[str, ...]
    """Parts of the run that the model does not have."""
    labels: dict[str, dict[str, list[str]]]
    """By kind: labels that are `taken`, `new`, and of the run but `left` out."""

    def lines(self) -> Iterator[str]:
        """The same for people: what is taken, then what is new."""
        told = []
        for section, taken in self.parts.items():
            if some := len(taken.whole) + len(taken.rows):
                told.append(f"{section} ({some} of {some + len(taken.new)} tensors)")
        yield f"{SETTING} = {self.folder}: taken: {', '.join(told)}"
        new = [f"{section} ({why})" for section, why in self.new.items()]
        for taken in self.parts.values():
            new += [f"{name} ({why})" for name, why in taken.new.items()]
        yield f"{SETTING} = {self.folder}: new: {'; '.join(new) or 'nothing'}"
        if self.left:
            yield f"{SETTING} = {self.folder}: not used of the run: {', '.join(self.left)}"
        for kind, found in self.labels.items():
            words = {"taken": "known from the run", "new": "new", "left": "of the run, but not of this data"}
            said = [f"{words[how]}: {', '.join(names)}" for how, names in found.items() if names]
            yield f"{SETTING} = {self.folder}: {kind}: {'; '.join(said)}"

    def to_json(self) -> dict[str, Any]:
        """The same for `run.json`."""
        return {
            "taken": {section: as_counts(t) for section, t in self.parts.items() if t.whole or t.rows},
            "new": {**self.new, **{name: why for t in self.parts.values() for name, why in t.new.items()}},
            "left": list(self.left),
            "labels": self.labels,
        }


@dataclass(frozen=True)
class Start:
    """A complete run that a training starts from."""

    run: Run
    labels: Labels
    """The run's."""
    other: Mapping[str, str]
    """Parts of the model, by section, that are not the run's, and why."""
    folders: Mapping[str, Path]
    """Encoders of the model, by section, that are built from the run's files: see `assemble`."""
    tokens: int
    """How many special tokens only one of the two decoders has."""

    @classmethod
    def of(cls, recipe: Recipe, parts: Parts) -> Start | None:
        """The run that a recipe names; None if it names none. `parts` are the recipe's.

        Raises `MMKitError` for a run that is not there, not complete or damaged, or needs what is not installed.
        """
        if not recipe.training.init_from:
            return None
        run = Run(recipe.training.init_from)
        try:
            with without_network(run.folder):
                return cls._of(run, recipe, parts)
        except MMKitError as error:
            raise error.at(f"{SETTING} = {error.where or run.folder}") from error

    @classmethod
    def _of(cls, run: Run, recipe: Recipe, parts: Parts) -> Start:
        theirs = run.recipe()
        status = run.facts().get("status") if run.json_file.exists() else COMPLETE[0]
        if status not in READY:
            raise RunError(
                f"this run is not complete: its status is {shown(status)}",
                where=run.folder,
                hint=f"finish it first: mmkit train {run.recipe_file} --resume --output {run.folder}",
                code="run.not-complete",
            )
        run.check()
        tokens = set(parts.decoder.special_tokens) ^ set(theirs.build("model.decoder").special_tokens)
        other = {
            section: why
            for section, station in OTHERS.values()
            if (why := _other_part(recipe, theirs, section, station))
        }
        folders: dict[str, Path] = {}
        saved = tensor_names(run.weights_file)
        for prefix, at in ENCODERS.items():
            for name in recipe.parts(at):
                section, kind = f"{at}.{name}", "encoders" if at == "model.encoders" else "entities"
                if why := _other_encoder(recipe, theirs, section):
                    other[section] = why
                elif any(tensor.startswith(f"{prefix}.{name}.") for tensor in saved) and not (
                    tokens and kind == "encoders"
                ):
                    folders[section] = run.folder / kind / name
        return cls(run, run.labels(), other, folders, len(tokens))

    def files(self) -> dict[str, dict[str, Any]]:
        """Sizes and checksums of the run's files, to see later whether they are the same."""
        return described(self.run.folder)

    def give(self, model: Model) -> Taken:
        """Copy what fits into a model that was assembled with `folders`.

        Raises `RecipeError` if nothing fits, and `RunError` for an encoder of the run whose weights do not fit the
        recipe's settings.
        """
        saved, own = load_tensors(self.run.weights_file), model.state_dict()
        parts: dict[str, Tensors] = {}
        new: dict[str, str] = {}
        sections = _sections(own)
        for prefix, section in sections.items():
            here = {name: tensor for name, tensor in own.items() if name.startswith(prefix)}
            found: Tensors | str
            if section in self.other:
                found = self.other[section]
            elif section == "model.decoder":
                axes = model.decoder.label_axes()
                found = fitting_decoder(here, saved, model.labels, self.labels, axes, prefix)
            elif section in OTHER_SECTIONS:
                found = fitting(here, saved)
            else:
                found = self._encoder(section, here, saved)
            if isinstance(found, str):
                new[section] = found
            else:
                parts[section] = found
        left = sorted({section for section in _sections(saved).values() if section not in sections.values()})
        given = {name: t for some in parts.values() for name, t in {**some.whole, **some.rows}.items()}
        if not given:
            reasons = [*new.items(), *(pair for some in parts.values() for pair in some.new.items())]
            raise RecipeError(
                "nothing of this run fits the recipe's model: "
                + "; ".join(f"{name}: {why}" for name, why in reasons[:SHOWN]),
                where=f"{SETTING} = {self.run.folder}",
                hint="name a run of a similar recipe, or leave the setting out",
                code="run.nothing-fits",
            )
        _copy(own, given, self.run.folder)
        labels = dict(compared(model.labels, self.labels))
        return Taken(self.run.folder, parts, new, tuple(left), labels)

    def _encoder(
        self, section: str, here: Mapping[str, Tensor], saved: Mapping[str, Tensor]
    ) -> Tensors | str:
        """All tensors of an encoder, or why none is taken."""
        found = fitting(here, saved)
        for name in list(found.new) if self.tokens else ():
            if name in saved and (rows := grown(here[name], saved[name], self.tokens)) is not None:
                found.rows[name] = rows
                del found.new[name]
        if not found.new:
            return found
        if not any(name in saved for name in here):
            return "the run does not keep the weights of frozen encoders; it has the same pretrained ones"
        name, why = next(iter(found.new.items()))
        if section not in self.folders:
            return f"{name}: {why}"
        raise RunError(
            f"the weights of {section} do not fit its settings: {name}: {why}",
            where=f"{SETTING} = {self.run.folder}",
            hint=f"give [{section}] the settings that it has in {self.run.recipe_file}",
            code="run.weights-do-not-fit",
        )


def _other_part(recipe: Recipe, theirs: Recipe, section: str, station: str) -> str:
    """Why a part is not the run's; empty if it is, or if neither recipe names one."""
    here, there = (r.part(section, station) if r.has(section) else None for r in (recipe, theirs))
    return "" if here == there else f"it is {here or 'the default'}, and {there or 'the default'} in the run"


def _other_encoder(recipe: Recipe, theirs: Recipe, section: str) -> str:
    """Why an encoder is not the run's; empty if it is."""
    if not theirs.has(section):
        return "the run has no such encoder"
    if why := _other_part(recipe, theirs, section, "encoders"):
        return why
    here, there = _network(recipe, section), _network(theirs, section)
    differ = [name for name in dict.fromkeys([*here, *there]) if here.get(name) != there.get(name)]
    return "; ".join(
        f"its {name} is {shown(here.get(name))}, and {shown(there.get(name))} in the run" for name in differ
    )


def _network(recipe: Recipe, section: str) -> dict[str, Any]:
    """The settings of an encoder that say which network it is."""
    settings = {name: value for name, value in recipe.settings(section).items() if name not in GENERAL}
    named = {name: settings[name] for name in NAMES if name in settings}
    return named if named.keys() & {"name", "run"} else settings


def _sections(tensors: Iterable[str]) -> dict[str, str]:
    """Prefix of names → section of the recipe, of the parts that have tensors."""
    found = {}
    for name in tensors:
        for prefix, at in ENCODERS.items():
            if name.startswith(f"{prefix}."):
                encoder = name.removeprefix(f"{prefix}.").partition(".")[0]
                found[f"{prefix}.{encoder}."] = f"{at}.{encoder}"
        for prefix, (section, _) in OTHERS.items():
            if name.startswith(f"{prefix}."):
                found[f"{prefix}."] = section
    return found


def _copy(own: Mapping[str, Tensor], given: Mapping[str, Tensor], folder: Path) -> None:
    """Copy tensors into a model's own. Raises `RunError` if two that share memory get different ones."""
    written: dict[tuple[int, torch.Size], tuple[str, Tensor]] = {}
    for name, tensor in given.items():
        first, before = written.setdefault((own[name].data_ptr(), own[name].shape), (name, tensor))
        if before is not tensor and own[name].numel() and not torch.equal(before, tensor):
            raise RunError(
                f"{first} and {name} are one tensor in this model, but have different values in the run",
                where=f"{SETTING} = {folder}",
                hint="two frozen encoders of one pretrained network share it: set frozen = false for one of them",
                code="run.weights-do-not-fit",
            )
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)
