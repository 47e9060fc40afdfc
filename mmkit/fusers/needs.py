"""What a fuser needs of an encoder: features by name, abilities, further views."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mmkit.encoders.abilities import OLD_NAMES, ReadsViews
from mmkit.encoders.base import Encoder

VIEW = "view:"
"""The prefix of a view's name if needs are given as words."""


@dataclass(frozen=True)
class Needs:
    """What a fuser needs of one encoder (`Fuser.requires`); checked when a model is assembled.

    `features` are names of tensors (see `mmkit.batch`), `abilities` protocols such as those in
    `mmkit.encoders.abilities`, and `views` texts that the encoder has to collate beside its main one.
    """

    features: frozenset[str] = frozenset()
    abilities: tuple[type, ...] = ()
    views: frozenset[str] = frozenset()

    @classmethod
    def of(cls, wanted: Needs | Iterable[str]) -> Needs:
        """Needs, which may also be given as words: names of features, and `prefix`, `scores` and `view:NAME`."""
        if isinstance(wanted, Needs):
            return wanted
        words = set(wanted)
        abilities = tuple(ability for word, ability in OLD_NAMES.items() if word in words)
        views = frozenset(word.removeprefix(VIEW) for word in words if word.startswith(VIEW))
        return cls(features_of(words), abilities, views)

    def unmet(self, encoder: Encoder, fuser: str, part: str) -> list[str]:
        """The needs of `fuser` that `encoder`, whose registered name is `part`, does not meet, one line each."""
        problems = []
        provided = features_of(encoder.provides)
        if lacking := sorted(self.features - provided):
            problems.append(
                f"{fuser} needs {', '.join(lacking)} from it, "
                f"but {part} provides {', '.join(sorted(provided)) or 'nothing'}"
            )
        problems += [
            f"{fuser} needs {_described(ability)}, which {part} is not"
            for ability in self.abilities
            if not isinstance(encoder, ability)
        ]
        if views := sorted(self.views):
            if not isinstance(encoder, ReadsViews):
                problems.append(f"{fuser} needs {_described(ReadsViews)}, which {part} is not")
            elif lacking := [view for view in views if view not in encoder.extra_views]:
                problems.append(
                    f"{fuser} reads further views with it, which its settings do not collate; "
                    f"set extra_views = {[*encoder.extra_views, *lacking]}"
                )
        return problems


def features_of(words: Iterable[str]) -> frozenset[str]:
    """The words that name features, without those that once meant abilities."""
    return frozenset(word for word in words if word not in OLD_NAMES and not word.startswith(VIEW))


def _described(ability: type) -> str:
    """An ability for people: its name and the first line of its documentation."""
    first = (ability.__doc__ or "").strip().partition("\n")[0].rstrip(".")
    return f"{ability.__name__} ({first[:1].lower()}{first[1:]})" if first else ability.__name__
