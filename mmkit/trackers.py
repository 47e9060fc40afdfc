"""Trackers of experiments: the class that a plugin's tracker derives from, and the trackers that there are by name.

`[training] trackers` names them, the hook `mmkit_trackers` brings them, and only training starts them.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmkit import hooks
from mmkit.config.packages import listed_trackers, tracker_hint
from mmkit.errors import MMKitError, PartError, RecipeError, did_you_mean

if TYPE_CHECKING:
    from mmkit.recipe import Recipe

SETTING = "training.trackers"
NAMES = re.compile(r"[A-Za-z0-9][\w.-]*")
"""A tracker's name is that of its folder, too."""


@dataclass(frozen=True)
class Tracked:
    """The run that a tracker gets to know of, as `Tracker.start` is told it."""

    run: Path
    """The run's folder."""
    folder: Path
    """A folder in it for this tracker alone, which exists."""
    name: str
    """What people call the run: the name of its folder, with the folder of the seeds before it (`mine/seed-1`)."""
    project: str
    """What people call the runs of this recipe: the recipe's name."""
    config: Mapping[str, Any]
    """The recipe as nested dictionaries of JSON values, every default filled in, without credentials."""
    text: str
    """The recipe as text, without credentials."""
    total_steps: int
    """Updates of the whole run, if it is not stopped early."""
    id: str = ""
    """What `start` returned when the run began; empty when it begins now."""


class Tracker(ABC):
    """Shows what a training does, in a tool of its own. The constructor gets no arguments.

    All methods but `check_there` are called in a thread of the tracker's own, one after the other, so that a tracker
    cannot hold training up. What one of them raises is told to the user as a warning, and nothing further is called. A
    tracker takes addresses and keys only from the environment: a recipe may be somebody else's. Steps are numbers of
    updates. In a run that is resumed, no step of a series is given twice.
    """

    @classmethod  # noqa: B027 - some trackers need no package
    def check_there(cls) -> None:
        """Raise `PartError` if a package that the tracker needs is not installed. Must import nothing large."""

    @abstractmethod
    def start(self, run: Tracked) -> str:
        """Begin to track `run`, or go on with what is known under `run.id`. Returns the id to go on with later.

        It consists of letters, digits and `. _ -`. An id other than `run.id` means that the tracker begins anew.
        """

    @abstractmethod
    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers after update `step`, by name: `train/loss`, `train/learning_rate`, `dev/spans.f1`."""

    @abstractmethod
    def text(self, name: str, text: str, step: int) -> None:
        """A text, such as the recipe: `recipe`."""

    @abstractmethod
    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """A table of texts and numbers (None: nothing): `dev/labels`, `dev/predictions`."""

    def flush(self) -> None:  # noqa: B027 - some trackers keep nothing back
        """See that what was given so far outlives a process that is killed."""

    @abstractmethod
    def finish(self, status: str) -> None:
        """The run is over: `completed`, `stopped` (early stopping), `interrupted` or `failed`. Write everything."""

    def place(self) -> str:
        """Where to look, for the user, after `start`: a command or an address, without credentials."""
        return ""


def known_trackers() -> dict[str, str]:
    """The trackers that plugins bring: name → `"module:Class"`."""
    return {name: target for _, found in hooks.call_each("mmkit_trackers") for name, target in found.items()}


def tracker_class(name: str, where: object = "") -> type[Tracker]:
    """The tracker called `name`, whose packages are installed.

    Raises `RecipeError` for an unknown name, and `PartError` for a tracker that cannot be used.
    """
    known = known_trackers()
    if name not in known:
        raise RecipeError(
            f"{SETTING}: there is no tracker {name!r}",
            where=where,
            hint=tracker_hint(name) or did_you_mean(name, {*known, *listed_trackers()}),
            code="training.unknown-tracker",
        )
    wrong = (
        f"{SETTING}: {name!r} is no tracker: its class must derive from mmkit.trackers.Tracker, and its name "
        "consist of letters, digits and . _ -"
    )
    if not NAMES.fullmatch(name):
        raise PartError(wrong, where=known[name], code="plugin.tracker")
    unloadable = f"{SETTING}: the tracker {name!r} cannot be loaded"
    found: type[Tracker] = hooks.load_class(unloadable, wrong, known[name], Tracker, code="plugin.tracker")
    found.check_there()
    return found


def trackers_of(recipe: Recipe) -> dict[str, type[Tracker]]:
    """The trackers that a recipe names. Raises `MMKitError` for the first that cannot be used."""
    return {name: tracker_class(name, recipe.path) for name in recipe.training.trackers}


def lacking_trackers(recipe: Recipe) -> list[str]:
    """Why trackers that a recipe names cannot be used."""
    found = []
    for name in dict.fromkeys(recipe.training.trackers):
        try:
            tracker_class(name, recipe.path)
        except MMKitError as error:
            found.append(str(error))
    return found
