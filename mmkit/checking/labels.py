"""Labels that are probably mistakes: empty labels, tags, near duplicates, and labels that seem to mean "no
relation"."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from mmkit.data.problems import At, Problem, counted
from mmkit.data.types import Example
from mmkit.tasks import Task

TAG = re.compile(r"O|(?P<prefix>[BIESLUMW])[-_](?P<type>.+)")
"""Labels that may be tags of CoNLL files."""

ABSENT = frozenset(
    {"", "none", "na", "null", "nil", "no", "norelation", "notrelated", "unrelated", "other", "nonenonenone"}
)
"""Labels of pairs without a relation in known datasets, without case and punctuation."""

SELDOM, OFTEN, SHORTEST = 2, 20, 3
"""A label of so few mentions, and of so many letters, may be a misspelt one of so many mentions."""

Labelled = Mapping[str, Mapping[str, list[At]]]
"""Kind → label → the records that have it, one entry for each occurrence."""


def labelled(task: Task, examples: Sequence[Example]) -> Labelled:
    """The labels of examples, as their task sees them."""
    found: defaultdict[str, defaultdict[str, list[At]]] = defaultdict(lambda: defaultdict(list))
    for example in examples:
        for kind, label in task.labels(example):
            found[kind][label].append((example.id, None))
    return found


def label_problems(labels: Labelled, absent: Mapping[str, str]) -> Iterator[Problem]:
    """The doubtful labels of a split.

    `absent` has the recipe's settings that name the label of pairs without a relation → that label.
    """
    for kind, at in labels.items():
        one = kind.removesuffix("s")
        yield from _empty(one, at, absent)
        yield from _tags(one, at)
        yield from _near_doubles(one, at)
        yield from _misspelt(one, at)


def absence_problems(labels: Labelled, absent: Mapping[str, str]) -> Iterator[Problem]:
    """Labels of relations, as training shows them, that seem to mean that there is none; arguments as above."""
    names = ", ".join(absent)
    if len(set(absent.values())) > 1:
        told = ", ".join(f"{setting} = {label!r}" for setting, label in absent.items())
        yield Problem(
            f"the label of pairs without a relation is not the same everywhere: {told}",
            hint="give all of them the label that is in the data",
            code="data.none-label",
            level="warning",
        )
    at = labels.get("relations", {})
    if len(at) == 1:
        [(label, all_of_them)] = at.items()
        yield Problem(
            f"all {counted(len(all_of_them), 'relation')} have the same label {label!r}: there is nothing to learn",
            hint="is this the right file?",
            code="data.one-label",
            level="warning",
        )
    if not absent or any(label in at for label in absent.values()):
        return
    for label in at:
        if label.strip() and _bare(label) in ABSENT:  # `_empty` tells of empty ones
            yield Problem(
                f"the label {label!r} of {counted(len(at[label]), 'relation')} seems to mean that there is none, but "
                f"it will be scored as a relation: the label that is not scored is {next(iter(absent.values()))!r}",
                at[label],
                f"if it means no relation, set {names} to {label!r}" + _too(absent),
                code="data.none-label",
                level="warning",
            )


def _too(absent: Mapping[str, str]) -> str:
    return "; all of them" if len(absent) > 1 else ""


def _bare(label: str) -> str:
    """A label without case, punctuation and spaces."""
    return re.sub(r"[\W_]", "", label.casefold())


def _empty(one: str, at: Mapping[str, list[At]], absent: Mapping[str, str]) -> Iterator[Problem]:
    for label, places in at.items():
        if label.strip() or (one == "relation" and label in absent.values()):
            continue
        what = f"{counted(len(places), one)} with an empty label"
        if one == "relation":
            what += ", which counts as a relation like any other"
            setting = ", ".join(absent) or "none_label"
            hint = f"give each a label; if it means no relation, set {setting} to {label!r}" + _too(absent)
        else:
            hint = "give each a label, or leave it out"
        level: Literal["error", "warning"] = "error" if one == "span" else "warning"
        yield Problem(what, places, hint, code="data.empty-label", level=level)


def _tags(one: str, at: Mapping[str, list[At]]) -> Iterator[Problem]:
    if one != "span":
        return
    tags: dict[str, list[At]] = {}
    types: list[str] = []
    for label, found in at.items():
        tag = TAG.fullmatch(label)
        if tag and (tag["prefix"] in (None, "B", "I") or tag["type"] in at):
            tags[label] = found
            types += [tag["type"]] if tag["type"] in at else []
    if not tags:
        return
    places = [place for found in tags.values() for place in found]
    told = ", ".join(f"{label!r} ({len(found):,})" for label, found in tags.items())
    yield Problem(
        f"{counted(len(places), one)} with labels that look like tags: {told}",
        places,
        "a label is only a type"
        f", such as {types[0] if types else 'PER'!r}; words outside of entities get no span",
        code="data.tag-label",
        level="warning",
    )


def _near_doubles(one: str, at: Mapping[str, list[At]]) -> Iterator[Problem]:
    same: defaultdict[str, list[str]] = defaultdict(list)
    for label in at:
        if label.strip():
            same[" ".join(label.casefold().split())].append(label)
    spaced = {label: places for label, places in at.items() if label.strip() and label != label.strip()}
    if spaced:
        told = ", ".join(f"{label!r} ({len(found):,})" for label, found in spaced.items())
        yield Problem(
            f"labels of {one}s that begin or end with a space: {told}",
            [place for found in spaced.values() for place in found],
            "write them without",
            code="data.near-label",
            level="warning",
        )
    for labels in same.values():
        if len(labels) > 1:
            rarest = min(labels, key=lambda label: len(at[label]))
            told = " and ".join(f"{label!r} ({len(at[label]):,})" for label in labels)
            yield Problem(
                f"labels of {one}s that differ only in case or spaces count as different: {told}",
                at[rarest],
                "write them in the same way",
                code="data.near-label",
                level="warning",
            )


def _misspelt(one: str, at: Mapping[str, list[At]]) -> Iterator[Problem]:
    """Labels that are hardly there and differ by one letter from one that is there often."""
    frequent = [label for label in at if len(at[label]) >= OFTEN]
    for label, places in at.items():
        if len(places) > SELDOM or len(label) < SHORTEST:
            continue
        meant = [other for other in frequent if _one_edit(label.casefold(), other.casefold())]
        if len(meant) == 1:
            yield Problem(
                f"{counted(len(places), one)} with the label {label!r}, which may be a misspelt {meant[0]!r} "
                f"({len(at[meant[0]]):,})",
                places,
                "correct it, or leave it if it is a label of its own",
                code="data.near-label",
                level="warning",
            )


def _one_edit(a: str, b: str) -> bool:
    """Whether one letter is changed, missing or too much, or two that follow each other are exchanged."""
    if a == b or abs(len(a) - len(b)) > 1:
        return False
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    rest, other = a[start:], b[start:]
    swapped = rest[:2] == other[1::-1] and rest[2:] == other[2:] and len(other) > 1
    return swapped or rest[1:] == other[1:] or rest[1:] == other or rest == other[1:]
